"""The layout conversion, against a network that is computed in both layouts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from backends.channels_last import (
    images_to_channels_last,
    stages_from_channels_last,
    weights_from_channels_last,
    weights_to_channels_last,
)
from backends.lenet import VARIANTS, initial_weights


@pytest.mark.parametrize("name", list(VARIANTS))
def test_weights_come_back_as_they_went(name: str) -> None:
    variant = VARIANTS[name]
    weights = initial_weights(variant)
    back = weights_from_channels_last(variant, weights_to_channels_last(variant, weights))
    for key, value in weights.items():
        np.testing.assert_array_equal(back[key], value)


@pytest.mark.parametrize("name", ["lenet5", "modern"])
def test_the_first_dense_layer_counts_height_then_width_then_channel(name: str) -> None:
    """Multiplying flattened channels-last maps by the converted weight gives what canonical ones give."""
    variant = VARIANTS[name]
    weights = initial_weights(variant)
    maps = np.random.default_rng(0).random((2, 16, 5, 5)).astype(np.float32)
    canonical = maps.reshape(2, -1) @ weights["dense1.weight"].T
    converted = weights_to_channels_last(variant, weights)["dense1.weight"]
    np.testing.assert_allclose(images_to_channels_last(maps).reshape(2, -1) @ converted, canonical, atol=1e-5)
    plain = images_to_channels_last(maps).reshape(2, -1) @ weights["dense1.weight"].T
    assert not np.allclose(plain, canonical, atol=1e-5)


def test_stages_come_back_in_canonical_layout() -> None:
    maps = np.random.default_rng(0).random((2, 16, 5, 5))
    last = images_to_channels_last(maps)
    stages = stages_from_channels_last(VARIANTS["lenet5"], {"pool2": last, "flatten": last.reshape(2, -1)})
    np.testing.assert_array_equal(stages["pool2"], maps)
    np.testing.assert_array_equal(stages["flatten"], maps.reshape(2, -1))
