"""How environments are made: by a uv that is made up, so that it fails, hangs and is killed when it should; and, from a
wheel that lies on the disk, by the real ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from backends import BUILT_IN
from bench import cli_environments, environments, installing, pins
from bench.pins import Pins
from tests.commands import complaints

ROOT = Path(__file__).absolute().parent.parent
ENTRIES = {entry.name: entry for entry in BUILT_IN}
COMMAND = [sys.executable, str(ROOT / "bench" / "__main__.py"), "environments"]
PATIENCE = 300  # seconds until a process that does nothing at all is given up; no promise is about it

# What uv does here, by a word in a file beside it: it makes a folder with an interpreter, and installs or does not.
FAKE = """
import os, pathlib, sys, time
here, python, *arguments = sys.argv[1:]
here = pathlib.Path(here)
with (here / "calls.txt").open("a") as file:
    print(*arguments, file=file)
def wait_for(name):
    while not (here / name).exists():
        time.sleep(0.01)
word = (here / "word.txt").read_text()
if arguments[0] == "venv":
    if word == "no python" and "--no-python-downloads" in arguments:
        sys.exit("error: No interpreter found")
    folder = pathlib.Path(arguments[-1])
    (folder / "bin").mkdir()
    run = folder / "bin" / "python"  # no link: what is installed beside the Python that it leads to is another matter
    run.write_text(f'#!/bin/sh\\nexec "{python}" "$@"\\n')
    run.chmod(0o755)
elif word == "fail":
    sys.exit("  \\u00d7 No solution found when resolving dependencies:\\n  \\u2570\\u2500\\u25b6 tiny has no wheel")
elif word == "wait":
    (here / f"begun-{os.getpid()}").touch()
    wait_for("go")
elif word == "slow":
    print("Resolved 3 packages in 1.2s", file=sys.stderr)
    print("\\x1b[2K\\rPreparing...\\rDownloading \\x1b[36mtiny\\x1b[0m (600.0\\tMiB)\\x07", file=sys.stderr)
    sys.stderr.flush()
    (here / f"begun-{os.getpid()}").touch()
    wait_for("go")
elif word == "slow and fail":
    print("Using Python 3.11.7 environment at: x\\nResolved 3 packages in 1.2s", file=sys.stderr)
    sys.exit("error: Failed to fetch tiny\\n  Caused by: no route to host")
elif word == "killed":
    print("\\n".join(f"step {i}" for i in range(50)), flush=True)
    os.kill(os.getpid(), 9)
elif word == "meet":
    (here / f"begun-{os.getpid()}").touch()
    while len(list(here.glob("begun-*"))) < 3:
        time.sleep(0.01)
"""


class FakeUv:
    """A program in the place of uv, and what it was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "fake.py").write_text(FAKE)
        self.program = folder / "uv"
        self.program.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" "{folder}/fake.py" "{folder}" "{sys.executable}" "$@"\n'
        )
        self.program.chmod(0o755)
        self.does("install")

    def does(self, word: str) -> None:
        (self.folder / "word.txt").write_text(word)

    def calls(self) -> list[str]:
        file = self.folder / "calls.txt"
        return file.read_text().splitlines() if file.exists() else []

    def begun(self) -> list[int]:
        """The processes that have come to installing, as far as they live."""
        found = [int(path.name.partition("-")[2]) for path in self.folder.glob("begun-*")]
        return [pid for pid in found if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeUv:
    (tmp_path / "uv").mkdir()
    fake = FakeUv(tmp_path / "uv")
    monkeypatch.setenv(installing.INSTALLER_VARIABLE, str(fake.program))
    monkeypatch.setenv(installing.ENVIRONMENTS_VARIABLE, str(tmp_path / "environments"))
    return fake


def wait_until(held: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not held():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def made(*wanted: Pins) -> tuple[dict[str, str], list[str]]:
    said: list[str] = []
    return installing.make_all(wanted, said.append), said


TINY = Pins("tiny", "tiny==1.0\n")


def test_an_environment_is_made_once_and_anew_where_its_pins_have_changed(uv: FakeUv) -> None:
    assert made(TINY)[0] == {"tiny": ""}
    assert installing.is_ready(TINY)
    assert len(uv.calls()) == 2
    (installing.environments_folder() / "tiny" / "left.txt").touch()
    assert made(TINY) == ({"tiny": ""}, [])
    assert len(uv.calls()) == 2
    newer = Pins("tiny", "tiny==2.0\n")
    assert made(newer)[0] == {"tiny": ""}
    assert not (installing.environments_folder() / "tiny" / "left.txt").exists()
    assert installing.is_ready(newer) and not installing.is_ready(TINY)


@pytest.mark.slow
def test_what_cannot_be_made_says_why_in_one_line_and_is_tried_again(uv: FakeUv) -> None:
    numpy = pins.of("numpy")
    uv.does("fail")
    reasons, said = made(numpy)
    assert reasons["numpy"].startswith(
        "environment numpy could not be made: No solution found when resolving dependencies: tiny has no wheel (log: "
    )
    assert said[-1] == reasons["numpy"]
    assert not installing.is_ready(numpy)
    assert environments.find(ENTRIES["numpy"], "cpu", {}).reason == reasons["numpy"]
    uv.does("install")
    assert made(numpy)[0] == {"numpy": ""}
    assert environments.find(ENTRIES["numpy"], "cpu", {}).reason == ""


def test_one_failure_is_not_the_others(uv: FakeUv, tmp_path: Path) -> None:
    (installing.environments_folder()).mkdir()
    (installing.environments_folder() / "tiny").write_text("a file where a folder should be")
    reasons, _ = made(TINY, Pins("other", "other==1.0\n"))
    assert reasons["other"] == ""
    assert reasons["tiny"].startswith("environment tiny could not be made: ")


def test_all_are_made_at_the_same_time(uv: FakeUv) -> None:
    """Each installation waits until three have begun: one after the other, none would ever end."""
    uv.does("meet")
    reasons, said = made(*(Pins(name, "") for name in "abc"))
    assert reasons == {"a": "", "b": "", "c": ""}
    assert sorted(line.partition(" ready after")[0] for line in said[-3:]) == ["a:", "b:", "c:"]


def test_one_that_takes_long_says_every_so_often_what_it_is_doing(uv: FakeUv, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on only after it has been told of twice, so that nothing here is a matter of time."""
    monkeypatch.setattr(installing, "TOLD_SECONDS", 0.001)
    uv.does("slow")
    said: list[str] = []
    still = "tiny: still installing, "

    def say(line: str) -> None:
        said.append(line)
        if len([one for one in said if one.endswith(": Downloading tiny (600.0 MiB)")]) == 2:
            (uv.folder / "go").touch()

    assert installing.make_all([TINY], say) == {"tiny": ""}
    assert said[0].startswith("tiny: making its environment with uv, once, in ")
    assert said[-1].startswith("tiny: ready after ")
    assert len(said) >= 4 and all(line.startswith(still) for line in said[1:-1])
    assert all(line.isprintable() for line in said)
    log = (installing.environments_folder() / "tiny" / installing.LOG).read_text(encoding="utf-8")
    assert "Resolved 3 packages in 1.2s\n" in log


def test_each_of_several_says_what_it_is_doing_itself(uv: FakeUv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "TOLD_SECONDS", 0.001)
    uv.does("slow")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if {one.partition(":")[0] for one in list(said) if "Downloading" in one} == {"a", "b"}:
            (uv.folder / "go").touch()

    assert installing.make_all([Pins("a", ""), Pins("b", "")], say) == {"a": "", "b": ""}
    for name in "ab":
        own = [line for line in said if line.startswith(f"{name}: ")]
        assert own[-1].startswith(f"{name}: ready after "), "and nothing after that"


def test_one_that_is_quick_says_nothing_in_between(uv: FakeUv) -> None:
    assert [line.partition(" ")[2].split()[0] for line in made(TINY)[1]] == ["making", "ready"]


def test_one_that_fails_is_not_told_of_any_longer(uv: FakeUv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "TOLD_SECONDS", 0.001)
    uv.does("fail")
    reasons, said = made(TINY)
    assert said[-1] == reasons["tiny"]


def test_the_steps_of_an_installer_are_no_part_of_what_went_wrong(uv: FakeUv) -> None:
    uv.does("slow and fail")
    reason = made(TINY)[0]["tiny"]
    assert reason.startswith(
        "environment tiny could not be made: error: Failed to fetch tiny Caused by: no route to host (log: "
    )
    uv.does("killed")
    assert ": step 47 step 48 step 49 (log: " in made(TINY)[0]["tiny"]


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("Resolved 12 packages in 34ms\n", "Resolved 12 packages in 34ms"),
        ("\x1b[1m\x1b[32mok\x1b[0m\r\n", "ok"),
        ("10 %\r20 %\r", "20 %"),
        ("\x1b]0;title\x07a\x00b\u202ec", "]0;title a b c"),
        ("\n", ""),
        ("x" * 1000, "x" * installing.LONGEST_TOLD),
    ],
)
def test_what_an_installer_prints_is_told_as_one_printable_line(printed: str, line: str) -> None:
    assert installing.told(printed) == line


def test_a_python_that_is_missing_is_fetched_and_that_is_said(uv: FakeUv) -> None:
    uv.does("no python")
    frozen = Pins("frozen", "# python: 3.11 3.10\ntiny==1.0\n")
    reasons, said = made(frozen)
    assert reasons == {"frozen": ""}
    assert "frozen: no Python 3.11 or 3.10 found on this machine: uv fetches Python 3.11" in said
    tried = [call.split() for call in uv.calls() if call.startswith("venv")]
    assert [("--no-python-downloads" in call, call[call.index("--python") + 1]) for call in tried] == [
        (True, "3.11"),
        (True, "3.10"),
        (False, "3.11"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_making_leaves_nothing_that_looks_finished(uv: FakeUv, how: signal.Signals) -> None:
    uv.does("wait")
    process = subprocess.Popen([*COMMAND, "make", "numpy"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_until(uv.begun)
    process.send_signal(how)
    assert process.wait(PATIENCE) == (-9 if how == signal.SIGKILL else 130)
    wait_until(lambda: not uv.begun())  # nobody goes on installing into that folder
    assert not installing.is_ready(pins.of("numpy"))
    assert "was never finished" in environments.find(ENTRIES["numpy"], "cpu", {}).reason
    uv.does("install")
    assert made(pins.of("numpy"))[0] == {"numpy": ""}


@pytest.mark.slow
def test_two_commands_that_make_one_environment_wait_for_each_other(uv: FakeUv) -> None:
    uv.does("wait")
    first = subprocess.Popen([*COMMAND, "make", "numpy"], stdout=subprocess.PIPE, text=True)
    wait_until(uv.begun)
    second = subprocess.Popen([*COMMAND, "make", "numpy"], stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    assert second.stdout.readline() == "numpy: waiting for another command\n"
    (uv.folder / "go").touch()
    assert first.wait(PATIENCE) == second.wait(PATIENCE) == 0
    assert len([call for call in uv.calls() if call.startswith("venv")]) == 1


@pytest.fixture
def two_checkouts(tmp_path: Path) -> list[Path]:
    """Copies of this one, whose environments are the same by the variable that says where."""
    for name in ("first", "second"):
        for package in ("backends", "bench"):
            shutil.copytree(ROOT / package, tmp_path / name / package)
    return [tmp_path / "first", tmp_path / "second"]


def begun_in(checkout: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(checkout / "bench" / "__main__.py"), "environments", *arguments]
    return subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.slow
def test_two_checkouts_that_make_one_environment_wait_for_each_other(uv: FakeUv, two_checkouts: list[Path]) -> None:
    uv.does("wait")
    first = begun_in(two_checkouts[0], "make", "numpy")
    wait_until(uv.begun)
    second = begun_in(two_checkouts[1], "make", "numpy")
    assert first_line(second) == "numpy: waiting for another command\n"
    (uv.folder / "go").touch()
    assert first.wait(PATIENCE) == second.wait(PATIENCE) == 0
    assert len([call for call in uv.calls() if call.startswith("venv")]) == 1


@pytest.mark.slow
def test_a_removal_waits_for_who_makes_it_and_a_second_one_finds_it_removed(
    uv: FakeUv, two_checkouts: list[Path]
) -> None:
    uv.does("wait")
    first = begun_in(two_checkouts[0], "make", "numpy")
    wait_until(uv.begun)
    others = [begun_in(checkout, "remove", "numpy") for checkout in two_checkouts]
    assert [first_line(one) for one in others] == ["numpy: waiting for another command\n"] * 2
    assert first.poll() is None and uv.begun(), "what is being made is left alone"
    (uv.folder / "go").touch()
    assert first.wait(PATIENCE) == 0
    for one in others:
        said = one.communicate(timeout=PATIENCE)
        assert (one.returncode, said[0]) == (0, "numpy: removed\n"), said
    assert not (installing.environments_folder() / "numpy").exists()


@pytest.mark.slow
def test_a_making_waits_for_who_removes_it_and_makes_it_anew(uv: FakeUv) -> None:
    place = installing.environments_folder()
    assert made(pins.of("numpy"))[0] == {"numpy": ""}
    with installing.alone(place / ".numpy.lock", lambda: None):  # as `remove` holds it
        (place / "numpy" / installing.STAMP).unlink()
        second = subprocess.Popen([*COMMAND, "make", "numpy"], stdout=subprocess.PIPE, text=True)
        assert first_line(second) == "numpy: waiting for another command\n"
        shutil.rmtree(place / "numpy")
    assert second.wait(PATIENCE) == 0
    assert installing.is_ready(pins.of("numpy"))


@pytest.mark.slow
def test_an_environment_is_made_anew_where_its_python_has_gone(uv: FakeUv, tmp_path: Path) -> None:
    """However that shows: by a link that leads nowhere, or by what uv and virtualenv have written down."""
    gone = tmp_path / "gone"
    python = installing.interpreter(installing.environments_folder() / "tiny")
    settings = python.parent.parent / "pyvenv.cfg"

    def a_link_to_nothing() -> None:
        python.unlink()
        python.symlink_to(gone / "bin" / "python3")

    def a_link_to_itself() -> None:
        python.unlink()
        python.symlink_to(python)

    def nothing() -> None:
        python.unlink()

    def a_folder() -> None:
        python.unlink()
        python.mkdir()

    def as_uv_writes_it() -> None:
        settings.write_text(f"home = {gone / 'bin'}\nimplementation = CPython\nuv = 0.13.9\n")

    def as_virtualenv_writes_it() -> None:
        settings.write_text(f"home = {tmp_path}\nversion = 3.11.7\nbase-executable = {gone / 'bin' / 'python3'}\n")

    for number, breaks in enumerate(
        (a_link_to_nothing, a_link_to_itself, nothing, a_folder, as_uv_writes_it, as_virtualenv_writes_it)
    ):
        assert made(TINY)[0] == {"tiny": ""}
        assert len(uv.calls()) == 2 * (number + 1), "made anew"
        assert installing.is_ready(TINY)
        breaks()
        assert not installing.is_ready(TINY), breaks
    assert made(TINY)[0] == {"tiny": ""}
    for line in (f"home = {python.parent}", "no line of ours", f"home={tmp_path}\nbase-executable={sys.executable}"):
        settings.write_bytes(line.encode() + b"\xff\n" if line.startswith("no") else line.encode())
        assert installing.is_ready(TINY), line


def test_a_dangling_interpreter_is_told_in_one_line(uv: FakeUv, monkeypatch: pytest.MonkeyPatch) -> None:
    """By commands that may not make it anew, and by the list."""
    assert made(pins.of("numpy"))[0] == {"numpy": ""}
    python = installing.interpreter(installing.environments_folder() / "numpy")
    python.unlink()
    python.symlink_to("/nowhere/bin/python3")
    monkeypatch.setenv(installing.INSTALLER_VARIABLE, installing.NONE)
    assert f"there is no {python}" in environments.find(ENTRIES["numpy"], "cpu", {}).reason
    assert "its Python does not run" in cli_environments.state_of(python.parent.parent)[2]


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_an_environment_that_was_moved_or_copied_with_its_checkout_runs_from_there(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by the real ones: neither falls back to the place where it was made, which has nothing installed then."""
    if tool == "uv":
        tool = installing.installer()
        if tool in (installing.PIP, installing.NONE):
            pytest.skip("there is no uv on this machine")
    monkeypatch.setenv(installing.INSTALLER_VARIABLE, tool)
    empty = Pins("empty", "")
    places = [tmp_path / name for name in ("made", "moved", "copied")]
    for place in places:
        monkeypatch.setenv(installing.ENVIRONMENTS_VARIABLE, str(place))
        if place == places[0]:
            assert made(empty)[0] == {"empty": ""}
        else:
            shutil.move(places[0], place) if place == places[1] else shutil.copytree(places[1], place, symlinks=True)
            assert made(empty) == ({"empty": ""}, []), "it is not made anew"
        python = installing.interpreter(place / "empty")
        asked = [str(python), "-I", "-c", "import sys; print(sys.prefix)"]
        assert subprocess.check_output(asked, text=True).strip() == str(place / "empty")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_the_place_of_a_lock_is_replaced_and_not_followed(uv: FakeUv, tmp_path: Path, there: bool) -> None:
    """By what makes an environment and by what removes it. A checkout made of links has such, to the original's."""
    precious, place = tmp_path / "precious", installing.environments_folder()
    if there:
        precious.write_text("mine")
    place.mkdir()
    lock = place / ".tiny.lock"
    lock.symlink_to(precious)
    assert made(TINY)[0] == {"tiny": ""}
    assert lock.is_file() and not lock.is_symlink()
    lock.unlink()
    lock.symlink_to(precious)
    cli_environments.remove(["tiny"])
    assert not (place / "tiny").exists()
    assert (precious.read_text() == "mine") if there else not precious.exists()


@pytest.mark.slow
def test_one_that_waits_for_another_command_ends_when_it_is_told_to(uv: FakeUv) -> None:
    uv.does("wait")
    first = subprocess.Popen([*COMMAND, "make", "numpy"], stdout=subprocess.DEVNULL)
    wait_until(uv.begun)
    second = subprocess.Popen([*COMMAND, "make", "numpy"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert second.stdout is not None
    assert second.stdout.readline() == "numpy: waiting for another command\n"
    second.terminate()
    assert second.wait(PATIENCE) == 130
    assert first.poll() is None, "and the other goes on"
    (uv.folder / "go").touch()
    assert first.wait(PATIENCE) == 0


def test_an_environment_of_other_pins_is_not_measured(uv: FakeUv, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(pins.of("numpy"))[0] == {"numpy": ""}
    assert environments.find(ENTRIES["numpy"], "cpu", {}).reason == ""
    monkeypatch.setattr(pins, "of", lambda name: Pins(name, "numpy==1.0\n"))
    assert "made from other pins" in environments.find(ENTRIES["numpy"], "cpu", {}).reason


@pytest.mark.slow
def test_environments_are_listed_and_removed_and_nothing_else_is(uv: FakeUv) -> None:
    place = installing.environments_folder()
    assert made(pins.of("numpy"), pins.of("torch"))[0] == {"numpy": "", "torch": ""}
    (place / "lint").mkdir()  # nox's own

    def said(*arguments: str, code: int = 0) -> str:
        done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + complaints(done.stderr)

    listed = said("list")
    assert "numpy" in listed and "ready" in listed and "not made yet" in listed and "lint" not in listed
    assert "no environment 'lint'" in said("remove", "lint", code=2)
    assert "no environment '../lint'" in said("remove", "../lint", code=2)
    assert "unknown environment 'caffe'" in said("make", "caffe", code=2)
    assert said("make", "numpy") == f"numpy: {place / 'numpy' / 'bin' / 'python'}\n"
    assert said("remove", "numpy") == "numpy: removed\n"
    assert said("remove") == "torch: removed\n"
    assert [path.name for path in place.iterdir() if path.is_dir()] == ["lint"]


@pytest.mark.parametrize("kept", ["requirements.txt", "setup.py", "pyvenv.cfg", "installed"])
def test_a_folder_of_the_users_in_that_place_is_left_alone(uv: FakeUv, kept: str) -> None:
    """As where the variable names a folder of projects, one of them a clone of a framework."""
    place = installing.environments_folder()
    for name in ("tiny", "mywebapp"):
        (place / name).mkdir(parents=True)
        for file in (kept, "app.py"):
            (place / name / file).write_text("precious")
    assert f"{place / 'tiny'} is no environment of this suite" in made(TINY)[0]["tiny"]
    assert cli_environments.there(place) == []
    cli_environments.remove([])
    for name in ("tiny", "mywebapp"):
        assert {path.name for path in (place / name).iterdir()} == {kept, "app.py"}
    assert uv.calls() == []


def test_of_an_environment_that_is_a_link_the_link_is_removed(uv: FakeUv, tmp_path: Path) -> None:
    place = installing.environments_folder()
    for act in (lambda: cli_environments.remove(["tiny"]), lambda: made(Pins("tiny", "tiny==2.0\n"))):
        assert made(TINY)[0] == {"tiny": ""}
        target = (place / "tiny").rename(tmp_path / "elsewhere")
        (place / "tiny").symlink_to(target)
        act()
        assert not (place / "tiny").is_symlink()
        assert (target / installing.STAMP).is_file(), "what it leads to is not this place's to change"
        installing.clear(place / "tiny")
        installing.clear(target)


def test_nothing_is_made_where_that_is_asked(uv: FakeUv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(installing.INSTALLER_VARIABLE, installing.NONE)
    reasons, said = made(TINY)
    assert "nothing is made" in reasons["tiny"]
    assert (said, uv.calls()) == ([], [])
    assert not installing.environments_folder().exists()


def test_uv_is_found_beside_this_python_where_no_path_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uv").touch(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.delenv(installing.INSTALLER_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert installing.installer() == str(tmp_path / "uv")


def test_an_installer_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(installing.INSTALLER_VARIABLE, "conda")
    with pytest.raises(installing.NotMade, match="'conda' is none of uv, pip and none"):
        installing.installer()


def test_pips_settings_become_uvs(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        ":env:.find-links='/a /b'",
        "global.find-links='/of a file'",
        "global.index-url='https://mirror.example/simple'",
        "install.extra-index-url='\\nfile:///x\\nfile:///y'",
        "global.extra-index-url='file:///z'",
        "global.timeout='10'",
        "wheel.find-links='/not/for/install'",
        "global.cert=no string",
    ]
    assert installing.parse_settings(lines) == {
        "find-links": ["/a", "/b"],
        "index-url": ["https://mirror.example/simple"],
        "extra-index-url": ["file:///x", "file:///y"],
    }
    monkeypatch.setattr(installing, "settings_of_pip", lambda: installing.parse_settings(lines))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://of.the.user.example/simple")
    assert installing.settings_for_uv() == {
        "UV_FIND_LINKS": "/a,/b",
        "UV_INDEX": "file:///x file:///y",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_the_real_ones_install_a_wheel_that_pips_variables_name(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool == "uv":
        tool = installing.installer()
        if tool in (installing.PIP, installing.NONE):
            pytest.skip("there is no uv on this machine")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    metadata = "tiny-1.0.dist-info"
    with zipfile.ZipFile(wheels / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "answer = 42\n")
        wheel.writestr(f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{metadata}/RECORD", "")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", wheels.as_uri())
    monkeypatch.setenv(installing.INSTALLER_VARIABLE, tool)
    monkeypatch.setenv(installing.ENVIRONMENTS_VARIABLE, str(tmp_path / "environments"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uv.toml").write_text("no settings of ours")
    reasons, said = made(TINY, Pins("missing", "nowhere==1.0\n"))
    assert reasons["tiny"] == "", said
    python = installing.interpreter(installing.environments_folder() / "tiny")
    asked = [str(python), "-c", "import tiny; print(tiny.answer)"]
    assert subprocess.run(asked, capture_output=True, text=True).stdout == "42\n"
    assert "nowhere" in reasons["missing"] and "\n" not in reasons["missing"]


def test_a_pin_is_replaced_in_every_file_that_has_it_and_in_no_other() -> None:
    everywhere = [(entry, "cpu") for entry in BUILT_IN]
    (found,) = pins.replaced(["torch==2.12.1"], everywhere).items()
    assert found[0] == "torch"
    assert "torch==2.12.1\n" in found[1].text and "torch==2.13.0\n" not in found[1].text
    assert found[1].name == "torch-with-torch-2.12.1-cpu"
    replaced = pins.replaced(["tensorflow==2.20.0"], everywhere)["tensorflow"].text
    assert [line for line in replaced.splitlines() if line.startswith("tensorflow")] == ["tensorflow==2.20.0"]
    assert set(pins.replaced(["numpy==2.3.0"], everywhere)) == {entry.name for entry in BUILT_IN}
    assert pins.replaced(["numpy==1.23.4"], everywhere)["mxnet"].pythons == ("3.11", "3.10")
    with pytest.raises(pins.UnknownPins, match="no backend's requirement file pins 'theano'"):
        pins.replaced(["theano==1.0"], everywhere)
    with pytest.raises(pins.UnknownPins, match="name one with --device"):
        pins.replaced(["torch==2.12.1"], [(ENTRIES["torch"], "cpu"), (ENTRIES["torch"], "cuda")])


def test_a_stamp_is_written_through_no_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("installed.tmp", "installed.txt"):
        (tmp_path / name).symlink_to(precious)
    installing.write_last(tmp_path / "installed.txt", "made")
    assert precious.read_text() == "mine"
    assert (tmp_path / "installed.txt").read_text() == "made"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["installed.tmp", "installed.txt", "precious"]
