"""Does this trainer wait? Two checks that a clock can be trusted, in every process before its first row.

An adapter that returns before the work is done would be timed at what submitting costs. So, right
after `wait` came back, reading the weights must cost no more than it costs an idle trainer: whatever
was still under way would have to end first. And twice the steps must take twice the time: one that
skips work, or leaves it to the next call, fails here. The first check uses a single step, because
what an adapter leaves undone, a weight update say, is the largest part of that.

Where others have the CPU, or a quota stops the process, times are not the adapter's. What is timed is short, and judged
by the samples that nobody disturbed. An attempt without such samples refuses nobody: it counts only if it holds.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from backends.interface import Trainer
from bench import quota
from bench.turns import Counters

ATTEMPTS, MOST_ATTEMPTS = 4, 24
# As a share of a sample's time. Where threads were ready and others had the CPU for longer, or a quota stopped it, the
# sample is disturbed: under a busy loop per core, one attempt in four took NumPy for an adapter that does not wait, and
# under a quota of 0.3 CPUs twice the steps once took 1.16 times the time.
MOST_LOST = 0.02
LEFT_UNDONE = 0.25
TWICE = (1.5, 3.0)
BUDGET_SECONDS, MOST_REPEATS = 0.5, 6
SHORTEST = 1e-9  # seconds: a step that was lost whole shows nothing, and is divided by


class NotWaiting(Exception):
    """An adapter whose `wait` returns before the work is done; the message says how it was found out."""


class NotTried(Exception):
    """A machine on which nobody could tell whether an adapter waits; the message says what was in the way."""


@dataclass(frozen=True)
class Canary:
    """`left_undone`: work found after `wait`, as a share of a step. `twice`: time of 2 K steps over that of K."""

    left_undone: float
    twice: float

    @property
    def alive(self) -> bool:
        return self.left_undone <= LEFT_UNDONE and TWICE[0] <= self.twice <= TWICE[1]


@dataclass(frozen=True)
class Sample:
    """The seconds of calls right after each other; for how many, over all CPUs, others had those or a quota stopped
    them; and how much later it was done for that."""

    seconds: tuple[float, ...]
    waited: float
    throttled: float
    lost: float

    @property
    def calm(self) -> bool:
        return self.waited + self.throttled <= MOST_LOST * sum(self.seconds)

    @property
    def stopped(self) -> float:
        """How much later it was done for the quota alone."""
        return self.lost * self.throttled / (self.waited + self.throttled) if self.throttled > 0 else 0.0


@dataclass(frozen=True)
class Attempt:
    """Samples of a trainer: `reads` are the weights twice, a step, and the weights again."""

    reads: Sequence[Sample]
    single: Sequence[Sample]
    double: Sequence[Sample]

    @property
    def undisturbed(self) -> bool:
        """Whether each kind has a sample that nobody disturbed."""
        return all(any(one.calm for one in own) for own in (self.reads, self.single, self.double))

    @property
    def throttled(self) -> bool:
        """Whether a quota disturbed it more than others did."""
        own = (*self.reads, *self.single, *self.double)
        return sum(one.throttled for one in own) > sum(one.waited for one in own)

    def views(self, device: str) -> list[Canary]:
        """What its calm samples show where it is undisturbed; else what all do, in two ways that both have to hold.

        In the first, only the quota's stops are taken off, which stop all of a process: but a GPU goes on meanwhile. In
        the second, what others had is taken off as well, which is exact where a process has one CPU.
        """
        if self.undisturbed:
            reads, single, double = ([o for o in own if o.calm] for own in (self.reads, self.single, self.double))
            return [figures(reads, single, double, lambda one: 0.0)]
        return [
            figures(self.reads, self.single, self.double, lambda one: one.stopped if device == "cpu" else 0.0),
            figures(self.reads, self.single, self.double, lambda one: one.lost),
        ]


def figures(
    reads: Sequence[Sample], single: Sequence[Sample], double: Sequence[Sample], less: Callable[[Sample], float]
) -> Canary:
    """What samples show once each is that much shorter.

    Nothing is taken off a read that follows a step: while the main thread waits in it, other threads may do the work.
    """
    idle, step = (median(one.seconds[call] - less(one) for one in reads) for call in (1, 2))
    read = median(one.seconds[3] for one in reads)
    once, twice = (min(one.seconds[0] - less(one) for one in own) for own in (single, double))
    # Copying ten arrays is cheap but not steady: half of what it costs when idle is not held against anybody.
    return Canary(max(0.0, read - 1.5 * max(0.0, idle)) / max(step, SHORTEST), twice / max(once, SHORTEST))


def check(
    trainer: Trainer,
    one: Any,
    chunk: Any,
    double: Any,
    device: str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    counters: Callable[[], Any] = Counters.now,
) -> Canary:
    """Chunks of 1, K and 2 K steps, the trainer warm.

    Raises NotWaiting where a few attempts that nobody disturbed do not hold, and NotTried where many attempts bring
    too few of those.
    """
    failed: list[Canary] = []
    disturbed: list[Attempt] = []
    while len(failed) < ATTEMPTS and len(failed) + len(disturbed) < MOST_ATTEMPTS:
        attempt = tried(trainer, one, chunk, double, functools.partial(timed, clock, counters))
        views = attempt.views(device)
        if all(view.alive for view in views):
            return views[0]
        if attempt.undisturbed:
            failed += views
        else:
            disturbed.append(attempt)
    if len(failed) < ATTEMPTS:
        raise NotTried(f"could not be tried here: {what_disturbed(disturbed)}")
    best = min(failed, key=lambda canary: (canary.left_undone > LEFT_UNDONE, abs(canary.twice - 2)))
    if best.left_undone > LEFT_UNDONE:
        raise NotWaiting(f"after wait() came back, {best.left_undone:.0%} of a step's time was still to be waited for")
    raise NotWaiting(f"twice the steps took {best.twice:.2f} times the time, not within {TWICE[0]} and {TWICE[1]}")


def what_disturbed(disturbed: Sequence[Attempt]) -> str:
    """What kept how many of all attempts from telling anything, and the way out."""
    throttled = sum(attempt.throttled for attempt in disturbed)
    if 2 * throttled >= len(disturbed):
        limit = quota.named(quota.smallest())
        return f"the {limit} stopped it in {throttled} of {MOST_ATTEMPTS} attempts; {quota.WAY_OUT}"
    busy = len(disturbed) - throttled
    return f"others had its CPU in {busy} of {MOST_ATTEMPTS} attempts; run again when the machine is quiet"


def tried(trainer: Trainer, one: Any, chunk: Any, double: Any, timed: Callable[..., Sample]) -> Attempt:
    """One attempt: each kind of sample as often as the budget allows."""

    def steps(chunk: Any) -> Callable[[], Any]:
        return lambda: trainer.wait(trainer.train(chunk))

    first = timed(steps(one))
    trainer.weights()
    calls = trainer.weights, trainer.weights, steps(one), trainer.weights
    reads = [timed(*calls) for _ in range(repeats(first.seconds[0]))]
    single, doubled = [first if chunk is one else timed(steps(chunk))], [timed(steps(double))]
    for _ in range(repeats(3 * single[0].seconds[0]) - 1):
        single.append(timed(steps(chunk)))
        doubled.append(timed(steps(double)))
    return Attempt(reads, single, doubled)


def timed(clock: Callable[[], float], counters: Callable[[], Any], *calls: Callable[[], Any]) -> Sample:
    """The calls right after each other: what a process has used is asked before the first and after the last."""
    before, moments = counters(), [clock()]
    for call in calls:
        call()
        moments.append(clock())
    spent = counters().since(before)
    seconds = tuple(end - began for began, end in itertools.pairwise(moments))
    return Sample(seconds, spent["waited_seconds"], spent["throttled_seconds"], spent["lost_seconds"])


def repeats(seconds: float) -> int:
    """How often something that long is measured within the budget; at least once."""
    return max(1, min(MOST_REPEATS, int(BUDGET_SECONDS / max(seconds, 1e-9))))


def duration(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    started = clock()
    call()
    return clock() - started
