"""What README and docs say exists: modes, columns, words, links, sessions, options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from backends import BUILT_IN
from bench import cli, estimates, grids
from bench.results import Throughput
from tests.made_up import blank

ROOT = Path(__file__).absolute().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "results" / "README.md",
    *(ROOT / "docs").glob("*.md"),
]
READING = (ROOT / "docs" / "reading-results.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
NOXFILE = (ROOT / "noxfile.py").read_text(encoding="utf-8")
SESSIONS = {
    *re.findall(r'^    "([a-z]+)": "', NOXFILE, re.MULTILINE),
    *re.findall(r"^def (tests|lint)\(", NOXFILE, re.MULTILINE),
}


def documents() -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in DOCUMENTS]


def first_cells(text: str) -> set[str]:
    return {line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")}


def test_every_mode_has_its_line() -> None:
    for entry in BUILT_IN:
        for mode in entry.modes:
            assert f"| {entry.name} | `{mode.name}` | {mode.lane} | {mode.summary} |\n" in READING


def test_every_column_of_the_table_is_explained() -> None:
    shown = grids.throughput([blank(Throughput, variant="lenet5", backend="numpy")]).without(["lane"])
    explained = first_cells(READING.partition("## The table")[2].partition("**How many times")[0])
    assert {heading.text for heading in shown.headings} == explained - {"column", "---"}


@pytest.mark.parametrize("word", [estimates.TOO_CLOSE, estimates.TOO_NOISY, "noisy", "unavailable", "failed"])
def test_every_verdict_and_status_is_explained(word: str) -> None:
    assert f"*{word}*" in READING or f"`{word}`" in READING


def test_the_glossary_comes_before_its_words_are_used() -> None:
    words = first_cells(READING.partition("## Modes")[0])
    assert {"case", "mode", "lane", "round", "turn", "sweep", "pass", "run", "control", "canary", "calm"} <= words


@pytest.mark.parametrize("path", documents())
def test_a_sweep_is_one_turn_of_every_case_and_nothing_else(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"--sweep\b", text)
    assert not re.search(r"sweep over (the )?(batch|thread)|left out of the sweep", text)


def test_nor_is_it_in_what_is_printed() -> None:
    for path in (ROOT / "bench").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"sweep (over|of) (the )?(batch|thread)|left out of the sweep", text), path


@pytest.mark.parametrize("name", ["README.md", "docs/reading-results.md", "results/README.md"])
def test_what_an_empty_cell_means_is_said_where_a_table_is(name: str) -> None:
    text = " ".join((ROOT / name).read_text(encoding="utf-8").replace("*", "").split()).lower()
    assert re.search(r"empty cell.{1,400} never (means )?zero", text)


@pytest.mark.parametrize("path", documents())
def test_nothing_waits_to_be_filled_in(path: Path) -> None:
    assert not re.search(r"@@|TODO|FIXME", path.read_text(encoding="utf-8"))


def test_readme_says_what_its_own_words_mean_before_it_uses_them() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    above, _, below = text.partition("A few words first.")
    for word in ("mode", "case", "pass", "lanes"):
        assert f"*{word}*" in below.partition("| backend |")[0], word
        assert not re.search(rf"\b{word}\b", above.partition("```")[0]), word


@pytest.mark.parametrize("path", documents())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if target and not target.startswith("http"):
            assert (path.parent / target).exists(), target


def commands_in(path: Path) -> list[tuple[str, list[str]]]:
    """Each `nox -s NAME -- ...` and `lenet-bench NAME ...` with its words, from code spans and code blocks."""
    text = path.read_text(encoding="utf-8")
    spans = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^(?:.*&& )?(nox -s .*|lenet-bench .*)$", text, re.MULTILINE)
    found = []
    for span in spans:
        if match := re.match(r"(?:.*&& )?nox -s ([a-z]+)((?: [a-z]+)*)(?: -- ?(.*))?$", span):
            found += [(name, (match[3] or "").split()) for name in (match[1], *match[2].split())]
        elif match := re.match(r"lenet-bench ([a-z]+) ?(.*)$", span):
            found.append((match[1], match[2].split()))
    return found


@pytest.mark.parametrize("path", documents())
def test_every_command_that_is_named_exists_with_its_options(path: Path) -> None:
    for name, words in commands_in(path):
        command = {"bench": "run"}.get(name, name)
        assert name in SESSIONS or name in COMMANDS, name
        known = {option for one in getattr(COMMANDS.get(command), "params", []) for option in one.opts}
        for option in [word.partition("=")[0] for word in words if word.startswith("--")]:
            free = command in ("layers", "tests", "lint", "environments")
            assert free or option in (known | {"--help"}), f"{name} {option}"


def test_commands_are_found_in_the_readme() -> None:
    names = {name for name, _ in commands_in(ROOT / "README.md")}
    assert {"bench", "tests", "gate", "train", "layers"} <= names


@pytest.mark.parametrize("path", [*documents(), pytest.param(ROOT / "CHANGELOG.md", id="CHANGELOG.md")])
def test_lines_are_no_longer_than_120_characters_but_for_tables(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
