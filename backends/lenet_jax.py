"""LeNet-5 in JAX with Flax linen: `jit` compiles the whole training step, `scan` a loop of steps.

`nnx` is Flax's newer API (`flax_nnx.py`); `space_to_depth` has a file of its own, `expert_jax.py`, and so have
variants that are no LeNet-5 as tutorials write it, `layered_jax.py`.
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
from flax import nnx

from backends.channels_last import (
    images_to_channels_last,
    stages_from_channels_last,
    weights_from_channels_last,
    weights_to_channels_last,
)
from backends.expert_jax import SpaceToDepth
from backends.flax_nnx import LeNet as NnxLeNet
from backends.flax_nnx import training_step
from backends.interface import Setup, Unsupported
from backends.layered_jax import Layered
from backends.lenet import LENETS, Variant, widths

version = jax.__version__
Params = Any

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


class Linen:
    """The module above as functions of its parameters, with what goes in and out of it in Flax's layout."""

    donates = False

    def __init__(self, variant: Variant, dtype: Any) -> None:
        self.variant, self.dtype, self.module = variant, dtype, LeNet(variant, dtype)

    def pack(self, weights: Mapping[str, np.ndarray]) -> Params:
        """Canonical weights as Flax's nested dictionary."""
        params: dict[str, dict[str, jax.Array]] = {}
        for name, value in weights_to_channels_last(self.variant, weights).items():
            layer, kind = name.split(".")
            params.setdefault(layer, {})["kernel" if kind == "weight" else kind] = jnp.asarray(value, self.dtype)
        return params

    def unpack(self, params: Params) -> dict[str, np.ndarray]:
        flat = {
            f"{layer}.{'weight' if kind == 'kernel' else kind}": np.array(value)
            for layer, kinds in params.items()
            for kind, value in kinds.items()
        }
        return weights_from_channels_last(self.variant, flat)

    def lay_out(self, images: np.ndarray) -> np.ndarray:
        return images_to_channels_last(images).astype(self.dtype)

    def logits(self, params: Params, images: jax.Array) -> jax.Array:
        return self.stages(params, images)["dense3"]

    def stages(self, params: Params, images: jax.Array) -> dict[str, jax.Array]:
        return self.module.apply({"params": params}, images)

    def canonical(self, stages: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return stages_from_channels_last(self.variant, stages)


NETWORKS: dict[str, type[Linen | SpaceToDepth | Layered]] = {
    "jit": Linen,
    "nnx": Linen,
    "scan": Linen,
    "space_to_depth": SpaceToDepth,
}


class Trainer:
    """`params` is whatever the network's functions take as its parameters, replaced by every step."""

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> None:
        dtype = jnp.float64 if setup.precision == "float64" else jnp.float32
        kind = NETWORKS[setup.mode] if variant.name in LENETS else Layered
        network = self.network = kind(variant, dtype)
        self.place = jax.devices(setup.device)[0]
        self.params = jax.device_put(network.pack(weights), self.place)

        def loss(params: Params, images: jax.Array, labels: jax.Array) -> jax.Array:
            return cross_entropy(network.logits(params, images), labels)

        def step(params: Params, images: jax.Array, labels: jax.Array) -> tuple[Params, jax.Array]:
            value, gradients = jax.value_and_grad(loss)(params, images, labels)
            return jax.tree.map(lambda p, g: p - setup.learning_rate * g, params, gradients), value

        self.step = jax.jit(step, donate_argnums=0 if network.donates else ())
        self.stage_values = jax.jit(network.stages)

    def put(self, images: np.ndarray, labels: np.ndarray) -> list[tuple[jax.Array, jax.Array]]:
        chunk = [jax.device_put((x, y), self.place) for x, y in zip(self.network.lay_out(images), labels)]
        return jax.block_until_ready(chunk)

    def train(self, chunk: list[tuple[jax.Array, jax.Array]]) -> list[jax.Array]:
        losses = []
        for images, labels in chunk:
            self.params, loss = self.step(self.params, images, labels)
            losses.append(loss)
        return losses

    def wait(self, pending: list[jax.Array]) -> np.ndarray:
        jax.block_until_ready(self.params)
        return np.array(pending)

    def stages(self, chunk: list[tuple[jax.Array, jax.Array]]) -> dict[str, np.ndarray]:
        values = self.stage_values(self.params, chunk[0][0])
        return self.network.canonical({name: np.asarray(value) for name, value in values.items()})

    def weights(self) -> dict[str, np.ndarray]:
        return self.network.unpack(self.params)

    def device(self) -> str:
        places = {place for value in jax.tree.leaves(self.params) for place in value.devices()}
        return " ".join(sorted("cpu" if at.platform == "cpu" else f"cuda:{at.id}" for at in places))


class ScanTrainer(Trainer):
    """All steps of a chunk in one compiled loop, `jax.lax.scan`; a chunk is two stacked arrays."""

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> None:
        super().__init__(variant, weights, setup)
        step = self.step

        def steps(params: Params, images: jax.Array, labels: jax.Array) -> tuple[Params, jax.Array]:
            return jax.lax.scan(lambda params, batch: step(params, *batch), params, (images, labels))

        self.steps = jax.jit(steps)

    def put(self, images: np.ndarray, labels: np.ndarray) -> Any:
        return jax.block_until_ready(jax.device_put((self.network.lay_out(images), labels), self.place))

    def train(self, chunk: Any) -> Any:
        self.params, losses = self.steps(self.params, *chunk)
        return losses


class NnxTrainer(Trainer):
    """The same around a module that holds its parameters; `params` follows it."""

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> None:
        super().__init__(variant, weights, setup)
        with jax.default_device(self.place):
            self.module = NnxLeNet(variant, self.network.dtype, nnx.Rngs(0))
        for name, own in self.params.items():
            for kind, value in own.items():
                getattr(getattr(self.module, name), kind)[...] = value
        self.module_step = training_step(self.module, cross_entropy, setup.learning_rate)
        stages = nnx.jit(lambda module, images: module(images))
        self.stage_values = lambda params, images: stages(self.module, images)

    def train(self, chunk: list[tuple[jax.Array, jax.Array]]) -> list[jax.Array]:
        losses = [self.module_step(images, labels) for images, labels in chunk]
        self.params = {
            name: {kind: getattr(getattr(self.module, name), kind)[...] for kind in own}
            for name, own in self.params.items()
        }
        return losses


TRAINERS = {"nnx": NnxTrainer, "scan": ScanTrainer}


def build(variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> Trainer:
    if setup.device not in ("cpu", "cuda"):
        raise Unsupported("device", f"JAX has no code path for {setup.device!r}; run with --device cpu or cuda")
    try:
        jax.devices(setup.device)
    except RuntimeError as error:
        raise Unsupported("device", f"JAX {version} sees no {setup.device} device; run with --device cpu") from error
    if setup.precision not in MATMUL_PRECISION or (setup.precision == "tf32" and setup.device == "cpu"):
        raise Unsupported("precision", f"no {setup.precision} on {setup.device} here; use float32 or float64")
    if setup.mode not in NETWORKS:
        raise Unsupported("mode", f"{setup.mode!r} is none of {', '.join(NETWORKS)}")
    if variant.name not in LENETS and setup.mode != "jit":
        raise Unsupported("variant", f"{variant.name} is defined in mode jit only")
    jax.config.update("jax_enable_x64", setup.precision == "float64")
    jax.config.update("jax_default_matmul_precision", MATMUL_PRECISION[setup.precision])
    return TRAINERS.get(setup.mode, Trainer)(variant, weights, setup)


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
