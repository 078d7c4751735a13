"""What a person sees: the two consoles, progress while something is measured, and the one run at a time."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from bench import machine, revision
from bench.cases import UsageError
from bench.tree import SOURCE_ROOT, checkout_around, is_checkout

WIDTH_WITHOUT_TERMINAL = 160


class Terminal(Console):
    """A console whose reader may leave early (`| head`): that changes no exit code."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: a path may hold what no encoding has

# No markup: paths and the words of others have brackets of their own.
output = Terminal(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL, markup=False)
errors = Terminal(stderr=True, soft_wrap=True, highlight=False, markup=False)


def say(line: str, style: str = "") -> None:
    """One line as it is: of a path or of another's words, neither coloured by guess nor broken."""
    output.print(line, style=style, highlight=False, soft_wrap=True)


def refuse_elsewhere() -> None:
    """Raise UsageError where this is called in a checkout, and is not what stands there, whatever links lead to it."""
    try:
        found = checkout_around(Path.cwd())
    except OSError:
        return  # the working directory has been deleted
    if found is not None and not found.samefile(SOURCE_ROOT):
        raise UsageError(
            f"this is lenet-bench of {SOURCE_ROOT}, called in another checkout, {found}: start that one "
            f"(python {found}/bench/__main__.py, or nox -s bench there), or call this one from elsewhere"
        )


def tell_tree() -> None:
    """Whose code runs: on standard error, what every command says once it has accepted its input."""
    errors.print(revision.told(SOURCE_ROOT))


def page_of(folder: Path) -> str:
    """How a reader comes to see a run as a page."""
    command = "nox -s report --" if is_checkout() else "lenet-bench report"
    return f"a page of it: {command} {shlex.quote(str(folder))}"


def warn_if_busy() -> None:
    """A line for every reason to expect wide intervals."""
    for line in machine.busy():
        say(line, "yellow")


@contextmanager
def only_run_here() -> Iterator[None]:
    """Two runs at once would measure each other: the second says so and leaves."""
    other = machine.claim()
    if other:
        raise UsageError(f"another run, process {other}, is measuring on this machine; wait until it has ended")
    try:
        yield
    finally:
        machine.release()


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """A line of progress that keeps changing on a terminal; elsewhere, lines, but not one for every sweep."""
    if output.is_terminal:
        with output.status("starting") as status:
            yield lambda text: status.update(text)
    else:
        yield lambda text: None if "sweep" in text else say(text)


class DownloadBar:
    """A progress bar for one file, in the form that pooch calls: total, update, reset, close."""

    def __init__(self, name: str) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
        self.progress = Progress(*columns, console=output)
        self.task = self.progress.add_task(name, total=None)
        self.total = 0
        self.progress.start()

    def update(self, count: int) -> None:
        self.progress.update(self.task, advance=count, total=self.total or None)

    def reset(self) -> None:
        self.progress.reset(self.task)

    def close(self) -> None:
        self.progress.stop()
