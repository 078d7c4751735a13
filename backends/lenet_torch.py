"""LeNet-5 in PyTorch: `eager` with nn.Module and torch.optim, `functional` with neither.

`channels_last` is `eager` in the other memory format, `compile` is `functional` with its whole step under
torch.compile, `cuda_graph` the same recorded as a CUDA graph (`cuda_graph.py`). `space_to_depth` has a file of
its own, `expert_torch.py`, and so have variants that are no LeNet-5 as tutorials write it, `layered_torch.py`.

CUDA queues work and returns; a CPU computes before it returns. By default PyTorch allows TF32 in
convolutions and forbids it in matrix products, so `build` assigns both.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backends.cuda_graph import Captured
from backends.expert_torch import gradients as expert_gradients
from backends.expert_torch import stages as expert_stages
from backends.interface import Setup, Unsupported
from backends.layered_torch import Layered
from backends.lenet import LENETS, Variant, widths

version = torch.__version__

ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}
POOLINGS = {"average": F.avg_pool2d, "max": F.max_pool2d}
# Of (K, N, C, H, W): where the axes of what a step sees come from.
CHANNELS_FIRST, CHANNELS_LAST = (0, 1, 2, 3, 4), (0, 1, 3, 4, 2)
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "float64": torch.float64}


class LeNet(nn.Module):
    """`eager`: the network as PyTorch's tutorials write it; parameters have their canonical names."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        v, width = variant, widths(variant)
        self.act, self.pool = ACTIVATIONS[v.activation], POOLINGS[v.pooling]
        self.conv1 = nn.Conv2d(width["input"], width["conv1"], v["conv1"].kernel, padding=v["conv1"].padding)
        self.conv2 = nn.Conv2d(width["conv1"], width["conv2"], v["conv2"].kernel)
        self.c5_is_convolution = "conv3" in v
        if self.c5_is_convolution:
            self.conv3 = nn.Conv2d(width["conv2"], width["conv3"], v["conv3"].kernel)
        else:
            self.dense1 = nn.Linear(width["flatten"], width["dense1"])
        self.dense2 = nn.Linear(width.get("dense1", width["flatten"]), width["dense2"])
        self.dense3 = nn.Linear(width["dense2"], width["dense3"])

    def stages(self, images: Tensor) -> dict[str, Tensor]:
        act, pool = self.act, self.pool
        x = {"input": images}
        x["conv1"] = act(self.conv1(x["input"]))
        x["pool1"] = pool(x["conv1"], 2)
        x["conv2"] = act(self.conv2(x["pool1"]))
        x["pool2"] = pool(x["conv2"], 2)
        if self.c5_is_convolution:
            x["conv3"] = act(self.conv3(x["pool2"]))
            x["flatten"] = c5 = x["conv3"].flatten(1)
        else:
            x["flatten"] = x["pool2"].flatten(1)
            x["dense1"] = c5 = act(self.dense1(x["flatten"]))
        x["dense2"] = act(self.dense2(c5))
        x["dense3"] = self.dense3(x["dense2"])
        return x

    def forward(self, images: Tensor) -> Tensor:
        return self.stages(images)["dense3"]


def functional_stages(p: Mapping[str, Tensor], v: Variant, images: Tensor) -> dict[str, Tensor]:
    """`functional`: the same network as a function of its parameters."""
    act, pool = ACTIVATIONS[v.activation], POOLINGS[v.pooling]
    x = {"input": images}
    x["conv1"] = act(F.conv2d(x["input"], p["conv1.weight"], p["conv1.bias"], padding=v["conv1"].padding))
    x["pool1"] = pool(x["conv1"], 2)
    x["conv2"] = act(F.conv2d(x["pool1"], p["conv2.weight"], p["conv2.bias"]))
    x["pool2"] = pool(x["conv2"], 2)
    if "conv3.weight" in p:
        x["conv3"] = act(F.conv2d(x["pool2"], p["conv3.weight"], p["conv3.bias"]))
        x["flatten"] = c5 = x["conv3"].flatten(1)
    else:
        x["flatten"] = x["pool2"].flatten(1)
        x["dense1"] = c5 = act(F.linear(x["flatten"], p["dense1.weight"], p["dense1.bias"]))
    x["dense2"] = act(F.linear(c5, p["dense2.weight"], p["dense2.bias"]))
    x["dense3"] = F.linear(x["dense2"], p["dense3.weight"], p["dense3.bias"])
    return x


def eager(variant: Variant, weights: dict[str, Tensor], setup: Setup) -> Trainer:
    network = LeNet(variant).to(setup.device, DTYPES[setup.precision])
    network.load_state_dict(weights)
    if setup.mode == "channels_last":
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=setup.learning_rate)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return Trainer(setup, step, network.stages, dict(network.named_parameters()))


def functional(variant: Variant, weights: dict[str, Tensor], setup: Setup) -> Trainer:
    p = {name: value.requires_grad_() for name, value in weights.items()}
    if variant.name not in LENETS:
        layered = Layered(variant, p)
        return plain_sgd(p, layered.loss, layered.stages, setup)

    def loss_of(images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_stages(p, variant, images)["dense3"], labels)

    return plain_sgd(p, loss_of, lambda images: functional_stages(p, variant, images), setup)


def plain_sgd(
    p: dict[str, Tensor],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    stages: Callable[[Tensor], dict[str, Tensor]],
    setup: Setup,
) -> Trainer:
    parameters = list(p.values())

    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss = loss_of(images, labels)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for value, gradient in zip(parameters, gradients):
                value -= setup.learning_rate * gradient
        return loss.detach()

    return Trainer(setup, step, stages, p)


def cuda_graph(variant: Variant, weights: dict[str, Tensor], setup: Setup) -> Trainer:
    trainer = functional(variant, weights, setup)
    trainer.step = Captured(trainer.step, list(trainer.parameters.values()))
    return trainer


def compiled(variant: Variant, weights: dict[str, Tensor], setup: Setup) -> Trainer:
    p = weights

    def loss_of(p: dict[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_stages(p, variant, images)["dense3"], labels)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        gradients, loss = torch.func.grad_and_value(loss_of)(p, images, labels)
        for name, value in p.items():
            value -= setup.learning_rate * gradients[name]
        return loss

    return Trainer(setup, whole(step), lambda images: functional_stages(p, variant, images), p)


def space_to_depth(variant: Variant, weights: dict[str, Tensor], setup: Setup) -> Trainer:
    p = weights

    def step(images: Tensor, labels: Tensor) -> Tensor:
        loss, gradients = expert_gradients(p, variant, images, labels)
        for name, value in p.items():
            value -= setup.learning_rate * gradients[name]
        return loss

    return Trainer(setup, whole(step), lambda images: expert_stages(p, variant, images), p, CHANNELS_LAST)


def whole(step: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The step as one compiled graph per shape; what earlier trainers compiled in this process is forgotten."""
    torch.compiler.reset()
    return torch.compile(step, fullgraph=True, dynamic=False)


MODES = {
    "eager": eager,
    "functional": functional,
    "channels_last": eager,
    "compile": compiled,
    "cuda_graph": cuda_graph,
    "space_to_depth": space_to_depth,
}
COMPILED = ("compile", "space_to_depth")


class Trainer:
    """What the modes share: tensors in, one `step` per batch, a wait that includes the weight updates."""

    def __init__(
        self,
        setup: Setup,
        step: Callable[[Tensor, Tensor], Tensor],
        stages: Callable[[Tensor], dict[str, Tensor]],
        parameters: dict[str, Tensor],
        axes: tuple[int, ...] = CHANNELS_FIRST,
    ) -> None:
        self.setup, self.step, self.stage_values, self.parameters = setup, step, stages, parameters
        self.axes = axes

    def put(self, images: np.ndarray, labels: np.ndarray) -> list[tuple[Tensor, Tensor]]:
        device, dtype = self.setup.device, DTYPES[self.setup.precision]
        batches = torch.tensor(images.transpose(self.axes), dtype=dtype, device=device)
        return list(zip(batches, torch.tensor(labels, device=device)))

    def train(self, chunk: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        return [self.step(images, labels) for images, labels in chunk]

    def wait(self, pending: list[Tensor]) -> np.ndarray:
        if self.setup.device == "cuda":
            torch.cuda.synchronize()
        return torch.stack(pending).cpu().numpy()

    def stages(self, chunk: list[tuple[Tensor, Tensor]]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {name: value.cpu().numpy() for name, value in self.stage_values(chunk[0][0]).items()}

    def weights(self) -> dict[str, np.ndarray]:
        return {name: value.detach().cpu().numpy().copy() for name, value in self.parameters.items()}

    def device(self) -> str:
        return " ".join(sorted({str(value.device) for value in self.parameters.values()}))


def build(variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> Trainer:
    if setup.device not in ("cpu", "cuda"):
        raise Unsupported("device", f"torch has no code path for {setup.device!r}; run with --device cpu or cuda")
    if setup.device == "cuda" and not torch.cuda.is_available():
        raise Unsupported("device", f"torch {version} sees no CUDA device; run with --device cpu")
    if setup.precision not in DTYPES or (setup.precision == "tf32" and setup.device == "cpu"):
        raise Unsupported("precision", f"torch has no {setup.precision} on {setup.device}; use float32 or float64")
    if setup.mode not in MODES:
        raise Unsupported("mode", f"{setup.mode!r} is none of {', '.join(MODES)}")
    if variant.name not in LENETS and setup.mode != "functional":
        raise Unsupported("variant", f"{variant.name} is defined in mode functional only")
    if setup.mode == "cuda_graph" and setup.device != "cuda":
        raise Unsupported("mode", "a cuda_graph needs a CUDA device; run with --device cuda")
    if setup.mode in COMPILED and setup.device == "cpu" and (lacking := no_compiler()):
        raise Unsupported("mode", f"{setup.mode} needs torch.compile, which needs {lacking}")
    torch.set_num_threads(setup.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = setup.precision == "tf32"
    own = {
        name: torch.tensor(value, dtype=DTYPES[setup.precision], device=setup.device) for name, value in weights.items()
    }
    return MODES[setup.mode](variant, own, setup)


def no_compiler() -> str:
    """What torch.compile lacks here to turn its code for a CPU into a library; empty where nothing."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX") or usual
    if not shutil.which(compiler):
        return f"a C++ compiler ({compiler}); install one, or name it in CXX"
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        return "the C headers of this Python; install its development package"
    return ""


def switches() -> dict[str, str]:
    return {
        "threads": str(torch.get_num_threads()),
        "interop_threads": str(torch.get_num_interop_threads()),
        "tf32_matmul": str(torch.backends.cuda.matmul.allow_tf32),
        "tf32_conv": str(torch.backends.cudnn.allow_tf32),
        "cudnn_benchmark": str(torch.backends.cudnn.benchmark),
        "deterministic": str(torch.are_deterministic_algorithms_enabled()),
    }


def peak_device_bytes() -> int | None:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None
