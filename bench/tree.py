"""The tree that this command is made of: where it lies, and how a process gets exactly its two packages.

A worker imports from a folder that holds copies of `backends` and `bench` and nothing else. So it sees neither
what a user keeps beside them (a `torch.py` in the checkout), nor, of an installed command, the packages of the
harness's own environment; and what is edited during a run is not measured.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from pathlib import Path

# Not where the link that this file may be leads to: in a copy made of links, other files stand beside it.
SOURCE_ROOT = Path(os.path.abspath(__file__)).parent.parent.resolve()
PACKAGES = ("backends", "bench")


def is_checkout() -> bool:
    """Whether this is a checkout, or an exported archive of one, and no installed package (pyproject.toml)."""
    return not (SOURCE_ROOT / "lenet_bench.py").is_file()


def checkout_around(folder: Path) -> Path | None:
    """The checkout of this suite, or the exported archive of one, that a folder lies in."""
    return next(filter(is_of_this_suite, (folder, *folder.parents)), None)


def is_of_this_suite(folder: Path) -> bool:
    """Whether a checkout lies there: both packages, and a pyproject.toml of this name."""
    with contextlib.suppress(OSError):
        if (folder / "bench" / "__main__.py").is_file() and (folder / "backends" / "__init__.py").is_file():
            text = (folder / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
            return re.search(r"""^\s*name\s*=\s*["']lenet-bench["']""", text, re.MULTILINE) is not None
    return False


def lay_out(folder: Path) -> Path:
    """Write the packages into that folder, which is made; the folder, for a worker's PYTHONPATH.

    With what Python compiled of them, which stays valid because times of change are kept, too.
    """
    for place, (content, changed) in as_it_stood(SOURCE_ROOT).items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(changed, changed))
    return folder


@functools.cache
def as_it_stood(root: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of the packages by its place, and when it was changed, as first seen: all passes are of one tree."""
    found = {}
    for folder, _, files in (one for name in PACKAGES for one in os.walk(root / name, followlinks=True)):
        for path in (Path(folder, file) for file in files):
            being_written = ".pyc." in path.name  # by a process that imports for the first time
            if not being_written and path.is_file():  # not an editor's dangling link
                found[str(path.relative_to(root))] = path.read_bytes(), path.stat().st_mtime_ns
    return found
