"""One run at a time: the lock in a folder that every user may write to."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from bench import machine, terminal

FREE = "999999999 1.0"  # no process has that number


@pytest.fixture(autouse=True)
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, which others could write to."""
    folder = tmp_path / "shared"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_claim_is_seen_and_released(shared: Path) -> None:
    assert machine.claim() == 0
    assert machine.claimed()
    assert machine.claim() == os.getpid(), "who has it says so to the next"
    assert stat.S_IMODE(machine.lock_file().stat().st_mode) == 0o600
    machine.release()
    assert list(shared.iterdir()) == []
    assert not machine.claimed()


def test_every_user_has_a_lock_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for uid in (0, 1000):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        names.add(machine.lock_file().name)
    assert names == {"lenet-bench-0.lock", "lenet-bench-1000.lock"}


@pytest.mark.parametrize("text", ["", FREE, "words", "{own} 1.0", "-1 nan", "9" * 500, "\xff\xfe"])
def test_a_stale_or_broken_lock_gives_way(text: str) -> None:
    own = str(os.getpid())  # a process of that number, begun at another time
    machine.lock_file().write_text(text.replace("{own}", own), encoding="latin-1")
    assert machine.claim() == 0
    assert machine.claimed()


def test_a_living_process_that_the_lock_names_is_told() -> None:
    parent = psutil.Process(os.getppid())
    machine.lock_file().write_text(f"{parent.pid} {parent.create_time()!r}")
    assert machine.claim() == parent.pid
    machine.release()
    assert machine.lock_file().exists(), "it is not this process's to remove"


@pytest.mark.parametrize("kind", ["link", "dangling", "hard link", "link to a living claim"])
def test_a_link_in_its_place_is_replaced_and_what_it_leads_to_is_left(tmp_path: Path, kind: str) -> None:
    lock, precious = machine.lock_file(), tmp_path / "precious"
    parent = psutil.Process(os.getppid())
    precious.write_text(f"{parent.pid} {parent.create_time()!r}" if "claim" in kind else FREE)
    before = precious.read_text()
    if kind == "hard link":
        os.link(precious, lock)
    else:
        lock.symlink_to(tmp_path / "nowhere" if kind == "dangling" else precious)
    assert machine.claim() == 0
    assert precious.read_text() == before
    assert not (tmp_path / "nowhere").exists()
    assert not lock.is_symlink() and lock.stat().st_nlink == 1
    assert machine.claimed()
    machine.release()
    assert precious.read_text() == before


def test_a_pipe_in_its_place_keeps_nobody_waiting() -> None:
    os.mkfifo(machine.lock_file())
    assert machine.claim() == 0
    assert machine.claimed()


@pytest.mark.parametrize("inside", [False, True])
def test_a_folder_in_its_place_is_left_and_said(inside: bool, capsys: pytest.CaptureFixture[str]) -> None:
    lock = machine.lock_file()
    lock.mkdir()
    if inside:
        (lock / "file").write_text("")
    with terminal.only_run_here():
        assert not machine.claimed()
    assert "other runs on this machine cannot be seen" in capsys.readouterr().out
    assert lock.is_dir()


@pytest.mark.parametrize("make", ["file", "link", "pipe"])
def test_what_is_another_users_is_left_alone_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make: str
) -> None:
    lock, precious = machine.lock_file(), tmp_path / "precious"
    precious.write_text("mine")
    if make == "file":
        lock.write_text("theirs")
    elif make == "link":
        lock.symlink_to(precious)
    else:
        os.mkfifo(lock)
    before = lock.lstat()
    monkeypatch.setattr(machine, "user", lambda: before.st_uid + 1)
    monkeypatch.setattr(machine, "lock_file", lambda: lock)
    with terminal.only_run_here():
        assert not machine.claimed()
    assert "other runs on this machine cannot be seen" in capsys.readouterr().out
    assert os.path.samestat(lock.lstat(), before)
    assert precious.read_text() == "mine"
    assert make != "file" or lock.read_text() == "theirs"


def test_nothing_is_said_where_the_lock_is_had(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.only_run_here():
        pass
    assert capsys.readouterr().out == ""


def test_without_a_temporary_folder_nobody_is_seen_and_that_is_said(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared.rmdir()
    with terminal.only_run_here():
        pass
    assert "cannot be seen" in capsys.readouterr().out


@pytest.mark.parametrize("before", ["nothing", "stale", "link", "pipe"])
def test_of_many_claims_at_once_exactly_one_gets_it(tmp_path: Path, before: str) -> None:
    lock = machine.lock_file()
    for _ in range(20):
        if before == "stale":
            lock.write_text(FREE)
        elif before == "link":
            lock.symlink_to(tmp_path / "nowhere")
        elif before == "pipe":
            os.mkfifo(lock)
        together = threading.Barrier(8)

        def claim(start: threading.Barrier) -> int:
            start.wait()
            return machine.claim()

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(claim, [together] * 8))
        assert found.count(0) == 1
        assert set(found) == {0, os.getpid()}
        machine.release()
        assert not os.path.lexists(lock)


def test_who_holds_the_folder_delays_a_claim_and_prevents_none(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    monkeypatch.setattr(machine, "LOCK_TRIED_SECONDS", 0.0)
    held = os.open(shared, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert machine.claim() == 0
        assert machine.claimed()
    finally:
        os.close(held)
