"""LeNet-5 in JAX with Flax linen: `jit` compiles the whole training step.

JAX returns before the work is done, on a CPU too, so `wait` blocks on the updated weights and not
only on the losses. Flax keeps channels last. JAX has no switch for its threads: the process's CPU
affinity is what limits them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from backends.channels_last import (
    images_to_channels_last,
    stages_from_channels_last,
    weights_from_channels_last,
    weights_to_channels_last,
)
from backends.interface import Setup, Unsupported
from backends.lenet import Variant, widths

version = jax.__version__

ACTIVATIONS = {"sigmoid": nn.sigmoid, "tanh": nn.tanh, "relu": nn.relu}
POOLINGS = {"average": nn.avg_pool, "max": nn.max_pool}
MATMUL_PRECISION = {"float32": "highest", "float64": "highest", "tf32": "tensorfloat32"}


class LeNet(nn.Module):
    """The network as Flax's tutorials write it; returns every stage, of which `jit` keeps what is used."""

    variant: Variant
    dtype: Any

    @nn.compact
    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        v, width = self.variant, widths(self.variant)
        act, pool = ACTIVATIONS[v.activation], POOLINGS[v.pooling]
        own = {"dtype": self.dtype, "param_dtype": self.dtype}
        kernel = {name: (v[name].kernel,) * 2 for name in ("conv1", "conv2", "conv3") if name in v}
        x = {"input": images}
        x["conv1"] = act(
            nn.Conv(width["conv1"], kernel["conv1"], padding=v["conv1"].padding, name="conv1", **own)(images)
        )
        x["pool1"] = pool(x["conv1"], (2, 2), (2, 2))
        x["conv2"] = act(nn.Conv(width["conv2"], kernel["conv2"], padding=0, name="conv2", **own)(x["pool1"]))
        x["pool2"] = pool(x["conv2"], (2, 2), (2, 2))
        if "conv3" in v:
            x["conv3"] = act(nn.Conv(width["conv3"], kernel["conv3"], padding=0, name="conv3", **own)(x["pool2"]))
            x["flatten"] = c5 = x["conv3"].reshape(len(images), -1)
        else:
            x["flatten"] = x["pool2"].reshape(len(images), -1)
            x["dense1"] = c5 = act(nn.Dense(width["dense1"], name="dense1", **own)(x["flatten"]))
        x["dense2"] = act(nn.Dense(width["dense2"], name="dense2", **own)(c5))
        x["dense3"] = nn.Dense(width["dense3"], name="dense3", **own)(x["dense2"])
        return x


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean over the batch of softmax cross-entropy with integer labels."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


class Trainer:
    """`params` is Flax's nested dictionary, replaced by every step."""

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> None:
        self.variant, self.dtype = variant, jnp.float64 if setup.precision == "float64" else jnp.float32
        self.place = jax.devices(setup.device)[0]
        network = LeNet(variant, self.dtype)
        params: dict[str, dict[str, jax.Array]] = {}
        for name, value in weights_to_channels_last(variant, weights).items():
            layer, kind = name.split(".")
            own = jax.device_put(jnp.asarray(value, self.dtype), self.place)
            params.setdefault(layer, {})["kernel" if kind == "weight" else kind] = own
        self.params = params

        def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
            return cross_entropy(network.apply({"params": params}, images)["dense3"], labels)

        @jax.jit
        def step(params: Any, images: jax.Array, labels: jax.Array) -> tuple[Any, jax.Array]:
            value, gradients = jax.value_and_grad(loss)(params, images, labels)
            return jax.tree.map(lambda p, g: p - setup.learning_rate * g, params, gradients), value

        self.step = step
        self.stage_values = jax.jit(lambda params, images: network.apply({"params": params}, images))

    def put(self, images: np.ndarray, labels: np.ndarray) -> list[tuple[jax.Array, jax.Array]]:
        batches = images_to_channels_last(images).astype(self.dtype)
        return [jax.device_put((x, y), self.place) for x, y in zip(batches, labels)]

    def train(self, chunk: list[tuple[jax.Array, jax.Array]]) -> tuple[Any, list[jax.Array]]:
        losses = []
        for images, labels in chunk:
            self.params, loss = self.step(self.params, images, labels)
            losses.append(loss)
        return self.params, losses

    def wait(self, pending: tuple[Any, list[jax.Array]]) -> np.ndarray:
        _, losses = jax.block_until_ready(pending)
        return np.array(losses)

    def stages(self, chunk: list[tuple[jax.Array, jax.Array]]) -> dict[str, np.ndarray]:
        values = self.stage_values(self.params, chunk[0][0])
        return stages_from_channels_last(self.variant, {name: np.asarray(value) for name, value in values.items()})

    def weights(self) -> dict[str, np.ndarray]:
        flat = {
            f"{layer}.{'weight' if kind == 'kernel' else kind}": np.array(value)
            for layer, kinds in self.params.items()
            for kind, value in kinds.items()
        }
        return weights_from_channels_last(self.variant, flat)

    def device(self) -> str:
        places = {place for value in jax.tree.leaves(self.params) for place in value.devices()}
        return " ".join(sorted("cpu" if at.platform == "cpu" else f"cuda:{at.id}" for at in places))


def build(variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> Trainer:
    if setup.device not in ("cpu", "cuda"):
        raise Unsupported("device", f"JAX has no code path for {setup.device!r}; run with --device cpu or cuda")
    try:
        jax.devices(setup.device)
    except RuntimeError as error:
        raise Unsupported("device", f"JAX {version} sees no {setup.device} device; run with --device cpu") from error
    if setup.precision not in MATMUL_PRECISION or (setup.precision == "tf32" and setup.device == "cpu"):
        raise Unsupported("precision", f"no {setup.precision} on {setup.device} here; use float32 or float64")
    if setup.mode != "jit":
        raise Unsupported("mode", f"{setup.mode!r} is not jit")
    jax.config.update("jax_enable_x64", setup.precision == "float64")
    jax.config.update("jax_default_matmul_precision", MATMUL_PRECISION[setup.precision])
    return Trainer(variant, weights, setup)


def switches() -> dict[str, str]:
    return {
        "x64": str(jax.config.jax_enable_x64),
        "matmul_precision": str(jax.config.jax_default_matmul_precision),
        "cpus": str(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else "",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def peak_device_bytes() -> int | None:
    if jax.default_backend() == "cpu":
        return None
    return int((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)) or None
