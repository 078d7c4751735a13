"""Any variant in TensorFlow, layer by layer from its data: for networks that are no LeNet as tutorials write it.

Channels last, as TensorFlow's convolutions on a CPU want it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from backends.channels_last import weights_to_channels_last
from backends.lenet import Conv, Dense, Flatten, Pool, Subsample, Variant, connected, is_activated
from backends.prototypes import prototypes

POOLINGS = {"average": tf.nn.avg_pool2d, "max": tf.nn.max_pool2d}


def activate(name: str, x: tf.Tensor) -> tf.Tensor:
    if name == "scaled_tanh":
        return 1.7159 * tf.tanh(x * (2 / 3))
    return {"sigmoid": tf.sigmoid, "tanh": tf.tanh, "relu": tf.nn.relu}[name](x)


class Layered:
    """`parameters` by canonical name, laid out channels last; their gradients by a GradientTape."""

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], dtype: str) -> None:
        self.variant = variant
        laid_out = weights_to_channels_last(variant, weights)
        self.parameters = {name: tf.Variable(value.astype(dtype), name=name) for name, value in laid_out.items()}
        masks = {name: mask.transpose(2, 3, 1, 0) for name, mask in connected(variant).items()}
        self.masks = {name: tf.constant(mask, dtype) for name, mask in masks.items()}
        self.prototypes = tf.constant(prototypes(), dtype)

    def stages(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Every stage's value, from (N, H, W, 1) images to (N, 10) logits."""
        x, value, p = {"input": images}, images, self.parameters
        for layer in self.variant.layers:
            weight, bias = f"{layer.name}.weight", f"{layer.name}.bias"
            if isinstance(layer, Conv):
                kernels = p[weight] * self.masks[weight] if weight in self.masks else p[weight]
                around = [[0, 0], [layer.padding] * 2, [layer.padding] * 2, [0, 0]]
                value = tf.nn.conv2d(value, kernels, 1, around) + p[bias]
            elif isinstance(layer, Pool):
                value = POOLINGS[self.variant.pooling](value, layer.kernel, layer.kernel, "VALID")
            elif isinstance(layer, Subsample):
                total = tf.nn.avg_pool2d(value, layer.kernel, layer.kernel, "VALID") * layer.kernel**2
                value = total * p[weight] + p[bias]
            elif isinstance(layer, Flatten):
                value = tf.reshape(value, (-1, math.prod(value.shape[1:])))
            elif isinstance(layer, Dense):
                value = value @ p[weight] + p[bias]
            else:
                value = -tf.reduce_sum(tf.square(value[:, None] - self.prototypes), 2)
            if is_activated(self.variant, layer):
                value = activate(self.variant.activation, value)
            x[layer.name] = value
        return x

    def gradients(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The mean softmax cross-entropy, with the variant's class for rubbish, and every parameter's gradient."""
        with tf.GradientTape() as tape:
            logits = self.stages(images)[self.variant.layers[-1].name]
            if self.variant.rubbish is not None:
                logits = tf.pad(logits, [[0, 0], [0, 1]], constant_values=self.variant.rubbish)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return loss, tape.gradient(loss, self.parameters)
