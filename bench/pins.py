"""What an environment holds: the pins of its requirement file, and which interpreters will do for it.

The only place that decides either. Imports the standard library alone, because nox's own Python asks, too.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from backends import BUILT_IN, Entry
from bench import spelling
from bench.tree import SOURCE_ROOT

REQUIREMENTS = SOURCE_ROOT / "backends" / "requirements"
HARNESS = "harness"
ALL = (HARNESS, *(entry.name for entry in BUILT_IN))
# What `--with` may say: `torch==2.12.1`, `jax[cuda13]==0.10.1`.
PIN = re.compile(r"([A-Za-z0-9][\w.-]*)(\[[\w,-]+\])?==[\w.!+-]+")
Place = tuple[Entry, str]  # a backend, and the device it runs on


class UnknownPins(ValueError):
    """There is no such environment, or nothing in it to replace."""


@dataclass(frozen=True)
class Pins:
    """`name` is the environment's folder, `text` what a requirement file says."""

    name: str
    text: str

    @property
    def pythons(self) -> tuple[str, ...]:
        """The versions that will do, best first, as a line `# python: 3.11 3.10` says; empty for the running one."""
        return self._line("python")

    @property
    def imports(self) -> tuple[str, ...]:
        """The modules that are imported once when it is made, as a line `# imports: torch` says."""
        return self._line("imports")

    def _line(self, name: str) -> tuple[str, ...]:
        found = re.findall(rf"^# {name}: (.*)$", self.text, re.MULTILINE)
        return tuple(found[0].split()) if found else ()

    @property
    def stamp(self) -> str:
        """What an environment was made from. It is made anew where this has changed."""
        made_by = " ".join(self.pythons) or f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"{made_by}\n{self.text}"


def of(name: str) -> Pins:
    """The pins of an environment by its name, as `torch` or `torch-cuda`. Raises UnknownPins."""
    known = {path.stem: path for path in sorted(REQUIREMENTS.glob("*.txt"))}
    if name not in known:
        raise UnknownPins(spelling.unknown("environment", name, known))
    return Pins(name, known[name].read_text(encoding="utf-8"))


def of_place(place: Place) -> Pins | None:
    """The pins for a backend on a device; None for one that is not built in."""
    entry, device = place
    return of(entry.environment(device)) if entry in BUILT_IN else None


def at_base(name: str, text: str) -> Pins:
    """An environment of its own for what that file was at another revision."""
    return Pins(f"{name}-at-{hashlib.sha256(text.encode()).hexdigest()[:8]}", text)


def replaced(wanted: Sequence[str], places: Collection[Place], option: str = "--with") -> dict[str, Pins]:
    """For every backend whose file pins a package that `wanted` names (`torch==2.12.1`), pins with that instead.

    A pin takes the place of every line for that package, its `-cpu` build included. The environment is one of
    its own. Raises UnknownPins where nobody pins the package, or a backend is meant on two devices.
    """
    devices: Mapping[str, set[str]] = {
        entry.name: {device for other, device in places if other == entry} for entry, _ in places
    }
    if wanted and any(len(own) > 1 for own in devices.values()):
        raise UnknownPins(f"{option} replaces a pin on one device; name one with --device")
    texts: dict[str, str] = {}
    named: set[str] = set()
    for pin in wanted:
        if not (form := PIN.fullmatch(pin)):
            raise UnknownPins(f"{option} {pin!r} is not of the form PACKAGE==VERSION")
        package = form[1]
        if package.lower() in named:
            raise UnknownPins(f"{option} {pin}: {package} is named twice; one version can be measured at a time")
        named.add(package.lower())
        line = re.compile(rf"^{re.escape(package)}(-cpu)?(\[[^]]*\])?[ =<>!~;].*\n", re.MULTILINE | re.IGNORECASE)
        found = False
        for entry, device in places:
            pins = of_place((entry, device))
            text = texts.get(entry.name, pins.text if pins else "")
            if line.search(text):
                texts[entry.name], found = f"{line.sub('', text)}{pin}\n", True
        if not found:
            near = spelling.suggestion("backend", package, devices)
            elsewhere = [entry.name for entry in BUILT_IN if line.search(of(entry.name).text)]
            if elsewhere:
                whose = f"{package!r} is of {', '.join(elsewhere)}, not asked for here or with an interpreter named"
                raise UnknownPins(f"{option} {pin}: {whose}; add --backend {elsewhere[0]}")
            raise UnknownPins(f"{option} {pin}: no backend's requirement file pins {package!r}{near}")
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join([*wanted, *sorted({device for _, device in places})]))
    return {name: Pins(f"{name}-with-{slug}", text) for name, text in texts.items()}
