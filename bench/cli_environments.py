"""`lenet-bench environments`: make, list and remove what the frameworks run in. Commands that measure make what they
need by themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench import environments, grids, installing, pins, spelling
from bench.cases import UsageError
from bench.tables import print_table
from bench.terminal import output, say, tell_tree

app = typer.Typer(no_args_is_help=False, help="Make, list and remove the environments of the frameworks.")
Names = Annotated[list[str] | None, typer.Argument(help=f"{', '.join(pins.ALL[1:])}, ...; all where none is named")]


@app.command()
def make(name: Names = None) -> None:
    """Make what is missing or whose pins have changed, all at the same time; exit code 4 where one cannot be made."""
    wanted = [known(one) for one in name or pins.ALL[1:]]
    tool = tool_here()
    tell_tree()
    reasons = environments.make(wanted, say)
    for one in wanted:
        if reasons[one.name] and tool == installing.NONE:
            say(reasons[one.name])
        if not reasons[one.name]:
            say(f"{one.name}: {installing.interpreter(installing.environments_folder() / one.name)}")
    raise typer.Exit(4 if any(reasons.values()) else 0)


@app.command("list")
def list_them() -> None:
    """What is there, what state it is in, and where."""
    place = installing.environments_folder()
    rows = [state_of(place / name) for name in dict.fromkeys([*pins.ALL, *there(place)])]
    tool = tool_here()
    tell_tree()
    print_table(output, grids.environments([row[:3] for row in rows]))
    for name, _, _, why in rows:  # below the table, which has no room for paths and an installer's words
        if why:
            say(f"{name}: {why}", "yellow")
    say(f"they are in {place}, made with {tool}")


@app.command()
def remove(name: Names = None) -> None:
    """Delete environments; the next command that needs one makes it anew."""
    place = installing.environments_folder()
    own = Path(sys.prefix).resolve()
    wanted = name or [one for one in there(place) if (place / one).resolve() != own]
    for one in wanted:
        if one not in there(place):
            near = spelling.suggestion("environment", one, there(place)) or ";"
            known = ", ".join(there(place)) or "none"
            raise UsageError(f"there is no environment {one!r} in {place}{near} there are {known}")
        if (place / one).resolve() == own:
            raise UsageError(f"{place / one} runs this command; delete the folder by hand")
    tell_tree()
    for one in wanted:
        with installing.alone(place / f".{one}.lock", lambda one=one: say(f"{one}: waiting for another command")):  # type: ignore[misc]
            try:
                installing.clear(place / one)  # if the other command has not removed it
            except installing.NotMade as error:
                raise UsageError(str(error)) from error
        say(f"{one}: removed")


def tool_here() -> str:
    try:
        return installing.installer()
    except installing.NotMade as error:
        raise UsageError(str(error)) from error


def known(name: str) -> pins.Pins:
    try:
        return pins.of(name)
    except pins.UnknownPins as error:
        raise UsageError(str(error)) from error


def there(place: Path) -> list[str]:
    """The folders that are environments, finished or not, and nothing else that nox or a user keeps beside them."""
    marks = (installing.STAMP, installing.REASON_FILE, installing.LOG, installing.REQUIREMENTS)
    found = sorted(folder for folder in place.iterdir() if folder.is_dir()) if place.is_dir() else []
    marked = (folder for folder in found if any((folder / mark).is_file() for mark in marks))
    return [folder.name for folder in marked if installing.is_environment(folder)]


def state_of(folder: Path) -> tuple[str, str, str, str]:
    """Its name, its Python's version, its state in a few words, and why, where more is known."""
    name, python = folder.name, installing.interpreter(folder)
    if not folder.is_dir():
        return name, "", "not made yet", ""
    if (folder / installing.REASON_FILE).is_file():
        return name, "", "could not be made", (folder / installing.REASON_FILE).read_text(encoding="utf-8").strip()
    if not (folder / installing.STAMP).is_file():
        return name, "", "not finished", ""
    try:
        asked = [str(python), "-I", "-c", "import platform; print(platform.python_version())"]
        version = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return name, "", "its Python does not run", str(error)
    built_in = (pins.REQUIREMENTS / f"{name}.txt").is_file()
    ready = not built_in or installing.is_ready(pins.of(name))
    return name, version, "ready" if ready else "its pins have changed", ""
