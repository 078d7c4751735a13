"""What a person is told while something is measured, on a clock that is made up."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from rich.console import Console

from bench import gate as gates
from bench import progress, selfcheck, terminal
from bench.cases import Case, Selection
from bench.conductor import Conductor, Outcome, Plan
from bench.control import control_of
from bench.progress import Limits, names_of, pass_of, told_in

EAGER, JIT = Case("torch", "eager"), Case("jax", "jit")


def names(*cases: Case) -> list[str]:
    return list(names_of(cases).values())


def test_cases_have_the_registrys_names_and_the_control_says_what_it_is() -> None:
    assert names(EAGER, JIT, control_of(EAGER)) == ["torch eager", "jax jit", "the control (a matrix product)"]


@pytest.mark.parametrize(
    ("changed", "first", "second"),
    [
        ({"batch_size": 1}, "batch 128", "batch 1"),
        ({"threads": 2}, "1 thread", "2 threads"),
        ({"variant": "tanh"}, "lenet5", "tanh"),
        ({"precision": "float64"}, "float32", "float64"),
        ({"device": "cuda"}, "cpu", "cuda"),
        ({"batch_size": 1, "threads": 2}, "batch 128, 1 thread", "batch 1, 2 threads"),
    ],
)
def test_cases_that_differ_in_more_say_in_what(changed: dict[str, Any], first: str, second: str) -> None:
    found = names(EAGER, replace(JIT, **changed))
    assert found == [f"torch eager, {first}", f"jax jit, {second}"]


def test_data_that_is_moved_and_copies_are_told_apart() -> None:
    assert names(EAGER, replace(EAGER, feed="stream")) == ["torch eager", "torch eager, data moved inside the clock"]
    assert names(*(replace(EAGER, copy=copy) for copy in ("base", "head"))) == [
        "torch eager (base)",
        "torch eager (head)",
    ]


def test_controls_are_told_apart_among_themselves() -> None:
    cases = [EAGER, replace(EAGER, precision="float64")]
    assert names(*map(control_of, cases)) == [
        "the control (a matrix product), float32",
        "the control (a matrix product), float64",
    ]


@pytest.mark.parametrize(
    ("number", "fewest", "most", "told"),
    [
        (2, 3, None, "pass 2 of at least 3"),
        (4, 3, None, "pass 4, as intervals are still wide"),
        (2, 4, 4, "pass 2 of 4"),
        (5, 4, 4, "pass 5, in place of a disturbed one"),
        (6, 5, 12, "pass 6 of 5 to 12"),
    ],
)
def test_a_pass_is_one_of_so_many(number: int, fewest: int, most: int | None, told: str) -> None:
    assert pass_of(number, fewest, most) == told


@pytest.mark.parametrize(
    ("limits", "done", "now", "told"),
    [
        (Limits(2, None, 5), 1, 100, "at most about 3 min left"),  # two of 100 s end within 5 min of the beginning
        (Limits(2, None, 5), 2, 200, "at most about 100 s left"),
        (Limits(2, None, 5), 2, 292, ""),
        (Limits(2, None, 5), 2, 1000, ""),
        (Limits(5, 12, 0), 1, 100, "at most about 7 min left"),  # too short, and yet no fewer than five
        (Limits(5, 12, 1000), 1, 100, "at most about 18 min left"),
        (Limits(4, 4), 1, 130, "at most about 4 min left"),
        (Limits(3, 3), 3, 300, "at most about 100 s left"),  # one more than there should be
    ],
)
def test_the_time_left_follows_from_the_longest_pass_and_the_limits(
    limits: Limits, done: int, now: float, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.time, "monotonic", lambda: 5000.0 + now)
    found = limits.left(done, 5000.0, 5000.0 + 100 * done, 100.0)
    assert found == told.replace("100 s", "2 min")


def test_in_the_first_pass_nothing_is_known() -> None:
    assert Limits(3, 3).left(0, 0.0, 0.0, 0.0) == ""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(3600, "60 min"), (170, "3 min"), (90, "2 min"), (89, "90 s"), (44, "40 s"), (10, "10 s")],
)
def test_a_time_is_told_as_roughly_as_it_is_known(seconds: float, told: str) -> None:
    assert progress.in_words(seconds) == f"at most about {told} left"


LINES = [
    "pass 1 of at least 3",
    "pass 1 of at least 3, starting 1 of 2: torch [eager]",
    "pass 1 of at least 3, starting 2 of 2: the control (a matrix product)",
    *(f"pass 1 of at least 3, turn {turn} of 80" for turn in range(1, 81)),
    "pass 1 was disturbed: the machine was seldom calm; it is measured again",
    "pass 2 of at least 3, at most about 3 min left",
    "pass 2 of at least 3, turn 1 of 80, at most about 3 min left",
    "pass 2 of at least 3, turn 2 of 80, at most about 2 min left",
]


def shown(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> str:
    written = io.StringIO()
    console = Console(file=written, force_terminal=is_terminal, width=120, markup=False, _environ={})
    monkeypatch.setattr(terminal, "output", console)
    with terminal.working() as tell:
        for line in LINES:
            tell(line)
            if is_terminal:
                console._live_stack[-1].refresh()
    return written.getvalue()


def test_what_is_no_terminal_gets_a_line_where_something_new_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, False).splitlines() == [
        "pass 1 of at least 3",
        "pass 1 was disturbed: the machine was seldom calm; it is measured again",
        "pass 2 of at least 3, at most about 3 min left",
    ]


def test_a_terminal_shows_every_turn_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written = shown(monkeypatch, True)
    for line in (LINES[1], LINES[40], LINES[-1]):
        assert line in written


def test_a_place_stands_before_a_line_and_the_time_left_behind_it() -> None:
    said: list[str] = []
    tell = told_in(said.append, "pass 2 of 3", lambda: "about 3 min left")
    tell("")
    tell("turn 5 of 80")
    assert said == ["pass 2 of 3, about 3 min left", "pass 2 of 3, turn 5 of 80, about 3 min left"]


class Passes:
    """Passes of a minute on a clock that is made up, each with a turn after 45 seconds; the third is the last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 5000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(Conductor, "run_pass", lambda *arguments: self.bring_home(*arguments))

    def bring_home(self, conductor: Conductor, cases: list[Case], number: int) -> list[Outcome]:
        self.now += 45
        conductor.progress("turn 1 of 2")
        self.now += 15
        return [Outcome(case, "ok" if number < 3 else "unavailable") for case in cases]


def test_a_gate_says_how_long_it_may_take_once_a_pass_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Passes(monkeypatch)
    said: list[str] = []
    measure_a_gate(tmp_path, None, 0, said)
    assert said == [
        "first look: pass 1 of 5 to 12",
        "first look: pass 1 of 5 to 12, turn 1 of 2",
        "first look: pass 2 of 5 to 12, at most about 9 min left",
        "first look: pass 2 of 5 to 12, turn 1 of 2, at most about 8 min left",
        "first look: pass 3 of 5 to 12, at most about 8 min left",
        "first look: pass 3 of 5 to 12, turn 1 of 2, at most about 7 min left",
    ]


def test_a_self_check_says_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    Passes(monkeypatch)
    said: list[str] = []
    selfcheck.check(EAGER, Path("python"), "digits", {}, Plan(), 8, 0, said.append)
    assert said == [
        "torch eager: pass 1 of 8",
        "torch eager: pass 1 of 8, turn 1 of 2",
        "torch eager: pass 2 of 8, at most about 7 min left",
        "torch eager: pass 2 of 8, turn 1 of 2, at most about 6 min left",
        "torch eager: pass 3 of 8, at most about 6 min left",
        "torch eager: pass 3 of 8, turn 1 of 2, at most about 5 min left",
    ]


def test_a_conductor_names_what_it_starts_and_counts_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    own = Conductor({}, "digits", {}, Plan(), random.Random(0), said.append)
    monkeypatch.setattr(Conductor, "_run_group", lambda self, queues, number: self.progress(str(self.names)) or [])
    own.run_pass([EAGER], 1)
    assert said == [str(names_of([EAGER, control_of(EAGER)]))]
    worker: Any = SimpleNamespace(
        case=EAGER, round_seconds=1, outcome=None, say=lambda message: None, hear=lambda *arguments: {}, turns=[]
    )
    own._sweep([worker])
    assert said[1:] == [f"turn {turn} of 4" for turn in range(1, 5)]


def bring_home(conductor: Conductor, cases: list[Case], number: int) -> list[Outcome]:
    conductor.progress("turn 1 of 2")
    return [Outcome(case, "unavailable", "not today") for case in cases]


def measure_a_gate(folder: Path, passes: int | None, look: int, lines: list[str]) -> None:
    terms = gates.Terms((EAGER,), Selection(), "digits", 0, passes, 10.0, Plan(), "")
    side = gates.Side("base", folder, {})
    gate = gates.Gate(folder, terms, {}, side, side, "")
    conductor = Conductor({}, "digits", {}, Plan(), random.Random(0))
    gates.measure(gate, conductor, [EAGER], look, lines.append)


def test_a_gate_says_which_look_and_how_many_passes_it_may_have(tmp_path: Path) -> None:
    def said(passes: int | None) -> list[str]:
        lines: list[str] = []
        with mock.patch.object(Conductor, "run_pass", bring_home):
            measure_a_gate(tmp_path, passes, 1 if passes else 0, lines)
        return lines

    assert said(None) == ["first look: pass 1 of 5 to 12", "first look: pass 1 of 5 to 12, turn 1 of 2"]
    assert said(3)[0] == "second look: pass 1 of 3"


def test_a_self_check_names_its_case_and_its_passes() -> None:
    said: list[str] = []
    with mock.patch.object(Conductor, "run_pass", bring_home):
        _, reason = selfcheck.check(EAGER, Path("python"), "digits", {}, Plan(), 8, 0, said.append)
    assert reason == "unavailable: not today"
    assert said == ["torch eager: pass 1 of 8", "torch eager: pass 1 of 8, turn 1 of 2"]
