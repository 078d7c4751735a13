"""Another revision's backends, checked out beside the working tree for a gate.

`git archive` and not a worktree: nothing is written into the user's repository, so nothing is left there
when a gate is killed.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

from bench.cases import UsageError

# What a measurement depends on. The harness is one instrument for both sides: the working tree's.
MEASURED, INSTRUMENT = "backends", "bench"
GIT_SECONDS = 60


def resolve(root: Path, revision: str) -> str:
    """The full name of the commit that a revision means. Raises UsageError."""
    if said := refused(root):
        raise UsageError(f"git reads no repository in {root} ({said}): nothing to compare with; clone the project")
    commit = (
        git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").decode().strip()
    )
    if not commit:
        raise UsageError(
            f"--base {revision!r} is no revision here; fetch it (a shallow clone has the last commit only)"
        )
    if not git(root, "ls-tree", commit, f"{MEASURED}/__init__.py"):
        raise UsageError(f"--base {revision!r} has no {MEASURED}/__init__.py: the suite was not there yet")
    return commit


def changes(root: Path) -> list[str]:
    """Files of the backends and the harness that differ from the last commit, or are not in it."""
    status = git(root, "status", "--porcelain", "--untracked-files=all", "--branch", "--", MEASURED, INSTRUMENT)
    if not status and ((root / ".git").exists() or not refused(root)):
        why = refused(root) or "git status fails"
        raise UsageError(f"{why} in {root}: nobody can tell what is measured; mend the repository")
    return [line[3:] for line in status.decode("utf-8", "replace").splitlines() if not line.startswith("##")]


def check_out(root: Path, commit: str, folder: Path) -> None:
    """Lay that commit's backends into the folder, and the working tree's harness beside them."""
    packed = git(root, "archive", "--format=zip", commit, MEASURED)
    if not packed:
        raise UsageError(f"git cannot read {MEASURED} at {commit[:12]}: the clone is incomplete; fetch again")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)
    _copy(root, INSTRUMENT, folder)


def copy_working_tree(root: Path, folder: Path) -> None:
    """The same of the working tree as it lies: what is edited during a gate is not measured."""
    for name in (MEASURED, INSTRUMENT):
        _copy(root, name, folder)


def requirement_files(tree: Path) -> dict[str, str]:
    """The text of every requirement file of a tree, by its name without the ending."""
    return {path.stem: path.read_text("utf-8") for path in (tree / MEASURED / "requirements").glob("*.txt")}


def git(root: Path, *arguments: str) -> bytes:
    """What git prints; nothing where it fails. Raises UsageError where there is no git."""
    done = _run_git(root, *arguments)
    return done.stdout if done.returncode == 0 else b""


def refused(root: Path) -> str:
    """Git's own word on why it reads no repository there, as where another user owns it; empty where it does."""
    done = _run_git(root, "rev-parse", "--git-dir")
    said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
    return "" if done.returncode == 0 else said[0]


def _run_git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, timeout=GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"git does not run ({error}); a gate needs it for the base") from error


def _copy(root: Path, name: str, folder: Path) -> None:
    """A folder of the working tree, less what git ignores; all of it where there is no repository."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", name)
    if not listed:
        shutil.copytree(
            root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"), ignore_dangling_symlinks=True
        )
    for file in filter(None, listed.split(b"\0")):
        source, target = root / os.fsdecode(file), folder / os.fsdecode(file)
        if source.is_file():  # not one that was deleted, or an editor's dangling link
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
