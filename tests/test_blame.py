"""Whose fault a bad figure is: rows and reasons of runs that a CPU quota or others disturbed, from made-up rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

import backends
from bench import conductor, environments, quota
from bench import conftest as plugin
from bench import gate as gates
from bench import run as runs
from bench.canary import NotTried, NotWaiting
from bench.cases import Case
from bench.conductor import Conductor, Outcome, Plan, Running, Worker
from bench.control import FLOPS, control_of
from bench.machine import Machine
from bench.quota import Quota
from bench.results import Round, SelfCheck, Throughput, Verdict, read_rows
from bench.turns import UNTRIED
from tests.commands import HERE, in_this_process, only_run

CASE, OTHER = Case("numpy", "im2col"), Case("torch", "eager")
CONTROL = control_of(CASE)
LIMIT = Quota(0.3, "cpu.max", "/docker/abc", Path("cpu.stat"))
WAY_OUT = "run with a quota of at least 1 CPU per thread"
SWEEPS = 20


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "smallest", lambda root=quota.ROOT: LIMIT)


def rounds(case: Case, number: int, seconds: float = 0.0, **values: float) -> list[Round]:
    """Rounds of one step, far below the control's peak, during which its CPU worked all the time; or as told."""
    seconds = seconds or (0.01 if case == CONTROL else 0.05)
    own: dict[str, Any] = {"cpu_seconds": seconds, "waited_seconds": 0.0, **values}
    one = Round(case.id, number, 0, 0, 0, 1, case.batch_size, seconds, page_faults=0, involuntary_switches=0, **own)
    return [replace(one, round=sweep, sweep=sweep) for sweep in range(SWEEPS)]


def begun(folder: Path, cases: Sequence[Case] = (CASE,), **asked: Any) -> runs.Run:
    values: dict[str, Any] = {"passes": None, "target": 0.03, "max_minutes": 5.0, "fewest_passes": 2, **asked}
    request = runs.Request(
        tuple(cases), frozenset(), "digits", None, {}, seed=0, plan=Plan(), command="lenet-bench run", **values
    )
    run = runs.Run(folder, request, backends.registry(), Machine("", "", "", "", "", ""), "")
    run.live = list(cases)
    return run


def row_of(folder: Path, case: dict[str, float], control: dict[str, float]) -> Throughput:
    """The row of a case that was measured in three passes, in rounds like that beside a control like that."""
    run = begun(folder)
    for number in (1, 2, 3):
        run.add(Outcome(CASE, "ok", rounds=rounds(CASE, number, **case)), number)
        run.add(Outcome(CONTROL, "ok", rounds=rounds(CONTROL, number, **control)), number)
    return run.throughput(CASE)


def test_a_row_that_a_quota_stopped_names_the_quota_and_nobody_else(tmp_path: Path) -> None:
    """Its threads waited as long as they were stopped; the control, too, was seldom calm."""
    stopped = {"seconds": 0.1, "cpu_seconds": 0.039, "throttled_seconds": 0.061, "waited_seconds": 0.061}
    row = row_of(tmp_path, stopped, {name: value / 5 for name, value in stopped.items()})
    assert (row.status, row.reason) == (
        "noisy",
        f"its CPU quota of 0.3 (cpu.max) stopped it for 61% of the time; {WAY_OUT}",
    )


def test_a_stop_now_and_then_is_no_noise(tmp_path: Path) -> None:
    row = row_of(tmp_path, {"seconds": 0.1, "cpu_seconds": 0.096, "throttled_seconds": 0.004}, {})
    assert (row.status, row.reason) == ("ok", "")


def test_without_a_quota_others_are_named_as_before(tmp_path: Path) -> None:
    row = row_of(tmp_path, {"seconds": 0.1, "cpu_seconds": 0.04, "waited_seconds": 0.06}, {})
    assert (row.status, row.reason) == ("noisy", "others had its CPU for 60% of the time")


# A control whose 10 GFLOP/s are so few that a case beside it reaches 1.5 times as much.
STEP = 2 * 1_131_960 * 128 / 15e9
SLOW = FLOPS / 10e9


def test_a_step_beyond_the_peak_is_not_computed_whole(tmp_path: Path) -> None:
    row = row_of(tmp_path, {"seconds": STEP}, {"seconds": SLOW})
    assert row.status == "failed" and row.reason.endswith("measured beside it: not all was computed")


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("throttled_seconds", f"the CPU quota of 0.3 (cpu.max) stopped that for 60% of the time; {WAY_OUT}"),
        ("waited_seconds", "others had the CPU of that for 60% of the time; run again when the machine is quiet"),
    ],
)
def test_a_step_beyond_the_peak_of_a_control_that_was_held_up_accuses_nobody(
    lost: str, told: str, tmp_path: Path
) -> None:
    control = {"seconds": SLOW, "cpu_seconds": 0.4 * SLOW, lost: 0.6 * SLOW}
    row = row_of(tmp_path, {"seconds": STEP}, control)
    assert row.status == "noisy" and row.reason.endswith(f"the matrix-product peak measured beside it, but {told}")


def test_what_not_even_the_whole_control_could_do_is_not_computed_whole(tmp_path: Path) -> None:
    control = {"seconds": SLOW, "cpu_seconds": 0.8 * SLOW, "throttled_seconds": 0.2 * SLOW}
    row = row_of(tmp_path, {"seconds": STEP / 4}, control)
    assert row.status == "failed" and "not all was computed" in row.reason


class Passes:
    """Passes as a conductor would bring them home, of a minute each on the clock that is `now`."""

    def __init__(self, *passes: Sequence[Outcome]) -> None:
        self.passes, self.now = list(passes), 5000.0

    def __call__(self, conductor: Conductor, cases: Sequence[Case], number: int) -> Sequence[Outcome]:
        conductor.progress("starting 1 of 2: numpy im2col")
        self.now += 45
        conductor.progress("turn 5 of 80")
        self.now += 15
        return self.passes.pop(0)


def carried_out(run: runs.Run, passes: Passes) -> tuple[list[Throughput], list[str]]:
    said: list[str] = []
    with (
        mock.patch.object(Conductor, "run_pass", lambda *arguments: passes(*arguments)),
        mock.patch.object(runs, "look_for_environments", lambda run: dict.fromkeys(run.request.cases, Path("python"))),
    ):
        return runs.carry_out(run, {}, said.append), said


def outcomes(number: int, *cases: Case, **control: float) -> list[Outcome]:
    own = [Outcome(case, "ok", rounds=rounds(case, number)) for case in cases]
    return [*own, Outcome(CONTROL, "ok", rounds=rounds(CONTROL, number, **control))]


def untried(case: Case) -> Outcome:
    return Outcome(case, "unavailable", "could not be tried here: why", UNTRIED)


def test_progress_says_which_pass_of_how_many_and_names_cases_as_a_reader_does(tmp_path: Path) -> None:
    _, said = carried_out(begun(tmp_path), Passes(*(outcomes(number, CASE) for number in (1, 2, 3))))
    assert said[:3] == [
        "pass 1 of at least 3",
        "pass 1 of at least 3, starting 1 of 2: numpy im2col",
        "pass 1 of at least 3, turn 5 of 80",
    ]
    assert [line.partition(",")[0] for line in said[3::3]] == ["pass 2 of at least 3", "pass 3 of at least 3"]
    (tmp_path / "exact").mkdir()
    _, said = carried_out(begun(tmp_path / "exact", passes=1), Passes(outcomes(1, CASE)))
    assert said[0] == "pass 1 of 1"


def test_a_run_says_how_long_it_may_take_once_a_pass_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes(*(outcomes(number, CASE) for number in (1, 2, 3)))
    monkeypatch.setattr(runs.time, "monotonic", lambda: passes.now)
    _, said = carried_out(begun(tmp_path), passes)
    assert said == [
        "pass 1 of at least 3",
        "pass 1 of at least 3, starting 1 of 2: numpy im2col",
        "pass 1 of at least 3, turn 5 of 80",
        "pass 2 of at least 3, at most about 4 min left",
        "pass 2 of at least 3, starting 1 of 2: numpy im2col, at most about 4 min left",
        "pass 2 of at least 3, turn 5 of 80, at most about 3 min left",
        "pass 3 of at least 3, at most about 3 min left",
        "pass 3 of at least 3, starting 1 of 2: numpy im2col, at most about 3 min left",
        "pass 3 of at least 3, turn 5 of 80, at most about 2 min left",
    ]


def test_a_pass_that_a_quota_disturbed_says_so(tmp_path: Path) -> None:
    stopped = {"seconds": 0.02, "cpu_seconds": 0.008, "throttled_seconds": 0.012}
    passes = Passes(outcomes(1, CASE), outcomes(2, CASE, **stopped), outcomes(3, CASE), outcomes(4, CASE))
    _, said = carried_out(begun(tmp_path, passes=3), passes)
    assert (
        "pass 2 was disturbed: the CPU quota of 0.3 (cpu.max) stopped the control for 60% of the time; "
        "it is measured again"
    ) in said
    assert any(line.startswith("pass 4, in place of a disturbed one, turn 5 of 80") for line in said)


def test_a_case_that_could_not_be_tried_is_unavailable_and_takes_no_other_with_it(tmp_path: Path) -> None:
    cases = (CASE, OTHER)
    passes = Passes([untried(OTHER), *outcomes(1, CASE)], outcomes(2, CASE), outcomes(3, CASE))
    rows, _ = carried_out(begun(tmp_path, cases, passes=3), passes)
    assert [(row.backend, row.status, row.reason) for row in rows] == [
        ("numpy", "ok", ""),
        ("torch", "unavailable", "could not be tried here: why"),
    ]


def test_a_case_that_could_not_be_tried_again_keeps_what_was_measured(tmp_path: Path) -> None:
    cases = (CASE, OTHER)
    passes = Passes(outcomes(1, *cases), outcomes(2, *cases), [untried(OTHER), *outcomes(3, CASE)])
    rows, said = carried_out(begun(tmp_path, cases, passes=3), passes)
    assert [(row.backend, row.status, row.passes) for row in rows] == [("numpy", "ok", 3), ("torch", "ok", 2)]
    assert "torch eager keeps the passes that it has: could not be tried here: why" in said


@pytest.fixture
def one_untried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Environments where there are none, and passes in which the copies that this list names could not be tried."""
    copies: list[str] = []

    def run_pass(conductor: Conductor, cases: Sequence[Case], number: int) -> list[Outcome]:
        measured = [Outcome(case, "ok", rounds=rounds(case, number)) for case in (*cases, CONTROL)]
        return [untried(one.case) if one.case.copy in copies else one for one in measured]

    def find(entry: backends.Entry, *rest: Any) -> environments.Environment:
        return environments.Environment(entry.name, Path("python"))

    contents = {"modes": {"numpy": {"im2col": ["tutorial", False]}}, "networks": {}}
    monkeypatch.setattr(gates, "contents_of", lambda source: contents)
    monkeypatch.setattr(Conductor, "run_pass", run_pass)
    monkeypatch.setattr(environments, "find", find)
    return copies


IM2COL = ("--backend", "numpy", "--mode", "im2col", "--data", "synthetic", "--passes", "2")


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_gate_with_a_side_that_could_not_be_tried_is_no_verdict(
    side: str, one_untried: list[str], tmp_path: Path
) -> None:
    one_untried.append(side)
    done = in_this_process("gate", *IM2COL, "--base-python", HERE, "--allow-dirty", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    (verdict,) = read_rows(only_run(tmp_path), Verdict)
    reason = f"{side}: unavailable: could not be tried here: why"
    assert (verdict.verdict, verdict.reason) == ("missing", reason)
    assert f"numpy im2col: missing: {reason}\n" in done.stdout
    assert done.stdout.splitlines()[-1] == "incomplete: 1 missing"


def test_a_gate_whose_sides_could_be_tried_is_one(one_untried: list[str], tmp_path: Path) -> None:
    done = in_this_process("gate", *IM2COL, "--base-python", HERE, "--allow-dirty", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("copy", "code"), [("base", 4), ("plus5", 4), ("", 0)])
def test_a_self_check_of_which_one_could_not_be_tried_has_no_row(
    copy: str, code: int, one_untried: list[str], tmp_path: Path
) -> None:
    one_untried += [copy] if copy else []
    done = in_this_process("selfcheck", *IM2COL, "--python", HERE, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    told = "numpy im2col: unavailable: could not be tried here: why\n"
    assert (told in done.stdout) == bool(copy)
    assert bool(read_rows(tmp_path / "results", SelfCheck)) == (not copy)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (NotTried("could not be tried here: why"), ("unavailable", "could not be tried here: why", UNTRIED)),
        (NotWaiting("after wait()"), ("failed", "NotWaiting: after wait()", "")),
    ],
)
def test_a_worker_tells_whose_fault_it_was(error: Exception, told: tuple[str, str, str]) -> None:
    said: list[tuple[str, str, str]] = []
    connection = SimpleNamespace(closed=False)
    own = SimpleNamespace(connection=connection, failed=lambda *words: said.append(words))
    item: Any = SimpleNamespace(funcargs={"turns": own})
    call: Any = SimpleNamespace(excinfo=SimpleNamespace(value=error))
    hook = plugin.pytest_runtest_makereport(item, call)
    next(hook)
    with pytest.raises(StopIteration):
        next(hook)
    assert said == [told]


class Silent:
    """A process that does nothing, and a connection on which nothing comes; a quota stops 41 s of every wait."""

    pid, closed = 0, False

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.stopped = 0.0
        patch.setattr(quota, "throttled_seconds", lambda: self.stopped)
        patch.setattr(conductor, "kill_group", lambda process: None)

    def poll(self, seconds: float = 0.0) -> None:
        self.stopped += 41.0

    def close(self) -> None:
        pass


def test_one_that_does_not_answer_in_time_is_told_of_with_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent: Any = Silent(monkeypatch)
    (tmp_path / "log").touch()
    worker = Worker(CASE, Running(silent, tmp_path / "log", ""), [0])
    worker.connection = silent
    assert worker.hear("done", 60) == {}
    assert worker.outcome is not None and worker.outcome.reason == (
        "no answer within 60 s, of which the CPU quota of 0.3 (cpu.max) stopped this run for 41 s; it printed nothing"
    )


def test_one_that_is_not_ready_in_time_is_told_of_with_the_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent: Any = Silent(monkeypatch)
    silent.poll = lambda: setattr(silent, "stopped", 41.0)
    (tmp_path / "log").touch()
    monkeypatch.setattr(conductor.time, "monotonic", iter(range(0, 100_000, 200)).__next__)
    monkeypatch.setattr(conductor.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Conductor, "_spawn", lambda *arguments: Running(silent, tmp_path / "log", ""))
    own = Conductor({CASE: Path("python")}, "digits", {}, Plan(), mock.Mock(sample=lambda some, count: list(some)))
    own.names = {CASE.id: "numpy im2col"}
    place: Any = SimpleNamespace(
        took=lambda case: 0, living=lambda case: None, workers=[], welcome=lambda starting: None
    )
    own._start_all([CASE], place)
    (worker,) = place.workers
    assert worker.outcome.reason == (
        "not ready within 300 s, of which the CPU quota of 0.3 (cpu.max) stopped this run for 41 s; it printed nothing"
    )


def test_rounds_of_a_base_that_counts_no_stops_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent: Any = Silent(monkeypatch)
    (tmp_path / "log").touch()
    worker = Worker(CASE, Running(silent, tmp_path / "log", ""), [0])
    spent = {"cpu_seconds": 0.01, "waited_seconds": 0.0, "page_faults": 0, "involuntary_switches": 0}
    worker.turns = [{**spent, "sweep": 0, "order": 0}, {**spent, "throttled_seconds": 0.5, "sweep": 1, "order": 1}]
    record = {"seconds": [0.01, 0.51], "steps": 1, "images": 128}
    monkeypatch.setattr(worker, "hear", lambda *arguments: {"record": record})
    own = Conductor({}, "digits", {}, Plan(), mock.Mock())
    own._take_home(worker, 1)
    assert worker.outcome is not None
    assert [one.throttled_seconds for one in worker.outcome.rounds] == [0, 0.5]
