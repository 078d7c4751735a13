"""From run folders to one page, `lenet-bench report`: which tables and charts a run's files make.

What a folder does not have makes no section; what it should have and does not, or what cannot be read, is said at
the top of its article.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench import charts, grids, inspection
from bench.control import BACKEND as CONTROL
from bench.control import control_of
from bench.estimates import TOO_CLOSE, TOO_NOISY, WIDEST, by_case, calm_sweeps, in_sweeps, usable_rounds
from bench.folder import MACHINE_FILE, Folder
from bench.grids import Grid, Link, Word
from bench.pages import Article, Command, Download, Facts, Figure, Gallery, Page, Part, Prose, Section, Table, packed
from bench.results import (
    FILES,
    Accuracy,
    Comparison,
    Curve,
    Equivalence,
    Overhead,
    Round,
    SelfCheck,
    Shape,
    Throughput,
    Verdict,
    case_of,
    printable,
)

# A matrix of pairs is as wide as it is long.
MOST_COMPARED = 12
# Bytes of a file, as the page carries it, beyond which it stays in its folder.
LARGEST_DOWNLOAD = 1_200_000
# Groups of cases with charts of their own, charts of rounds, and pairs, beyond which they are folded away.
MOST_OPEN, MOST_FIGURES, MOST_PAIRS = 2, 40, 300


def page_of(folders: Sequence[Folder], problems: Sequence[str] = ()) -> Page:
    """Everything the folders tell; runs in the order of their times, their history first where there are several.

    `problems` are of what has no folder here.
    """
    ordered = sorted(folders, key=lambda folder: folder.utc)
    articles = [article(number, folder, len(ordered) > 1) for number, folder in enumerate(ordered, start=1)]
    if several := history(ordered):
        articles.insert(0, Article(0, "All runs", [], [several]))
    names = ", ".join(folder.name for folder in ordered[:3])
    title = f"lenet-bench: {names}" + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
    return Page(title, articles, places=places(ordered), problems=[*map(printable, problems)])


def places(folders: Sequence[Folder]) -> dict[int, str]:
    """Where each row stands, by its identity: the number of its run, its file and its line."""
    return {
        id(row): f"{number} {FILES[kind]} {line}"
        for number, folder in enumerate(folders, start=1)
        for kind, rows in folder.tables.items()
        for line, row in enumerate(rows, start=2)
    }


def article(number: int, folder: Folder, several: bool) -> Article:
    """One run's sections, those for which it has something; with its number where there are several runs."""
    made = [make(folder) for make in SECTIONS]
    sections = [replace(section, slug=f"r{number}-{section.slug}") for section in made if section and section.parts]
    linked = [replace(section, parts=[relinked(part, number) for part in section.parts]) for section in sections]
    title = f"{number}: {folder.name}" if several else folder.name
    # A page is made to be sent: it says nothing of where the folder lies.
    problems = [printable(problem.replace(f"{folder.path}/", "")) for problem in folder.problems]
    return Article(number, title, problems, linked, downloads(folder))


def relinked(part: Part, number: int) -> Part:
    """The part with its links leading to its own run's places."""
    if not isinstance(part, Table):
        return part
    rows = [
        [tuple(replace(p, target=f"r{number}-{p.target}") if isinstance(p, Link) else p for p in cell) for cell in row]
        for row in part.grid.rows
    ]
    return replace(part, grid=replace(part.grid, rows=rows))


def at_a_glance(folder: Folder) -> Section | None:
    """What ran where, how it ended, and how to repeat it."""
    facts = facts_of(folder)
    parts: list[Part] = [Facts(facts)] if facts else []
    rows: Sequence[Throughput | Accuracy] = [*folder.rows(Throughput), *folder.rows(Accuracy)]
    noted: list[list[grids.Cell]] = [
        [(f"{row.backend} {row.mode} {grids.described(row)}",), (Word(row.status, row.status),), (row.reason,)]
        for row in rows
        if row.status != "ok"
    ]
    if noted:
        heads = grids.headings(["case", "status", "why"])
        parts.append(Table(Grid("Cases that are not ok, and why", heads, noted)))
    if command := repeating(folder):
        dirty = any(row.dirty == "yes" for row in rows)
        told = ", but for changes that were not committed" if dirty else ""
        parts += [Prose(f"This repeats the run{told}:"), Command(command)]
    return Section("glance", "At a glance", parts)


def facts_of(folder: Folder) -> dict[str, str]:
    """What is the same for the whole run, by what a reader calls it."""
    rows: Sequence[Throughput | Accuracy] = [*folder.rows(Throughput), *folder.rows(Accuracy)]
    facts: dict[str, str] = {}
    if rows:
        first = rows[0]
        facts["when"] = first.utc
        facts["cases"] = ", ".join(f"{count} {word}" for word, count in counted(row.status for row in rows).items())
        facts["data"] = first.data
        facts["commit"] = first.commit + {"yes": ", with uncommitted changes", "no": ""}.get(first.dirty, "")
        facts["frameworks"] = ", ".join(dict.fromkeys(grids.named(row) for row in rows if row.version))
    for row in folder.rows(Verdict)[:1]:
        facts.update({"when": row.utc, "base": row.base, "head": row.head})
        facts.setdefault("data", printable(str(folder.machine.get("data", ""))))
    if passes := [row.passes for row in folder.rows(Throughput) if row.passes]:
        facts["passes of fresh processes"] = ends(passes, "d")
    if speeds := [row.control_gflops for row in folder.rows(Throughput) if row.control_gflops is not None]:
        facts["control, a matrix product"] = f"{ends(speeds, ',.1f')} GFLOP/s"
    if proofs := folder.rows(Equivalence):
        wrong = sum(row.verdict != "ok" for row in proofs)
        facts["equivalence"] = f"{len(proofs)} comparisons with the float64 reference, {wrong} outside their tolerance"
    said = {"processor": "cpu", "GPU": "gpu", "operating system": "os", "CPUs": "cpus", "memory": "memory_bytes"}
    for words, name in {**said, "harness's Python": "harness_python", "seed": "seed"}.items():
        value = folder.machine.get(name)
        if isinstance(value, list):
            value = " ".join(map(str, value))
        if name == "memory_bytes" and isinstance(value, int) and 0 < value < 2**60:
            value = f"{value / 2**30:.1f} GiB"
        if value not in (None, ""):
            facts[words] = printable(str(value))
    return {name: text for name, text in facts.items() if text}


def ends(values: Sequence[float], form: str) -> str:
    """The smallest and the largest, or the one that they all are."""
    return " to ".join(dict.fromkeys(format(value, form) for value in (min(values), max(values))))


def counted(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


def repeating(folder: Folder) -> str:
    """The command that repeats a run, with its seed and its commit; empty where the folder does not say.

    Its words are quoted anew: whoever copies them runs lenet-bench and nothing else.
    """
    command, seed = folder.machine.get("command"), folder.machine.get("seed")
    try:
        said = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return ""
    if len(said) < 2 or said[0] != "lenet-bench" or not re.fullmatch("[a-z]+", said[1]):
        return ""
    verb, words = said[1], said[2:]
    if isinstance(seed, int) and not any(word.split("=")[0] == "--seed" for word in words):
        words += ["--seed", str(seed)]
    told = " ".join(["nox", "-s", {"run": "bench"}.get(verb, verb), *(["--", shlex.join(words)] if words else [])])
    rows: Sequence[Throughput | Accuracy] = [*folder.rows(Throughput), *folder.rows(Accuracy)]
    commit = str(rows[0].commit if rows else folder.machine.get("commit"))
    return f"git checkout {commit} && {told}" if re.fullmatch("[0-9a-f]{4,40}", commit) else told


def kinds_of(rows: Sequence[Throughput]) -> dict[str, list[Throughput]]:
    """The rows by what they are beside backend and mode, in words."""
    kinds: dict[str, list[Throughput]] = {}
    for row in rows:
        kinds.setdefault(grids.in_words(row), []).append(row)
    return kinds


def short_labels(rows: Sequence[Throughput | Accuracy]) -> dict[str, str]:
    """Backend and mode, by the case's id."""
    return {case_of(row).id: f"{row.backend} {row.mode}" for row in rows}


def charts_of(
    title: str, kinds: Mapping[str, Sequence[Any]], make: Callable[[Sequence[Any]], charts.Chart], said: str
) -> list[Part]:
    """A chart per kind of case: open where they are few, else folded away together."""
    figures = [Figure(f"{title}: {words}", f"{said}: {words}", make(rows)) for words, rows in kinds.items() if rows]
    if len(figures) <= MOST_OPEN:
        return list(figures)
    return [Gallery(f"{title}: {len(figures)} charts", figures, folded=True)]


def throughput(folder: Folder) -> Section | None:
    """Images per second, both lanes side by side, each linked to the flags that made it."""
    rows = folder.rows(Throughput)
    if not rows:
        return None
    timed = [row for row in rows if row.images_per_s is not None]
    targets = {case_of(row).id: f"flags-{flags_of(rows).index(flags_key(row)) + 1}" for row in rows}
    spread = any(row.images_per_s_low is not None for row in timed)
    wide = charts.is_wide(row.images_per_s for row in timed)
    said = (
        f"Images per second of every case{', with 95 % intervals' if spread else ''}"
        f"{', on a logarithmic axis' if wide else ''}; the table below has the numbers"
    )
    drawn = charts_of("Images per second", kinds_of(timed), lambda own: charts.throughput(own, short_labels(own)), said)
    how = (
        "A step is forward, loss, backward and update of one batch, with waiting for all of it. "
        + ("The interval is 95 % for the mean over passes of fresh processes. " if spread else ONE_PASS)
        + "Cases stand in the order of the registry: for whether one is faster than another, see the pairs. "
        + ("Hollow points are of cases that are not ok. " if any(row.status != "ok" for row in timed) else "")
        + "Cores are CPU seconds of all threads over wall seconds; the weight error is the largest of any weight after "
        "training, relative to how far training moved it. The lane leads to the flags."
    )
    table = Table(grids.throughput(rows, targets).without(grids.START_UP))
    return Section("throughput", "Throughput", [Prose(how), *drawn, table])


ONE_PASS = "With one pass, there are no intervals. "


def flags_key(row: Throughput) -> tuple[str, ...]:
    return (grids.named(row), row.mode, row.lane, row.python, row.device_observed, row.allocator, row.cpus, row.flags)


def flags_of(rows: Sequence[Throughput]) -> list[tuple[str, ...]]:
    """Every way in which a mode ran, once."""
    return list(dict.fromkeys(map(flags_key, rows)))


def flags(folder: Folder) -> Section | None:
    """The process-wide switches of every mode, as its framework reported them."""
    rows = folder.rows(Throughput)
    heads = grids.headings(["backend", "mode", "lane", "Python", "device", "allocator", "CPUs", "flags"])
    grid = Grid("Flags, as each framework reported them after its last round", heads, names=2, anchors="flags")
    grid.rows.extend([(part,) for part in key] for key in flags_of(rows))
    return Section("flags", "Versions and flags", [Table(grid)]) if rows else None


def sweeps(folder: Folder) -> Section | None:
    """Time against batch size with the fitted line, and images per second against threads, per backend."""
    timed = [row for row in folder.rows(Throughput) if row.step_us is not None]
    lines = folder.rows(Overhead)
    parts: list[Part] = []
    by_batch = families(timed, "batch_size")
    if by_batch:
        how = (
            "Points are measured; lines are fitted: step = overhead + image * batch size, by relative error. "
            "The limit is the images/s of a batch so large that the overhead does not count. "
            + ("With one pass, its interval is that of the fit. " if any(line.passes == 1 for line in lines) else "")
            + "Where the line is bent, the points say more than it."
        )
        figures = [
            Figure(
                words,
                f"Microseconds per step against batch size, on logarithmic axes, a line per mode: {words}",
                charts.batch_sizes(own, [line for line in lines if belongs(line, own)]),
            )
            for words, own in by_batch.items()
        ]
        parts += [Prose(how), Gallery("µs per step by batch size", figures)]
    if lines:
        parts.append(Table(grids.overheads(lines)))
    if by_threads := families(timed, "threads"):
        figures = [
            Figure(words, f"Images per second by number of threads: {words}", charts.threads(own))
            for words, own in by_threads.items()
        ]
        parts.append(Gallery("Images per second by threads", figures))
    return Section("sweeps", "Batch sizes and threads", parts)


def families(rows: Sequence[Throughput], axis: str) -> dict[str, list[Throughput]]:
    """Rows of one backend that differ in mode and in that column only, where there are two values of it or more."""
    found: dict[str, list[Throughput]] = {}
    for row in rows:
        found.setdefault(f"{row.backend}: {grids.in_words(row, but=axis)}", []).append(row)
    return {words: own for words, own in found.items() if len({getattr(row, axis) for row in own}) > 1}


def belongs(line: Overhead, rows: Sequence[Throughput]) -> bool:
    """Whether a fitted line is one of those rows'."""
    names = ("backend", "variant", "device", "precision", "threads", "feed")
    return any(all(getattr(line, name) == getattr(row, name) for name in (*names, "mode")) for row in rows)


def peak(folder: Folder) -> Section | None:
    """The share of the matrix product's speed."""
    there = [row for row in folder.rows(Throughput) if row.gemm_peak_share is not None]
    how = (
        "The step's multiply-adds per second over those of the control, a 512x512 matrix product that took turns "
        "beside it, with the same threads and precision."
    )
    said = "Share of the matrix product's speed that each case reaches; the throughput table has the numbers"
    drawn = charts_of("Share of peak", kinds_of(there), lambda own: charts.peak_share(own, short_labels(own)), said)
    return Section("peak", "Share of the matrix-product peak", [Prose(how), *drawn]) if there else None


def start_up(folder: Folder) -> Section | None:
    """Import, build, first step and memory."""
    there = [row for row in folder.rows(Throughput) if row.import_s is not None]
    if not there:
        return None
    how = (
        "None of this is in the clock, and no one process waited for just this sum. Import and build are medians over "
        "passes; the first step, with what the framework compiles for it, is that of the first process, which finds "
        "empty caches."
    )
    kinds = kinds_of(there)
    said = "the table below has the numbers"
    drawn = [
        *charts_of(
            "Seconds before the second step",
            kinds,
            lambda own: charts.start_up(own, short_labels(own)),
            f"Import, build and first step of every case, stacked; {said}",
        ),
        *charts_of(
            "Peak main memory",
            kinds,
            lambda own: charts.memory(own, short_labels(own)),
            f"The most main memory that a process of each case held; {said}",
        ),
    ]
    return Section("start", "Import, build, first step, memory", [Prose(how), *drawn, Table(grids.start_up(there))])


def noise(folder: Folder) -> Section | None:
    """Every round of every case, as it was measured."""
    rounds = by_case(list(folder.rows(Round)))
    rows = {case_of(row).id: row for row in folder.rows(Throughput)}
    labels = grids.labels_of([case_of(row) for row in rows.values()]) if rows else {}
    controls = {name: own for name, own in rounds.items() if name.startswith(f"{CONTROL}-")}
    first = next((controls.get(control_of(case_of(row)).id) for row in rows.values()), None)
    figures = []
    for case in [*(case for case in rows if case in rounds), *(case for case in rounds if case not in rows)]:
        own, name = rounds[case], labels.get(case, case)
        said = f"{len(own)} rounds of {name}: microseconds per step in the order in which they were measured"
        counts = {one.order for one in counting(own, control_beside(case, rows.get(case), controls), first)}
        figures.append(Figure(name, said, charts.rounds(own, counts, rows.get(case))))
    how = (
        "Every timed round, in the order of the run; a colour per pass. "
        + (
            "Figures are made of the filled points; at the hollow ones the control, a matrix product, ran slowly. "
            if controls
            else "There is no control among them, so nobody can tell when the machine was calm. "
        )
        + ("The dashed line is the step that the table shows." if rows else "")
    )
    folded = len(figures) > MOST_FIGURES or not rows
    gallery = Gallery(f"Rounds of {len(figures)} cases", figures, folded)
    return Section("noise", "Raw rounds", [Prose(how), gallery]) if figures else None


def control_beside(
    case: str, row: Throughput | None, controls: Mapping[str, Sequence[Round]]
) -> Sequence[Round] | None:
    """The rounds of the control that took turns with a case, itself a control or not; a gate's cases have no row."""
    if case in controls:
        return controls[case]
    if row is not None:
        return controls.get(control_of(case_of(row)).id)
    return next((rounds for name, rounds in controls.items() if goes_with(name, case)), None)


def counting(own: Sequence[Round], beside: Sequence[Round] | None, of_run: Sequence[Round] | None) -> list[Round]:
    """The rounds that estimates are made from: those of calm sweeps, by the control beside them.

    In a run, those of disturbed passes are left out before, by the control of its first case, `of_run`.
    """
    if beside is None:
        return list(own)
    return in_sweeps(own if of_run is None else usable_rounds(own, of_run), calm_sweeps(beside))


def goes_with(control: str, case: str) -> bool:
    """Whether the control of that name takes turns with a gate's case: same precision where it can, same threads."""
    words, known = control.split("-"), {"float32", "float64"}
    return words[-1] in case.split("-") and not known - set(words) & set(case.split("-"))


def pairs(folder: Folder) -> Section | None:
    """Every pair of cases, sweep by sweep."""
    rows = folder.rows(Comparison)
    if not rows:
        return None
    cases = {case_of(row).id: row for row in folder.rows(Throughput)}
    names = list(dict.fromkeys([name for row in rows for name in (row.case, row.other)]))
    known = [case_of(cases[name]) for name in names if name in cases]
    labels = {**{name: name for name in names}, **(grids.labels_of(known) if known else {})}
    short = {**labels, **{case.id: f"{case.backend} {case.mode}" for case in known}}
    decided = [row for row in rows if row.ratio_low is not None]
    counts = ", ".join(
        f"{count} {word}" for word, count in counted(grids.pair_word(row).text for row in decided).items()
    )
    how = (
        "How many times the images/s of the other a case reaches: two rounds of one sweep lie next to each other in "
        "time, so a slow minute of the machine hits both. "
        + (
            f"Where the 95 % interval includes 1, it is {TOO_CLOSE}, or {TOO_NOISY}: where its ends are further apart "
            f"than a factor of {WIDEST}. "
            f"Of {len(decided)} pairs, the first is: {counts}."
            if decided
            else "With one pass, there are neither intervals nor verdicts."
        )
    )
    matrices = [
        replace(grids.pairs_matrix(own, short), title=f"images/s of the row / images/s of the column: {words}")
        for words, own in comparable(rows, cases).items()
        if len({name for row in own for name in (row.case, row.other)}) <= MOST_COMPARED
    ]
    folded = len(matrices) > MOST_OPEN
    listed = Table(grids.pairs(rows, labels), folded=bool(matrices) or len(rows) > MOST_PAIRS)
    close = [row for row in decided if grids.pair_word(row).text == TOO_CLOSE]
    told = (
        [Table(replace(grids.pairs(close, labels), title="Too close to call"))]
        if close and len(close) < len(rows)
        else []
    )
    return Section("pairs", "Pairs", [Prose(how), *(Table(grid, folded) for grid in matrices), *told, listed])


def comparable(rows: Sequence[Comparison], cases: Mapping[str, Throughput]) -> dict[str, list[Comparison]]:
    """Pairs by their kind, and by their lane where a kind has more cases than a matrix is wide."""
    kinds: dict[str, list[Comparison]] = {}
    for row in rows:
        if row.case in cases and row.other in cases:
            kinds.setdefault(grids.in_words(cases[row.case]), []).append(row)
    found: dict[str, list[Comparison]] = {}
    for words, own in kinds.items():
        if len({name for row in own for name in (row.case, row.other)}) <= MOST_COMPARED:
            found[words] = own
            continue
        for row in own:
            if cases[row.case].lane == cases[row.other].lane:
                found.setdefault(f"{cases[row.case].lane}, {words}", []).append(row)
    return found


def as_timed(folder: Folder, rows: Sequence[Equivalence | Shape]) -> list[Any]:
    """The rows in the order of the throughput table; theirs is the one in which processes were ready."""
    order = {(row.backend, row.mode): place for place, row in reversed(list(enumerate(folder.rows(Throughput))))}
    return sorted(rows, key=lambda row: order.get((row.backend, row.mode), len(order)))


def proofs(folder: Folder) -> Section | None:
    """How far every case is from the float64 reference."""
    rows = as_timed(folder, folder.rows(Equivalence))
    if not rows:
        return None
    how = (
        "Every stage's values, every loss and the trained weights beside the float64 NumPy reference. A row of "
        "throughput exists only for what passed. Weights count relative to how far training moved them."
    )
    shown = [row for row in rows if row.error > 0 and row.tolerance > 0]
    said = f"Error over tolerance of {len(shown)} comparisons, on a logarithmic axis; right of 1 it would not pass"
    if exact := len(rows) - len(shown):
        how += (
            f" {exact} of the {len(rows)} comparisons are exact, or have to be (weights as imported, shapes, types): "
        )
        how += "these are not drawn."
    drawn: list[Part] = [Figure("Error over tolerance", said, charts.equivalence(shown))] if shown else []
    return Section("proof", "Equivalence", [Prose(how), *drawn, Table(grids.equivalence(rows))])


def shapes(folder: Folder) -> Section | None:
    """Every backend's stages beside the formula."""
    rows = as_timed(folder, folder.rows(Shape))
    grouped = [[row for row in rows if row.variant == name] for name in dict.fromkeys(row.variant for row in rows)]
    how = "Sizes as counted from each framework's arrays; the formula is floor((n + 2p - k) / s) + 1."
    return Section("shapes", "Shapes", [Prose(how), *(Table(grids.shapes(own)) for own in grouped)]) if rows else None


def verdicts(folder: Folder) -> Section | None:
    """What a gate or a comparison of two runs decided."""
    rows = folder.rows(Verdict)
    if not rows:
        return None
    said = "Step of the head over step of the base with 95 % intervals; the table below has the numbers"
    how = (
        "Right of 1 the head is slower. What could have been seen is the smallest slowdown that would have been "
        "suspected 95 times in 100."
    )
    drawn: list[Part] = []
    if any(row.ratio is not None for row in rows):
        drawn = [Figure("Head over base", said, charts.ratios(rows, without_common_end([row.case for row in rows])))]
    return Section("verdicts", "Verdicts", [Prose(how), *drawn, Table(grids.verdicts(rows))])


def selfchecks(folder: Folder) -> Section | None:
    """What the machine can resolve."""
    rows = folder.rows(SelfCheck)
    if not rows:
        return None
    said = "Slowdowns found, with 95 % intervals, beside those injected; the table below has the numbers"
    how = (
        "Points and intervals are what was found, ticks what was injected, on average over all rounds. A slowdown of "
        "every tenth round is found by total time, not by the median; its point is that. Pair sd is the spread over "
        "passes of two identical processes; the last number is the slowdown that it catches 9 times in 10."
    )
    labels = without_common_end([row.case for row in rows])
    drawn = Figure("Found and injected", said, charts.found_slowdowns(rows, labels))
    return Section("selfcheck", "What this machine resolves", [Prose(how), drawn, Table(grids.selfchecks(rows))])


def without_common_end(names: Sequence[str]) -> dict[str, str]:
    """Names of cases without what all of them end in; one alone keeps its own."""
    parts = {name: name.split("-") for name in names}
    shared = 0
    while len(parts) > 1 and len({tuple(own[len(own) - shared - 1 :]) for own in parts.values()}) == 1:
        shared += 1
    return {name: " ".join(own[: len(own) - shared]) for name, own in parts.items()}


def training(folder: Folder) -> Section | None:
    """Accuracy, time to it, and the curves."""
    rows, curves = folder.rows(Accuracy), folder.rows(Curve)
    if not rows and not curves:
        return None
    cases = {case_of(row).id: row for row in rows}
    trained = list(dict.fromkeys(one.case for one in curves))
    variants = {row.variant for row in rows}
    labels = {name: name for name in trained}
    labels.update(
        {name: f"{r.backend} {r.mode}" + (f" {r.variant}" if len(variants) > 1 else "") for name, r in cases.items()}
    )
    drawn = charts.lines_of(cases, {name: labels[name] for name in trained})
    parts: list[Part] = [Prose(SEEDS)]
    if rows:
        said = "Seconds of training until 98.5 and 99 % of the test images were right; the table below has the numbers"
        parts.append(
            Figure("Time to accuracy", said, charts.time_to_accuracy(rows, curves, {**short_labels(rows), **labels}))
        )
        parts.append(Table(grids.accuracies(rows)))
    if curves:
        parts += [
            Figure(
                "Wrong test images, by seconds",
                "Share of test images that are wrong against seconds of training, logarithmic; a line per case, seed",
                charts.wrong_images(curves, drawn, "seconds"),
            ),
            Figure(
                "Wrong test images, by epoch",
                "Share of test images that are wrong against epochs, logarithmic, a line per case and seed",
                charts.wrong_images(curves, drawn, "epoch"),
            ),
            Figure(
                "Training loss, by epoch",
                "Mean training loss against epochs, logarithmic: one curve where frameworks train the same network",
                charts.losses(curves, drawn),
            ),
        ]
    return Section("training", "Training", parts)


def learned(folder: Folder) -> Section | None:
    """What the weights that a training run kept look like."""
    pictures, told = inspection.of_folder(folder.path)
    return Section("learned", "What it has learned", [*map(Prose, told), *pictures]) if told else None


SEEDS = (
    "Seconds are those of training steps alone. A line or tick per seed; points and the table are medians over seeds. "
    "Losses apart: how far a batch's loss is at most from the median of all frameworks, in the first epoch."
)

SECTIONS: tuple[Callable[[Folder], Section | None], ...] = (
    at_a_glance,
    verdicts,
    selfchecks,
    throughput,
    pairs,
    training,
    learned,
    sweeps,
    peak,
    start_up,
    noise,
    proofs,
    shapes,
    flags,
)


def history(folders: Sequence[Folder]) -> Section | None:
    """Cases that several runs have timed: as measured, and by the control that took turns beside them."""
    found: dict[str, list[tuple[int, Throughput]]] = {}
    for number, folder in enumerate(folders, start=1):
        for row in folder.rows(Throughput):
            if row.images_per_s:
                found.setdefault(case_of(row).id, []).append((number, row))
    found = {case: rows for case, rows in found.items() if len(rows) > 1}
    if not found:
        return None
    labels = grids.labels_of([case_of(rows[0][1]) for rows in found.values()])
    figures = [
        Figure(
            labels[case],
            f"Images per second of {labels[case]} in {len(rows)} runs over the first's, as measured and by the control",
            charts.history(rows),
        )
        for case, rows in found.items()
    ]
    how = (
        "Runs of different days did not take turns; the machine may have been slower. So every case stands twice: as "
        "measured, and divided by the speed of the control, a matrix product that took its turns in the same run. "
        "Points are images/s over those of the first run that has the case, by the numbers that runs have on this "
        "page; hollow ones are of cases that were not ok. Intervals are each run's own alone, without the first's and "
        "the control's: the command compare gives a verdict."
    )
    notes = [Prose(line) for line in other_settings([folder for folder in folders if folder.rows(Throughput)])]
    gallery = Gallery("Each case over its runs", figures)
    names = {number: f"{number}: {folder.name}" for number, folder in enumerate(folders, start=1)}
    return Section("history", "History", [Prose(how), *notes, gallery, Table(grids.history(found, labels, names))])


def other_settings(folders: Sequence[Folder]) -> list[str]:
    """What differs between the runs, a line each."""
    lines = []
    for name in ("cpu", "gpu", "data", "allocator", "os"):
        values = list(
            dict.fromkeys(str(getattr(row, name)) for folder in folders for row in folder.rows(Throughput)[:1])
        )
        if len(values) > 1:
            lines.append(f"Not the same in all runs: {name} ({', '.join(value or 'none' for value in values)}).")
    return lines


def downloads(folder: Folder) -> list[Download]:
    """Every table of the run as it lies there, to the byte; what cannot be read is named among the problems."""
    found = []
    for name in (*FILES.values(), MACHINE_FILE):
        if not (folder.path / name).is_file():
            continue
        try:
            content = (folder.path / name).read_bytes()
        except OSError:
            continue
        carried = packed(content)
        found.append(Download(name, len(content), carried if len(carried) <= LARGEST_DOWNLOAD else ""))
    return found
