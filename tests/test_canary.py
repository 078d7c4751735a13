"""The canary on a fake clock: a trainer that waits keeps it alive, and three that do not make it sing.

The device is a queue of work with a clock of its own, so every figure is exact and no test measures time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import canary, quota
from bench.quota import Quota

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

    def __init__(self, seconds: float, throttled: float) -> None:
        self.seconds, self.throttled = seconds, throttled

    def since(self, before: Waited) -> dict[str, float]:
        waited, throttled = self.seconds - before.seconds, self.throttled - before.throttled
        return {"waited_seconds": waited, "throttled_seconds": throttled, "lost_seconds": waited + throttled}


def sings(
    trainer: Waits,
    waited: Callable[[], float] = lambda: 0.0,
    throttled: Callable[[], float] = lambda: 0.0,
    device: str = "cpu",
) -> canary.Canary:
    def counters() -> Waited:
        return Waited(waited(), throttled())

    return canary.check(trainer, 1, 10, 20, device, trainer.device.clock, counters)  # type: ignore[arg-type]


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


BROKEN = [NeverWaits, WaitsForTheLossOnly, TimesTheQueue, SkipsWork]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_trainer_that_does_not_wait_is_refused_on_a_busy_machine_too(broken: Callable[[], Waits]) -> None:
    """Others have the CPU for a while, and then for a while nobody has."""
    trainer = broken()
    with pytest.raises(canary.NotWaiting):
        sings(trainer, lambda: 0.5 * (trainer.device.now // 100 * 50 + min(50, trainer.device.now % 100)))


@pytest.mark.parametrize("broken", BROKEN)
def test_a_trainer_that_does_not_wait_never_passes_where_the_machine_is_busy_all_the_time(
    broken: Callable[[], Waits],
) -> None:
    trainer = broken()
    with pytest.raises(canary.NotTried, match="others had its CPU in 24 of 24 attempts; run again when"):
        sings(trainer, lambda: 0.5 * trainer.device.now)


class Throttled(Device):
    """A machine whose quota stops all of it for 70 of 100 ms: so much work in each period, and then nothing.

    `scale` is how long a period is, in the seconds of this file's made-up steps; `phase` is where it begins.
    """

    def __init__(self, scale: float, phase: float) -> None:
        super().__init__()
        self.scale, self.worked, self.throttled = scale, phase * scale, 0.0

    def stand(self, before: float) -> None:
        """Everything that was done since then takes as many stops as it used up quotas."""
        self.worked += self.now - before
        while self.worked > 0.3 * self.scale:
            self.worked -= 0.3 * self.scale
            self.now += 0.7 * self.scale
            self.free += 0.7 * self.scale
            self.throttled += 0.7 * self.scale

    def submit(self, seconds: float) -> float:
        before = self.now
        end = super().submit(seconds)
        self.stand(before)
        return end

    def sleep_until(self, moment: float) -> None:
        before = self.now
        super().sleep_until(moment)
        self.stand(before)


SCALES = [(scale, phase / 8) for scale in (2.0, 10.0, 33.0, 100.0, 1000.0) for phase in range(8)]


def under_a_quota(trainer: Waits, scale: float, phase: float) -> canary.Canary:
    device = trainer.device = Throttled(scale, phase)
    return sings(trainer, throttled=lambda: device.throttled)


@pytest.mark.parametrize(("scale", "phase"), SCALES)
def test_a_trainer_that_waits_is_no_other_under_a_quota(scale: float, phase: float) -> None:
    assert under_a_quota(Waits(), scale, phase).twice == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(("scale", "phase"), SCALES)
def test_a_trainer_that_does_not_wait_never_passes_under_a_quota(
    broken: Callable[[], Waits], scale: float, phase: float
) -> None:
    with pytest.raises((canary.NotWaiting, canary.NotTried)):
        under_a_quota(broken(), scale, phase)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_trainer_that_does_not_wait_is_refused_as_such_where_a_few_samples_fit_between_two_stops(
    broken: Callable[[], Waits],
) -> None:
    with pytest.raises(canary.NotWaiting):
        under_a_quota(broken(), 1000.0, 0.0)


class Stopped(Waits):
    """Of the four times that it waits in an attempt, the third, a single chunk, takes six times as long, of which the
    kernel counts a part only."""

    throttled, calls = 0.0, 0

    def wait(self, pending: float) -> np.ndarray:
        losses = super().wait(pending)
        self.calls += 1
        if self.calls % 4 == 3:
            self.device.now += 50.0
            self.throttled += 5.0
        return losses


def test_where_a_quota_stops_every_attempt_that_is_said_and_nobody_is_accused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = Quota(0.3, "cpu.max", "/docker/abc", Path("cpu.stat"))
    monkeypatch.setattr(quota, "smallest", lambda: limit)
    trainer = Stopped()
    with pytest.raises(canary.NotTried) as told:
        sings(trainer, throttled=lambda: trainer.throttled)
    assert str(told.value) == (
        "could not be tried here: the CPU quota of 0.3 (cpu.max) stopped it in 24 of 24 attempts; "
        "run with a quota of at least 1 CPU per thread"
    )


def test_what_is_held_against_a_trainer_was_seen_in_attempts_that_nobody_disturbed() -> None:
    """It skips work, on a GPU that goes on while a quota stops its host: a single chunk less that stop looks short."""

    class AtTimes(SkipsWork):
        throttled, calls = 0.0, 0

        def wait(self, pending: float) -> np.ndarray:
            self.calls += 1
            if self.calls % 40 < 20:
                self.device.now += 0.4 * (self.calls % 2)
                self.throttled += 0.4 * (self.calls % 2)
            return super().wait(pending)

    trainer = AtTimes()
    with pytest.raises(canary.NotWaiting, match=r"twice the steps took 1\.00 times the time"):
        sings(trainer, throttled=lambda: trainer.throttled, device="cuda")
