"""The tree that this command is made of: where it lies, and how a process gets exactly its two packages.

A worker imports from a folder that holds copies of `backends` and `bench` and nothing else. So it sees neither
what a user keeps beside them (a `torch.py` in the checkout), nor, of an installed command, the packages of the
harness's own environment; and what is edited during a run is not measured.
"""

from __future__ import annotations

import shutil
from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("backends", "bench")


def is_checkout() -> bool:
    """Whether this is a checkout, or an exported archive of one, and no installed package (pyproject.toml)."""
    return not (SOURCE_ROOT / "lenet_bench.py").is_file()


def lay_out(folder: Path) -> Path:
    """Copy the packages into that folder, which is made; the folder, for a worker's PYTHONPATH.

    With what Python compiled of them, which stays valid because times of change are copied, too.
    """
    for name in PACKAGES:
        being_written = shutil.ignore_patterns("*.pyc.*")  # by a process that imports for the first time
        shutil.copytree(SOURCE_ROOT / name, folder / name, ignore=being_written, ignore_dangling_symlinks=True)
    return folder
