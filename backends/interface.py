"""The whole contract between a backend and the harness.

A backend is a module with `version`, `build`, `switches` and `peak_device_bytes` (see `Backend`).
`build` returns a `Trainer` or raises `Unsupported`. Policy is the place of a call, not a flag:
synchronous or asynchronous training is where the harness calls `wait`, resident or streamed data is
where it calls `put`, and compile time is the first `wait(train(chunk))`.

Data crosses this boundary as NumPy arrays in canonical layout (see `lenet.py`); what a framework
calls its tensors never leaves the backend's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backends.lenet import LEARNING_RATE, Variant


@dataclass(frozen=True)
class Setup:
    """How a network runs; what the network is, `Variant` says.

    `precision` is one of `float32`, `float64`, `tf32`, `bfloat16`. `float32` and `tf32` differ: the
    first forbids the tensor cores' 10-bit mantissa, the second asks for it.
    """

    mode: str
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    learning_rate: float = LEARNING_RATE


class Unsupported(Exception):
    """A backend cannot do what a setup asks; `part` is the field of `Setup` (or `variant`) at fault."""

    def __init__(self, part: str, why: str) -> None:
        super().__init__(f"{part}: {why}")
        self.part = part
        self.why = why


class Trainer(Protocol):
    """A network with its weights on a device, ready to train. Six verbs, all of them required.

    `chunk` and `pending` are opaque: only the trainer that made them reads them.
    """

    def put(self, images: np.ndarray, labels: np.ndarray) -> Any:
        """Move K batches to the device: images (K, N, 1, H, W) float32, labels (K, N) int64."""

    def train(self, chunk: Any) -> Any:
        """Submit K steps of plain SGD on the mean softmax cross-entropy; may return before they are done."""

    def wait(self, pending: Any) -> np.ndarray:
        """Block until every submitted weight update has landed; the K losses, each before its update."""

    def stages(self, chunk: Any) -> dict[str, np.ndarray]:
        """Every stage's output for the chunk's first batch, in canonical layout; trains nothing."""

    def weights(self) -> dict[str, np.ndarray]:
        """A copy of the weights as they are now, in canonical layout."""

    def device(self) -> str:
        """Where the weights live, asked of the arrays themselves: `cpu`, or `cuda` and the GPU's index."""


class Backend(Protocol):
    """A module `backends/lenet_<framework>.py`, or a third party's."""

    version: str

    def build(self, variant: Variant, weights: Mapping[str, np.ndarray], setup: Setup) -> Trainer:
        """A trainer that starts from `weights` (float32, canonical layout). Raises `Unsupported`.

        Every process-wide switch that matters (threads, TF32, x64) is assigned here, never only
        switched on, so that what an earlier trainer set does not leak into this one.
        """

    def switches(self) -> dict[str, str]:
        """The state of every process-wide switch, read back from the framework, for the record."""

    def peak_device_bytes(self) -> int | None:
        """The most memory the framework has held on the GPU, in bytes; None on a CPU."""
