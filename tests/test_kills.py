"""A few kills at chosen moments; `python -m tests.kills` does a hundred at random ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.kills import once


@pytest.mark.parametrize(("whom", "after"), [("worker", 2.0), ("conductor", 4.0), ("group", 6.0), ("interrupt", 3.0)])
def test_a_killed_run_leaves_readable_files_and_no_process_and_can_be_resumed(
    tmp_path: Path, whom: str, after: float
) -> None:
    once(tmp_path, whom, after, random.Random(0))
