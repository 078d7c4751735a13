"""Whose fault it is that a thread waits for a CPU."""

from __future__ import annotations

import pytest

from bench.turns import Threads, run_and_waited, waited_for_others

NOTHING: Threads = {"1": (0.0, 0.0), "2": (0.0, 0.0)}


def test_one_busy_thread_waits_for_others_only() -> None:
    assert waited_for_others({"1": (1.5, 0.3)}, {"1": (0.5, 0.1)}, own=1.0) == pytest.approx(0.2)


def test_threads_that_take_turns_on_one_cpu_are_disturbed_by_nobody() -> None:
    assert waited_for_others({"1": (1.0, 1.0), "2": (1.0, 1.0)}, NOTHING, own=2.0) == 0
    assert waited_for_others({"1": (1.0, 1.4), "2": (1.0, 1.0)}, NOTHING, own=2.0) == pytest.approx(0.4)


def test_two_threads_on_two_cpus_do_not_hide_who_has_one_of_them() -> None:
    wall = 1.5
    assert waited_for_others({"1": (1.0, 0.5), "2": (1.0, 0.5)}, NOTHING, own=2.0 - wall) == pytest.approx(1.0)


def test_a_thread_that_began_meanwhile_counts_from_its_start() -> None:
    assert waited_for_others({"1": (1.0, 0.0), "3": (0.0, 1.5)}, NOTHING, own=1.0) == pytest.approx(0.5)


def test_linux_tells_of_this_process() -> None:
    threads = run_and_waited()
    assert threads == {} or all(run >= 0 and waited >= 0 for run, waited in threads.values())
