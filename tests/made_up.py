"""Run folders as they could be, from a seed: every file, several batch sizes and threads, trainings, a gate."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backends.lenet import VARIANTS, initial_weights
from bench import checkpoints
from bench.cases import Case
from bench.checkpoints import Checkpoint
from bench.control import control_of
from bench.results import (
    Accuracy,
    Comparison,
    Curve,
    Equivalence,
    Overhead,
    Process,
    Round,
    SelfCheck,
    Shape,
    Throughput,
    Verdict,
    write_rows,
)

MODES = {
    "numpy": ("loops", "im2col", "space_to_depth"),
    "torch": ("eager", "functional", "compile"),
    "tensorflow": ("eager", "function"),
    "jax": ("jit", "scan"),
    "mxnet": ("imperative", "hybridize"),
}
CASES = [Case(backend, mode) for backend, modes in MODES.items() for mode in modes]


def blank(kind: type[Any], **values: Any) -> Any:
    """A row with those values and nothing, or nought, in the other columns."""
    empty = {"str": "", "int": 0, "float": 0.0}
    return kind(**{field.name: empty.get(str(field.type)) for field in dataclasses.fields(kind)} | values)


def write_run(
    folder: Path, cases: Sequence[Case] = CASES, passes: int = 3, rounds: int = 20, seed: int = 0, **row: Any
) -> Path:
    """A run of `lenet-bench run`, whole; `row` overrides columns of its throughput."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    controls = list(dict.fromkeys(control_of(case) for case in cases))
    level = {case.id: float(np.exp(random.uniform(6, 11))) * 1e-6 * case.batch_size**0.5 for case in cases}
    level.update({control.id: 0.0025 for control in controls})
    order = itertools.count()
    made = [
        blank(
            Round,
            case=case.id,
            pass_number=number,
            round=sweep,
            sweep=sweep,
            order=next(order),
            steps=4,
            images=4 * case.batch_size,
            seconds=4 * level[case.id] * float(np.exp(random.normal(0, 0.02))) * (1.3 if sweep % 7 == 3 else 1),
        )
        for number in range(1, passes + 1)
        for sweep in range(rounds)
        for case in (*cases, *controls)
    ]
    write_rows(folder, Round, made)
    rows = [throughput_row(folder.name, case, level[case.id], random, passes, rounds, row) for case in cases]
    write_rows(folder, Throughput, rows)
    write_rows(folder, Process, [blank(Process, case=case.id, pass_number=1, status="ok") for case in cases])
    alike = [(a, b) for a, b in itertools.combinations(cases, 2) if a.kind == b.kind]
    write_rows(folder, Comparison, [comparison(a, b, level) for a, b in alike])
    write_rows(folder, Equivalence, [proof for case in cases for proof in proofs(case, random)])
    write_rows(folder, Shape, shapes(cases))
    batches = sorted({case.batch_size for case in cases})
    if len(batches) > 2:
        write_rows(folder, Overhead, [overhead(case, batches) for case in cases if case.batch_size == batches[0]])
    about = {"cpu": "A processor", "command": "lenet-bench run --data mnist", "seed": seed, "commit": "c0ffee"}
    (folder / "machine.json").write_text(json.dumps({**about, "memory_bytes": 2**34, "cpus": [0, 1]}))
    return folder


def throughput_row(
    run_id: str, case: Case, step: float, random: np.random.Generator, passes: int, rounds: int, row: dict[str, Any]
) -> Throughput:
    low, high = (step * float(np.exp(side * random.uniform(0.005, 0.03))) for side in (-1, 1))
    values: dict[str, Any] = {
        "run_id": run_id,
        "utc": "2026-11-21T09:00:00+00:00",
        "cpu": "A processor",
        "commit": "c0ffee",
        "dirty": "no",
        "backend": case.backend,
        "version": "1.2.3",
        "lane": "expert" if case.mode in ("space_to_depth", "compile", "scan") else "tutorial",
        "mode": case.mode,
        "variant": case.variant,
        "device": case.device,
        "device_observed": case.device,
        "precision": case.precision,
        "batch_size": case.batch_size,
        "threads": case.threads,
        "feed": case.feed,
        "data": "mnist",
        "passes": passes,
        "rounds": passes * rounds,
        "step_us": step * 1e6,
        "step_us_low": low * 1e6,
        "step_us_high": high * 1e6,
        "images_per_s": case.batch_size / step,
        "images_per_s_low": case.batch_size / high,
        "images_per_s_high": case.batch_size / low,
        "import_s": float(random.uniform(0.01, 3)),
        "build_s": float(random.uniform(0.001, 0.1)),
        "first_step_s": float(random.uniform(0.01, 9)),
        "peak_rss_mb": float(random.uniform(70, 900)),
        "effective_cores": 1.01,
        "page_faults_per_step": 0.25,
        "gemm_peak_share": float(random.uniform(0.01, 0.4)),
        "weight_error": 9.5e-5,
        "flags": "threads=1 tf32=False",
        "status": "ok",
        "control_gflops": 105.5,
        "allocator": "steady",
        "cpus": "1",
    }
    return blank(Throughput, **{**values, **row})


def comparison(case: Case, other: Case, level: dict[str, float]) -> Comparison:
    ratio = level[case.id] / level[other.id]
    verdict = "slower" if ratio > 1.05 else "faster" if ratio < 1 / 1.05 else "too close to call"
    return Comparison(case.id, other.id, ratio, ratio / 1.04, ratio * 1.04, ratio * 1.01, 3, verdict)


def proofs(case: Case, random: np.random.Generator) -> list[Equivalence]:
    cell = (case.backend, "1.2.3", case.mode, case.variant, case.device, case.precision, case.batch_size)
    quantities = [("stage conv1", 0, 1e-5), ("stage dense3", 0, 1e-5), ("losses", 4, 1e-5), ("weights", 4, 1e-3)]
    return [
        Equivalence(*cell, name, steps, tolerance * float(random.uniform(0.001, 0.3)), tolerance, "conv1.weight", "ok")
        for name, steps, tolerance in quantities
    ]


def shapes(cases: Sequence[Case]) -> list[Shape]:
    stages = [("input", "1x28x28", 0, 1), ("conv1", "6x28x28", 156, 5), ("flatten", "400", 0, 16)]
    return [
        Shape("lenet5", stage, case.backend, case.mode, shape, shape, shape, count, count, field, "ok")
        for case in {(case.backend, case.mode): case for case in cases}.values()
        for stage, shape, count, field in stages
    ]


def overhead(case: Case, batches: Sequence[int]) -> Overhead:
    values = {
        name: getattr(case, name) for name in ("backend", "mode", "variant", "device", "precision", "threads", "feed")
    }
    sizes = " ".join(map(str, batches))
    limit = {"images_per_s_limit": 9000.5, "images_per_s_limit_low": 8000.25, "images_per_s_limit_high": 9900.75}
    fitted = {"overhead_us": 351.5, "overhead_us_low": 20.5, "overhead_us_high": 700.25, **limit, "worst_misfit": 0.21}
    return blank(Overhead, **values, version="1.2.3", lane="tutorial", batch_sizes=sizes, passes=3, **fitted)


def write_training(folder: Path, cases: Sequence[Case] = CASES[3:6], seed: int = 0) -> Path:
    """A run of `lenet-bench train`, without its weights."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    curves, rows = [], []
    for case in cases:
        pace = float(random.uniform(1, 4))
        for own in (0, 1):
            for look in range(1, 9):
                wrong = 0.1 * 0.7**look * float(random.uniform(0.8, 1.2))
                loss = {"train_loss": 0.5 * 0.7**look, "test_loss": 0.4 * 0.7**look, "accuracy": 1 - wrong}
                curves.append(Curve(case.id, own, look / 4, look * 100, 0.1, seconds=look * pace, **loss))
        values = {
            name: getattr(case, name) for name in ("backend", "mode", "variant", "device", "precision", "threads")
        }
        found = {"final_accuracy": 0.9912, "best_accuracy": 0.9921, "seconds_to_985": 5 * pace, "seconds_to_990": None}
        course = {"data": "mnist", "epochs": 2, "seeds": "0 1", "learning_rate": 0.1, "parameters": 61706}
        told = {"status": "ok", "utc": "2026-11-21T10:00:00+00:00", "batch_size": case.batch_size, "version": "1.2.3"}
        rows.append(blank(Accuracy, **values, **found, **course, **told, images_per_s=8000.5, losses_apart=1e-6))
    write_rows(folder, Curve, curves)
    write_rows(folder, Accuracy, rows)
    (folder / "machine.json").write_text(json.dumps({"cpu": "A processor", "command": "lenet-bench train"}))
    return folder


def write_weights(path: Path, variant: str = "lenet5", **course: Any) -> Path:
    """Untrained weights as `lenet-bench train` saves them, trained by that course."""
    checkpoints.save(path, Checkpoint(initial_weights(VARIANTS[variant]), {"variant": variant, "course": course}))
    return path


def write_gate(folder: Path) -> Path:
    """A gate's folder, and in it a self-check."""
    folder.mkdir(parents=True)
    ratios = {"slower": 1.08, "ok": 1.001, "inconclusive": 1.02, "missing": None}
    rows = [
        blank(
            Verdict,
            utc="2026-11-21T11:00:00+00:00",
            case=f"{word}-case",
            basis="turns",
            verdict=word,
            reason=f"why {word}",
            ratio=ratio,
            ratio_low=ratio and ratio * 0.99,
            ratio_high=ratio and ratio * 1.01,
            total_ratio=ratio,
            resolves=ratio and 0.031,
        )
        for word, ratio in ratios.items()
    ]
    write_rows(folder, Verdict, rows)
    checks = [
        SelfCheck(
            "numpy-im2col",
            "slowdown",
            injected,
            every,
            4,
            80,
            injected / every,
            -0.01,
            0.1,
            0.05,
            0.01,
            0.03,
            "slower",
            "",
            "",
            "",
        )
        for injected, every in ((0.0, 1), (0.05, 1), (1.0, 10))
    ]
    write_rows(folder, SelfCheck, checks)
    return folder
