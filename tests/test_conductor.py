"""Groups: where not every process fits into memory."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest

from bench.cases import Case
from bench.conductor import groups

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
