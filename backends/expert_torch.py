"""The fastest step found with PyTorch: `space_to_depth`.

Images are innermost, (channel, height, width, image); convolutions are taken a pooling window at a
time (see `space_to_depth.py`) as one matrix product each, with the way back written by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from backends.lenet import Variant, stage_shapes
from backends.space_to_depth import CORNERS, KERNEL, POOL, SEEN, TAPS

ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
# A gradient times the derivative of each activation, given the activation's value.
BACKWARD = {
    "sigmoid": torch.ops.aten.sigmoid_backward,
    "tanh": torch.ops.aten.tanh_backward,
    "relu": lambda d, y: torch.ops.aten.threshold_backward(d, y, 0),
}
SHIFTS = tuple(product(range(TAPS), range(TAPS)))


def spread(weight: Tensor) -> Tensor:
    """`space_to_depth.spread` as a matrix: (O, C, 5, 5) gives (4 * O, 36 * C)."""
    out, channels = weight.shape[:2]
    wide = weight.new_zeros(len(CORNERS), out, channels, SEEN, SEEN)
    for corner, (i, j) in enumerate(CORNERS):
        wide[corner, :, :, i : i + KERNEL, j : j + KERNEL] = weight
    blocks = wide.view(-1, channels, TAPS, POOL, TAPS, POOL).permute(0, 1, 3, 5, 2, 4)
    return blocks.reshape(len(CORNERS) * out, -1)


def gather(wide: Tensor, channels: int) -> Tensor:
    """`space_to_depth.gather`: (4 * O, 36 * C) gives (O, C, 5, 5)."""
    blocks = wide.view(-1, channels, POOL, POOL, TAPS, TAPS).permute(0, 1, 4, 2, 5, 3)
    seen = blocks.reshape(len(CORNERS), -1, channels, SEEN, SEEN)
    first, *others = (seen[k, :, :, i : i + KERNEL, j : j + KERNEL] for k, (i, j) in enumerate(CORNERS))
    return sum(others, start=first)


def unroll(x: Tensor) -> Tensor:
    """(C, H, W, N) as what every pooling window sees: (36 * C, windows * N)."""
    channels, height, width, images = x.shape
    blocks = x.view(channels, height // POOL, POOL, width // POOL, POOL, images).permute(0, 2, 4, 1, 3, 5)
    windows = blocks.unfold(3, TAPS, 1).unfold(4, TAPS, 1).permute(0, 1, 2, 6, 7, 3, 4, 5)
    return windows.reshape(channels * SEEN * SEEN, -1)


def roll_up(d: Tensor, shape: torch.Size) -> Tensor:
    """The transpose of `unroll`: every input's gradient, summed over the windows that see it."""
    channels, height, width, images = shape
    rows, columns = height // POOL - TAPS + 1, width // POOL - TAPS + 1
    windows = d.view(channels, POOL, POOL, TAPS, TAPS, rows, columns, images)
    total = d.new_zeros(channels, height // POOL, POOL, width // POOL, POOL, images)
    blocks = total.permute(0, 2, 4, 1, 3, 5)
    for i, j in SHIFTS:
        blocks[:, :, :, i : i + rows, j : j + columns] += windows[:, :, :, i, j]
    return total.view(shape)


class Convolution(torch.autograd.Function):
    """Convolution, activation and 2x2 pooling: (C, H, W, N) gives (O, windows * N), and the corners before pooling."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, activation: str, pooling: str) -> Any:
        columns, wide = unroll(x), spread(weight)
        values = torch.addmm(bias.repeat(len(CORNERS))[:, None], wide, columns)
        corners = ACTIVATIONS[activation](values).view(len(CORNERS), len(bias), -1)
        pooled = corners.amax(0) if pooling == "max" else corners.mean(0)
        ctx.save_for_backward(columns, wide, corners, pooled)
        ctx.how, ctx.shape = (activation, pooling), x.shape
        ctx.mark_non_differentiable(corners)
        return pooled, corners

    @staticmethod
    def backward(ctx: Any, d: Tensor, _: Any) -> Any:
        columns, wide, corners, pooled = ctx.saved_tensors
        activation, pooling = ctx.how
        d = d * first_of_the_largest(corners == pooled) if pooling == "max" else (d / len(CORNERS)).expand_as(corners)
        d = BACKWARD[activation](d, corners)
        bias = d.sum((0, 2))
        d = d.view(len(wide), -1)
        weight = gather(d @ columns.T, ctx.shape[0])
        x = roll_up(wide.T @ d, ctx.shape) if ctx.needs_input_grad[0] else None
        return x, weight, bias, None, None


def first_of_the_largest(largest: Tensor) -> Tensor:
    """Of each window's equals, the first corner only, as in the reference."""
    return largest & (largest.cumsum(0) == 1)


def stages(p: Mapping[str, Tensor], v: Variant, images: Tensor) -> dict[str, Tensor]:
    """Every stage from (1, H, W, N) images to (10, N) logits, images innermost; convolutions corner by corner."""
    act, shapes, count = ACTIVATIONS[v.activation], stage_shapes(v), images.shape[-1]
    x = {"input": images}
    framed = F.pad(images, (0, 0, *[v["conv1"].padding] * 4))
    pooled, x["conv1"] = Convolution.apply(framed, p["conv1.weight"], p["conv1.bias"], v.activation, v.pooling)
    x["pool1"] = pooled.view(*shapes["pool1"], count)
    pooled, x["conv2"] = Convolution.apply(x["pool1"], p["conv2.weight"], p["conv2.bias"], v.activation, v.pooling)
    x["pool2"] = pooled.view(*shapes["pool2"], count)
    x["flatten"] = last = pooled.view(-1, count)
    for name in ("conv3", "dense1", "dense2", "dense3"):
        if name in v:
            last = torch.addmm(p[f"{name}.bias"][:, None], p[f"{name}.weight"].view(-1, len(last)), last)
            x[name] = last = last if name == "dense3" else act(last)
    return x


def canonical(v: Variant, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The stages with images outermost, and convolutions' corners in their places."""
    found, shapes = {}, stage_shapes(v)
    for name, (*shape,) in shapes.items():
        value = x["conv3"] if name == "flatten" and "conv3" in x else x[name]
        if name in ("conv1", "conv2"):
            out, height, width = shape
            value = value.view(POOL, POOL, out, height // POOL, width // POOL, -1).permute(2, 3, 0, 4, 1, 5)
        found[name] = value.reshape(*shape, -1).movedim(-1, 0)
    return found
