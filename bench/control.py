"""The control: a matrix product of fixed size that takes its turns among the cases.

It says how fast the machine was in each sweep, whatever the cases did, and what its matrix products
reach at best beside them. It needs NumPy only and runs in the harness's own environment.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Collection
from typing import Any

import numpy as np

from bench.cases import Case

BACKEND, MODE = "control", "gemm"
SIZE = 512
FLOPS = 2 * SIZE**3


def control_of(case: Case) -> Case:
    """The control that a case's rounds are laid beside: of its precision where NumPy has it, else in float32."""
    precision = case.precision if case.device == "cpu" and case.precision in ("float32", "float64") else "float32"
    return Case(BACKEND, MODE, f"{SIZE}x{SIZE}", "cpu", precision, 0, case.threads)


def controls_for(cases: Collection[Case]) -> list[Case]:
    """Each control that one of the cases needs, once."""
    return list(dict.fromkeys(control_of(case) for case in cases))


def is_control(case: Case) -> bool:
    return case.backend == BACKEND


class MatrixProduct:
    """`run` multiplies `steps` times, enough for a round."""

    def __init__(self, precision: str, round_seconds: float) -> None:
        random = np.random.default_rng(0)
        self.a, self.b = random.random((2, SIZE, SIZE)).astype(precision)
        self.out = np.empty_like(self.a)
        self.steps = 20
        self.run()
        started = time.perf_counter()
        self.run()
        self.seconds_per_step = (time.perf_counter() - started) / self.steps
        self.steps = max(1, math.ceil(round_seconds / self.seconds_per_step))

    def run(self) -> None:
        for _ in range(self.steps):
            np.matmul(self.a, self.b, out=self.out)

    def record(self) -> dict[str, Any]:
        return {"version": np.__version__, "python": platform.python_version(), "device_observed": "cpu"}
