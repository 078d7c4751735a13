"""The fastest step found with JAX: `space_to_depth`.

Images are innermost, (channel, height, width, image); convolutions are taken a pooling window at a
time (see `space_to_depth.py`) as one matrix product each, with the way back written by hand: XLA's
own derivative of the unrolling is slower by a third. The step owns the old weights and writes over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from backends.lenet import Variant, stage_shapes
from backends.space_to_depth import CORNERS, KERNEL, POOL, SEEN, TAPS

Params = dict[str, Array]

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}
# The derivative of each activation, as a function of the activation's value.
SLOPES = {"sigmoid": lambda y: y * (1 - y), "tanh": lambda y: 1 - y * y, "relu": lambda y: y > 0}


def spread(weight: Array) -> Array:
    """`space_to_depth.spread` as a matrix: (O, C, 5, 5) gives (4 * O, 36 * C)."""
    out, channels = weight.shape[:2]
    last = SEEN - KERNEL
    wide = jnp.stack([jnp.pad(weight, ((0, 0), (0, 0), (i, last - i), (j, last - j))) for i, j in CORNERS])
    blocks = wide.reshape(-1, channels, TAPS, POOL, TAPS, POOL).transpose(0, 1, 3, 5, 2, 4)
    return blocks.reshape(len(CORNERS) * out, -1)


def gather(wide: Array, channels: int) -> Array:
    """`space_to_depth.gather`: (4 * O, 36 * C) gives (O, C, 5, 5)."""
    blocks = wide.reshape(-1, channels, POOL, POOL, TAPS, TAPS).transpose(0, 1, 4, 2, 5, 3)
    seen = blocks.reshape(len(CORNERS), -1, channels, SEEN, SEEN)
    return sum(seen[k, :, :, i : i + KERNEL, j : j + KERNEL] for k, (i, j) in enumerate(CORNERS))


def unroll(x: Array) -> Array:
    """(C, H, W, N) as what every pooling window sees: (36 * C, windows * N)."""
    channels, height, width, images = x.shape
    blocks = x.reshape(channels, height // POOL, POOL, width // POOL, POOL, images).transpose(0, 2, 4, 1, 3, 5)
    rows, columns = height // POOL - TAPS + 1, width // POOL - TAPS + 1
    windows = [blocks[:, :, :, i : i + rows, j : j + columns] for i, j in np.ndindex(TAPS, TAPS)]
    return jnp.stack(windows, 3).reshape(channels * SEEN * SEEN, -1)


def roll_up(d: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of `unroll`: every input's gradient, summed over the windows that see it."""
    channels, height, width, images = shape
    rows, columns = height // POOL - TAPS + 1, width // POOL - TAPS + 1
    windows = d.reshape(channels * POOL * POOL, TAPS, TAPS, rows, columns, images)
    last = TAPS - 1
    total = sum(
        jnp.pad(windows[:, i, j], ((0, 0), (i, last - i), (j, last - j), (0, 0))) for i, j in np.ndindex(TAPS, TAPS)
    )
    blocks = total.reshape(channels, POOL, POOL, height // POOL, width // POOL, images)
    return blocks.transpose(0, 3, 1, 4, 2, 5).reshape(shape)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def convolve(x: Array, weight: Array, bias: Array, activation: str, pooling: str) -> Array:
    """Convolution, activation and 2x2 pooling: (C, H, W, N) gives (O, windows * N)."""
    return forward(x, weight, bias, activation, pooling)[0]


def forward(x: Array, weight: Array, bias: Array, activation: str, pooling: str) -> tuple[Array, Any]:
    columns, wide = unroll(x), spread(weight)
    values = ACTIVATIONS[activation](wide @ columns + jnp.tile(bias, len(CORNERS))[:, None])
    corners = values.reshape(len(CORNERS), len(bias), -1)
    pooled = corners.max(0) if pooling == "max" else corners.mean(0)
    return pooled, (columns, wide, corners, pooled, x.shape)


def backward(activation: str, pooling: str, kept: Any, d: Array) -> tuple[Array, Array, Array]:
    columns, wide, corners, pooled, shape = kept
    share = first_of_the_largest(corners == pooled) if pooling == "max" else 1 / len(CORNERS)
    d = (d * share * SLOPES[activation](corners)).astype(d.dtype).reshape(len(wide), -1)
    weight = gather(d @ columns.T, shape[0])
    bias = d.reshape(len(CORNERS), corners.shape[1], -1).sum((0, 2))
    return roll_up(wide.T @ d, shape), weight, bias


def first_of_the_largest(largest: Array) -> Array:
    """Of each window's equals, the first corner only, as in the reference."""
    return largest & (jnp.cumsum(largest, 0) == 1)


convolve.defvjp(forward, backward)


class SpaceToDepth:
    """The network as a function of canonical weights, on images innermost."""

    donates = True

    def __init__(self, variant: Variant, dtype: Any) -> None:
        self.variant, self.dtype = variant, dtype
        self.dense = [name for name in ("conv3", "dense1", "dense2", "dense3") if name in variant]

    def pack(self, weights: Mapping[str, np.ndarray]) -> Params:
        return {name: jnp.asarray(value, self.dtype) for name, value in weights.items()}

    def unpack(self, params: Params) -> dict[str, np.ndarray]:
        return {name: np.array(value) for name, value in params.items()}

    def lay_out(self, images: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(images, 1, -1)).astype(self.dtype)

    def logits(self, params: Params, images: Array) -> Array:
        """(1, H, W, N) gives (N, 10)."""
        return self.forward(params, images)["dense3"].T

    def forward(self, params: Params, images: Array) -> dict[str, Array]:
        """Everything from the first pooling on, images innermost."""
        v, act, count = self.variant, ACTIVATIONS[self.variant.activation], images.shape[-1]
        how, shapes = (v.activation, v.pooling), stage_shapes(v)
        p = v["conv1"].padding
        x = {"framed": jnp.pad(images, ((0, 0), (p, p), (p, p), (0, 0)))}
        pooled = convolve(x["framed"], params["conv1.weight"], params["conv1.bias"], *how)
        x["pool1"] = pooled.reshape(*shapes["pool1"], count)
        x["flatten"] = last = convolve(x["pool1"], params["conv2.weight"], params["conv2.bias"], *how)
        x["flatten"] = last = last.reshape(-1, count)
        for name in self.dense:
            last = params[f"{name}.weight"].reshape(-1, len(last)) @ last + params[f"{name}.bias"][:, None]
            x[name] = last = last if name == self.dense[-1] else act(last)
        return x

    def stages(self, params: Params, images: Array) -> dict[str, Array]:
        """Every stage's value, images innermost."""
        shapes, count = stage_shapes(self.variant), images.shape[-1]
        x = self.forward(params, images)
        for name, entering in (("conv1", x["framed"]), ("conv2", x["pool1"])):
            how = (self.variant.activation, self.variant.pooling)
            _, (_, _, corners, *_) = forward(entering, params[f"{name}.weight"], params[f"{name}.bias"], *how)
            out, height, width = shapes[name]
            blocks = corners.reshape(POOL, POOL, out, height // POOL, width // POOL, count)
            x[name] = blocks.transpose(2, 3, 0, 4, 1, 5).reshape(out, height, width, count)
        x["pool2"], x["flatten"] = x["flatten"], x.get("conv3", x["flatten"])
        return {
            name: value.reshape(*shapes[name], count)
            for name, value in {**x, "input": images}.items()
            if name in shapes
        }

    def canonical(self, stages: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.moveaxis(value, -1, 0) for name, value in stages.items()}
