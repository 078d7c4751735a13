"""What `tests/conditions.py` runs in: Pythons, users, copies of the working tree, a PATH without git, load."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).absolute().parent.parent
RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
NOBODY = 65534
HOSTILE = ("backends", "bench", "torch", "conftest")

# One process per core. It asks several times a second whether the one that started it is still there.
LOADS = {
    "busy": "while os.getppid() == parent:\n    for _ in range(10**6): pass",
    "memory": "a, b = bytearray(2**28), bytearray(2**28)\nwhile os.getppid() == parent: a[:] = b; b[:] = a",
}

IS_THAT_PYTHON = """import ssl, sys
version = f"{sys.version_info[0]}.{sys.version_info[1]}"
sys.exit(sys.version_info < (3, 11) or sys.argv[1] not in ("", version))"""


def as_user(uid: int) -> dict[str, Any]:
    """The options with which subprocess starts a process as that user."""
    return {} if uid == os.geteuid() else {"user": uid, "group": uid, "extra_groups": []}


@functools.cache
def python_of(version: str, uid: int) -> str:
    """A Python of that version, or any that is new enough, which that user can execute; empty where there is none."""
    found = [sys.executable] if uid == os.geteuid() else []
    path = [*os.environ["PATH"].split(os.pathsep), "/usr/local/bin", "/usr/bin"]
    found += [f"{folder}/python{version or 3}" for folder in path]
    found += map(str, (Path.home() / ".pyenv" / "versions").glob(f"{version or 3}.*/bin/python3"))
    found += map(str, Path("/opt").glob("python3.*/bin/python3"))
    for python in found:
        test = [python, "-c", IS_THAT_PYTHON, version]
        with contextlib.suppress(OSError):
            if subprocess.run(test, capture_output=True, cwd="/", **as_user(uid)).returncode == 0:
                return python
    return ""


def with_nox(folder: Path, version: str, uid: int) -> str:
    """The Python that runs nox: this one, or that of an environment made for it in that folder."""
    if uid == os.geteuid() and version in ("", RUNNING):
        return sys.executable
    python = str(folder / "bin" / "python")
    if not (folder / "bin" / "uv").exists():
        make = [sys.executable, "-m", "virtualenv", "--quiet", "-p", python_of(version, uid), str(folder)]
        for command in (make, [python, "-m", "pip", "install", "--quiet", "nox", "uv"]):
            subprocess.run(command, check=True, capture_output=True)
    return python


def elsewhere(scratch: Path) -> Path | None:
    """A writable folder on another file system."""
    places = ("/dev/shm", "/tmp", "/var/tmp", f"/run/user/{os.geteuid()}", str(Path.home()))
    folders = map(Path, places)
    writable = (folder for folder in folders if folder.is_dir() and os.access(folder, os.W_OK))
    return next((folder for folder in writable if folder.stat().st_dev != scratch.stat().st_dev), None)


def copy_tree(folder: Path, git: bool) -> None:
    """The working tree as it lies, with its history or, without git, as an archive of it would be."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True) if shutil.which("git") else None
    if listed is None or listed.returncode:
        ignored = shutil.ignore_patterns(".git", ".nox", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, folder, symlinks=True, ignore=ignored)
        return
    if git:  # hard links would share their owner with the checkout's own
        subprocess.run(["git", "clone", "-q", "--no-hardlinks", "--no-checkout", str(ROOT), str(folder)], check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if os.path.lexists(ROOT / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    if git:
        subprocess.run(["git", "-C", str(folder), "reset", "-q"], check=True)


def plant(checkout: Path) -> None:
    """Put the planted tests in the place of the harness's, and one that passes in the place of the backends'."""
    for file in [*checkout.glob("tests/test_*.py"), *checkout.glob("tests/conformance/test_*.py")]:
        file.unlink()
    shutil.copy(ROOT / "tests" / "planted.py", checkout / "tests" / "test_planted.py")
    (checkout / "tests" / "conformance" / "test_planted.py").write_text("def test_nothing() -> None: ...\n")


def hostile(folder: Path, on_path: bool) -> None:
    """A user's own modules, none of which may be imported.

    With that folder on PYTHONPATH, a json.py would stop nox itself, which imports json: no fault of the checkout.
    """
    folder.mkdir()
    for name in HOSTILE if on_path else (*HOSTILE, "json"):
        (folder / f"{name}.py").write_text(f'raise SystemExit("a file of the user\'s was imported: {name}")\n')


def path_without_git(folder: Path) -> str:
    """PATH, where a folder that has a git in it gives way to one of links to all else that is there."""
    places = []
    for number, place in enumerate(os.environ["PATH"].split(os.pathsep)):
        if os.path.lexists(Path(place) / "git"):
            links = folder / f"path-{number}"
            links.mkdir(parents=True)
            for program in Path(place).iterdir():
                if program.name != "git":
                    (links / program.name).symlink_to(program)
            place = str(links)
        places.append(place)
    return os.pathsep.join(places)


def give(folder: Path, uid: int) -> None:
    """Make that user the owner of all that is there."""
    for one in (folder, *folder.rglob("*")):
        os.chown(one, uid, uid, follow_symlinks=False)


@contextlib.contextmanager
def load(kind: str) -> Iterator[None]:
    """Every core busy with that, if anything."""
    code = f"import os\nparent = {os.getpid()}\n{LOADS.get(kind, '')}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    hogs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(cores if kind else 0)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def finish(command: Sequence[str], limit: float, **options: Any) -> int | None:
    """The exit status, or none where it takes more seconds than that; its process group ends however this does."""
    options |= {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "start_new_session": True}
    process: subprocess.Popen[bytes] = subprocess.Popen(command, **options)
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
