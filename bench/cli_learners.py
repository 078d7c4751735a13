"""Commands for those who learn: `layers`, the layer calculator."""

from __future__ import annotations

from typing import Annotated

import typer

from backends.lenet import VARIANTS
from bench import grids, spelling
from bench.cases import UsageError
from bench.layers import calculate, parse_input, parse_stack, steps_of
from bench.tables import print_table
from bench.terminal import output, say, tell_tree

app = typer.Typer()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def layers(
    context: typer.Context,
    size: Annotated[
        str | None, typer.Option("--input", help="size, or channels and size: 32, 3x32; 28 if not said")
    ] = None,
) -> None:
    """What comes out of a stack of layers: `layers --input 32 --conv 6@5 --pool 2 --dense 10`, or `layers lecun1998`.

    In order: --conv CHANNELS@KERNEL, with s2 for stride 2 and p1 for padding 1 (6@5s2p1); --pool KERNEL (2, 3s2);
    --subsample KERNEL, which is trainable; --dense FEATURES.
    """
    words = context.args
    if words and not words[0].startswith("-"):
        if words[0] not in VARIANTS or words[1:]:
            near = spelling.suggestion("variant", words[0], VARIANTS) or ";"
            odd = f"unknown preset {words[0]!r}{near}" if words[0] not in VARIANTS else f"{words[1]!r} beside a preset;"
            raise UsageError(f"{odd} presets are {', '.join(VARIANTS)}, or write a stack: --conv 6@5 --pool 2")
        if size is not None:
            raise UsageError(f"--input {size!r} has no effect on the preset {words[0]}; leave it out")
        variant = VARIANTS[words[0]]
        rows = calculate(variant.input_channels, variant.input_size, steps_of(variant))
    else:
        rows = calculate(*parse_input("28" if size is None else size), parse_stack(words))
    tell_tree()
    print_table(output, grids.layers(rows))
    for number, row in enumerate(rows):
        if row.note:
            say(f"layer {number}, {row.kind}: {row.note}")
