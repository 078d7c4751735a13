"""The only layout conversion: between canonical (channels first) and channels last.

Frameworks that keep channels last store convolution weights as (height, width, in, out) and dense
weights as (in, out), where `in` after `flatten` counts height, then width, then channel. Conversion
happens where weights enter or leave, never inside a step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.lenet import Variant, stage_shapes


def weights_to_channels_last(variant: Variant, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Canonical weights, laid out for a framework that keeps channels last; biases pass through."""
    converted = dict(weights)
    for name, value in weights.items():
        if value.ndim == 4:
            converted[name] = value.transpose(2, 3, 1, 0)
        elif name == _after_flatten(variant):
            channels, height, width = _flattened(variant)
            unrolled = value.reshape(-1, channels, height, width).transpose(2, 3, 1, 0)
            converted[name] = unrolled.reshape(value.shape[::-1])
        elif value.ndim == 2:
            converted[name] = value.T
    return converted


def weights_from_channels_last(variant: Variant, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The inverse of `weights_to_channels_last`."""
    converted = dict(weights)
    for name, value in weights.items():
        if value.ndim == 4:
            converted[name] = value.transpose(3, 2, 0, 1)
        elif name == _after_flatten(variant):
            channels, height, width = _flattened(variant)
            unrolled = value.reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
            converted[name] = unrolled.reshape(value.shape[::-1])
        elif value.ndim == 2:
            converted[name] = value.T
    return converted


def images_to_channels_last(images: np.ndarray) -> np.ndarray:
    """(..., channel, height, width) becomes (..., height, width, channel)."""
    return np.moveaxis(images, -3, -1)


def stages_from_channels_last(variant: Variant, stages: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Stage values as the framework has them, batch first, in canonical layout."""
    converted = {}
    for name, value in stages.items():
        if name == "flatten":
            channels, height, width = _flattened(variant)
            value = value.reshape(-1, height, width, channels)
        if value.ndim == 4:
            value = np.moveaxis(value, -1, -3)
        converted[name] = value.reshape(len(value), -1) if name == "flatten" else value
    return converted


def _flattened(variant: Variant) -> tuple[int, ...]:
    """The (channel, height, width) that `flatten` makes one axis of."""
    shapes = list(stage_shapes(variant).items())
    position = [name for name, _ in shapes].index("flatten")
    return shapes[position - 1][1]


def _after_flatten(variant: Variant) -> str:
    names = list(stage_shapes(variant))
    return f"{names[names.index('flatten') + 1]}.weight"
