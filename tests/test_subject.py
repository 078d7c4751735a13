"""How many steps a round has, where a step is made up to take a fifth of a round."""

from __future__ import annotations

from dataclasses import replace

import pytest

import backends
from backends import BUILT_IN, Mode
from bench import canary, subject
from bench.cases import Case
from bench.data import synthetic
from tests import commands  # noqa: F401  # one BLAS thread

NUMPY = next(entry for entry in BUILT_IN if entry.name == "numpy")


@pytest.mark.parametrize(("call_steps", "steps"), [(1, 5), (16, 16)])
def test_a_call_that_costs_much_beside_its_steps_has_many(
    monkeypatch: pytest.MonkeyPatch, call_steps: int, steps: int
) -> None:
    modes = (Mode("im2col", "tutorial", "", call_steps=call_steps),)
    monkeypatch.setattr(backends, "registry", lambda: {"numpy": replace(NUMPY, modes=modes)})
    monkeypatch.setattr(canary, "check", lambda *chunks: canary.Canary(0.0, 2.0))  # on a busy machine it has its doubts
    monkeypatch.setattr(subject, "warm_up", lambda *arguments: subject.ROUND_SECONDS["cpu"] / 5)
    monkeypatch.setattr(subject, "TRAINED", set())
    prepared = subject.prepare(Case("numpy", "im2col", batch_size=8), synthetic(28))
    assert (prepared.steps, prepared.images) == (steps, 8 * steps)
