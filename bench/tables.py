"""What a person reads in the terminal: Rich tables made from rows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from bench.results import Equivalence, Shape, Throughput
from bench.shapes import HELD, size

STYLES = {
    "ok": "green",
    "unavailable": "yellow",
    "noisy": "yellow",
    "failed": "red",
    "mismatch": "red",
    "differs": "red",
}


def throughput_table(rows: Sequence[Throughput]) -> Table:
    """A row per case that ran, in the order of the registry: no ranking that intervals might not support."""
    first = rows[0]
    cell = f"{first.variant}, batch {first.batch_size}, {first.precision}, {first.device}, {first.threads} thread"
    table = Table(title=f"Training throughput: {cell}" if _uniform(rows) else "Training throughput")
    for column in ("backend", "mode", "lane"):
        table.add_column(column)
    if not _uniform(rows):
        table.add_column("case")
    for column in (
        "images/s",
        "95 % interval",
        "µs/step",
        "first step s",
        "import s",
        "peak MiB",
        "cores",
        "weight error",
    ):
        table.add_column(column, justify="right")
    table.add_column("status")
    for row in rows:
        cells: list[str | Text] = [f"{row.backend} {row.version}".strip(), row.mode, row.lane]
        if not _uniform(rows):
            cells.append(f"{row.variant} b{row.batch_size} {row.precision} {row.device} t{row.threads}")
        cells += [
            number(row.images_per_s, 0),
            interval(row.images_per_s_low, row.images_per_s_high),
            number(row.step_us, 0),
            number(row.first_step_s, 2),
            number(row.import_s, 2),
            number(row.peak_rss_mb, 0),
            number(row.effective_cores, 2),
            "" if row.weight_error is None else f"{row.weight_error:.1e}",
            Text(row.status, STYLES.get(row.status, "")),
        ]
        table.add_row(*cells)
    return table


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


def _uniform(rows: Sequence[Throughput]) -> bool:
    return len({(r.variant, r.batch_size, r.precision, r.device, r.threads) for r in rows}) == 1
