"""LeNet-5 in MXNet Gluon: `imperative`, the same blocks after `hybridize()`, and those with static memory.

`space_to_depth` has its convolutions from `expert_mxnet.py`; variants that are no LeNet-5 as tutorials write it
are in `layered_mxnet.py`.
MXNet retired in 2023; 1.9.1 runs where NumPy < 1.24 does. Every operation returns at once and an
engine works the queue off, so `wait` is `waitall`. Its CUDA builds ended with CUDA 11.2, hence CPU only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from mxnet.gluon import nn

from backends.expert_mxnet import ConvolutionAndPooling, WideConvolution
from backends.interface import Setup, Unsupported
from backends.layered_mxnet import Layered
from backends.lenet import LENETS, Variant, weight_shapes, widths

version = mx.__version__

POOLINGS = {"average": nn.AvgPool2D, "max": nn.MaxPool2D}
# How each mode hybridizes; imperative does not.
STATIC = {"static_alloc": True, "static_shape": True}
MODES: dict[str, dict[str, bool] | None] = {
    "imperative": None,
    "hybridize": {},
    "static": STATIC,
    "space_to_depth": STATIC,
}


class LeNet(gluon.HybridBlock):
    """The network as Gluon's tutorials write it; a parameter's name is the canonical one with `_` for `.`."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(prefix="")
        v, width, act, pool = variant, widths(variant), variant.activation, POOLINGS[variant.pooling]
        self.conv1 = nn.Conv2D(
            width["conv1"], v["conv1"].kernel, padding=v["conv1"].padding, activation=act, prefix="conv1_"
        )
        self.pool1 = pool(2)
        self.conv2 = nn.Conv2D(width["conv2"], v["conv2"].kernel, activation=act, prefix="conv2_")
        self.pool2 = pool(2)
        self.flatten = nn.Flatten()
        if "conv3" in v:
            self.conv3 = nn.Conv2D(width["conv3"], v["conv3"].kernel, activation=act, prefix="conv3_")
        else:
            self.dense1 = nn.Dense(width["dense1"], activation=act, prefix="dense1_")
        self.dense2 = nn.Dense(width["dense2"], activation=act, prefix="dense2_")
        self.dense3 = nn.Dense(width["dense3"], prefix="dense3_")
        self.c5_is_convolution = "conv3" in v

    def stages(self, images: Any) -> dict[str, Any]:
        x = {"input": images}
        x["conv1"] = self.conv1(x["input"])
        x["pool1"] = self.pool1(x["conv1"])
        x["conv2"] = self.conv2(x["pool1"])
        x["pool2"] = self.pool2(x["conv2"])
        return {**x, **self.dense_stages(x["pool2"])}

    def dense_stages(self, pool2: Any) -> dict[str, Any]:
        x = {}
        if self.c5_is_convolution:
            x["conv3"] = self.conv3(pool2)
            x["flatten"] = c5 = self.flatten(x["conv3"])
        else:
            x["flatten"] = self.flatten(pool2)
            x["dense1"] = c5 = self.dense1(x["flatten"])
        x["dense2"] = self.dense2(c5)
        x["dense3"] = self.dense3(x["dense2"])
        return x

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        return self.stages(images)["dense3"]


class SpaceToDepth(LeNet):
    """The expert's convolutions before the same dense layers."""

    def __init__(self, variant: Variant) -> None:
        super().__init__(variant)
        self.first, self.second = ConvolutionAndPooling(variant, self.conv1), WideConvolution(variant, self.conv2)

    def stages(self, images: Any) -> dict[str, Any]:
        pooled = self.first(images)
        x = {"input": images, "conv1": self.first.stage(images), "conv2": self.second(pooled)}
        x["pool1"] = pooled.slice_axis(1, 0, x["conv1"].shape[1])
        x["pool2"] = self.pool2(x["conv2"])
        return {**x, **self.dense_stages(x["pool2"])}

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        return self.dense_stages(self.pool2(self.second(self.first(images))))["dense3"]


class Trainer:
    """autograd, `gluon.Trainer` and a mean loss, so that the trainer's own rescaling is by 1."""

    def __init__(self, variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> None:
        self.dtype = setup.precision
        kind = SpaceToDepth if setup.mode == "space_to_depth" else LeNet if variant.name in LENETS else Layered
        self.network = kind(variant)
        shapes = weight_shapes(variant)
        own = self.network.collect_params()
        for name, shape in shapes.items():
            own[name.replace(".", "_")].shape = shape
        # Random initialisers draw float32 only and fail in float64; zeros do not, and are overwritten here.
        self.network.initialize(mx.init.Zero(), ctx=mx.cpu())
        self.network.cast(self.dtype)
        self.network(mx.nd.zeros((1, variant.input_channels, variant.input_size, variant.input_size), dtype=self.dtype))
        self.parameters = {name: own[name.replace(".", "_")] for name in shapes}
        for name, value in weights.items():
            self.parameters[name].set_data(mx.nd.array(value, dtype=self.dtype))
        hybrid = MODES[setup.mode]
        if hybrid is not None:
            self.network.hybridize(**hybrid)
        self.loss = gluon.loss.SoftmaxCrossEntropyLoss()
        self.loss.cast(self.dtype)
        self.sgd = gluon.Trainer(self.network.collect_params(), "sgd", {"learning_rate": setup.learning_rate})

    def put(self, images: np.ndarray, labels: np.ndarray) -> list[tuple[Any, Any]]:
        # Labels have the type of the logits: Gluon's loss picks by a number of any type.
        chunk = [(mx.nd.array(x, dtype=self.dtype), mx.nd.array(y, dtype=self.dtype)) for x, y in zip(images, labels)]
        mx.nd.waitall()
        return chunk

    def train(self, chunk: list[tuple[Any, Any]]) -> list[Any]:
        return [self.step(images, labels) for images, labels in chunk]

    def step(self, images: Any, labels: Any) -> Any:
        with autograd.record():
            loss = self.loss(self.network(images), labels).mean()
        loss.backward()
        self.sgd.step(1)
        return loss

    def wait(self, pending: list[Any]) -> np.ndarray:
        mx.nd.waitall()
        return np.array([loss.asscalar() for loss in pending])

    def stages(self, chunk: list[tuple[Any, Any]]) -> dict[str, np.ndarray]:
        return {name: value.asnumpy() for name, value in self.network.stages(chunk[0][0]).items()}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: p.data().asnumpy() for name, p in self.parameters.items()}

    def device(self) -> str:
        return " ".join(sorted({p.data().context.device_type for p in self.parameters.values()}))


def build(variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> Trainer:
    if setup.device != "cpu":
        raise Unsupported("device", f"MXNet {version} has no CUDA build newer than CUDA 11.2; run with --device cpu")
    if setup.precision not in ("float32", "float64"):
        raise Unsupported("precision", f"MXNet trains in float32 and float64 here, not in {setup.precision}")
    if setup.mode not in MODES:
        raise Unsupported("mode", f"{setup.mode!r} is none of {', '.join(MODES)}")
    if variant.name not in LENETS and setup.mode != "hybridize":
        raise Unsupported("variant", f"{variant.name} is defined in mode hybridize only")
    return Trainer(variant, weights, setup)


def switches() -> dict[str, str]:
    # MXNet reads these when it is imported and cannot be asked afterwards.
    names = ("OMP_NUM_THREADS", "MXNET_CPU_WORKER_NTHREADS", "MXNET_ENGINE_TYPE")
    return {
        **{name: os.environ.get(name, "") for name in names},
        "onednn": str(mx.runtime.Features().is_enabled("MKLDNN")),
    }


def peak_device_bytes() -> None:
    return None
