"""Groups, where not every process fits into memory; which steps are timed; cases that share a process."""

from __future__ import annotations

import os
import random
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import psutil
import pytest

from bench import conductor, tree
from bench.cases import Case
from bench.conductor import LEFT_OUT, WARM_ROUNDS, Conductor, Outcome, Plan, groups
from bench.data import synthetic
from tests import commands, fake

CASES = [replace(Case("numpy", f"mode{i}"), copy=copy) for i in range(8) for copy in ("base", "head")]


@pytest.mark.parametrize("room", [1, 2, 3, 7, 13, 16, 100])
def test_base_and_head_are_in_one_group_whatever_fits(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(room / 0.8 * 1000) + 1))
    for seed in range(20):
        cases = random.Random(seed).sample(CASES, len(CASES))
        found = groups(cases, 1000)
        assert sorted(case.id for group in found for case in group) == sorted(case.id for case in CASES)
        for group in found:
            assert len(group) <= max(room, 2)
            for case in group:
                assert {one.copy for one in group if one.mode == case.mode} == {"base", "head"}


def share_that_stalls(warm_rounds: tuple[int, ...], steps: int, first: int) -> float:
    """The share of timed steps that stall, where every tenth step of a process does; `first` steps came before."""
    random_draw, step, stalled, turns = random.Random(first), first, 0, 600
    for _ in range(turns):
        step += steps * random_draw.choice(warm_rounds)
        stalled += sum((step + i) % 10 == 9 for i in range(steps))
        step += steps
    return stalled / (turns * steps)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10])
def test_what_stalls_every_tenth_step_is_seen_in_a_tenth_of_the_timed_ones(steps: int) -> None:
    for first in range(20):
        assert share_that_stalls(WARM_ROUNDS, steps, first) == pytest.approx(0.1, abs=0.03)


def test_with_one_untimed_round_always_it_would_be_seen_twice_as_often_or_never() -> None:
    assert {share_that_stalls((1,), 1, first) for first in (0, 1)} == {0.0, 0.2}


def outcomes(folder: Path, mode: str, sizes: tuple[int, ...], told: list[str]) -> dict[int, Outcome]:
    """One pass over a mode of the fake backend at several batch sizes, in one process as long as it lives."""
    python = fake.install(folder)
    cases = [Case("fake", mode, batch_size=size) for size in sizes]
    dataset = synthetic(28)
    np.save(folder / "images.npy", dataset.images)
    np.save(folder / "labels.npy", dataset.labels)
    plan = Plan(sweeps=4, case_seconds=0.2, one_process_per_mode=True)
    interpreters = dict.fromkeys(cases, python)
    own = Conductor(interpreters, "synthetic", {"lenet5": folder}, plan, random.Random(3), told.append)
    with (
        mock.patch.dict(os.environ, commands.environment(folder), clear=True),
        mock.patch.object(tree, "SOURCE_ROOT", commands.unhurried(folder / "suite")),
    ):
        found = own.run_pass(cases, 1)
    measured = sum(outcome.flag != LEFT_OUT for outcome in found if outcome.case.backend == "fake")
    assert sum(outcome.case.backend == "control" for outcome in found) == measured, "each size has its control"
    return {outcome.case.batch_size: outcome for outcome in found if outcome.case.backend == "fake"}


@pytest.mark.slow
def test_one_process_takes_all_sizes_of_a_mode_from_the_smallest_on(tmp_path: Path) -> None:
    told: list[str] = []
    found = outcomes(tmp_path, "good", (16, 4, 8), told)
    assert [outcome.status for outcome in found.values()] == ["ok"] * 3
    imported = [size for size, outcome in found.items() if outcome.record["import_s"] is not None]
    assert imported == [4], "the framework was imported once, before the smallest"
    sweeps = {size: {one.sweep for one in outcome.rounds} for size, outcome in found.items()}
    assert max(sweeps[4]) < min(sweeps[8]) < max(sweeps[8]) < min(sweeps[16])
    assert {one.images // one.steps for one in found[8].rounds} == {8}


@pytest.mark.slow
def test_a_size_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "not_eight", (4, 8, 16), [])
    assert {size: outcome.status for size, outcome in found.items()} == {4: "ok", 8: "failed", 16: "ok"}
    assert found[8].reason == "MemoryError: eight are too many"
    assert found[16].record["import_s"] is not None, "in a process of its own"


@pytest.mark.slow
def test_a_process_that_is_killed_at_every_size_is_started_for_every_size(tmp_path: Path) -> None:
    found = outcomes(tmp_path, "killed", (4, 8), [])
    assert {outcome.reason.split(";")[0] for outcome in found.values()} == {"the worker was killed by SIGKILL"}


@pytest.mark.slow
def test_a_sweep_goes_no_further_than_a_batch_that_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sleeps in every step, which takes that long at least; one of four images takes a thousandth of it."""
    monkeypatch.setattr(conductor, "LONGEST_IN_SERIES_SECONDS", fake.TIRED_SECONDS * 0.9)
    found = outcomes(tmp_path, "tires", (4, 8, 16, 32), [])
    assert [found[size].status for size in (4, 8, 16, 32)] == ["ok", "ok", "unavailable", "unavailable"]
    assert {found[size].flag for size in (16, 32)} == {LEFT_OUT}
    assert re.search(r"left out of the series: a step took \d+\.\d s with a batch of 8 already", found[32].reason)
