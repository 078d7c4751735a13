"""Where the command starts: `python bench/__main__.py run`, and `lenet-bench run` where it is installed.

Python puts what PYTHONPATH names, and the working directory, in front of everything else: a `bench.py` or `json.py`
there would take the command over. So it starts anew with neither, before it imports anything that Python has not
imported by itself, and takes its two packages from the folder that this file lies in, whatever else has their names.

From here on, Ctrl-C is one line and exit code 130 whatever is being imported, and what nobody foresaw is 70: a 1 is
always a verdict.
"""

# Built into Python. `signal` is not: it imports modules of names that PYTHONPATH may have, too.
import _signal  # type: ignore[import-not-found]
import atexit
import os
import sys


def root_of(file: str) -> str:
    """The folder of the packages. Installed, this file is a module beside them, lenet_bench (pyproject.toml)."""
    folder = os.path.dirname(file)
    return os.path.dirname(folder) if os.path.basename(folder) == "bench" else folder


ROOT = root_of(os.path.abspath(__file__))
if not os.path.isdir(os.path.join(ROOT, "bench")):  # a link to this file, as from a folder of commands
    ROOT = root_of(os.path.realpath(__file__))
PACKAGES = ("backends", "bench")
ENDINGS = [getattr(_signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name)]
BAD_PLACE, FAULT, INTERRUPTED = 2, 70, 130


def main() -> None:
    """Run the command line, in this process if nothing of the user's can come before it, and else in a new one."""
    answer_with(stop)
    if open_streams() or not (sys.flags.safe_path and sys.flags.ignore_environment):
        start_anew()
    atexit.register(answer_with, _signal.SIG_IGN)  # once all is done; after that, Python takes its handlers down
    hold(False)
    code = carry_out()
    answer_with(stop)
    sys.exit(flushed(code))


def open_streams() -> bool:
    """Whether a standard stream was closed (`>&-`). It leads nowhere now, so that no file gets its number."""
    closed = [number for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)) if stream is None]
    for number in closed if os.name == "posix" else ():
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
        os.set_inheritable(number, True)
    return bool(closed) and os.name == "posix"


def start_anew() -> None:
    """This command in a Python that looks at no variable and no folder of the user's. Never comes back."""
    options = ["-E", "-P", *["-s"] * sys.flags.no_user_site, *["-X", "utf8"] * sys.flags.utf8_mode]
    command = [sys.executable, *options, os.path.abspath(__file__), *sys.argv[1:]]
    try:
        if os.name == "posix":
            # Until a handler stands there, too: Python's own start would end in a traceback.
            hold(True)
            os.execv(sys.executable, command)
        import subprocess

        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)  # the command has it, too, and ends as it ends
        sys.exit(subprocess.Popen(command).wait())
    except OSError as error:
        tell(f"{sys.executable!r} does not start: {error}")
        sys.exit(FAULT)


def carry_out() -> int:
    """Run the command line in this process; its exit code."""
    try:
        if os.path.isdir(os.path.join(ROOT, "bench")):  # else installed in place (pip install --editable)
            take_packages_from(ROOT)
        from bench.cli import main as command_line
    except KeyboardInterrupt:
        return interrupted()
    except ModuleNotFoundError as error:
        return lacking(error)
    except BaseException:  # SystemExit, too: whoever raised it was only imported
        return fault()
    try:
        command_line()
        return 0
    except SystemExit as ended:
        return ended.code if type(ended.code) is int else fault()
    except KeyboardInterrupt:
        return interrupted()
    except BaseException:
        return fault()


def take_packages_from(root: str) -> None:
    """Import the two packages from there, and put nothing of that folder on the path."""
    import importlib.util

    for name in PACKAGES:
        folder = os.path.join(root, name)
        spec = importlib.util.spec_from_file_location(
            name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def answer_with(handler: object) -> None:
    """What Ctrl-C does, and SIGTERM and SIGHUP likewise, but for those that this process was told to ignore (nohup)."""
    for one in ENDINGS:
        if _signal.getsignal(one) != _signal.SIG_IGN:
            _signal.signal(one, handler)


def hold(back: bool) -> None:
    """Keep those signals back, for the Python that takes this one's place; or let them through."""
    if hasattr(_signal, "pthread_sigmask"):
        _signal.pthread_sigmask(_signal.SIG_BLOCK if back else _signal.SIG_UNBLOCK, ENDINGS)


def stop(number: int, frame: object) -> None:
    """End at once, as long as there is nothing to clean up. An exception could be lost in what is being imported."""
    os._exit(interrupted())


def interrupted() -> int:
    tell("interrupted")
    return INTERRUPTED


def lacking(error: ModuleNotFoundError) -> int:
    tell(
        f"{error} in {sys.executable}; start with nox -s bench, which makes an environment that has it "
        f"(if {sys.prefix} is that one, it is broken: delete it first)"
    )
    return FAULT


def fault() -> int:
    """Say what nobody foresaw, as far as anything can be said at all."""
    try:
        import traceback

        traceback.print_exc()
    except BaseException:
        pass  # no memory, or nobody who reads
    tell("this is a fault of lenet-bench itself, and no verdict; please report it")
    return FAULT


def tell(line: str) -> None:
    """One line on standard error, past whatever has become of `sys.stderr`."""
    try:  # noqa: SIM105  # in the first Python, contextlib could be the user's
        os.write(2, f"lenet-bench: {line}\n".encode("utf-8", "backslashreplace"))
    except BaseException:
        pass


def flushed(code: int) -> int:
    """The exit code once all is written. A reader who has left changes none; a full disk is a bad place."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError) as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # or Python tries again, and makes it 120
            if number == 1 and not isinstance(error, BrokenPipeError) and not code:
                tell(f"standard output: {error}")
                code = BAD_PLACE
    return code


if __name__ == "__main__":
    main()
