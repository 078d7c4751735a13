"""The command line: 0 held, 1 slower or another network, 2 bad input, 3 inconclusive, 4 a case is missing, 70 a fault
of the suite itself, 130 interrupted."""

from __future__ import annotations

import secrets
import shlex
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from backends import Entry
from bench import (
    cli_environments,
    cli_learners,
    cli_report,
    cli_training,
    environments,
    grids,
    results,
    revision,
    spelling,
    summary,
)
from bench import compare as comparing
from bench import gate as gates
from bench import run as runs
from bench import selfcheck as selfchecks
from bench.cases import Case, Selection, UsageError, expand, impossible, without_slow
from bench.conductor import Plan
from bench.data import called, fingerprint, same_data
from bench.options import (
    ALLOCATORS,
    AXES,
    AllowMissing,
    Backends,
    Data,
    DataDir,
    Deadline,
    Devices,
    Lanes,
    Modes,
    Precisions,
    Pythons,
    Results,
    Resume,
    Variants,
    With,
    known_backends,
    lanes,
    names,
    path_argument,
    path_option,
    refuse_beside_resume,
    refuse_unread,
    refuse_unused,
    refuse_without_effect,
    select,
    share,
    varied,
)
from bench.progress import names_of
from bench.results import Equivalence, SelfCheck, Shape, Throughput, Verdict, case_of, printable
from bench.shapes import HELD, shape_rows
from bench.tables import print_table
from bench.terminal import (
    DownloadBar,
    complain,
    only_run_here,
    output,
    page_of,
    refuse_a_scratch_folder_that_is_two,
    refuse_elsewhere,
    say,
    tell_tree,
    warn_if_busy,
    working,
)
from bench.tree import SOURCE_ROOT
from bench.verdicts import conclusion
from bench.verdicts import exit_code as exit_code_of
from bench.verify import BATCH_SIZE, Answer, ask, equivalence_rows

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="One LeNet-5, every framework, proven equal, honestly timed.",
)
app.add_typer(cli_training.app)
app.add_typer(cli_learners.app)
app.add_typer(cli_report.app)
app.add_typer(cli_environments.app, name="environments")
INTERNAL_ERROR = 70
# What Typer raises for a command line that it cannot read, under a name that changes with its version.
WRONG_USAGE: Any = typer.BadParameter.mro()[1]


# A table of pairs is as wide as it is long.
MOST_COMPARED = 12
MINUTES = 5.0
QUICK_PASSES, QUICK_MINUTES = 2, 1.4
QUICK_PLAN = Plan(sweeps=15, case_seconds=1.5, fewest_rounds=2)
VARIED_MINUTES = 15.0
# Twenty processes, each of which has held up to 1.7 GiB, held 4 together when looked at.
VARIED_PLAN = Plan(sweeps=12, case_seconds=0.5, fewest_rounds=2, process_bytes=3 << 28, one_process_per_mode=True)


@app.command()
def run(
    context: typer.Context,
    backend: Backends = [],
    mode: Modes = [],
    lane: Lanes = [],
    variant: Variants = ["lenet5"],
    batch: Annotated[list[str], typer.Option("--batch", help="batch sizes")] = ["128"],
    device: Devices = ["cpu"],
    precision: Precisions = ["float32"],
    threads: Annotated[list[str], typer.Option("--threads", help="threads per process")] = ["1"],
    vary: Annotated[
        str | None,
        typer.Option("--vary", metavar="batch|threads", help="batches of 1 to 4096, or 1 to all CPUs"),
    ] = None,
    sweep: Annotated[str | None, typer.Option("--sweep", hidden=True, help="what --vary was called")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="also time with data moved inside the clock")] = False,
    data: Data = "digits",
    data_dir: DataDir = None,
    python: Pythons = [],
    with_pins: With = [],
    results_folder: Results = Path("results"),
    quick: Annotated[bool, typer.Option("--quick", help="two short passes: a first look, wide intervals")] = False,
    passes: Annotated[int | None, typer.Option("--passes", min=1, help="so many undisturbed passes")] = None,
    precision_target: Annotated[str, typer.Option("--precision-target", help="half an interval's width")] = "3%",
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", min=0, help="5; 1.4 if quick, 15 with --vary")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="of the order of processes and turns")] = None,
    allocator: Annotated[str, typer.Option("--allocator", help="steady, or system to leave it alone")] = "steady",
    deadline: Deadline = 300,
    resume: Resume = None,
) -> None:
    """Prove every case equal to the reference, time it, write a run folder and print the table."""
    if allocator not in ALLOCATORS:
        near = spelling.suggestion("allocator", allocator, ALLOCATORS)
        raise UsageError(f"--allocator {allocator!r} is neither steady nor system{near}")
    begun: runs.Run | None = None
    if resume is not None:
        refuse_beside_resume(context)
        begun = runs.resume(resume, known_backends)
        request, registry = begun.request, begun.registry
    else:
        vary = refuse_what_has_no_effect(context, vary, sweep, quick, passes)
        refuse_unread(data_dir, data)
        interpreters = environments.parse_interpreters(python)
        registry = known_backends(interpreters)
        selection = select(backend, mode, lane, variant, device, precision, batch, threads)
        plan, minutes = (QUICK_PLAN, QUICK_MINUTES) if quick else (Plan(), MINUTES)
        if stream:
            selection = replace(selection, feeds=("resident", "stream"))
        if vary is not None:
            selection, plan, minutes = varied(selection, vary), VARIED_PLAN, VARIED_MINUTES
        cases = expand(selection, registry)
        refuse_unused(interpreters, cases)
        request = runs.Request(
            cases=tuple(cases if vary is None else without_slow(cases, registry, selection.modes)),
            named=frozenset({*selection.backends, *interpreters}),
            data=data,
            data_dir=data_dir,
            interpreters=interpreters,
            passes=passes or (QUICK_PASSES if quick else None),
            target=share("--precision-target", precision_target),
            max_minutes=minutes if max_minutes is None else max_minutes,
            seed=secrets.randbits(32) if seed is None else seed,
            plan=replace(plan, allocator=allocator, deadline_seconds=deadline),
            command=shlex.join(["lenet-bench", *sys.argv[1:]]),
            fewest_passes=2 if vary is None else 1,
        )
    reading = runs.datasets(request.cases, request.data, request.data_dir, DownloadBar)
    with only_run_here(), reading as (folders, verified):
        interpreters = environments.ready(request.cases, registry, request.interpreters, with_pins, say)
        request = replace(request, interpreters=interpreters, named=request.named | set(interpreters))
        request = replace(
            request, data_sha256=same_data(fingerprint(folders), begun.request.data_sha256 if begun else "")
        )
        begun = begun or runs.start(request, results_folder, registry)
        if not verified:
            runs.doubt(begun)
        tell_tree()
        warn_if_busy()
        try:
            with working() as progress:
                rows = runs.carry_out(begun, folders, progress)
        except KeyboardInterrupt:
            say(f"interrupted; complete passes are in {begun.folder}; go on with --resume {begun.folder}")
            raise typer.Exit(130) from None
    show(begun, rows)
    raise typer.Exit(runs.exit_code(begun))


def show(run: runs.Run, rows: list[Throughput]) -> None:
    """The tables of a run, and what a reader must know beside them."""
    print_table(output, grids.throughput(rows).without(["lane"]))
    comparisons = run.comparisons()
    if comparisons and len(rows) <= MOST_COMPARED:
        print_table(output, grids.pairs_matrix(comparisons, grids.labels_of(run.request.cases)))
    elif comparisons:
        say(f"{len(comparisons)} pairs of cases, compared sweep by sweep, are in {run.folder / 'comparisons.csv'}")
    if overheads := run.overheads():
        print_table(output, grids.overheads(overheads))
    labels = grids.labels_of([case_of(row) for row in rows])
    alike: dict[str, list[str]] = {}
    for row in rows:
        if row.status != "ok":
            alike.setdefault(f"{row.status}: {row.reason}", []).append(labels[case_of(row).id])
    for reason, names_of_cases in alike.items():
        say(f"{', '.join(names_of_cases)}: {reason}", "yellow")
    disturbed, done = run.disturbed_passes(), run.passes()
    passes = f"{len(done)} pass{'es' if len(done) != 1 else ''}, {len(disturbed)} of them disturbed"
    if run.cut_short():
        asked = f"{run.request.passes} undisturbed passes, as asked for"
        say(f"--max-minutes {run.request.max_minutes:g} has ended it before {asked}", "yellow")
    say(f"data {run.data}, seed {run.request.seed}, {passes}, run folder {run.folder}")
    say(page_of(run.folder))


def refuse_what_has_no_effect(
    context: typer.Context, vary: str | None, sweep: str | None, quick: bool, passes: int | None
) -> str | None:
    """What a run varies, by either name of the option. Raises UsageError for what changes nothing beside another."""
    if vary is not None:
        refuse_without_effect(context, "beside --vary, its name by now", "sweep")
    vary = sweep if vary is None else vary
    if vary is not None:
        if vary in AXES:
            refuse_without_effect(context, f"beside --vary {vary}, which has sizes of its own", vary)
        refuse_without_effect(
            context, "beside --vary, which has a length of its own: see --passes, --max-minutes", "quick"
        )
    if passes is not None:
        refuse_without_effect(context, "beside --passes, which says how many", "precision_target")
    if quick:
        refuse_without_effect(context, "beside --quick, which makes two passes", "precision_target")
    return vary


@app.command()
def verify(
    backend: Backends = [],
    mode: Modes = [],
    lane: Lanes = [],
    variant: Variants = [],
    precision: Precisions = ["float32", "float64"],
    device: Devices = ["cpu"],
    python: Pythons = [],
    with_pins: With = [],
    results_folder: Results = Path("results"),
    deadline: Deadline = 600,
) -> None:
    """The whole equivalence proof; writes equivalence.csv into the results folder."""
    selection = Selection(
        names(backend), names(mode), names(variant), names(device), names(precision), (BATCH_SIZE,), (1,)
    )
    selection = replace(selection, lanes=lanes(lane))
    answers, _, code = gather("verify", selection, python, with_pins, results_folder, deadline)
    rows = [row for answer in answers for row in equivalence_rows(answer.case, answer.version, answer.comparisons)]
    if rows:
        print_table(output, grids.equivalence(rows))
        wrong = sum(row.verdict != "ok" for row in rows)
        path = results.write_rows(results_folder, Equivalence, rows)
        say(f"{len(rows)} comparisons, {wrong} outside their tolerance; {path}")
    raise typer.Exit(1 if any(row.verdict != "ok" for row in rows) else code if rows else 4)


@app.command()
def shapes(
    backend: Backends = [],
    mode: Modes = [],
    lane: Lanes = [],
    variant: Variants = ["lenet5"],
    native: Annotated[
        bool, typer.Option("--native", help="as each framework keeps them, not in canonical NCHW")
    ] = False,
    device: Devices = ["cpu"],
    python: Pythons = [],
    with_pins: With = [],
    results_folder: Results = Path("results"),
    deadline: Deadline = 300,
) -> None:
    """Every backend's stage shapes side by side, the formula's first; writes shapes.csv into the results folder."""
    selection = Selection(names(backend), names(mode), names(variant), names(device), ("float32",), (BATCH_SIZE,), (1,))
    selection = replace(selection, lanes=lanes(lane))
    answers, registry, code = gather("shapes", selection, python, with_pins, results_folder, deadline)
    rows = [
        row
        for answer in answers
        if answer.shapes is not None and answer.parameters is not None
        for row in shape_rows(answer.case, registry[answer.case.backend], answer.shapes, answer.parameters)
    ]
    for name in dict.fromkeys(row.variant for row in rows):
        print_table(output, grids.shapes([row for row in rows if row.variant == name], native))
    if rows:
        wrong = sum(row.verdict != HELD for row in rows)
        path = results.write_rows(results_folder, Shape, rows)
        say(f"{len(rows)} stages, {wrong} that differ from the formula; {path}")
    raise typer.Exit(1 if any(row.verdict != HELD for row in rows) else code if rows else 4)


@app.command()
def selfcheck(
    backend: Backends = [],
    mode: Modes = [],
    batch: Annotated[int, typer.Option("--batch", help="batch size")] = 128,
    passes: Annotated[int, typer.Option("--passes", min=2, help="sets of fresh processes")] = 8,
    sweeps: Annotated[int, typer.Option("--sweeps", min=10, help="rounds of each process")] = 100,
    data: Data = "digits",
    data_dir: DataDir = None,
    python: Pythons = [],
    with_pins: With = [],
    results_folder: Results = Path("results"),
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="of the order of processes and turns")] = None,
    deadline: Deadline = 300,
) -> None:
    """What this machine can resolve: identical code and exact slowdowns side by side; writes selfcheck.csv."""
    refuse_unread(data_dir, data)
    interpreters = environments.parse_interpreters(python)
    registry = known_backends(interpreters)
    selection = Selection(names(backend), names(mode), batch_sizes=(batch,), lanes=() if mode else ("tutorial",))
    cases = selfchecks.cases(expand(selection, registry), names(mode))
    refuse_unused(interpreters, cases)
    results.make_writable(results_folder)
    plan = Plan(sweeps=sweeps, case_seconds=sweeps, deadline_seconds=deadline)
    seed = secrets.randbits(32) if seed is None else seed
    rows: list[SelfCheck] = []
    code = 0
    reading = runs.datasets(cases, data, data_dir, DownloadBar)
    with only_run_here(), reading as (folders, verified), working() as progress:
        interpreters = environments.ready(cases, registry, interpreters, with_pins, say)
        tell_tree()
        warn_if_busy()
        for case in cases:
            here = environments.find(registry[case.backend], case.device, interpreters)
            found, reason = (
                ([], here.reason)
                if here.reason
                else selfchecks.check(case, here.python, data, folders, plan, passes, seed, progress)
            )
            rows += found
            results.write_rows(results_folder, SelfCheck, rows)
            if reason:
                code = 4
                say(f"{case.backend} {case.mode}: {reason}", "yellow")
    print_table(output, grids.selfchecks(rows))
    say(f"data {called(data, verified)}, seed {seed}, {results_folder / results.FILES[SelfCheck]}")
    raise typer.Exit(code)


@app.command()
def compare(
    base: Annotated[Path, path_argument(help="the run folder to compare with")],
    head: Annotated[Path, path_argument(help="the run folder in question")],
    output_folder: Annotated[
        Path | None, path_option("--output", help="write verdicts as CSV, JSON, Markdown and JUnit here")
    ] = None,
    allow_missing: AllowMissing = False,
) -> None:
    """Two run folders: a verdict per case, and whether the networks are still the same."""
    old, new = comparing.RunFolder.read(base), comparing.RunFolder.read(head)
    verdicts, notes = comparing.compare(old, new)
    if output_folder is not None:
        results.make_writable(output_folder)
        notes += filter(None, [summary.write(output_folder, verdicts, notes, allow_missing)])
    tell_tree()
    cases = [case_of(row) for one in (old, new) for row in one.rows.values()]
    tell(verdicts, notes, allow_missing, names_of(cases))


@app.command()
def gate(
    base: Annotated[str | None, typer.Option("--base", metavar="REV", help="the revision to compare with")] = None,
    base_python: Annotated[
        list[str],
        typer.Option("--base-python", metavar="BACKEND=PATH", help="the base runs a backend in this interpreter"),
    ] = [],
    base_with: Annotated[
        list[str],
        typer.Option("--base-with", metavar="PACKAGE==VERSION", help="as --with, for the base alone"),
    ] = [],
    backend: Backends = [],
    mode: Modes = [],
    lane: Lanes = [],
    variant: Variants = ["lenet5"],
    batch: Annotated[list[str], typer.Option("--batch", help="batch sizes")] = ["128"],
    device: Devices = ["cpu"],
    precision: Precisions = ["float32"],
    threads: Annotated[list[str], typer.Option("--threads", help="threads per process")] = ["1"],
    data: Data = "digits",
    data_dir: DataDir = None,
    python: Pythons = [],
    with_pins: With = [],
    results_folder: Results = Path("results"),
    quick: Annotated[bool, typer.Option("--quick", help="three passes: advisory, seldom conclusive")] = False,
    passes: Annotated[int | None, typer.Option("--passes", min=2, help="so many pairs of processes per look")] = None,
    max_minutes: Annotated[float, typer.Option("--max-minutes", min=0, help="for each of the two looks")] = 10.0,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="of the order of processes and turns")] = None,
    deadline: Deadline = 300,
    allow_missing: AllowMissing = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="measure a working tree with uncommitted changes")
    ] = False,
) -> None:
    """Base and head side by side, in turns: red only for a slowdown that two looks confirm."""
    refuse_unread(data_dir, data)
    interpreters = environments.parse_interpreters(python)
    base_interpreters = environments.parse_interpreters(base_python, "--base-python")
    if base is None and not base_interpreters and not base_with:
        raise UsageError("a gate needs a base: --base REV, --base-with PACKAGE==VERSION, or --base-python BACKEND=PATH")
    registry = known_backends({**base_interpreters, **interpreters})
    selection = select(backend, mode, lane, variant, device, precision, batch, threads)
    if base is None and not selection.backends:
        # Where only interpreters differ, the other backends are the same on both sides.
        pinned = environments.pins_replaced(
            base_with, expand(selection, registry), registry, base_interpreters, "--base-with"
        )
        selection = replace(selection, backends=(*base_interpreters, *pinned))
    cases = tuple(without_slow(expand(selection, registry), registry, selection.modes))
    refuse_unused({**base_interpreters, **interpreters}, cases)
    terms = gates.Terms(
        cases,
        selection,
        data,
        secrets.randbits(32) if seed is None else seed,
        passes or (gates.QUICK_PASSES if quick else None),
        max_minutes,
        replace(gates.PLAN, deadline_seconds=deadline),
        shlex.join(["lenet-bench", *sys.argv[1:]]),
    )
    with (
        only_run_here(),
        runs.datasets(cases, data, data_dir, DownloadBar) as (folders, verified),
        gates.sides(
            base,
            gates.Asked(base_interpreters, base_with),
            gates.Asked(interpreters, with_pins),
            cases,
            registry,
            allow_dirty,
            say,
        ) as (old, new),
    ):
        terms = replace(terms, verified=verified)
        begun = gates.start(terms, results_folder, registry, old, new)
        tell_tree()
        warn_if_busy()
        try:
            with working() as progress:
                verdicts = gates.carry_out(begun, folders, progress)
        except KeyboardInterrupt:
            say(f"interrupted: no verdict; complete passes are in {begun.folder}")
            raise typer.Exit(130) from None
    asked = f"data {called(data, verified)}, seed {terms.seed}, run folder {begun.folder}"
    notes = [*begun.notes, f"base {old.label}, head {new.label}", asked]
    if quick:
        notes.insert(0, "--quick: advisory")
    notes += filter(None, [summary.write(begun.folder, verdicts, notes, allow_missing)])
    tell(verdicts, [*notes, page_of(begun.folder)], allow_missing, names_of([*cases, *begun.gone]))


def tell(verdicts: list[Verdict], notes: list[str], allow_missing: bool, labels: dict[str, str]) -> None:
    """The table of verdicts, lines in which cases have a reader's names, one that concludes, and the exit code."""
    print_table(output, grids.verdicts(verdicts).without(["why"]))
    for row in verdicts:
        if row.reason:
            say(f"{labels.get(row.case, row.case)}: {row.verdict}: {row.reason}")
    for line in (*notes, conclusion(verdicts, allow_missing)):
        say(line)
    raise typer.Exit(exit_code_of(verdicts, allow_missing))


def gather(
    verb: str,
    selection: Selection,
    python: list[str],
    with_pins: list[str],
    results_folder: Path,
    deadline: float,
) -> tuple[list[Answer], dict[str, Entry], int]:
    """An answer for every case that can be tried, the registry, and the exit code as far as missing cases go."""
    interpreters = environments.parse_interpreters(python)
    registry = known_backends(interpreters)
    cases = expand(selection, registry)
    refuse_unused(interpreters, cases)
    results.make_writable(results_folder)
    interpreters = environments.ready(cases, registry, interpreters, with_pins, say)
    tell_tree()
    named = {*selection.backends, *interpreters}
    answers: list[Answer] = []
    with working() as progress:
        for entry in registry.values():
            for place in dict.fromkeys(case.device for case in cases if case.backend == entry.name):
                own = [case for case in cases if (case.backend, case.device) == (entry.name, place)]
                progress(f"{verb}: {entry.name} on {place}, {len(own)} cases")
                answers += ask_environment(verb, entry, place, own, interpreters, deadline)
    code = 0
    for answer in answers:
        if answer.status != "ok":
            code = 4 if answer.status == "failed" or answer.case.backend in named else code
            case = f"{answer.case.backend} {answer.case.mode} {answer.case.variant} {answer.case.precision}"
            say(f"{case}: {answer.status}: {answer.reason}", "yellow")
    return answers, registry, code


def ask_environment(
    verb: str,
    entry: Entry,
    device: str,
    cases: list[Case],
    interpreters: dict[str, Path],
    deadline: float,
) -> list[Answer]:
    """Answers from one environment; cases that cannot run there are answered without starting it."""
    here = environments.find(entry, device, interpreters)
    answers = [Answer(case, "unavailable", impossible(case, entry) or here.reason) for case in cases]
    possible = [answer.case for answer in answers if not answer.reason]
    found = ask(verb, here.python, possible, deadline) if possible else []
    return [answer for answer in answers if answer.reason] + found


def main() -> None:
    """The command; bad input is one line on standard error and exit code 2.

    What nobody foresaw is no verdict either: 70, as sysexits.h has it, and never 1, which means slower.
    """
    try:
        for one in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            if signal.getsignal(one) != signal.SIG_IGN:
                signal.signal(one, signal.default_int_handler)  # end as Ctrl-C does: clean up, tell
        code = carry_out()
    except KeyboardInterrupt:
        complain("lenet-bench: interrupted")
        code = 130
    except (UsageError, OSError) as error:
        complain(f"lenet-bench: {printable(str(error))}")
        code = 2
    except BaseException:  # SystemExit, too: no command ends with one, so somebody's import did
        traceback.print_exc()
        complain("lenet-bench: this is a fault of lenet-bench itself, and no verdict; please report it")
        code = INTERNAL_ERROR
    sys.exit(code)


def carry_out() -> int:
    """What the command line says; its exit code.

    By Typer's parts: as a whole, it makes a 1 of a broken pipe, and says nothing when it is interrupted.
    """
    refuse_elsewhere()
    refuse_a_scratch_folder_that_is_two()
    revision.at_start(SOURCE_ROOT)
    command = typer.main.get_command(app)
    try:
        with command.make_context("lenet-bench", sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except WRONG_USAGE as error:
        error.show()
        return 2
    except BrokenPipeError:
        if len(sys.argv) == 1 or "--help" in sys.argv:  # and its reader has left
            return 0
        raise
    return 0
