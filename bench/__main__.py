"""Where the command starts: `python bench/__main__.py run`, and `lenet-bench run` where it is installed.

Python puts what PYTHONPATH names, and the working directory, in front of everything else: a `bench.py` or `json.py`
there would take the command over. So it starts anew with neither, before it imports anything that Python has not
imported by itself, and takes its two packages from the folder that this file lies in, whatever else has their names.
"""

import os
import sys

# Installed, this file is a module of its own, lenet_bench, that lies beside the packages (pyproject.toml).
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE) if os.path.basename(HERE) == "bench" else HERE
PACKAGES = ("backends", "bench")


def main() -> None:
    """Run the command line, in this process if nothing of the user's can come before it, and else in a new one."""
    if sys.flags.safe_path and sys.flags.ignore_environment:
        if os.path.isdir(os.path.join(ROOT, "bench")):  # else installed in place (pip install --editable)
            take_packages_from(ROOT)
        from bench.cli import main as command_line

        command_line()
        return
    options = ["-E", "-P", *(["-X", "utf8"] if sys.flags.utf8_mode else [])]
    command = [sys.executable, *options, os.path.abspath(__file__), *sys.argv[1:]]
    if os.name == "posix":
        os.execv(sys.executable, command)
    else:
        import signal
        import subprocess

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command has it, too, and ends as it ends
        sys.exit(subprocess.Popen(command).wait())


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


if __name__ == "__main__":
    main()
