"""A path as it is written on the command line or in a variable, where no shell has made `~` the home folder."""

from __future__ import annotations

import os
from pathlib import Path

from bench.cases import UsageError


def path_of(text: str, named: str) -> Path:
    """The path; `named` is the option or the variable that a refusal tells. Raises UsageError."""
    if not text.strip():
        raise UsageError(f"{named} {text!r} names no path")
    path = os.path.expanduser(text)  # not of a Path, to which ./~ and ~ are the same
    if path == text and text.startswith("~"):
        user = text.split("/")[0]
        raise UsageError(f"{named} {text!r}: {user} is no home folder here; write ./{text} or the whole path")
    return Path(path)
