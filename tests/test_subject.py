"""How many steps a round has."""

from __future__ import annotations

from dataclasses import replace

import pytest

import backends
from backends import BUILT_IN, Mode
from bench import canary
from bench.cases import Case
from bench.data import synthetic
from bench.subject import prepare

NUMPY = next(entry for entry in BUILT_IN if entry.name == "numpy")


@pytest.mark.parametrize(("call_steps", "least", "most"), [(1, 1, 4), (16, 16, 16)])
def test_a_call_that_costs_much_beside_its_steps_has_many(
    monkeypatch: pytest.MonkeyPatch, call_steps: int, least: int, most: int
) -> None:
    modes = (Mode("im2col", "tutorial", "", call_steps=call_steps),)
    monkeypatch.setattr(backends, "registry", lambda: {"numpy": replace(NUMPY, modes=modes)})
    monkeypatch.setattr(canary, "check", lambda *chunks: canary.Canary(0.0, 2.0))  # on a busy machine it has its doubts
    subject = prepare(Case("numpy", "im2col", batch_size=64), synthetic(28))
    assert least <= subject.steps <= most
    assert subject.images == 64 * subject.steps
