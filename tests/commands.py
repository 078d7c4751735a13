"""The command as a user types it, in a process or in this one, out of one tree and with nothing of the caller's shell.

What a shell, a git hook or a CI job exports (`PYTHONPATH`, `GIT_DIR`, `FORCE_COLOR`, a language) changes no test.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
from threadpoolctl import threadpool_limits

from bench import cli
from bench.installing import ENVIRONMENTS_VARIABLE, INSTALLER_VARIABLE, NONE

ROOT = Path(__file__).absolute().parent.parent
HERE = f"numpy={sys.executable}"
# When to give up on what hangs. No test's outcome is a matter of seconds: a busy machine may take as long as it likes.
PATIENCE_SECONDS = 1800
# What the tests compute in their own process: on a busy machine, BLAS threads that wait for each other take a minute
# for what one does in a second.
threadpool_limits(1, user_api="blas")
MARK = "LENET_BENCH_TESTED_IN"
DROPPED = (
    *("PYTHON", "PYTEST", "LENET_BENCH_", "GIT_", "GITHUB_", "LC_", "LANG"),
    *("FORCE_COLOR", "NO_COLOR", "CLICOLOR", "TTY_", "COLUMNS", "LINES"),
)

Done = subprocess.CompletedProcess[str]


def unhurried(folder: Path) -> Path:
    """A copy of this checkout's suite in that folder, which warms up for a moment: its figures matter to nobody."""
    for name in ("backends", "bench"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "bench" / "subject.py").open("a", encoding="utf-8") as file:
        file.write("\nWARM_UP_SECONDS = WARM_AGAIN_SECONDS = 0.1\n")
    return folder


def command(*arguments: str, tree: Path = ROOT) -> list[str]:
    """How the command is started, out of that tree."""
    return [sys.executable, str(tree / "bench" / "__main__.py"), *arguments]


def environment(cwd: Path, **changes: str) -> dict[str, str]:
    """For a process with a scratch folder in `cwd`: two runs would refuse each other's there. It makes no environments.

    Git reads no configuration of the user, and finds no repository above `cwd`.
    """
    scratch = cwd / "tmp"
    scratch.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    own = {
        "PYTHONUTF8": "1",
        "LC_ALL": "C",
        "TMPDIR": str(scratch),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(cwd.parent),
        ENVIRONMENTS_VARIABLE: str(cwd / "no-environments"),
        INSTALLER_VARIABLE: NONE,
        MARK: str(cwd),
    }
    return {**kept, **own, **changes}


def start(*arguments: str, cwd: Path, tree: Path = ROOT, **environ: str) -> subprocess.Popen[str]:
    """The command in a process group of its own; what it prints is kept for `communicate`."""
    return subprocess.Popen(
        command(*arguments, tree=tree),
        cwd=cwd,
        env=environment(cwd, **environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def lenet_bench(*arguments: str, cwd: Path, tree: Path = ROOT, **environ: str) -> Done:
    """The command in a process, to its end."""
    process = start(*arguments, cwd=cwd, tree=tree, **environ)
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def in_this_process(*arguments: str, cwd: Path, **environ: str) -> Done:
    """The same `main`, without a process that takes seconds to import it: for what it refuses and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    before: dict[signal.Signals, Any] = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    variables = environment(cwd, **environ)
    try:
        with (
            mock.patch.dict(os.environ, variables, clear=True),
            mock.patch.object(tempfile, "tempdir", variables["TMPDIR"]),
            mock.patch.object(sys, "argv", ["lenet-bench", *arguments]),
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            cli.main()
            code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    return subprocess.CompletedProcess(["lenet-bench", *arguments], code, out.getvalue(), err.getvalue())


def complaints(said: str) -> str:
    """What a command said on standard error, but for the line with its tree, which every one says."""
    return "".join(line for line in said.splitlines(keepends=True) if not line.startswith("lenet-bench of "))


def alive(cwd: Path) -> list[psutil.Process]:
    """Every process that a command in that folder has started, and the command itself."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(cwd) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def only_run(folder: Path) -> Path:
    (run,) = (folder / "results").iterdir()
    return run
