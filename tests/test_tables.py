"""Tables in a terminal: whole numbers at every width, and words where figures say nothing."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from backends.lenet import VARIANTS
from bench import grids, pins, terminal
from bench.cases import Case
from bench.estimates import Interval, verdict
from bench.evaluate import Evaluation
from bench.layers import calculate, steps_of
from bench.results import (
    Accuracy,
    Comparison,
    Equivalence,
    Overhead,
    SelfCheck,
    Shape,
    Throughput,
    Verdict,
    read_rows,
)
from bench.tables import print_table
from tests.commands import complaints, in_this_process
from tests.made_up import CASES, blank, write_gate, write_run, write_training

WIDTHS = (70, 80, 100, 160)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cases = [replace(case, batch_size=size) for case in CASES[:3] for size in (1, 64, 1024)]
    return write_run(tmp_path_factory.mktemp("tables") / "run", [*CASES, *cases])


def printed(grid: grids.Grid, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), markup=False)
    print_table(console, grid)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def own(folder: Path) -> list[Throughput]:
    return [row for row in read_rows(folder, Throughput) if row.batch_size == 128]


def pairs_of(folder: Path) -> list[Comparison]:
    return [row for row in read_rows(folder, Comparison) if "-b128-" in row.case + row.other]


def labels() -> dict[str, str]:
    return grids.labels_of(CASES)


def proofs_of(folder: Path) -> list[Equivalence]:
    """Of several numbers of steps, as `verify` has them; the last case is another network."""
    rows = read_rows(folder, Equivalence)
    rows += [replace(row, steps=steps) for row in rows if row.quantity == "weights" for steps in (1, 10, 100)]
    return [replace(row, verdict="mismatch", error=0.25) if row.mode == "hybridize" else row for row in rows]


def evaluated() -> list[Evaluation]:
    found = [Evaluation(case, "2.13.0+cpu", "ok", "", 9_912, 10_000, 3, 1, 1.5e-6) for case in CASES]
    return [*found, Evaluation(Case("tensorflow", "function"), "", "unavailable", "why")]


def layers_of(name: str) -> grids.Grid:
    variant = VARIANTS[name]
    return grids.layers(calculate(variant.input_channels, variant.input_size, steps_of(variant)))


def every_grid(folder: Path, gate: Path, training: Path) -> list[grids.Grid]:
    own_pairs = [row for row in pairs_of(folder) if row.case in labels() and row.other in labels()]
    return [
        grids.throughput(own(folder)),
        grids.throughput(read_rows(folder, Throughput)),
        grids.pairs_matrix(own_pairs, labels()),
        grids.pairs(own_pairs, labels()),
        grids.overheads(read_rows(folder, Overhead)),
        grids.shapes(read_rows(folder, Shape)),
        grids.verdicts(read_rows(gate, Verdict)),
        grids.selfchecks(read_rows(gate, SelfCheck)),
        grids.equivalence(proofs_of(folder)),
        grids.accuracies(read_rows(training, Accuracy)),
        grids.evaluations(evaluated(), "fashion-mnist (unverified)"),
        layers_of("lecun1998"),
        layers_of("cnn"),
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wider_than_the_terminal_and_no_number_or_name_is_broken(folder: Path, width: int) -> None:
    """Every word that is printed is a word of the table's, whole."""
    gate = write_gate(folder.parent / f"gate-{width}")
    training = write_training(folder.parent / f"training-{width}", CASES)
    for grid in every_grid(folder, gate, training):
        text = printed(grid, width)
        assert max(map(len, text.splitlines())) <= width, grid.title
        found = words_in(text.partition("not shown")[0])
        known = {word for cell in cells_of(grid) for word in cell.split()}
        assert found <= known, f"{grid.title}: {sorted(found - known)[:9]}"


def words_in(text: str) -> set[str]:
    return set(text.replace("\N{BOX DRAWINGS LIGHT HORIZONTAL}", " ").split())


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_of_environments_fits_and_breaks_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    place = tmp_path / "a folder" / "whose-name-is-longer-than-the-table-of-environments-is-wide" / "environments"
    log = place / "mxnet" / "install.log"
    log.parent.mkdir(parents=True)
    why = f"environment mxnet could not be made: no wheel for this Python (log: {log})"
    (log.parent / "unavailable.txt").write_text(f"{why}\n")
    broken = place / "torch-with-torch-2.12.1"
    broken.mkdir()
    (broken / "installed.txt").touch()
    monkeypatch.setattr(terminal.output, "_width", width)
    done = in_this_process("environments", "list", cwd=tmp_path, LENET_BENCH_ENVIRONMENTS=str(place))
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    table, below = done.stdout.split(f"mxnet: {why}\n")
    assert max(map(len, table.splitlines())) <= width
    states = "could not be made not made yet its Python does not run Environments name Python state"
    assert words_in(table) <= {*pins.ALL, broken.name, *states.split()}
    assert f"{broken.name}: " in below and f"they are in {place}, made with none\n" in below


def cells_of(grid: grids.Grid) -> list[str]:
    rows = ["".join(map(str, cell)) for row in grid.rows for cell in row]
    return [grid.title, *(heading.text for heading in grid.headings), *rows]


def test_what_does_not_fit_is_named_and_what_matters_most_stays(folder: Path) -> None:
    grid = grids.throughput(own(folder)).without(["lane"])
    text = printed(grid, 80)
    head = text.split("numpy")[0]
    assert "images/s" in head and "95 % interval" in head and "status" in head and "weight" not in head
    assert re.search(r"not shown, for want of room in 80 columns: .*peak\sMiB, cores, weight error", text)
    assert "not shown" not in printed(grid, 160)


def test_two_columns_of_one_name_are_told_apart(folder: Path) -> None:
    text = printed(grids.overheads(read_rows(folder, Overhead)), 80)
    assert re.search(r"not shown, (.|\n)*95 %\sinterval", text) and "overhead" in text


def test_a_matrix_is_printed_in_parts_and_loses_nothing(folder: Path) -> None:
    grid = grids.pairs_matrix([row for row in pairs_of(folder) if row.case in labels()], labels())
    narrow, wide = printed(grid, 80), printed(grid, 250)
    assert narrow.count(grid.title.split()[0]) > wide.count(grid.title.split()[0])
    assert {word for word in wide.split() if word.isascii()} <= set(narrow.split())


NOISY = {"images_per_s": 1060.0, "images_per_s_low": 29.0, "images_per_s_high": 38521.0, "step_us": 120_000.0}


def test_an_interval_that_says_nothing_is_said_to_say_nothing() -> None:
    row = blank(Throughput, **NOISY, backend="numpy", mode="im2col", variant="lenet5", status="ok")
    text = printed(grids.throughput([row]), 160)
    assert "too noisy to tell" in text
    for number in ("1,060", "29", "38,521", "120,000"):
        assert number not in text


def test_a_useful_interval_is_printed() -> None:
    row = blank(Throughput, **{**NOISY, "images_per_s_low": 900.0, "images_per_s_high": 1250.0}, backend="numpy")
    assert "900 - 1,250" in printed(grids.throughput([row]), 160)


OVERHEAD = {"overhead_us": 351.0, "overhead_us_low": 87.0, "overhead_us_high": 617.0, "images_per_s_limit": 9653.0}


@pytest.mark.parametrize(
    ("values", "printed_ones", "others"),
    [
        ({}, ("351", "87 - 617", "9,653", "7,416 - 9,900"), ()),
        ({"overhead_us_low": -20.0}, ("9,653", "7,416 - 9,900"), ("351", "617", "-20")),
        ({"images_per_s_limit_high": 13825.0}, ("351", "87 - 617"), ("9,653", "7,416", "13,825")),
        ({"overhead_us_low": None, "overhead_us_high": None}, ("351", "9,653"), ()),
    ],
)
def test_an_overhead_or_a_limit_whose_interval_says_nothing_is_not_printed(
    values: dict[str, float | None], printed_ones: Sequence[str], others: Sequence[str]
) -> None:
    own = {**OVERHEAD, "images_per_s_limit_low": 7416.0, "images_per_s_limit_high": 9900.0, **values}
    text = printed(grids.overheads([blank(Overhead, **own, backend="numpy", batch_sizes="1 64")]), 160)
    assert all(one in text for one in printed_ones)
    assert not any(one in text for one in others)
    assert text.count("too noisy to tell") == bool(others)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.05, 8.9, "too noisy to tell"), (0.7, 1.2, "too noisy to tell"), (0.9, 1.1, "too close to call")],
)
def test_a_wide_pair_is_not_close(low: float, high: float, word: str) -> None:
    assert verdict(Interval(1.0, low, high)) == word
    for said in (word, "too close to call"):  # as runs before this version wrote it
        pair = Comparison("a", "b", 1.0, low, high, 1.0, 3, said)
        for text in (printed(grids.pairs([pair], {"a": "a", "b": "b"}), 160), matrix_of(pair)):
            assert word.split()[1] in text
            assert (f"{1 / high:#.3g}"[:4] in text) == (word == "too close to call")


def matrix_of(pair: Comparison) -> str:
    return printed(grids.pairs_matrix([pair], {"a": "case a", "b": "case b"}), 160)


def test_a_wide_pair_that_is_decided_keeps_its_verdict() -> None:
    assert verdict(Interval(5.0, 3.0, 8.0)) == "slower"


def gate_row(**values: object) -> Verdict:
    row: Verdict = blank(
        Verdict, **{"case": "c", "verdict": "inconclusive", "ratio": 1.4, "total_ratio": 1.6, **values}
    )
    return row


def test_what_a_gate_cannot_see_is_said_in_words() -> None:
    text = printed(grids.verdicts([gate_row(ratio_low=0.2, ratio_high=9.0, resolves=6.762)]), 160)
    assert "too noisy to tell" in text and "676" not in text and "%" not in text.split("verdict")[1].split("c ")[1]
    assert "nothing" in printed(grids.verdicts([gate_row(ratio_low=1.3, ratio_high=1.5, resolves=6.762)]), 160)


def test_a_slowdown_that_two_looks_confirm_keeps_its_figures_however_wide() -> None:
    row = gate_row(verdict="slower", ratio_low=1.1, ratio_high=2.4, resolves=0.4)
    assert "+40.0%" in printed(grids.verdicts([row]), 160)


def test_a_self_check_catches_nothing_where_it_could_not() -> None:
    row = blank(SelfCheck, case="c", beside="identical", catches=7.0, found_low=-0.1, found_high=0.2, passes=2)
    assert "nothing" in printed(grids.selfchecks([row]), 160)


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("columns", "terminals", "expected"),
    [
        ("", (False, False, False), terminal.WIDTH_WITHOUT_TERMINAL),
        ("80", (False, False, False), None),
        ("", (True, False, True), None),  # lenet-bench run | tee log
        ("", (True, True, True), None),
        ("wide", (False, False, False), terminal.WIDTH_WITHOUT_TERMINAL),
    ],
)
def test_a_pipe_has_the_width_of_the_terminal_that_it_ends_on(
    monkeypatch: pytest.MonkeyPatch, columns: str, terminals: Sequence[bool], expected: int | None
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for name, own in zip(("stdin", "stdout", "stderr"), terminals):
        monkeypatch.setattr(f"sys.{name}", Stream(own))
    assert terminal.width_of_output() == expected


@pytest.mark.parametrize(("columns", "width"), [("", terminal.WIDTH_WITHOUT_TERMINAL), ("72", 72)])
def test_what_is_piped_is_printed_in_that_width(monkeypatch: pytest.MonkeyPatch, columns: str, width: int) -> None:
    """By the console that commands print on, made anew: Rich alone would take 80."""
    monkeypatch.setenv("COLUMNS", columns)
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(f"sys.{name}", Stream(False))
    spec = importlib.util.spec_from_file_location("terminal_anew", terminal.__file__)
    assert spec is not None and spec.loader is not None
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert anew.output.width == width


def test_a_line_on_a_terminal_breaks_between_words_and_never_within_one(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/a/folder/whose/name/is/longer/than/the/terminal/is/wide/results/20261125T101010-00000001"
    for is_terminal in (True, False):
        console = Console(width=40, file=io.StringIO(), force_terminal=is_terminal, color_system=None, markup=False)
        monkeypatch.setattr(terminal, "output", console)
        terminal.say(f"a page of it, and more words: {path} 12,345 images/s")
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        assert path in text and "12,345 images/s" in text.replace("\n", " ")
        assert (text.count("\n") > 1) == is_terminal


def test_a_table_of_cases_names_what_tells_them_apart() -> None:
    ids = [replace(CASES[1], batch_size=size).id for size in (8, 64)]
    assert list(grids.short(ids).values()) == ["numpy im2col b8", "numpy im2col b64"]
    assert grids.short([CASES[1].id]) == {CASES[1].id: "numpy im2col"}
    assert grids.short(["a-b", "one-that-is-longer"]) == {"a-b": "a-b", "one-that-is-longer": "one-that-is-longer"}


def test_a_verdict_is_whole_at_eighty_columns() -> None:
    rows = [blank(SelfCheck, case=CASES[4].id, beside="identical", verdict="too noisy to tell", passes=2)]
    assert "too noisy to tell" in printed(grids.selfchecks(rows), 80)
    rows = [gate_row(case=case.id) for case in CASES]  # type: ignore[list-item]
    assert printed(grids.verdicts(rows), 60).count("inconclusive") == len(CASES)
