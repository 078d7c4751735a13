"""The gate as CI runs it: a repository of its own, a base, a head with something planted, real processes.

The suite that is laid into that repository measures a small batch in few sweeps and warms up for a moment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import backends
from bench import gate as gates
from bench import revision
from bench.cases import Case, Selection
from bench.results import Process, Round, Verdict, read_rows
from tests import fake
from tests.checkouts import Kind, as_nox, copied, moved, renamed, with_environments
from tests.commands import HERE, ROOT, Done, environment, in_this_process, lenet_bench, only_run, unhurried

ARGUMENTS = ("--backend", "numpy", "--mode", "im2col", "--python", HERE, "--data", "synthetic", "--batch", "8")
NUMPY = Path("backends/lenet_numpy.py")
SWEEPS = 8
# Appended to the copied gate. So many seconds a case may take that it has all of its sweeps on any machine.
PLAN = f"\nPLAN = replace(PLAN, sweeps={SWEEPS}, case_seconds=1000.0)\n"
FOLD = 16


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, env=environment(folder), capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: one without the suite, then this working tree's suite."""
    if shutil.which("git") is None:
        pytest.skip("a gate against a revision needs git")
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("__pycache__/\n.nox/\nresults/\ntmp/\n")
    commit(folder, "nothing yet")
    unhurried(folder)
    with (folder / "bench" / "gate.py").open("a", encoding="utf-8") as file:
        file.write(PLAN)
    commit(folder, "the suite")
    return folder


def gate(folder: Path, *arguments: str) -> Done:
    return lenet_bench("gate", *arguments, cwd=folder, tree=folder)


def gate_here(folder: Path, *arguments: str) -> Done:
    """A gate of that repository by this process's own suite: for what is said before anything is measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gates, "SOURCE_ROOT", folder)
        return in_this_process("gate", *arguments, cwd=folder)


def plant(folder: Path, old: str, new: str) -> None:
    text = (folder / NUMPY).read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    (folder / NUMPY).write_text(text.replace(old, new), encoding="utf-8")


def verdict_of(folder: Path) -> Verdict:
    (verdict,) = read_rows(only_run(folder), Verdict)
    return verdict


@pytest.mark.slow
def test_many_times_the_work_is_red_in_every_form(repository: Path) -> None:
    """So many times that no load hides it: with three pairs, they could disagree by a factor of two."""
    base = git(repository, "rev-parse", "HEAD")
    plant(
        repository,
        "        self.network.backward(stages, gradient)\n",
        f"        for _ in range({FOLD - 1}):\n"
        "            self.network.backward(self.network.forward(images), gradient.copy())\n"
        "        self.network.backward(stages, gradient)\n",
    )
    head = commit(repository, "many times the work")
    done = gate(repository, "--base", "HEAD~1", "--passes", "3", "--seed", "1", *ARGUMENTS)
    assert done.returncode == 1, done.stdout + done.stderr
    verdict = verdict_of(repository)
    assert (verdict.verdict, verdict.base, verdict.head) == ("slower", base[:12], head[:12])
    assert verdict.ratio is not None and verdict.ratio > 2
    assert verdict.second_ratio is not None and (verdict.passes, verdict.second_passes) == (3, 3)
    assert "red: 1 slower" in done.stdout
    run = only_run(repository)
    assert {p.name for p in run.iterdir()} == {
        *("rounds.csv", "processes.csv", "verdicts.csv", "verdicts.json", "summary.md", "junit.xml", "machine.json"),
    }
    assert json.loads((run / "verdicts.json").read_text(encoding="utf-8"))["exit_code"] == 1
    processes = read_rows(run, Process)
    assert {p.case.rsplit("-", 1)[1] for p in processes if p.case.startswith("numpy")} == {"base", "head"}
    assert len(processes) == 6 * 3  # two sides and the control
    turns: dict[tuple[int, int], list[str]] = {}
    for one in sorted(read_rows(run, Round), key=lambda one: one.order):
        if one.case.startswith("numpy"):
            turns.setdefault((one.pass_number, one.sweep), []).append(one.case[-4:])
    pairs = [tuple(order) for order in turns.values() if len(order) == 2]
    assert len(pairs) == 6 * SWEEPS
    assert set(pairs) == {("base", "head"), ("head", "base")}, "in random order: the seed could make all 48 alike"
    assert git(repository, "status", "--porcelain") == ""


@pytest.mark.slow
def test_identical_code_is_not_red(repository: Path) -> None:
    done = gate(repository, "--base", "HEAD", "--passes", "2", "--seed", "2", *ARGUMENTS)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert verdict_of(repository).verdict in ("ok", "inconclusive")
    assert gates.THE_SAME in done.stdout
    assert gates.THE_SAME in (only_run(repository) / "summary.md").read_text(encoding="utf-8")


def noted(folder: Path, base: Path, head: Path, pythons: dict[str, Path]) -> list[str]:
    """What a gate of these trees and interpreters says before it measures."""
    case = Case("numpy", "im2col")
    selection = Selection(("numpy",), (), ("lenet5",), ("cpu",), ("float32",), (128,), (1,))
    terms = gates.Terms((case,), selection, "synthetic", 0, 2, 1.0, gates.PLAN, "")
    sides = gates.Side("a", base, {}), gates.Side("b", head, {})
    begun = gates.Gate(folder, terms, backends.registry(), *sides, "")
    gates.note_if_the_same(begun, {replace(case, copy=copy): python for copy, python in pythons.items()})
    return begun.notes


def python_in(folder: Path, *pinned: str) -> Path:
    """An environment that was made of these pins; of none, one that this suite did not make."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(shutil.which("sh") or "/bin/sh")
    if pinned:
        (folder / "installed.txt").write_text("\n".join(["3.11", "# pins, and why", *pinned, ""]))
    return folder / "bin" / "python"


def test_a_gate_of_a_thing_beside_itself_says_so(tmp_path: Path) -> None:
    for name in ("base", "head"):
        (tmp_path / name / "backends").mkdir(parents=True)
        (tmp_path / name / "backends" / "lenet.py").write_text("the same")
        (tmp_path / name / f"another-{name}.py").touch()  # what is no backend is not measured
    base, head = tmp_path / "base", tmp_path / "head"
    (base / "backends" / "__pycache__").mkdir()
    (base / "backends" / "__pycache__" / "lenet.cpython-311.pyc").write_text("compiled")
    own = python_in(tmp_path / "numpy", "numpy==2.4.6", "pytest==9.2.0")
    in_force = python_in(tmp_path / "numpy-with-numpy-2.4.6", "pytest==9.2.0", "numpy==2.4.6")
    newer = python_in(tmp_path / "numpy-with-numpy-2.4.7", "pytest==9.2.0", "numpy==2.4.7")
    foreign = python_in(tmp_path / "foreign")
    (tmp_path / "link").symlink_to(tmp_path / "numpy")
    (tmp_path / "foreign" / "bin" / "python3").symlink_to("python")
    same, other = [gates.THE_SAME], list[str]()
    for old, new, expected in (
        (own, own, same),
        (in_force, own, same),
        (newer, own, other),
        (foreign, foreign, same),
        (foreign.parent / "python3", foreign, same),
        (foreign, own, other),
        (tmp_path / "link" / "bin" / "python", own, same),
    ):
        assert noted(tmp_path, base, head, {"base": old, "head": new}) == expected, (old, new)
    assert noted(tmp_path, base, head, {"head": own}) == [], "a base that cannot run is no thing beside itself"
    (base / "backends" / "lenet.py").write_text("another")
    assert noted(tmp_path, base, head, {"base": own, "head": own}) == []
    (base / "backends" / "lenet.py").write_text("the same")
    (head / "backends" / "new.txt").touch()
    assert noted(tmp_path, base, head, {"base": own, "head": own}) == []


@pytest.mark.slow
def test_commits_between_which_no_backend_differs_are_the_same_thing(repository: Path) -> None:
    """Of which nothing is measured here: there is no such backend's environment."""
    (repository / "README.md").write_text("words")
    (repository / "bench" / "terminal.py").write_text((repository / "bench" / "terminal.py").read_text() + "\n")
    commit(repository, "no backend")
    done = gate(repository, "--base", "HEAD~1", "--passes", "2", *ARGUMENTS, "--max-minutes", "0")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert gates.THE_SAME in done.stdout


@pytest.mark.slow
def test_another_network_at_the_head_is_a_mismatch(repository: Path) -> None:
    plant(repository, "dtype, setup.learning_rate)", "dtype, 2 * setup.learning_rate)")
    commit(repository, "twice the learning rate")
    done = gate(repository, "--base", "HEAD~1", "--passes", "2", *ARGUMENTS)
    assert done.returncode == 1, done.stdout + done.stderr
    assert verdict_of(repository).verdict == "mismatch"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [copied, moved, renamed])
def test_a_checkout_that_has_left_its_place_is_judged_by_its_own_history(
    kind: Kind, repository: Path, tmp_path: Path
) -> None:
    """Where the original is still there, it goes on by a commit that is none of the copy's."""
    commit(with_environments(repository), "a noxfile")
    here = kind(repository)
    base, goes_on = git(here, "rev-parse", "HEAD"), ""
    if repository.exists():
        (repository / "README.md").touch()
        goes_on = commit(repository, "the original goes on")
    (tmp_path / "cwd").mkdir()
    plant(here, "dtype, setup.learning_rate)", "dtype, 2 * setup.learning_rate)")
    done = as_nox(here, "gate", "--base", "HEAD", *ARGUMENTS, cwd=tmp_path / "cwd")
    assert (done.returncode, "lenet_numpy.py is not committed" in done.stderr) == (2, True), done.stdout + done.stderr
    head = commit(here, "twice the learning rate")
    done = as_nox(here, "gate", "--base", "HEAD~1", "--passes", "2", *ARGUMENTS, cwd=tmp_path / "cwd")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"lenet-bench of {here} at {head[:12]}\n" in done.stderr
    verdict = verdict_of(here)
    assert (verdict.verdict, verdict.base, verdict.head) == ("mismatch", base[:12], head[:12])
    if goes_on:
        assert not any(goes_on[:12].encode() in path.read_bytes() for path in only_run(here).iterdir())
        assert not (repository / "results").exists()
        assert git(repository, "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_mode_that_the_base_does_not_have_is_missing(repository: Path) -> None:
    contents = repository / "backends" / "__init__.py"
    contents.write_text(contents.read_text().replace('"im2col"', '"unrolled"'))
    commit(repository, "another name")
    arguments = [one.replace("im2col", "unrolled") for one in ARGUMENTS]
    for extra, code in (([], 4), (["--allow-missing"], 4)):  # nothing at all was compared
        done = gate(repository, "--base", "HEAD~1", *arguments, *extra)
        assert done.returncode == code, done.stdout + done.stderr
        assert "no mode unrolled of numpy" in done.stdout


@pytest.mark.slow
def test_a_mode_that_the_head_no_longer_has_is_missing(repository: Path) -> None:
    contents = repository / "backends" / "__init__.py"
    (old,) = [line for line in contents.read_text().splitlines(keepends=True) if 'Mode("im2col"' in line]
    contents.write_text(contents.read_text().replace(old, "").replace("slow=True", "slow=False"))
    (repository / "backends" / "lenet_numpy.py").write_text("raise ImportError('no NumPy today')\n")
    commit(repository, "one mode less")
    done = gate(repository, "--base", "HEAD~1", "--backend", "numpy", "--python", HERE, "--batch", "8")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "no mode im2col of numpy at" in done.stdout
    assert "numpy loops: failed" in done.stdout
    contents.write_text(contents.read_text().replace("slow=False", "slow=True"))
    commit(repository, "and that one slow")
    assert "marked slow" in gate(repository, "--base", "HEAD~1", "--backend", "numpy").stderr


@pytest.mark.slow
def test_a_changed_network_is_a_mismatch_without_measuring(repository: Path) -> None:
    lenet = repository / "backends" / "lenet.py"
    assert 'Conv("conv2", 16, 5)' in lenet.read_text()
    lenet.write_text(lenet.read_text().replace('Conv("conv2", 16, 5)', 'Conv("conv2", 8, 5)'))
    commit(repository, "half the maps")
    done = gate(repository, "--base", "HEAD~1", *ARGUMENTS)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "lenet5 was changed between base and head" in done.stdout


@pytest.mark.slow
def test_a_new_requirement_file_is_no_reason_to_refuse(repository: Path) -> None:
    (repository / "backends" / "requirements" / "numpy.txt").rename(repository / "numpy.txt")
    commit(repository, "no requirements")
    (repository / "numpy.txt").rename(repository / "backends" / "requirements" / "numpy.txt")
    commit(repository, "requirements")
    done = gate(repository, "--base", "HEAD~1", "--passes", "2", *ARGUMENTS)
    assert done.returncode in (0, 3), done.stdout + done.stderr


@pytest.mark.slow
def test_bad_input_is_one_line_and_nothing_is_written(repository: Path) -> None:
    def refused(words: str, *arguments: str, by: Callable[..., Done] = gate_here) -> None:
        done = by(repository, *arguments, *ARGUMENTS)
        assert done.returncode == 2, done.stdout + done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert words in done.stderr
        assert not (repository / "results").exists()

    refused("needs a base")
    refused("'nonsense' is no revision", "--base", "nonsense")
    refused("'nonsense' is no revision", "--base", "nonsense", by=gate)
    refused("'--help' is no revision", "--base=--help")
    refused("the suite was not there yet", "--base", "HEAD~1")
    refused("unknown backend 'caffe'", "--base", "HEAD", "--backend", "caffe")
    refused("not of the form backend=PATH", "--base-python", "numpy")
    refused("named for torch, which is not among", "--base-python", HERE.replace("numpy", "torch", 1))

    requirements = repository / "backends" / "requirements" / "numpy.txt"
    text = requirements.read_text()
    requirements.write_text(text + "pygal\n")
    refused("numpy.txt is not committed", "--base", "HEAD")
    refused("requirements of numpy differ", "--base", "HEAD", "--allow-dirty")
    assert requirements.read_text() == text + "pygal\n"
    requirements.write_text(text)

    (repository / "backends" / "new.py").write_text("")
    refused("new.py is not committed", "--base", "HEAD")
    shutil.rmtree(repository / ".git")
    refused("not a git repository", "--base", "HEAD")


def test_a_repository_that_git_does_not_read_is_not_taken_for_a_clean_one(repository: Path) -> None:
    (repository / ".git" / "config").write_text("[core")
    for arguments in (("--base", "HEAD"), ("--base-python", HERE)):
        done = gate_here(repository, *arguments, *ARGUMENTS)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "bad config line" in done.stderr
        assert not (repository / "results").exists()


def test_what_git_ignores_is_not_measured_and_an_editors_lock_does_no_harm(repository: Path, tmp_path: Path) -> None:
    with (repository / ".git" / "info" / "exclude").open("a") as file:
        file.write(".#*\nscratch.py\n")
    (repository / "backends" / ".#lenet_numpy.py").symlink_to("nobody@host.1:1")
    (repository / "backends" / "scratch.py").write_text("")
    with mock.patch.dict(os.environ, environment(repository), clear=True):
        revision.copy_working_tree(repository, tmp_path / "copy")
        changed = revision.changes(repository)
    copied = {path.name for path in (tmp_path / "copy" / "backends").iterdir()}
    assert "lenet_numpy.py" in copied
    assert not copied & {".#lenet_numpy.py", "scratch.py"}
    assert changed == []


def test_a_mode_that_the_head_leaves_out_is_missing(tmp_path: Path) -> None:
    registry = backends.registry()
    cases = (Case("torch", "eager"),)
    selection = Selection(("torch",), (), ("lenet5",), ("cpu",), ("float32",), (128,), (1,), lanes=("tutorial",))
    terms = gates.Terms(cases, selection, "synthetic", 0, 2, 1.0, gates.PLAN, "")
    here = gates.Side("here", ROOT, {})
    begun = gates.Gate(tmp_path, terms, registry, here, here, "")
    networks: dict[str, Any] = {"lenet5": []}
    modes = {name: ["tutorial", name == "loops"] for name in ("eager", "functional", "loops", "moved")}
    modes["compile"] = ["expert", False]
    gates.note_what_changed(
        begun,
        {"modes": {"torch": modes}, "networks": networks},
        {
            "modes": {"torch": {**modes, "functional": ["tutorial", True], "moved": ["expert", False]}},
            "networks": networks,
        },
    )
    assert {case.mode: word for case, (word, _) in begun.settled.items()} == {
        "functional": "missing",
        "moved": "missing",
    }


@pytest.mark.slow
def test_how_a_network_is_written_down_does_not_matter(repository: Path) -> None:
    before = gates.contents_of(repository)["networks"]
    lenet = repository / "backends" / "lenet.py"
    (line,) = [one for one in lenet.read_text().splitlines() if one.startswith("class Flatten")]
    lenet.write_text(lenet.read_text().replace(line, f"{line}\n    note: str = 'new'"))
    assert gates.contents_of(repository)["networks"] == before
    lenet.write_text(lenet.read_text().replace('Conv("conv2", 16, 5)', 'Conv("conv2", 8, 5)'))
    assert gates.contents_of(repository)["networks"] != before


def test_a_base_whose_table_of_contents_cannot_be_read_is_refused(repository: Path) -> None:
    contents = repository / "backends" / "__init__.py"
    text = contents.read_text()
    contents.write_text("import nothing_of_that_name\n")
    commit(repository, "broken")
    contents.write_text(text)
    commit(repository, "mended")
    done = gate_here(repository, "--base", "HEAD~1", *ARGUMENTS)
    assert done.returncode == 2
    assert "nothing_of_that_name" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (repository / "results").exists()


@pytest.mark.slow
def test_two_interpreters_of_a_third_party_on_the_same_code(repository: Path, tmp_path: Path) -> None:
    """As who makes a framework would use it: one backend, installed twice."""
    pythons = []
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        pythons.append(fake.install(tmp_path / name))
    sides = ("--base-python", f"fake={pythons[0]}", "--python", f"fake={pythons[1]}")
    done = gate(repository, *sides, "--mode", "good", "--batch", "8", "--passes", "2")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    verdict = verdict_of(repository)
    assert (verdict.base_version, verdict.head_version) == ("1.0", "1.0")
    assert str(pythons[0]) in verdict.base
