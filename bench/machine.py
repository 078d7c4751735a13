"""What a row must say about where it came from: host, processors, system, commit."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import ground, quota, revision
from bench.results import printable
from bench.tree import SOURCE_ROOT

BUSY_PERCENT = 25
# Of a lock file, what is read; how often and every how many seconds a claim asks for the folder that it lies in.
LONGEST_LOCK, LOCK_TRIES, LOCK_TRIED_SECONDS = 100, 100, 0.02


@dataclass(frozen=True)
class Machine:
    host: str
    cpu: str
    gpu: str
    os: str
    commit: str
    dirty: str

    @classmethod
    def here(cls, source_root: Path) -> Machine:
        tree = revision.at_start(source_root)
        return cls(
            host=platform.node(),
            cpu=cpu_model(),
            gpu=_first_line("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"),
            os=platform.platform(),
            commit=tree.commit,
            dirty=tree.dirty,
        )

    def details(self) -> dict[str, Any]:
        """For machine.json: the fields above and what only a person needs."""
        return {
            **asdict(self),
            "cpus": ground.allowed_cpus(),
            "cpu_count": os.cpu_count(),
            "cpu_quota": limit.cpus if (limit := quota.smallest()) else None,
            "memory_bytes": psutil.virtual_memory().total,
            "harness_python": platform.python_version(),
            "boot_time": psutil.boot_time(),
            "tree": printable(str(SOURCE_ROOT)),
            "commit_unknown": revision.at_start(SOURCE_ROOT).unknown,
        }


def busy(seconds: float = 0.5) -> list[str]:
    """A line for every reason to think that this process does not have its CPUs for itself, with the number and the
    remedy: a quota first."""
    lines = [*filter(None, [quota.said_first(len(ground.allowed_cpus()))])]
    used = psutil.cpu_percent(interval=seconds)
    if used > BUSY_PERCENT:
        lines.append(
            f"this machine is busy before anything has started: {used:.0f} % of its CPUs; intervals will be wide"
        )
    load = psutil.getloadavg()[0]
    if load > (os.cpu_count() or 1):
        lines.append(f"the load of the last minute is {load:.1f} on {os.cpu_count()} CPUs; wait, or expect noisy rows")
    return lines


def claim() -> int:
    """Say that this process measures here; the process that already does, or 0.

    Every user may have put something in the lock's place, as all may write to the temporary folder. No link is followed
    and no pipe waited for; what is this user's own gives way to a new file, and what is another's is left alone.
    """
    lock, me = lock_file(), psutil.Process()
    with contextlib.suppress(OSError), alone_in(lock.parent):  # where nobody can be told, `claimed` says so
        if other := measuring(lock):
            return other
        if os.path.lexists(lock) and lock.lstat().st_uid == user():
            lock.unlink()
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{me.pid} {me.create_time()!r}")
    return 0


def claimed() -> bool:
    """Whether this process has said so: else, nobody sees this run, and it sees nobody's."""
    return measuring(lock_file()) == os.getpid()


def release() -> None:
    lock = lock_file()
    with contextlib.suppress(OSError), alone_in(lock.parent):
        if measuring(lock) == os.getpid():
            lock.unlink()


def lock_file() -> Path:
    """One for every user: in a folder that all may write to, nobody can replace another's."""
    own = user() if hasattr(os, "geteuid") else re.sub(r"\W", "-", os.environ.get("USERNAME", ""))
    return Path(tempfile.gettempdir()) / f"lenet-bench-{own}.lock"


def user() -> int:
    """The owner of the files that this process makes, as `stat` tells it; 0 on Windows."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


def measuring(lock: Path) -> int:
    """The living process that a lock file names, or 0 where that is none of this user's, or no plain file."""
    with contextlib.suppress(OSError, ValueError, OverflowError, psutil.Error):
        there = lock.lstat()
        if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1 or there.st_uid != user():
            return 0
        descriptor = os.open(lock, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, encoding="ascii") as file:
            told = file.read(LONGEST_LOCK) if os.path.samestat(os.fstat(file.fileno()), there) else ""
        pid, _, born = told.partition(" ")
        if psutil.Process(int(pid)).create_time() == float(born):
            return int(pid)
    return 0  # nobody, or one that was killed and left its file


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for a moment, so that of two claims at once one comes second. Without flock, they do not wait."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            for _ in range(LOCK_TRIES):
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(LOCK_TRIED_SECONDS)  # another user may hold it as long as they like
        yield


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return _first_line("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else ""
