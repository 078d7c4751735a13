"""The page from run folders: its numbers are those of the files, and what is missing is said."""

from __future__ import annotations

import base64
import csv
import dataclasses
import gzip
import json
import math
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from bench import charts, pages, report
from bench import folder as folders
from bench.grids import Number
from bench.results import FILES, Comparison, Equivalence, ResultsError, Round, Throughput, read_rows, write_rows
from bench.verify import equivalence_rows
from tests import made_up
from tests.commands import complaints, in_this_process
from tests.test_command_line import lenet_bench

ROOT = Path(__file__).absolute().parent.parent
SWEEP = [replace(case, batch_size=size) for case in made_up.CASES[:4] for size in (1, 16, 256)]
THREADS = [replace(case, threads=threads) for case in made_up.CASES[3:6] for threads in (1, 2, 4)]


def page_of(*paths: Path) -> str:
    return pages.as_html(report.page_of([folders.read(path) for path in paths]))


class Numbers(HTMLParser):
    """Every `<data>` of a page: its value, which cell it claims to be, and what is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.open: tuple[str, str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "data":
            said = dict(attributes)
            self.open = str(said["value"]), str(said["data-cell"])

    def handle_data(self, text: str) -> None:
        if self.open:
            self.found.append((*self.open, text))
            self.open = None


def cells(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="", encoding="utf-8", errors="replace") as file:
        return list(csv.DictReader(file))


def wrong_numbers(text: str, runs: list[Path]) -> list[str]:
    """Numbers of the page that are not those of the CSV files, read here without any code of the harness."""
    files = {
        (number, name): cells(run, name)
        for number, run in enumerate(runs, 1)
        for name in FILES.values()
        if (run / name).exists()
    }
    wrong = []
    for value, place, shown in Numbers(text).found:
        number, name, line, column, *how = place.split()
        due = float(files[int(number), name][int(line) - 2][column])
        due = 1 / due if how == ["inverse"] else due - 1 if how == ["change"] else due
        if abs(float(value) - due) > 1e-12 * abs(due) or not rounds_to(due, shown):
            wrong.append(f"{place}: {due} is shown as {shown}")
    return wrong


def rounds_to(value: float, shown: str) -> bool:
    """Whether what is shown is the value, but for half a unit of its last place."""
    scale = 100 if shown.endswith("%") else 1
    digits = shown.rstrip("%").replace(",", "").lower()
    mantissa, _, exponent = digits.partition("e")
    place = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(exponent or 0) - place)
    return abs(float(digits) - scale * value) <= 0.5000001 * unit


def charts_of(text: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/gzip" id="charts">(.*?)</script>', text, re.DOTALL)
    assert found
    return list(json.loads(unpacked(found[1]))["specs"])


def unpacked(content: str) -> bytes:
    """What the page carries in gzip and base64."""
    return gzip.decompress(base64.b64decode(content))


def strays(text: str, runs: list[Path]) -> list[dict[str, Any]]:
    """Rows of the charts that are no row of a CSV file, in the columns that they share with it."""
    known = [
        ({field.name for field in dataclasses.fields(kind)}, cells(run, name))
        for run in runs
        for kind, name in FILES.items()
        if (run / name).exists()
    ]
    seen: dict[Any, set[Any]] = {}
    wrong = []
    for spec in charts_of(text):
        for rows in values_in(spec):
            for row in rows:
                matched = [shared_row(row, columns, lines, seen) for columns, lines in known]
                if not any(matched):
                    wrong.append(row)
    return wrong


def values_in(spec: Any) -> list[list[dict[str, Any]]]:
    if isinstance(spec, list):
        return [found for one in spec for found in values_in(one)]
    if not isinstance(spec, dict):
        return []
    own = [spec["data"]["values"]] if "values" in spec.get("data", {}) else []
    own += spec.get("datasets", {}).values()
    return own + [found for key, one in spec.items() if key not in ("data", "datasets") for found in values_in(one)]


ADDED = {"label", "goal", "counts", "how", "run", "first_images_per_s", "first_control_gflops"}
CONSTANT = ({"share": 1}, {"ratio": 1})  # lines that a chart draws at 1


def shared_row(row: dict[str, Any], columns: set[str], lines: list[dict[str, str]], seen: dict[Any, set[Any]]) -> bool:
    if row in CONSTANT:
        return True
    names = tuple(sorted(set(row) - ADDED))
    fitted = {"batch_size"} if "batch_sizes" in columns else set()  # one size of those that a line goes through
    if not set(names) - fitted <= columns:
        return False
    names = tuple(name for name in names if name not in fitted)
    key = (id(lines), names)
    if key not in seen:
        seen[key] = {tuple(line[name] for name in names) for line in lines}
    return tuple("" if row[name] is None else str(row[name]) for name in names) in seen[key]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder of every kind, in the order of their times."""
    root = tmp_path_factory.mktemp("runs")
    return [
        made_up.write_run(root / "first"),
        made_up.write_run(root / "later", seed=1, utc="2026-11-21T09:30:00+00:00", control_gflops=98.25),
        made_up.write_run(root / "sweep", SWEEP, utc="2026-11-21T09:40:00+00:00"),
        made_up.write_run(root / "threads", THREADS, utc="2026-11-21T09:50:00+00:00"),
        made_up.write_training(root / "training"),
        made_up.write_gate(root / "gate"),
    ]


@pytest.fixture(scope="module")
def made(runs: list[Path]) -> pages.Page:
    return report.page_of([folders.read(run) for run in runs])


@pytest.fixture(scope="module")
def page(made: pages.Page) -> str:
    return pages.as_html(made)


@pytest.mark.slow
def test_every_number_of_the_page_is_that_of_its_csv_file(page: str, runs: list[Path]) -> None:
    assert len(Numbers(page).found) > 1000
    assert wrong_numbers(page, runs) == []


def test_every_row_that_a_chart_draws_is_a_row_of_a_csv_file(page: str, runs: list[Path]) -> None:
    assert sum(len(rows) for spec in charts_of(page) for rows in values_in(spec)) > 3000
    assert strays(page, runs) == []


def test_a_number_that_is_not_the_files_would_be_seen(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run")
    text = page_of(run)
    rows = read_rows(run, Throughput)
    assert rows[2].images_per_s is not None
    write_rows(run, Throughput, [*rows[:2], replace(rows[2], images_per_s=rows[2].images_per_s * 1.01), *rows[3:]])
    (wrong,) = wrong_numbers(text, [run])
    assert wrong.startswith("1 throughput.csv 4 images_per_s:")
    assert {row.get("label") for row in strays(text, [run])} == {"numpy space_to_depth"}


@pytest.mark.parametrize(
    ("value", "shown", "right"),
    [
        (12191.49, "12,191", True),
        (12191.51, "12,191", False),
        (0.2631, "26.3%", True),
        (9.5e-5, "9.5e-05", True),
        (9.6e-5, "9.5e-05", False),
        (-0.02, "-2.0%", True),
    ],
)
def test_a_number_is_compared_with_what_is_shown(value: float, shown: str, right: bool) -> None:
    assert rounds_to(value, shown) is right


MEANT = {
    ("throughput", "Training throughput"): {
        "images/s": "images_per_s",
        "95 % interval": "images_per_s_low images_per_s_high",
        "µs/step": "step_us",
        "of peak": "gemm_peak_share",
        "cores": "effective_cores",
        "weight error": "weight_error",
    },
    ("start", "Start-up and memory"): {
        "import, s": "import_s",
        "build, s": "build_s",
        "first step, s": "first_step_s",
        "peak MiB": "peak_rss_mb",
        "page faults per step": "page_faults_per_step",
    },
    ("pairs", "Every pair, sweep by sweep"): {
        "times its images/s": "ratio",
        "95 % interval": "ratio_high ratio_low",
        "by total time": "total_ratio",
        "passes": "passes",
    },
    ("sweeps", "step = overhead + batch size / limit"): {
        "overhead µs": "overhead_us",
        "limit images/s": "images_per_s_limit",
        "worst misfit": "worst_misfit",
    },
    ("training", "Training: "): {
        "parameters": "parameters",
        "rate": "learning_rate",
        "final accuracy": "final_accuracy",
        "best": "best_accuracy",
        "s to 98.5 %": "seconds_to_985",
        "images/s": "images_per_s",
        "losses apart": "losses_apart",
    },
    ("verdicts", "The head's step beside the base's"): {
        "step, head / base": "ratio",
        "95 % interval": "ratio_low ratio_high",
        "by total time": "total_ratio",
        "could have seen": "resolves",
    },
    ("selfcheck", "Identical code"): {
        "found": "found",
        "95 % interval": "found_low found_high",
        "by total time": "found_total",
        "pair sd": "pair_sd",
        "catches 9 in 10": "catches",
    },
}


def test_every_column_shows_what_its_heading_says(made: pages.Page) -> None:
    tables = [
        (section.slug.split("-")[-1], part.grid)
        for article in made.articles
        for section in article.sections
        for part in section.parts
        if isinstance(part, pages.Table)
    ]
    for (slug, title), columns in MEANT.items():
        (grid, *_) = [grid for own, grid in tables if own == slug and grid.title.startswith(title)]
        shown: dict[str, set[str]] = {}
        for row in grid.rows:
            for heading, cell in zip(grid.headings, row):
                named = " ".join(
                    piece.column for piece in cell if isinstance(piece, Number) and piece.value is not None
                )
                shown.setdefault(heading.text, set()).add(named)
        for heading, column in columns.items():
            assert column in shown[heading] <= {column, "", "images_per_s_limit_low images_per_s_limit_high"}, heading


def test_no_number_stands_in_a_table_of_measurements_without_its_cell(page: str) -> None:
    derived = 2 * sum(len(rows) for rows in history_of(page).values())
    bare = re.findall(r'<td class="number[^>]*>([-+\d.,]+(?:e[-+]\d+)?%?)</td>', page)
    sizes = re.findall(r"<td class=\"number[^>]*>(28|400|)</td>", page)  # of shapes, which are words of a file
    assert len(bare) == derived + len([size for size in sizes if size])


def history_of(page: str) -> dict[str, list[list[str]]]:
    """Rows of the history by case, as text."""
    (table,) = re.findall(r'<table id="history-t\d+".*?</table>', page, re.DOTALL)
    rows: dict[str, list[list[str]]] = {}
    for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[1:]:
        texts = [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)]
        rows.setdefault(texts[0], []).append(texts)
    return rows


def test_history_divides_each_case_by_the_control_of_its_own_run(page: str, runs: list[Path]) -> None:
    first, later = (read_rows(run, Throughput) for run in runs[:2])
    found = history_of(page)
    for old, new in zip(first, later):
        assert old.images_per_s and new.images_per_s
        rows = {row[1]: row for name, own in found.items() for row in own if f"{old.backend} {old.mode} " in f"{name} "}
        assert rounds_to(new.images_per_s / old.images_per_s, rows["2: later"][4])
        expected = (new.images_per_s / 98.25) / (old.images_per_s / 105.5)
        assert rounds_to(expected, rows["2: later"][6])
        assert rows["1: first"][6] == "1.000"


def test_every_file_can_be_taken_from_the_page_to_the_byte(page: str, runs: list[Path]) -> None:
    found = re.findall(r'data-download="([^"]+)" data-content="([^"]*)"', page)
    contents = {(run.name, path.name): path.read_bytes() for run in runs for path in run.iterdir()}
    carried = [(name, unpacked(content)) for name, content in found]
    assert sorted(carried) == sorted((name, content) for (_, name), content in contents.items())


def test_the_markdown_has_the_cells_of_the_tables(made: pages.Page) -> None:
    text = pages.as_markdown(made)
    rows = [
        part.grid for one in made.articles for s in one.sections for part in s.parts if isinstance(part, pages.Table)
    ]
    for grid in rows:
        if len(grid.rows) > pages.MOST_PAIRS_IN_MARKDOWN:
            continue
        for row in grid.rows:
            assert f"| {' | '.join(''.join(map(str, cell)).replace(chr(10), ' ') for cell in row)} |" in text
    assert "nox -s bench -- --data mnist --seed 0\n" in text


@pytest.mark.slow
def test_a_page_of_thirty_cases_stays_under_three_megabytes(tmp_path: Path) -> None:
    batches = [replace(case, batch_size=size) for case in made_up.CASES[:10] for size in (32, 128, 512)]
    text = page_of(made_up.write_run(tmp_path / "run", batches, passes=5, rounds=60))
    assert len(batches) == 30
    assert len(text.encode()) < 3_000_000


def hollow_sweeps(text: str, run: Path, case: str) -> set[str]:
    """Sweeps of the rounds of one case that the page draws hollow."""
    sweeps = {line["order"]: line["sweep"] for line in cells(run, "rounds.csv") if line["case"] == case}
    drawn = [row for spec in charts_of(text) for rows in values_in(spec) for row in rows if "counts" in row]
    return {sweeps[str(row["order"])] for row in drawn if str(row["order"]) in sweeps and row["counts"] == "no"}


def test_a_gates_rounds_are_hollow_where_its_control_was_slow(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "gate", made_up.CASES[:2])
    rounds = read_rows(run, Round)
    sides = [replace(one, case=f"{one.case}-head") if "control" not in one.case else one for one in rounds]
    write_rows(run, Round, sides)
    (run / "throughput.csv").unlink()
    made_up.write_gate(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "verdicts.csv", run)
    text = page_of(run)
    for case in dict.fromkeys(one.case for one in sides):
        assert hollow_sweeps(text, run, case) == {"3", "10", "17"}


def test_rounds_of_a_disturbed_pass_are_hollow_and_without_a_control_none_are(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2], passes=4)
    rounds = read_rows(run, Round)
    slow = [replace(one, seconds=one.seconds * 1.5) if one.pass_number == 2 else one for one in rounds]
    write_rows(run, Round, slow)
    text = page_of(run)
    case = made_up.CASES[0].id
    orders = {one.order for one in slow if one.case == case and one.pass_number == 2}
    drawn = [row for spec in charts_of(text) for rows in values_in(spec) for row in rows if "counts" in row]
    assert {row["order"] for row in drawn if row["order"] in orders and row["counts"] == "no"} == orders
    write_rows(run, Round, [one for one in slow if "control" not in one.case])
    text = page_of(run)
    assert hollow_sweeps(text, run, case) == set()
    assert "There is no control among them" in text


def test_one_pass_has_no_intervals_and_no_verdicts(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("step_us_low", "step_us_high", "images_per_s_low", "images_per_s_high"))
    run = made_up.write_run(tmp_path / "run", passes=1, **nothing)
    write_rows(run, Comparison, [replace(row, ratio_low=None, ratio_high=None) for row in read_rows(run, Comparison)])
    text = page_of(run)
    assert "one pass: no verdict" in text
    assert "With one pass, there are neither intervals nor verdicts." in text
    assert "too close" not in text
    assert wrong_numbers(text, [run]) == []


def test_an_interval_without_end_does_not_push_the_points_together(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[1:4])
    rows = read_rows(run, Throughput)
    whole = charts.throughput(rows, report.short_labels(rows))
    assert not charts.is_cut(whole)
    assert "reach beyond this chart" not in page_of(run)
    endless = [replace(rows[0], images_per_s_high=8e9), *rows[1:]]
    cut = charts.throughput(endless, report.short_labels(endless))
    assert charts.is_cut(cut)
    (ends, points) = (layer["encoding"]["x"]["scale"]["domain"] for layer in cut.to_dict()["layer"])
    assert ends == points == [0, charts.REACH * max(row.images_per_s for row in rows)]
    write_rows(run, Throughput, endless)
    text = page_of(run)
    assert "reach beyond this chart" in text
    assert "8,000,000,000" not in text and "too noisy to tell" in text
    assert wrong_numbers(text, [run]) == []


@pytest.mark.parametrize(
    ("points", "ends", "none", "shown"),
    [
        ([1.01, 0.99], [0.97, 1.04], 1, None),
        ([1.01, 0.99], [0.97, 5.0], 1, [0.97, 1.06]),
        ([0.05], [-3.0, 3.0], 0, [-0.15, 0.15]),
        ([], [], 1, None),
    ],
)
def test_changes_are_drawn_around_none(
    points: list[float], ends: list[float], none: float, shown: list[float] | None
) -> None:
    found = charts.changes_domain(points, ends, none)
    assert found == pytest.approx(shown) if shown else found is alt.Undefined


def test_words_of_others_do_not_become_part_of_the_page(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>|<img src=x onerror=alert(1)>"
    run = made_up.write_run(tmp_path / "run", status="failed", reason=evil, flags=evil, version=evil)
    made = report.page_of([folders.read(run)])
    text = pages.as_html(made)
    assert "alert(1)</script>" not in text
    assert "<img src=x" not in text
    assert "<img" not in pages.as_markdown(made)


@pytest.mark.parametrize(
    "name",
    [
        "rounds.csv",
        "throughput.csv",
        "equivalence.csv",
        "shapes.csv",
        "comparisons.csv",
        "processes.csv",
        "machine.json",
    ],
)
@pytest.mark.parametrize("harm", ["gone", "cut", "emptied", "other"])
def test_a_broken_folder_gives_a_page_that_says_what_is_missing(tmp_path: Path, name: str, harm: str) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2], rounds=5)
    path = run / name
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "emptied": b"", "other": b"\xff\x00a,b\n1,2\n"}[harm])
    found = folders.read(run)
    assert [problem for problem in found.problems if name in problem and problem.count("\n") == 0]
    text = page_of(run)
    assert name in text[text.index('class="problem"') :]
    if name != "machine.json":
        assert wrong_numbers(text, [run]) == []


@pytest.mark.parametrize(
    ("name", "column", "cell", "said"),
    [
        ("rounds.csv", "steps", "0", "0 steps in"),
        ("rounds.csv", "seconds", "-1", "cannot be"),
        ("throughput.csv", "batch_size", "many", "batch_size cannot be"),
        ("throughput.csv", "images_per_s", "nan", "images_per_s cannot be"),
        ("throughput.csv", "images_per_s", "inf", "images_per_s cannot be"),
        ("throughput.csv", "step_us", "0", "step_us cannot be"),
        ("comparisons.csv", "ratio", "-1", "ratio cannot be"),
        ("overhead.csv", "batch_sizes", "1 x", "batch sizes cannot be"),
    ],
)
def test_a_cell_that_no_run_can_have_written_leaves_its_file_out(
    tmp_path: Path, name: str, column: str, cell: str, said: str
) -> None:
    run = made_up.write_run(tmp_path / "run", SWEEP[:6], rounds=5)
    rows = cells(run, name)
    rows[1][column] = cell
    with (run / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    assert any(said in problem for problem in folders.read(run).problems)
    page_of(run)


@pytest.mark.slow
def test_cells_that_no_axis_can_show_do_not_spoil_the_page(tmp_path: Path) -> None:
    endless = {"images_per_s_low": 0.0, "images_per_s_high": math.inf, "step_us_low": 0.0, "step_us_high": math.inf}
    run = made_up.write_run(tmp_path / "run", control_gflops=0.0, gemm_peak_share=0.0, peak_rss_mb=0.0, **endless)
    assert folders.read(run).problems == []
    page_of(run)
    page_of(made_up.write_run(tmp_path / "gone", images_per_s=None, step_us=None, import_s=None, gemm_peak_share=None))


@pytest.mark.parametrize(
    "about",
    [
        {"cpu": "\ud800", "memory_bytes": 10**400, "cpus": [[1]], "seed": "1", "gpu": None},
        {"command": "lenet-bench run --data 'half", "os": {"a": 1}},
        {"command": ["lenet-bench"], "memory_bytes": -1},
        {"cpus": ["\ud800", 1], "os": ["\udcff"]},
        {"command": "lenet-bench"},
    ],
)
def test_a_machine_that_cannot_be_does_not_stop_the_page(tmp_path: Path, about: dict[str, Any]) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2])
    (run / "machine.json").write_text(json.dumps(about))
    page_of(run).encode()


def test_words_that_are_copied_run_lenet_bench_and_nothing_else(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2])
    machine = {"command": "lenet-bench run ; rm -rf ~ `x` $(y) --python 'torch=/a b/c'", "seed": 3}
    (run / "machine.json").write_text(json.dumps(machine))
    told = report.repeating(folders.read(run))
    assert told == "git checkout c0ffee && nox -s bench -- ';' rm -rf '~' '`x`' '$(y)' --python 'torch=/a b/c' --seed 3"
    hostile = made_up.write_run(tmp_path / "hostile", made_up.CASES[:2], commit="$(x)")
    assert report.repeating(folders.read(hostile)) == "nox -s bench -- --data mnist --seed 0"


def test_markdown_takes_words_as_they_are(tmp_path: Path) -> None:
    evil = "<b> [a](javascript:x) ![i](http://x) `c` | *d*"
    run = made_up.write_run(tmp_path / evil.replace("/", ""), made_up.CASES[:2], status="failed", reason=evil)
    text = pages.as_markdown(report.page_of([folders.read(run)]))
    for raw in ("<b>", "[a](", "`c`", " *d*"):
        assert raw not in text
    assert "&#124;" in text


def test_markdown_calls_nobody_and_leads_nowhere(tmp_path: Path) -> None:
    evil = "# @octocat https://evil.example ![i](http://evil.example/i.png) www.evil.example"
    named = tmp_path / evil.replace("/", "")
    run = made_up.write_run(named, made_up.CASES[:2], status="failed", reason=evil, version=evil, data=evil)
    (run / "shapes.csv").write_text(f"{evil}\n")
    about = {"cpu": evil, "os": evil, "command": f"lenet-bench run --data '{evil}'"}
    (run / "machine.json").write_text(json.dumps(about))
    text = pages.as_markdown(report.page_of([folders.read(run)]))
    told = re.sub("```.*?```", "", text, flags=re.DOTALL)
    assert "evil" in told
    for raw in ("@o", "://", "www.", "!["):
        assert raw not in told, raw
    assert {line.split(" ")[0] for line in told.splitlines() if line.startswith("#")} <= {"#", "##", "###"}
    assert not [line for line in told.splitlines() if line.startswith(("- # ", "- **# "))]


def test_files_that_the_page_hands_out_are_no_formulas_either(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2], flags='=HYPERLINK("http://evil.example","x")')
    (carried,) = [one for one in report.downloads(folders.read(run)) if one.name == "throughput.csv"]
    content = unpacked(carried.content)
    assert content == (run / "throughput.csv").read_bytes()
    assert {row["flags"][:2] for row in csv.DictReader(content.decode().splitlines())} == {"'="}
    assert {row.flags[0] for row in read_rows(run, Throughput)} == {"="}


def test_a_folder_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xffname")
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2]).rename(tmp_path / name)
    (run / "shapes.csv").write_text("broken")
    done = in_this_process("report", str(run), str(tmp_path / "nowhere" / name), cwd=tmp_path)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert "bad?name" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_pipe_is_no_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2])
    for name in ("rounds.csv", "machine.json"):
        (run / name).unlink()
        os.mkfifo(run / name)
    found = folders.read(run)
    assert sum("is no file" in problem for problem in found.problems) == 2
    page_of(run)


def test_a_file_that_may_not_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2])
    (run / "shapes.csv").unlink()
    (run / "shapes.csv").mkdir()
    assert any("shapes.csv" in problem for problem in folders.read(run).problems)
    page_of(run)


def test_words_of_a_broken_file_reach_nobodys_terminal_as_they_are(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2])
    (run / "shapes.csv").write_text(f'"\x1b[31m!\n",{"x" * 5000}\n')
    (problem,) = [problem for problem in folders.read(run).problems if "shapes.csv" in problem]
    assert problem.isprintable() and len(problem) < 400


def test_several_runs_named_from_inside_the_first_have_their_page_above_it(tmp_path: Path) -> None:
    first = made_up.write_run(tmp_path / "one", made_up.CASES[:2])
    made_up.write_run(tmp_path / "two", made_up.CASES[:2], seed=1)
    assert in_this_process("report", ".", "../two", cwd=first).returncode == 0
    assert (tmp_path / "report.html").exists() and not (first / "report.html").exists()


def test_files_without_rows_are_named(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:2])
    write_rows(run, Throughput, [])
    assert any("throughput.csv: has no rows" in problem for problem in folders.read(run).problems)
    assert wrong_numbers(page_of(run), [run]) == []


def test_odd_but_readable_rows_make_a_page(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:3])
    rows = read_rows(run, Throughput)
    write_rows(run, Throughput, [replace(rows[0], mode=""), replace(rows[1], backend="", version=""), rows[2]])
    page_of(run)


def test_a_failed_proof_is_drawn_even_where_its_error_is_no_number(tmp_path: Path) -> None:
    found = {"quantity": "stage conv1", "steps": 0, "error": math.nan, "tolerance": 1e-5, "worst": ""}
    (row,) = equivalence_rows(made_up.CASES[0], "1", [found])
    assert (row.error, row.verdict) == (math.inf, "mismatch")
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:1])
    write_rows(run, Equivalence, [row])
    (drawn,) = [spec for spec in charts_of(page_of(run)) if "error / tolerance" in json.dumps(spec)]
    assert [one for rows in values_in(drawn) for one in rows if one.get("quantity") == "stage conv1"]


def test_a_folder_with_nothing_to_show_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "empty", "holds none of"), (tmp_path / "nowhere", "is no run folder")):
        with pytest.raises(ResultsError, match=said):
            folders.read(path)
    begun = made_up.write_run(tmp_path / "begun")
    for path in begun.iterdir():
        path.unlink()
    (begun / "request.json").write_text("{}")
    with pytest.raises(ResultsError, match="--resume"):
        folders.read(begun)


def test_a_run_that_is_not_through_says_how_much_is_missing(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run")
    (run / "request.json").write_text(json.dumps({"request": {"cases": [{}] * (len(made_up.CASES) + 2)}}))
    assert any("2 of the 14 cases" in problem for problem in folders.read(run).problems)


@pytest.mark.slow
def test_the_command_writes_beside_one_run_and_above_several(tmp_path: Path) -> None:
    first = made_up.write_run(tmp_path / "results" / "one")
    second = made_up.write_run(tmp_path / "results" / "two", seed=1)
    done = lenet_bench("report", str(first), cwd=tmp_path)
    assert (done.returncode, complaints(done.stderr)) == (0, "")
    assert {path.name for path in first.glob("report.*")} == {"report.html", "report.md"}
    done = in_this_process("report", str(first), str(second), str(first), cwd=tmp_path)
    assert done.returncode == 0
    assert "All runs" in (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    (second / "throughput.csv").write_text("broken")
    shutil.rmtree(first)
    done = in_this_process("report", str(first), str(second), "--output", str(tmp_path / "out"), cwd=tmp_path)
    assert done.returncode == 0
    assert "is no run folder" in done.stdout
    assert "throughput.csv: has other columns" in done.stdout
    assert "is no run folder" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_bad_input_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    asked = (["nowhere"], ["nowhere", "neither"], [str(run), "--output", str(tmp_path / "file")])
    for command, arguments in zip((lenet_bench, in_this_process, in_this_process), asked):
        done = command("report", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert not (run / "report.html").exists()


def kept_runs() -> list[Path]:
    """Those that the documents cite, and none that a user has made since."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))]
    names = sorted({name for text in texts for name in re.findall(r"results/(\d{8}T\d{6}-[0-9a-f]{8})\b", text)})
    return [ROOT / "results" / name for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("run", kept_runs(), ids=lambda run: run.name)
def test_a_kept_run_makes_a_page(run: Path) -> None:
    text = page_of(run)
    assert wrong_numbers(text, [run]) == []
    assert strays(text, [run]) == []


def test_there_are_kept_runs() -> None:
    assert len([run for run in kept_runs() if (run / "throughput.csv").is_file()]) == len(kept_runs()) > 2
