"""`cgro check`: verdicts, parameters, time limit, JSON, repetition with other seeds, and users' mistakes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tools import Outcome, files_below

from cgro.base.errors import UserError
from cgro.claims import checking
from cgro.claims.claim import Claim, Finding, Verdict
from cgro.cli import check
from cgro.plots.report import found_words, slack_words
from cgro.runs.cell_store import Cells
from cgro.runs.packing import unpack
from cgro.runs.workers import processes

Cgro = Callable[..., Outcome]
OTHERS = {"share": 0.5, "shares": [0.5]}
"""Parameters of `toy` that do nothing, as they are stored."""
ONE = "square-error"
"""A fast check with a parameter, `levels`."""


def toy(
    *,
    size: int = 3,
    seed: int = 0,
    share: float = 0.5,
    shares: tuple[float, ...] = (0.5,),
    law: Callable[[int], int] = lambda n: n,
) -> Finding:
    """Whether size <= law(size).

    Args:
        size: a number.
        seed: of nothing.
        share: unused.
        shares: unused.
    """
    if size == 13:
        raise RuntimeError("bad\nluck")
    if size == 99:
        time.sleep(30)
    if size == 98:
        raise UserError("size is 98: choose another")
    holds = size <= law(size) and seed != 5
    return Finding(
        holds, 1.0 if holds else 0.5, "one case", "law", f"{size}", counterexample="" if holds else f"{size}"
    )


def claim(**changes: Any) -> Claim:
    fields: dict[str, Any] = {
        "statement": "n [is] at most n",
        "source": "nowhere",
        "tag": "[D]",
        "evidence": "exact",
        "check": toy,
        "controls": {"n - 1": {"law": lambda n: n - 1}},
        "hypotheses": {"size >= 1": lambda size: size >= 1},
        "deep": {"size": 30},
    }
    return Claim(**(fields | changes))


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts one check, `toy`, in the place of all."""

    def put(**changes: Any) -> None:
        toy = claim(**changes)
        for place in (checking, check):
            monkeypatch.setattr(place, "find", lambda _kind, _name: toy)
        monkeypatch.setattr(check, "find_all", lambda _kind: {"toy": toy})

    return put


def run(one: Callable[..., None], cgro: Cgro, tmp_path: Path, *arguments: object, **changes: Any) -> Outcome:
    one(**changes)
    return cgro("check", "toy", "--jobs", 1, "--results", tmp_path, "--quiet", *arguments)


# Verdicts


@pytest.mark.parametrize(
    ("changes", "arguments", "code", "words"),
    [
        ({}, (), 0, "holds"),
        ({}, ("--size", 13), 1, "undecided"),
        ({"known_wrong": "n + 1"}, (), 1, "holds"),
        ({"known_wrong": "n + 1", "check": lambda *, size=3: toy(size=size, seed=5)}, (), 0, "refuted as known"),
        ({"check": lambda *, size=3: toy(size=size, seed=5)}, (), 1, "fails"),
    ],
)
def test_the_exit_code_says_whether_all_is_as_expected(
    changes: dict[str, Any],
    arguments: tuple[object, ...],
    code: int,
    words: str,
    one: Callable[..., None],
    cgro: Cgro,
    tmp_path: Path,
) -> None:
    outcome = run(one, cgro, tmp_path, "--json", *arguments, **changes)
    assert outcome.code == code
    (verdict,) = json.loads(outcome.out)
    assert verdict["as_expected"] is (code == 0)
    fields = {key: value for key, value in verdict.items() if key != "as_expected"}
    assert Verdict(**fields).words == words


def test_a_crash_is_undecided_and_says_why(one: Callable[..., None], cgro: Cgro, tmp_path: Path) -> None:
    outcome = run(one, cgro, tmp_path, "--size", 13, "--json")
    (verdict,) = json.loads(outcome.out)
    assert verdict["measured"] == "RuntimeError: bad luck"


def test_time_is_limited(one: Callable[..., None], cgro: Cgro, tmp_path: Path) -> None:
    began = time.perf_counter()
    outcome = run(one, cgro, tmp_path, "--size", 99, "--time-limit", 0.2, "--json")
    assert time.perf_counter() - began < 10
    (verdict,) = json.loads(outcome.out)
    assert verdict["outcome"] == "undecided"
    assert "time limit of 0.2 s reached" in verdict["measured"]
    assert outcome.code == 1


def test_a_preset_that_a_check_refuses_is_undecided(one: Callable[..., None], cgro: Cgro, tmp_path: Path) -> None:
    """A defect of the check, which must not hide the verdicts of others."""
    outcome = run(one, cgro, tmp_path, "--preset", "deep", "--json", deep={"size": 98})
    assert outcome.code == 1
    (verdict,) = json.loads(outcome.out)
    assert (verdict["outcome"], verdict["measured"]) == ("undecided", "size is 98: choose another")


def test_a_time_limit_that_cannot_act_says_so(one: Callable[..., None], tmp_path: Path) -> None:
    one()
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(UserError, match="must be left out on Windows and in a thread"),
    ):
        checking.run_checks({"toy": {"size": 3}}, tmp_path, executor=pool, time_limit=5, quiet=True)


def test_the_table_shows_every_word(one: Callable[..., None], cgro: Cgro, tmp_path: Path) -> None:
    outcome = run(one, cgro, tmp_path)
    shown = "".join(outcome.out.split())
    assert "n[is]atmostn" in shown, "square brackets were taken for markup"
    assert "other" in shown
    assert "Verdicts:1holds.Evidence:1exact." in shown


def test_verdicts_are_stored_and_recomputed(
    one: Callable[..., None], cgro: Cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(one, cgro, tmp_path)
    cells = Cells(tmp_path / "check" / "cells")
    (name,) = cells.names()
    stored = unpack(cells.find([name])[0])
    assert checking.stored_verdict(stored).outcome == "holds"
    assert json.loads(stored.attrs["config"])["parameters"] == {"size": 3, "seed": 0} | OTHERS
    assert stored.attrs["git_commit"]
    outcome = run(one, cgro, tmp_path, check=lambda *, size=3, seed=0, share=0.5, shares=(0.5,): toy(seed=5))
    assert outcome.code == 1, "a verdict was taken from the store"
    assert cells.names() == [name]


# Parameters


def test_parameters_come_from_preset_and_command_line(one: Callable[..., None], cgro: Cgro, tmp_path: Path) -> None:
    def size(*arguments: object) -> int:
        (verdict,) = json.loads(run(one, cgro, tmp_path, "--json", *arguments).out)
        return int(verdict["parameters"]["size"])

    assert size() == 3
    assert size("--preset", "deep") == 30
    assert size("--preset", "deep", "--size", 7) == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--size", 0), ("check toy: ", "hypothesis 'size >= 1' must hold, got size = 0")),
        (("--size", "x"), ("--size", "see `cgro check toy --help`")),
        (("--sise", 4), ("did you mean --size",)),
        (("--time-limit", 0), ("0", "seconds above 0")),
        (("--jobs", 0), ("--jobs", "positive integer, got '0'")),
        (("--size", 98), ("check toy: size is 98: choose another",)),
        (("--seed", -1), ("check toy: seed must be a non-negative integer, got -1",)),
        (("--share", "nan"), ("check toy: share must be finite, got nan",)),
        (("--shares", "0.1", "inf"), ("check toy: shares must be finite, got inf",)),
        (("--seeds", -1), ("--seeds", "non-negative integer, got '-1'")),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    arguments: tuple[object, ...], words: tuple[str, ...], one: Callable[..., None], cgro: Cgro, tmp_path: Path
) -> None:
    error = run(one, cgro, tmp_path, *arguments).error
    assert all(word in error for word in words), error
    assert files_below(tmp_path) == []


def test_an_unknown_check_and_parameters_of_several(cgro: Cgro, tmp_path: Path) -> None:
    error = cgro("check", "square-eror", "--results", tmp_path).error
    assert "did you mean square-error" in error
    error = cgro("check", "--levels=3", "--results", tmp_path).error
    assert "unrecognized arguments: --levels=3; parameters belong to one check" in error


def test_help_of_a_check_shows_its_parameters(cgro: Cgro) -> None:
    outcome = cgro("check", ONE, "--help")
    assert outcome.code == 0
    assert "largest m of the networks evaluated" in " ".join(outcome.out.split())
    assert "Hypothesis: 1 <= levels <= 12" in " ".join(outcome.out.replace("│", " ").split())


# Repetition


def test_other_seeds_are_counted(one: Callable[..., None], cgro: Cgro, tmp_path: Path) -> None:
    outcome = run(one, cgro, tmp_path, "--seeds", 6, "--json")
    (verdict,) = json.loads(outcome.out)
    assert "5 of 6 other seeds agree" in verdict["tested"], "seed 5 differs"


def test_a_check_that_does_not_draw_is_not_repeated(one: Callable[..., None], cgro: Cgro, tmp_path: Path) -> None:
    outcome = run(one, cgro, tmp_path, "--seeds", 3, "--json", check=lambda *, size=3: toy(size=size))
    (verdict,) = json.loads(outcome.out)
    assert "other seeds" not in verdict["tested"]


# In processes, and in words


def test_workers_give_the_same_verdicts(tmp_path: Path) -> None:
    wanted = {name: {"levels": 3} for name in (ONE,)} | {"published-order": {"largest": 16}}
    here = [v for v, _ in checking.run_checks(wanted, tmp_path / "a", jobs=1, quiet=True)]
    with processes(1) as pool:
        there = [v for v, _ in checking.run_checks(wanted, tmp_path / "b", executor=pool, quiet=True)]
    assert [(v.name, v.outcome, v.slack) for v in here] == [(v.name, v.outcome, v.slack) for v in there]
    assert [v.area for v in here] == ["gadgets", "construction S"]


def test_words_of_a_verdict() -> None:
    def verdict(found: Finding, **changes: Any) -> Verdict:
        return Verdict.of("toy", claim(**changes), {}, found, 1.0)

    held = verdict(Finding(True, math.inf, "all", "2", "1", constant="1.5", confidence=0.99))
    assert found_words(held) == "1 (bound: 2); constant: 1.5; confidence 0.99"
    assert slack_words(held) == "="
    wrong = verdict(Finding(False, 0.5, "all", "-", "3", counterexample="n = 2"), known_wrong="n + 1")
    assert found_words(wrong) == "3; counterexample: n = 2; correct: n + 1"
    assert slack_words(wrong) == "0.5"
    assert slack_words(verdict(Finding(None, math.nan, "-", "-", "-"))) == "-"


def test_parameters_are_what_a_user_can_write() -> None:
    assert claim().parameters == {"size": 3, "seed": 0, "share": 0.5, "shares": (0.5,)}
    assert claim().preset("deep") == {"size": 30, "seed": 0, "share": 0.5, "shares": (0.5,)}
    with pytest.raises(UserError, match="must hold, got size = 0"):
        claim().require({"size": 0, "seed": 0})


def test_a_file_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgro: Cgro) -> None:
    area = tmp_path / "area"
    area.mkdir()
    (area / "__init__.py").write_text("")
    (area / "broken.py").write_text("CLAIM = nothing\n")
    from cgro import proofs_check

    monkeypatch.setattr(proofs_check, "__path__", [str(tmp_path)])
    for typed in (("check", "broken"), ("check",)):
        error = cgro(*typed).error
        assert f"{area / 'broken.py'}: cannot be imported (NameError: name 'nothing' is not defined)" in error
