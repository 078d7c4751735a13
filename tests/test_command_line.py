"""The commands as a user types them: real processes, the NumPy backend, and a sixth backend with faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.lenet import VARIANTS
from bench import cli
from bench.results import Equivalence, Process, Round, Shape, Throughput, read_rows
from tests import fake

ROOT = Path(__file__).resolve().parent.parent
HERE = f"numpy={sys.executable}"
MEASURED = ("ok", "noisy")  # which of the two is up to the machine
SHORT = ("--quick", "--passes", "1", "--data", "synthetic", "--seed", "1")


def lenet_bench(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.cli", *arguments]
    root = str(Path(__file__).resolve().parent.parent)
    scratch = cwd / "tmp"  # of its own: two suites on one machine would refuse each other's runs
    scratch.mkdir(exist_ok=True)
    variables = {
        **os.environ,
        "TMPDIR": str(scratch),
        "PYTHONPATH": root,
        "LENET_BENCH_ENVIRONMENTS": str(cwd / "no-environments"),
        **environment,
    }
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)


def only_run(folder: Path) -> Path:
    (run,) = (folder / "results").iterdir()
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One real run of one mode, which several tests look at."""
    folder = tmp_path_factory.mktemp("run")
    arguments = (
        "--backend",
        "numpy",
        "--mode",
        "im2col",
        "--python",
        HERE,
        "--quick",
        "--data",
        "digits",
        "--seed",
        "5",
    )
    return folder, lenet_bench("run", *arguments, cwd=folder)


def test_a_run_prints_a_table_and_writes_a_complete_folder(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = run
    assert done.returncode == 0, done.stderr
    assert "im2col" in done.stdout
    assert "Training throughput" in done.stdout
    written = only_run(folder)
    assert str(written.name) in done.stdout
    assert {path.name for path in written.iterdir()} == {
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


def test_pytest_benchmark_opens_the_run(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    file = only_run(folder) / "benchmark.json"
    (row,) = read_rows(only_run(folder), Throughput)
    (benchmark,) = json.loads(file.read_text())["benchmarks"]
    assert benchmark["stats"]["rounds"] == row.rounds
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(file), "--histogram", str(folder / "picture")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert benchmark["name"] in done.stdout
    (picture,) = folder.glob("picture*.svg")
    assert "im2col" in picture.read_text()


def test_every_row_has_its_proof_columns(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    (row,) = read_rows(only_run(folder), Throughput)
    assert (row.device_observed, row.data) == ("cpu", "digits")
    assert row.status in MEASURED
    assert row.images_per_s_low is not None and row.images_per_s is not None and row.images_per_s_high is not None
    assert row.images_per_s_low <= row.images_per_s <= row.images_per_s_high
    assert row.stage_error is not None and 0 < row.stage_error < 1e-5
    assert row.weight_error is not None and 0 < row.weight_error < 1e-3
    assert row.effective_cores is not None
    assert 0 < row.effective_cores < 1.3
    assert len(row.weights_sha256) == 64
    for name in ("version", "python", "cpu", "os", "host", "lane", "flags", "first_step_s", "build_s", "import_s"):
        assert getattr(row, name) not in ("", None), name
    assert row.peak_rss_mb is not None and row.peak_rss_mb > 20


def test_rates_are_the_rounds_and_nothing_else(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Worked out here from rounds.csv alone: medians of rounds in sweeps where the control was fast."""
    folder, _ = run
    (row,) = read_rows(only_run(folder), Throughput)
    rounds = read_rows(only_run(folder), Round)
    control = {(r.pass_number, r.sweep): r.seconds / r.steps for r in rounds if r.case.startswith("control")}
    own = [one for one in rounds if not one.case.startswith("control")]
    level = 1.1 * float(np.quantile(list(control.values()), 0.2))
    medians = []
    for number in {one.pass_number for one in own}:
        mine = [one for one in own if one.pass_number == number]
        calm = [one for one in mine if control[number, one.sweep] <= level] or mine
        medians.append(float(np.median([one.seconds / one.steps for one in calm])))
    if row.passes == len(medians):  # else, disturbed passes were left out
        expected = float(np.exp(np.log(medians).mean()))
        assert row.step_us == pytest.approx(expected * 1e6, rel=1e-9)
        assert row.images_per_s == pytest.approx(128 / expected, rel=1e-9)
    assert {one.images for one in own} == {128 * own[0].steps}
    assert row.rounds <= len(own)


def test_the_proof_stands_in_the_run_folder(run: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = run
    rows = read_rows(only_run(folder), Equivalence)
    assert {row.verdict for row in rows} == {"ok"}
    assert {"shapes", "types", "losses", "weights", "stage dense3"} <= {row.quantity for row in rows}
    assert [row.shape for row in read_rows(only_run(folder), Shape)][:3] == ["1x28x28", "6x28x28", "6x14x14"]
    machine = json.loads((only_run(folder) / "machine.json").read_text())
    assert machine["seed"] == 5
    assert machine["command"].startswith("lenet-bench run --backend numpy")


def test_backends_without_an_environment_are_rows_and_not_failures(tmp_path: Path) -> None:
    done = lenet_bench("run", "--mode", "im2col,jit", *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read_rows(only_run(tmp_path), Throughput)
    assert {(row.backend, row.status) for row in rows} == {("numpy", "unavailable"), ("jax", "unavailable")}
    assert all("no-environments" in row.reason for row in rows)


def test_a_named_backend_that_cannot_run_is_exit_code_4(tmp_path: Path) -> None:
    done = lenet_bench("run", "--backend", "jax", *SHORT, cwd=tmp_path)
    assert done.returncode == 4
    assert "jax jit: unavailable: there is no" in done.stdout
    assert {row.status for row in read_rows(only_run(tmp_path), Throughput)} == {"unavailable"}


def test_an_interpreter_without_the_framework_makes_the_backend_unavailable(tmp_path: Path) -> None:
    done = lenet_bench(
        "run", "--backend", "torch", "--mode", "eager", "--python", f"torch={sys.executable}", *SHORT, cwd=tmp_path
    )
    assert done.returncode == 4
    assert "torch missing in" in done.stdout


def test_an_environment_that_could_not_be_made_says_why(tmp_path: Path) -> None:
    environment = tmp_path / "environments" / "mxnet"
    environment.mkdir(parents=True)
    (environment / "unavailable.txt").write_text("no Python 3.11 or 3.10 found on this machine\n")
    done = lenet_bench(
        "run", "--backend", "mxnet", *SHORT, cwd=tmp_path, LENET_BENCH_ENVIRONMENTS=str(tmp_path / "environments")
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
        (("--data", "mnist", "--data-dir", "/nowhere"), "/nowhere: holds neither"),
        (("--python", "torch"), "--python 'torch' is not of the form backend=PATH"),
        (("--python", "other=/nowhere/python"), "/nowhere/python does not run"),
        (("--allocator", "magic"), "--allocator 'magic' is neither steady nor system"),
        (("--results", "/proc/nowhere"), "choose another folder"),
        (("--python", HERE, "--backend", "torch"), "named for numpy, which is not among the backends"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = lenet_bench("run", *SHORT, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_a_fault_of_the_suite_itself_is_no_verdict(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", broken)
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    assert ended.value.code == 70
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_reader_who_leaves_changes_no_exit_code() -> None:
    run = next(path.parent for path in (ROOT / "results").glob("*/throughput.csv"))
    command = [sys.executable, "-m", "bench.cli", "compare", str(run), str(run)]
    there = subprocess.run(command, cwd=ROOT, capture_output=True)
    gone = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert gone.stdout is not None and gone.stderr is not None
    gone.stdout.close()
    assert (gone.stderr.read(), gone.wait()) == (b"", there.returncode)


def test_a_third_party_backend_runs_through_its_entry_point(tmp_path: Path) -> None:
    python = fake.install(tmp_path)
    done = lenet_bench("run", "--backend", "fake", "--mode", "good", "--python", f"fake={python}", *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_rows(only_run(tmp_path), Throughput)
    assert (row.backend, row.version, row.flags) == ("fake", "1.0", "fake=yes")
    assert row.status in MEASURED


def test_whatever_one_worker_does_the_others_finish(tmp_path: Path) -> None:
    """Every way to fail at once, with the reason in the row, and a good case between them."""
    python = fake.install(tmp_path)
    modes = "good,crash,hang,killed,garbage,wrong,diverges,elsewhere,mumbles,dies_late"
    done = lenet_bench(
        "run",
        "--backend",
        "fake",
        "--mode",
        modes,
        "--python",
        f"fake={python}",
        *SHORT,
        "--deadline",
        "20",
        cwd=tmp_path,
    )
    assert done.returncode == 1, "a mismatch outweighs a missing case"
    rows = {row.mode: row for row in read_rows(only_run(tmp_path), Throughput)}
    assert rows["good"].status in MEASURED
    assert rows["good"].images_per_s
    reasons = {
        "crash": "exit status 7; its last words: a last cry",
        "hang": "not ready within 20 s",
        "killed": "killed by SIGKILL",
        "garbage": "broke off the conversation",
        "wrong": "Mismatch: ",
        "diverges": "the losses are [nan] after the timed rounds",
        "elsewhere": "the weights live on cuda:0, not on cpu",
        "mumbles": "ValueError: cannot open b??[31m",
        "dies_late": "killed by SIGKILL",
    }
    for mode, reason in reasons.items():
        assert rows[mode].status == "failed", mode
        assert reason in rows[mode].reason, mode
        assert rows[mode].images_per_s is None, f"{mode}: no row without proof"
    assert {one.case.split("-")[1] for one in read_rows(only_run(tmp_path), Round)} == {"good", "gemm"}
    assert len(read_rows(only_run(tmp_path), Process)) == 10 + 1, "and the control"


def test_verify_prints_errors_beside_tolerances_and_passes(tmp_path: Path) -> None:
    done = lenet_bench("verify", "--backend", "numpy", "--mode", "im2col", "--python", HERE, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_rows(tmp_path / "results", Equivalence)
    assert {row.variant for row in rows} == set(VARIANTS)
    assert {row.steps for row in rows if row.quantity == "weights"} == {1, 10, 100}
    assert "/ 1e-10" in done.stdout and "/ 1e-03" in done.stdout


def test_verify_of_a_wrong_network_is_exit_code_1(tmp_path: Path) -> None:
    python = fake.install(tmp_path)
    arguments = ("--backend", "fake", "--mode", "wrong", "--variant", "lenet5", "--python", f"fake={python}")
    done = lenet_bench("verify", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "mismatch" in {row.verdict for row in read_rows(tmp_path / "results", Equivalence)}


def test_verify_of_a_backend_that_crashes_is_exit_code_4(tmp_path: Path) -> None:
    python = fake.install(tmp_path)
    done = lenet_bench("verify", "--backend", "fake", "--mode", "crash", "--python", f"fake={python}", cwd=tmp_path)
    assert done.returncode == 4
    assert "exit status 7; its last words: a last cry" in done.stdout


def test_shapes_show_the_formula_first_and_the_native_layout_on_request(tmp_path: Path) -> None:
    arguments = ("shapes", "--backend", "numpy", "--python", HERE)
    done = lenet_bench(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    sizes = [line.split("│")[2].strip() for line in done.stdout.splitlines() if line.startswith("│")]
    assert sizes == ["28", "28", "14", "10", "5", "400", "120", "84", "10"]
    assert {row.verdict for row in read_rows(tmp_path / "results", Shape)} == {"ok"}
    assert "16x10x10" in lenet_bench(*arguments, "--native", cwd=tmp_path).stdout


def test_no_temporary_folder_is_left_behind(tmp_path: Path) -> None:
    done = lenet_bench("run", "--backend", "numpy", "--mode", "im2col", "--python", HERE, *SHORT, cwd=tmp_path)
    assert done.returncode == 0
    assert list((tmp_path / "tmp").iterdir()) == []
