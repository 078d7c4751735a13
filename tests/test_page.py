"""The page in a real browser, headless Chromium: drawn, sorted, filtered, downloaded from, and tried by axe.

Where there is no Chromium (or Chrome) on the machine, these tests are skipped: LENET_BENCH_CHROMIUM names one.
"""

from __future__ import annotations

import math
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from backends.lenet import VARIANTS, initial_weights
from bench import checkpoints, pages, report
from bench import folder as folders
from bench.results import Accuracy, Curve, Equivalence, Overhead, Round, Throughput, case_of, read_rows, write_rows
from tests import made_up

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = os.environ.get("LENET_BENCH_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
# A container's /dev/shm may be too small for a page of pictures.
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    "--disable-dev-shm-usage",
)
DRAWN = "html[data-drawn=done]"
# Milliseconds. On a machine that has something else to do a browser takes minutes, and no test measures time.
PATIENCE = 600_000

pytestmark = [
    pytest.mark.skipif(FOUND is None, reason=f"no browser: none of {', '.join(NAMES)} is on this machine"),
    pytest.mark.slow,
]
WIDTHS = (1280, 390)
SIZES = [(scheme, width) for scheme in ("light", "dark") for width in WIDTHS]

# Texts of a chart that are cut by its edge, or lie over each other. Axis labels that Vega leaves out are transparent.
CLASHES = """
chart => {
  const svg = chart.querySelector("svg");
  const frame = svg.getBoundingClientRect();
  const shown = text => text.textContent.trim() && Number(text.getAttribute("opacity") ?? 1) > 0;
  const texts = [...svg.querySelectorAll("text")].filter(shown);
  const boxes = texts.map(text => [text.textContent, text.getBoundingClientRect()]);
  const cut = boxes.filter(([, b]) => b.left < frame.left - 1 || b.right > frame.right + 1
    || b.top < frame.top - 1 || b.bottom > frame.bottom + 1).map(([words]) => `cut: ${words}`);
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
  const clashes = boxes.flatMap(([words, a], i) => boxes.slice(i + 1).filter(([, b]) => over(a, b))
    .map(([other]) => `over each other: ${words}, ${other}`));
  const short = boxes.filter(([words]) => words.includes("\u2026")).map(([words]) => `shortened: ${words}`);
  return [...cut, ...clashes, ...short];
}
"""


# What a chart has drawn, read back from where it stands: the datum of every mark, and its ends in units of the axes.
MARKS = """
chart => {
  const found = [];
  const read = (item, name) => {
    try { const scale = chart.view.scale(name[0]); return scale.invert ? scale.invert(item[name]) : null; }
    catch { return null; }
  };
  const walk = node => {
    if (node.marktype === "group" || !node.marktype) return (node.items ?? []).forEach(walk);
    for (const item of node.items) {
      if (!item.datum || node.role !== "mark") continue;
      const ends = Object.fromEntries(["x", "y", "x2", "y2"].filter(name => item[name] !== undefined)
        .map(name => [name, read(item, name)]));
      const wide = {};
      if (item.width !== undefined && item.x !== undefined) {
        try { wide.right = chart.view.scale("x").invert(item.x + item.width); } catch {}
      }
      found.push({ kind: node.marktype, ...ends, ...wide, hollow: item.fillOpacity === 0, datum: item.datum });
    }
  };
  const nodes = [chart.view.scenegraph().root];
  while (nodes.length) {
    const node = nodes.pop();
    if (node.marktype && node.marktype !== "group") walk(node);
    else nodes.push(...(node.items ?? []));
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=FOUND, args=list(QUIET), timeout=PATIENCE)
        yield started
        started.close()


# Of every backend one mode or two: axe works on each word of the page for milliseconds, as often as it is opened.
FIRST = [made_up.CASES[place] for place in (0, 1, 3, 4, 6, 8, 9, 10)]
SWEPT = (1, 256, 4096)
ROUNDS = 5  # of a pass; those of one sweep in seven are made a third slower


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    sweep = [replace(case, batch_size=size) for case in FIRST[:4] for size in SWEPT]
    threads = [replace(case, threads=count) for case in made_up.CASES[3:5] for count in (1, 2, 4)]
    training = made_up.write_training(root / "training")
    (training / "weights" / "case").mkdir(parents=True)
    about = {"variant": "mlp", "course": {"data": "digits", "normalisation": "unit"}}  # the fewest pictures to draw
    weights = checkpoints.Checkpoint(initial_weights(VARIANTS["mlp"]), about)
    checkpoints.save(training / "weights" / "case" / "best.npz", weights)
    broken = made_up.write_run(root / "broken", FIRST[:3], rounds=2)
    (broken / "equivalence.csv").unlink()
    return [
        made_up.write_run(root / "first", FIRST, rounds=ROUNDS),
        made_up.write_run(root / "later", FIRST[:4], 3, 2, 1, utc="2026-11-21T09:30:00+00:00", control_gflops=98.25),
        made_up.write_run(root / "sweep", sweep, 2, 2, utc="2026-11-21T09:40:00+00:00"),
        made_up.write_run(root / "threads", threads, 2, 2, utc="2026-11-21T09:50:00+00:00"),
        training,
        made_up.write_gate(root / "gate"),
        broken,
    ]


@pytest.fixture(scope="module")
def path(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of every kind of run, on the disk."""
    place = tmp_path_factory.mktemp("page") / pages.PAGE
    place.write_text(pages.as_html(report.page_of([folders.read(run) for run in runs])), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def small(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of three of them: what is clicked, typed and taken from a page is the same there."""
    place = tmp_path_factory.mktemp("small") / pages.PAGE
    some = [folders.read(run) for run in (runs[0], runs[4], runs[5])]
    place.write_text(pages.as_html(report.page_of(some)), encoding="utf-8")
    return place


class Opened:
    """A page and all that it said on the console or asked a network for."""

    def __init__(self, browser: Browser, path: Path, scheme: Any = "light", width: int = 1280) -> None:
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
        self.context.set_default_timeout(PATIENCE)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(DRAWN, state="attached")

    @property
    def elsewhere(self) -> list[str]:
        return [url for url in self.asked[1:] if not url.startswith("data:")]

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def open_all(self) -> None:
        """Unfold what is folded, and wait until it is drawn."""
        self.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        self.page.wait_for_function(
            "[...document.querySelectorAll('.chart')].every(one => one.dataset.drawn === 'done')"
        )


Whole = Callable[..., Opened]


@pytest.fixture(scope="module")
def whole(browser: Browser, path: Path) -> Iterator[Whole]:
    """The page of all runs in one of four forms, all of it unfolded and drawn: opened once, and left as it is."""
    forms: dict[tuple[str, int], Opened] = {}

    def form(scheme: str = "light", width: int = 1280) -> Opened:
        if (scheme, width) not in forms:
            one = forms[scheme, width] = Opened(browser, path, scheme, width)
            one.open_all()
        return forms[scheme, width]

    yield form
    for one in forms.values():
        one.context.close()


@pytest.fixture
def opened(browser: Browser, small: Path) -> Iterator[Opened]:
    """The small page as nobody has touched it yet."""
    with Opened(browser, small) as one:
        yield one


@pytest.mark.parametrize(("scheme", "width"), SIZES)
def test_the_page_is_drawn_without_a_word_on_the_console_or_to_a_network(whole: Whole, scheme: str, width: int) -> None:
    one = whole(scheme, width)
    assert one.page.locator(".chart").count() > 60
    assert (one.said, one.elsewhere) == ([], [])
    assert one.page.evaluate("document.documentElement.scrollWidth") == width
    assert one.page.locator(".chart:not(:has(svg))").count() == 0
    assert one.page.locator(".chart path[d*=NaN], .chart [transform*=NaN]").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_of_a_chart_is_cut_or_lies_over_another(whole: Whole, width: int) -> None:
    charts = whole("light", width).page.locator(".chart")
    clashes = {chart.get_attribute("data-said"): chart.evaluate(CLASHES) for chart in charts.all()}
    assert {said: found for said, found in clashes.items() if found} == {}
    first = charts.locator("text").first
    was = first.get_attribute("transform")
    first.evaluate("text => text.setAttribute('transform', 'translate(-500, 0)')")
    assert charts.first.evaluate(CLASHES)
    first.evaluate("(text, was) => text.setAttribute('transform', was)", was)


@pytest.mark.parametrize(("scheme", "width"), SIZES)
def test_axe_finds_nothing(whole: Whole, scheme: str, width: int) -> None:
    found = Axe().run(whole(scheme, width).page).response["violations"]
    assert [(rule["id"], rule["nodes"][0]["html"][:200]) for rule in found] == []


def test_axe_would_find_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    faults = (
        "<html lang=en><title>A page</title><main><h1>A page</h1><img src=x><button></button><p style=color:#aaa>faint"
    )
    (tmp_path / "page.html").write_text(faults)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto((tmp_path / "page.html").as_uri())
    found = {rule["id"] for rule in Axe().run(page).response["violations"]}
    assert {"image-alt", "button-name", "color-contrast"} <= found
    page.close()


def test_a_request_or_an_error_would_be_seen(browser: Browser, small: Path, tmp_path: Path) -> None:
    with socket.socket() as server:  # nobody answers; that somebody asked is enough
        server.bind(("127.0.0.1", 0))
        asks = (
            f'<img alt="" src="http://127.0.0.1:{server.getsockname()[1]}/x.png"><script>throw new Error("oh")</script>'
        )
        other = tmp_path / "other.html"
        other.write_text(small.read_text(encoding="utf-8").replace("</main>", f"{asks}</main>"), encoding="utf-8")
        one = Opened(browser, other)
    assert any("oh" in line for line in one.said)
    assert len(one.elsewhere) == 1
    one.context.close()


def test_every_chart_with_several_colours_says_what_they_are(whole: Whole) -> None:
    asked = {"sweeps": {"loops", "im2col"}, "history": {"as measured"}, "training": {"to 99 %"}, "start": {"import"}}
    for section, words in asked.items():
        charts = whole().page.locator(f"section[id$={section}] .chart").all()
        found = [{text.text_content() for text in chart.locator(".role-legend-label text").all()} for chart in charts]
        assert any(words <= legend for legend in found), section
        if section in ("sweeps", "history"):
            assert all(len(legend) > 1 for legend in found), section


def marks_of(opened: Opened, section: str) -> list[list[dict[str, Any]]]:
    """What every chart of a section has drawn."""
    return [chart.evaluate(MARKS) for chart in opened.page.locator(f"#{section} .chart").all()]


def near(value: float, due: float) -> bool:
    """To a thousandth of what is there; positions are in pixels with fractions."""
    return abs(value - due) <= 1e-3 * max(abs(due), 1e-9)


def test_points_and_intervals_stand_where_the_file_says(whole: Whole, runs: list[Path]) -> None:
    rows = {f"{row.backend} {row.mode}": row for row in read_rows(runs[0], Throughput)}
    (chart,) = marks_of(whole(), "r1-throughput")
    points = [mark for mark in chart if mark["kind"] == "symbol"]
    rules = [mark for mark in chart if mark["kind"] == "rule"]
    assert len(points) == len(rules) == len(rows)
    for mark in points:
        assert near(mark["x"], rows[mark["datum"]["label"]].images_per_s)
        assert not mark["hollow"]
    for mark in rules:
        row = rows[mark["datum"]["label"]]
        assert near(min(mark["x"], mark["x2"]), row.images_per_s_low)
        assert near(max(mark["x"], mark["x2"]), row.images_per_s_high)


def test_what_no_axis_can_show_says_nothing_on_the_console(browser: Browser, tmp_path: Path) -> None:
    endless = {"images_per_s_low": 0.0, "images_per_s_high": math.inf, "step_us_low": 0.0, "step_us_high": math.inf}
    cases = [replace(case, batch_size=size) for case in made_up.CASES[:2] for size in (1, 16, 256)]
    odd = made_up.write_run(tmp_path / "odd", cases, rounds=8, control_gflops=0.0, gemm_peak_share=0.0, **endless)
    bare = dict.fromkeys(("step_us", "images_per_s", "import_s", "gemm_peak_share", *endless))
    none = made_up.write_run(tmp_path / "none", cases, rounds=8, **bare)
    (tmp_path / pages.PAGE).write_text(
        pages.as_html(report.page_of([folders.read(odd), folders.read(none)])), encoding="utf-8"
    )
    one = Opened(browser, tmp_path / pages.PAGE)
    one.open_all()
    assert one.said == []
    assert one.page.locator(".chart path[d*=NaN], .chart [transform*=NaN]").count() == 0
    one.context.close()


def test_a_case_that_is_not_ok_is_hollow(browser: Browser, tmp_path: Path) -> None:
    run = made_up.write_run(tmp_path / "run", made_up.CASES[:3], rounds=8)
    rows = read_rows(run, Throughput)
    write_rows(run, Throughput, [replace(rows[0], status="noisy", reason="others had its CPU"), *rows[1:]])
    (tmp_path / pages.PAGE).write_text(pages.as_html(report.page_of([folders.read(run)])), encoding="utf-8")
    one = Opened(browser, tmp_path / pages.PAGE)
    one.open_all()
    hollow = [mark["datum"]["label"] for mark in marks_of(one, "r1-throughput")[0] if mark["hollow"]]
    assert hollow == ["numpy loops"]
    assert "Hollow points" in one.page.locator("#r1-throughput").inner_text()
    one.context.close()


def test_rounds_are_seconds_over_steps_and_hollow_where_the_control_was_slow(whole: Whole, runs: list[Path]) -> None:
    rounds = {one.order: one for one in read_rows(runs[0], Round)}
    charts = marks_of(whole(), "r1-noise")
    assert len(charts) == len(FIRST) + 1
    for chart in charts:
        points = [mark for mark in chart if mark["kind"] == "symbol"]
        assert len(points) == 3 * ROUNDS
        for mark in points:
            one = rounds[mark["datum"]["order"]]
            assert near(mark["y"], 1e6 * one.seconds / one.steps)
            assert mark["hollow"] == (one.sweep % 7 == 3)  # those that were made a third slower
    levels = [mark for chart in charts for mark in chart if mark["kind"] == "rule"]
    assert len(levels) == len(FIRST)


def test_fitted_lines_are_overhead_and_slope(whole: Whole, runs: list[Path]) -> None:
    (row, *_) = read_rows(runs[2], Overhead)
    charts = marks_of(whole(), "r4-sweeps")
    lines = [mark for chart in charts for mark in chart if mark["kind"] == "line"]
    points = [mark for chart in charts for mark in chart if mark["kind"] == "symbol"]
    assert len(lines) == len(points) == 4 * len(SWEPT)
    for mark in lines:
        size = mark["datum"]["batch_size"]
        assert near(mark["x"], size)
        assert near(mark["y"], row.overhead_us + size * 1e6 / row.images_per_s_limit)
    measured = {(r.mode, r.batch_size, r.step_us) for r in read_rows(runs[2], Throughput)}
    for mark in points:
        mode, size, step = next(one for one in measured if one[2] == mark["datum"]["step_us"])
        assert (mark["datum"]["mode"], mark["datum"]["batch_size"]) == (mode, size)
        assert near(mark["y"], step)


def test_history_is_drawn_over_the_first_run_and_by_each_runs_control(whole: Whole, runs: list[Path]) -> None:
    first, later = ({case_of(row).id: row for row in read_rows(run, Throughput)} for run in runs[:2])
    assert set(first) & set(later)
    charts = marks_of(whole(), "history")
    numbers = {}
    for chart in charts:
        for mark in chart:
            datum = mark["datum"]
            numbers[datum["run_id"]] = datum["run"]
            old = next(row for row in first.values() if row.images_per_s == datum["first_images_per_s"])
            factor = 1 / old.images_per_s
            if datum["how"] != "as measured":
                factor *= old.control_gflops / datum["control_gflops"]
            if mark["kind"] == "symbol":
                assert near(mark["y"], datum["images_per_s"] * factor)
            else:
                assert near(min(mark["y"], mark["y2"]), datum["images_per_s_low"] * factor)
                assert near(max(mark["y"], mark["y2"]), datum["images_per_s_high"] * factor)
    assert (numbers["first"], numbers["later"]) == (1, 3)
    titles = whole().page.locator("h2").all_inner_texts()
    assert {"1: first", "3: later"} <= set(titles)


def test_bars_are_as_long_as_what_they_stand_for(whole: Whole, runs: list[Path]) -> None:
    rows = {f"{row.backend} {row.mode}": row for row in read_rows(runs[0], Throughput)}
    (shares,) = marks_of(whole(), "r1-peak")
    assert len(shares) == len(rows)
    for mark in shares:
        assert near(mark["right"], rows[mark["datum"]["label"]].gemm_peak_share)
    seconds, memory = marks_of(whole(), "r1-start")
    for mark in memory:
        assert near(mark["right"], rows[mark["datum"]["label"]].peak_rss_mb)
    for label, row in rows.items():
        parts = [mark for mark in seconds if mark["datum"]["label"] == label]
        ends = {mark["datum"]["part"]: mark["right"] for mark in parts}
        assert near(ends["import"], row.import_s)
        assert near(ends["build"], row.import_s + row.build_s)
        assert near(ends["first step"], row.import_s + row.build_s + row.first_step_s)


def test_training_and_its_goals_are_those_of_the_curves(whole: Whole, runs: list[Path]) -> None:
    rows, curves = read_rows(runs[4], Accuracy), read_rows(runs[4], Curve)
    goals, by_seconds, by_epoch, losses = marks_of(whole(), "r6-training")[:4]
    medians = {(mark["datum"]["label"], mark["datum"]["goal"]): mark["x"] for mark in goals if mark["kind"] == "symbol"}
    assert len(medians) == len(rows)  # nobody has got to 99 %
    for row in rows:
        assert near(medians[f"{row.backend} {row.mode}", "to 98.5 %"], row.seconds_to_985)
    for chart, over, formula in (
        (by_seconds, "seconds", lambda one: 1 - one.accuracy),
        (by_epoch, "epoch", lambda one: 1 - one.accuracy),
        (losses, "epoch", lambda one: one.train_loss),
    ):
        points = [mark for mark in chart if mark["kind"] == "symbol"]
        assert len(points) == len(curves)
        looked_up = {(one.case, one.seed, one.epoch): one for one in curves}
        for mark in points:
            one = looked_up[mark["datum"]["case"], mark["datum"]["seed"], mark["datum"]["epoch"]]
            assert near(mark["x"], getattr(one, over))
            assert near(mark["y"], formula(one))


def test_errors_stand_at_their_share_of_the_tolerance(whole: Whole, runs: list[Path]) -> None:
    (chart,) = marks_of(whole(), "r1-proof")
    proofs = {(r.backend, r.mode, r.quantity): r.error / r.tolerance for r in read_rows(runs[0], Equivalence)}
    points = [mark for mark in chart if mark["kind"] == "symbol"]
    assert len(points) == len(proofs)
    for mark in points:
        assert near(mark["x"], proofs[mark["datum"]["backend"], mark["datum"]["mode"], mark["datum"]["quantity"]])


def column(table: Locator, index: int) -> list[str]:
    return [text.strip() for text in table.locator(f"tbody tr > :nth-child({index + 1})").all_inner_texts()]


def test_a_click_sorts_by_value_and_another_the_other_way(opened: Opened) -> None:
    table = opened.page.locator("#r1-throughput table").first
    heading = table.locator("thead th", has_text="images/s").first
    index = heading.evaluate("one => one.cellIndex")
    before = column(table, index)
    values = [float(text.replace(",", "")) for text in before]
    assert values != sorted(values)
    heading.get_by_role("button").click()
    assert [float(text.replace(",", "")) for text in column(table, index)] == sorted(values)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").click()
    assert [float(text.replace(",", "")) for text in column(table, index)] == sorted(values, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    names = table.locator("thead th", has_text="backend")
    names.get_by_role("button").focus()
    opened.page.keyboard.press("Enter")
    assert column(table, 0) == sorted(column(table, 0))
    assert (names.get_attribute("aria-sort"), heading.get_attribute("aria-sort")) == ("ascending", None)


@pytest.mark.parametrize("width", WIDTHS)
def test_names_of_rows_stay_in_sight_while_the_rest_is_scrolled(browser: Browser, small: Path, width: int) -> None:
    one = Opened(browser, small, "light", width)
    one.page.add_style_tag(content="td { padding-right: 300px !important }")  # wider than any page
    one.page.set_viewport_size({"width": width + 1, "height": 900})  # which measures anew
    box = one.page.locator("#r1-throughput .wide").first
    row = box.locator("tbody tr").nth(2)
    row.scroll_into_view_if_needed()
    box.evaluate("box => box.scrollLeft = box.scrollWidth")
    assert box.evaluate("box => box.scrollLeft") > 500
    edge, names = box.bounding_box(), row.locator("th").all()
    assert edge
    assert len(names) == 2
    for name in names:
        place = name.bounding_box()
        assert place
        assert edge["x"] <= place["x"] < place["x"] + place["width"] <= edge["x"] + 0.65 * edge["width"] + 1
        middle = [place["x"] + place["width"] / 2, place["y"] + place["height"] / 2]
        on_top = one.page.evaluate("([x, y]) => document.elementFromPoint(x, y).textContent", middle)
        assert on_top == name.text_content()
    one.context.close()


def test_empty_cells_are_last_whichever_way_a_column_is_sorted(opened: Opened) -> None:
    table = opened.page.locator("section[id$=verdicts] table").first
    heading = table.locator("thead th", has_text="95 % interval")
    for _ in range(2):
        heading.get_by_role("button").click()
        assert column(table, heading.evaluate("one => one.cellIndex"))[-1] == ""


def test_the_filter_hides_rows_and_says_how_many_are_left(opened: Opened) -> None:
    section = opened.page.locator("#r1-throughput")
    rows = section.locator("tbody tr")
    section.get_by_label("Filter rows").fill("torch  EAGER")
    assert [row.inner_text().split("\t")[:2] for row in rows.all() if row.is_visible()] == [["torch 1.2.3", "eager"]]
    assert section.get_by_role("status").inner_text() == f"1 of {len(FIRST)} rows"
    section.get_by_label("Filter rows").fill("")
    assert section.get_by_role("status").inner_text() == f"{len(FIRST)} rows"


def test_every_download_equals_the_file(opened: Opened, runs: list[Path], tmp_path: Path) -> None:
    for run in (runs[0], runs[4]):
        article = opened.page.locator("article").filter(has=opened.page.locator("h2", has_text=run.name))
        buttons = article.locator("button[data-download]")
        assert buttons.count() == len([path for path in run.iterdir() if path.is_file()])
        for button in buttons.all():
            with opened.page.expect_download() as downloading:
                button.click()
            name = downloading.value.suggested_filename
            downloading.value.save_as(tmp_path / name)
            assert (tmp_path / name).read_bytes() == (run / name).read_bytes()


def test_everything_can_be_reached_by_keyboard(opened: Opened) -> None:
    opened.page.keyboard.press("Tab")
    assert opened.page.evaluate("document.activeElement.textContent") == "Skip to the results"
    opened.page.keyboard.press("Enter")
    assert opened.page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(40):
        opened.page.keyboard.press("Tab")
        reached.add(opened.page.evaluate("document.activeElement.tagName"))
    assert {"BUTTON", "INPUT", "DIV", "A"} <= reached  # a DIV is a table that scrolls


def test_a_lane_leads_to_its_flags(opened: Opened) -> None:
    link = opened.page.locator("#r1-throughput tbody a").last
    target = opened.page.locator(str(link.get_attribute("href")))
    assert "mxnet 1.2.3" in target.inner_text()
    assert "tf32=False" in target.inner_text()


def test_on_paper_the_page_is_light_and_unfolded(browser: Browser, small: Path, tmp_path: Path) -> None:
    one = Opened(browser, small, "dark")
    dark = "getComputedStyle(document.body).backgroundColor"
    assert one.page.evaluate(dark) == "rgb(21, 24, 28)"
    one.page.emulate_media(media="print")
    assert one.page.evaluate(dark) == "rgb(255, 255, 255)"
    assert not one.page.locator("nav").is_visible()
    one.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert one.page.locator("details:not([open])").count() == 0
    one.page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 100_000
    one.context.close()


def test_without_javascript_the_tables_are_all_there(browser: Browser, small: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(small.as_uri())
    assert page.get_by_text("need JavaScript").is_visible()
    assert page.locator("#r1-throughput tbody tr").count() == len(FIRST)
    context.close()
