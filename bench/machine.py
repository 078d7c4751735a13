"""What a row must say about where it came from: host, processors, system, commit."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bench import ground, revision
from bench.results import printable
from bench.tree import SOURCE_ROOT

BUSY_PERCENT = 25


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
        tree = revision.standing(source_root)
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
            "memory_bytes": psutil.virtual_memory().total,
            "harness_python": platform.python_version(),
            "boot_time": psutil.boot_time(),
            "tree": printable(str(SOURCE_ROOT)),
            "commit_unknown": revision.standing(SOURCE_ROOT).unknown,
        }


def busy(seconds: float = 0.5) -> list[str]:
    """A line for every reason to think that the machine is not idle now, with the number and the remedy."""
    lines = []
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
    """Say that this process measures here; the process that already does, or 0."""
    lock = lock_file()
    try:
        pid, _, born = lock.read_text(encoding="ascii").partition(" ")
        if psutil.Process(int(pid)).create_time() == float(born):
            return int(pid)
    except (OSError, ValueError, psutil.Error):
        pass  # nobody, or one that was killed and left its file
    me = psutil.Process()
    with contextlib.suppress(OSError):  # without a temporary folder, nobody can be told
        lock.write_text(f"{me.pid} {me.create_time()!r}", encoding="ascii")
    return 0


def release() -> None:
    with contextlib.suppress(OSError):
        lock_file().unlink()


def lock_file() -> Path:
    return Path(tempfile.gettempdir()) / "lenet-bench.lock"


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
