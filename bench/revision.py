"""What git says of the working tree; and another revision's backends, checked out beside it for a gate.

`git archive` and not a worktree: nothing is written into the user's repository, so nothing is left there
when a gate is killed.
"""

from __future__ import annotations

import functools
import importlib.machinery
import io
import os
import posixpath
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from bench.cases import UsageError
from bench.results import printable
from bench.tree import as_it_stood, is_checkout

# What a measurement depends on. The harness is one instrument for both sides: the working tree's.
MEASURED, INSTRUMENT = "backends", "bench"
GIT_SECONDS = 60
STATUS = ("status", "--porcelain", "--ignore-submodules=none")
SUBMODULE = "160000"
CODE = tuple(ending.encode() for ending in importlib.machinery.all_suffixes())
# What git hands to its hooks: the repository that was committed to is another than the one asked of.
OF_ANOTHER_REPOSITORY = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"),
)


@dataclass(frozen=True)
class Standing:
    """A tree's commit, and `yes` or `no` for changes: to what git tracks there, or files in the packages that it does
    not. What is empty, for the reason in `unknown`."""

    commit: str = ""
    dirty: str = ""
    unknown: str = ""


def standing(root: Path) -> Standing:
    """Where this command's own tree stands."""
    if not is_checkout():
        return Standing(unknown="it is installed")
    try:
        if said := refused(root):
            return Standing(unknown=said)
        commit = git(root, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()
        if not commit:
            return Standing(unknown="its repository has no commit")
        if not git(root, "ls-files", "--", f"{INSTRUMENT}/__main__.py"):
            return Standing(unknown="the repository that it lies in does not hold it")
        status = _run_git(root, *STATUS, "--untracked-files=no", "--", ".")
        others = _run_git(root, "ls-files", "--others", "--exclude-standard", "--", MEASURED, INSTRUMENT)
        unseen = [*hidden(root), *ignored(root)]
    except UsageError as error:
        return Standing(unknown=str(error))
    if status.returncode or others.returncode:
        return Standing(commit, unknown=_reason(status if status.returncode else others))
    return Standing(commit, "yes" if unseen or (status.stdout + others.stdout).strip() else "no")


@functools.cache
def at_start(root: Path) -> Standing:
    """Where a tree stood when it was first asked: after its files were read, so that no later edit passes for them."""
    as_it_stood(root)
    return standing(root)


def told(root: Path) -> str:
    """Which tree runs, in one line."""
    found, where = at_start(root), f"lenet-bench of {printable(str(root))}"
    if not found.commit:
        return f"{where}, no git: {found.unknown}"
    changed = " with changes" if found.dirty == "yes" else ""
    return f"{where} at {found.commit[:12]}{changed}" + (f", changes unknown: {found.unknown}" if found.unknown else "")


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
    status = git(root, *STATUS, "--untracked-files=all", "--branch", "--", MEASURED, INSTRUMENT)
    if not status and ((root / ".git").exists() or not refused(root)):
        why = refused(root) or "git status fails"
        raise UsageError(f"{why} in {root}: nobody can tell what is measured; mend the repository")
    told = [line[3:] for line in status.decode("utf-8", "replace").splitlines() if not line.startswith("##")]
    return [*told, *hidden(root)]


def hidden(root: Path) -> list[str]:
    """Files of the packages at which git was told not to look, as by `git update-index --skip-worktree`."""
    listed = git(root, "ls-files", "-v", "-z", "--", MEASURED, INSTRUMENT).decode("utf-8", "replace").split("\0")
    return [one[2:] for one in listed if one[:1] == "S" or one[:1].islower()]


def ignored(root: Path) -> list[str]:
    """Files in the packages that git ignores and Python would import all the same. A gate lays out none of them."""
    listed = git(root, "ls-files", "--others", "-z", "--ignored", "--exclude-standard", "--", MEASURED, INSTRUMENT)
    code = (one for one in listed.split(b"\0") if one.endswith(CODE) and b"__pycache__" not in one.split(b"/"))
    return [os.fsdecode(one) for one in code if (root / os.fsdecode(one)).is_file()]


def check_out(root: Path, commit: str, folder: Path) -> None:
    """Lay that commit's backends into the folder, and the working tree's harness beside them."""
    refuse_submodules(git(root, "ls-tree", "-r", commit, "--", MEASURED))
    packed = git(root, "archive", "--format=tar", commit, MEASURED)
    if not packed:
        raise UsageError(f"git cannot read {MEASURED} at {commit[:12]}: the clone is incomplete; fetch again")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive.getmembers():
            led = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))
            if member.issym() and not led.startswith(f"{MEASURED}/"):
                raise UsageError(f"{member.name} at {commit[:12]} is a link that leads out of {MEASURED}; add the file")
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)
    _copy(root, INSTRUMENT, folder)


def copy_working_tree(root: Path, folder: Path) -> None:
    """The same of the working tree as it lies: what is edited during a gate is not measured."""
    refuse_submodules(git(root, "ls-files", "--stage", "--", MEASURED, INSTRUMENT))
    for name in (MEASURED, INSTRUMENT):
        _copy(root, name, folder)


def refuse_submodules(listed: bytes) -> None:
    """Raise UsageError where git lists one: its files are another repository's, and would be missing."""
    for line in listed.decode("utf-8", "replace").splitlines():
        if line.startswith(SUBMODULE):
            raise UsageError(f"{line.split(chr(9))[-1]} is a submodule, which a gate cannot lay out; add its files")


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
    return "" if done.returncode == 0 else _reason(done)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Git's last word in one line, with the remedy that it names (`git config`) where another user owns the tree."""
    lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines or [f"status {done.returncode}"]
    remedy = [line for line in lines if line.startswith("git config")]
    return printable("; ".join([said[0], *remedy[:1]]))


def _run_git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    variables = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY}
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(
            command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, timeout=GIT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"git does not run ({error}); install it") from error


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
