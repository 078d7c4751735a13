"""From rounds to estimates: the only place that knows statistics.

The process is the unit of replication: an estimate is made per pass, from that pass's rounds, and the
interval is a 95 % t-interval (SciPy) over passes of the logarithm.

A shared machine has slow phases: for seconds at a time, everything takes up to 1.5 times as long. They
are common to all cases, and the control's round in the same sweep shows them. So medians are taken
over calm sweeps: those whose control round was within 10 % of the run's calm level. What a case itself
did has no say in which sweeps count.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.results import Round

CONFIDENCE = 0.95
# The calm level is the fastest fifth of the control's rounds; a sweep is calm up to 10 % above it.
CALM_QUANTILE, CALM_BOUND = 0.2, 1.10
# A pass with fewer calm sweeps is disturbed; a case that waited that share of its time for a CPU, or that a quota
# stopped for as long, is noisy.
FEWEST_CALM, MOST_WAITED, MOST_DRIFT = 0.3, 0.05, 0.10
# The median of four rounds or fewer is a tenth off by itself: such a short run has no drift to speak of.
FEWEST_IN_A_THIRD = 5

# A slowdown is suspected where its one-sided lower bound, at SURE, is past the margin. What a look has to be able to
# see: RESOLUTION by the median round, TOTAL_RESOLUTION (a doubled cost of every tenth step) by total time.
MARGIN, RESOLUTION, TOTAL_RESOLUTION, SURE, BOTH_LOOKS = 0.02, 0.05, 0.10, 0.99, 0.95

# A line through two points fits whatever they are.
FEWEST_POINTS = 3
TINY = 1e-300  # a line that fits to the last bit has an interval of no width, not one that is no number

TOO_CLOSE, TOO_NOISY = "too close to call", "too noisy to tell"
# An interval whose ends are further apart than this factor is no figure that anyone could use.
WIDEST = 1.5

Sweep = tuple[int, int]


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


def calm_sweeps(control: Sequence[Round]) -> set[Sweep]:
    """The (pass, sweep) pairs in which the control ran at the machine's calm speed."""
    if not control:
        return set()
    level = float(np.quantile([one.seconds / one.steps for one in control], CALM_QUANTILE))
    return {(r.pass_number, r.sweep) for r in control if r.seconds / r.steps <= CALM_BOUND * level}


def disturbed_passes(control: Sequence[Round]) -> set[int]:
    """Passes in which the machine was seldom calm."""
    calm = calm_sweeps(control)
    share = {
        number: sum((number, one.sweep) in calm for one in own) / len(own) for number, own in by_pass(control).items()
    }
    return {number for number, part in share.items() if part < FEWEST_CALM}


def usable_rounds(rounds: Sequence[Round], control: Sequence[Round]) -> list[Round]:
    """The rounds of undisturbed passes; of all, where fewer than two are undisturbed."""
    disturbed = disturbed_passes(control)
    if len({one.pass_number for one in rounds} - disturbed) < 2:
        return list(rounds)
    return [one for one in rounds if one.pass_number not in disturbed]


def in_sweeps(rounds: Sequence[Round], sweeps: Collection[Sweep]) -> list[Round]:
    """Those rounds that lie in the sweeps; all of them in a pass where none does, as with long rounds."""
    kept = []
    for own in by_pass(rounds).values():
        calm = [one for one in own if (one.pass_number, one.sweep) in sweeps]
        kept += calm or own
    return kept


def step_seconds(rounds: Sequence[Round], calm: Collection[Sweep]) -> Interval:
    """Seconds per training step of one case: per pass the median of its calm rounds."""
    return log_interval(medians_by_pass(rounds, calm))


def ratio(case: Sequence[Round], other: Sequence[Round], calm: Collection[Sweep]) -> tuple[Interval, float]:
    """Step of `case` over step of `other`, and beside it the ratio of their total times."""
    medians, totals = ratios_by_pass(case, other, calm)
    return log_interval(medians), log_interval(totals).value


def ratios_by_pass(
    case: Sequence[Round], other: Sequence[Round], calm: Collection[Sweep]
) -> tuple[list[float], list[float]]:
    """Ratios of steps and of total times, one each per pass that both have.

    Per pass, the median over sweeps of the log-ratio of two rounds of one sweep: they lie next to each
    other in time. The ratio of total times beside it sees sparse stalls that a median cannot.
    """
    mine, its = by_pass(in_sweeps(case, calm)), by_pass(in_sweeps(other, calm))
    medians, totals = [], []
    for number in mine.keys() & its.keys():
        partner = {one.sweep: one for one in its[number]}
        pairs = [(one, partner[one.sweep]) for one in mine[number] if one.sweep in partner]
        if pairs:
            medians.append(math.exp(np.median([math.log(a.seconds / a.steps * b.steps / b.seconds) for a, b in pairs])))
            totals.append(_total_step([a for a, _ in pairs]) / _total_step([b for _, b in pairs]))
        else:
            medians.append(_median_step(mine[number]) / _median_step(its[number]))
            totals.append(_total_step(mine[number]) / _total_step(its[number]))
    return medians, totals


def pair_sd(ratios: Sequence[float]) -> float:
    """The spread over passes of the log-ratio of two processes."""
    return float(np.std(np.log(ratios), ddof=1)) if len(ratios) > 1 else math.nan


def smallest_caught(sd: float, passes: int, power: float = 0.9) -> float:
    """The slowdown that is suspected (`Look`) with that probability, given the spread of the pairs."""
    return _caught(sd / math.sqrt(passes), passes - 1, power) if passes > 1 else math.inf


def _caught(error: float, freedom: float, power: float) -> float:
    reach = stats.t.ppf(SURE, freedom) + stats.t.ppf(power, freedom)
    return float(math.exp(math.log1p(MARGIN) + reach * error) - 1)


@dataclass(frozen=True)
class Look:
    """What is known of a case's step at the head over its step at the base.

    `ratio` is that of the median steps, `total` that of total times, which sees stalls that come now and
    then. `bound` is the higher of their one-sided 99 % lower bounds. `resolves` is the smallest slowdown
    that would be suspected 95 times in 100 by the median, so that two looks in a row catch it 9 times in
    10; `total_resolves` is the same by total time, which is noisier and need not see less than 10 %.
    """

    passes: int
    ratio: Interval
    total: Interval
    bound: float
    spread: float
    resolves: float
    total_resolves: float

    @property
    def suspect(self) -> bool:
        return self.bound > 1 + MARGIN

    @property
    def conclusive(self) -> bool:
        return self.resolves <= RESOLUTION and self.total_resolves <= TOTAL_RESOLUTION


def look_at_pairs(head: Sequence[Round], base: Sequence[Round], calm: Collection[Sweep]) -> Look | None:
    """Head beside base, as they took turns: pair by pair, one pair per pass. None where there is no pair."""
    medians, totals = ratios_by_pass(head, base, calm)
    if not medians:
        return None
    passes, spread = len(medians), pair_sd(medians)
    bounds = [_one_sided(log_interval(ratios, 2 * SURE - 1)) for ratios in (medians, totals)]
    resolves = [smallest_caught(pair_sd(ratios), passes, BOTH_LOOKS) for ratios in (medians, totals)]
    return Look(passes, log_interval(medians), log_interval(totals), max(bounds), spread, *resolves)


def look_at_runs(head: Sequence[float], base: Sequence[float], totals: tuple[Sequence[float], Sequence[float]]) -> Look:
    """Two runs that did not take turns: a value per pass of each, and their total times; Welch's t-interval."""
    if min(len(head), len(base)) < 2:
        alone = Interval(math.exp(float(np.log(head).mean() - np.log(base).mean())))
        return Look(min(len(head), len(base)), alone, alone, 0.0, math.nan, math.inf, math.inf)
    ratio, bound, resolves = _welch(head, base)
    total, total_bound, total_resolves = _welch(*totals)
    spread = math.sqrt(float(np.var(np.log(head), ddof=1) + np.var(np.log(base), ddof=1)))
    return Look(min(len(head), len(base)), ratio, total, max(bound, total_bound), spread, resolves, total_resolves)


def _welch(head: Sequence[float], base: Sequence[float]) -> tuple[Interval, float, float]:
    """The ratio of geometric means with its interval, its one-sided lower bound, and what it resolves."""
    logs = np.log(head), np.log(base)
    value = math.exp(float(logs[0].mean() - logs[1].mean()))
    if max(float(np.ptp(one)) for one in logs) == 0:
        return Interval(value, value, value), value, MARGIN
    test = stats.ttest_ind(*logs, equal_var=False)
    both, bound = test.confidence_interval(CONFIDENCE), math.exp(test.confidence_interval(2 * SURE - 1).low)
    error = (math.log(value) - math.log(bound)) / float(stats.t.ppf(SURE, test.df))
    interval = Interval(value, math.exp(both.low), math.exp(both.high))
    return interval, bound, _caught(error, test.df, BOTH_LOOKS)


def _one_sided(interval: Interval) -> float:
    return 0.0 if interval.low is None else interval.low


@dataclass(frozen=True)
class Line:
    """A step's seconds as `overhead + each * batch size`; `misfit` is how far off it is at worst, relative."""

    overhead: Interval
    each: Interval
    misfit: float
    passes: int


def line_through(rounds: Mapping[int, Sequence[Round]], calm: Collection[Sweep]) -> Line | None:
    """One line per pass through the median steps by batch size, by least squares of the relative error.

    Relative, so that the smallest batch, which shows the overhead, weighs as much as the largest. The
    overhead's interval is a t-interval over passes, and may reach below zero. Of one pass, both intervals
    are those of the fit, from how far its points lie off the line. None where no pass has three batch sizes.
    """
    points: dict[int, dict[int, float]] = {}
    for size, own in rounds.items():
        for number, kept in by_pass(in_sweeps(own, calm)).items():
            points.setdefault(number, {})[size] = _median_step(kept)
    overheads, slopes, misfits = [], [], []
    for steps in points.values():
        if len(steps) < FEWEST_POINTS:
            continue
        sizes, seconds = np.array(list(steps)), np.array(list(steps.values()))
        system = np.stack([1 / seconds, sizes / seconds], axis=1)
        (overhead, each), *_ = np.linalg.lstsq(system, np.ones(len(sizes)), rcond=None)
        overheads.append(float(overhead))
        slopes.append(float(each))
        misfits.append(float(np.abs((overhead + each * sizes) / seconds - 1).max()))
    if not overheads or min(slopes) <= 0:
        return None
    if len(overheads) == 1:
        error = 1 - system @ [overhead, each]
        free = len(sizes) - 2
        variances = np.diag(np.linalg.inv(system.T @ system)) * (error @ error) / free
        low, high = stats.t.interval(CONFIDENCE, free, loc=[overhead, each], scale=np.maximum(np.sqrt(variances), TINY))
        ends = [Interval(float(v), float(a), float(b)) for v, a, b in zip((overhead, each), low, high)]
        return Line(ends[0], ends[1] if low[1] > 0 else Interval(slopes[0]), misfits[0], 1)
    return Line(mean_interval(overheads), log_interval(slopes), float(np.median(misfits)), len(overheads))


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of values that may be negative, one per pass, with a t-interval."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean)
    error = float(stats.sem(values))
    if error == 0:
        return Interval(mean, mean, mean)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=mean, scale=error)
    return Interval(mean, float(low), float(high))


def verdict(interval: Interval) -> str:
    """Whether the step takes longer (slower) or less (faster), or the interval includes 1: closely, or by its width."""
    if interval.low is None or interval.high is None or interval.low <= 1 <= interval.high:
        return TOO_NOISY if too_wide(interval.low, interval.high) else TOO_CLOSE
    return "slower" if interval.low > 1 else "faster"


def too_wide(low: float | None, high: float | None) -> bool:
    """Whether an interval of positive values is too wide to print; no interval is not."""
    return low is not None and high is not None and high > WIDEST * low


def drift(rounds: Sequence[Round]) -> float:
    """The last third's median over the first's, less 1: per pass, then the median over passes; 0 of too few rounds."""
    drifts = []
    for own in by_pass(rounds).values():
        third = len(own) // 3
        if third >= FEWEST_IN_A_THIRD:
            drifts.append(_median_step(own[-third:]) / _median_step(own[:third]) - 1)
    return float(np.median(drifts)) if drifts else 0.0


def waited_share(rounds: Sequence[Round], threads: int) -> float:
    """The share of its rounds' time that a case was ready to run and others had its CPUs.

    Threads of one process also wait for each other; that is no more than what its CPUs did not work for it, and a
    quota did not take.
    """
    lost = sum(min(r.waited_seconds, max(0.0, idle(r, threads) - r.throttled_seconds)) for r in rounds)
    return lost / (threads * sum(one.seconds for one in rounds))


def throttled_share(rounds: Sequence[Round], threads: int) -> float:
    """The share of its rounds' time for which a CPU quota stopped a case."""
    lost = sum(min(one.throttled_seconds, idle(one, threads)) for one in rounds)
    return lost / (threads * sum(one.seconds for one in rounds))


def idle(one: Round, threads: int) -> float:
    """The seconds of a round that a case's CPUs did not work for it."""
    return max(0.0, threads * one.seconds - one.cpu_seconds)


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


def totals_by_pass(rounds: Sequence[Round], calm: Collection[Sweep]) -> list[float]:
    """Seconds per step by total time, one value per pass."""
    return [_total_step(own) for own in by_pass(in_sweeps(rounds, calm)).values()]


def medians_by_pass(rounds: Sequence[Round], calm: Collection[Sweep]) -> list[float]:
    """The median seconds per step, one value per pass."""
    return [_median_step(own) for own in by_pass(in_sweeps(rounds, calm)).values()]


def _median_step(rounds: Sequence[Round]) -> float:
    return float(np.median([one.seconds / one.steps for one in rounds]))


def _total_step(rounds: Sequence[Round]) -> float:
    return sum(one.seconds for one in rounds) / sum(one.steps for one in rounds)
