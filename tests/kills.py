"""Kill a run a hundred times: `python -m tests.kills`, in the harness's environment.

Each time a short run of the NumPy backend starts, and after a random moment a worker, the conductor,
or every process of the run is killed. Afterwards every file is read, nothing of the run may be alive,
and `--resume` has to complete it. Takes about half an hour for a hundred; not part of the test suite,
which kills a few times (`test_kills.py`).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.results import FILES, Process, Round, Throughput, read_rows

ROOT = Path(__file__).resolve().parent.parent
MARK = "LENET_BENCH_KILLS"
COMMAND = [sys.executable, "-m", "bench.cli", "run"]
ARGUMENTS = ["--backend", "numpy", "--mode", "im2col", "--python", f"numpy={sys.executable}", "--data", "synthetic"]
LENGTH = ["--quick", "--passes", "2", "--seed", "1"]


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder / "tmp"), MARK: str(folder)}
    environment["LENET_BENCH_ENVIRONMENTS"] = str(folder / "none")
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def alive(folder: Path) -> list[psutil.Process]:
    """Every process that was started by a run in that folder, directly or not."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != os.getpid()]


def strike(conductor: subprocess.Popen[bytes], folder: Path, whom: str, draw: random.Random) -> None:
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


def once(folder: Path, whom: str, after: float, draw: random.Random) -> None:
    """One run, one kill, and everything that has to hold afterwards. Raises AssertionError."""
    conductor = start(folder, *ARGUMENTS, *LENGTH)
    try:
        conductor.wait(after)
    except subprocess.TimeoutExpired:
        strike(conductor, folder, whom, draw)
    _, errors = conductor.communicate(timeout=120)
    assert b"Traceback" not in errors, errors.decode()
    deadline = time.monotonic() + 5
    while (left := alive(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"left behind: {left}"
    runs = list((folder / "results").iterdir()) if (folder / "results").exists() else []
    for run in runs:
        for kind, name in FILES.items():
            if (run / name).exists():
                read_rows(run, kind)
    if not any((run / "request.json").exists() for run in runs):
        return
    resumed = start(folder, "--resume", str(runs[0]))
    _, errors = resumed.communicate(timeout=180)
    assert resumed.returncode == 0, (resumed.returncode, errors.decode())
    (row,) = read_rows(runs[0], Throughput)
    assert row.status in ("ok", "noisy"), row.reason
    assert row.passes >= 2, row
    finished = {(one.case, one.pass_number) for one in read_rows(runs[0], Process)}
    assert {(one.case, one.pass_number) for one in read_rows(runs[0], Round)} <= finished


def main(times: int = 100, seed: int = 0) -> None:
    draw = random.Random(seed)
    targets = ("worker", "conductor", "group", "interrupt", "terminate")
    for number in range(times):
        whom, after = targets[number % len(targets)], draw.uniform(0.2, 12)
        with tempfile.TemporaryDirectory() as folder:
            once(Path(folder), whom, after, draw)
        print(f"{number + 1}: killed {whom} after {after:.1f} s: readable, no orphan, resumed", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
