"""Verdicts on made-up rounds: what is red, what is not, and what nobody could have seen."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from bench import grids, summary
from bench.estimates import Look, look_at_pairs, look_at_runs, smallest_caught
from bench.results import Round, Verdict, read_rows
from bench.tables import marked
from bench.verdicts import exit_code, judge, look_fields

ONE = Round("case", 1, 0, 0, 0, 1, 128, 0.01, 0.01, 0.0, 0, 0)


def side(random: np.random.Generator, slowdown: float, spread: float, passes: int, every: int = 1) -> list[Round]:
    """Rounds of one side: a process's own speed varies by `spread`, a round's by 1 %; every so manieth is slowed."""
    made = []
    for number in range(1, passes + 1):
        own = math.exp(random.normal(0, spread))
        for sweep in range(50):
            slow = 1 + slowdown if sweep % every == 0 else 1.0
            seconds = 0.01 * own * slow * math.exp(random.normal(0, 0.01))
            made.append(replace(ONE, pass_number=number, sweep=sweep, round=sweep, seconds=seconds))
    return made


def look(seed: int, slowdown: float, spread: float = 0.008, passes: int = 8, every: int = 1) -> Look:
    random = np.random.default_rng(seed)
    base = side(random, 0.0, spread / math.sqrt(2), passes)
    head = side(random, slowdown, spread / math.sqrt(2), passes, every)
    found = look_at_pairs(head, base, {(one.pass_number, one.sweep) for one in base})
    assert found is not None
    return found


def twice(seed: int, slowdown: float, **how: Any) -> str:
    """The gate's rule: a second look at what the first suspects."""
    first = look(2 * seed, slowdown, **how)
    second = look(2 * seed + 1, slowdown, **how) if first.suspect else None
    return judge(first, second)[0]


@pytest.mark.slow
def test_identical_code_is_never_red_and_mostly_conclusive() -> None:
    words = [twice(seed, 0.0) for seed in range(200)]
    assert "slower" not in words
    assert words.count("ok") >= 190


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.008, 0.016])
def test_five_percent_is_red_nine_times_in_ten_or_inconclusive(spread: float) -> None:
    words = [twice(seed, 0.05, spread=spread) for seed in range(200)]
    assert words.count("slower") / (200 - words.count("inconclusive")) >= 0.9
    assert words.count("ok") + words.count("faster") <= 20


def test_ten_percent_is_always_red() -> None:
    assert {twice(seed, 0.10) for seed in range(100)} == {"slower"}


def test_a_doubled_cost_every_tenth_round_is_red_through_total_time() -> None:
    assert {twice(seed, 1.0, every=10) for seed in range(50)} == {"slower"}
    assert look(0, 1.0, every=10).ratio.value < 1.02  # the median does not see it


def test_a_wide_spread_is_inconclusive_and_never_green() -> None:
    words = [twice(seed, 0.0, spread=0.05) for seed in range(50)]
    assert words.count("inconclusive") >= 48  # eight pairs may look calmer than they are
    assert "slower" not in words


def test_much_faster_is_said() -> None:
    assert judge(look(0, -0.10)) == ("faster", "")


def test_a_suspicion_that_is_not_confirmed_is_told_and_not_red() -> None:
    word, reason = judge(look(0, 0.08), look(1, 0.0))
    assert word == "ok"
    assert "not again" in reason
    assert judge(look(0, 0.08), None)[0] == "inconclusive"


def test_no_pair_is_inconclusive() -> None:
    assert look_at_pairs([], [], set()) is None
    assert judge(None)[0] == "inconclusive"


def test_more_power_needs_a_larger_slowdown() -> None:
    assert 0.02 < smallest_caught(0.008, 8) < smallest_caught(0.008, 8, 0.95) < smallest_caught(0.016, 8, 0.95) < 0.05
    assert smallest_caught(0.008, 1) == math.inf


def test_two_runs_without_turns_are_compared_by_welch() -> None:
    random = np.random.default_rng(0)
    base, head = (np.exp(random.normal(level, 0.005, 8)).tolist() for level in (0.0, 0.1))
    found = look_at_runs(head, base, (head, base))
    assert found.ratio.value == pytest.approx(math.exp(0.1), rel=0.01)
    assert found.suspect
    assert found.conclusive
    assert judge(found, looks=1)[0] == "slower"
    assert not look_at_runs(base, base, (base, base)).suspect
    assert look_at_runs(head[:1], base, (head[:1], base)).resolves == math.inf


def row(word: str, **fields: Any) -> Verdict:
    blank = Verdict(
        "run",
        "now",
        "numpy-im2col",
        "a",
        "b",
        "1",
        "1",
        "turns",
        word,
        "why | \x1b[31m",
        **look_fields(None, None),
        base_step_us=1.0,
        head_step_us=None,
    )
    return replace(blank, **fields)


@pytest.mark.parametrize(
    ("words", "allow_missing", "code"),
    [
        (["ok", "faster"], False, 0),
        (["ok", "inconclusive"], False, 3),
        (["ok", "missing", "inconclusive"], False, 4),
        (["ok", "missing"], True, 0),
        (["missing"], True, 4),
        (["ok", "failed"], True, 4),
        ([], True, 4),
        (["missing", "slower", "inconclusive"], True, 1),
        (["mismatch", "ok"], False, 1),
    ],
)
def test_exit_codes(words: list[str], allow_missing: bool, code: int) -> None:
    assert exit_code([row(word) for word in words], allow_missing) == code


def test_a_summary_that_cannot_be_written_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(summary.GITHUB_VARIABLE, str(tmp_path))
    assert "cannot be written" in summary.write(tmp_path, [row("ok")], [], False)
    assert read_rows(tmp_path, Verdict) == [replace(row("ok"), reason="why | ?[31m")]


def test_what_total_time_cannot_resolve_is_inconclusive() -> None:
    calm = look(0, 0.0)
    assert judge(calm)[0] == "ok"
    assert judge(replace(calm, total_resolves=0.11))[0] == "inconclusive"


def test_every_form_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    github = tmp_path / "github.md"
    github.write_text("before\n")
    monkeypatch.setenv(summary.GITHUB_VARIABLE, str(github))
    words = ["slower", "mismatch", "missing", "inconclusive", "ok", "faster"]
    rows = [row(word, resolves=math.inf) for word in words]
    summary.write(tmp_path, rows, ["a note"], False)

    assert read_rows(tmp_path, Verdict) == [replace(one, reason="why | ?[31m") for one in rows]
    told = json.loads((tmp_path / "verdicts.json").read_text())
    assert [one["verdict"] for one in told["verdicts"]] == words
    assert (told["exit_code"], told["verdicts"][0]["resolves"]) == (1, None)
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        "6",
        "2",
        "1",
        "1",
    )
    assert [len(case) for case in suite] == [1, 1, 1, 1, 0, 0]
    text = (tmp_path / "summary.md").read_text()
    assert github.read_text() == "before\n" + text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {len(grids.verdicts(rows).headings) + 1}


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a | b",
    "`code`",
    "one\n# two",
    "# a heading",
    "[a](javascript:alert(1))",
    "![i](http://evil.example/i.png)",
    "https://evil.example www.evil.example",
    "@octocat and @team/all",
    "*strong* _weak_ ~~gone~~ $x$",
    "\r\x1b[31m\u202e",
]


@pytest.mark.parametrize("words", HOSTILE)
def test_words_of_others_are_words_in_a_summary(words: str) -> None:
    text = summary.markdown([row("slower", case=words, reason=words)], [words, "plain"], False)
    lines = text.splitlines()
    assert [line[:2] for line in lines] == ["##", "", "| ", "| ", "| ", "", "- ", "- "]
    assert {line.count("|") for line in lines[2:5]} == {len(grids.verdicts([]).headings) + 1}
    for raw in (
        "<img",
        "`code`",
        "](",
        "![",
        "://",
        "www.",
        "@o",
        "@t",
        "*strong*",
        " _weak_",
        "~~",
        "$x$",
        "- # ",
        "\x1b",
    ):
        unescaped = [line for line in lines if re.search(rf"(?<!\\){re.escape(raw)}", line)]
        assert not unescaped, raw
    assert text.count("\N{ESCAPE}") == text.count("\u202e") == 0


@pytest.mark.parametrize("words", HOSTILE)
def test_words_of_others_are_words_for_junit_and_json(words: str) -> None:
    one = row("slower", case=words, reason=words)
    case = ElementTree.fromstring(summary.junit([one]))[0][0]
    assert case.get("name") == summary.UNPRINTABLE.sub("?", words).replace("\t", " ")
    assert json.loads(json.dumps(summary.as_json([one], [words], False)))["notes"] == [words]


def test_a_name_within_which_there_are_lines_stays_readable() -> None:
    assert marked("space_to_depth of numpy-im2col, -5.0 %") == "space_to_depth of numpy-im2col, -5.0 %"


def test_a_label_that_no_encoding_has_costs_no_verdict(tmp_path: Path) -> None:
    summary.write(tmp_path, [row("ok", base="here torch=/b\udcff/python")], ["/b\udcff"], False)
    assert read_rows(tmp_path, Verdict)[0].base == "here torch=/b?/python"
