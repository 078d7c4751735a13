"""The command in this process: what it says and how it ends, without the seconds that a process of its own takes."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

from bench import cli


def lenet_bench_here(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As `lenet_bench` of the command line's tests; signals, folder and variables are afterwards what they were."""
    said, complained = io.StringIO(), io.StringIO()
    variables = {"LENET_BENCH_ENVIRONMENTS": str(cwd / "no-environments")}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    status: object = 0
    try:
        with (
            mock.patch.object(sys, "argv", ["lenet-bench", *arguments]),
            mock.patch.dict(os.environ, variables),
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(complained),
        ):
            cli.main()
    except SystemExit as end:
        status = end.code
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(status, int), status
    return subprocess.CompletedProcess(arguments, status, said.getvalue(), complained.getvalue())
