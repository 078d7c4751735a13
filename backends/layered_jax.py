"""Any variant in JAX, layer by layer from its data: for networks that are no LeNet as tutorials write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backends.lenet import Conv, Dense, Flatten, Pool, Subsample, Variant, connected, is_activated
from backends.prototypes import prototypes

Params = Any


def activate(name: str, x: jax.Array) -> jax.Array:
    if name == "scaled_tanh":
        return 1.7159 * jnp.tanh(x * (2 / 3))
    return {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}[name](x)


class Layered:
    """The same functions of its parameters as `Linen` has; parameters are canonical, by name."""

    donates = False

    def __init__(self, variant: Variant, dtype: Any) -> None:
        self.variant, self.dtype = variant, dtype
        self.masks = {name: mask.astype(dtype) for name, mask in connected(variant).items()}
        self.prototypes = prototypes().astype(dtype)

    def pack(self, weights: Mapping[str, np.ndarray]) -> Params:
        return {name: jnp.asarray(value, self.dtype) for name, value in weights.items()}

    def unpack(self, params: Params) -> dict[str, np.ndarray]:
        return {name: np.array(value) for name, value in params.items()}

    def lay_out(self, images: np.ndarray) -> np.ndarray:
        return images.astype(self.dtype)

    def canonical(self, stages: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(stages)

    def logits(self, params: Params, images: jax.Array) -> jax.Array:
        """(N, 10), and a column more where the variant has a class for rubbish."""
        logits = self.stages(params, images)[self.variant.layers[-1].name]
        if self.variant.rubbish is None:
            return logits
        return jnp.pad(logits, ((0, 0), (0, 1)), constant_values=self.variant.rubbish)

    def stages(self, params: Params, images: jax.Array) -> dict[str, jax.Array]:
        """Every stage's value, from (N, 1, H, W) images to (N, 10) logits."""
        x, value = {"input": images}, images
        for layer in self.variant.layers:
            weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
            if isinstance(layer, Conv):
                kernels = params[weight] * self.masks[weight] if weight in self.masks else params[weight]
                value = lax.conv_general_dilated(value, kernels, (1, 1), [(layer.padding,) * 2] * 2)
                value = value + params[bias][:, None, None]
            elif isinstance(layer, Pool):
                value = windows(value, layer.kernel, self.variant.pooling)
            elif isinstance(layer, Subsample):
                total = windows(value, layer.kernel, "sum")
                value = total * params[weight][:, None, None] + params[bias][:, None, None]
            elif isinstance(layer, Flatten):
                value = value.reshape(len(images), -1)
            elif isinstance(layer, Dense):
                value = value @ params[weight].T + params[bias]
            else:
                value = -jnp.square(value[:, None] - self.prototypes).sum(2)
            if is_activated(self.variant, layer):
                value = activate(self.variant.activation, value)
            x[layer.name] = value
        return x


def windows(x: jax.Array, kernel: int, kind: str) -> jax.Array:
    """The maximum, sum or average of windows that do not overlap."""
    size = (1, 1, kernel, kernel)
    if kind == "max":
        return lax.reduce_window(x, -jnp.inf, lax.max, size, size, "VALID")
    total = lax.reduce_window(x, 0.0, lax.add, size, size, "VALID")
    return total if kind == "sum" else total / kernel**2
