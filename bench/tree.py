"""The tree that this command is made of: where it lies, and how a process gets exactly its two packages.

A worker imports from a folder that holds copies of `backends` and `bench` and nothing else. So it sees neither
what a user keeps beside them (a `torch.py` in the checkout), nor, of an installed command, the packages of the
harness's own environment; and what is edited during a run is not measured.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import itertools
import os
import py_compile
import re
import tempfile
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
    """Write the packages into that folder, which is made; the folder, for a worker's PYTHONPATH."""
    for place, content in (as_it_stood(SOURCE_ROOT) | compiled(SOURCE_ROOT)).items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@functools.cache
def as_it_stood(root: Path) -> dict[str, bytes]:
    """Every file of the packages by its place, as first seen: all passes are of one tree.

    Without what Python compiled of them before, which may be of other sources.
    """
    found = {}
    walked = (os.walk(root / name, onerror=refuse, followlinks=True) for name in PACKAGES)
    for folder, _, files in itertools.chain.from_iterable(walked):
        for path in (Path(folder, file) for file in files if "__pycache__" not in os.path.relpath(folder, root)):
            if path.is_file():  # not an editor's dangling link
                found[str(path.relative_to(root))] = path.read_bytes()
    return found


def refuse(error: OSError) -> None:
    """A folder that cannot be read may hold what would be measured."""
    if not isinstance(error, FileNotFoundError):
        raise error


@functools.cache
def compiled(root: Path) -> dict[str, bytes]:
    """What this Python makes of these sources, so that workers of its version need not; held against them by a sum."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="lenet-bench-") as scratch:
        source, target = Path(scratch) / "source.py", Path(scratch) / "source.pyc"
        for place, content in as_it_stood(root).items():
            if place.endswith(".py"):
                source.write_bytes(content)
                with contextlib.suppress(py_compile.PyCompileError, ValueError):  # its import says what is wrong
                    mode = py_compile.PycInvalidationMode.CHECKED_HASH
                    py_compile.compile(str(source), str(target), place, doraise=True, invalidation_mode=mode)
                    found[importlib.util.cache_from_source(place)] = target.read_bytes()
    return found


def fingerprint(root: Path) -> str:
    """The packages as they stood in one word: a SHA-256 of every file and its place."""
    total = hashlib.sha256()
    for place, content in sorted(as_it_stood(root).items()):
        total.update(f"{place}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        total.update(content)
    return total.hexdigest()
