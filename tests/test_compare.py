"""`lenet-bench compare` on run folders that are made up, so that what changed is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cases import Case
from bench.compare import RunFolder, compare
from bench.control import control_of
from bench.results import Equivalence, Process, ResultsError, Round, Shape, Throughput, Verdict, write_rows
from bench.verdicts import exit_code
from tests.commands import in_this_process

CASES = (Case("numpy", "im2col"), Case("torch", "eager"))
PASSES, SWEEPS = 8, 40


def blank(kind: type[Any], **values: Any) -> Any:
    empty = {"int": 0, "float": 0.0, "str": ""}
    return kind(
        **{f.name: values.get(f.name, None if "None" in str(f.type) else empty[str(f.type)]) for f in fields(kind)}
    )


def run_folder(
    folder: Path,
    step: dict[str, float] | None = None,
    machine: float = 1.0,
    cpu: str = "EPYC",
    change: Callable[[dict[type[Any], list[Any]]], None] = lambda files: None,
    seed: int = 0,
) -> RunFolder:
    """A run of both cases at 10 ms a step, times what `step` says, on a machine that slow."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    rounds = []
    for case in (*CASES, control_of(CASES[0])):
        for number in range(1, PASSES + 1):
            own = machine * (step or {}).get(case.backend, 1.0) * math.exp(random.normal(0, 0.004))
            for sweep in range(SWEEPS):
                seconds = 0.01 * own * math.exp(random.normal(0, 0.005))
                rounds.append(Round(case.id, number, sweep, sweep, 0, 1, 128, seconds, seconds, 0.0, 0, 0))
    rows = [
        blank(Throughput, backend=c.backend, mode=c.mode, variant=c.variant, device=c.device, precision=c.precision,
              batch_size=c.batch_size, threads=c.threads, feed=c.feed, status="ok", cpu=cpu, version="1.0", host="here")
        for c in CASES
    ]  # fmt: skip
    shapes = [
        Shape("lenet5", "conv1", c.backend, c.mode, "6x28x28", "6x28x28", "6x28x28", 156, 156, 5, "ok") for c in CASES
    ]
    errors = [
        blank(Equivalence, backend=c.backend, mode=c.mode, variant="lenet5", precision=c.precision, quantity="weights",
              error=1e-6, tolerance=1e-3, verdict="ok")
        for c in CASES
    ]  # fmt: skip
    processes = [blank(Process, case=c.id, pass_number=1, status="ok") for c in CASES]
    files: dict[type[Any], list[Any]] = {
        Throughput: rows, Round: rounds, Shape: shapes, Equivalence: errors, Process: processes,
    }  # fmt: skip
    change(files)
    for kind, content in files.items():
        write_rows(folder, kind, content)
    return RunFolder.read(folder)


def words(verdicts: list[Verdict]) -> dict[str, str]:
    return {one.case.split("-lenet5")[0]: one.verdict for one in verdicts}


def test_lines_below_the_table_name_cases_as_a_reader_does(tmp_path: Path) -> None:
    run_folder(tmp_path / "a")
    run_folder(tmp_path / "b", change=lambda files: files[Throughput].pop())
    done = in_this_process("compare", "a", "b", cwd=tmp_path)
    assert "torch eager: missing: b has no such case\n" in done.stdout, done.stderr


def test_the_slower_case_is_red_and_the_other_is_not(tmp_path: Path) -> None:
    base, head = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", {"torch": 1.08}, seed=1)
    verdicts, _ = compare(base, head)
    assert words(verdicts) == {"numpy-im2col": "ok", "torch-eager": "slower"}
    assert verdicts[1].ratio == pytest.approx(1.08, rel=0.01)
    assert verdicts[1].basis == "time"
    assert exit_code(verdicts, False) == 1


def test_a_slower_machine_is_no_slower_code(tmp_path: Path) -> None:
    base, head = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", {"torch": 1.08}, machine=1.4, seed=1)
    verdicts, _ = compare(base, head)
    assert words(verdicts) == {"numpy-im2col": "ok", "torch-eager": "slower"}
    assert {one.basis for one in verdicts} == {"control"}
    assert "control's step changed by +" in verdicts[0].reason


def test_another_processor_is_compared_by_the_control_and_says_so(tmp_path: Path) -> None:
    base, head = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", cpu="Xeon", seed=1)
    verdicts, notes = compare(base, head)
    assert words(verdicts) == {"numpy-im2col": "ok", "torch-eager": "ok"}
    assert all("cpu differs (EPYC, Xeon): each divided by its control" in one.reason for one in verdicts)
    assert any("EPYC / Xeon" in note for note in notes)


def test_a_version_is_named(tmp_path: Path) -> None:
    def upgrade(files: dict[type[Any], list[Any]]) -> None:
        files[Throughput][1] = replace(files[Throughput][1], version="2.0")

    _, notes = compare(run_folder(tmp_path / "a"), run_folder(tmp_path / "b", change=upgrade, seed=1))
    assert "torch version: 1.0 / 2.0" in notes


def test_a_case_on_one_side_only_is_missing(tmp_path: Path) -> None:
    def drop(files: dict[type[Any], list[Any]]) -> None:
        del files[Throughput][1]

    base, head = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", change=drop, seed=1)
    for old, new in ((base, head), (head, base)):
        verdicts, _ = compare(old, new)
        assert words(verdicts) == {"numpy-im2col": "ok", "torch-eager": "missing"}
        assert (exit_code(verdicts, False), exit_code(verdicts, True)) == (4, 0)


def test_a_failed_or_noisy_case_has_no_verdict(tmp_path: Path) -> None:
    def spoil(files: dict[type[Any], list[Any]]) -> None:
        files[Throughput][0] = replace(files[Throughput][0], status="noisy", reason="others had its CPU")
        files[Throughput][1] = replace(files[Throughput][1], status="failed", reason="killed")

    verdicts, _ = compare(run_folder(tmp_path / "a"), run_folder(tmp_path / "b", change=spoil, seed=1))
    assert words(verdicts) == {"numpy-im2col": "inconclusive", "torch-eager": "failed"}


def changed_shape(files: dict[type[Any], list[Any]]) -> None:
    files[Shape][0] = replace(files[Shape][0], shape="6x24x24")


def changed_count(files: dict[type[Any], list[Any]]) -> None:
    files[Shape][0] = replace(files[Shape][0], parameters=150)


def lost_stage(files: dict[type[Any], list[Any]]) -> None:
    files[Shape].append(replace(files[Shape][0], stage="conv2"))
    del files[Shape][0]


def wrong_weights(files: dict[type[Any], list[Any]]) -> None:
    files[Equivalence][0] = replace(files[Equivalence][0], error=2e-3)


@pytest.mark.parametrize("change", [changed_shape, changed_count, lost_stage, wrong_weights])
def test_another_network_is_exit_code_1(tmp_path: Path, change: Callable[[Any], None]) -> None:
    verdicts, _ = compare(run_folder(tmp_path / "a"), run_folder(tmp_path / "b", change=change, seed=1))
    assert [one.verdict for one in verdicts[2:]] == ["mismatch"]
    assert exit_code(verdicts, False) == 1


def test_few_passes_are_inconclusive(tmp_path: Path) -> None:
    def one_pass(files: dict[type[Any], list[Any]]) -> None:
        files[Round] = [one for one in files[Round] if one.pass_number == 1]

    verdicts, _ = compare(run_folder(tmp_path / "a"), run_folder(tmp_path / "b", change=one_pass, seed=1))
    assert set(words(verdicts).values()) == {"inconclusive"}
    assert exit_code(verdicts, False) == 3


def test_a_case_without_rounds_is_inconclusive(tmp_path: Path) -> None:
    def no_rounds(files: dict[type[Any], list[Any]]) -> None:
        files[Round] = [one for one in files[Round] if not one.case.startswith("torch")]

    verdicts, _ = compare(run_folder(tmp_path / "a"), run_folder(tmp_path / "b", change=no_rounds, seed=1))
    assert words(verdicts) == {"numpy-im2col": "ok", "torch-eager": "inconclusive"}


def test_without_a_control_the_machines_speed_is_unknown(tmp_path: Path) -> None:
    def no_control(files: dict[type[Any], list[Any]]) -> None:
        files[Round] = [one for one in files[Round] if not one.case.startswith("control")]

    base, head = run_folder(tmp_path / "a"), run_folder(tmp_path / "b", machine=1.3, change=no_control, seed=1)
    verdicts, _ = compare(base, head)
    assert words(verdicts) == {"numpy-im2col": "inconclusive", "torch-eager": "inconclusive"}
    assert "speed is unknown" in verdicts[0].reason


def test_other_initial_weights_are_another_training(tmp_path: Path) -> None:
    def start_from(weights: str) -> Callable[[dict[type[Any], list[Any]]], None]:
        def change(files: dict[type[Any], list[Any]]) -> None:
            files[Process] = [replace(one, weights_sha256=weights) for one in files[Process]]

        return change

    base, head = (run_folder(tmp_path / name, change=start_from(name)) for name in ("a", "b"))
    assert set(words(compare(base, head)[0]).values()) == {"mismatch"}


@pytest.mark.parametrize("kind", [Shape, Equivalence])
def test_a_time_without_its_proof_is_missing(tmp_path: Path, kind: type[Any]) -> None:
    def unproven(files: dict[type[Any], list[Any]]) -> None:
        files[kind] = files[kind][:1]

    verdicts, _ = compare(run_folder(tmp_path / "a"), run_folder(tmp_path / "b", change=unproven, seed=1))
    assert words(verdicts) == {"numpy-im2col": "ok", "torch-eager": "missing"}


def test_a_case_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    def twice(files: dict[type[Any], list[Any]]) -> None:
        files[Throughput].append(files[Throughput][0])

    with pytest.raises(ResultsError, match="is there twice"):
        run_folder(tmp_path / "a", change=twice)


@pytest.mark.parametrize("change", [{"steps": 0}, *({"seconds": s} for s in (0.0, math.inf, -1.0, 5e-324, 1.7e308))])
def test_a_round_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    def spoil(files: dict[type[Any], list[Any]]) -> None:
        files[Round][3] = replace(files[Round][3], **change)

    with pytest.raises(ResultsError, match="cannot be"):
        run_folder(tmp_path / "a", change=spoil)


def test_two_empty_runs_are_not_green(tmp_path: Path) -> None:
    def empty(files: dict[type[Any], list[Any]]) -> None:
        for rows in files.values():
            rows.clear()

    verdicts, _ = compare(run_folder(tmp_path / "a", change=empty), run_folder(tmp_path / "b", change=empty))
    assert exit_code(verdicts, True) == 4


def test_a_mismatch_at_the_head_is_told_whatever_the_base_is(tmp_path: Path) -> None:
    def mismatch(files: dict[type[Any], list[Any]]) -> None:
        files[Throughput][1] = replace(files[Throughput][1], status="failed", reason="weights differ")
        files[Process][1] = replace(files[Process][1], status="failed", flag="mismatch")

    def drop(files: dict[type[Any], list[Any]]) -> None:
        del files[Throughput][1]

    verdicts, _ = compare(run_folder(tmp_path / "a", change=drop), run_folder(tmp_path / "b", change=mismatch))
    assert words(verdicts)["torch-eager"] == "mismatch"
    assert exit_code(verdicts, True) == 1


@pytest.mark.parametrize("kind", ["rounds", "throughput", "shapes", "equivalence", "processes"])
def test_damage_is_named_and_nothing_is_touched(tmp_path: Path, kind: str) -> None:
    run_folder(tmp_path / "a")
    file = tmp_path / "a" / f"{kind}.csv"
    long_cell = file.read_bytes() + b"x" * 200_000 + b"\n"
    for content in (file.read_bytes()[:-7], b"other,columns\n1,2\n", b"", b"\xff\xfe", long_cell):
        file.write_bytes(content)
        with pytest.raises(ResultsError, match=f"{kind}.csv"):
            RunFolder.read(tmp_path / "a")
        assert file.read_bytes() == content
    file.unlink()
    with pytest.raises(ResultsError, match=f"{kind}.csv"):
        RunFolder.read(tmp_path / "a")
    with pytest.raises(ResultsError, match="is no run folder"):
        RunFolder.read(tmp_path / "nothing")
