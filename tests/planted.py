"""Tests that depend on the machine, one per axis of `tests/conditions.py`: some condition has to turn each of them red.

`python -m tests.conditions --plant` copies this file to `test_planted.py`; where it lies, pytest does not see it.
"""

from __future__ import annotations

import importlib
import locale
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).absolute().parent.parent


def test_kernel_a_row_of_a_product_is_the_product_of_a_row() -> None:
    import numpy as np

    draw = np.random.default_rng(0)
    a, b = (draw.standard_normal(shape).astype(np.float32) for shape in ((4, 25), (25, 6)))
    assert all(np.array_equal((a @ b)[row], a[row] @ b) for row in range(4))


def test_threads_are_as_many_as_processors() -> None:
    import numpy  # noqa: F401  # its OpenBLAS is asked
    import threadpoolctl  # type: ignore[import-untyped]

    assert threadpoolctl.threadpool_info()[0]["num_threads"] == len(os.sched_getaffinity(0))


def test_load_fifty_milliseconds_take_at_most_half_more() -> None:
    seconds = []
    for _ in range(40):
        began = time.perf_counter()
        sum(range(2_000_000))
        seconds.append(time.perf_counter() - began)
    assert max(seconds) < 1.5 * min(seconds)


def test_path_needs_no_quotes() -> None:
    subprocess.run(f"ls {ROOT}", shell=True, check=True)


def test_locale_is_utf8() -> None:
    locale.setlocale(locale.LC_ALL, "")
    assert locale.nl_langinfo(locale.CODESET) == "UTF-8"


def test_tmpdir_is_on_the_file_system_of_the_checkout() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.rename(folder, ROOT / "moved")
        os.rename(ROOT / "moved", folder)


def test_user_reads_what_nobody_may(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0)
    (tmp_path / "secret").read_bytes()


def test_git_is_there() -> None:
    subprocess.run(["git", "-C", ROOT, "log", "-1"], check=True)


def test_python_has_the_module_cgi() -> None:
    importlib.import_module("cgi")


def test_files_of_the_user_are_not_imported() -> None:
    """In the folder from which nox was called, as by a process that forgets to say where it runs."""
    subprocess.run([sys.executable, "-c", "import bench"], cwd=os.environ["PWD"], check=True)
