"""The fastest step found with NumPy alone: `space_to_depth`.

Images are innermost, (channel, height, width, image), so that every copy moves whole rows of images
and every layer is one matrix product without a transpose. Convolutions are taken a pooling window at
a time (see `space_to_depth.py`), biases ride along as the weight of a row of ones, and all arrays are
allocated once. Backpropagation is by hand, as in `lenet_numpy.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from backends.interface import Setup
from backends.lenet import Variant, stage_shapes
from backends.space_to_depth import CORNERS, POOL, TAPS, gather, spread

Array = np.ndarray


class Convolution:
    """A convolution with its activation and 2x2 pooling, for so many images at a time.

    `columns` is what every pooling window sees, (36 * C + 1, windows * images), the last row ones;
    `values` are the activations, (4, O, windows * images), corner by corner.
    """

    def __init__(self, name: str, variant: Variant, images: int, weights: dict[str, Array]) -> None:
        self.weight, self.bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        self.activation, self.pooling = variant.activation, variant.pooling
        dtype, (out, channels) = self.weight.dtype, self.weight.shape[:2]
        side = stage_shapes(variant)[name][1] // POOL
        self.windows = (side, side, images)
        self.grid = (channels, POOL, POOL, TAPS, TAPS, *self.windows)
        size = side * side * images
        self.columns = np.ones((channels * (POOL * TAPS) ** 2 + 1, size), dtype)
        self.values = np.empty((len(CORNERS), out, size), dtype)
        self.slopes = np.empty_like(self.values)
        self.pooled = np.empty((out, size), dtype)
        self.wide = np.empty((len(CORNERS), out, len(self.columns)), dtype)
        self.unrolled_gradient = np.empty((len(self.columns) - 1, size), dtype)
        self.input_gradient = np.empty((channels, side + 2, POOL, side + 2, POOL, images), dtype)

    def forward(self, x: Array) -> Array:
        """(C, H, W, images) gives (O, H', W', images), pooled."""
        self.wide[..., :-1] = spread(self.weight).reshape(*self.wide.shape[:2], -1)
        self.wide[..., -1] = self.bias
        np.copyto(self.columns[:-1].reshape(self.grid), windows_of(x, self.grid))
        flat = self.values.reshape(-1, self.values.shape[-1])
        np.matmul(self.wide.reshape(len(flat), -1), self.columns, out=flat)
        activate(flat, self.activation)
        first, *others = self.values
        combine = np.maximum if self.pooling == "max" else np.add
        combine(first, others[0], out=self.pooled)
        for value in others[1:]:
            combine(self.pooled, value, out=self.pooled)
        if self.pooling == "average":
            self.pooled *= self.pooled.dtype.type(1 / len(CORNERS))
        return self.pooled.reshape(-1, *self.windows)

    def backward(self, d: Array, first: bool = False) -> tuple[Array, Array, Array]:
        """From the pooled values' gradient, which it overwrites: those of input, weight and bias."""
        d = d.reshape(self.pooled.shape)
        slopes = slope(self.values, self.activation, self.slopes)
        if self.pooling == "average":
            d *= d.dtype.type(1 / len(CORNERS))
        else:
            slopes *= first_of_the_largest(self.values, self.pooled)
        slopes *= d
        flat = slopes.reshape(-1, slopes.shape[-1])
        wide = (flat @ self.columns.T).reshape(self.wide.shape)
        channels = self.grid[0] * POOL * POOL
        weight = gather(wide[..., :-1].reshape(-1, channels, TAPS, TAPS))
        bias = wide[..., -1].sum(0)
        if first:
            return self.input_gradient, weight, bias
        np.matmul(self.wide.reshape(len(flat), -1)[:, :-1].T, flat, out=self.unrolled_gradient)
        unrolled = self.unrolled_gradient.reshape(self.grid)
        self.input_gradient[...] = 0
        blocks = self.input_gradient.transpose(0, 2, 4, 1, 3, 5)
        height, width, _ = self.windows
        for i, j in np.ndindex(TAPS, TAPS):
            blocks[:, :, :, i : i + height, j : j + width] += unrolled[:, :, :, i, j]
        return self.input_gradient, weight, bias


def windows_of(x: Array, grid: tuple[int, ...]) -> Array:
    """A view of (C, H, W, images) as what each pooling window sees: (C, 2, 2, 3, 3, H', W', images)."""
    channel, row, column, image = x.strides
    return as_strided(x, grid, (channel, row, column, 2 * row, 2 * column, 2 * row, 2 * column, image))


def activate(x: Array, activation: str) -> None:
    """In place."""
    if activation == "relu":
        np.maximum(x, 0, out=x)
    elif activation == "tanh":
        np.tanh(x, x)
    else:
        np.negative(x, x)
        np.exp(x, x)
        x += 1
        np.reciprocal(x, x)


def slope(y: Array, activation: str, out: Array) -> Array:
    """The activation's derivative as a function of its value."""
    if activation == "relu":
        return np.greater(y, 0, out)
    if activation == "tanh":
        np.multiply(y, y, out)
        return np.subtract(1, out, out)
    np.subtract(1, y, out)
    out *= y
    return out


def first_of_the_largest(values: Array, largest: Array) -> Array:
    """Where each window's maximum is, (4, ...): the first of equals, as in the reference."""
    found = values == largest
    taken = found[0].copy()
    for one in found[1:]:
        one &= ~taken
        taken |= one
    return found


class SpaceToDepth:
    """A trainer: plain SGD on images in blocks of at most `BLOCK`, so that large batches stay in the caches."""

    BLOCK = 128

    def __init__(self, variant: Variant, weights: dict[str, Array], setup: Setup) -> None:
        self.variant, self.own = variant, weights
        self.dtype = np.dtype(setup.precision)
        self.learning_rate = self.dtype.type(setup.learning_rate)
        self.dense = [name for name in ("conv3", "dense1", "dense2", "dense3") if name in variant]
        self.convolutions: dict[int, tuple[Array, Convolution, Convolution]] = {}

    def put(self, images: Array, labels: Array) -> list[tuple[Array, Array]]:
        """The batches with images innermost, (1, H, W, N)."""
        return list(zip(np.ascontiguousarray(np.moveaxis(images, 1, -1), self.dtype), labels))

    def train(self, chunk: list[tuple[Array, Array]]) -> Array:
        return np.array([self.step(images, labels) for images, labels in chunk])

    def step(self, images: Array, labels: Array) -> Any:
        total: Any = 0
        gradients: dict[str, Array] = {}
        for start in range(0, len(labels), self.BLOCK):
            block = slice(start, start + self.BLOCK)
            loss, own = self.gradients(images[..., block], labels[block], len(labels))
            total += loss
            gradients = {name: gradients[name] + value for name, value in own.items()} if gradients else own
        for name, weight in self.own.items():
            weight -= self.learning_rate * gradients[name].reshape(weight.shape)
        return total / len(labels)

    def forward(self, images: Array) -> dict[str, Array]:
        """Every layer's input and output, images innermost."""
        conv1, conv2 = self.prepared(images.shape[-1])[1:]
        x = {"pool1": conv1.forward(self.framed(images))}
        x["pool2"] = conv2.forward(x["pool1"])
        last = x["flatten"] = x["pool2"].reshape(-1, images.shape[-1])
        for name in self.dense:
            weight = self.own[f"{name}.weight"].reshape(-1, len(last))
            x[name] = weight @ last + self.own[f"{name}.bias"][:, None]
            if name != self.dense[-1]:
                activate(x[name], self.variant.activation)
            last = x[name]
        return x

    def gradients(self, images: Array, labels: Array, batch_size: int) -> tuple[Any, dict[str, Array]]:
        """The summed loss of some of a batch's images, and their part of the mean loss's gradients."""
        _, conv1, conv2 = self.prepared(images.shape[-1])
        x, found = self.forward(images), {}
        loss, d = softmax_cross_entropy(x[self.dense[-1]], labels)
        d /= self.dtype.type(batch_size)
        for name, entering in reversed(list(zip(self.dense, ["flatten", *self.dense]))):
            found[f"{name}.weight"], found[f"{name}.bias"] = d @ x[entering].T, d.sum(1)
            d = self.own[f"{name}.weight"].reshape(len(d), -1).T @ d
            if entering != "flatten":
                d *= slope(x[entering], self.variant.activation, np.empty_like(d))
        d, found["conv2.weight"], found["conv2.bias"] = conv2.backward(d)
        _, found["conv1.weight"], found["conv1.bias"] = conv1.backward(d, first=True)
        return loss, found

    def prepared(self, images: int) -> tuple[Array, Convolution, Convolution]:
        """The frame for the padded input and both convolutions, for so many images at a time."""
        if images not in self.convolutions:
            size = self.variant.input_size + 2 * self.variant["conv1"].padding
            frame = np.zeros((self.variant.input_channels, size, size, images), self.dtype)
            conv1, conv2 = (Convolution(name, self.variant, images, self.own) for name in ("conv1", "conv2"))
            self.convolutions[images] = (frame, conv1, conv2)
        return self.convolutions[images]

    def framed(self, images: Array) -> Array:
        """The input with its padding around it."""
        frame, p = self.prepared(images.shape[-1])[0], self.variant["conv1"].padding
        frame[:, p : frame.shape[1] - p, p : frame.shape[2] - p] = images
        return frame

    def wait(self, pending: Array) -> Array:
        return pending

    def stages(self, chunk: list[tuple[Array, Array]]) -> dict[str, Array]:
        images = chunk[0][0]
        x = {"input": images, **self.forward(images)}
        for name, layer in zip(("conv1", "conv2"), self.prepared(images.shape[-1])[1:]):
            side, _, count = layer.windows
            corners = layer.values.reshape(POOL, POOL, -1, side, side, count)
            x[name] = corners.transpose(2, 3, 0, 4, 1, 5).reshape(-1, side * POOL, side * POOL, count)
        if "conv3" in x:
            x["flatten"] = x["conv3"]
            x["conv3"] = x["conv3"][:, None, None]
        return {name: np.moveaxis(x[name], -1, 0).copy() for name in stage_shapes(self.variant)}

    def weights(self) -> dict[str, Array]:
        return {name: weight.copy() for name, weight in self.own.items()}

    def device(self) -> str:
        return "cpu"


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[Any, Array]:
    """The summed loss of (10, N) logits, and its gradient (10, N): softmax - one-hot."""
    shifted = logits - logits.max(0)
    gradient = np.exp(shifted)
    total = gradient.sum(0)
    gradient /= total
    images = np.arange(len(labels))
    loss = (np.log(total) - shifted[labels, images]).sum()
    gradient[labels, images] -= 1
    return loss, gradient
