"""What a person reads as a table, made from rows: the same cells for the terminal, the page and Markdown.

A `Number` keeps the row and the column that it comes from, so that whoever shows it can say where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.cases import Case
from bench.estimates import TOO_CLOSE, TOO_NOISY, too_wide
from bench.evaluate import Evaluation
from bench.layers import Row, totals
from bench.results import (
    Accuracy,
    Comparison,
    Equivalence,
    Overhead,
    SelfCheck,
    Shape,
    Throughput,
    Verdict,
    case_of,
)
from bench.shapes import HELD, size
from bench.verdicts import INCONCLUSIVE, MISMATCH, too_noisy

START_UP = ("first step s", "import s", "peak MiB")


@dataclass(frozen=True)
class Number:
    """One cell of a CSV row as a reader sees it: `form` is a format specification.

    `how` is what is shown of the cell: itself, its `inverse`, or its `change` from 1.
    """

    row: Any
    column: str
    form: str = ",.0f"
    how: str = ""

    @property
    def value(self) -> float | None:
        found: float | None = getattr(self.row, self.column)
        if found is None or not self.how:
            return found
        return found - 1 if self.how == "change" else 1 / found if found else math.inf

    def __str__(self) -> str:
        return "" if self.value is None else format(self.value, self.form)


@dataclass(frozen=True)
class Word:
    """A verdict or status, which has a colour of its own."""

    text: str
    kind: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Link:
    """Words that lead to another place of the page; elsewhere, only the words."""

    text: str
    target: str

    def __str__(self) -> str:
        return self.text


# Of two frameworks, neither is good or bad for being the faster one: what nobody can tell stands back.
CALLS = {"faster": "", "slower": "", TOO_CLOSE: "dim", TOO_NOISY: "noisy", "noisy": "noisy"}
# A line that is further off than this somewhere says little of the points.
MOST_MISFIT = 0.3

Piece = str | Number | Word | Link
Cell = tuple[Piece, ...]


@dataclass(frozen=True)
class Heading:
    """What stands over a column; `numeric` ones are set to the right, and sorted by value."""

    text: str
    numeric: bool = False


@dataclass(frozen=True)
class Grid:
    """A table: its title, a heading per column, and rows of cells. The first `names` columns name their row.

    With `anchors`, a link may lead to the n-th row as `anchors-n`. A `matrix` has columns of one kind: where it is too
    wide for a terminal, its columns are shown in several parts, where those of other tables are left out.
    """

    title: str
    headings: tuple[Heading, ...]
    rows: list[list[Cell]] = field(default_factory=list)
    names: int = 1
    anchors: str = ""
    matrix: bool = False

    def without(self, columns: Collection[str]) -> Grid:
        """The same but for the columns of those names."""
        return self.of_columns([index for index, one in enumerate(self.headings) if one.text not in columns])

    def of_columns(self, kept: Sequence[int]) -> Grid:
        """The same with those columns only, by their places."""
        return replace(
            self,
            headings=tuple(self.headings[index] for index in kept),
            rows=[[row[index] for index in kept] for row in self.rows],
        )

    def without_uniform(self, column: str) -> Grid:
        """The same, but what is alike in all rows of that column stands in the title."""
        index = [heading.text for heading in self.headings].index(column)
        found = {row[index] for row in self.rows}
        if len(found) != 1:
            return self
        return replace(self.without([column]), title=f"{self.title}: {''.join(map(str, *found))}")


def headings(words: Sequence[str], numbers: Sequence[str] = (), after: Sequence[str] = ()) -> tuple[Heading, ...]:
    """Columns of words, then columns of numbers, then words again."""
    return (*map(Heading, words), *(Heading(text, True) for text in numbers), *map(Heading, after))


def span(row: Any, low: str, high: str, form: str = ",.0f", how: str = "", between: str = " - ") -> Cell:
    """An interval; nothing where there is none."""
    if getattr(row, low) is None or getattr(row, high) is None:
        return ()
    ends = (high, low) if how == "inverse" else (low, high)
    return Number(row, ends[0], form, how), between, Number(row, ends[1], form, how)


def nothing_said() -> list[Cell]:
    """In the place of a figure and its interval: an interval that says nothing."""
    return [(), (Word(TOO_NOISY, "noisy"),)]


def rate(row: Throughput) -> list[Cell]:
    """Images per second, their interval, time of a step, share of the peak: words where the interval is too wide."""
    if too_wide(row.images_per_s_low, row.images_per_s_high):
        return [*nothing_said(), (), ()]
    return [
        (Number(row, "images_per_s"),),
        span(row, "images_per_s_low", "images_per_s_high"),
        (Number(row, "step_us"),),
        (Number(row, "gemm_peak_share", ".1%"),),
    ]


def described(row: Throughput | Accuracy) -> str:
    """What a case is beside its backend and mode."""
    case = case_of(row)
    feed = " stream" if case.feed == "stream" else ""
    return f"{row.variant} b{row.batch_size} {row.precision} {row.device} t{row.threads}{feed}"


def in_words(row: Throughput, but: str = "") -> str:
    """The same, written out, but for the column that a chart has as its axis."""
    parts = {
        "variant": row.variant,
        "batch_size": f"batch {row.batch_size}",
        "precision": row.precision,
        "device": row.device,
        "threads": f"{row.threads} thread{'s' if row.threads > 1 else ''}",
        "feed": "data moved inside the clock" if row.feed == "stream" else "",
    }
    return ", ".join(text for name, text in parts.items() if text and name != but)


def named(row: Throughput | Accuracy | Overhead | Equivalence) -> str:
    return f"{row.backend} {row.version}".strip()


def throughput(rows: Sequence[Throughput], flags: dict[str, str] | None = None) -> Grid:
    """A row per case, in the order of the registry: no ranking that intervals might not support.

    `flags` leads from a case's id to the place of the page that tells its flags.
    """
    uniform = len({described(row) for row in rows}) == 1
    title = f"Training throughput: {in_words(rows[0])}, {rows[0].data}" if uniform else "Training throughput"
    words = ["backend", "mode", *([] if uniform else ["case"]), "lane"]
    numbers = ["images/s", "95 % interval", "µs/step", "of peak", *START_UP, "cores", "weight error"]
    grid = Grid(title, headings(words, numbers, ["status"]), names=len(words) - 1)
    for row in rows:
        target = (flags or {}).get(case_of(row).id)
        grid.rows.append(
            [
                (named(row),),
                (row.mode,),
                *([] if uniform else [(described(row),)]),
                (Link(row.lane, target) if target else row.lane,),
                *rate(row),
                (Number(row, "first_step_s", ".2f"),),
                (Number(row, "import_s", ".2f"),),
                (Number(row, "peak_rss_mb"),),
                (Number(row, "effective_cores", ".2f"),),
                (Number(row, "weight_error", ".1e"),),
                (Word(row.status, row.status),),
            ]
        )
    return grid


def start_up(rows: Sequence[Throughput]) -> Grid:
    """What a case costs before its first round, and what it holds."""
    numbers = ["import, s", "build, s", "first step, s", "peak MiB", "peak GPU MiB", "page faults per step"]
    columns = ("import_s", "build_s", "first_step_s", "peak_rss_mb", "peak_device_mb", "page_faults_per_step")
    forms = (".2f", ".3f", ".2f", ",.0f", ",.0f", ",.1f")
    grid = Grid("Start-up and memory", headings(["backend", "mode", "case"], numbers), names=2)
    for row in rows:
        counted = [(Number(row, column, form),) for column, form in zip(columns, forms)]
        grid.rows.append([(named(row),), (row.mode,), (described(row),), *counted])
    return grid.without_uniform("case")


def pairs_matrix(comparisons: Sequence[Comparison], labels: dict[str, str]) -> Grid:
    """Every pair that was timed: how many times the images/s of the column the row reaches, with its interval."""
    columns = list(dict.fromkeys(one.other for one in comparisons))
    heads = (Heading(""), *(Heading(labels[other].replace(" ", "\n"), True) for other in columns))
    grid = Grid("images/s of the row / images/s of the column, with 95 % interval", heads, matrix=True)
    for case in dict.fromkeys(one.case for one in comparisons):
        own = {one.other: one for one in comparisons if one.case == case}
        grid.rows.append([(labels[case],), *(pair_cell(own[o]) if o in own else () for o in columns)])
    return grid


def pair_cell(pair: Comparison) -> Cell:
    """`1.23` over `1.20-1.26`; what the interval does not support is not said."""
    ratio = Number(pair, "ratio", "#.3g", "inverse")
    if pair.ratio_low is None or pair.ratio_high is None:
        return Word("one pass", "dim"), "\n", ratio
    ends = span(pair, "ratio_low", "ratio_high", "#.3g", "inverse", "-")
    if pair.verdict in ("faster", "slower"):
        return ratio, "\n", *ends
    if too_wide(pair.ratio_low, pair.ratio_high):
        return (Word("too noisy\nto tell", "dim"),)
    return Word("noisy" if pair.verdict == "noisy" else "too close", "dim"), "\n", *ends


def pairs(comparisons: Sequence[Comparison], labels: dict[str, str]) -> Grid:
    """The same as a list, a row per pair, with the verdict in words."""
    numbers = ["times its images/s", "95 % interval", "by total time", "passes"]
    grid = Grid("Every pair, sweep by sweep", headings(["case", "beside"], numbers, ["the case is"]), names=2)
    for one in comparisons:
        said, figures = (
            pair_word(one),
            [
                (Number(one, "ratio", "#.4g", "inverse"),),
                span(one, "ratio_low", "ratio_high", "#.4g", "inverse"),
                (Number(one, "total_ratio", "#.4g", "inverse"),),
            ],
        )
        grid.rows.append(
            [
                (labels[one.case],),
                (labels[one.other],),
                *(figures if said.text != TOO_NOISY else [(), (), ()]),
                (Number(one, "passes", "d"),),
                (said,),
            ]
        )
    return grid


def pair_word(pair: Comparison) -> Word:
    """The verdict on a pair; an interval that is too wide supports no closeness, whatever the file calls it."""
    if pair.ratio_low is None:
        return Word("one pass: no verdict", "dim")
    loose = pair.verdict == TOO_CLOSE and too_wide(pair.ratio_low, pair.ratio_high)
    word = TOO_NOISY if loose else pair.verdict
    return Word(word, CALLS.get(word, ""))


def overheads(rows: Sequence[Overhead]) -> Grid:
    """What a step costs whatever its batch size, and how fast the largest batches could go.

    An overhead of which not even the sign is known, and a limit that is as wide as a rate must not be, are not printed.
    """
    numbers = ["overhead µs", "95 % interval", "limit images/s", "95 % interval", "worst misfit"]
    heads = headings(["backend", "mode", "case", "batch sizes"], numbers, ["the line"])
    grid = Grid("step = overhead + batch size / limit", heads, names=2)
    for row in rows:
        feed = " stream" if row.feed == "stream" else ""
        overhead: list[Cell] = [(Number(row, "overhead_us"),), span(row, "overhead_us_low", "overhead_us_high")]
        if row.overhead_us_low is not None and row.overhead_us_low <= 0:
            overhead = nothing_said()
        limit: list[Cell] = [
            (Number(row, "images_per_s_limit"),),
            span(row, "images_per_s_limit_low", "images_per_s_limit_high"),
        ]
        if too_wide(row.images_per_s_limit_low, row.images_per_s_limit_high):
            limit = nothing_said()
        grid.rows.append(
            [
                (named(row),),
                (row.mode,),
                (f"{row.variant} {row.precision} {row.device} t{row.threads}{feed}",),
                (row.batch_sizes,),
                *overhead,
                *limit,
                (Number(row, "worst_misfit", ".0%"),),
                (Word("bent: read the points", "noisy") if row.worst_misfit > MOST_MISFIT else "fits",),
            ]
        )
    return grid.without_uniform("case")


def short(ids: Iterable[str]) -> dict[str, str]:
    """Ids of cases less what stands at the same place in all of them, behind backend and mode."""
    parts = {one: one.split("-") for one in ids}
    if len({len(own) for own in parts.values()}) != 1:
        return {one: one for one in parts}
    differs = [len(set(column)) > 1 for column in zip(*parts.values())]
    return {
        one: " ".join(part for place, part in enumerate(own) if place < 2 or differs[place])
        for one, own in parts.items()
    }


def selfchecks(rows: Sequence[SelfCheck]) -> Grid:
    """A row per injected slowdown: what was found, and what the pairs' spread could have caught."""
    numbers = ["found", "95 % interval", "by total time", "pair sd", "catches 9 in 10", "passes"]
    title = "Identical code and injected slowdowns, side by side"
    grid = Grid(title, headings(["case", "beside it"], numbers, ["verdict"]), names=2)
    called = short(row.case for row in rows)
    for row in rows:
        dense = "every round" if row.every == 1 else f"every {row.every}th round"
        beside: Cell = (Number(row, "injected", "+.0%"), f" {dense}") if row.injected else (row.beside,)
        grid.rows.append(
            [
                (called[row.case],),
                beside,
                (Number(row, "found", "+.2%"),),
                span(row, "found_low", "found_high", "+.1%", between=" "),
                (Number(row, "found_total", "+.2%"),),
                (Number(row, "pair_sd", ".2%"),),
                ("nothing",) if too_noisy(row.catches) else (Number(row, "catches", ".1%"),),
                (Number(row, "passes", "d"),),
                (row.verdict,),
            ]
        )
    return grid


def verdicts(rows: Sequence[Verdict]) -> Grid:
    """A row per case of a gate or a comparison."""
    numbers = ["step, head / base", "95 % interval", "by total time", "could have seen"]
    grid = Grid("The head's step beside the base's", headings(["case", "verdict"], numbers, ["why"]))
    called = short(row.case for row in rows)
    for row in rows:
        word = row.verdict + (" (by the control)" if row.basis == "control" else "")
        figures: list[Cell] = [
            (Number(row, "ratio", "+.1%", "change"),),
            span(row, "ratio_low", "ratio_high", "+.1%", "change", " to "),
            (Number(row, "total_ratio", "+.1%", "change"),),
            (Number(row, "resolves", "+.1%"),),
        ]
        if row.verdict == INCONCLUSIVE and too_wide(row.ratio_low, row.ratio_high):
            figures = [*nothing_said(), (), ()]
        elif too_noisy(row.resolves):
            figures[3] = ("nothing",)
        grid.rows.append([(called[row.case],), (Word(word, row.verdict),), *figures, (row.reason,)])
    return grid


def equivalence(rows: Sequence[Equivalence]) -> Grid:
    """A line per backend, mode, variant and precision: the error that came closest to its tolerance, per kind."""
    checkpoints = sorted({row.steps for row in rows if row.quantity == "weights"})
    numbers = ["stages", "losses", *(f"weights, {steps} step{'s' if steps > 1 else ''}" for steps in checkpoints)]
    words = ["backend", "mode", "variant", "precision"]
    title = "Equivalence with the float64 NumPy reference: largest error / tolerance"
    grid = Grid(title, headings(words, numbers, ["verdict"]), names=4)
    groups: dict[tuple[str, ...], list[Equivalence]] = {}
    for row in rows:
        groups.setdefault((named(row), row.mode, row.variant, row.precision), []).append(row)
    for key, own in groups.items():
        found = [closest([row for row in own if row.quantity.startswith(kind)]) for kind in ("stage", "losses")]
        found += [closest([r for r in own if r.quantity == "weights" and r.steps == steps]) for steps in checkpoints]
        wrong = [row for row in own if row.verdict != "ok"]
        verdict = Word("ok", "ok")
        if wrong:
            verdict = Word(f"{wrong[0].quantity}, {wrong[0].steps} steps: {wrong[0].worst}", MISMATCH)
        grid.rows.append([*((part,) for part in key), *found, (verdict,)])
    return grid


def closest(rows: Sequence[Equivalence]) -> Cell:
    """The error nearest to its tolerance (or past it), written `error / tolerance`."""
    if not rows:
        return ("-",)
    worst = max(
        rows, key=lambda row: row.error / row.tolerance if row.error == row.error and row.tolerance else math.inf
    )
    return Number(worst, "error", ".0e"), " / ", Number(worst, "tolerance", ".0e")


def shapes(rows: Sequence[Shape], native: bool = False) -> Grid:
    """A row per stage of one variant, a column per backend and mode, the formula's first; what differs stands out."""
    backends = list(dict.fromkeys((row.backend, row.mode) for row in rows))
    title = f"Stage shapes of {rows[0].variant}, {'as each framework keeps them' if native else 'canonical NCHW'}"
    own_columns = ["formula", "shape", "parameters", "receptive field"]
    columns = [f"{backend}\n{mode}" for backend, mode in backends]
    grid = Grid(title, headings(["stage"], [*own_columns, *columns]), matrix=True)
    for stage in dict.fromkeys(row.stage for row in rows):
        own = {(row.backend, row.mode): row for row in rows if row.stage == stage}
        one = next(iter(own.values()))
        line: list[Cell] = [
            (stage,),
            (size(one.formula),),
            (one.formula,),
            (Number(one, "formula_parameters", ",d") if one.formula_parameters else "",),
            (Number(one, "receptive_field", "d") if one.receptive_field else "",),
        ]
        grid.rows.append(line + [shape_cell(own.get(key), native) for key in backends])
    return grid


def shape_cell(row: Shape | None, native: bool) -> Cell:
    if row is None:
        return ()
    if row.verdict != HELD:
        return (Word(f"{row.shape}, {row.parameters:,} parameters", row.verdict),)
    return (row.native_shape if native else size(row.shape),)


def accuracies(rows: Sequence[Accuracy]) -> Grid:
    """Accuracy and time to it: seconds are those of training steps, without looks at the test images."""
    titles = dict.fromkeys(course_in_words(row) for row in rows)
    words = ["backend", "mode", "variant"]
    numbers = ["parameters", "rate", "final accuracy", "best", "s to 98.5 %", "s to 99 %", "images/s", "peak MiB"]
    heads = headings(words, [*numbers, "losses apart"], ["status"])
    grid = Grid("Training: " + "; ".join(titles), heads, names=3)
    for row in rows:
        said = row.agreement if row.agreement == "differs" else row.status
        grid.rows.append(
            [
                (named(row),),
                (row.mode,),
                (row.variant,),
                (Number(row, "parameters", ",d"),),
                (Number(row, "learning_rate", "g"),),
                (Number(row, "final_accuracy", ".2%"),),
                (Number(row, "best_accuracy", ".2%"),),
                (Number(row, "seconds_to_985", ",.1f"),),
                (Number(row, "seconds_to_990", ",.1f"),),
                (Number(row, "images_per_s"),),
                (Number(row, "peak_rss_mb"),),
                (Number(row, "losses_apart", ".1g"),),
                (Word(said, said),),
            ]
        )
    return grid


def course_in_words(row: Accuracy) -> str:
    """What all rows of a training run have in common."""
    seeds = f"seed {row.seeds}" if len(row.seeds.split()) == 1 else f"median of seeds {row.seeds}"
    return (
        f"{row.data}, {row.epochs} epochs, batch {row.batch_size}, {row.schedule} learning rate, "
        f"{row.initialisation}, {row.normalisation}, {row.threads} thread{'s' if row.threads > 1 else ''}, {seeds}"
    )


def evaluations(found: Sequence[Evaluation], name: str) -> Grid:
    """What each framework makes of the same weights, beside the float64 reference."""
    numbers = ["accuracy", "right", "predicted otherwise than the reference", "ties", "logits off"]
    title = f"The same weights in every framework: test images of {name}"
    grid = Grid(title, headings(["backend", "mode"], numbers, ["status"]), names=2)
    for one in found:
        said = one.status if one.status != "ok" else "ok" if one.held else "differs"
        counted: list[Cell] = [()] * 5
        if one.status == "ok":
            right = f"{one.right:,} of {one.images:,}"
            shown = (f"{one.right / one.images:.2%}", right, str(one.differ), str(one.ties), f"{one.worst:.1g}")
            counted = [(text,) for text in shown]
        grid.rows.append(
            [(f"{one.case.backend} {one.version}".strip(),), (one.case.mode,), *counted, (Word(said, said),)]
        )
    return grid


def layers(rows: Sequence[Row]) -> Grid:
    """A stack of layers, one per line, and the sums of what can be summed."""
    numbers = ["parameters", "connections", "multiply-adds", "memory, bytes", "receptive field"]
    title = "Layers, for one image; memory is that of float32 values"
    grid = Grid(title, headings(["layer", "size", "output"], numbers))
    columns = ("parameters", "connections", "multiply_adds", "output_bytes")
    for row in rows:
        counts: list[Cell] = [(Number(row, column, ",d"),) for column in columns]
        grid.rows.append([(row.kind,), (row.formula,), (row.shape,), *counts, (Number(row, "receptive_field", "d"),)])
    sums: list[Cell] = [(f"{total:,}",) for total in totals(rows)]
    grid.rows.append([("total",), (), (), *sums, ()])
    return grid


def environments(rows: Sequence[tuple[str, str, str]]) -> Grid:
    """Each environment's name, its Python's version and its state."""
    grid = Grid("Environments", headings(["name", "Python", "state"]))
    for row in rows:
        grid.rows.append([(text,) for text in row])
    return grid


def history(
    found: Mapping[str, Sequence[tuple[int, Throughput]]], labels: Mapping[str, str], names: Mapping[int, str]
) -> Grid:
    """Each case in each run that has timed it, by the run's number and name, and the speed of the control beside it."""
    numbers = ["images/s", "95 % interval", "over the first", "control GFLOP/s", "over the first, by the control"]
    heads = headings(["case", "run"], numbers, ["version", "status"])
    grid = Grid("Each case over its runs", heads, names=2)
    for case, rows in found.items():
        first = rows[0][1]
        for number, row in rows:
            grid.rows.append(
                [
                    (labels[case],),
                    (names[number],),
                    *rate(row)[:2],
                    (over(known_rate(row), known_rate(first)),),
                    (Number(row, "control_gflops", ",.1f"),),
                    (over(per_gflop(row), per_gflop(first)),),
                    (row.version,),
                    (Word(row.status, row.status),),
                ]
            )
    return grid


def over(value: float | None, first: float | None) -> str:
    return "" if value is None or not first else f"{value / first:.3f}"


def per_gflop(row: Throughput) -> float | None:
    """Images for each 10^9 operations that the control could do in the same time."""
    rate = known_rate(row)
    return None if rate is None or not row.control_gflops else rate / row.control_gflops


def known_rate(row: Throughput) -> float | None:
    """Images per second where they are known well enough to be printed."""
    return None if too_wide(row.images_per_s_low, row.images_per_s_high) else row.images_per_s


def labels_of(cases: Sequence[Case]) -> dict[str, str]:
    """What a table or a chart calls each case: backend and mode, and the rest where it is not the same for all."""
    uniform = len({case.kind for case in cases}) == 1
    return {case.id: f"{case.backend} {case.mode}" + ("" if uniform else f" {case.kind}") for case in cases}
