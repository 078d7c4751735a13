"""A subject is a trainer that has been proven and warmed up, with a chunk whose size fills one round.

This runs inside a backend's own environment. What the row says about import, build and first step
is measured here, once, on the way.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import itertools
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
from bench import canary
from bench.cases import Case
from bench.control import MatrixProduct, is_control
from bench.data import Dataset
from bench.equivalence import compare_again, compare_training
from bench.lesson import Lesson, has_kinks, lesson_from, read_lesson, same_again, teach
from bench.reference import Reference

ROUND_SECONDS = {"cpu": 0.010, "cuda": 0.020}
# A process that has trained another batch size before is warm sooner.
WARM_UP_SECONDS, WARM_AGAIN_SECONDS, WARM_UP_STEPS, WARM_UP_LIMIT_SECONDS = 1.0, 0.3, 20, 3.0
LONG_STEP_SECONDS, WARM_STEP_SECONDS = 0.1, 0.5
PROOF_CHECKPOINTS = (1, 4)
MOST_CHUNK_BYTES = 64 << 20
# What cases before in this process have imported and trained: (backend, mode).
TRAINED: set[tuple[str, str]] = set()


class Missing(Exception):
    """The framework is not installed where it was looked for."""


class Broken(Exception):
    """A trainer that passed the proof and then went wrong."""


@dataclass(frozen=True)
class Subject:
    """`run` is the timed unit; `steps` and `images` are what one call of it does, and `again` does it untimed.

    `close`, after the last round, completes the record; it raises Broken where training went wrong meanwhile.
    """

    run: Callable[[], Any]
    again: Callable[[], Any]
    steps: int
    images: int
    seconds_per_step: float
    close: Callable[[], dict[str, Any]]


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


def prepare(case: Case, dataset: Dataset, slowdown: Slowdown | None = None, lesson: str = "") -> Subject:
    """Import, build, prove against the reference, warm up, check that it waits, and fill a round with steps.

    `slowdown` adds exact extra time to every round: what a self-check looks for; `lesson` is a file with what
    the reference makes of this case's first steps, else it is worked out here. Raises Missing,
    Unsupported, Mismatch, NotWaiting, NotTried or Broken.
    """
    if is_control(case):
        product = MatrixProduct(case.precision, ROUND_SECONDS["cpu"])
        return Subject(product.run, product.run, product.steps, 0, product.seconds_per_step, product.record)
    record: dict[str, Any] = {"python": platform.python_version()}
    started = time.perf_counter()
    module = load(case.backend)
    imported = any(backend == case.backend for backend, _ in TRAINED)
    record["import_s"] = None if imported else time.perf_counter() - started
    warm = (case.backend, case.mode) in TRAINED
    TRAINED.add((case.backend, case.mode))
    record["version"] = module.version

    variant, setup = VARIANTS[case.variant], case.setup()
    started = time.perf_counter()
    trainer = module.build(variant, initial_weights(variant), setup)
    record["build_s"] = time.perf_counter() - started
    record["weights_sha256"] = weights_sha256(trainer.weights())

    taught = read_lesson(Path(lesson)) if lesson else first_lesson(case)
    calls = prove(trainer, case, taught, record)
    device = trainer.device()
    if device.split(":")[0] != case.device:
        raise Broken(f"the weights live on {device}, not on {case.device}")

    forget_peak()
    fitting = max(1, MOST_CHUNK_BYTES // (4 * case.batch_size * variant.input_size**2))
    call_steps = min(backends.registry()[case.backend].mode(case.mode).call_steps, fitting)
    seconds = WARM_AGAIN_SECONDS if warm else WARM_UP_SECONDS
    step = warm_up(trainer, dataset, case.batch_size, call_steps, calls, seconds)
    steps = min(max(math.ceil(ROUND_SECONDS[case.device] / step), call_steps), fitting)
    chunk, double = (trainer.put(*dataset.batches(k, case.batch_size)) for k in (steps, 2 * steps))
    one = chunk if steps == 1 else trainer.put(*dataset.batches(1, case.batch_size))
    record.update(asdict(canary.check(trainer, one, chunk, double, case.device)))

    if case.feed == "stream":
        images, labels = dataset.batches(steps, case.batch_size)

        def run() -> np.ndarray:
            return trainer.wait(trainer.train(trainer.put(images, labels)))

    else:

        def run() -> np.ndarray:
            return trainer.wait(trainer.train(chunk))

    def close() -> dict[str, Any]:
        losses = run()
        if len(losses) != steps or not np.isfinite(losses).all():
            raise Broken(f"the losses are {losses[-3:]} after the timed rounds")
        record["device_observed"] = trainer.device()
        record["switches"] = module.switches()
        record["peak_rss_bytes"] = peak_rss_bytes()
        record["peak_device_bytes"] = module.peak_device_bytes()
        prove_again(trainer, case, steps)
        return record

    run()
    timed = run if slowdown is None else slowdown.around(run)
    return Subject(timed, run, steps, steps * case.batch_size, step, close)


def first_lesson(case: Case) -> Lesson:
    """What every process of a case has to match before it is timed, at the batch size that is timed."""
    return teach(VARIANTS[case.variant], case.batch_size, PROOF_CHECKPOINTS, case.setup().learning_rate)


def prove(trainer: Trainer, case: Case, lesson: Lesson, record: dict[str, Any]) -> list[float]:
    """Match the reference at the batch size that will be timed; the seconds of each submission. Raises Mismatch."""
    variant = VARIANTS[case.variant]
    calls: list[float] = []

    def timed(trainer: Trainer, chunk: Any) -> np.ndarray:
        started = time.perf_counter()
        losses = trainer.wait(trainer.train(chunk))
        calls.append(time.perf_counter() - started)
        return losses

    proof = compare_training(trainer, variant, case.precision, lesson, timed)
    proof.refuse_mismatch()
    record["first_step_s"] = calls[0]
    record["proof"] = asdict(proof)
    record["stage_error"] = proof.largest("stage ")
    record["weight_error"] = proof.largest("weights")
    return calls


def prove_again(trainer: Trainer, case: Case, steps: int) -> None:
    """After the rounds, from the weights they left, a chunk as long as a timed one still trains as the reference does.

    So does the same chunk once more, as in the rounds, unless the variant has kinks, to which the
    second time may come close. Raises Mismatch.
    """
    variant, rate = VARIANTS[case.variant], case.setup().learning_rate
    lesson = lesson_from(Reference(variant, rate, trainer.weights()), case.batch_size, (steps,), with_stages=False)
    chunk = trainer.put(lesson.images, lesson.labels)
    compare_again(trainer, chunk, lesson, case.precision)
    if not has_kinks(variant):
        compare_again(trainer, chunk, same_again(lesson, Reference(variant, rate, trainer.weights())), case.precision)


def warm_up(
    trainer: Trainer, dataset: Dataset, batch_size: int, call_steps: int, proof_calls: list[float], seconds: float
) -> float:
    """Train until a time and a number of steps are reached, after a first call; the seconds of a step, once warm.

    Where steps are long, the time is enough: what there is to warm is small beside them. One of half a second and
    more, in the proof and in the first call, is warm then. Either alone may have been compiling.
    """
    chunk = trainer.put(*dataset.batches(call_steps, batch_size))

    def call() -> float:
        began = time.perf_counter()
        trainer.wait(trainer.train(chunk))
        return time.perf_counter() - began

    first = call()
    proof_step = proof_calls[-1] / (PROOF_CHECKPOINTS[-1] - PROOF_CHECKPOINTS[0])
    if min(proof_step, first / call_steps) > WARM_STEP_SECONDS:
        return first / call_steps
    durations: list[float] = []
    while sum(durations) < WARM_UP_LIMIT_SECONDS:
        durations.append(call())
        enough = len(durations) * call_steps >= WARM_UP_STEPS or durations[-1] > LONG_STEP_SECONDS * call_steps
        if enough and sum(durations) >= seconds:
            break
    return float(np.median(durations[len(durations) // 2 :])) / call_steps


@dataclass(frozen=True)
class Slowdown:
    """Extra work in every `every`-th round: `share` of a round's time, spent by a busy loop inside the clock."""

    share: float
    every: int = 1

    def around(self, run: Callable[[], Any]) -> Callable[[], Any]:
        """`run` with the extra work after it."""
        calls = itertools.count(1)

        def slowed() -> Any:
            started = time.perf_counter()
            result = run()
            now = time.perf_counter()
            if next(calls) % self.every == 0:
                # Relative to this very round, so that the slowdown is exact whatever the machine's speed is.
                until = now + self.share * (now - started)
                while time.perf_counter() < until:
                    pass
            return result

        return slowed


def read_dataset(name: str, folder: Path) -> Dataset:
    """The data that the harness prepared: `images.npy` and `labels.npy`, mapped and not copied."""
    return Dataset(name, np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy"))


def forget_peak() -> None:
    """Give back what the proof has used and start the peak anew, so that it is the framework's own (Linux)."""
    teach.cache_clear()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


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
