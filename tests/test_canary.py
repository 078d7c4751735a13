"""The canary on a fake clock: a trainer that waits keeps it alive, and three that do not make it sing.

The device is a queue of work with a clock of its own, so every figure is exact and no test measures time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench import canary

SUBMIT, FORWARD, UPDATE, COPY = 0.01, 0.4, 0.6, 0.02


class Device:
    """`now` is the host's time; `free` is when the device will have done all that was submitted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.free = 0.0

    def clock(self) -> float:
        return self.now

    def submit(self, seconds: float) -> float:
        self.now += SUBMIT
        self.free = max(self.free, self.now) + seconds
        return self.free

    def sleep_until(self, moment: float) -> None:
        self.now = max(self.now, moment)


class Waits:
    """An honest asynchronous trainer. A chunk is a number of steps; pending is when its loss is there."""

    def __init__(self) -> None:
        self.device = Device()

    def train(self, chunk: int) -> float:
        loss = 0.0
        for _ in range(chunk):
            loss = self.device.submit(FORWARD)
            self.device.submit(UPDATE)
        return loss

    def wait(self, pending: float) -> np.ndarray:
        self.device.sleep_until(self.device.free)
        return np.zeros(1)

    def weights(self) -> dict[str, np.ndarray]:
        self.device.sleep_until(self.device.free)
        self.device.now += COPY
        return {}


class NeverWaits(Waits):
    def wait(self, pending: float) -> np.ndarray:
        return np.zeros(1)


class WaitsForTheLossOnly(Waits):
    def wait(self, pending: float) -> np.ndarray:
        self.device.sleep_until(pending)
        return np.zeros(1)


class TimesTheQueue(Waits):
    """Waits for the chunk before this one: in the long run the rate looks right."""

    before = 0.0

    def wait(self, pending: float) -> np.ndarray:
        self.device.sleep_until(self.before)
        self.before = self.device.free
        return np.zeros(1)


class SkipsWork(Waits):
    """Does the first step of a chunk and reports losses for all."""

    def train(self, chunk: int) -> float:
        return super().train(1)


class Waited:
    """What the counters of a process say, as far as the canary asks them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def since(self, before: Waited) -> dict[str, float]:
        return {"waited_seconds": self.seconds - before.seconds}


def sings(trainer: Waits, waited: Callable[[], float] = lambda: 0.0) -> canary.Canary:
    return canary.check(trainer, 1, 10, 20, trainer.device.clock, lambda: Waited(waited()))  # type: ignore[arg-type]


def test_a_trainer_that_waits_keeps_the_canary_alive() -> None:
    found = sings(Waits())
    assert found.left_undone == 0
    assert found.twice == pytest.approx(2, rel=1e-2)


@pytest.mark.parametrize("broken", [NeverWaits, WaitsForTheLossOnly, TimesTheQueue])
def test_a_trainer_that_does_not_wait_is_refused(broken: Callable[[], Waits]) -> None:
    with pytest.raises(canary.NotWaiting, match="of a step's time was still to be waited for"):
        sings(broken())


def test_a_trainer_that_skips_work_is_refused() -> None:
    with pytest.raises(canary.NotWaiting, match=r"twice the steps took 1\.00 times the time"):
        sings(SkipsWork())


def test_waiting_once_hides_submission_behind_the_work() -> None:
    """An asynchronous framework may overlap submitting with computing: 20 steps need not cost 20 waits."""
    trainer = Waits()
    together = canary.duration(lambda: trainer.wait(trainer.train(20)), trainer.device.clock)
    alone = sum(canary.duration(lambda: trainer.wait(trainer.train(1)), trainer.device.clock) for _ in range(20))
    assert together < alone
    assert sings(trainer).alive


def test_a_hiccup_in_one_attempt_is_forgiven() -> None:
    class Hiccup(Waits):
        reads = 0

        def weights(self) -> dict[str, np.ndarray]:
            self.reads += 1
            if 1 < self.reads < 6:
                self.device.now += 5.0 * (self.reads % 2)
            return super().weights()

    assert sings(Hiccup()).alive


class Disturbed(Waits):
    """Others have the CPU right after the first steps: reading the weights takes five times as long as one."""

    waited, left, stepped = 0.0, 20, False

    def wait(self, pending: float) -> np.ndarray:
        self.stepped = True
        return super().wait(pending)

    def weights(self) -> dict[str, np.ndarray]:
        if self.stepped and self.left:
            self.device.now += 5.0
            self.waited += 5.0
            self.left -= 1
        self.stepped = False
        return super().weights()


def test_what_others_did_is_held_against_nobody() -> None:
    trainer = Disturbed()
    assert sings(trainer, lambda: trainer.waited).alive
    with pytest.raises(canary.NotWaiting):
        sings(Disturbed())  # the same, where nobody has seen that others had the CPU


@pytest.mark.parametrize("broken", [NeverWaits, WaitsForTheLossOnly, TimesTheQueue, SkipsWork])
def test_a_trainer_that_does_not_wait_is_refused_on_a_busy_machine_too(broken: Callable[[], Waits]) -> None:
    trainer = broken()
    with pytest.raises(canary.NotWaiting):
        sings(trainer, lambda: 0.5 * trainer.device.now)
