"""Groups, where not every process fits into memory, and which steps are timed."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from bench.cases import Case
from bench.conductor import WARM_ROUNDS, groups

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
