"""Kill a run a hundred times: `python -m tests.kills`, in the harness's environment.

Each time a short run of the NumPy backend starts, and after a random moment a worker, the conductor,
or every process of the run is killed. Afterwards every file is read, nothing of the run may be alive,
and `--resume` has to complete it. Takes about half an hour for a hundred; not part of the test suite,
which kills a few times (`test_kills.py`), at states that it sees on the disk and in the process table.
Whatever the moment, also after the end, the same has to hold.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from bench.results import FILES, Process, Round, Throughput, read_rows
from tests.commands import HERE, PATIENCE_SECONDS, alive, start, unhurried

ARGUMENTS = ("--backend", "numpy", "--mode", "im2col", "--python", HERE, "--data", "synthetic", "--batch", "8")
# Exactly two passes, however busy the machine is: a disturbed one is not measured again.
LENGTH = ("--quick", "--passes", "2", "--max-minutes", "0", "--seed", "1")
POLL_SECONDS = 0.02


def begun(folder: Path) -> bool:
    """The run has said what it was asked for; from here on it can be resumed."""
    return any(folder.glob("results/*/request.json"))


def works(folder: Path) -> bool:
    """A worker is there."""
    return any("test_throughput.py" in argument for process in alive(folder) for argument in words(process))


def halfway(folder: Path) -> bool:
    """The first pass is on the disk."""
    return any(read_rows(run, Round) for run in folder.glob("results/*") if (run / FILES[Round]).exists())


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def strike(conductor: subprocess.Popen[str], folder: Path, whom: str, draw: random.Random) -> None:
    if whom == "worker":
        workers = [process for process in alive(folder) if process.pid != conductor.pid]
        if workers:
            draw.choice(workers).kill()
    elif whom == "conductor":
        conductor.kill()
    elif whom == "interrupt":
        conductor.send_signal(signal.SIGINT)
    elif whom == "terminate":
        conductor.terminate()
    else:
        os.killpg(conductor.pid, signal.SIGKILL)


def once(folder: Path, whom: str, moment: Callable[[Path], bool], draw: random.Random) -> None:
    """One run, one kill, and everything that has to hold afterwards. Raises AssertionError."""
    tree = unhurried(folder / "suite")
    conductor = start("run", *ARGUMENTS, *LENGTH, cwd=folder, tree=tree)
    while conductor.poll() is None and not moment(folder):
        time.sleep(POLL_SECONDS)
    if conductor.poll() is None:
        strike(conductor, folder, whom, draw)
    _, errors = conductor.communicate(timeout=PATIENCE_SECONDS)
    runs = list((folder / "results").iterdir()) if (folder / "results").exists() else []
    # An interrupt before the command's first line is Python's own to tell.
    assert "Traceback" not in errors or (whom == "interrupt" and not runs), errors
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := alive(folder)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    assert not left, f"left behind: {left}"
    for run in runs:
        for kind, name in FILES.items():
            if (run / name).exists():
                read_rows(run, kind)
    if not any((run / "request.json").exists() for run in runs):
        return
    resumed = start("run", "--resume", str(runs[0]), cwd=folder, tree=tree)
    _, errors = resumed.communicate(timeout=PATIENCE_SECONDS)
    assert resumed.returncode == 0, (resumed.returncode, errors)
    (row,) = read_rows(runs[0], Throughput)
    assert row.status in ("ok", "noisy"), row.reason
    assert row.passes >= 2, row
    finished = {(one.case, one.pass_number) for one in read_rows(runs[0], Process)}
    assert {(one.case, one.pass_number) for one in read_rows(runs[0], Round)} <= finished


def after(seconds: float) -> Callable[[Path], bool]:
    """So long after it is first asked."""
    until = time.monotonic() + seconds
    return lambda folder: time.monotonic() >= until


def main(times: int = 100, seed: int = 0) -> None:
    draw = random.Random(seed)
    targets = ("worker", "conductor", "group", "interrupt", "terminate")
    for number in range(times):
        whom, seconds = targets[number % len(targets)], draw.uniform(0.2, 12)
        with tempfile.TemporaryDirectory() as folder:
            once(Path(folder), whom, after(seconds), draw)
        print(f"{number + 1}: killed {whom} after {seconds:.1f} s: readable, no orphan, resumed", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
