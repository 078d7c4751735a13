"""A subject is a trainer that has been proven and warmed up, with a chunk whose size fills one round.

This runs inside a backend's own environment. What the row says about import, build and first step
is measured here, once, on the way.
"""

from __future__ import annotations

import importlib
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import backends
from backends.interface import Trainer
from backends.lenet import VARIANTS, initial_weights, weights_sha256
from bench.cases import Case
from bench.data import Dataset
from bench.equivalence import compare_training
from bench.lesson import teach

ROUND_SECONDS = {"cpu": 0.010, "cuda": 0.020}
WARM_UP_SECONDS, WARM_UP_STEPS, WARM_UP_LIMIT_SECONDS = 1.0, 20, 3.0
PROOF_CHECKPOINTS = (1, 4)


class Missing(Exception):
    """The framework is not installed where it was looked for."""


class Broken(Exception):
    """A trainer that passed the proof and then went wrong."""


@dataclass
class Subject:
    """`run` is the timed unit; `steps` and `images` are what one call of it does."""

    run: Callable[[], np.ndarray]
    steps: int
    images: int
    seconds_per_step: float
    trainer: Trainer
    module: ModuleType
    record: dict[str, Any]

    def close(self) -> dict[str, Any]:
        """The record, completed after the last round. Raises Broken where training went wrong meanwhile."""
        losses = self.run()
        if not np.isfinite(losses).all():
            raise Broken(f"the loss is {losses[-1]} after the timed rounds")
        self.record["device_observed"] = self.trainer.device()
        self.record["switches"] = self.module.switches()
        self.record["peak_rss_bytes"] = peak_rss_bytes()
        self.record["peak_device_bytes"] = self.module.peak_device_bytes()
        return self.record


def load(backend: str) -> ModuleType:
    """Import a backend's framework and then its module. Raises Missing where there is no framework."""
    entry = backends.registry()[backend]
    where = f"{entry.framework} cannot be imported by {sys.executable}"
    try:
        framework = importlib.import_module(entry.framework)
    except Exception as error:
        raise Missing(f"{where}: {type(error).__name__}: {error}") from error
    if getattr(framework, "__file__", None) is None:
        raise Missing(f"{where}: only an empty folder of that name is left")
    return backends.load(entry)


def prepare(case: Case, dataset: Dataset, warm_up_seconds: float = WARM_UP_SECONDS) -> Subject:
    """Import, build, prove against the reference, warm up, and choose how many steps fill a round.

    Raises Missing, Unsupported, Mismatch or Broken.
    """
    record: dict[str, Any] = {}
    started = time.perf_counter()
    module = load(case.backend)
    record["import_s"] = time.perf_counter() - started
    record["version"] = module.version
    record["python"] = platform.python_version()

    variant, setup = VARIANTS[case.variant], case.setup()
    weights = initial_weights(variant)
    started = time.perf_counter()
    trainer = module.build(variant, weights, setup)
    record["build_s"] = time.perf_counter() - started
    record["weights_sha256"] = weights_sha256(trainer.weights())

    calls: list[float] = []

    def timed(trainer: Trainer, chunk: Any) -> np.ndarray:
        started = time.perf_counter()
        losses = trainer.wait(trainer.train(chunk))
        calls.append(time.perf_counter() - started)
        return losses

    lesson = teach(variant, case.batch_size, PROOF_CHECKPOINTS, setup.learning_rate)
    proof = compare_training(trainer, variant, case.precision, lesson, timed)
    proof.refuse_mismatch()
    record["first_step_s"] = calls[0]
    record["proof"] = asdict(proof)
    record["stage_error"] = proof.largest("stage ")
    record["weight_error"] = proof.largest("weights")
    device = trainer.device()
    if device.split(":")[0] != case.device:
        raise Broken(f"the weights live on {device}, not on {case.device}")

    step = warm_up(trainer, dataset, case.batch_size, warm_up_seconds)
    steps = max(1, math.ceil(ROUND_SECONDS[case.device] / step))
    chunk = trainer.put(*dataset.batches(steps, case.batch_size))

    def run() -> np.ndarray:
        return trainer.wait(trainer.train(chunk))

    run()
    return Subject(run, steps, steps * case.batch_size, step, trainer, module, record)


def warm_up(trainer: Trainer, dataset: Dataset, batch_size: int, seconds: float) -> float:
    """Train until both a time and a number of steps are reached; the seconds of a step, once warm."""
    chunk = trainer.put(*dataset.batches(1, batch_size))
    started = now = time.perf_counter()
    durations: list[float] = []
    while now - started < seconds or len(durations) < WARM_UP_STEPS:
        trainer.wait(trainer.train(chunk))
        durations.append(time.perf_counter() - now)
        now += durations[-1]
        if now - started > WARM_UP_LIMIT_SECONDS:
            break
    return float(np.median(durations[len(durations) // 2 :]))


def read_dataset(name: str, folder: Path) -> Dataset:
    """The data that the harness prepared: `images.npy` and `labels.npy`, mapped and not copied."""
    return Dataset(name, np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy"))


def peak_rss_bytes() -> int | None:
    """The most main memory this process has held, in bytes; None where the system does not tell.

    Linux hands `ru_maxrss` on through fork and exec, so that a child of a large parent looks large;
    `VmHWM` starts anew.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
