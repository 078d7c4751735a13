"""The fastest step found with TensorFlow: `space_to_depth`, convolutions by oneDNN, all between them by XLA.

The first convolution is taken a pooling window at a time (see `space_to_depth.py`), and so is the
input gradient of the second, whose forward pass and weight gradient are fast as they are. oneDNN's
convolutions beat XLA's on a CPU, and XLA fuses what lies between them, so only those parts are
compiled (`jit_compile`). The way back is written by hand.

Images are channels-last. A convolution's values before pooling are kept corner by corner, (N, H', W', 4, C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from backends.lenet import Variant, stage_shapes, weight_shapes
from backends.space_to_depth import CORNERS, KERNEL, POOL, SEEN, TAPS

ACTIVATIONS = {"sigmoid": tf.sigmoid, "tanh": tf.tanh, "relu": tf.nn.relu}
# The derivative of each activation, as a function of the activation's value.
SLOPES: dict[str, Callable[[Any], Any]] = {
    "sigmoid": lambda y: y * (1 - y),
    "tanh": lambda y: 1 - y * y,
    "relu": lambda y: tf.cast(y > 0, y.dtype),
}
UNPADDED = {"strides": [1, 1, 1, 1], "padding": "VALID"}


def fused(function: Any) -> Any:
    """Compiled by XLA into a kernel of its own, wherever it is called from."""
    return tf.function(function, jit_compile=True, autograph=False)


def spread(weight: tf.Tensor) -> tf.Tensor:
    """`space_to_depth.spread`, channels-last: (O, C, 5, 5) gives (3, 3, 4 * C, 4 * O), blocks before channels."""
    out, channels = weight.shape[:2]
    last = SEEN - KERNEL
    wide = tf.stack([tf.pad(weight, ((0, 0), (0, 0), (i, last - i), (j, last - j))) for i, j in CORNERS])
    blocks = tf.reshape(wide, (-1, channels, TAPS, POOL, TAPS, POOL))
    blocks = tf.transpose(blocks, (2, 4, 3, 5, 1, 0))
    return tf.reshape(blocks, (TAPS, TAPS, len(CORNERS) * channels, len(CORNERS) * out))


def gather(wide: tf.Tensor) -> tf.Tensor:
    """The transpose of `spread`."""
    channels, out = (size // len(CORNERS) for size in wide.shape[2:])
    blocks = tf.reshape(wide, (TAPS, TAPS, POOL, POOL, channels, len(CORNERS), out))
    seen = tf.reshape(tf.transpose(blocks, (5, 6, 4, 0, 2, 1, 3)), (len(CORNERS), out, channels, SEEN, SEEN))
    return tf.add_n([seen[k, :, :, i : i + KERNEL, j : j + KERNEL] for k, (i, j) in enumerate(CORNERS)])


def to_depth(x: tf.Tensor) -> tf.Tensor:
    """(N, H, W, C) gives (N, H / 2, W / 2, 4, C): each 2x2 block on an axis of its own."""
    images, height, width, channels = x.shape
    blocks = tf.reshape(x, (images, height // POOL, POOL, width // POOL, POOL, channels))
    blocks = tf.transpose(blocks, (0, 1, 3, 2, 4, 5))
    return tf.reshape(blocks, (images, height // POOL, width // POOL, len(CORNERS), channels))


def from_depth(x: tf.Tensor) -> tf.Tensor:
    """The inverse of `to_depth`."""
    images, height, width, _, channels = x.shape
    blocks = tf.transpose(tf.reshape(x, (images, height, width, POOL, POOL, channels)), (0, 1, 3, 2, 4, 5))
    return tf.reshape(blocks, (images, POOL * height, POOL * width, channels))


def flat(x: tf.Tensor) -> tf.Tensor:
    """Corners and channels as one axis, as the convolutions have them."""
    return tf.reshape(x, (*x.shape[:3], -1))


class SpaceToDepth:
    """Forward and backward pass with the layers' names, on canonical weights in TensorFlow's variables."""

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], dtype: str) -> None:
        self.variant = variant
        self.act, self.slope = ACTIVATIONS[variant.activation], SLOPES[variant.activation]
        self.parameters = {name: tf.Variable(weights[name], dtype=dtype) for name in weight_shapes(variant)}
        self.dense = [name for name in ("conv3", "dense1", "dense2", "dense3") if name in variant]
        self.prepare, self.finish = fused(self.prepare), fused(self.finish)  # type: ignore[method-assign]
        self.head1, self.tail1 = fused(self.head1), fused(self.tail1)  # type: ignore[method-assign]
        self.tail2 = fused(self.tail2)  # type: ignore[method-assign]

    def prepare(self, images: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The padded input and the first convolution's weight, to depth."""
        p = self.variant["conv1"].padding
        return flat(to_depth(tf.pad(images, ((0, 0), (p, p), (p, p), (0, 0))))), spread(weight)

    def head1(self, y: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """From the first convolution's sums to its values, corner by corner, and pooled."""
        y = self.act(y + tf.tile(bias, [len(CORNERS)]))
        corners = tf.reshape(y, (*y.shape[:3], len(CORNERS), -1))
        return corners, self.pool(corners)

    def pool(self, corners: tf.Tensor) -> tf.Tensor:
        return tf.reduce_max(corners, 3) if self.variant.pooling == "max" else tf.reduce_mean(corners, 3)

    def pool_backward(self, d: tf.Tensor, corners: tf.Tensor) -> tf.Tensor:
        """Through pooling and activation: the gradient of the convolution, corner by corner."""
        d = d[:, :, :, None] * self.slope(corners)
        if self.variant.pooling == "average":
            return d / len(CORNERS)
        largest = tf.cast(corners == tf.reduce_max(corners, 3, keepdims=True), d.dtype)
        # Of equals, the first corner only, as in the reference.
        return d * largest * tf.cast(tf.cumsum(largest, 3) == 1, d.dtype)

    def tail2(self, d: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The second convolution's gradient, as it is and to depth, from that of the flattened values."""
        channels, height, width = stage_shapes(self.variant)["pool2"]
        d = tf.transpose(tf.reshape(d, (-1, channels, height, width)), (0, 2, 3, 1))
        corners = self.pool_backward(d, to_depth(y))
        return from_depth(corners), flat(corners)

    def tail1(self, d: tf.Tensor, corners: tf.Tensor) -> tf.Tensor:
        """The first convolution's gradient from that of its pooled values, which comes to depth."""
        channels = corners.shape[4]
        d = from_depth(tf.reshape(d, (*d.shape[:3], len(CORNERS), channels)))
        return flat(self.pool_backward(d, corners))

    def finish(self, wide: tf.Tensor) -> tf.Tensor:
        return gather(wide)

    def forward(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Every stage from (N, H, W, 1) images to (N, 10) logits; the first convolution corner by corner."""
        p = {name: value.read_value() for name, value in self.parameters.items()}
        x = {"input": images}
        x["to depth"], weight = self.prepare(images, p["conv1.weight"])
        x["conv1"], x["pool1"] = self.head1(tf.nn.conv2d(x["to depth"], weight, **UNPADDED), p["conv1.bias"])
        weight = tf.transpose(p["conv2.weight"], (2, 3, 1, 0))
        x["conv2"] = self.act(tf.nn.bias_add(tf.nn.conv2d(x["pool1"], weight, **UNPADDED), p["conv2.bias"]))
        pool = tf.nn.max_pool2d if self.variant.pooling == "max" else tf.nn.avg_pool2d
        x["pool2"] = pool(x["conv2"], POOL, POOL, "VALID")
        x["flatten"] = last = tf.reshape(tf.transpose(x["pool2"], (0, 3, 1, 2)), (images.shape[0], -1))
        for name in self.dense:
            weight = tf.reshape(p[f"{name}.weight"], (-1, last.shape[1]))
            last = tf.matmul(last, weight, transpose_b=True) + p[f"{name}.bias"]
            x[name] = last = last if name == "dense3" else self.act(last)
        return x

    def gradients(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The mean softmax cross-entropy of a batch, and every parameter's gradient."""
        x, p, found = self.forward(images), self.parameters, {}
        log_softmax = tf.nn.log_softmax(x["dense3"])
        chosen = tf.one_hot(labels, x["dense3"].shape[1], dtype=log_softmax.dtype)
        count = tf.cast(images.shape[0], log_softmax.dtype)
        loss, d = -tf.reduce_sum(log_softmax * chosen) / count, (tf.exp(log_softmax) - chosen) / count
        for name, entering in reversed(list(zip(self.dense, ["flatten", *self.dense]))):
            found[f"{name}.weight"] = tf.matmul(d, x[entering], transpose_a=True)
            found[f"{name}.bias"] = tf.reduce_sum(d, 0)
            d = tf.matmul(d, tf.reshape(p[f"{name}.weight"], (d.shape[1], -1)))
            if entering != "flatten":
                d *= self.slope(x[entering])
        d, deep = self.tail2(d, x["conv2"])
        found["conv2.bias"] = tf.raw_ops.BiasAddGrad(out_backprop=d)
        found["conv2.weight"] = tf.transpose(weight_gradient(x["pool1"], d, KERNEL), (3, 2, 0, 1))
        wide = spread(p["conv2.weight"])
        shape = (images.shape[0], *(size // POOL for size in x["pool1"].shape[1:3]), wide.shape[2])
        d = tf.raw_ops.Conv2DBackpropInput(input_sizes=shape, filter=wide, out_backprop=deep, **UNPADDED)
        d = self.tail1(d, x["conv1"])
        found["conv1.bias"] = tf.reduce_sum(tf.reshape(tf.raw_ops.BiasAddGrad(out_backprop=d), (len(CORNERS), -1)), 0)
        found["conv1.weight"] = self.finish(weight_gradient(x["to depth"], d, TAPS))
        return loss, {name: tf.reshape(value, p[name].shape) for name, value in found.items()}

    def stages(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Every stage's value, channels-last."""
        x = self.forward(images)
        x["conv1"] = from_depth(x["conv1"])
        if "conv3" in x:
            x["flatten"], x["conv3"] = x["conv3"], x["conv3"][:, None, None]
        return {name: x[name] for name in stage_shapes(self.variant)}


def weight_gradient(x: tf.Tensor, d: tf.Tensor, kernel: int) -> tf.Tensor:
    """Of an unpadded convolution without bias, channels-last."""
    shape = (kernel, kernel, x.shape[3], d.shape[3])
    return tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=shape, out_backprop=d, **UNPADDED)
