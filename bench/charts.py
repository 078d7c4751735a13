"""Every chart of the report page, as an Altair chart whose data are cells of the CSV files.

What is drawn and is not in a file (microseconds per step of a round, a fitted line) is worked out by the chart
itself, in a `transform_calculate`. Colours are CSS variables of the page, so that light, dark and print need one
chart only; `page/page.css` has them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import altair as alt

from backends import BUILT_IN
from bench.results import Accuracy, Curve, Equivalence, Overhead, Round, SelfCheck, Throughput, Verdict, case_of

Chart: TypeAlias = alt.Chart | alt.LayerChart
ROW_HEIGHT = 20
# Beyond this ratio of the largest to the smallest, a linear axis would show one case and a heap.
WIDE = 20
# How many times as far as the outermost point an interval may reach: those of two unlike passes know no end, and an
# axis that showed them would show nothing else.
REACH = 3
# A change that is drawn with as much room as this even where all are smaller.
SMALL = 0.02
# Of page/page.css: hues are of backends, tones of all else (modes, passes, parts), so that no colour means two things.
HUES, TONES = 8, 6
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 1]]
FONT = "system-ui, sans-serif"
CONFIG: dict[str, Any] = {
    "background": None,
    "padding": {"left": 2, "top": 5, "right": 18, "bottom": 5},
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--ink)",
        "titleFontWeight": "normal",
        "gridColor": "var(--grid)",
        "domainColor": "var(--rule)",
        "tickColor": "var(--rule)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelLimit": 320,
        "labelOverlap": "greedy",
        "labelSeparation": 6,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--ink)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 320,
        "orient": "bottom",
        "direction": "vertical",
        "symbolStrokeWidth": 2,
        "symbolBaseFillColor": "var(--ink)",
        "symbolBaseStrokeColor": "var(--ink)",
    },
    "axisX": {"tickCount": {"expr": "ceil(width / 80)"}},
    "rule": {"color": "var(--rule)"},
    "text": {"color": "var(--ink)"},
}


def data(rows: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    """Rows as a chart takes them; what no axis can show is left out."""
    return alt.InlineData(
        values=[
            {name: value for name, value in row.items() if not (isinstance(value, float) and not math.isfinite(value))}
            for row in rows
        ]
    )


def cells(row: Any, *columns: str, **more: Any) -> dict[str, Any]:
    """Those columns of a CSV row under their own names, and what the chart needs beside them."""
    return {**{name: getattr(row, name) for name in columns}, **more}


def colours_of(backends: Collection[str]) -> dict[str, str]:
    """A colour for each backend: the registry's own have the same on every page, a third party's the next ones."""
    own = [entry.name for entry in BUILT_IN]
    known = [*own, *(name for name in dict.fromkeys(backends) if name not in own)]
    return {name: f"var(--hue{known.index(name) % HUES})" for name in dict.fromkeys(backends)}


def tones(count: int) -> list[str]:
    return [f"var(--tone{index % TONES})" for index in range(count)]


def backend_scale(backends: Collection[str]) -> alt.Scale:
    picked = colours_of(backends)
    return alt.Scale(domain=[*picked], range=[*picked.values()])


def backend_colour(backends: Collection[str]) -> alt.Color:
    return alt.Color("backend:N", scale=backend_scale(backends), legend=None)


def mode_styles(modes: Sequence[str]) -> dict[str, Any]:
    """Colour, shape and dash, each of which tells the modes of one backend apart by itself."""
    names = list(dict.fromkeys(modes))
    legend = alt.Legend(title="mode", symbolStrokeWidth=0)
    return {
        "color": alt.Color("mode:N", scale=alt.Scale(domain=names, range=tones(len(names))), legend=legend),
        "fill": alt.Fill("mode:N", scale=alt.Scale(domain=names, range=tones(len(names))), legend=legend),
        "shape": alt.Shape("mode:N", scale=alt.Scale(domain=names, range=SHAPES), legend=legend),
        "strokeDash": alt.StrokeDash("mode:N", scale=alt.Scale(domain=names, range=DASHES), legend=legend),
    }


def tips(*columns: tuple[str, str, str]) -> list[alt.Tooltip]:
    return [alt.Tooltip(field, title=title, format=form or alt.Undefined) for field, title, form in columns]


def sized(chart: Chart, rows: int | None = None, height: int = 240) -> Chart:
    """As wide as the page, and as high as the rows need."""
    return chart.properties(width="container", height=rows * ROW_HEIGHT if rows else height)


def label_axis(order: Sequence[str], everyone: bool = False) -> alt.Y:
    """Labels from the top in that order; with `everyone`, those too that have no mark."""
    scale = alt.Scale(domain=list(order)) if everyone else alt.Undefined
    return alt.Y("label:N", title=None, sort=list(order), scale=scale, axis=alt.Axis(ticks=False, domain=False))


def is_wide(values: Iterable[float | None]) -> bool:
    """Whether values lie so far apart that they need a logarithmic axis."""
    there = [value for value in values if value and math.isfinite(value)]
    return bool(there) and max(there) / min(there) > WIDE


def hollow_unless(test: str) -> Any:
    """Points that do not count are drawn, but not filled."""
    return alt.condition(test, alt.value(1), alt.value(0))


def intervals(base: alt.Chart, rows: Sequence[Any], low: str, shown: Any, **encoding: Any) -> list[alt.Chart]:
    """A thick rule for each interval that an axis can show, where there are any: with one pass there are none.

    `shown` is the axis's domain where some reach beyond it: they are cut at its edge.
    """
    high = f"{low.removesuffix('low')}high"
    if not any(getattr(row, low) and math.isfinite(getattr(row, high) or math.inf) for row in rows):
        return []
    there = f"isValid(datum.{low}) && datum.{low} != 0 && isValid(datum.{high})"
    clip = alt.Undefined if shown is alt.Undefined else True
    rules = base.transform_filter(there).mark_rule(strokeWidth=3, opacity=0.55, aria=False, clip=clip)
    return [rules.encode(**encoding)]


def is_cut(chart: Chart) -> bool:
    """Whether some interval reaches beyond the chart's edge."""
    return isinstance(chart, alt.LayerChart) and any(getattr(layer.mark, "clip", None) is True for layer in chart.layer)


def finite(rows: Iterable[Any], *columns: str) -> list[float]:
    """Those cells that are there and that an axis can show."""
    found = (getattr(row, column) for row in rows for column in columns)
    return [value for value in found if value is not None and math.isfinite(value)]


def domain(values: Collection[float], lowest: float, highest: float) -> Any:
    """What an axis shows where some values lie outside those bounds; else Vega-Lite chooses."""
    if not values or (min(values) >= lowest and max(values) <= highest):
        return alt.Undefined
    return [max(min(values), lowest), min(max(values), highest)]


def rates_domain(rows: Sequence[Any], column: str, from_zero: bool) -> Any:
    """Of what is never negative and has intervals: REACH times as large as the largest, and as small."""
    points, ends = finite(rows, column), finite(rows, f"{column}_low", f"{column}_high")
    if not points:
        return alt.Undefined
    lowest = 0.0 if from_zero else min(points) / REACH
    return domain([*points, *ends, *([0.0] if from_zero else [])], lowest, REACH * max(points))


def changes_domain(points: Sequence[float], ends: Sequence[float], none: float) -> Any:
    """Of what is `none` without a change: REACH times as far from it as the furthest point, or as SMALL."""
    away = REACH * max([SMALL, *(abs(point - none) for point in points)])
    return domain([*points, *ends, none], none - away, none + away)


def throughput(rows: Sequence[Throughput], labels: Mapping[str, str]) -> Chart:
    """Images per second with their intervals; the lanes differ in shape; hollow where a case is not ok."""
    timed = [row for row in rows if row.images_per_s is not None]
    columns = ("backend", "mode", "lane", "images_per_s", "images_per_s_low", "images_per_s_high", "status")
    base = alt.Chart(data(cells(row, *columns, label=labels[case_of(row).id]) for row in timed))
    order = label_axis([labels[case_of(row).id] for row in timed])
    wide = is_wide(row.images_per_s for row in timed)
    shown = rates_domain(timed, "images_per_s", from_zero=not wide)
    scale = alt.Scale(type="log", nice=False, padding=12, domain=shown) if wide else alt.Scale(zero=True, domain=shown)
    title = "images/s, logarithmic" if wide else "images/s"
    colour = backend_colour([row.backend for row in timed])
    low = alt.X("images_per_s_low:Q", title=title, scale=scale)
    ends = intervals(base, timed, "images_per_s_low", shown, y=order, x=low, x2="images_per_s_high:Q", color=colour)
    lanes = alt.Scale(domain=["tutorial", "expert"], range=["circle", "diamond"])
    points = base.mark_point(size=70, opacity=1, strokeWidth=2).encode(
        y=order,
        x=alt.X("images_per_s:Q", title=title, scale=scale, axis=alt.Axis(format="~s")),
        color=colour,
        fill=alt.Fill("backend:N", scale=backend_scale([row.backend for row in timed]), legend=None),
        fillOpacity=hollow_unless("datum.status == 'ok'"),
        shape=alt.Shape("lane:N", title="lane", scale=lanes),
        tooltip=tips(
            ("label:N", "case", ""),
            ("images_per_s:Q", "images/s", ",.0f"),
            ("images_per_s_low:Q", "from", ",.0f"),
            ("images_per_s_high:Q", "to", ",.0f"),
            ("status:N", "status", ""),
        ),
    )
    return sized(alt.LayerChart(layer=[*ends, points]), len(timed))


def peak_share(rows: Sequence[Throughput], labels: Mapping[str, str]) -> Chart:
    """The share of the matrix product's speed that each case reaches."""
    there = [row for row in rows if row.gemm_peak_share is not None]
    base = alt.Chart(data(cells(row, "backend", "gemm_peak_share", label=labels[case_of(row).id]) for row in there))
    bars = base.mark_bar(height={"band": 0.6}).encode(
        y=label_axis([labels[case_of(row).id] for row in there]),
        x=alt.X("gemm_peak_share:Q", title="share of peak", axis=alt.Axis(format="~%")),
        color=backend_colour([row.backend for row in there]),
        tooltip=tips(("label:N", "case", ""), ("gemm_peak_share:Q", "share", ".1%")),
    )
    return sized(bars, len(there))


def start_up(rows: Sequence[Throughput], labels: Mapping[str, str]) -> Chart:
    """Import, build and first step, added up."""
    parts = {"import_s": "import", "build_s": "build", "first_step_s": "first step"}
    there = [row for row in rows if row.import_s is not None]
    base = alt.Chart(data(cells(row, *parts, label=labels[case_of(row).id]) for row in there))
    picked = tones(len(parts))
    bars = (
        base.transform_fold([*parts], as_=["column", "seconds"])
        .transform_filter("isValid(datum.seconds)")
        .transform_calculate(place=f"indexof({list(parts)}, datum.column)")
        .transform_calculate(part=f"{list(parts.values())}[datum.place]")
        .mark_bar(height={"band": 0.6})
        .encode(
            y=label_axis([labels[case_of(row).id] for row in there]),
            x=alt.X("seconds:Q", title="seconds", stack="zero"),
            color=alt.Color("part:N", title=None, scale=alt.Scale(domain=list(parts.values()), range=picked)),
            order=alt.Order("place:Q"),
            tooltip=tips(("label:N", "case", ""), ("part:N", "part", ""), ("seconds:Q", "seconds", ".3f")),
        )
    )
    return sized(bars, len(there))


def memory(rows: Sequence[Throughput], labels: Mapping[str, str]) -> Chart:
    """The most main memory that a process held."""
    there = [row for row in rows if row.peak_rss_mb is not None]
    base = alt.Chart(data(cells(row, "backend", "peak_rss_mb", label=labels[case_of(row).id]) for row in there))
    bars = base.mark_bar(height={"band": 0.6}).encode(
        y=label_axis([labels[case_of(row).id] for row in there]),
        x=alt.X("peak_rss_mb:Q", title="peak main memory, MiB"),
        color=backend_colour([row.backend for row in there]),
        tooltip=tips(("label:N", "case", ""), ("peak_rss_mb:Q", "MiB", ",.0f")),
    )
    return sized(bars, len(there))


def batch_sizes(rows: Sequence[Throughput], lines: Sequence[Overhead]) -> Chart:
    """One backend's steps by batch size, and the fitted line `overhead + image * batch size` of each mode."""
    timed = [row for row in rows if row.step_us is not None]
    styles = mode_styles([row.mode for row in timed])
    sizes = sorted({row.batch_size for row in timed})
    x = alt.X(
        "batch_size:Q",
        title="batch size",
        scale=alt.Scale(type="log", base=2, nice=False, padding=10),
        axis=alt.Axis(values=sizes, format="d"),
    )
    shown = rates_domain(timed, "step_us", from_zero=False)
    scale = alt.Scale(type="log", domain=shown)
    y = alt.Y("step_us:Q", title="µs per step", scale=scale, axis=alt.Axis(format="~s"))
    columns = ("mode", "batch_size", "step_us", "step_us_low", "step_us_high", "images_per_s", "status")
    base = alt.Chart(data(cells(row, *columns) for row in timed))
    span = {"y": "step_us_low:Q", "y2": "step_us_high:Q"}
    ends = intervals(base, timed, "step_us_low", shown, x=x, **span, color=styles["color"])
    points = base.mark_point(size=50, opacity=1, strokeWidth=1.5).encode(
        x=x,
        y=y,
        color=styles["color"],
        fill=styles["fill"],
        fillOpacity=hollow_unless("datum.status == 'ok'"),
        shape=styles["shape"],
        tooltip=tips(
            ("mode:N", "mode", ""),
            ("batch_size:Q", "batch size", ""),
            ("step_us:Q", "µs per step", ",.0f"),
            ("images_per_s:Q", "images/s", ",.0f"),
            ("status:N", "status", ""),
        ),
    )
    fitted = [
        cells(line, "mode", "overhead_us", "images_per_s_limit", batch_size=int(size))
        for line in lines
        for size in line.batch_sizes.split()
    ]
    if not fitted:
        return sized(alt.LayerChart(layer=[*ends, points]), height=300)
    through = (
        alt.Chart(data(fitted))
        .transform_calculate(fitted_us="datum.overhead_us + datum.batch_size * 1e6 / datum.images_per_s_limit")
        .transform_filter("datum.fitted_us > 0")
        .mark_line(strokeWidth=1.5, aria=False)
        .encode(x=x, y=alt.Y("fitted_us:Q"), color=styles["color"], strokeDash=styles["strokeDash"])
    )
    return sized(alt.LayerChart(layer=[through, *ends, points]), height=300)


def threads(rows: Sequence[Throughput]) -> Chart:
    """One backend's images per second by number of threads."""
    timed = [row for row in rows if row.images_per_s is not None]
    styles = mode_styles([row.mode for row in timed])
    columns = ("mode", "threads", "images_per_s", "images_per_s_low", "images_per_s_high", "status")
    base = alt.Chart(data(cells(row, *columns) for row in timed))
    values = sorted({row.threads for row in timed})
    x = alt.X("threads:Q", title="threads", scale=alt.Scale(zero=False), axis=alt.Axis(values=values, format="d"))
    shown = rates_domain(timed, "images_per_s", from_zero=True)
    scale = alt.Scale(zero=True, domain=shown)
    y = alt.Y("images_per_s:Q", title="images/s", scale=scale, axis=alt.Axis(format="~s"))
    line = base.mark_line(strokeWidth=1.5, aria=False).encode(
        x=x, y=y, color=styles["color"], strokeDash=styles["strokeDash"]
    )
    span = {"y": "images_per_s_low:Q", "y2": "images_per_s_high:Q"}
    ends = intervals(base, timed, "images_per_s_low", shown, x=x, **span, color=styles["color"])
    points = base.mark_point(size=60, opacity=1, strokeWidth=1.5).encode(
        x=x,
        y=y,
        color=styles["color"],
        fill=styles["fill"],
        fillOpacity=hollow_unless("datum.status == 'ok'"),
        shape=styles["shape"],
        tooltip=tips(
            ("mode:N", "mode", ""),
            ("threads:Q", "threads", ""),
            ("images_per_s:Q", "images/s", ",.0f"),
            ("status:N", "status", ""),
        ),
    )
    return sized(alt.LayerChart(layer=[line, *ends, points]), height=260)


def rounds(own: Sequence[Round], counted: Collection[int], row: Throughput | None) -> Chart:
    """One case's rounds as they were measured, in the order of the whole run; hollow where they do not count.

    `counted` holds the `order` of those that do.
    """
    columns = ("pass_number", "order", "steps", "seconds")
    shown = [cells(one, *columns, counts="yes" if one.order in counted else "no") for one in own]
    base = alt.Chart(data(shown)).transform_calculate(us="datum.seconds / datum.steps * 1e6")
    passes = sorted({one.pass_number for one in own})
    x = alt.X("order:Q", title="order in the run", scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(tickCount=4))
    y = alt.Y("us:Q", title="µs per step", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4, format="~s"))
    colours = alt.Scale(domain=passes, range=tones(len(passes)))
    points = base.mark_point(size=9, aria=False, strokeWidth=1).encode(
        x=x,
        y=y,
        color=alt.Color("pass_number:N", scale=colours, legend=None),
        fill=alt.Fill("pass_number:N", scale=colours, legend=None),
        fillOpacity=hollow_unless("datum.counts == 'yes'"),
        tooltip=tips(("pass_number:O", "pass", ""), ("us:Q", "µs per step", ",.1f"), ("counts:N", "counts", "")),
    )
    if row is None or row.step_us is None:
        return sized(points, height=110)
    level = (
        alt.Chart(data([cells(row, "step_us")]))
        .mark_rule(strokeWidth=1.5, color="var(--ink)", strokeDash=[4, 3], aria=False)
        .encode(y="step_us:Q")
    )
    return sized(alt.LayerChart(layer=[points, level]), height=110)


def equivalence(rows: Sequence[Equivalence]) -> Chart:
    """Each error as a share of its tolerance; right of 1 would be another network. What is no number is at 10."""
    kept = [cells(row, "backend", "mode", "quantity", "steps", "error", "tolerance") for row in rows]
    base = alt.Chart(data(kept)).transform_calculate(
        label="datum.backend + ' ' + datum.mode",
        share="isValid(datum.error) ? datum.error / datum.tolerance : 10",
        kind="split(datum.quantity, ' ')[0]",
    )
    kinds = ["stage", "losses", "weights"]
    order = list(dict.fromkeys(f"{row.backend} {row.mode}" for row in rows))
    x = alt.X(
        "share:Q",
        title="error / tolerance, logarithmic",
        scale=alt.Scale(type="log", nice=False, padding=8),
        axis=alt.Axis(format=".0e"),
    )
    points = base.mark_point(size=28, strokeWidth=1.5, aria=False).encode(
        y=label_axis(order),
        x=x,
        color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=kinds, range=tones(3))),
        shape=alt.Shape("kind:N", title=None, scale=alt.Scale(domain=kinds, range=SHAPES[:3])),
        tooltip=tips(
            ("label:N", "case", ""),
            ("quantity:N", "quantity", ""),
            ("steps:Q", "after steps", ""),
            ("error:Q", "error", ".1e"),
            ("tolerance:Q", "tolerance", ".1e"),
        ),
    )
    bound = alt.Chart(data([{"share": 1}])).mark_rule(color="var(--bad)", strokeWidth=2, aria=False).encode(x=x)
    return sized(alt.LayerChart(layer=[bound, points]), len(order))


def ratios(rows: Sequence[Verdict], labels: Mapping[str, str]) -> Chart:
    """A gate's or comparison's head over its base, with intervals; 1 is no change."""
    there = [row for row in rows if row.ratio is not None]
    columns = ("case", "ratio", "ratio_low", "ratio_high", "verdict")
    base = alt.Chart(data(cells(row, *columns, label=labels[row.case]) for row in there))
    order = label_axis([labels[row.case] for row in there])
    shown = changes_domain(finite(there, "ratio"), finite(there, "ratio_low", "ratio_high"), 1)
    scale = alt.Scale(zero=False, domain=shown)
    x = alt.X("ratio:Q", title="step of the head / step of the base", scale=scale)
    one = alt.Chart(data([{"ratio": 1}])).mark_rule(strokeWidth=1.5, aria=False).encode(x=x)
    only = alt.value("var(--tone0)")
    ends = intervals(base, there, "ratio_low", shown, y=order, x="ratio_low:Q", x2="ratio_high:Q", color=only)
    points = base.mark_point(size=60, filled=True, opacity=1, color="var(--tone0)").encode(
        y=order, x=x, tooltip=tips(("case:N", "case", ""), ("ratio:Q", "ratio", ".3f"), ("verdict:N", "verdict", ""))
    )
    return sized(alt.LayerChart(layer=[one, *ends, points]), len(there))


def found_slowdowns(rows: Sequence[SelfCheck], labels: Mapping[str, str]) -> Chart:
    """What a self-check found, beside what was injected: of slowdowns that come now and then, by total time."""
    columns = ("case", "beside", "injected", "every", "found", "found_low", "found_high", "found_total")
    base = alt.Chart(data(cells(row, *columns, label=labels[row.case]) for row in rows)).transform_calculate(
        what="datum.label + ', ' + (datum.injected ? format(datum.injected, '+.0%') + (datum.every > 1 ? ' every ' "
        "+ datum.every + 'th' : '') : datum.beside)",
        shown="datum.every > 1 ? datum.found_total : datum.found",
        average="datum.injected / datum.every",
    )
    points = finite(rows, "found", "found_total", "injected")
    seen = changes_domain(points, finite([row for row in rows if row.every == 1], "found_low", "found_high"), 0)
    x = alt.X("shown:Q", title="slowdown", scale=alt.Scale(domain=seen), axis=alt.Axis(format="+~%"))
    y = alt.Y("what:N", title=None, sort=None, axis=alt.Axis(ticks=False, domain=False))
    only = alt.value("var(--tone0)")
    dense = base.transform_filter("datum.every == 1")
    ends = intervals(dense, rows, "found_low", seen, y=y, x="found_low:Q", x2="found_high:Q", color=only)
    injected = base.mark_tick(color="var(--ink)", thickness=2, aria=False).encode(y=y, x="average:Q")
    marks = base.mark_point(size=60, filled=True, opacity=1).encode(
        y=y, x=x, color=only, tooltip=tips(("what:N", "case", ""), ("shown:Q", "found", "+.2%"))
    )
    return sized(alt.LayerChart(layer=[*ends, injected, marks]), len(rows))


@dataclass(frozen=True)
class Line:
    """How the curves of one case are drawn."""

    label: str
    colour: str
    dash: list[int]


def lines_of(rows: Mapping[str, Accuracy], labels: Mapping[str, str]) -> dict[str, Line]:
    """A line for each case, in its backend's colour where a backend has few, dashed where it has several."""
    names = list(labels)
    backends = [rows[name].backend if name in rows else "" for name in names]
    several = max(map(backends.count, backends), default=0) > 2
    hues = colours_of(backends)
    made = {}
    for place, (name, backend) in enumerate(zip(names, backends)):
        dash = DASHES[(place if several else backends[:place].count(backend)) % len(DASHES)]
        made[name] = Line(labels[name], tones(place + 1)[place] if several else hues[backend], dash)
    return made


def wrong_images(curves: Sequence[Curve], lines: Mapping[str, Line], over: str) -> Chart:
    """The share of test images that are wrong, by `seconds` of training or by `epoch`; a line per seed."""
    y = alt.Y(
        "shown:Q",
        title="wrong, logarithmic",
        scale=alt.Scale(type="log", nice=False, padding=6),
        axis=alt.Axis(format=".1%"),
    )
    return _curves(curves, lines, over, y, "1 - datum.accuracy", ".2%")


def losses(curves: Sequence[Curve], lines: Mapping[str, Line]) -> Chart:
    """The mean loss of the batches since the look before, by epoch: one curve, where frameworks train the same."""
    scale = alt.Scale(type="log", nice=False, padding=6)
    y = alt.Y("shown:Q", title="training loss, logarithmic", scale=scale, axis=alt.Axis(tickCount=5))
    return _curves(curves, lines, "epoch", y, "datum.train_loss", ".4f")


def _curves(curves: Sequence[Curve], lines: Mapping[str, Line], over: str, y: alt.Y, formula: str, form: str) -> Chart:
    columns = ("case", "seed", "epoch", "seconds", "train_loss", "accuracy")
    drawn = [lines[case] for case in dict.fromkeys(one.case for one in curves)]
    names = [line.label for line in drawn]
    legend = alt.Legend(title=None, symbolType="stroke", symbolSize=400)
    base = (
        alt.Chart(data(cells(one, *columns, label=lines[one.case].label) for one in curves))
        .transform_calculate(shown=formula)
        .transform_filter("datum.shown > 0")
    )
    marks = base.mark_line(strokeWidth=1.5, point=alt.OverlayMarkDef(size=18, filled=True), aria=False).encode(
        x=alt.X(f"{over}:Q", title={"seconds": "seconds of training", "epoch": "epochs"}[over]),
        y=y,
        detail="seed:N",
        color=alt.Color("label:N", scale=alt.Scale(domain=names, range=[line.colour for line in drawn]), legend=legend),
        strokeDash=alt.StrokeDash(
            "label:N", scale=alt.Scale(domain=names, range=[line.dash for line in drawn]), legend=legend
        ),
        tooltip=tips(
            ("label:N", "case", ""),
            ("seed:O", "seed", ""),
            ("epoch:Q", "epoch", ""),
            ("seconds:Q", "seconds", ".1f"),
            ("shown:Q", "value", form),
        ),
    )
    return sized(marks, height=320)


GOALS = {"to 98.5 %": ("seconds_to_985", 0.985), "to 99 %": ("seconds_to_990", 0.990)}


def time_to_accuracy(rows: Sequence[Accuracy], curves: Sequence[Curve], labels: Mapping[str, str]) -> Chart:
    """Seconds of training until 98.5 and 99 % of the test images were right: the median, and a tick for each seed.

    A case that never got there keeps its line, which says so.
    """
    columns = [column for column, _ in GOALS.values()]
    words = {
        case_of(row).id: labels[case_of(row).id] + ("" if row.seconds_to_985 is not None else ", not reached")
        for row in rows
    }
    order = label_axis([*words.values()], everyone=True)
    colour = alt.Color("goal:N", title=None, scale=alt.Scale(domain=[*GOALS], range=tones(2)))
    medians = (
        alt.Chart(data(cells(row, *columns, label=words[case_of(row).id]) for row in rows))
        .transform_fold([*columns], as_=["column", "seconds"])
        .transform_filter("isValid(datum.seconds)")
        .transform_calculate(goal=f"{list(GOALS)}[indexof({columns}, datum.column)]")
    )
    x = alt.X("seconds:Q", title="seconds of training", scale=alt.Scale(zero=True))
    points = medians.mark_point(size=80, filled=True, opacity=1).encode(
        y=order,
        x=x,
        color=colour,
        shape=alt.Shape("goal:N", title=None, scale=alt.Scale(domain=[*GOALS], range=["circle", "diamond"])),
        tooltip=tips(("label:N", "case", ""), ("goal:N", "goal", ""), ("seconds:Q", "median seconds", ".1f")),
    )
    seeds = [
        cells(one, "case", "seed", "seconds", "accuracy", label=words[one.case], goal=goal)
        for goal, (_, share) in GOALS.items()
        for one in first_looks(curves, share)
        if one.case in words
    ]
    if not seeds:
        return sized(points, len(rows))
    ticks = alt.Chart(data(seeds)).mark_tick(thickness=2, opacity=0.7, aria=False).encode(y=order, x=x, color=colour)
    return sized(alt.LayerChart(layer=[ticks, points]), len(rows))


def first_looks(curves: Sequence[Curve], share: float) -> list[Curve]:
    """The first look of each training at which that share of the test images was right."""
    found: dict[tuple[str, int], Curve] = {}
    for one in curves:
        if one.accuracy >= share:
            found.setdefault((one.case, one.seed), one)
    return list(found.values())


def history(rows: Sequence[tuple[int, Throughput]]) -> Chart:
    """One case over several runs: as measured, and divided by the control of the same run, each over its first.

    `rows` come with the number of their run on the page; hollow where a case was not ok.
    """
    first = rows[0][1]
    columns = ("run_id", "images_per_s", "images_per_s_low", "images_per_s_high", "control_gflops", "status")
    measured = ["as measured", "divided by the control"]
    beside = {"first_images_per_s": first.images_per_s, "first_control_gflops": first.control_gflops}
    drawn = [
        cells(row, *columns, **beside, run=number, how=how)
        for number, row in rows
        for how in measured
        if how == measured[0] or (row.control_gflops and first.control_gflops)
    ]
    base = (
        alt.Chart(data(drawn))
        .transform_calculate(
            factor=f"(datum.how == '{measured[0]}' ? 1 : datum.first_control_gflops / datum.control_gflops)"
            " / datum.first_images_per_s"
        )
        .transform_calculate(
            change="datum.images_per_s * datum.factor",
            low="datum.images_per_s_low * datum.factor",
            high="datum.images_per_s_high * datum.factor",
        )
    )
    factors = [(row, 1.0) for _, row in rows]
    if first.control_gflops:
        factors += [(row, first.control_gflops / row.control_gflops) for _, row in rows if row.control_gflops]

    def over_first(*names: str) -> list[float]:
        """Where those columns stand on the axis."""
        found = [factor * value for row, factor in factors for value in finite([row], *names)]
        return [value / first.images_per_s for value in found if first.images_per_s and math.isfinite(value)]

    x = alt.X("run:O", title="run", axis=alt.Axis(labelAngle=0))
    shown = changes_domain(over_first("images_per_s"), over_first("images_per_s_low", "images_per_s_high"), 1)
    y = alt.Y("change:Q", title="over the first", scale=alt.Scale(zero=False, domain=shown), axis=alt.Axis(tickCount=4))
    scale = alt.Scale(domain=measured, range=tones(2))
    colour = alt.Color("how:N", title=None, scale=scale)
    aside = alt.XOffset("how:N", scale=alt.Scale(domain=measured, paddingOuter=1))
    timed = [row for _, row in rows]
    ends = intervals(base, timed, "images_per_s_low", shown, x=x, xOffset=aside, y="low:Q", y2="high:Q", color=colour)
    points = base.mark_point(size=45, opacity=1, strokeWidth=2).encode(
        x=x,
        xOffset=aside,
        y=y,
        color=colour,
        fill=alt.Fill("how:N", title=None, scale=scale),
        fillOpacity=hollow_unless("datum.status == 'ok'"),
        shape=alt.Shape("how:N", title=None, scale=alt.Scale(domain=measured, range=SHAPES[:2])),
        tooltip=tips(
            ("run_id:N", "run", ""),
            ("how:N", "images/s", ""),
            ("change:Q", "over the first run's", ".3f"),
            ("images_per_s:Q", "images/s", ",.0f"),
            ("control_gflops:Q", "control, GFLOP/s", ".1f"),
            ("status:N", "status", ""),
        ),
    )
    return sized(alt.LayerChart(layer=[*ends, points]), height=150)
