"""A case is one cell of the grid; this file turns a selection into the list of cases to run."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from backends import LANES, Entry
from backends.interface import Setup
from backends.lenet import LEARNING_RATE, VARIANTS
from bench import ground, spelling

PRECISIONS = ("float32", "float64", "tf32")
LARGEST_BATCH = 65_536
DEVICES = ("cpu", "cuda")


class UsageError(ValueError):
    """Bad input: one line that names the value, the place and the way out. Exit code 2."""


@dataclass(frozen=True)
class Case:
    """What one process measures.

    `feed` is `resident` (the chunk lies on the device before the clock starts) or `stream` (moving it
    there is part of the round). `copy` tells cases apart that are the same in all else, for self-checks.
    """

    backend: str
    mode: str
    variant: str = "lenet5"
    device: str = "cpu"
    precision: str = "float32"
    batch_size: int = 128
    threads: int = 1
    feed: str = "resident"
    copy: str = ""

    @property
    def id(self) -> str:
        """Unique among the cases of a run, and fit for a file name."""
        cell = (self.backend, self.mode, self.variant, self.device, self.precision)
        rest = [part for part in (self.feed, self.copy) if part not in ("resident", "")]
        return "-".join((*cell, f"b{self.batch_size}", f"t{self.threads}", *rest))

    @property
    def kind(self) -> str:
        """What it is beside its backend and mode: cases of one kind are compared."""
        return replace(self, backend="", mode="").id.strip("-")

    def setup(self) -> Setup:
        rate = VARIANTS[self.variant].learning_rate if self.variant in VARIANTS else LEARNING_RATE
        return Setup(self.mode, self.device, self.precision, self.threads, rate)


@dataclass(frozen=True)
class Selection:
    """What the command line asks for; an empty tuple means everything there is."""

    backends: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    variants: tuple[str, ...] = ("lenet5",)
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[str, ...] = ("float32",)
    batch_sizes: tuple[int, ...] = (128,)
    threads: tuple[int, ...] = (1,)
    feeds: tuple[str, ...] = ("resident",)
    lanes: tuple[str, ...] = ()


def expand(selection: Selection, registry: Mapping[str, Entry]) -> list[Case]:
    """Every case of the selection, in the registry's order. Raises UsageError for names that do not exist."""
    all_modes = {mode.name for entry in registry.values() for mode in entry.modes}
    _refuse_unknown("backend", selection.backends, registry)
    _refuse_unknown("mode", selection.modes, all_modes)
    _refuse_unknown("lane", selection.lanes, LANES)
    _refuse_unknown("variant", selection.variants, VARIANTS)
    _refuse_unknown("device", selection.devices, DEVICES)
    _refuse_unknown("precision", selection.precisions, PRECISIONS)
    for name, values in (("batch size", selection.batch_sizes), ("threads", selection.threads)):
        for value in values:
            if value < 1:
                raise UsageError(f"{name} {value} is not a number of at least 1")
    if selection.batch_sizes and max(selection.batch_sizes) > LARGEST_BATCH:
        raise UsageError(f"batch size {max(selection.batch_sizes)} is more than {LARGEST_BATCH}")
    if selection.threads and max(selection.threads) > len(ground.allowed_cpus()):
        cpus = len(ground.allowed_cpus())
        raise UsageError(f"threads {max(selection.threads)} are more than the {cpus} CPUs that this process may use")
    chosen = [
        (entry.name, mode.name)
        for entry in registry.values()
        for mode in entry.modes
        if (not selection.backends or entry.name in selection.backends)
        and (not selection.modes or mode.name in selection.modes)
        and (not selection.lanes or mode.lane in selection.lanes)
    ]
    for name in selection.backends:
        if all(name != backend for backend, _ in chosen):
            own = ", ".join(f"{mode.name} ({mode.lane})" for mode in registry[name].modes)
            lane = f"in the {', '.join(selection.lanes)} lane" if selection.lanes else ""
            asked = " ".join(filter(None, [", ".join(selection.modes), lane]))
            raise UsageError(f"backend {name} has no mode {asked}; its modes are {own}")
    for name in selection.modes:
        if all(name != mode for _, mode in chosen):
            every = ((entry.name, mode) for entry in registry.values() for mode in entry.modes)
            own = ", ".join(f"{backend} ({mode.lane})" for backend, mode in every if mode.name == name)
            raise UsageError(f"mode {name} is none of what is asked for: {own} has it; name that too, or leave it out")
    cells = itertools.product(
        chosen,
        dict.fromkeys(selection.variants or VARIANTS),
        dict.fromkeys(selection.devices),
        dict.fromkeys(selection.precisions),
        dict.fromkeys(selection.batch_sizes),
        dict.fromkeys(selection.threads),
        dict.fromkeys(selection.feeds),
    )
    cases = [Case(*pair, *rest) for pair, *rest in cells]
    cases = [case for case in cases if selection.modes or exists(case, registry[case.backend])]
    defined = [case for case in cases if registry[case.backend].defines(case.mode, case.variant)]
    for name in selection.backends or ([] if defined else list(registry)):
        if all(case.backend != name for case in defined):
            asked, entry = ", ".join(selection.variants), registry[name]
            have = [m.name for m in entry.modes if any(entry.defines(m.name, v) for v in selection.variants)]
            raise UsageError(f"backend {name} defines {asked} in these of its modes only: {', '.join(have) or 'none'}")
    return defined


def without_slow(cases: Sequence[Case], registry: Mapping[str, Entry], modes: Collection[str]) -> list[Case]:
    """The cases less the modes that take too long to be measured unasked, unless they are named.

    Raises UsageError where none is left.
    """
    slow = {(entry.name, mode.name) for entry in registry.values() for mode in entry.modes if mode.slow}
    kept = [case for case in cases if case.mode in modes or (case.backend, case.mode) not in slow]
    if not kept:
        raise UsageError("every mode of these backends is marked slow; name the one that is meant with --mode")
    return kept


def exists(case: Case, entry: Entry) -> bool:
    """Whether a mode is one for that device at all."""
    devices = entry.mode(case.mode).devices
    return not devices or case.device in devices


def impossible(case: Case, entry: Entry) -> str:
    """Why the registry already says that a case cannot run; empty where it can be tried."""
    if case.device not in entry.devices:
        return f"{case.backend} has no {case.device} code path here; run with --device {entry.devices[0]}"
    if not exists(case, entry):
        only = ", ".join(entry.mode(case.mode).devices)
        return f"mode {case.mode} of {case.backend} exists on {only} only; run with --device {only}"
    if case.precision not in entry.precisions:
        return f"{case.backend} has no {case.precision} here; it has {', '.join(entry.precisions)}"
    if case.precision == "tf32" and case.device != "cuda":
        return "tf32 exists on CUDA devices only; run with --device cuda"
    if not entry.defines(case.mode, case.variant):
        return f"mode {case.mode} of {case.backend} does not define the variant {case.variant}"
    return ""


def _refuse_unknown(kind: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise UsageError(spelling.unknown(kind, name, sorted(known)))
