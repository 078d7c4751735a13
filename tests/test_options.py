"""What is asked for is what is measured: options without effect are refused, and `~` is the home folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import cli, installing
from bench.cases import Case, UsageError
from bench.data import synthetic
from bench.options import VARIED_BATCHES
from bench.paths import path_of
from bench.run import Request
from tests import made_up
from tests.commands import HERE, Done, complaints, in_this_process

IM2COL = ("--backend", "numpy", "--mode", "im2col", "--python", HERE)


def refused(done: Done, message: str) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What a run or a gate is asked for, in place of its measuring."""
    seen: list[Request] = []

    class Enough(UsageError):
        """Nothing is measured here."""

    def datasets(cases: Sequence[Case], *rest: Any) -> Any:
        seen.append(cases)  # type: ignore[arg-type]
        raise Enough("enough")

    monkeypatch.setattr(cli.runs, "datasets", datasets)
    return seen


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("run", "--passes", "2", "--precision-target", "1%"), "--precision-target has no effect beside --passes"),
        (("run", "--quick", "--precision-target", "1%"), "--precision-target has no effect beside --quick"),
        (("run", "--vary", "batch", "--quick"), "--quick has no effect beside --vary"),
        (("run", "--sweep", "threads", "--quick"), "--quick has no effect beside --vary"),
        (("run", "--vary", "batch", "--batch", "8"), "--batch has no effect beside --vary batch"),
        (("run", "--vary", "threads", "--threads", "1"), "--threads has no effect beside --vary threads"),
        (("run", "--sweep", "batch", "--batch", "128"), "--batch has no effect beside --vary batch"),
        (("run", "--vary", "batch", "--sweep", "batch"), "--sweep has no effect beside --vary"),
        (("run", "--resume", "nowhere", "--vary", "batch"), "--vary has no effect beside --resume"),
        (("run", "--resume", "nowhere", "--sweep", "batch"), "--sweep has no effect beside --resume"),
        (("inspect", "--deadline", "9"), "--deadline has no effect without --backend"),
        (("inspect", "--with", "torch==2"), "--with has no effect without --backend"),
        (("inspect", "--mode", "eager"), "--mode has no effect without --backend"),
        (("layers", "lenet5", "--input", "28"), "--input '28' has no effect on the preset lenet5"),
    ],
)
def test_an_option_that_changes_nothing_is_refused(tmp_path: Path, arguments: tuple[str, ...], option: str) -> None:
    done = in_this_process(*arguments, cwd=tmp_path)
    refused(done, option)
    assert done.stderr.endswith("; leave it out\n")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--quick", "--passes", "1", "--max-minutes", "0"),  # quick: rounds are fewer, too
        ("run", "--passes", "3", "--max-minutes", "0"),
        ("run", "--vary", "batch", "--precision-target", "1%", "--threads", "1"),
        ("run", "--vary", "threads", "--batch", "8", "--passes", "2", "--max-minutes", "1"),
        ("run", "--precision-target", "1%", "--max-minutes", "1"),
        ("gate", "--base-python", HERE, "--max-minutes", "1"),
        ("gate", "--base-python", HERE, "--passes", "2", "--max-minutes", "1"),
        ("gate", "--base-python", HERE, "--passes", "2", "--quick"),  # quick: it is called advisory
        ("selfcheck", "--passes", "2", "--sweeps", "10"),
    ],
)
def test_what_has_an_effect_is_not_refused(tmp_path: Path, asked: list[Request], arguments: tuple[str, ...]) -> None:
    done = in_this_process(*arguments, *IM2COL, cwd=tmp_path)
    assert done.stderr.endswith("enough\n"), done.stderr
    assert len(asked) == 1


@pytest.mark.parametrize("option", ["--vary", "--sweep"])
def test_batches_are_varied_by_either_name(tmp_path: Path, asked: list[Any], option: str) -> None:
    in_this_process("run", option, "batch", *IM2COL, cwd=tmp_path)
    assert tuple(case.batch_size for case in asked[0]) == VARIED_BATCHES
    refused(in_this_process("run", option, "size", *IM2COL, cwd=tmp_path), "--vary 'size' is neither batch nor threads")


def test_the_old_name_of_vary_is_not_shown(tmp_path: Path) -> None:
    told = in_this_process("run", "--help", cwd=tmp_path).stdout
    assert "--vary" in told and "--sweep" not in told


READING = {
    "run": ("run", *IM2COL),
    "gate": ("gate", "--base-python", HERE, *IM2COL),
    "selfcheck": ("selfcheck", *IM2COL),
    "train": ("train", *IM2COL),
    "evaluate": ("evaluate", "w.npz", *IM2COL),
    "inspect": ("inspect",),
}


@pytest.mark.parametrize("command", list(READING))
@pytest.mark.parametrize("data", ["digits", "synthetic"])
def test_a_folder_that_no_data_are_read_from_is_refused(tmp_path: Path, command: str, data: str) -> None:
    made_up.write_weights(tmp_path / "w.npz")
    done = in_this_process(*READING[command], "--data", data, "--data-dir", str(tmp_path), cwd=tmp_path)
    refused(done, f"--data-dir {tmp_path} has no effect on --data {data}; leave it out, or add --data mnist")


@pytest.mark.parametrize("command", ["run", "gate", "selfcheck"])
def test_that_is_so_where_the_data_are_the_usual_ones(tmp_path: Path, command: str) -> None:
    done = in_this_process(*READING[command], "--data-dir", "/nowhere", cwd=tmp_path)
    refused(done, "--data-dir /nowhere has no effect on --data digits; leave it out, or add --data mnist")


@pytest.mark.parametrize("command", list(READING))
def test_a_folder_that_is_not_there_or_is_none_is_told_as_such(tmp_path: Path, command: str) -> None:
    made_up.write_weights(tmp_path / "w.npz")
    (tmp_path / "file").write_text("")
    for name, told in (("nowhere", "there is no such folder"), ("file", "is no folder")):
        done = in_this_process(*READING[command], "--data", "mnist", "--data-dir", name, cwd=tmp_path)
        refused(done, f"lenet-bench: {name}: {told}")


@pytest.mark.slow
def test_the_variable_is_about_all_commands_and_never_refused(tmp_path: Path) -> None:
    done = in_this_process("inspect", "--variant", "mlp", "--output", "out", cwd=tmp_path, LENET_BENCH_DATA="/nowhere")
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    done = in_this_process("inspect", "--data", "mnist", cwd=tmp_path, LENET_BENCH_DATA="/nowhere")
    refused(done, "LENET_BENCH_DATA: /nowhere: there is no such folder")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder, and one where that user stands."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    return tmp_path / "home"


def at_home(home: Path, *arguments: str, **environ: str) -> Done:
    return in_this_process(*arguments, cwd=home.parent / "here", HOME=str(home), **environ)


# Every option and argument that is a path, with words that tell where it was looked for.
PATHS: dict[str, tuple[tuple[str, ...], str]] = {
    "--data-dir": (("run", *IM2COL, "--data", "mnist", "--data-dir"), "there is no such folder"),
    "--resume of run": (("run", "--resume"), "tells of no run"),
    "--resume of train": (("train", "--resume"), "tells of no training"),
    "--python": (("run", "--backend", "numpy", "--python"), "missing"),
    "--base-python": (("gate", *IM2COL[:4], "--base-python"), "missing"),
    "base of compare": (("compare",), "is no run folder"),
    "runs of report": (("report",), "is no run folder"),
    "weights of inspect": (("inspect",), "No such file"),
    "weights of evaluate": (("evaluate",), "No such file"),
    "runs of accuracy": (("accuracy",), "cannot be read"),
}


@pytest.mark.parametrize("path", [name for name in PATHS if "python" not in name])
def test_the_home_folder_is_meant_wherever_a_path_is(home: Path, path: str) -> None:
    arguments, told = PATHS[path]
    rest = ("there",) if arguments == ("compare",) else ()
    done = at_home(home, *arguments, "~/x y", *rest)
    refused(done, told)
    assert f"{home}/x y" in done.stderr
    assert list((home.parent / "here").iterdir()) == [home.parent / "here" / "tmp"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", *IM2COL[:4], "--data", "synthetic", "--python"),
        pytest.param(
            ("gate", *IM2COL[:4], "--data", "synthetic", "--allow-dirty", "--base-python"), marks=pytest.mark.slow
        ),
    ],
)
def test_an_interpreter_is_looked_for_in_the_home_folder(home: Path, arguments: tuple[str, ...]) -> None:
    done = at_home(home, *arguments, "numpy=~/x y")
    assert done.returncode == 4, done.stderr
    assert f"there is no {home}/x y; install them there\n" in done.stdout


def test_environments_and_their_installer_are_looked_for_there_too(home: Path) -> None:
    (home / "uv").touch(mode=0o755)
    own = {installing.ENVIRONMENTS_VARIABLE: "~/own", installing.INSTALLER_VARIABLE: "~/uv"}
    assert f"{home}/own, made with {home}/uv\n" in at_home(home, "environments", "list", **own).stdout


@pytest.mark.parametrize("path", list(PATHS))
@pytest.mark.parametrize("text", ["~nobodyknown/x", "", " "])
def test_a_path_that_is_none_is_one_line(home: Path, path: str, text: str) -> None:
    arguments, _ = PATHS[path]
    interpreter = "numpy=" if "python" in path else ""
    rest = ("there",) if arguments == ("compare",) else ()
    done = at_home(home, *arguments, f"{interpreter}{text}", *rest)
    told = "~nobodyknown is no home folder here; write ./~nobodyknown/x" if text.strip() else "names no path"
    refused(done, "is not of the form" if interpreter and not text else told)
    assert list((home.parent / "here").iterdir()) == [home.parent / "here" / "tmp"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--mode", "im2col", "--data", "synthetic", "--quick", "--passes", "1", "--results"),
        ("inspect", "--variant", "mlp", "--output"),
    ],
)
def test_what_is_written_goes_home(home: Path, arguments: tuple[str, ...]) -> None:
    done = at_home(home, *arguments, "~/out")
    assert done.returncode == 0, done.stderr
    assert list((home / "out").iterdir())
    assert not (home.parent / "here" / "~").exists()
    refused(at_home(home, *arguments, ""), "names no path")
    refused(at_home(home, *arguments, "~nobodyknown/x"), "~nobodyknown is no home folder here")


@pytest.mark.slow
def test_reports_and_comparisons_go_home_too(home: Path) -> None:
    made_up.write_run(home / "one", made_up.CASES[:2], passes=2)
    assert at_home(home, "compare", "~/one", "~/one", "--output", "~/compared").returncode in (0, 3)
    assert (home / "compared" / "verdicts.csv").exists()
    assert at_home(home, "report", "~/one", "--output", "~/page").returncode == 0
    assert (home / "page" / "report.html").exists()


def test_the_variables_know_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(at_home(home, "inspect", "--data", "mnist", LENET_BENCH_DATA="~/d"), f"{home}/d: there is no such folder")
    nobody = "LENET_BENCH_DATA '~nobodyknown/x': ~nobodyknown is no home folder here"
    refused(at_home(home, "inspect", "--data", "mnist", LENET_BENCH_DATA="~nobodyknown/x"), nobody)
    for variable in (installing.ENVIRONMENTS_VARIABLE, installing.INSTALLER_VARIABLE):
        listed = at_home(home, "environments", "list", **{variable: "~nobodyknown/x"})
        refused(listed, f"{variable}='~nobodyknown/x': ~nobodyknown is no home folder here")


def test_only_what_begins_with_it_is_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    assert path_of("~", "x") == home
    assert path_of("./~", "x") == Path("~")
    assert path_of("a~b/~", "x") == Path("a~b/~")
    assert path_of("~/a/~/b", "x") == home / "a" / "~" / "b"


def test_synthetic_data_are_verified() -> None:
    assert synthetic(28).verified


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "--lane", "all,bogus"), "unknown lane 'bogus'"),
        (("run", "--backend", "numpy,all"), "all is every backend; leave the others out"),
        (("train", "--backend", "all,bogus"), "all is every backend; leave the others out"),
        (("run", "--with", "numpy=2.0"), "--with 'numpy=2.0' is not of the form PACKAGE==VERSION"),
        (("run", "--with", "numpy==2.0; print"), "is not of the form PACKAGE==VERSION"),
        (("run", "--with", "numpy==2.0", "--with", "NumPy==2.1"), "NumPy is named twice"),
        (("run", "--backend", "numpy", "--with", "torch==2.0"), "'torch' is of torch, not asked for here"),
        (("gate", "--base-with", "numpy=1"), "--base-with 'numpy=1' is not of the form"),
        (("run", "--backend", "numpy", "--mode", "loops", "--lane", "expert"), "has no mode loops in the expert lane"),
        (("run", "--precision-target", "3"), "did you mean 3%?"),
    ],
)
def test_what_is_said_of_a_word_is_true(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    refused(in_this_process(*arguments, cwd=tmp_path), told)


def test_all_is_every_backend_in_a_run_too(tmp_path: Path, asked: list[Any]) -> None:
    in_this_process("run", "--backend", "all", "--mode", "space_to_depth", cwd=tmp_path)
    assert len({case.backend for case in asked[0]}) > 4
