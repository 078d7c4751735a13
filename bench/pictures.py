"""What a network has learned and what it makes of an image, as PNG: filters, activations, receptive fields.

Drawn by Altair as rectangles of whole pixels, on white, so that a picture is the same on every page and on paper.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import PIL.Image
import vl_convert

from backends.lenet import Conv, Prototypes, Variant, connected, fields, seen_by_dense, stage_shapes

# Side, in pixels of the picture, that a map has about; a value has a whole number of them.
MAP_SIDE = 84
MOST_COLUMNS = 16
STRIP_HEIGHT = 24
SHARPNESS = 2  # pixels of the PNG per pixel of the page; where it is whole, squares meet without a seam
DIVERGING, SEQUENTIAL = "blueorange", "viridis"


@dataclass(frozen=True)
class Picture:
    """A PNG under a title; `said` is what it shows, in words; `name` is fit for a file."""

    name: str
    title: str
    said: str
    png: bytes
    kind: str = "picture"

    @property
    def base64(self) -> str:
        return base64.b64encode(self.png).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on a page, in CSS pixels."""
        with PIL.Image.open(io.BytesIO(self.png)) as image:
            return image.width // SHARPNESS, image.height // SHARPNESS


def filters(variant: Variant, weights: Mapping[str, np.ndarray]) -> list[Picture]:
    """The kernels of every convolution, a row per output map and a column per input map where there are several."""
    made = []
    for layer in variant.layers:
        if not isinstance(layer, Conv):
            continue
        name = f"{layer.name}.weight"
        kernels = np.array(weights[name], dtype=float)
        mask = connected(variant).get(name)
        if mask is not None:
            kernels[np.broadcast_to(mask == 0, kernels.shape)] = np.nan
        several = kernels.shape[1] > 1
        said = (
            f"{len(kernels)} kernels of {layer.kernel}x{layer.kernel}"
            + (
                f" for each of {kernels.shape[1]} input maps: a row per output map, a column per input map"
                if several
                else ""
            )
            + f"; the largest weight is {np.nanmax(np.abs(kernels)):.3g} away from zero"
        )
        shown = kernels.transpose(1, 0, 2, 3) if several else kernels[:, 0][None]
        cells = [
            cell
            for column, maps in enumerate(shown)
            for row, values in enumerate(maps)
            for cell in cells_of(values, **({"out": row, "in": column} if several else {"map": row}))
        ]
        limit = float(np.nanmax(np.abs(kernels))) or 1.0
        side = max(3, (MAP_SIDE // (2 if several else 1)) // layer.kernel)
        chart = heat(cells, layer.kernel, side, scale(DIVERGING, -limit, limit), "weight")
        facets = (
            {"row": header("out:O", "output map"), "column": header("in:O", "input map")}
            if several
            else {"facet": header("map:O", "output map"), "columns": MOST_COLUMNS}
        )
        title = f"Filters of {layer.name}"
        made.append(Picture(f"filters-{layer.name}", title, said, png(chart.facet(**facets, spacing=4))))
    return made


def activations(variant: Variant, stages: Mapping[str, np.ndarray], name: str, title: str) -> Picture:
    """Every stage's values for one image: maps as images, features as strips, the last one as bars per digit.

    `stages` are those of one image, without the batch axis.
    """
    rows: list[Any] = []
    for stage in stage_shapes(variant):
        values = np.asarray(stages[stage], dtype=float)
        if stage == variant.layers[-1].name:
            rows.append(bars(variant, values))
        elif values.ndim == 3 and values.shape[1] > 1:
            rows.append(maps(stage, values))
        else:
            rows.append(strip(stage, values.ravel()))
    said = (
        f"Stages {', '.join(stage_shapes(variant))} for {title}; "
        f"the answer is {int(np.argmax(stages[variant.layers[-1].name]))}"
    )
    chart = alt.vconcat(*rows, spacing=12).resolve_scale(color="independent")
    return Picture(f"activations-{name}", f"Activations: {title}", said, png(chart))


def maps(stage: str, values: np.ndarray) -> Any:
    """The maps of one stage side by side, under one scale of colours."""
    cells = [cell for number, one in enumerate(values) for cell in cells_of(one, map=number)]
    side = max(1, MAP_SIDE // values.shape[1])
    colour = scale("greys" if stage == "input" else SEQUENTIAL, float(values.min()), float(values.max()))
    chart = heat(cells, values.shape[1], side, colour, stage)
    columns = MOST_COLUMNS // 2
    words = f"{stage}, {'x'.join(map(str, values.shape))}"
    labelled = "datum.value" if len(values) > 1 else "''"
    facet = alt.Facet("map:O", title=words, header=alt.Header(labelExpr=labelled, titleAnchor="start"))
    return chart.facet(facet=facet, columns=columns, spacing=4)


def strip(stage: str, values: np.ndarray) -> Any:
    """The features of a dense stage in a row."""
    cells = [{"row": 0, "column": number, "value": value} for number, value in enumerate(finite(values))]
    colour = scale(SEQUENTIAL, float(values.min()), float(values.max()))
    width = max(1, 8 * MAP_SIDE // len(values))
    return (
        alt.Chart(alt.InlineData(values=cells), title=heading(f"{stage}, {len(values)}"))
        .mark_rect(strokeWidth=0)
        .encode(
            x=alt.X("column:O", axis=None),
            y=alt.Y("row:O", axis=None),
            color=alt.Color("value:Q", title=stage, scale=colour, legend=legend(STRIP_HEIGHT)),
        )
        .properties(width=alt.Step(width), height=STRIP_HEIGHT)
    )


def bars(variant: Variant, values: np.ndarray) -> Any:
    """What the last stage says of each digit: logits, or squared distances, of which the smallest is the answer."""
    distances = isinstance(variant.layers[-1], Prototypes)
    cells = [{"digit": number, "value": value} for number, value in enumerate(finite(-values if distances else values))]
    title = "squared distance to each digit's prototype: the least" if distances else "logit of each digit: the largest"
    return (
        alt.Chart(alt.InlineData(values=cells), title=heading(f"{title} is the answer"))
        .mark_bar()
        .encode(
            x=alt.X("digit:O", title="digit", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("value:Q", title="distance" if distances else "logit"),
            color=alt.condition(f"datum.digit == {int(np.argmax(values))}", alt.value("#c8451b"), alt.value("#5b6470")),
        )
        .properties(width=alt.Step(30), height=90)
    )


def receptive_fields(variant: Variant, image: np.ndarray) -> Picture:
    """What the middle unit of every stage sees of one image (1, S, S); a dashed frame is the image's own edge."""
    charts: list[Any] = []
    pixels = cells_of(np.asarray(image, dtype=float)[0])
    told = []
    for stage, field in fields(variant).items():
        shape = stage_shapes(variant)[stage]
        if stage == "input" or len(shape) != 3:
            continue
        middle = shape[1] // 2
        first = field.start + middle * field.jump
        frame = {"left": first, "top": first, "right": first + field.size, "bottom": first + field.size}
        told.append(f"{stage} {field.size}")
        charts.append(over_image(pixels, variant.input_size, frame, f"{stage}: {field.size}x{field.size}"))
    start, end = seen_by_dense(variant)
    frame, side = {"left": start, "top": start, "right": end, "bottom": end}, end - start
    charts.append(over_image(pixels, variant.input_size, frame, f"dense: {side}x{side}"))
    sides = f"Side of what the middle unit of each stage sees, in pixels: {', '.join(told)}; " if told else ""
    said = f"{sides}dense layers see {side} of {variant.input_size}"
    chart = alt.concat(*charts, columns=4, spacing=16)
    return Picture("receptive-fields", "Receptive fields, drawn over the input", said, png(chart))


def over_image(pixels: Sequence[Mapping[str, Any]], size: int, frame: Mapping[str, int], title: str) -> Any:
    """An image with one square drawn over it, and room for padding around."""
    room = 3
    domain = alt.Scale(domain=[-room, size + room], nice=False)
    flipped = alt.Scale(domain=[size + room, -room], nice=False)
    base = alt.Chart(alt.InlineData(values=pixels), title=heading(title))
    picture = (
        base.transform_calculate(right="datum.column + 1", bottom="datum.row + 1")
        .mark_rect(strokeWidth=0)
        .encode(
            x=alt.X("column:Q", scale=domain, axis=None),
            x2="right:Q",
            y=alt.Y("row:Q", scale=flipped, axis=None),
            y2="bottom:Q",
            color=alt.Color("value:Q", scale=alt.Scale(scheme="greys"), legend=None),
        )
    )
    edge = {"left": 0, "top": 0, "right": size, "bottom": size}
    frames = [
        alt.Chart(alt.InlineData(values=[values]))
        .mark_rect(fill=None, stroke=colour, strokeWidth=width, strokeDash=dash)
        .encode(x="left:Q", x2="right:Q", y="top:Q", y2="bottom:Q")
        for values, colour, width, dash in ((edge, "#777777", 1, [3, 3]), (frame, "#c8451b", 3, [1, 0]))
    ]
    side = 5 * (size + 2 * room)
    return alt.LayerChart(layer=[picture, *frames]).properties(width=side, height=side)


def cells_of(values: np.ndarray, **more: Any) -> list[dict[str, Any]]:
    """(H, W) as a row per value; what is no number is left out."""
    return [
        {"row": row, "column": column, "value": value, **more}
        for row, line in enumerate(finite(values))
        for column, value in enumerate(line)
    ]


def finite(values: np.ndarray) -> list[Any]:
    """As JSON can say it: three digits more than a colour can show, and null for what is no number."""
    rounded = np.array([float(f"{value:.6g}") for value in values.ravel()], dtype=object)
    rounded[~np.isfinite(values.ravel().astype(float))] = None
    return rounded.reshape(values.shape).tolist()


def heat(cells: Sequence[Mapping[str, Any]], size: int, side: int, colour: alt.Scale, title: str) -> alt.Chart:
    """Values as squares of `side` pixels."""
    return (
        alt.Chart(alt.InlineData(values=cells))
        .transform_filter("isValid(datum.value)")
        .mark_rect(strokeWidth=0)
        .encode(
            x=alt.X("column:O", axis=None, scale=alt.Scale(domain=list(range(size)), padding=0)),
            y=alt.Y("row:O", axis=None, scale=alt.Scale(domain=list(range(size)), padding=0)),
            color=alt.Color("value:Q", title=title, scale=colour, legend=legend()),
        )
        .properties(width=side * size, height=side * size)
    )


def scale(scheme: Any, low: float, high: float) -> alt.Scale:
    return alt.Scale(scheme=scheme, domain=[low, high if high > low else low + 1])


def legend(length: int = 70) -> alt.Legend:
    return alt.Legend(orient="right", gradientLength=length, tickCount=3 if length > STRIP_HEIGHT else 1)


def heading(text: str) -> alt.Title:
    """A title as those of facets are set."""
    return alt.Title(text, anchor="start", fontSize=11)


def header(field: str, title: str) -> Any:
    kinds = {"in:O": alt.Column, "out:O": alt.Row}
    return kinds.get(field, alt.Facet)(field, title=title, header=alt.Header(labelAngle=0))


def png(chart: Any) -> bytes:
    """The chart on white."""
    spec = chart.configure(background="white", padding=10).configure_view(stroke=None).to_dict()
    content = io.BytesIO(vl_convert.vegalite_to_png(spec, scale=SHARPNESS))
    packed = io.BytesIO()
    with PIL.Image.open(content) as image:
        image.convert("RGB").save(packed, "PNG", optimize=True)  # an eighth of what it was
    return packed.getvalue()
