"""Everything that a person or CI does with this project, one session each: `nox -l` lists them.

Arguments behind `--` go to `lenet-bench`, but for `--with PACKAGE==VERSION`, which replaces one pin for
this run, and `--base-with`, which does so for a gate's base. Sessions make the environments they need in
`.nox/`, one per framework, because frameworks cannot share one; an environment is made once and then
reused until its requirement file changes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))
from backends import BUILT_IN  # noqa: E402  # nox does not put the noxfile's folder on the path

nox.options.sessions = ["bench"]
nox.options.default_venv_backend = "virtualenv"

REQUIREMENTS = ROOT / "backends" / "requirements"
ENVIRONMENTS = Path(os.environ.get("LENET_BENCH_ENVIRONMENTS", ROOT / ".nox"))
BIN = "Scripts" if sys.platform == "win32" else "bin"
HARNESS = "harness"
BACKENDS = [entry.name for entry in BUILT_IN]
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:")


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """The main job: prove every backend equal, time it, write a run folder, print the table."""
    lenet_bench(session, "run")


@nox.session(venv_backend="none")
def verify(session: nox.Session) -> None:
    """The whole equivalence proof, per backend, mode, variant and precision."""
    lenet_bench(session, "verify")


@nox.session(venv_backend="none")
def shapes(session: nox.Session) -> None:
    """Every backend's stage shapes side by side, and against the formula."""
    lenet_bench(session, "shapes")


@nox.session(venv_backend="none")
def compare(session: nox.Session) -> None:
    """Two run folders: a verdict per case."""
    without_backends(session, "compare")


@nox.session(venv_backend="none")
def gate(session: nox.Session) -> None:
    """Base and head side by side on this machine: `--base REV`, or `--base-with PACKAGE==VERSION`."""
    lenet_bench(session, "gate")


@nox.session(venv_backend="none")
def selfcheck(session: nox.Session) -> None:
    """What this machine can resolve: identical code and injected slowdowns, side by side."""
    lenet_bench(session, "selfcheck")


@nox.session(venv_backend="none")
def train(session: nox.Session) -> None:
    """Train on real data, to an accuracy: curves, time to it, weights that every framework reads."""
    lenet_bench(session, "train")


@nox.session(venv_backend="none")
def evaluate(session: nox.Session) -> None:
    """What saved weights score on the test images, in every framework."""
    lenet_bench(session, "evaluate")


@nox.session(venv_backend="none")
def accuracy(session: nox.Session) -> None:
    """The table of training runs: architectures, accuracy, time to it."""
    without_backends(session, "accuracy")


@nox.session(venv_backend="none")
def layers(session: nox.Session) -> None:
    """The layer calculator: `nox -s layers -- --input 32 --conv 6@5 --pool 2`, or `-- lecun1998`."""
    without_backends(session, "layers")


@nox.session(venv_backend="none")
def report(session: nox.Session) -> None:
    """One self-contained page of one run or several: `nox -s report -- results/RUN`."""
    without_backends(session, "report")


@nox.session(venv_backend="none")
def inspect(session: nox.Session) -> None:
    """Pictures of filters, activations and receptive fields: `nox -s inspect -- FILE`."""
    if any(argument.startswith("--backend") for argument in session.posargs):
        lenet_bench(session, "inspect")
    else:
        without_backends(session, "inspect")


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The whole test suite: the harness in its environment, conformance in every backend's."""
    harness = make(session, HARNESS)
    failed = [] if run_tests(session, harness, "tests", "--ignore=tests/conformance", *session.posargs) else [HARNESS]
    for name in BACKENDS:
        python = make(session, name)
        note = python.parent.parent / "unavailable.txt"
        if note.is_file():
            session.warn(f"{name}: unavailable, its conformance tests did not run: {note.read_text().strip()}")
        elif not run_tests(session, python, "tests/conformance", f"--backend={name}", *session.posargs):
            failed.append(name)
    if failed:
        session.error(f"tests failed in: {', '.join(failed)}")


@nox.session(venv_backend="none")
def environments(session: nox.Session) -> None:
    """Make all environments now, so that the first run does not have to."""
    for name in (HARNESS, *BACKENDS):
        make(session, name)


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Style, formatting and types."""
    session.install("ruff==0.17.5", "mypy==2.4.1", "nox", "pytest", "numpy==2.4.6", "typer==0.29.2", "rich==15.0.0")
    session.install("altair==6.3.0", "jinja2==3.1.6", "pillow==13.0.0", "vl-convert-python==1.9.0.post1")
    session.install("platformdirs", "types-psutil", "types-requests")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


def without_backends(session: nox.Session, command: str) -> None:
    """Run a command of the harness that needs no framework."""
    session.run(str(make(session, HARNESS).parent / "lenet-bench"), command, *session.posargs, external=True)


def lenet_bench(session: nox.Session, command: str) -> None:
    """Run a command of the harness, with the environments of the backends that it is about."""
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    for option in ("--backend", "--device", "--python", "--with", "--base", "--base-python", "--base-with"):
        parser.add_argument(option, action="append", default=[])
    known, _ = parser.parse_known_args(session.posargs)
    arguments = [*session.posargs]
    harness = make(session, HARNESS)
    if "--help" not in arguments:
        named = {name for value in known.backend for name in value.split(",")} - {"all"}
        devices = {name for value in known.device for name in value.split(",")} or {"cpu"}
        elsewhere, base_elsewhere = (
            {value.partition("=")[0] for value in v} for v in (known.python, known.base_python)
        )
        base = replace_pins(session, known.base_with, named, devices)
        if known.base:
            base = {**environments_of(session, known.base[-1], named, devices, base_elsewhere), **base}
        elif command == "gate" and not named:
            named = base_elsewhere | set(base)  # the other backends are the same on both sides
        replaced = replace_pins(session, vars(known)["with"], named, devices)
        for entry in BUILT_IN:
            if (named and entry.name not in named) or entry.name in elsewhere | set(replaced):
                continue
            for device in devices & set(entry.devices):
                make(session, entry.environment(device))
        arguments = without_option("--base-with", without_option("--with", arguments))
        for option, pythons in (("--python", replaced), ("--base-python", base)):
            arguments += [part for name, python in pythons.items() for part in (option, f"{name}={python}")]
    session.run(str(harness.parent / "lenet-bench"), command, *arguments, external=True)


def environments_of(
    session: nox.Session, revision: str, named: set[str], devices: set[str], elsewhere: set[str]
) -> dict[str, Path]:
    """An environment for every backend whose requirement file was another at that revision."""
    if shutil.which("git") is None:
        session.error("a gate against a revision needs git; install it")
    if git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").returncode:
        said = git("rev-parse", "--git-dir").stderr.strip() or f"--base {revision!r} is no revision here; fetch it"
        session.error(said.splitlines()[0])
    made = {}
    for entry in BUILT_IN:
        for device in devices & set(entry.devices):
            name = entry.environment(device)
            file = f"backends/requirements/{name}.txt"
            text = git("show", f"{revision}:./{file}").stdout
            wanted = (not named or entry.name in named) and entry.name not in elsewhere
            if wanted and text and text != (ROOT / file).read_text(encoding="utf-8"):
                slug = hashlib.sha256(text.encode()).hexdigest()[:8]
                made[entry.name] = make(session, f"{name}-at-{slug}", text)
    return made


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)


def replace_pins(session: nox.Session, wanted: list[str], named: set[str], devices: set[str]) -> dict[str, Path]:
    """An environment of its own for every backend whose file pins a package that `--with` names.

    Only the named backends are meant, or all where none is named. A pin takes the place of every line
    for that package, its `-cpu` build included.
    """
    if wanted and len(devices) > 1:
        session.error("--with replaces a pin on one device; name one with --device")
    texts: dict[str, str] = {}
    for pin in wanted:
        package = re.split(r"[\[=<>!~ ;@]", pin)[0]
        line = re.compile(rf"^{re.escape(package)}(-cpu)?(\[[^]]*\])?[ =<>!~;].*\n", re.MULTILINE | re.IGNORECASE)
        found = False
        for entry in BUILT_IN:
            for device in devices & set(entry.devices):
                name = entry.environment(device)
                text = texts.get(entry.name) or (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
                if (not named or entry.name in named) and line.search(text):
                    texts[entry.name], found = f"{line.sub('', text)}{pin}\n", True
        if not found:
            session.error(f"--with {pin}: no backend's requirement file pins {package!r}")
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join([*wanted, *devices]))
    return {backend: make(session, f"{backend}-with-{slug}", text) for backend, text in texts.items()}


def without_option(option: str, arguments: list[str]) -> list[str]:
    """The arguments without that option and its values."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if not skip and argument != option and not argument.startswith(f"{option}="):
            kept.append(argument)
        skip = argument == option
    return kept


def make(session: nox.Session, name: str, text: str | None = None) -> Path:
    """The interpreter of an environment, made if it is missing or its requirements have changed.

    Where it cannot be made, `unavailable.txt` beside it says why: the harness turns that into rows.
    A line `# python: 3.11 3.10` in a requirement file says which interpreters will do, the first
    found wins; without it, the one that runs nox.
    """
    text = text or (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    folder = ENVIRONMENTS / name
    python = folder / BIN / ("python.exe" if sys.platform == "win32" else "python")
    wanted = re.findall(r"^# python: (.*)$", text, re.MULTILINE)
    pythons = wanted[0].split() if wanted else [sys.executable]
    stamp, note = folder / "installed.txt", folder / "unavailable.txt"
    made_by = " ".join(wanted) or f"{sys.version_info[0]}.{sys.version_info[1]}"
    content = "\n".join([made_by, text, (ROOT / "pyproject.toml").read_text() if name == HARNESS else ""])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == content and python.is_file():
        return python
    session.log(f"making environment {folder}, once; this takes up to a few minutes")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pinned, log = folder / "requirements.txt", folder / "install.log"
    choices = [argument for choice in pythons for argument in ("-p", choice)]
    commands = [
        [sys.executable, "-m", "virtualenv", "--quiet", *choices, str(folder)],
        [str(python), *PIP, "-r", str(pinned)],
    ]
    if name == HARNESS:
        commands.append([str(python), *PIP[:-2], "--no-deps", "--editable", str(ROOT)])
    pinned.write_text(text, encoding="utf-8")
    for command in commands:
        with log.open("a", encoding="utf-8") as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        if done.returncode:
            reason = f"environment {name} could not be made: {why(log, pythons)} (log: {log})"
            if name == HARNESS:
                session.error(reason)
            session.warn(reason)
            note.write_text(f"{reason}\n", encoding="utf-8")
            return python
    stamp.write_text(content, encoding="utf-8")
    return python


def why(log: Path, pythons: list[str]) -> str:
    """The line of an installation's log that says what went wrong."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if any(
        "could not find any python interpreter" in line.lower() or "failed to find interpreter" in line
        for line in lines
    ):
        return f"no Python {' or '.join(pythons)} found on this machine"
    wrong = [line for line in lines if line.startswith("ERROR")]
    return (wrong or lines or ["it printed nothing"])[-1]


def run_tests(session: nox.Session, python: Path, *arguments: str) -> bool:
    """Whether pytest passed in that environment."""
    command = [str(python), "-m", "pytest", *arguments]
    session.log(" ".join(command))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LENET_BENCH_ENVIRONMENTS": str(ENVIRONMENTS)}
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0
