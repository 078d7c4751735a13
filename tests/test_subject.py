"""How many steps a round has, where a step is made up to take a fifth of a round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
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


class Slow:
    """A trainer on a clock of its own, whose calls take the given seconds, and 10 ms once they have run out."""

    def __init__(self, *seconds: float) -> None:
        self.seconds, self.now, self.calls = list(seconds), 0.0, 0

    def put(self, images: np.ndarray, labels: np.ndarray) -> int:
        return len(labels)

    def train(self, chunk: int) -> int:
        self.now += self.seconds.pop(0) if self.seconds else 0.010
        self.calls += 1
        return chunk

    def wait(self, pending: int) -> np.ndarray:
        return np.zeros(pending)


def warmed_up(monkeypatch: pytest.MonkeyPatch, trainer: Slow, proof_calls: list[float], call_steps: int = 1) -> float:
    monkeypatch.setattr(subject.time, "perf_counter", lambda: trainer.now)
    return subject.warm_up(trainer, synthetic(28), 8, call_steps, proof_calls, 1.0)  # type: ignore[arg-type]


def test_a_call_that_compiles_is_not_taken_for_a_slow_step(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, ready = Slow(), Slow()
    assert warmed_up(monkeypatch, compiled, [3.0, 3.0]) == warmed_up(monkeypatch, ready, [0.010, 0.030])
    assert compiled.calls == ready.calls >= 100  # a second of warming


def test_a_call_that_compiles_after_the_proof_is_not_taken_for_a_step_either(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Slow(4.0)
    assert warmed_up(monkeypatch, late, [3.0, 0.030]) == pytest.approx(0.010)
    assert late.calls >= 100


def test_a_step_of_seconds_is_warm_after_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = Slow(2.0, 2.0)
    assert warmed_up(monkeypatch, loops, [2.0, 6.0]) == 2.0
    assert loops.calls == 1


def test_many_steps_a_call_are_warm_after_two_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = Slow(1.4, 1.28)
    assert warmed_up(monkeypatch, fit, [0.5, 0.06], call_steps=64) == pytest.approx(0.020)
    assert fit.calls == 2
