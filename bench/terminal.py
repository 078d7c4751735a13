"""What a person sees: the two consoles, progress while something is measured, and the one run at a time."""

from __future__ import annotations

import io
import os
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from bench import machine, revision
from bench.cases import UsageError
from bench.results import printable
from bench.tree import SOURCE_ROOT, checkout_around, is_checkout

# Of a log that nobody says the width of. A pipe on a terminal (`| tee log`) has the terminal's, as Rich finds it.
WIDTH_WITHOUT_TERMINAL = 100


class Terminal(Console):
    """A console whose reader may leave early (`| head`): that changes no exit code."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def width_of_output() -> int | None:
    """None leaves it to Rich, which asks COLUMNS and then the terminals of the three standard streams."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    known = os.environ.get("COLUMNS", "").isdigit() or any(one is not None and one.isatty() for one in streams)
    return None if known else WIDTH_WITHOUT_TERMINAL


def forget_columns_that_are_none() -> None:
    """With COLUMNS=0, Rich prints nothing at all; with digits such as a raised 2, it ends in an error."""
    told = os.environ.get("COLUMNS", "")
    if told.isdigit() and not (told.isdecimal() and int(told)):
        del os.environ["COLUMNS"]


forget_columns_that_are_none()
if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: a path may hold what no encoding has

# No markup: paths and the words of others have brackets of their own.
output = Terminal(width=width_of_output(), markup=False)
errors = Terminal(stderr=True, soft_wrap=True, highlight=False, markup=False)


def say(line: str, style: str = "") -> None:
    """One line as it is, of a path or of another's words: not coloured by guess; on a terminal broken between words."""
    line = printable(line)
    if output.is_terminal:
        line = textwrap.fill(line, output.width, break_long_words=False, break_on_hyphens=False)
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


def refuse_a_scratch_folder_that_is_two() -> None:
    """Raise UsageError where temporary files lie in what Python's path, which workers import from, takes for two."""
    if os.pathsep in tempfile.gettempdir():
        raise UsageError(
            f"temporary files lie in {tempfile.gettempdir()}, which is two folders on Python's path; set TMPDIR to one "
            f"without {os.pathsep!r} in its name"
        )


def complain(line: str) -> None:
    """A line on standard error. That there is no room for it (a full disk) is no outcome of its own."""
    with suppress(OSError):
        errors.print(line)


def tell_tree() -> None:
    """Whose code runs: on standard error, what every command says once it has accepted its input."""
    complain(revision.told(SOURCE_ROOT))


def page_of(folder: Path) -> str:
    """How a reader comes to see a run as a page."""
    command = "nox -s report --" if is_checkout() else "lenet-bench report"
    return f"a page of it: {command} {shlex.quote(str(folder))}"


def warn_if_busy() -> None:
    """A line for every reason to expect wide intervals, a CPU quota first."""
    for line in machine.busy():
        say(line, "yellow")


@contextmanager
def only_run_here() -> Iterator[None]:
    """Two runs at once would measure each other: the second says so and leaves."""
    other = machine.claim()
    if other:
        raise UsageError(f"another run, process {other}, is measuring on this machine; wait until it has ended")
    if not machine.claimed():
        say(f"{machine.lock_file()} is not this run's to write: other runs on this machine cannot be seen", "yellow")
    try:
        yield
    finally:
        machine.release()


@contextmanager
def working() -> Iterator[Callable[[str], None]]:
    """A line of progress that keeps changing on a terminal; elsewhere, a line where something new begins.

    What stands before the first comma of a line says where one is: `pass 2 of at least 3, turn 5 of 80`.
    """
    if output.is_terminal:
        with output.status("starting") as status:
            yield lambda text: status.update(Text(text))
    else:
        where = ""

        def tell(text: str) -> None:
            nonlocal where
            if text.partition(",")[0] != where:
                say(text)
            where = text.partition(",")[0]

        yield tell


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
