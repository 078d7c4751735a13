"""The commands that make pages: `report` from run folders, `inspect` from weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench import checkpoints, environments, results, train
from bench.cases import UsageError
from bench.data import called
from bench.options import (
    DataDir,
    Deadline,
    Pythons,
    With,
    path_argument,
    path_option,
    refuse_unread,
    refuse_without_effect,
)
from bench.results import ResultsError
from bench.terminal import DownloadBar, say, tell_tree

app = typer.Typer()


@app.command()
def report(
    run: Annotated[list[Path], path_argument(help="run folders; several also show their history")],
    output_folder: Annotated[
        Path | None, path_option("--output", help="not the run's folder, or the one that holds several")
    ] = None,
) -> None:
    """One self-contained page of one run or several, report.html, and its tables as report.md."""
    from bench import folder, pages
    from bench import report as reports  # Altair and Vega-Lite take a second, which other commands do not wait

    found, problems, asked = [], [], {path.resolve(): path for path in run}
    for path in asked.values():
        try:
            found.append(folder.read(path))
        except ResultsError as error:
            if len(asked) == 1:
                raise
            problems.append(f"Left out: {error}")
    if not found:
        raise UsageError(problems[0].removeprefix("Left out: "))
    page = reports.page_of(found, problems)
    place = output_folder or (found[0].path if len(asked) == 1 else found[0].path.resolve().parent)
    results.make_writable(place)
    results.write_text(place / pages.PAGE, pages.as_html(page))
    results.write_text(place / pages.MARKDOWN, pages.as_markdown(page))
    tell_tree()
    for line in (*problems, *(problem for one in found for problem in one.problems)):
        say(line, "yellow")
    size = (place / pages.PAGE).stat().st_size / 1e6
    say(f"{place / pages.PAGE} ({size:.1f} MB), {place / pages.MARKDOWN}")


@app.command()
def inspect(
    context: typer.Context,
    weights: Annotated[Path | None, path_argument(help="a .npz file that `train` saved; else untrained ones")] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="of untrained weights; lenet5 if not said")] = None,
    image: Annotated[
        list[str], typer.Option("--image", help="a class, #12 for a test image, or noise; 7, 3 and noise if not said")
    ] = [],
    backend: Annotated[str | None, typer.Option("--backend", help="ask this one, not the reference")] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="of that backend")] = None,
    data: Annotated[str | None, typer.Option("--data", help="where not what it was trained on")] = None,
    data_dir: DataDir = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda")] = "cpu",
    python: Pythons = [],
    with_pins: With = [],
    output_folder: Annotated[Path | None, path_option("--output", help="where the pictures go")] = None,
    deadline: Deadline = 300,
) -> None:
    """Pictures of what a network has learned: filters, activations of chosen images, receptive fields."""
    from bench import inspection, pages

    at = inspection.untrained(variant or "lenet5") if weights is None else checkpoints.load(weights)
    if weights is not None and variant not in (None, at.variant.name):
        raise UsageError(f"--variant {variant}: the weights of {weights} are of {at.variant.name}; leave it out")
    if backend is None:
        without = ("mode", "device", "python", "with_pins", "deadline")
        refuse_without_effect(context, "without --backend: the reference works in NumPy", *without)
    trained_on, normalisation = inspection.data_of(at)
    name = data or trained_on
    refuse_unread(data_dir, name)
    images = train.load_images(name, at.variant.name, normalisation, data_dir, DownloadBar)
    name = called(name, images.verified)
    chosen = [inspection.choose(word, images, name) for word in dict.fromkeys(image or inspection.USUAL)]
    shown = np.stack([one.image for one in chosen])
    expected = stages = inspection.by_reference(at, shown)
    told = "the float64 reference"
    if backend is not None:
        asked = inspection.ask(at, backend, mode, device, environments.parse_interpreters(python), with_pins, say)
        stages = inspection.by_backend(at, shown, asked, deadline)
        error = inspection.largest_error(stages, expected)
        told = f"{backend} {asked.case.mode}, off by {error:.0e} of a stage from the float64 reference"
    place = output_folder or (
        Path("results") / f"inspect-{at.variant.name}" if weights is None else weights.with_suffix("")
    )
    results.make_writable(place)
    pictures = inspection.drawn(at, chosen, stages)
    for picture in pictures:
        results.write_bytes(place / f"{picture.name}.png", picture.png)
    title = f"lenet-bench: {weights.name if weights else 'untrained'} of {at.variant.name}"
    section = pages.Section("pictures", "Pictures", [pages.Prose(f"Stages as worked out by {told}."), *pictures])
    about = "What a network has learned, and what it makes of an image."
    page = pages.Page(title, [pages.Article(1, at.variant.name, [], [section])], about)
    results.write_text(place / pages.INSPECTION, pages.as_html(page))
    tell_tree()
    for number, one in enumerate(chosen):
        say(f"{one.title}: {inspection.answer(at, stages, number)}")
    say(f"by {told}; {len(pictures)} pictures and {pages.INSPECTION} in {place}")
