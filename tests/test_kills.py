"""A few kills at chosen states of a run; `python -m tests.kills` does a hundred at random moments."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kills import begun, halfway, once, works


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whom", "moment"), [("worker", works), ("conductor", halfway), ("group", works), ("interrupt", begun)]
)
def test_a_killed_run_leaves_readable_files_and_no_process_and_can_be_resumed(
    tmp_path: Path, whom: str, moment: Callable[[Path], bool]
) -> None:
    once(tmp_path, whom, moment, random.Random(0))
