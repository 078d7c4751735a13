"""The commands as a user types them: real processes, the NumPy backend, and a sixth backend with faults.

`--max-minutes 0` makes a run of exactly as many passes as are asked for, however disturbed they are.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest

from backends.lenet import VARIANTS
from bench import cli, conductor, tree
from bench.cases import Case
from bench.data import synthetic
from bench.equivalence import TOLERANCES
from bench.results import Equivalence, Process, Round, Shape, Throughput, read_rows
from bench.verify import Answer
from tests import fake
from tests.commands import (
    HERE,
    Done,
    command,
    complaints,
    environment,
    in_this_process,
    lenet_bench,
    only_run,
    unhurried,
)
from tests.made_up import write_run

MEASURED = ("ok", "noisy")  # which of the two is up to the machine
ONE_PASS = ("--quick", "--passes", "1", "--max-minutes", "0", "--data", "synthetic", "--seed", "1", "--batch", "8")
IM2COL = ("--backend", "numpy", "--mode", "im2col", "--python", HERE)


class Ran(NamedTuple):
    """A run, what it printed, its folder, and what it left in its scratch folder."""

    cwd: Path
    done: Done
    folder: Path
    left: list[Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One real run of one mode in two passes, which several tests look at."""
    cwd, suite = tmp_path_factory.mktemp("run"), unhurried(tmp_path_factory.mktemp("suite"))
    options = ("--quick", "--max-minutes", "0", "--data", "digits", "--seed", "5")
    done = lenet_bench("run", *IM2COL, *options, cwd=cwd, tree=suite)
    assert done.returncode == 0, done.stdout + done.stderr
    return Ran(cwd, done, only_run(cwd), list((cwd / "tmp").iterdir()))


@pytest.mark.slow
def test_a_run_prints_a_table_and_writes_a_complete_folder(run: Ran) -> None:
    assert "im2col" in run.done.stdout
    assert "Training throughput" in run.done.stdout
    assert str(run.folder.name) in run.done.stdout
    assert {path.name for path in run.folder.iterdir()} == {
        "rounds.csv",
        "processes.csv",
        "throughput.csv",
        "comparisons.csv",
        "request.json",
        "equivalence.csv",
        "shapes.csv",
        "machine.json",
        "benchmark.json",
    }


@pytest.mark.slow
def test_no_temporary_folder_is_left_behind(run: Ran) -> None:
    assert run.left == []


@pytest.mark.slow
def test_pytest_benchmark_opens_the_run(run: Ran, tmp_path: Path) -> None:
    file = run.folder / "benchmark.json"
    (row,) = read_rows(run.folder, Throughput)
    (benchmark,) = json.loads(file.read_text(encoding="utf-8"))["benchmarks"]
    assert benchmark["stats"]["rounds"] == row.rounds
    opened = [sys.executable, "-m", "pytest_benchmark", "compare", str(file), "--histogram", str(tmp_path / "picture")]
    done = subprocess.run(opened, cwd=tmp_path, env=environment(tmp_path), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert benchmark["name"] in done.stdout
    (picture,) = tmp_path.glob("picture*.svg")
    assert "im2col" in picture.read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_row_has_its_proof_columns(run: Ran) -> None:
    (row,) = read_rows(run.folder, Throughput)
    assert (row.device_observed, row.data) == ("cpu", "digits")
    assert row.status in MEASURED
    assert row.images_per_s_low is not None and row.images_per_s is not None and row.images_per_s_high is not None
    assert row.images_per_s_low <= row.images_per_s <= row.images_per_s_high
    assert row.stage_error is not None and 0 < row.stage_error <= TOLERANCES["float32"].stages
    assert row.weight_error is not None and 0 < row.weight_error <= TOLERANCES["float32"].weights
    assert row.effective_cores is not None
    assert 0 < row.effective_cores < 2, "one thread; what it computes between clock and counters is in it too"
    assert len(row.weights_sha256) == 64
    for name in ("version", "python", "cpu", "os", "host", "lane", "flags", "first_step_s", "build_s", "import_s"):
        assert getattr(row, name) not in ("", None), name
    assert row.peak_rss_mb is not None and row.peak_rss_mb > 20


@pytest.mark.slow
def test_rates_are_the_rounds_and_nothing_else(run: Ran) -> None:
    """Worked out here from rounds.csv alone: medians of rounds in sweeps where the control was fast.

    Of two passes both count: with fewer than two undisturbed ones, all do.
    """
    (row,) = read_rows(run.folder, Throughput)
    rounds = read_rows(run.folder, Round)
    control = {(r.pass_number, r.sweep): r.seconds / r.steps for r in rounds if r.case.startswith("control")}
    own = [one for one in rounds if not one.case.startswith("control")]
    level = 1.1 * float(np.quantile(list(control.values()), 0.2))
    calm_sweeps = {sweep for sweep, seconds in control.items() if seconds <= level}
    medians = []
    for number in (1, 2):
        mine = [one for one in own if one.pass_number == number]
        calm = [one for one in mine if (number, one.sweep) in calm_sweeps] or mine
        medians.append(float(np.median([one.seconds / one.steps for one in calm])))
    expected = float(np.exp(np.log(medians).mean()))
    assert row.step_us == pytest.approx(expected * 1e6, rel=1e-9)
    assert row.images_per_s == pytest.approx(128 / expected, rel=1e-9)
    assert {one.images for one in own} == {128 * one.steps for one in own}
    assert (row.passes, row.rounds) == (2, len(own))


@pytest.mark.slow
def test_the_proof_stands_in_the_run_folder(run: Ran) -> None:
    rows = read_rows(run.folder, Equivalence)
    assert {row.verdict for row in rows} == {"ok"}
    assert {"shapes", "types", "losses", "weights", "stage dense3"} <= {row.quantity for row in rows}
    assert [row.shape for row in read_rows(run.folder, Shape)][:3] == ["1x28x28", "6x28x28", "6x14x14"]
    machine = json.loads((run.folder / "machine.json").read_text(encoding="utf-8"))
    assert machine["seed"] == 5
    assert machine["command"].startswith("lenet-bench run --backend numpy")


def test_backends_without_an_environment_are_rows_and_not_failures(tmp_path: Path) -> None:
    done = in_this_process("run", "--mode", "im2col,jit", *ONE_PASS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read_rows(only_run(tmp_path), Throughput)
    assert {(row.backend, row.status) for row in rows} == {("numpy", "unavailable"), ("jax", "unavailable")}
    assert all("no-environments" in row.reason for row in rows)


@pytest.mark.slow
def test_a_named_backend_that_cannot_run_is_exit_code_4(tmp_path: Path) -> None:
    done = lenet_bench("run", "--backend", "jax", *ONE_PASS, cwd=tmp_path)
    assert done.returncode == 4
    assert "jax jit: unavailable: there is no" in done.stdout
    assert {row.status for row in read_rows(only_run(tmp_path), Throughput)} == {"unavailable"}


def test_an_interpreter_without_the_framework_makes_the_backend_unavailable(tmp_path: Path) -> None:
    """Of a framework that is on nobody's machine."""
    python = fake.install(tmp_path)
    (tmp_path / "fake_framework.py").unlink()
    done = in_this_process("run", "--backend", "fake", "--python", f"fake={python}", *ONE_PASS, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "fake_framework missing in" in done.stdout


def test_an_environment_that_could_not_be_made_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "environments" / "mxnet"
    folder.mkdir(parents=True)
    (folder / "unavailable.txt").write_text("no Python 3.11 or 3.10 found on this machine\n")
    done = in_this_process(
        "run", "--backend", "mxnet", *ONE_PASS, cwd=tmp_path, LENET_BENCH_ENVIRONMENTS=str(tmp_path / "environments")
    )
    assert done.returncode == 4
    assert "no Python 3.11 or 3.10 found on this machine" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "theano"), "unknown backend 'theano'"),
        (("--variant", "alexnet"), "unknown variant 'alexnet'"),
        (("--batch", "many"), "--batch 'many' is not a whole number"),
        (("--batch", "0"), "batch size 0"),
        (("--data", "cifar"), "unknown data set 'cifar'"),
        (("--data", "mnist", "--data-dir", "/nowhere"), "/nowhere: there is no such folder"),
        (("--python", "torch"), "--python 'torch' is not of the form backend=PATH"),
        (("--python", "other=/nowhere/python"), "/nowhere/python does not run"),
        (("--allocator", "magic"), "--allocator 'magic' is neither steady nor system"),
        (("--results", "file/results"), "choose another folder"),  # whoever runs this, a file holds no folder
        (("--python", HERE, "--backend", "torch"), "named for numpy, which is not among the backends"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "file").touch()
    refused(in_this_process("run", *ONE_PASS, *arguments, cwd=tmp_path), message, tmp_path)


@pytest.mark.slow
def test_bad_input_is_refused_so_in_a_process_too(tmp_path: Path) -> None:
    refused(lenet_bench("run", *ONE_PASS, "--batch", "many", cwd=tmp_path), "is not a whole number", tmp_path)


def refused(done: Done, message: str, cwd: Path) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not (cwd / "results").exists() or not list((cwd / "results").iterdir())


def test_a_fault_of_the_suite_itself_is_no_verdict(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def broken() -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "carry_out", broken)
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    assert ended.value.code == 70
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.slow
def test_a_reader_who_leaves_changes_no_exit_code(tmp_path: Path) -> None:
    """Whose end of the pipe is closed before the command has anything to say."""
    run = write_run(tmp_path / "run", [Case("numpy", "im2col")], passes=4)
    there = lenet_bench("compare", str(run), str(run), cwd=tmp_path)
    assert there.stdout, there.stderr
    reading, writing = os.pipe()
    os.close(reading)
    compare = command("compare", str(run), str(run))
    gone = subprocess.run(compare, cwd=tmp_path, env=environment(tmp_path), stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (complaints(gone.stderr.decode()), gone.returncode) == ("", there.returncode)


@pytest.mark.slow
def test_a_third_party_backend_runs_through_its_entry_point(tmp_path: Path) -> None:
    """From a folder whose name a shell would take apart."""
    folder = tmp_path / "größe 'n' $HOME"
    folder.mkdir()
    python = fake.install(folder)
    options = ("--backend", "fake", "--mode", "good", "--python", f"fake={python}", *ONE_PASS)
    suite = unhurried(tmp_path / "Ein Ordner")
    done = lenet_bench("run", *options, "--results", str(tmp_path / "results"), cwd=folder, tree=suite)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_rows(only_run(tmp_path), Throughput)
    assert (row.backend, row.version, row.flags) == ("fake", "1.0", "fake=yes")
    assert row.status in MEASURED


REASONS = {
    "crash": "exit status 7; its last words: a last cry",
    "killed": "killed by SIGKILL",
    "garbage": "broke off the conversation",
    "wrong": "Mismatch: ",
    "diverges": "nan] after the timed rounds",
    "elsewhere": "the weights live on cuda:0, not on cpu",
    "mumbles": "ValueError: cannot open b??[31m",
    "dies_late": "killed by SIGKILL",
}


@pytest.mark.slow
def test_whatever_one_worker_does_the_others_finish(tmp_path: Path) -> None:
    """Every way to fail at once, with the reason in the row, and a good case between them."""
    python = fake.install(tmp_path)
    modes = ",".join(["good", *REASONS])
    options = ("--backend", "fake", "--mode", modes, "--python", f"fake={python}", *ONE_PASS)
    done = lenet_bench("run", *options, cwd=tmp_path, tree=unhurried(tmp_path / "suite"))
    assert done.returncode == 1, "a mismatch outweighs a missing case"
    rows = {row.mode: row for row in read_rows(only_run(tmp_path), Throughput)}
    assert rows["good"].status in MEASURED
    assert rows["good"].images_per_s
    for mode, reason in REASONS.items():
        assert rows[mode].status == "failed", mode
        assert reason in rows[mode].reason, mode
        assert rows[mode].images_per_s is None, f"{mode}: no row without proof"
    assert {one.case.split("-")[1] for one in read_rows(only_run(tmp_path), Round)} == {"good", "gemm"}
    processes = [one.case.split("-")[1] for one in read_rows(only_run(tmp_path), Process)]
    assert set(processes) == {"good", "gemm", *REASONS}
    assert all(processes.count(mode) == 1 for mode in rows), "and a control for each group that fits into the memory"


@pytest.mark.slow
def test_one_that_hangs_has_until_the_deadline(tmp_path: Path) -> None:
    """It is never ready; whether anybody else is within a second is up to the machine."""
    options = ("--backend", "fake", "--mode", "hang", "--python", f"fake={fake.install(tmp_path)}", *ONE_PASS)
    done = lenet_bench("run", *options, "--deadline", "1", cwd=tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    (row,) = read_rows(only_run(tmp_path), Throughput)
    assert (row.status, row.images_per_s) == ("failed", None)
    assert "not ready within 1 s" in row.reason


@pytest.mark.slow
def test_one_that_hangs_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline passes for the one that hangs once it does, and for nobody else."""
    python = fake.install(tmp_path)

    class Impatient(conductor.Worker):
        began = 0.0

        @property
        def started(self) -> float:
            hangs = self.case.mode == "hang" and (tmp_path / "hangs").exists()
            return -np.inf if hangs else self.began

        @started.setter
        def started(self, now: float) -> None:
            self.began = now

    monkeypatch.setattr(conductor, "Worker", Impatient)
    monkeypatch.setattr(tree, "SOURCE_ROOT", unhurried(tmp_path / "suite"))
    dataset = synthetic(28)
    np.save(tmp_path / "images.npy", dataset.images)
    np.save(tmp_path / "labels.npy", dataset.labels)
    cases = [Case("fake", mode, batch_size=8) for mode in ("hang", "good")]
    plan = conductor.Plan(sweeps=2, case_seconds=0.1, deadline_seconds=3000)
    interpreters = dict.fromkeys(cases, python)
    one = conductor.Conductor(interpreters, "synthetic", {"lenet5": tmp_path}, plan, random.Random(0))
    with mock.patch.dict(os.environ, environment(tmp_path), clear=True):
        found = {outcome.case.mode: outcome for outcome in one.run_pass(cases, 1)}
    assert {mode: outcome.status for mode, outcome in found.items()} == {"hang": "failed", "good": "ok", "gemm": "ok"}
    assert "not ready within 3000 s" in found["hang"].reason


@pytest.mark.slow
def test_verify_prints_errors_beside_tolerances_and_passes(tmp_path: Path) -> None:
    done = lenet_bench("verify", *IM2COL, "--variant", "lenet5,mlp", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_rows(tmp_path / "results", Equivalence)
    assert {row.variant for row in rows} == {"lenet5", "mlp"}
    assert {row.steps for row in rows if row.quantity == "weights"} == {1, 10, 100}
    assert "/ 1e-10" in done.stdout and "/ 1e-03" in done.stdout


def test_verify_asks_for_every_variant_in_both_precisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what is answered; the proofs themselves are the conformance tests'."""
    asked: list[Case] = []

    def ask(verb: str, python: Path, cases: list[Case], deadline: float) -> list[Answer]:
        asked.extend(cases)
        return [Answer(case, "failed", "nobody was asked") for case in cases]

    monkeypatch.setattr(cli, "ask", ask)
    done = in_this_process("verify", *IM2COL, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert {(case.variant, case.precision) for case in asked} == {
        (variant, precision) for variant in VARIANTS for precision in ("float32", "float64")
    }
    assert done.stdout.count("failed: nobody was asked") == len(asked)


@pytest.mark.slow
def test_verify_of_a_wrong_network_is_exit_code_1(tmp_path: Path) -> None:
    python = fake.install(tmp_path)
    arguments = ("--backend", "fake", "--mode", "wrong", "--variant", "lenet5", "--python", f"fake={python}")
    done = in_this_process("verify", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "mismatch" in {row.verdict for row in read_rows(tmp_path / "results", Equivalence)}


@pytest.mark.slow
def test_verify_of_a_backend_that_crashes_is_exit_code_4(tmp_path: Path) -> None:
    python = fake.install(tmp_path)
    options = ("--backend", "fake", "--mode", "crash", "--python", f"fake={python}")
    done = in_this_process("verify", *options, cwd=tmp_path)
    assert done.returncode == 4
    assert "exit status 7; its last words: a last cry" in done.stdout


@pytest.mark.slow
def test_shapes_show_the_formula_first_and_the_native_layout_on_request(tmp_path: Path) -> None:
    arguments = ("shapes", "--backend", "numpy", "--python", HERE)
    done = lenet_bench(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    first = next(number for number, words in enumerate(lines) if words[:1] == ["input"])
    assert [words[1] for words in lines[first : first + 9]] == ["28", "28", "14", "10", "5", "400", "120", "84", "10"]
    assert {row.verdict for row in read_rows(tmp_path / "results", Shape)} == {"ok"}
    assert "16x10x10" in in_this_process(*arguments, "--native", cwd=tmp_path).stdout
