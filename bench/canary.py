"""Does this trainer wait? Two checks that a clock can be trusted, in every process before its first row.

An adapter that returns before the work is done would be timed at what submitting costs. So, right
after `wait` came back, reading the weights must cost no more than it costs an idle trainer: whatever
was still under way would have to end first. And twice the steps must take twice the time: one that
skips work, or leaves it to the next call, fails here. The first check uses a single step, because
what an adapter leaves undone, a weight update say, is the largest part of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from backends.interface import Trainer
from bench.turns import Counters

ATTEMPTS, MOST_ATTEMPTS = 4, 24
# As a share of an attempt's time. Where threads were ready and others had the CPU for longer, the attempt counts only
# if it holds: under a busy loop per core, one in four took NumPy for an adapter that does not wait.
MOST_WAITED = 0.02
LEFT_UNDONE = 0.25
TWICE = (1.5, 3.0)
BUDGET_SECONDS, MOST_REPEATS = 0.5, 6


class NotWaiting(Exception):
    """An adapter whose `wait` returns before the work is done; the message says how it was found out."""


@dataclass(frozen=True)
class Canary:
    """`left_undone`: work found after `wait`, as a share of a step. `twice`: time of 2 K steps over that of K."""

    left_undone: float
    twice: float

    @property
    def alive(self) -> bool:
        return self.left_undone <= LEFT_UNDONE and TWICE[0] <= self.twice <= TWICE[1]


def check(
    trainer: Trainer,
    one: Any,
    chunk: Any,
    double: Any,
    clock: Callable[[], float] = time.perf_counter,
    counters: Callable[[], Any] = Counters.now,
) -> Canary:
    """Chunks of 1, K and 2 K steps, the trainer warm.

    Raises NotWaiting where no attempt holds: after a few that nobody disturbed, or after many.
    """
    found: list[Canary] = []
    undisturbed = 0
    while undisturbed < ATTEMPTS and len(found) < MOST_ATTEMPTS:
        began, before = clock(), counters()
        found.append(Canary(left_undone(trainer, one, clock), twice(trainer, chunk, double, clock)))
        if found[-1].alive:
            return found[-1]
        undisturbed += counters().since(before)["waited_seconds"] <= MOST_WAITED * (clock() - began)
    best = min(found, key=lambda canary: (canary.left_undone > LEFT_UNDONE, abs(canary.twice - 2)))
    if best.left_undone > LEFT_UNDONE:
        raise NotWaiting(f"after wait() came back, {best.left_undone:.0%} of a step's time was still to be waited for")
    raise NotWaiting(f"twice the steps took {best.twice:.2f} times the time, not within {TWICE[0]} and {TWICE[1]}")


def left_undone(trainer: Trainer, one: Any, clock: Callable[[], float]) -> float:
    """What reading the weights costs after a step, beyond what it costs when idle, relative to the step."""
    first = duration(lambda: trainer.wait(trainer.train(one)), clock)
    trainer.weights()
    idle, steps, reads = [], [], []
    for _ in range(repeats(first)):
        trainer.weights()
        idle.append(duration(trainer.weights, clock))
        steps.append(duration(lambda: trainer.wait(trainer.train(one)), clock))
        reads.append(duration(trainer.weights, clock))
    # Copying ten arrays is cheap but not steady: half of what it costs when idle is not held against anybody.
    return max(0.0, median(reads) - 1.5 * median(idle)) / median(steps)


def twice(trainer: Trainer, chunk: Any, double: Any, clock: Callable[[], float]) -> float:
    """The shortest time of the double chunk over the shortest of the single one."""
    single = [duration(lambda: trainer.wait(trainer.train(chunk)), clock)]
    doubled = [duration(lambda: trainer.wait(trainer.train(double)), clock)]
    for _ in range(repeats(3 * single[0]) - 1):
        single.append(duration(lambda: trainer.wait(trainer.train(chunk)), clock))
        doubled.append(duration(lambda: trainer.wait(trainer.train(double)), clock))
    return min(doubled) / min(single)


def repeats(seconds: float) -> int:
    """How often something that long is measured within the budget; at least once."""
    return max(1, min(MOST_REPEATS, int(BUDGET_SECONDS / max(seconds, 1e-9))))


def duration(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    started = clock()
    call()
    return clock() - started
