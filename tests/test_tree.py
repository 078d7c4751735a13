"""The code that stands in a folder is the code that runs there: copied, moved, renamed, linked; and every command says
which folder that is, refuses to stand in for another, and says why git names no commit of it."""

from __future__ import annotations

import importlib.util
import json
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from bench import checkpoints as checkpoints_of
from bench import inspection, installing, machine, revision, terminal, tree
from bench.cases import Case, UsageError
from tests.checkouts import (
    KINDS,
    NOX,
    PACKAGES,
    Kind,
    as_nox,
    break_in,
    copied,
    lay,
    linked,
    linked_file_by_file,
    real_nox,
)
from tests.commands import ROOT, Done, environment, in_this_process, lenet_bench
from tests.made_up import write_run

IM2COL = ("--backend", "numpy", "--mode", "im2col")
SHORT = ("--data", "synthetic", "--batch", "8")
MLP = (*IM2COL, "--variant", "mlp", "--precision", "float32")


def verified(checkout: Path, cwd: Path, **environ: str) -> Done:
    return as_nox(checkout, "verify", *MLP, cwd=cwd, **environ)


def every_command_says(words: str, here: Path, place: Path, cwd: Path, **environ: str) -> None:
    """Of the checkout there, which is broken and says so; its environments are in that place."""
    numpy = f"numpy={installing.interpreter(place / 'numpy')}"
    sides = ("--base-python", numpy, "--python", numpy, "--passes", "2")
    run = write_run(cwd / "run", [Case("numpy", "im2col")], passes=2)
    for command, code in (
        (("bench", *IM2COL, *SHORT, "--quick", "--passes", "1", "--max-minutes", "0"), 4),
        (("gate", *IM2COL, *SHORT, *sides), 4),
        (("verify", *MLP), 4),
        (("train", *IM2COL, "--data", "digits", "--epochs", "1"), 4),
        (("report", str(run)), 70),
    ):
        done = as_nox(here, *command, cwd=cwd, **environ)
        assert done.returncode == code, done.stdout + done.stderr
        assert words in done.stdout + done.stderr, command
        assert f"lenet-bench of {here.resolve()}, no git" in done.stderr or code == 70


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return lay(tmp_path / "original")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_a_folder_is_what_every_command_runs_there(kind: Kind, original: Path, tmp_path: Path) -> None:
    """After the original has run, and so has been compiled; where it is another tree, it goes on as it was."""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    if kind is copied:
        assert verified(original, cwd).returncode == 0
    here = kind(original)
    every_command_says(break_in(here), here, here / ".nox", cwd)
    if original.exists() and not original.samefile(here):
        assert verified(original, cwd).returncode == 0


@pytest.mark.slow
def test_two_checkouts_that_share_environments_run_what_stands_in_each(original: Path, tmp_path: Path) -> None:
    place, second = original / ".nox", lay(tmp_path / "second")
    shutil.rmtree(second / ".nox")
    shared = {installing.ENVIRONMENTS_VARIABLE: str(place)}
    assert verified(original, tmp_path, **shared).returncode == 0
    every_command_says(break_in(second), second, place, tmp_path, **shared)
    assert verified(original, tmp_path, **shared).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [copied, linked_file_by_file])
def test_so_does_nox_itself(kind: Kind, original: Path, tmp_path: Path) -> None:
    nox = real_nox()
    assert as_nox(original, "verify", *MLP, cwd=tmp_path, nox=nox).returncode == 0
    here = kind(original)
    words = break_in(here)
    done = as_nox(here, "verify", *MLP, cwd=tmp_path, nox=nox)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and words in said and f"lenet-bench of {here}, no git" in said, said


@pytest.mark.slow
def test_a_link_to_the_command_runs_the_checkout_that_it_leads_to(original: Path, tmp_path: Path) -> None:
    """And nothing that is installed beside it."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lenet-bench").symlink_to(original / "bench" / "__main__.py")
    python = installing.interpreter(original / ".nox" / "harness")
    command = [str(python), str(tmp_path / "bin" / "lenet-bench"), "layers", "mlp"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        0,
        f"lenet-bench of {original}, no git: fatal: not a git repository (or any of the parent directories): .git\n",
    )


def test_the_tree_is_where_the_file_is_called_and_not_where_it_leads(tmp_path: Path) -> None:
    """Of every kind, without the commands: the first line of what a process prints that imports it from there."""
    for number, kind in enumerate(KINDS):
        (tmp_path / str(number)).mkdir()
        here = kind(lay(tmp_path / str(number) / "original"))
        program = f"import sys; sys.path[:0] = [{str(here)!r}]; from bench import tree; print(tree.SOURCE_ROOT)"
        told = subprocess.check_output([sys.executable, "-I", "-c", program], text=True, cwd=tmp_path)
        assert told == f"{here.resolve()}\n", kind


def test_what_is_edited_while_a_command_runs_is_not_measured(original: Path, tmp_path: Path) -> None:
    """Neither in a pass that begins after the edit."""
    with mock.patch.object(tree, "SOURCE_ROOT", original):
        first = tree.lay_out(tmp_path / "first")
        break_in(original)
        (original / "bench" / "new.py").touch()
        second = tree.lay_out(tmp_path / "second")
    for name in ("backends/lenet_numpy.py", "bench/report.py", "bench/pytest.ini"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert not (second / "bench" / "new.py").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nox_starts_what_lies_in_the_checkout_and_no_script_whose_first_line_names_another(
    kind: Kind, original: Path, tmp_path: Path
) -> None:
    """As those in a `.nox` do that came with a copy: of a copied one, they would check by the original's packages."""
    here = kind(original)
    done = as_nox(here, "list", cwd=tmp_path)
    started = [line.split("\t") for line in done.stdout.splitlines()]
    harness = str(installing.interpreter(here.resolve() / ".nox" / "harness"))
    assert {command[0] for command in started} == {"python", sys.executable, harness}, done.stderr
    for command in started:
        if command[0] == harness:
            assert command[1:3] == ["-E", "-P"] and str(here.resolve() / "bench" / "__main__.py") in command
        elif command[0] == sys.executable:
            assert command[1] == str(here.resolve() / "tests" / "__main__.py")
    modules = [command[1:3] for command in started if command[0] == "python"]
    assert modules == [["-m", "ruff"], ["-m", "ruff"], ["-m", "mypy"]]


@pytest.mark.slow
def test_the_tests_of_a_checkout_made_of_links_try_what_stands_in_it(original: Path, tmp_path: Path) -> None:
    (original / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "__main__.py", original / "tests")
    (original / "tests" / "__init__.py").touch()
    (original / "tests" / "test_it.py").write_text("def test_it() -> None:\n    import backends.lenet_numpy\n")
    here = linked_file_by_file(original)
    words = break_in(here)
    for checkout, broken in ((original, False), (here, True)):
        done = as_nox(checkout, "tests", "tests/test_it.py", cwd=tmp_path)
        said = f"tests: {int(not broken)} passed, {int(broken)} failed"
        assert done.returncode == int(broken) and said in done.stdout, done.stdout + done.stderr
        assert (words in done.stdout) == broken


@pytest.mark.slow
@pytest.mark.parametrize("real", [False, True], ids=["stand-in", "nox"])
def test_a_noxfile_takes_nothing_of_the_users(real: bool, original: Path, tmp_path: Path) -> None:
    """Neither beside it nor on the path, and not by way of what looks for uv: no installer is named here.

    nox itself imports json and uv, wherever they are; it needs the one and can do without the other. So does the
    standard library import json where it is imported by name alone (importlib.metadata, from Python 3.13 on).
    """
    nox = real_nox() if real else NOX
    path = tmp_path / "path"
    path.mkdir()
    for folder in (original, path):
        for name in ("backends", "bench", "uv", "json"):
            (folder / f"{name}.py").write_text(f"raise SystemExit('imported: {name}')\n")
    (path / "json.py").unlink()
    if real:
        (path / "uv.py").write_text("ultraviolet = 1e-7, 4e-7\n")
    hostile = {"PYTHONPATH": str(path), installing.INSTALLER_VARIABLE: ""}
    done = as_nox(original, "verify", *MLP, cwd=original, nox=nox, **hostile)
    assert done.returncode == 0 and "imported" not in done.stdout + done.stderr, done.stdout + done.stderr


SAID = f"lenet-bench of {ROOT}"
TRAINED = next(ROOT.glob("results/*-train-*"))


def prepared(folder: Path) -> None:
    """What commands take that look at something: a run, a training, weights."""
    write_run(folder / "run", [Case("numpy", "im2col")], passes=2)
    checkpoints_of.save(folder / "weights.npz", inspection.untrained("mlp"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--backend", "jax", *SHORT),
        ("verify", "--backend", "jax"),
        ("shapes", "--backend", "jax"),
        ("selfcheck", "--backend", "jax", "--data", "synthetic"),
        ("train", "--backend", "jax", "--data", "digits", "--epochs", "1"),
        ("evaluate", "weights.npz", "--backend", "jax", "--data", "digits"),
        ("gate", "--backend", "jax", "--base-python", "jax=/nowhere/python", *SHORT, "--allow-dirty"),
        ("compare", "run", "run"),
        ("accuracy", str(TRAINED), "--markdown"),
        ("report", "run"),
        ("inspect", "weights.npz", "--data", "digits"),
        ("layers", "lecun1998"),
        ("environments", "make", "jax"),
        ("environments", "list"),
        ("environments", "remove"),
    ],
    ids=lambda arguments: "-".join(arguments[:2]),
)
def test_every_command_says_once_which_tree_it_runs(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """On standard error, whatever it prints on the other; at exit codes that say that its input was accepted."""
    prepared(tmp_path)
    done = in_this_process(*arguments, cwd=tmp_path)
    assert done.returncode in (0, 3, 4), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{SAID} at ") or line.startswith(f"{SAID}, no git: ")
    assert SAID not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("remove", "nonsense"),
        ("remove", "numpy", "nonsense"),
        ("make", "nonsense"),
    ],
)
def test_environments_are_left_alone_where_one_of_them_is_unknown(arguments: tuple[str, ...], original: Path) -> None:
    place = {installing.ENVIRONMENTS_VARIABLE: str(original / ".nox")}
    done = in_this_process("environments", *arguments, cwd=original.parent, **place)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert installing.interpreter(original / ".nox" / "numpy").exists()


def called_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    terminal.refuse_elsewhere()


def test_a_command_that_is_called_in_another_checkout_refuses(original: Path, tmp_path: Path) -> None:
    """By one line that names both trees and the ways out; from a folder in it, and through a link, too."""
    (original / "results" / "a run").mkdir(parents=True)
    for cwd in (original, original / "results" / "a run", linked(original)):
        done = in_this_process("layers", "mlp", cwd=cwd)
        (line,) = done.stderr.splitlines()
        assert done.returncode == 2
        for words in (str(ROOT), str(original), f"python {original}/bench/__main__.py", "nox -s bench", "elsewhere"):
            assert words in line
        assert done.stdout == ""


@pytest.mark.slow
def test_so_does_an_installed_one(original: Path, tmp_path: Path) -> None:
    """Laid as a wheel lays it; called elsewhere, it says that it is installed."""
    place = tmp_path / "site-packages"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, place / name)
    shutil.copy(ROOT / "bench" / "__main__.py", place / "lenet_bench.py")
    command = [sys.executable, str(place / "lenet_bench.py"), "layers", "mlp"]
    for cwd, code, words in ((original, 2, f"another checkout, {original}"), (tmp_path, 0, "no git: it is installed")):
        done = subprocess.run(command, cwd=cwd, env=environment(tmp_path), capture_output=True, text=True)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert words in done.stderr and f"lenet-bench of {place}" in done.stderr


def test_its_own_checkout_is_no_other_whatever_links_lead_to_it(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "SOURCE_ROOT", original)
    for cwd in (original, original / "bench", linked(original)):
        called_in(cwd, monkeypatch)
    called_in(tmp_path, monkeypatch)


def test_the_nearest_checkout_counts(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = lay(original / "copies" / "inner")
    monkeypatch.setattr(terminal, "SOURCE_ROOT", inner)
    called_in(inner / "bench", monkeypatch)
    with pytest.raises(UsageError, match="called in another checkout"):
        called_in(original / "copies", monkeypatch)


@pytest.mark.parametrize(
    "lacks",
    ["bench/__main__.py", "backends/__init__.py", "pyproject.toml", "its name", "its text", "a file that can be read"],
)
def test_what_only_looks_like_a_checkout_is_none(lacks: str, original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = original / "pyproject.toml"
    if lacks == "its name":
        project.write_text(project.read_text().replace('name = "lenet-bench"', 'name = "my-lenet-bench"'))
    elif lacks == "its text":
        project.write_bytes(b"\xff\xfe\x00")
    elif lacks == "a file that can be read":
        project.unlink()
        project.mkdir()
    else:
        (original / lacks).unlink()
    called_in(original, monkeypatch)


def test_however_its_project_file_is_written(original: Path) -> None:
    for line in ("name='lenet-bench'", '  name   =   "lenet-bench"  # ours', 'name = "lenet-bench"\r'):
        (original / "pyproject.toml").write_bytes(f"[project]\n{line}\n".encode())
        assert tree.checkout_around(original / "bench") == original, line


def test_a_working_directory_that_is_gone_is_in_no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    terminal.refuse_elsewhere()
    monkeypatch.chdir(tmp_path)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, env=environment(folder), check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path / "repository"
    for name in ("bench/__main__.py", "backends/__init__.py"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    git(folder, "init", "-q")
    git(folder, "add", "bench", "backends")
    git(folder, "commit", "-q", "-m", "the suite")
    return folder


def stands(folder: Path, **environ: str) -> revision.Standing:
    with mock.patch.dict(os.environ, environment(folder, **environ), clear=True):
        return revision.standing(folder)


def told(folder: Path, **environ: str) -> str:
    with mock.patch.dict(os.environ, environment(folder, **environ), clear=True):
        return revision.told(folder)


def test_a_tree_is_said_with_its_commit_and_whether_it_has_changes(repository: Path) -> None:
    commit = stands(repository).commit
    assert len(commit) == 40
    assert told(repository) == f"lenet-bench of {repository} at {commit[:12]}"
    (repository / "bench" / "__main__.py").write_text("changed")
    assert told(repository) == f"lenet-bench of {repository} at {commit[:12]}"  # what was read before is what runs
    revision.at_start.cache_clear()
    assert told(repository) == f"lenet-bench of {repository} at {commit[:12]} with changes"
    assert stands(repository) == revision.Standing(commit, "yes")


@pytest.mark.parametrize("name", ["backends/lenet_numpy/__init__.py", "bench/new.py", "backends/requirements/x.txt"])
def test_a_file_in_the_packages_that_is_in_no_commit_is_a_change(repository: Path, name: str) -> None:
    """Python prefers a package to a module of its name: it would be measured under the commit's."""
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("")
    assert stands(repository).dirty == "yes"


def test_a_change_elsewhere_in_a_larger_repository_is_none_of_this_tree(repository: Path) -> None:
    (repository / "notes.txt").write_text("untracked, and no code")
    assert stands(repository).dirty == "no"


def test_what_python_compiled_before_of_other_sources_is_not_run(original: Path, tmp_path: Path) -> None:
    """Neither without a check (`unchecked-hash`) nor by size and time of change."""
    module = original / "backends" / "channels_last.py"
    stale = original / "backends" / "__pycache__" / Path(importlib.util.cache_from_source("channels_last.py")).name
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(module), str(stale), doraise=True, invalidation_mode=mode)
    module.write_text("raise RuntimeError('the new source runs')\n")
    with mock.patch.object(tree, "SOURCE_ROOT", original):
        laid = tree.lay_out(tmp_path / "laid")
    command = [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = [{str(laid)!r}]; import backends.channels_last"]
    assert "the new source runs" in subprocess.run(command, capture_output=True, text=True).stderr


def test_sources_are_one_word_that_changes_with_any_of_them(original: Path, tmp_path: Path) -> None:
    words = {tree.fingerprint(original)}
    for number, name in enumerate(("bench/report.py", "backends/lenet_numpy.py", "bench/pytest.ini")):
        other = lay(tmp_path / str(number))
        words.add(tree.fingerprint(other))
        with (other / name).open("a") as file:
            file.write("#")
        tree.as_it_stood.cache_clear()
        words.add(tree.fingerprint(other))
    assert len(words) == 4


def dubious(repository: Path) -> dict[str, str]:
    return {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}


def no_program(repository: Path) -> dict[str, str]:
    return {"PATH": str(repository)}


def a_program_that_fails(repository: Path) -> dict[str, str]:
    (repository / "git").write_text("#!/bin/sh\nexit 3\n")
    (repository / "git").chmod(0o755)
    return {"PATH": str(repository)}


def exported(repository: Path) -> dict[str, str]:
    shutil.rmtree(repository / ".git")
    return {}


def a_broken_configuration(repository: Path) -> dict[str, str]:
    (repository / ".git" / "config").write_text("[core")
    return {}


def a_broken_head(repository: Path) -> dict[str, str]:
    (repository / ".git" / "HEAD").write_text("nonsense")
    return {}


def a_worktree_whose_repository_is_gone(repository: Path) -> dict[str, str]:
    shutil.rmtree(repository / ".git")
    (repository / ".git").write_text("gitdir: /nowhere/.git/worktrees/x\n")
    return {}


def no_commit_yet(repository: Path) -> dict[str, str]:
    shutil.rmtree(repository / ".git")
    git(repository, "init", "-q")
    return {}


def the_repository_of_somebody_else(repository: Path) -> dict[str, str]:
    """An archive that was unpacked in another project's clone: that project's commit says nothing of it."""
    git(repository, "rm", "-q", "--cached", "-r", "bench")
    git(repository, "commit", "-q", "-m", "without")
    return {}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (dubious, "dubious ownership"),
        (dubious, "; git config --global --add safe.directory"),
        (no_program, "git does not run ("),
        (a_program_that_fails, "status 3"),
        (exported, "not a git repository"),
        (a_broken_configuration, "bad config line"),
        (a_broken_head, "not a git repository"),
        (a_worktree_whose_repository_is_gone, "not a git repository"),
        (no_commit_yet, "its repository has no commit"),
        (the_repository_of_somebody_else, "does not hold it"),
    ],
)
def test_why_there_is_no_commit_is_said(
    made: Callable[[Path], dict[str, str]], words: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the terminal, in one line, and in machine.json."""
    variables = made(repository)
    found = stands(repository, **variables)
    assert (found.commit, found.dirty) == ("", "")
    assert words in found.unknown and "\n" not in found.unknown
    assert told(repository, **variables) == f"lenet-bench of {repository}, no git: {found.unknown}"
    monkeypatch.setattr(machine, "SOURCE_ROOT", repository)
    with mock.patch.dict(os.environ, environment(repository, **variables), clear=True):
        details = machine.Machine.here(repository).details()
    assert (details["commit"], details["dirty"], details["commit_unknown"]) == ("", "", found.unknown)
    assert details["tree"] == str(repository)


def test_a_hooks_variables_name_no_other_repository(repository: Path, tmp_path: Path) -> None:
    """In a hook of another repository, git names that one by variables, and would say its commit."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    git(other, "commit", "-q", "--allow-empty", "-m", "another")
    hook = {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / ".git" / "index"),
    }
    assert stands(repository, **hook) == stands(repository)


def test_machine_json_names_the_tree_and_has_no_reason_where_git_says_all(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "SOURCE_ROOT", repository)
    with mock.patch.dict(os.environ, environment(repository), clear=True):
        details = machine.Machine.here(repository).details()
    assert (details["dirty"], details["commit_unknown"], details["tree"]) == ("no", "", str(repository))
    json.dumps(details)


def test_a_folder_whose_name_no_text_can_hold_is_told_all_the_same(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff\n\x1b[31m"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    line = told(folder)
    assert line.isprintable() and f"{tmp_path}/b" in line
    line.encode()


@pytest.mark.slow
def test_the_line_is_the_commands_own(tmp_path: Path) -> None:
    done = lenet_bench("layers", "mlp", cwd=tmp_path)
    assert done.stderr.count("lenet-bench of ") == 1 and SAID in done.stderr


@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
def test_a_file_at_which_git_is_told_not_to_look_is_a_change(flag: str, repository: Path) -> None:
    git(repository, "update-index", flag, "backends/__init__.py")
    (repository / "backends" / "__init__.py").write_text("edited = True\n")
    assert stands(repository).dirty == "yes"
    with mock.patch.dict(os.environ, environment(repository), clear=True):
        assert revision.changes(repository) == ["backends/__init__.py"]


@pytest.mark.parametrize(
    ("place", "dirty"),
    [
        ("backends/numpy_layers/__init__.py", "yes"),
        ("bench/json.so", "yes"),
        ("backends/left.pyc", "yes"),
        ("backends/__pycache__/left.cpython-311.pyc", "no"),
        ("bench/.left.swp", "no"),
        ("results/left.py", "no"),
    ],
)
def test_an_ignored_file_that_python_would_import_is_a_change(place: str, dirty: str, repository: Path) -> None:
    (repository / ".git" / "info" / "exclude").write_text("left*\n.left*\nnumpy_layers\n*.so\n")
    (repository / place).parent.mkdir(parents=True, exist_ok=True)
    (repository / place).touch()
    assert stands(repository).dirty == dirty


def committed(repository: Path) -> str:
    git(repository, "commit", "-q", "-m", "more")
    return revision.resolve(repository, "HEAD")


def test_a_link_in_the_packages_is_a_link_in_a_gates_tree(repository: Path, tmp_path: Path) -> None:
    (repository / "backends" / "real.py").write_text("one = 1\n")
    (repository / "backends" / "linked.py").symlink_to("real.py")
    git(repository, "add", "backends")
    revision.check_out(repository, committed(repository), tmp_path / "base")
    assert (tmp_path / "base" / "backends" / "linked.py").read_text() == "one = 1\n"


def test_a_link_out_of_the_packages_and_a_submodule_are_refused_by_name(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("one = 1\n")
    (repository / "backends" / "outside.py").symlink_to(tmp_path / "secret.py")
    git(repository, "add", "backends")
    with pytest.raises(UsageError, match="outside"):
        revision.check_out(repository, committed(repository), tmp_path / "base")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},backends/sub")
    commit = committed(repository)
    for lay_out in (revision.copy_working_tree, lambda root, folder: revision.check_out(root, commit, folder)):
        with pytest.raises(UsageError, match="backends/sub is a submodule"):
            lay_out(repository, tmp_path / "trees")


def test_a_checkout_below_a_folder_of_that_name_is_whole(tmp_path: Path) -> None:
    here = lay(tmp_path / "__pycache__" / "here")
    assert "bench/tree.py" in tree.as_it_stood(here)
    assert not any("__pycache__" in place for place in tree.as_it_stood(here))
