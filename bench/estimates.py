"""From rounds to estimates: the only place that knows statistics.

The process is the unit of replication. Per pass, a case's estimate is the median seconds per step of
its rounds; over passes, the mean of the logarithms with a 95 % t-interval (SciPy). Two cases are
compared within each pass, sweep by sweep, because rounds of one sweep lie next to each other in time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.results import Round

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; both ends are None where there is one pass only."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half_width(self) -> float:
        """Relative to the value; infinite where there is no interval."""
        if self.low is None or self.high is None:
            return math.inf
        return math.sqrt(self.high / self.low) - 1


def log_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The geometric mean of positive values, one per pass, with a t-interval of their logarithms."""
    logs = np.log(values)
    mean = float(logs.mean())
    if len(logs) < 2:
        return Interval(math.exp(mean))
    error = float(stats.sem(logs))
    if error == 0:
        return Interval(math.exp(mean), math.exp(mean), math.exp(mean))
    low, high = stats.t.interval(confidence, len(logs) - 1, loc=mean, scale=error)
    return Interval(math.exp(mean), math.exp(low), math.exp(high))


def step_seconds(rounds: Sequence[Round]) -> Interval:
    """Seconds per training step of one case."""
    return log_interval([float(np.median([r.seconds / r.steps for r in own])) for own in by_pass(rounds).values()])


def by_pass(rounds: Sequence[Round]) -> dict[int, list[Round]]:
    passes: dict[int, list[Round]] = {}
    for one in rounds:
        passes.setdefault(one.pass_number, []).append(one)
    return passes


def by_case(rounds: Sequence[Round]) -> Mapping[str, list[Round]]:
    cases: dict[str, list[Round]] = {}
    for one in rounds:
        cases.setdefault(one.case, []).append(one)
    return cases
