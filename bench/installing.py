"""How an environment is made: by uv where there is one, by virtualenv and pip where not; several at the same time.

An environment is finished when its stamp is written, which is the last thing that happens: one whose making was
killed, or failed, is made anew. While it is made, a lock keeps other commands waiting. Imports little, because nox's
own Python makes the harness's environment.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.pins import Pins
from bench.tree import SOURCE_ROOT, is_checkout

ENVIRONMENTS_VARIABLE = "LENET_BENCH_ENVIRONMENTS"
INSTALLER_VARIABLE = "LENET_BENCH_INSTALLER"
PYTHON_WITH_PIP_VARIABLE = "LENET_BENCH_PYTHON_WITH_PIP"
PIP, NONE = "pip", "none"
STAMP, REASON_FILE, LOG, REQUIREMENTS = "installed.txt", "unavailable.txt", "install.log", "requirements.txt"
# What there can be in an environment whose making was killed early; a user's folder has other things.
EARLY = {STAMP, REASON_FILE, LOG, REQUIREMENTS, "bin", "include", "lib", "lib64", "Include", "Lib", "Scripts"}
EARLY |= {".gitignore", ".lock", "CACHEDIR.TAG", "pyvenv.cfg"}
LONGEST_REASON = 400
PIP_ASKED_SECONDS = 20
LOCK_ASKED_SECONDS = 0.5
# How often one that takes long says what it is doing, and how much of an installer's line.
TOLD_SECONDS, LONGEST_TOLD = 15.0, 100
LAST_LINES = 3  # of an installer that has failed without telling of an error

# What pip is told by its variables and configuration files, and what uv calls the same.
CARRIED_OVER = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
FORMER_NAMES = {"UV_INDEX_URL": "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL": "UV_INDEX"}
# What uv draws around the lines of an error.
DRAWN = " \N{MULTIPLICATION SIGN}╰─▶│├╭"
PATHS_OF_PIP = {"PIP_FIND_LINKS", "PIP_CONSTRAINT", "PIP_CERT"}
SEPARATED_BY_COMMAS = ("UV_FIND_LINKS",)

# What colours and moves the cursor of a terminal (ECMA-48, 5.4).
CONTROL_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

# A child that the kernel kills when this process ends, however it ends (Linux): nobody installs into a folder that
# the next command makes anew.
ON_A_LEASH = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

Say = Callable[[str], None]


class NotMade(Exception):
    """Why there is no such environment, in one line."""


def environments_folder() -> Path:
    """Where environments lie: in the checkout, of an installed command in the user's cache, or where told."""
    if told := os.environ.get(ENVIRONMENTS_VARIABLE):
        return expanded(told, ENVIRONMENTS_VARIABLE).absolute()
    if is_checkout():
        return SOURCE_ROOT / ".nox"
    import platformdirs

    return Path(platformdirs.user_cache_dir("lenet-bench")) / "environments"


def expanded(told: str, variable: str) -> Path:
    """A variable's path with `~` as the home folder. Raises FileNotFoundError for that of a user who is not there."""
    path = os.path.expanduser(told)
    if path == told and told.startswith("~"):
        raise FileNotFoundError(f"{variable}={told!r}: {told.split('/')[0]} is no home folder here")
    return Path(path)


def interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def is_ready(pins: Pins) -> bool:
    """Whether that environment is there, finished, and made from these pins."""
    folder = environments_folder() / pins.name
    try:
        return (folder / STAMP).read_text(encoding="utf-8") == pins.stamp and has_python(folder)
    except OSError:
        return False


def has_python(folder: Path) -> bool:
    """Whether an environment's interpreter is there, and the Python that it was made from is, too."""
    if not interpreter(folder).is_file():
        return False  # or the link leads nowhere any more
    settings = folder / "pyvenv.cfg"
    lines = settings.read_text(encoding="utf-8", errors="replace").splitlines() if settings.is_file() else []
    told = {key.strip(): Path(value.strip()) for key, _, value in (line.partition("=") for line in lines)}
    return told.get("home", folder).is_dir() and told.get("base-executable", interpreter(folder)).exists()


def is_environment(folder: Path) -> bool:
    """Whether a folder was made here, finished or not, so that it may be removed; and is none of the user's."""
    names = {path.name for path in folder.iterdir()}
    return names <= EARLY or STAMP in names or ("pyvenv.cfg" in names and bool(names & {REASON_FILE, LOG}))


def clear(folder: Path) -> None:
    """Remove an environment, its stamp first; of a link, the link alone. Raises NotMade where it is something else."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        if not is_environment(folder):
            raise NotMade(f"{folder} is no environment of this suite; move it, or set {ENVIRONMENTS_VARIABLE}")
        (folder / STAMP).unlink(missing_ok=True)
        shutil.rmtree(folder)


def installer() -> str:
    """The path of uv, `pip`, or `none`, as the variable says, or as is found beside this Python and on the path."""
    told = os.environ.get(INSTALLER_VARIABLE, "")
    if told in (PIP, NONE):
        return told
    if told not in ("", "uv"):
        path = expanded(told, INSTALLER_VARIABLE)
        if path.is_file() and os.access(path, os.X_OK):
            return str(path.absolute())
        raise NotMade(f"{INSTALLER_VARIABLE}={told!r} is none of uv, {PIP} and {NONE}, nor the path of uv")
    found = shutil.which("uv", path=os.pathsep.join(folders_of_scripts())) or shutil.which("uv")
    if told and not found:
        raise NotMade(f"{INSTALLER_VARIABLE}=uv, and there is no uv on this machine; pip install uv")
    return found or PIP


def folders_of_scripts() -> list[str]:
    """Where pip puts uv. Its module, which knows, is not asked: a `uv.py` on the path may be the user's own."""
    user = sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    return [str(Path(sys.executable).parent), sysconfig.get_path("scripts"), user]


def make_all(wanted: Sequence[Pins], say: Say) -> dict[str, str]:
    """Make what is not ready, all at the same time; by name, why one could not be made, or nothing.

    `say` is given a line when one begins, waits, is ready or has failed, and every so often while it is being made.
    """
    reasons = dict.fromkeys((pins.name for pins in wanted), "")
    missing = [pins for pins in wanted if not is_ready(pins)]
    if not missing:
        return reasons
    tool = installer()
    making = Making(tool, settings_for_uv() if tool not in (PIP, NONE) else {}, say)
    with ThreadPoolExecutor(len(missing)) as pool:
        try:
            reasons |= zip((pins.name for pins in missing), pool.map(making.make, missing))
        except BaseException:
            making.stop()
            raise
    return reasons


class Making:
    """The making of some environments, with the processes that it has started, and what each printed last."""

    def __init__(self, tool: str, settings: Mapping[str, str], say: Say) -> None:
        self.tool, self.settings, self.say = tool, settings, say
        self.running: set[subprocess.Popen[bytes]] = set()
        self.printed: dict[Path, str] = {}
        self.stopped = False
        self.lock = threading.Lock()

    def stop(self) -> None:
        """Start nothing more, and end what runs."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.kill()

    def make(self, pins: Pins) -> str:
        """Make one; why it could not be made, or nothing."""
        place = environments_folder()
        try:
            if self.tool == NONE:
                raise NotMade(f"{INSTALLER_VARIABLE}={NONE}: nothing is made")
            place.mkdir(parents=True, exist_ok=True)
            lock = place / f".{pins.name}.lock"
            with alone(lock, lambda: self.say(f"{pins.name}: waiting for another command"), lambda: self.stopped):
                if not is_ready(pins):
                    clear(place / pins.name)
                    self._make_or_note(pins, place / pins.name)
        except (NotMade, OSError) as error:
            reason = not_made(pins, error)
            if self.tool != NONE and not self.stopped:
                self.say(reason)
            return reason
        return ""

    def _make_or_note(self, pins: Pins, folder: Path) -> None:
        """Make one; where that fails, leave a note of why. Nobody else is at that folder."""
        try:
            self._make(pins, folder)
        except (NotMade, OSError) as error:
            if not self.stopped:
                with contextlib.suppress(OSError):
                    (folder / REASON_FILE).write_text(f"{not_made(pins, error)}\n", encoding="utf-8")
            raise

    def _make(self, pins: Pins, folder: Path) -> None:
        began = time.monotonic()
        by = "pip" if self.tool == PIP else "uv"
        self.say(f"{pins.name}: making its environment with {by}, once, in {folder}")
        folder.mkdir()
        requirements = folder / REQUIREMENTS
        requirements.write_text(pins.text, encoding="utf-8")
        self.printed[folder] = "looking for its Python"
        with every(TOLD_SECONDS, lambda: self.say(self._still(pins, folder, time.monotonic() - began))):
            (self._with_pip if self.tool == PIP else self._with_uv)(pins, folder, requirements)
            self._compile(pins, folder)
        write_last(folder / STAMP, pins.stamp)
        self.say(f"{pins.name}: ready after {time.monotonic() - began:.0f} s")

    def _still(self, pins: Pins, folder: Path, seconds: float) -> str:
        return f"{pins.name}: still installing, {seconds:.0f} s: {self.printed[folder]}"

    def _with_pip(self, pins: Pins, folder: Path, requirements: Path) -> None:
        choices = [word for version in pins.pythons or [base_python()] for word in ("--python", version)]
        code, said = self._run(folder, [sys.executable, "-P", "-m", "virtualenv", "--quiet", *choices, str(folder)])
        if code:
            raise NotMade(no_python(pins) if says_no_python(said) and pins.pythons else explained(said, folder))
        command = [str(interpreter(folder)), "-I", "-m", "pip", "install", "--disable-pip-version-check"]
        command += ["--progress-bar", "off", "--no-compile"]
        self._install(folder, [*command, "--no-input", "--only-binary", ":all:", "-r", str(requirements)])

    def _with_uv(self, pins: Pins, folder: Path, requirements: Path) -> None:
        base = [self.tool, "venv", "--no-project", "--allow-existing"]
        said = ""
        for version in pins.pythons or [base_python()]:
            code, said = self._run(
                folder, [*base, "--quiet", "--no-python-downloads", "--python", version, str(folder)]
            )
            if not code:
                break
        else:
            if not (pins.pythons and says_no_python(said)):
                raise NotMade(explained(said, folder))
            self.say(f"{pins.name}: {no_python(pins)}: uv fetches Python {pins.pythons[0]}")
            code, said = self._run(folder, [*base, "--python", pins.pythons[0], str(folder)])
            if code:
                raise NotMade(f"{no_python(pins)}, and uv could not fetch one: {explained(said, folder)}")
        command = [self.tool, "pip", "install", "--python", str(interpreter(folder))]
        self._install(folder, [*command, "--only-binary", ":all:", "-r", str(requirements)])

    def _install(self, folder: Path, command: Sequence[str]) -> None:
        code, said = self._run(folder, command)
        if code:
            raise NotMade(explained(said, folder))

    def _compile(self, pins: Pins, folder: Path) -> None:
        """Import what is imported in every use, so that Python compiles that now and not while it is measured.

        All that is installed would be ten times as much. What cannot be imported is told by who needs it.
        """
        self.printed[folder] = "compiling what is imported"
        tried = (f"with contextlib.suppress(Exception): importlib.import_module({name!r})" for name in pins.imports)
        self._run(folder, [str(interpreter(folder)), "-I", "-c", "\n".join(["import contextlib, importlib", *tried])])

    def _run(self, folder: Path, command: Sequence[str]) -> tuple[int, str]:
        """The exit status of a command, and what it printed, which also goes into the log."""
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-c", ON_A_LEASH, str(os.getpid()), *command]
        hidden = ("PYTHON", "VIRTUAL_ENV", "CONDA_", "UV_PROJECT", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
        variables = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        for name in PATHS_OF_PIP & set(variables):
            variables[name] = " ".join(map(from_here, variables[name].split()))
        with self.lock:
            if self.stopped:
                raise NotMade("interrupted")
            # At the file system's root: the settings of a project that the caller stands in are not meant for this.
            process = subprocess.Popen(
                command,
                cwd=folder.anchor,
                env={**variables, **self.settings},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self.running.add(process)
        lines = []
        with process:
            for line in process.stdout or ():
                lines.append(line.decode("utf-8", "replace"))
                self.printed[folder] = told(lines[-1]) or self.printed[folder]
        said = "".join(lines)
        with self.lock:
            self.running.discard(process)
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(said)
        return process.returncode, said


@contextlib.contextmanager
def alone(path: Path, waiting: Callable[[], None], stopped: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold a lock that only one process has; `waiting` is called where another one has it now.

    Raises NotMade where `stopped` says so while it waits.
    """
    import filelock  # comes with virtualenv, and so with nox

    with contextlib.suppress(FileNotFoundError):
        if path.is_symlink():
            path.unlink()  # it leads to a file of the user's or, in a checkout made of links, to the original's lock
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        waiting()
        while not lock.is_locked:
            if stopped():
                raise NotMade("interrupted") from None
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=LOCK_ASKED_SECONDS)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def every(seconds: float, tell: Callable[[], None]) -> Iterator[None]:
    """Call that in a thread of its own, again and again, for as long as this lasts, and not once more."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            tell()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def told(line: str) -> str:
    """An installer's line as a terminal would show it in the end: what can be printed of it, behind the last return."""
    last = CONTROL_SEQUENCE.sub("", line).strip().rpartition("\r")[2]
    return "".join(one if one.isprintable() else " " for one in last).strip()[:LONGEST_TOLD]


def write_last(path: Path, text: str) -> None:
    """The whole text, or no file."""
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # a name that nobody can guess
    with open(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(beside, 0o644)
    os.replace(beside, path)


def not_made(pins: Pins, error: Exception) -> str:
    return f"environment {pins.name} could not be made: {error}"


def base_python() -> str:
    """The Python that this one's environment was made from."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def no_python(pins: Pins) -> str:
    return f"no Python {' or '.join(pins.pythons)} found on this machine"


def says_no_python(said: str) -> bool:
    """Whether virtualenv or uv has looked for an interpreter and found none."""
    words = ("could not find any python interpreter", "failed to find interpreter", "no interpreter found")
    return any(word in said.lower() for word in words)


def explained(said: str, folder: Path) -> str:
    """What an installer's output says went wrong, in one line, and where the rest is."""
    lines = [line.strip(DRAWN) for line in since_error(said.splitlines())]
    lines = [line for line in lines if line and not line.startswith(("warning:", "WARNING:", "hint:"))]
    wrong = [line for line in lines if line.startswith("ERROR")][-1:] or lines or ["it printed nothing"]
    return f"{' '.join(wrong)[:LONGEST_REASON]} (log: {folder / LOG})"


def since_error(lines: Sequence[str]) -> Sequence[str]:
    """What follows the steps that an installer tells of: from the line on with which uv begins an error, where there is
    one, else pip's errors, else the last lines."""
    starts = ("error:", "\N{MULTIPLICATION SIGN}", "ERROR")
    begins = (number for number, line in enumerate(lines) if line.lstrip().startswith(starts))
    return lines[next(begins, -LAST_LINES) :]


def settings_for_children() -> dict[str, str]:
    """Variables by which a command that is started from here, with a Python that need have neither uv nor pip beside
    it, makes environments as this one would."""
    return {
        ENVIRONMENTS_VARIABLE: str(environments_folder()),
        INSTALLER_VARIABLE: installer(),
        PYTHON_WITH_PIP_VARIABLE: sys.executable,
    }


def settings_for_uv() -> dict[str, str]:
    """pip's settings as uv's variables, but for those that the user has set: a mirror or a local wheel is seen."""
    found: dict[str, str] = {}
    for name, words in settings_of_pip().items():
        separator = "," if CARRIED_OVER[name] in SEPARATED_BY_COMMAS else " "
        found[CARRIED_OVER[name]] = separator.join(map(from_here, words))
    if "UV_INDEX" in found or "UV_FIND_LINKS" in found:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does: the best version, wherever it lies
    own = set(os.environ) | {new for old, new in FORMER_NAMES.items() if old in os.environ}
    return {name: value for name, value in found.items() if name not in own}


def from_here(word: str) -> str:
    """A path as seen from the caller's folder, where there is one of that name; an address as it is."""
    return str(Path(word).absolute()) if Path(word).exists() else word


def settings_of_pip() -> dict[str, list[str]]:
    """What `pip config list` says of the settings in CARRIED_OVER, each as its words; nothing where there is no pip."""
    pythons = dict.fromkeys([os.environ.get(PYTHON_WITH_PIP_VARIABLE, sys.executable), sys.executable])
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for command in (*([python, "-E", "-P", "-m", "pip"] for python in pythons), ["pip"]):
        try:
            done = subprocess.run(
                [*command, "config", "list"], env=own, capture_output=True, text=True, timeout=PIP_ASKED_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return parse_settings(done.stdout.splitlines())
    variables = {name[4:].lower(): value for name, value in os.environ.items() if name.startswith("PIP_")}
    return parse_settings([f":env:.{name}={value!r}" for name, value in variables.items()])


def parse_settings(lines: Sequence[str]) -> dict[str, list[str]]:
    """Lines such as `global.find-links='/a /b'`; a variable outweighs a command's section, and that the global one."""
    rank = {"global": 0, "install": 1, ":env:": 2}
    found: dict[str, tuple[int, list[str]]] = {}
    for line in lines:
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        name = name.replace("_", "-")
        if name not in CARRIED_OVER or section not in rank or rank[section] < found.get(name, (-1, []))[0]:
            continue
        with contextlib.suppress(ValueError, SyntaxError):
            found[name] = rank[section], str(ast.literal_eval(value)).split()
    return {name: words for name, (_, words) in found.items() if words}
