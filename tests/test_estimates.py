"""Statistics on rounds that are made up, so that the answers are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.estimates import (
    Interval,
    calm_sweeps,
    drift,
    in_sweeps,
    line_through,
    log_interval,
    ratio,
    step_seconds,
    throttled_share,
    verdict,
    waited_share,
)
from bench.results import Round

ONE = Round("case", 1, 0, 0, 0, 2, 256, 0.02, 0.02, 0.0, 0, 0)


def rounds(seconds_by_pass: list[list[float]], case: str = "case") -> list[Round]:
    """One round per number, in a sweep of its own; two steps each."""
    return [
        replace(ONE, case=case, pass_number=number, round=index, sweep=index, seconds=seconds)
        for number, own in enumerate(seconds_by_pass, 1)
        for index, seconds in enumerate(own)
    ]


def everything(of: list[Round]) -> set[tuple[int, int]]:
    return {(one.pass_number, one.sweep) for one in of}


def test_the_interval_is_a_t_interval_of_logarithms() -> None:
    values = [1.0, 1.1, 0.95, 1.05]
    found = log_interval(values)
    logs = np.log(values)
    half = stats.t.ppf(0.975, 3) * logs.std(ddof=1) / 2
    assert found.value == pytest.approx(math.exp(logs.mean()))
    assert (found.low, found.high) == pytest.approx((math.exp(logs.mean() - half), math.exp(logs.mean() + half)))


def test_one_pass_has_no_interval() -> None:
    assert log_interval([3.0]) == Interval(pytest.approx(3.0), None, None)
    assert log_interval([3.0]).half_width == math.inf


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        found = log_interval(np.exp(random.normal(0, 0.05, 4)).tolist())
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 1 <= found.high
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_a_step_is_the_median_round_of_each_pass() -> None:
    own = rounds([[0.02, 0.04, 9.0], [0.04, 0.04, 0.04]])
    assert step_seconds(own, everything(own)).value == pytest.approx(0.02)


def test_calm_sweeps_are_those_in_which_the_control_was_fast() -> None:
    control = rounds([[0.010, 0.010, 0.015, 0.0105], [0.015, 0.010, 0.0112, 0.010]])
    assert calm_sweeps(control) == {(1, 0), (1, 1), (1, 3), (2, 1), (2, 3)}


def test_slow_phases_that_hit_all_alike_do_not_move_an_estimate() -> None:
    """Half of the sweeps 1.5 times as slow, control and case alike: the calm half decides."""
    slow = [1.5 if index % 2 else 1.0 for index in range(40)]
    control, case = rounds([[0.01 * s for s in slow]] * 3), rounds([[0.03 * s for s in slow]] * 3)
    calm = calm_sweeps(control)
    assert step_seconds(case, calm).value == pytest.approx(0.015)
    assert step_seconds(case, everything(case)).value == pytest.approx(0.01875)


def test_a_stall_of_the_case_itself_is_kept() -> None:
    """What a case did has no say in which sweeps count: a sparse stall stays in the ratio of total times."""
    control = rounds([[0.01] * 40] * 3)
    plain = rounds([[0.02] * 40] * 3)
    stalling = rounds([[0.04 if index % 10 == 9 else 0.02 for index in range(40)]] * 3)
    found, total = ratio(stalling, plain, calm_sweeps(control))
    assert found.value == pytest.approx(1)
    assert total == pytest.approx(1.1)


def test_a_pass_without_a_calm_sweep_is_kept_whole() -> None:
    own = rounds([[0.02, 0.02], [0.03, 0.05]])
    assert in_sweeps(own, {(1, 0)}) == [own[0], own[2], own[3]]


def test_a_ratio_pairs_the_rounds_of_one_sweep() -> None:
    wave = [1 + 0.5 * math.sin(index) for index in range(30)]
    mine, its = rounds([[0.03 * w for w in wave]] * 2), rounds([[0.02 * w for w in wave]] * 2)
    found, total = ratio(mine, its, everything(mine))
    assert found.value == pytest.approx(1.5)
    assert total == pytest.approx(1.5)
    assert found.low == pytest.approx(1.5)


def test_long_rounds_that_share_no_sweep_are_compared_by_pass() -> None:
    mine = [replace(ONE, sweep=0, seconds=4.0), replace(ONE, sweep=2, seconds=4.0)]
    its = [replace(ONE, sweep=1, seconds=2.0)]
    assert ratio(mine, its, set())[0].value == pytest.approx(2)


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        (Interval(1.1, 1.05, 1.15), "slower"),
        (Interval(0.9, 0.85, 0.95), "faster"),
        (Interval(1.02, 0.99, 1.05), "too close to call"),
        (Interval(2.0), "too close to call"),
    ],
)
def test_words(interval: Interval, word: str) -> None:
    assert verdict(interval) == word


def test_drift_and_waiting() -> None:
    assert drift(rounds([[0.02] * 5 + [0.025] * 5 + [0.03] * 5])) == pytest.approx(0.5)
    assert drift(rounds([[0.02] * 4 + [0.025] * 4 + [0.03] * 4])) == 0
    assert drift(rounds([[0.02]])) == 0
    assert waited_share([replace(ONE, waited_seconds=0.005, cpu_seconds=0.014)], 1) == pytest.approx(0.25)


def test_threads_that_wait_for_each_other_are_not_disturbed() -> None:
    """A process whose CPU worked for it all the time lost nothing to others, whatever its threads waited."""
    assert waited_share([replace(ONE, waited_seconds=0.009, cpu_seconds=0.02)], 1) == 0
    assert waited_share([replace(ONE, waited_seconds=0.03, cpu_seconds=0.03)], 2) == pytest.approx(0.25)


def test_what_a_quota_stopped_is_no_waiting_for_others() -> None:
    stopped = replace(ONE, cpu_seconds=0.008, waited_seconds=0.002, throttled_seconds=0.01)
    assert throttled_share([stopped], 1) == pytest.approx(0.5)
    assert waited_share([stopped], 1) == pytest.approx(0.1)
    assert waited_share([replace(stopped, waited_seconds=0.012)], 1) == pytest.approx(0.1), "no more than is left"
    assert throttled_share([replace(stopped, throttled_seconds=0.5)], 1) == pytest.approx(0.6), "nor here"
    assert throttled_share([replace(stopped, throttled_seconds=0.02)], 2) == pytest.approx(0.5)
    assert throttled_share([ONE], 1) == 0


def batch_rounds(overheads: list[float], each: float, sizes: tuple[int, ...]) -> dict[int, list[Round]]:
    """Two rounds of one step per pass and batch size, on a line with another overhead in every pass."""
    return {
        size: [
            replace(ONE, pass_number=number, sweep=sweep, steps=1, seconds=overhead + each * size)
            for number, overhead in enumerate(overheads, 1)
            for sweep in range(2)
        ]
        for size in sizes
    }


def test_a_line_through_batch_sizes_gives_overhead_and_limit() -> None:
    overheads, each = [9e-4, 10e-4, 11e-4], 50e-6
    line = line_through(batch_rounds(overheads, each, (1, 16, 256, 4096)), {(n, s) for n in (1, 2, 3) for s in (0, 1)})
    assert line is not None
    assert line.passes == 3
    assert line.each.value == pytest.approx(each)
    assert line.overhead.value == pytest.approx(1e-3)
    half = stats.t.ppf(0.975, 2) * 1e-4 / math.sqrt(3)
    assert (line.overhead.low, line.overhead.high) == pytest.approx((1e-3 - half, 1e-3 + half))
    assert line.misfit == pytest.approx(0, abs=1e-9)


def test_what_a_bent_line_misses_is_said() -> None:
    """Batches that no longer fit into a cache take twice as long per image."""
    bent = batch_rounds([1e-3], 50e-6, (1, 16, 256))
    bent |= batch_rounds([1e-3], 100e-6, (4096,))
    line = line_through(bent, set())
    assert line is not None
    assert line.misfit > 0.2
    assert line.overhead.low is not None
    assert line.overhead.low < 0 < line.overhead.value, "one pass, and off its points"


def test_the_interval_of_one_pass_is_that_of_the_fit() -> None:
    random, sizes, holds = np.random.default_rng(0), (1, 4, 16, 64, 256), 0
    for _ in range(200):
        noisy = {n: rounds([[2 * (1e-3 + 50e-6 * n) * random.normal(1, 0.03)]]) for n in sizes}
        line = line_through(noisy, set())
        assert line is not None and line.overhead.low is not None and line.overhead.high is not None
        holds += line.overhead.low <= 1e-3 <= line.overhead.high
    assert 180 <= holds <= 198, "of 200, 95 % should hold the truth"


def test_two_batch_sizes_make_no_line() -> None:
    assert line_through(batch_rounds([1e-3], 50e-6, (1, 16)), set()) is None
