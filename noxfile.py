"""Everything that a person or CI does with this project, one session each: `nox -l` lists them.

Arguments behind `--` go to `lenet-bench`, which makes the environments of the frameworks by itself, in `.nox/`. Here,
only the one that it runs in itself is made.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).absolute().parent
# The two packages and nothing else of this folder: a `uv.py` in it is the user's own.
runpy.run_path(str(ROOT / "bench" / "__main__.py"))["take_packages_from"](str(ROOT))
from bench import installing, pins  # noqa: E402

nox.options.sessions = ["bench"]
nox.options.default_venv_backend = "uv|virtualenv"


# Sessions that are a command of lenet-bench each, with what `nox -l` says of them.
COMMANDS = {
    "bench": "The main job: prove every backend equal, time it, write a run folder, print the table.",
    "verify": "The whole equivalence proof, per backend, mode, variant and precision.",
    "shapes": "Every backend's stage shapes side by side, and against the formula.",
    "compare": "Two run folders: a verdict per case.",
    "gate": "Base and head side by side on this machine: `--base REV`, or `--base-with PACKAGE==VERSION`.",
    "selfcheck": "What this machine can resolve: identical code and injected slowdowns, side by side.",
    "train": "Train on real data, to an accuracy: curves, time to it, weights that every framework reads.",
    "evaluate": "What saved weights score on the test images, in every framework.",
    "accuracy": "The table of training runs: architectures, accuracy, time to it.",
    "layers": "The layer calculator: `nox -s layers -- --input 32 --conv 6@5 --pool 2`, or `-- lecun1998`.",
    "report": "One self-contained page of one run or several: `nox -s report -- results/RUN`.",
    "inspect": "Pictures of filters, activations and receptive fields: `nox -s inspect -- FILE`.",
    "environments": "Make the environments of all frameworks now; `-- list`, `-- remove NAME`.",
}
WORDS = {"bench": ["run"], "environments": ["environments", "make"]}


def add_session(name: str, summary: str) -> None:
    def run(session: nox.Session) -> None:
        words = WORDS.get(name, [name])
        lenet_bench(session, *(words[:1] if session.posargs else words))

    run.__doc__ = summary
    nox.session(name=name, venv_backend="none")(run)


for command, meaning in COMMANDS.items():
    add_session(command, meaning)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """The whole test suite, in every environment; `-- --fast` in a minute, without frameworks; `-- -k WORD`."""
    make(session, [pins.HARNESS] if "--fast" in session.posargs else pins.ALL)
    session.run(sys.executable, str(ROOT / "tests" / "__main__.py"), *session.posargs, external=True)


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Style, formatting and types."""
    session.env.update(installing.settings_for_uv())
    session.install("ruff==0.17.5", "mypy==2.4.1", "nox", "types-psutil", "types-requests")
    session.install("-r", str(pins.REQUIREMENTS / "harness.txt"))
    for tool in (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",)):
        session.run("python", "-m", *tool)  # a script's first line names the folder where it was made


def lenet_bench(session: nox.Session, *command: str) -> None:
    """Run a command of the harness in its environment, with nothing on its path that is not this tree's."""
    (python,) = make(session, [pins.HARNESS])
    utf8 = ("-X", "utf8") if sys.flags.utf8_mode else ()
    start = ("-E", "-P", *utf8, str(ROOT / "bench" / "__main__.py"))
    session.run(str(python), *start, *command, *session.posargs, external=True)


def make(session: nox.Session, names: list[str] | tuple[str, ...]) -> list[Path]:
    """The interpreters of these environments, made where they are missing; that of the harness has to be there."""
    try:
        session.env.update(installing.settings_for_children())
        reasons = installing.make_all([pins.of(name) for name in names], session.log)
    except (installing.NotMade, OSError) as error:
        session.error(str(error))
    if reasons[pins.HARNESS]:
        session.error(reasons[pins.HARNESS])
    return [installing.interpreter(installing.environments_folder() / name) for name in names]
