"""A run as pytest-benchmark's own JSON, so that `pytest-benchmark compare` and its histogram open it.

It holds the rounds that `throughput.csv` counts and no others. Its statistics pool those of all processes; the
intervals of `throughput.csv` do not.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest_benchmark
from pytest_benchmark.stats import Stats

from bench.cases import Case
from bench.machine import Machine
from bench.results import Round

FILE = "benchmark.json"


def benchmark_json(
    cases: Collection[Case], rounds: Mapping[str, Sequence[Round]], machine: Machine, utc: str
) -> dict[str, Any]:
    """Seconds per training step: one benchmark per case that has rounds, by its id, and one datum per round."""
    return {
        "machine_info": {
            "node": machine.host,
            "machine": platform.machine(),
            "python_version": platform.python_version(),
            "cpu": {"brand_raw": machine.cpu},
        },
        "commit_info": {"id": machine.commit, "dirty": machine.dirty == "yes", "time": utc, "branch": ""},
        "benchmarks": [one_benchmark(case, rounds[case.id]) for case in cases if rounds.get(case.id)],
        "datetime": utc,
        "version": pytest_benchmark.__version__,
    }


def one_benchmark(case: Case, rounds: Sequence[Round]) -> dict[str, Any]:
    stats = Stats()
    for one in rounds:
        stats.update(one.seconds / one.steps)
    return {
        "group": f"{case.variant} batch {case.batch_size} {case.precision} {case.device}",
        "name": case.id,
        "fullname": f"bench/test_throughput.py::test_throughput[{case.id}]",
        "params": None,
        "param": None,
        "extra_info": {"images_per_step": case.batch_size},
        "options": {},
        "stats": {**stats.as_dict(), "data": stats.data, "iterations": rounds[0].steps},
    }
