"""What a person reads in the terminal: Rich tables made from rows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from bench.cases import Case
from bench.evaluate import Evaluation
from bench.layers import Row, totals
from bench.results import Accuracy, Comparison, Equivalence, Overhead, SelfCheck, Shape, Throughput, Verdict
from bench.shapes import HELD, size
from bench.summary import HEADINGS, cells

STYLES = {
    "ok": "green",
    "unavailable": "yellow",
    "noisy": "yellow",
    "failed": "red",
    "mismatch": "red",
    "differs": "red",
    "slower": "red",
    "missing": "red",
    "inconclusive": "yellow",
    "faster": "green",
}


def throughput_table(rows: Sequence[Throughput]) -> Table:
    """A row per case that ran, in the order of the registry: no ranking that intervals might not support."""
    first = rows[0]
    threads = f"{first.threads} thread{'s' if first.threads > 1 else ''}"
    cell = f"{first.variant}, batch {first.batch_size}, {first.precision}, {first.device}, {threads}, {first.data}"
    uniform = len({described(row) for row in rows}) == 1
    table = Table(title=f"Training throughput: {cell}" if uniform else f"Training throughput: {first.data}")
    for column in ("backend", "mode"):
        table.add_column(column)
    if not uniform:
        table.add_column("case")
    for column in (
        "images/s",
        "95 % interval",
        "µs/step",
        "% of peak",
        "first step s",
        "import s",
        "peak MiB",
        "cores",
    ):
        table.add_column(column, justify="right")
    table.add_column("weight error", justify="right")
    table.add_column("status")
    for row in rows:
        cells: list[str | Text] = [f"{row.backend} {row.version}".strip(), row.mode]
        if not uniform:
            cells.append(described(row))
        cells += [
            number(row.images_per_s, 0),
            interval(row.images_per_s_low, row.images_per_s_high),
            number(row.step_us, 0),
            "" if row.gemm_peak_share is None else f"{100 * row.gemm_peak_share:.1f}",
            number(row.first_step_s, 2),
            number(row.import_s, 2),
            number(row.peak_rss_mb, 0),
            number(row.effective_cores, 2),
            "" if row.weight_error is None else f"{row.weight_error:.1e}",
            Text(row.status, STYLES.get(row.status, "")),
        ]
        table.add_row(*cells)
    return table


def comparison_table(comparisons: Sequence[Comparison], cases: Sequence[Case]) -> Table:
    """Every pair that was timed: how many times the images/s of the column the row reaches, with its interval."""
    names = {case.id: f"{case.backend} {case.mode}" for case in cases}
    kinds = {case.id: case.id.split(case.mode, 1)[1].strip("-") for case in cases}
    uniform = len({kinds[comparison.case] for comparison in comparisons}) == 1
    labels = names if uniform else {key: f"{names[key]} {kinds[key]}" for key in names}
    table = Table(title="images/s of the row / images/s of the column, with 95 % interval")
    table.add_column("")
    columns = list(dict.fromkeys(comparison.other for comparison in comparisons))
    for other in columns:
        table.add_column(labels[other].replace(" ", "\n"), justify="right")
    for case in dict.fromkeys(comparison.case for comparison in comparisons):
        pairs = {comparison.other: comparison for comparison in comparisons if comparison.case == case}
        table.add_row(labels[case], *(pair_cell(pairs[other]) if other in pairs else "" for other in columns))
    return table


def overhead_table(rows: Sequence[Overhead]) -> Table:
    """What a step costs whatever its batch size, and how fast the largest batches could go."""
    first = rows[0]
    table = Table(title=f"Batch sizes {first.batch_sizes}: step = overhead + batch size / limit")
    for column in ("backend", "mode"):
        table.add_column(column)
    for column in ("threads", "overhead µs", "95 % interval", "limit images/s", "95 % interval", "worst misfit"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            f"{row.backend} {row.version}",
            row.mode,
            str(row.threads),
            number(row.overhead_us, 0),
            interval(row.overhead_us_low, row.overhead_us_high),
            number(row.images_per_s_limit, 0),
            interval(row.images_per_s_limit_low, row.images_per_s_limit_high),
            f"{row.worst_misfit:.0%}",
        )
    return table


def selfcheck_table(rows: Sequence[SelfCheck]) -> Table:
    """A row per injected slowdown: what was found, and what the pairs' spread could have caught."""
    table = Table(title="Identical code and injected slowdowns, side by side")
    for column in ("case", "beside it"):
        table.add_column(column)
    for column in ("found", "95 % interval", "by total time", "pair sd", "catches 9 in 10", "passes"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for row in rows:
        dense = "every round" if row.every == 1 else f"every {row.every}th round"
        ends = "" if row.found_low is None or row.found_high is None else f"{row.found_low:+.1%} {row.found_high:+.1%}"
        table.add_row(
            row.case,
            f"{row.injected:+.0%} {dense}" if row.injected else row.beside,
            f"{row.found:+.2%}",
            ends,
            f"{row.found_total:+.2%}",
            f"{row.pair_sd:.2%}",
            f"{row.catches:.1%}",
            str(row.passes),
            row.verdict,
        )
    return table


def verdict_table(rows: Sequence[Verdict]) -> Table:
    """A row per case of a gate or a comparison; why it is so follows below the table."""
    table = Table(title="The head's step beside the base's")
    for column in HEADINGS[:-1]:
        table.add_column(column, justify="left" if column in ("case", "verdict") else "right")
    for row in rows:
        case, word, *rest = cells(row)[:-1]
        table.add_row(case, Text(word, STYLES.get(row.verdict, "")), *rest)
    return table


def pair_cell(pair: Comparison) -> Text:
    """`1.23` over `1.20-1.26`; what the interval does not support is not said."""
    if pair.ratio_low is None or pair.ratio_high is None:
        return Text(f"one pass\n{1 / pair.ratio:.2f}", "dim")
    ends = f"{1 / pair.ratio_high:.2f}-{1 / pair.ratio_low:.2f}"
    if pair.verdict in ("faster", "slower"):
        return Text(f"{1 / pair.ratio:.2f}\n{ends}")
    return Text(f"{'too close' if pair.verdict != 'noisy' else 'noisy'}\n{ends}", "dim")


def described(row: Throughput) -> str:
    feed = " stream" if row.feed == "stream" else ""
    return f"{row.variant} b{row.batch_size} {row.precision} {row.device} t{row.threads}{feed}"


def equivalence_table(rows: Sequence[Equivalence]) -> Table:
    """A line per backend, mode, variant and precision: the error that came closest to its tolerance, per kind."""
    table = Table(title="Equivalence with the float64 NumPy reference: largest error / tolerance")
    for column in ("backend", "mode", "variant", "precision"):
        table.add_column(column)
    checkpoints = sorted({row.steps for row in rows if row.quantity == "weights"})
    for column in ("stages", "losses", *(f"weights, {steps} steps" for steps in checkpoints)):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    groups: dict[tuple[str, ...], list[Equivalence]] = {}
    for row in rows:
        groups.setdefault((f"{row.backend} {row.version}", row.mode, row.variant, row.precision), []).append(row)
    for key, own in groups.items():
        cells = [closest([row for row in own if row.quantity.startswith(kind)]) for kind in ("stage", "losses")]
        cells += [closest([r for r in own if r.quantity == "weights" and r.steps == steps]) for steps in checkpoints]
        wrong = [row for row in own if row.verdict != "ok"]
        verdict = Text("ok", STYLES["ok"])
        if wrong:
            verdict = Text(f"{wrong[0].quantity}, {wrong[0].steps} steps: {wrong[0].worst}", STYLES["mismatch"])
        table.add_row(*key, *cells, verdict)
    return table


def shape_table(rows: Sequence[Shape], native: bool) -> Table:
    """A row per stage, a column per backend and mode, the formula's first; what differs stands out in place."""
    variant = rows[0].variant
    table = Table(title=f"Stage shapes of {variant}, {'as each framework keeps them' if native else 'canonical NCHW'}")
    for column in ("stage", "formula", "shape", "parameters", "receptive field"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    backends = list(dict.fromkeys((row.backend, row.mode) for row in rows))
    for backend, mode in backends:
        table.add_column(f"{backend}\n{mode}", justify="right")
    for stage in dict.fromkeys(row.stage for row in rows):
        own = {(row.backend, row.mode): row for row in rows if row.stage == stage}
        one = next(iter(own.values()))
        parameters = f"{one.formula_parameters:,}" if one.formula_parameters else ""
        cells: list[str | Text] = [stage, size(one.formula), one.formula, parameters, str(one.receptive_field or "")]
        for key in backends:
            row = own.get(key)
            if row is None:
                cells.append("")
                continue
            shown = row.native_shape if native else size(row.shape)
            if row.verdict != HELD:
                shown = f"{row.shape}, {row.parameters:,} parameters"
            cells.append(Text(shown, "" if row.verdict == HELD else STYLES["differs"]))
        table.add_row(*cells)
    return table


def closest(rows: Sequence[Equivalence]) -> str:
    """The error nearest to its tolerance (or past it), written `error / tolerance`."""
    if not rows:
        return "-"
    worst = max(rows, key=lambda row: row.error / row.tolerance if row.error == row.error else float("inf"))
    return f"{worst.error:.0e} / {worst.tolerance:.0e}"


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:,.0f} - {high:,.0f}"


ACCURACY_HEADINGS = (
    "backend",
    "mode",
    "variant",
    "parameters",
    "rate",
    "final accuracy",
    "best",
    "s to 98.5 %",
    "s to 99 %",
    "images/s",
    "peak MiB",
)


def accuracy_cells(row: Accuracy) -> list[str]:
    """A row of the table of architectures; medians over the seeds."""
    return [
        f"{row.backend} {row.version}".strip(),
        row.mode,
        row.variant,
        f"{row.parameters:,}",
        f"{row.learning_rate:g}",
        percent(row.final_accuracy),
        percent(row.best_accuracy),
        number(row.seconds_to_985, 1),
        number(row.seconds_to_990, 1),
        number(row.images_per_s, 0),
        number(row.peak_rss_mb, 0),
    ]


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def accuracy_title(row: Accuracy) -> str:
    """What all rows of a run have in common."""
    seeds = f"seed {row.seeds}" if len(row.seeds.split()) == 1 else f"median of seeds {row.seeds}"
    return (
        f"{row.data}, {row.epochs} epochs, batch {row.batch_size}, {row.schedule} learning rate, "
        f"{row.initialisation}, {row.normalisation}, {row.threads} thread{'s' if row.threads > 1 else ''}, {seeds}"
    )


def accuracy_table(rows: Sequence[Accuracy]) -> Table:
    """Accuracy and time to it: seconds are those of training steps, without looks at the test images."""
    titles = dict.fromkeys(accuracy_title(row) for row in rows)
    table = Table(title="Training: " + "; ".join(titles))
    for index, column in enumerate((*ACCURACY_HEADINGS, "losses apart", "status")):
        table.add_column(column, justify="left" if index < 3 or column == "status" else "right")
    for row in rows:
        apart = "" if row.losses_apart is None else f"{row.losses_apart:.1g}"
        words = row.agreement if row.agreement == "differs" else row.status
        table.add_row(*accuracy_cells(row), apart, Text(words, style=STYLES.get(words, "")))
    return table


def accuracy_markdown(rows: Sequence[Accuracy]) -> str:
    """The same for a README."""
    lines = [f"| {' | '.join(ACCURACY_HEADINGS)} |", f"|---|---|---|{'---:|' * (len(ACCURACY_HEADINGS) - 3)}"]
    lines += [f"| {' | '.join(accuracy_cells(row))} |" for row in rows]
    return "\n".join([*lines, "", "; ".join(dict.fromkeys(accuracy_title(row) for row in rows)) + "."])


def evaluation_table(found: Sequence[Evaluation], name: str) -> Table:
    """What each framework makes of the same weights, beside the float64 reference."""
    table = Table(title=f"The same weights in every framework: test images of {name}")
    for column in (
        "backend",
        "mode",
        "accuracy",
        "right",
        "predicted otherwise than the reference",
        "ties",
        "logits off",
    ):
        table.add_column(column, justify="left" if column in ("backend", "mode") else "right")
    table.add_column("status")
    for one in found:
        words = one.status if one.status != "ok" else "ok" if one.held else "differs"
        cells = [f"{one.case.backend} {one.version}".strip(), one.case.mode]
        if one.status == "ok":
            right = f"{one.right:,} of {one.images:,}"
            cells += [f"{one.right / one.images:.2%}", right, str(one.differ), str(one.ties), f"{one.worst:.1g}"]
        else:
            cells += [""] * 5
        table.add_row(*cells, Text(words, style=STYLES.get(words, "")))
    return table


def layers_table(rows: Sequence[Row]) -> Table:
    """A stack of layers, one per line, and the sums of what can be summed."""
    table = Table(title="Layers, for one image; memory is that of float32 values")
    for column in ("layer", "size", "output"):
        table.add_column(column)
    for column in ("parameters", "connections", "multiply-adds", "memory, bytes", "receptive field"):
        table.add_column(column, justify="right")
    for row in rows:
        counts = (row.parameters, row.connections, row.multiply_adds, row.output_bytes)
        table.add_row(row.kind, row.formula, row.shape, *(f"{count:,}" for count in counts), str(row.receptive_field))
    table.add_section()
    table.add_row("total", "", "", *(f"{total:,}" for total in totals(rows)), "")
    return table
