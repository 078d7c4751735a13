"""LeNet-5 from scratch in NumPy, with backpropagation by hand.

Convolution and pooling come in two forms, `loops` and `im2col` (see `numpy_layers.py`); all else is
the same in both modes. The expert's mode has a file of its own, `expert_numpy.py`, and so have variants
that are no LeNet-5 as textbooks write it, `layered_numpy.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from backends.expert_numpy import SpaceToDepth
from backends.interface import Setup, Unsupported
from backends.layered_numpy import Layered
from backends.lenet import LENETS, Variant
from backends.numpy_layers import ACTIVATIONS, LAYERS, SLOPES, Layers

Array = np.ndarray
version = np.__version__
SPACE_TO_DEPTH = "space_to_depth"


class LeNet:
    """The network's forward and backward pass; `backward` leaves the gradients in `gradients`."""

    def __init__(self, variant: Variant, weights: dict[str, Array], layers: Layers) -> None:
        self.variant, self.weights, self.layers = variant, weights, layers
        self.gradients: dict[str, Array] = {}
        self.kept: dict[str, Array] = {}

    def forward(self, images: Array) -> dict[str, Array]:
        """Every stage's value, from (N, 1, H, W) images to (N, 10) logits."""
        act = ACTIVATIONS[self.variant.activation]
        x = {"input": images}
        x["conv1"] = act(self.conv("conv1", x["input"]))
        x["pool1"] = self.pool("pool1", x["conv1"])
        x["conv2"] = act(self.conv("conv2", x["pool1"]))
        x["pool2"] = self.pool("pool2", x["conv2"])
        if "conv3" in self.variant:
            x["conv3"] = act(self.conv("conv3", x["pool2"]))
            x["flatten"] = x["conv3"].reshape(len(images), -1)
            x["dense2"] = act(self.dense("dense2", x["flatten"]))
        else:
            x["flatten"] = x["pool2"].reshape(len(images), -1)
            x["dense1"] = act(self.dense("dense1", x["flatten"]))
            x["dense2"] = act(self.dense("dense2", x["dense1"]))
        x["dense3"] = self.dense("dense3", x["dense2"])
        return x

    def backward(self, x: dict[str, Array], d: Array) -> None:
        """From the gradient of the logits back to the first layer's weights; `x` is what `forward` gave."""
        slope = SLOPES[self.variant.activation]
        d = self.dense_backward("dense3", x["dense2"], d) * slope(x["dense2"])
        if "conv3" in self.variant:
            d = self.dense_backward("dense2", x["flatten"], d).reshape(x["conv3"].shape)
            d = self.conv_backward("conv3", d * slope(x["conv3"]))
        else:
            d = self.dense_backward("dense2", x["dense1"], d) * slope(x["dense1"])
            d = self.dense_backward("dense1", x["flatten"], d).reshape(x["pool2"].shape)
        d = self.pool_backward("pool2", x["conv2"], d) * slope(x["conv2"])
        d = self.conv_backward("conv2", d)
        d = self.pool_backward("pool1", x["conv1"], d) * slope(x["conv1"])
        self.conv_backward("conv1", d, first=True)

    def conv(self, name: str, x: Array) -> Array:
        weight, bias, padding = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], self.variant[name].padding
        y, self.kept[name] = self.layers.conv(x, weight, bias, padding)
        return y

    def conv_backward(self, name: str, d: Array, first: bool = False) -> Array:
        """The gradient of the layer's input, unless it is the first layer, which needs none."""
        self.gradients[f"{name}.bias"] = d.sum((0, 2, 3))
        weight, padding = self.weights[f"{name}.weight"], self.variant[name].padding
        dx, self.gradients[f"{name}.weight"] = self.layers.conv_backward(d, self.kept[name], weight, padding, first)
        return dx

    def pool(self, name: str, x: Array) -> Array:
        return self.layers.pool(x, self.variant[name].kernel, self.variant.pooling)

    def pool_backward(self, name: str, x: Array, d: Array) -> Array:
        return self.layers.pool_backward(d, x, self.variant[name].kernel, self.variant.pooling)

    def dense(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def dense_backward(self, name: str, x: Array, d: Array) -> Array:
        self.gradients[f"{name}.weight"] = d.T @ x
        self.gradients[f"{name}.bias"] = d.sum(0)
        return d @ self.weights[f"{name}.weight"]


def softmax_cross_entropy(logits: Array, labels: Array, rubbish: float | None = None) -> tuple[Array, Array]:
    """The mean loss of (N, 10) logits, a scalar, and its gradient (N, 10): (softmax - one-hot) / N.

    `rubbish` is the logit of a class more, which is never right.
    """
    if rubbish is not None:
        logits = np.pad(logits, ((0, 0), (0, 1)), constant_values=rubbish)
        loss, gradient = softmax_cross_entropy(logits, labels)
        return loss, gradient[:, :-1]
    shifted = logits - logits.max(1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(log_softmax)
    gradient[rows, labels] -= 1
    return -log_softmax[rows, labels].mean(), gradient / len(labels)


class Trainer:
    """Plain SGD; NumPy computes before it returns, so `wait` has nothing to wait for."""

    def __init__(self, network: LeNet | Layered, dtype: np.dtype[Any], learning_rate: float) -> None:
        self.network, self.dtype = network, dtype
        # A scalar of the weights' own type: under NumPy < 2 and >= 2 alike, the step stays in that type.
        self.learning_rate = dtype.type(learning_rate)

    def put(self, images: Array, labels: Array) -> list[tuple[Array, Array]]:
        return list(zip(images.astype(self.dtype), labels))

    def train(self, chunk: list[tuple[Array, Array]]) -> Array:
        return np.array([self.step(images, labels) for images, labels in chunk])

    def step(self, images: Array, labels: Array) -> Array:
        stages = self.network.forward(images)
        loss, gradient = softmax_cross_entropy(stages["dense3"], labels, self.network.variant.rubbish)
        self.network.backward(stages, gradient)
        for name, weight in self.network.weights.items():
            weight -= self.learning_rate * self.network.gradients[name]
        return loss

    def wait(self, pending: Array) -> Array:
        return pending

    def stages(self, chunk: list[tuple[Array, Array]]) -> dict[str, Array]:
        return self.network.forward(chunk[0][0])

    def weights(self) -> dict[str, Array]:
        return {name: weight.copy() for name, weight in self.network.weights.items()}

    def device(self) -> str:
        return "cpu"


def build(variant: Variant, weights: Mapping[str, Array], setup: Setup) -> Trainer | SpaceToDepth:
    if setup.device != "cpu":
        raise Unsupported("device", f"NumPy runs on the CPU only, not on {setup.device}; run with --device cpu")
    if setup.precision not in ("float32", "float64"):
        raise Unsupported("precision", f"NumPy has no {setup.precision} arithmetic; use float32 or float64")
    modes = (*LAYERS, SPACE_TO_DEPTH)
    if setup.mode not in modes:
        raise Unsupported("mode", f"{setup.mode!r} is none of {', '.join(modes)}")
    if variant.name not in LENETS and setup.mode != "im2col":
        raise Unsupported("variant", f"{variant.name} is defined in mode im2col only")
    dtype = np.dtype(setup.precision)
    own = {name: np.array(value, dtype) for name, value in weights.items()}
    if setup.mode == SPACE_TO_DEPTH:
        return SpaceToDepth(variant, own, setup)
    network = LeNet if variant.name in LENETS else Layered
    return Trainer(network(variant, own, LAYERS[setup.mode]), dtype, setup.learning_rate)


def switches() -> dict[str, str]:
    # NumPy cannot be asked for its BLAS threads; the variables were read when it was imported.
    return {name: os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def peak_device_bytes() -> None:
    return None
