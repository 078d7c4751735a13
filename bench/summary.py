"""Verdicts for machines and for pull requests: CSV, JSON, Markdown, and JUnit whose failures are the red cases."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench import grids, results
from bench.results import Verdict
from bench.tables import markdown_table, marked
from bench.verdicts import FAILED, INCONCLUSIVE, MISSING, RED, conclusion, exit_code

GITHUB_VARIABLE = "GITHUB_STEP_SUMMARY"
# What XML 1.0 has no way to say, in the last words of a crash.
UNPRINTABLE = re.compile(r"[^\t\x20-\ud7ff\ue000-\ufffd]")


def write(folder: Path, verdicts: Sequence[Verdict], notes: Sequence[str], allow_missing: bool) -> str:
    """Every form of the verdicts into the folder, and the Markdown to GitHub's summary where there is one.

    Returns why that could not be written, empty where it could: the verdicts are worth more than that.
    """
    results.write_rows(folder, Verdict, verdicts)
    results.write_json(folder / "verdicts.json", as_json(verdicts, notes, allow_missing))
    text = markdown(verdicts, notes, allow_missing)
    results.write_text(folder / "summary.md", text)
    results.write_text(folder / "junit.xml", junit(verdicts))
    github = os.environ.get(GITHUB_VARIABLE)
    if github:
        try:
            with open(github, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            return f"{github}: cannot be written ({error.strerror}); the same is in {folder}"
    return ""


def as_json(verdicts: Sequence[Verdict], notes: Sequence[str], allow_missing: bool) -> dict[str, Any]:
    """The conclusion, the exit code and every column of every verdict; what no number can say is null."""
    rows = [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        for row in map(asdict, verdicts)
    ]
    return {
        "conclusion": conclusion(verdicts, allow_missing),
        "exit_code": exit_code(verdicts, allow_missing),
        "notes": list(notes),
        "verdicts": rows,
    }


def markdown(verdicts: Sequence[Verdict], notes: Sequence[str], allow_missing: bool) -> str:
    """A table for a pull request."""
    lines = [f"### lenet-bench: {marked(conclusion(verdicts, allow_missing))}", ""]
    lines.append(markdown_table(grids.verdicts(verdicts)))
    return "\n".join([*lines, "", *(f"- {marked(note)}" for note in notes)]) + "\n"


def junit(verdicts: Sequence[Verdict]) -> str:
    """One test case per case: red is a failure, missing an error, inconclusive is skipped."""
    kinds = {**dict.fromkeys(RED, "failure"), MISSING: "error", FAILED: "error", INCONCLUSIVE: "skipped"}
    counts = {kind: sum(kinds.get(one.verdict) == kind for one in verdicts) for kind in ("failure", "error", "skipped")}
    suite = ElementTree.Element(
        "testsuite",
        name="lenet-bench",
        tests=str(len(verdicts)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
    )
    for one in verdicts:
        name = UNPRINTABLE.sub("?", one.case)
        case = ElementTree.SubElement(suite, "testcase", classname="lenet-bench", name=name)
        if one.verdict in kinds:
            ElementTree.SubElement(
                case, kinds[one.verdict], message=UNPRINTABLE.sub("?", f"{one.verdict}: {one.reason}")
            )
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
