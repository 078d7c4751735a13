"""The commands that train in earnest: `train`, `evaluate`, and `accuracy`, the table of a training run."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from backends import Entry
from backends.lenet import INITIALISATIONS, VARIANTS
from bench import checkpoints, environments, grids, results, spelling
from bench import train as trainings
from bench.agreement import EPOCH
from bench.cases import Selection, UsageError, expand, without_slow
from bench.data import NAMES, called, fingerprint, same_data
from bench.evaluate import evaluate as evaluated
from bench.options import (
    DataDir,
    Deadline,
    Modes,
    Pythons,
    Results,
    Resume,
    With,
    backends_of,
    known_backends,
    names,
    path_argument,
    refuse_beside_resume,
    refuse_unread,
    refuse_unused,
)
from bench.results import Accuracy
from bench.selfcheck import cases as representative
from bench.tables import markdown_table, marked, print_table
from bench.terminal import DownloadBar, only_run_here, output, page_of, say, tell_tree, warn_if_busy
from bench.training import NORMALISATIONS, SCHEDULES, Course

app = typer.Typer()


# Learning rates with which plain SGD trains each network well from batches of 64 or 128.
RATES = {"lenet5": 1.0, "tanh": 0.1, "modern": 0.1, "lecun1998": 0.002, "mlp": 0.1, "cnn": 0.1}


@dataclass(frozen=True)
class Recipe:
    """What is trained where the command line does not say otherwise; without a `rate`, each variant's own."""

    variant: str = "lenet5"
    data: str = "mnist"
    epochs: int = 10
    batch: int = 128
    rate: float | None = None
    schedule: str = "constant"
    initialisation: str = "xavier"
    normalisation: str = "unit"
    seeds: int = 1
    looks: int = 1


RECIPES = {
    "": Recipe(),
    # Zhang et al., Dive into Deep Learning, 7.6.2.
    "d2l": Recipe(data="fashion-mnist", rate=0.1),
    "mnist": Recipe(variant="modern", epochs=6, batch=32, normalisation="standard", schedule="step", seeds=3, looks=4),
}

Chosen = Annotated[list[str], typer.Option("--backend", help="these backends, or all; each named must be able to run")]


@app.command()
def train(
    context: typer.Context,
    backend: Chosen = [],
    mode: Modes = [],
    variant: Annotated[list[str], typer.Option("--variant", help=f"of {', '.join(VARIANTS)}")] = [],
    recipe: Annotated[str, typer.Option("--recipe", help="d2l or mnist; other options change it")] = "",
    data: Annotated[str | None, typer.Option("--data", help=f"one of {', '.join(NAMES)}")] = None,
    data_dir: DataDir = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, max=10_000)] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="images per step")] = None,
    rate: Annotated[
        float | None, typer.Option("--learning-rate", help="without it, one that suits the variant")
    ] = None,
    schedule: Annotated[str | None, typer.Option("--schedule", help=", ".join(SCHEDULES))] = None,
    initialisation: Annotated[str | None, typer.Option("--init", help=", ".join(INITIALISATIONS))] = None,
    normalisation: Annotated[str | None, typer.Option("--normalise", help=", ".join(NORMALISATIONS))] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, max=1000, help="trainings of each case")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="of the first: of its weights and of its order")] = 0,
    looks: Annotated[int | None, typer.Option("--looks", min=1, help="at the test images, per epoch")] = None,
    threads: Annotated[int, typer.Option("--threads", min=1)] = 1,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda")] = "cpu",
    precision: Annotated[str, typer.Option("--precision", help="float32, float64 or tf32")] = "float32",
    python: Pythons = [],
    with_pins: With = [],
    results_folder: Results = Path("results"),
    deadline: Deadline = 300,
    resume: Resume = None,
) -> None:
    """Train on real data: the same weights and batches in every framework; curves, time to accuracy, saved weights."""
    run: trainings.TrainingRun | None = None
    if resume is not None:
        refuse_beside_resume(context)
        run = trainings.resume(resume, known_backends)
        request, registry = run.request, run.registry
    else:
        base = chosen(
            recipe,
            data=data,
            epochs=epochs,
            batch=batch,
            rate=rate,
            schedule=schedule,
            initialisation=initialisation,
            normalisation=normalisation,
            seeds=seeds,
            looks=looks,
        )
        refuse_unread(data_dir, base.data)
        interpreters = environments.parse_interpreters(python)
        registry = known_backends(interpreters)
        asked = backends_of(backend)
        selection = Selection(
            asked,
            names(mode),
            names(variant) or (base.variant,),
            (device,),
            (precision,),
            (base.batch,),
            (threads,),
            lanes=() if mode else ("tutorial",),
        )
        courses = planned(base, selection, registry, range(seed, seed + base.seeds))
        refuse_unused(interpreters, [course.case for course in courses])
        named = frozenset({*asked, *interpreters})
        command = shlex.join(["lenet-bench", *sys.argv[1:]])
        request = trainings.Request(courses, named, data_dir, interpreters, deadline, command)
    reading = trainings.prepared(request.courses, request.data_dir, DownloadBar)
    with only_run_here(), reading as (folders, verified):
        cases = [course.case for course in request.courses]
        interpreters = environments.ready(cases, registry, request.interpreters, with_pins, say)
        request = replace(request, interpreters=interpreters, named=request.named | set(interpreters))
        request = replace(request, data_sha256=same_data(fingerprint(folders), run.request.data_sha256 if run else ""))
        run = run or trainings.start(request, results_folder, registry)
        if not verified:
            trainings.doubt(run)
        tell_tree()
        warn_if_busy()
        try:
            with bars() as tell:
                rows = trainings.carry_out(run, folders, tell)
        except KeyboardInterrupt:
            run.write()
            say(f"interrupted; go on with --resume {run.folder}")
            raise typer.Exit(130) from None
    show(rows)
    data_sets = ", ".join(dict.fromkeys(row.data for row in rows))
    say(f"data {data_sets}, run folder {run.folder}; its weights are in {run.folder / 'weights'}")
    say(page_of(run.folder))
    raise typer.Exit(trainings.exit_code(run, rows))


def chosen(recipe: str, **options: Any) -> Recipe:
    """A recipe with what the command line says otherwise. Raises UsageError."""
    if recipe not in RECIPES:
        raise UsageError(spelling.unknown("recipe", recipe, filter(None, RECIPES)))
    found = replace(RECIPES[recipe], **{name: value for name, value in options.items() if value is not None})
    for what, value, known in (
        ("schedule", found.schedule, SCHEDULES),
        ("initialisation", found.initialisation, INITIALISATIONS),
        ("normalisation", found.normalisation, NORMALISATIONS),
        ("data set", found.data, NAMES),
    ):
        if value not in known:
            raise UsageError(spelling.unknown(what, value, known))
    if found.rate is not None and not 0 < found.rate < math.inf:
        raise UsageError(f"--learning-rate {found.rate} is not a number above 0")
    return found


def planned(
    base: Recipe, selection: Selection, registry: Mapping[str, Entry], seeds: Sequence[int]
) -> tuple[Course, ...]:
    """A course per case and seed: of each backend one mode per variant, where none is named."""
    cases = without_slow(expand(selection, registry), registry, selection.modes)
    return tuple(
        Course(
            case=case,
            data=base.data,
            seed=seed,
            epochs=base.epochs,
            learning_rate=base.rate or RATES[case.variant],
            schedule=base.schedule,
            initialisation=base.initialisation,
            normalisation=base.normalisation,
            parts=base.looks,
        )
        for variant in selection.variants
        for case in representative([one for one in cases if one.variant == variant], selection.modes)
        for seed in seeds
    )


@contextmanager
def bars() -> Iterator[trainings.Tell]:
    """A progress bar for each training on a terminal; elsewhere, a line for every look at the test images."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn()
    progress = Progress(*columns, console=output, disable=not output.is_terminal)
    tasks: dict[str, TaskID] = {}
    said: dict[str, dict[str, Any]] = {}

    def tell(course: Course, message: dict[str, Any]) -> None:
        state = said.setdefault(course.id, {"accuracy": None})
        state.update(message)
        told = f"loss {state.get('loss', 0):.4f}"
        if state["accuracy"] is not None:
            told += f", accuracy {state['accuracy']:.2%}"
        name = f"{course.case.backend} {course.case.mode} {course.case.variant}, seed {course.seed}"
        if course.id not in tasks:
            tasks[course.id] = progress.add_task(name, total=message.get("steps"), told="")
        progress.update(tasks[course.id], completed=state.get("done", 0), total=state.get("steps"), told=told)
        if message["says"] == "tried" and not output.is_terminal:
            say(f"{name}: step {state.get('done', 0)} of {state.get('steps', 0)}, {told}")

    with progress:
        yield tell


def show(rows: list[Accuracy]) -> None:
    print_table(output, grids.accuracies(rows))
    for row in rows:
        if row.status != "ok":
            say(f"{row.backend} {row.mode} {row.variant}: {row.status}: {row.reason}", "yellow")
        if row.agreement == "differs":
            line = (
                f"{row.backend} {row.mode} {row.variant}: in the first epoch, a batch's loss is up to "
                f"{row.losses_apart:.2g} from the median of all ({row.losses_tolerance:.2g} passes), "
                f"their mean {row.epoch_loss_apart:.2g} ({EPOCH:.2g} passes)"
            )
            say(line, "red")


@app.command()
def accuracy(
    run: Annotated[list[Path], path_argument(help="folders of training runs")],
    markdown: Annotated[bool, typer.Option("--markdown", help="as a table for a README")] = False,
) -> None:
    """The table of training runs: architectures, accuracy, and time to it."""
    rows = [row for folder in run for row in results.read_rows(folder, Accuracy)]
    if not rows:
        raise UsageError(f"{run[0]}: its accuracy.csv has no rows")
    tell_tree()
    if markdown:
        grid = grids.accuracies(rows).without(["losses apart", "status"])
        print(markdown_table(grid))
        print(f"\n{marked(grid.title.removeprefix('Training: '))}.")
    else:
        show(rows)


@app.command()
def evaluate(
    weights: Annotated[Path, path_argument(help="a .npz file that `train` saved")],
    backend: Chosen = [],
    mode: Modes = [],
    data: Annotated[str | None, typer.Option("--data", help="where not what it was trained on")] = None,
    data_dir: DataDir = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda")] = "cpu",
    precision: Annotated[str, typer.Option("--precision", help="float32, float64 or tf32")] = "float32",
    python: Pythons = [],
    with_pins: With = [],
    deadline: Deadline = 300,
) -> None:
    """What saved weights score on the test images in every framework, and whether all predict the same."""
    at = checkpoints.load(weights)
    course = at.about.get("course")
    course = course if isinstance(course, dict) else {}
    interpreters = environments.parse_interpreters(python)
    registry = known_backends(interpreters)
    asked = backends_of(backend)
    selection = Selection(
        asked, names(mode), (at.variant.name,), (device,), (precision,), lanes=() if mode else ("tutorial",)
    )
    cases = representative(without_slow(expand(selection, registry), registry, selection.modes), selection.modes)
    refuse_unused(interpreters, cases)
    name = data or course.get("data", "mnist")
    if name not in NAMES:
        raise UsageError(spelling.unknown("data set", str(name), NAMES))
    refuse_unread(data_dir, name)
    images = trainings.load_images(name, at.variant.name, course.get("normalisation", "unit"), data_dir)
    interpreters = environments.ready(cases, registry, interpreters, with_pins, say)
    found = evaluated(weights, at, cases, images, registry, interpreters, deadline)
    tell_tree()
    print_table(output, grids.evaluations(found, called(name, images.verified)))
    for one in found:
        if one.status != "ok":
            say(f"{one.case.backend} {one.case.mode}: {one.status}: {one.reason}", "yellow")
    if any(one.status == "ok" and not one.held for one in found):
        raise typer.Exit(1)
    missing = [one for one in found if one.status != "ok"]
    raise typer.Exit(4 if any(one.status == "failed" or one.case.backend in asked for one in missing) else 0)
