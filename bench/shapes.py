"""Shape summaries: every backend's stages beside what the output-size formula says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends import Entry
from backends.lenet import VARIANTS, parameters, receptive_fields, stage_shapes
from bench.cases import Case
from bench.results import Shape

HELD, DIFFERS = "ok", "differs"


def shape_rows(case: Case, entry: Entry, shapes: Mapping[str, Sequence[int]], counts: Mapping[str, int]) -> list[Shape]:
    """One row per stage of the formula, and one for every stage that only the backend has."""
    variant = VARIANTS[case.variant]
    formula, expected, fields = stage_shapes(variant), parameters(variant), receptive_fields(variant)
    rows = []
    for stage in [*formula, *(name for name in shapes if name not in formula)]:
        seen, due = written(shapes.get(stage, ())), written(formula.get(stage, ()))
        held = seen == due and counts.get(stage) == expected.get(stage)
        rows.append(
            Shape(
                variant=case.variant,
                stage=stage,
                backend=case.backend,
                mode=case.mode,
                shape=seen,
                native_shape=written(native(shapes.get(stage, ()), entry.layout)),
                formula=due,
                parameters=counts.get(stage, 0),
                formula_parameters=expected.get(stage, 0),
                receptive_field=fields.get(stage, 0),
                verdict=HELD if held else DIFFERS,
            )
        )
    return rows


def written(shape: Sequence[int]) -> str:
    """(6, 28, 28) as `6x28x28`; nothing as `missing`."""
    return "x".join(map(str, shape)) if shape else "missing"


def native(shape: Sequence[int], layout: str) -> Sequence[int]:
    """The shape as a framework with that layout keeps it."""
    return (*shape[1:], shape[0]) if layout == "NHWC" and len(shape) == 3 else shape


def size(shape: str) -> str:
    """What textbooks call a stage's size: the side of an image, or the number of features."""
    return shape.rsplit("x", 1)[-1]
