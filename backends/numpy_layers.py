"""Convolution and pooling in NumPy, forwards and backwards, written twice.

`loops` walks over images and positions as the textbooks derive it; `im2col` copies all windows into
one matrix, so that a convolution is one matrix product (Chellapilla, Puri & Simard, "High
performance convolutional neural networks for document processing", 2006). Both compute the same
numbers; the tests hold one against the other and both against finite differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray
# Of LeCun's scaled tanh, 1.7159 tanh(2 x / 3): 1 at 1, so that targets of +1 and -1 do not saturate it (LeCun et al.
# 1998, appendix A).
A, S = 1.7159, 2 / 3

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "scaled_tanh": lambda x: A * np.tanh(S * x),
}
# The derivative of each activation, as a function of the activation's value.
SLOPES: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda y: y * (1 - y),
    "tanh": lambda y: 1 - y**2,
    "relu": lambda y: y > 0,
    "scaled_tanh": lambda y: A * S - S / A * y**2,
}


def conv_loops(x: Array, weight: Array, bias: Array, padding: int) -> tuple[Array, Array]:
    """(N, C, H, W) with (O, C, k, k) gives (N, O, H', W'), and the padded input for the way back."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = weight.shape[2]
    y = np.empty((len(x), len(weight), x.shape[2] - k + 1, x.shape[3] - k + 1), x.dtype)
    for n, i, j in np.ndindex(len(y), *y.shape[2:]):
        y[n, :, i, j] = (weight * x[n, :, i : i + k, j : j + k]).sum((1, 2, 3)) + bias
    return y, x


def conv_loops_backward(dy: Array, x: Array, weight: Array, padding: int, first: bool) -> tuple[Array, Array]:
    """The gradients of the unpadded input (left at zero for the first layer) and of the weight."""
    dx, dweight = np.zeros_like(x), np.zeros_like(weight)
    k = weight.shape[2]
    for n, i, j in np.ndindex(len(dy), *dy.shape[2:]):
        d = dy[n, :, i, j].reshape(-1, 1, 1, 1)
        dweight += d * x[n, :, i : i + k, j : j + k]
        if not first:
            dx[n, :, i : i + k, j : j + k] += (d * weight).sum(0)
    return dx[:, :, padding : x.shape[2] - padding, padding : x.shape[3] - padding], dweight


def pool_loops(x: Array, k: int, kind: str) -> Array:
    y = np.empty((*x.shape[:2], x.shape[2] // k, x.shape[3] // k), x.dtype)
    for n, i, j in np.ndindex(len(y), *y.shape[2:]):
        window = x[n, :, i * k : i * k + k, j * k : j * k + k]
        y[n, :, i, j] = window.max((1, 2)) if kind == "max" else window.mean((1, 2))
    return y


def pool_loops_backward(dy: Array, x: Array, k: int, kind: str) -> Array:
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*dy.shape):
        window = x[n, c, i * k : i * k + k, j * k : j * k + k]
        if kind == "max":
            row, column = divmod(int(window.argmax()), k)
            dx[n, c, i * k + row, j * k + column] = dy[n, c, i, j]
        else:
            dx[n, c, i * k : i * k + k, j * k : j * k + k] = dy[n, c, i, j] / k**2
    return dx


def conv_im2col(x: Array, weight: Array, bias: Array, padding: int) -> tuple[Array, Array]:
    """(N, C, H, W) with (O, C, k, k) gives (N, O, H', W'), and the windows (N*H'*W', C*k*k)."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = weight.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
    n, c, h, w = windows.shape[:4]
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * k * k)
    y = columns @ weight.reshape(len(weight), -1).T + bias
    return y.reshape(n, h, w, -1).transpose(0, 3, 1, 2), columns


def conv_im2col_backward(dy: Array, columns: Array, weight: Array, padding: int, first: bool) -> tuple[Array, Array]:
    """The gradients of the unpadded input (left at zero for the first layer) and of the weight."""
    out, c, k, _ = weight.shape
    n, _, h, w = dy.shape
    rows = dy.transpose(0, 2, 3, 1).reshape(-1, out)
    dweight = (rows.T @ columns).reshape(weight.shape)
    dx = np.zeros((n, c, h + k - 1, w + k - 1), dy.dtype)
    if not first:
        dwindows = (rows @ weight.reshape(out, -1)).reshape(n, h, w, c, k, k)
        for i, j in np.ndindex(k, k):
            dx[:, :, i : i + h, j : j + w] += dwindows[..., i, j].transpose(0, 3, 1, 2)
    return dx[:, :, padding : h + k - 1 - padding, padding : w + k - 1 - padding], dweight


def pool_im2col(x: Array, k: int, kind: str) -> Array:
    tiles = pool_windows(x, k)
    return tiles.max(-1) if kind == "max" else tiles.mean(-1)


def pool_im2col_backward(dy: Array, x: Array, k: int, kind: str) -> Array:
    n, c, h, w = dy.shape
    if kind == "max":
        dtiles = np.zeros((n, c, h, w, k * k), dy.dtype)
        np.put_along_axis(dtiles, pool_windows(x, k).argmax(-1)[..., None], dy[..., None], -1)
    else:
        dtiles = np.broadcast_to(dy[..., None] / k**2, (n, c, h, w, k * k))
    dx = np.zeros_like(x)
    blocks = dtiles.reshape(n, c, h, w, k, k).transpose(0, 1, 2, 4, 3, 5)
    dx[:, :, : h * k, : w * k] = blocks.reshape(n, c, h * k, w * k)
    return dx


def pool_windows(x: Array, k: int) -> Array:
    """(N, C, H, W) as (N, C, H // k, W // k, k * k): each pooling window's values on the last axis."""
    n, c, h, w = x.shape[0], x.shape[1], x.shape[2] // k, x.shape[3] // k
    blocks = x[:, :, : h * k, : w * k].reshape(n, c, h, k, w, k)
    return blocks.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h, w, k * k)


class Layers(NamedTuple):
    """The four functions in which the modes differ."""

    conv: Callable[[Array, Array, Array, int], tuple[Array, Array]]
    conv_backward: Callable[[Array, Array, Array, int, bool], tuple[Array, Array]]
    pool: Callable[[Array, int, str], Array]
    pool_backward: Callable[[Array, Array, int, str], Array]


LAYERS = {
    "loops": Layers(conv_loops, conv_loops_backward, pool_loops, pool_loops_backward),
    "im2col": Layers(conv_im2col, conv_im2col_backward, pool_im2col, pool_im2col_backward),
}
