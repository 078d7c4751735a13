"""LeNet-5 in Flax's newer API, nnx: modules that hold their parameters, and an optimizer that changes them in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax
from flax import nnx

from backends.lenet import Variant, widths

ACTIVATIONS = {"sigmoid": nnx.sigmoid, "tanh": nnx.tanh, "relu": nnx.relu}
POOLINGS = {"average": nnx.avg_pool, "max": nnx.max_pool}


class LeNet(nnx.Module):
    """The network as Flax's nnx tutorials write it; a layer's attribute has its canonical name."""

    def __init__(self, variant: Variant, dtype: Any, rngs: nnx.Rngs) -> None:
        v, width = variant, widths(variant)
        # No time goes into drawing weights: they are given.
        own = {"dtype": dtype, "param_dtype": dtype, "rngs": rngs, "kernel_init": nnx.initializers.zeros}
        self.act, self.pool = ACTIVATIONS[v.activation], POOLINGS[v.pooling]
        conv1, conv2 = v["conv1"], v["conv2"]
        self.conv1 = nnx.Conv(width["input"], width["conv1"], (conv1.kernel,) * 2, padding=conv1.padding, **own)
        self.conv2 = nnx.Conv(width["conv1"], width["conv2"], (conv2.kernel,) * 2, padding=0, **own)
        self.c5_is_convolution = "conv3" in v
        if self.c5_is_convolution:
            self.conv3 = nnx.Conv(width["conv2"], width["conv3"], (v["conv3"].kernel,) * 2, padding=0, **own)
        else:
            self.dense1 = nnx.Linear(width["flatten"], width["dense1"], **own)
        self.dense2 = nnx.Linear(width.get("dense1", width["flatten"]), width["dense2"], **own)
        self.dense3 = nnx.Linear(width["dense2"], width["dense3"], **own)

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        act, pool = self.act, self.pool
        x = {"input": images}
        x["conv1"] = act(self.conv1(x["input"]))
        x["pool1"] = pool(x["conv1"], (2, 2), (2, 2))
        x["conv2"] = act(self.conv2(x["pool1"]))
        x["pool2"] = pool(x["conv2"], (2, 2), (2, 2))
        if self.c5_is_convolution:
            x["conv3"] = act(self.conv3(x["pool2"]))
            x["flatten"] = c5 = x["conv3"].reshape(len(images), -1)
        else:
            x["flatten"] = x["pool2"].reshape(len(images), -1)
            x["dense1"] = c5 = act(self.dense1(x["flatten"]))
        x["dense2"] = act(self.dense2(c5))
        x["dense3"] = self.dense3(x["dense2"])
        return x


def training_step(module: LeNet, loss: Callable[..., jax.Array], learning_rate: float) -> Callable[..., jax.Array]:
    """A function of images and labels that trains the module by one step and returns the loss.

    `loss` is a function of logits and labels. What is called in every step is the cached form that
    the guide on performance advises, without the module's traversal at each call.
    """
    optimizer = nnx.Optimizer(module, optax.sgd(learning_rate), wrt=nnx.Param)

    @nnx.jit
    def step(module: LeNet, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array) -> jax.Array:
        value, gradients = nnx.value_and_grad(lambda module: loss(module(images)["dense3"], labels))(module)
        optimizer.update(module, gradients)
        return value

    return nnx.cached_partial(step, module, optimizer)
