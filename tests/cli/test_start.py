"""Start-up: a command imports what it needs and nothing else; a name leads to its file directly."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tools import ROOT

from cgro.base.errors import UserError
from cgro.runs import registry
from cgro.runs.registry import Kind

HEAVY = ("torch", "scipy", "matplotlib", "xarray", "pandas", "numba", "sympy", "sklearn", "numpy", "jinja2")
PROBE = """
import shlex, sys
from cgro.cli.main import main
for typed in sys.stdin.read().splitlines():
    try:
        main(shlex.split(typed))
    finally:
        print("loaded:", typed, *sys.modules, sep="\\t", file=sys.stderr)
"""
KINDS: tuple[Kind, ...] = ("experiment", "check", "figure")
OBJECT = "from cgro.runs.experiment import Experiment\n"


def loaded(typed: Iterable[str]) -> dict[str, set[str]]:
    """The modules in a process after each of some commands, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input="\n".join(typed),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"CGRO_THREADS": "1"},
        timeout=60,
    )
    lines = [line.split("\t")[1:] for line in done.stderr.splitlines() if line.startswith("loaded:\t")]
    found = {command: set(modules) for command, *modules in lines}
    assert list(found) == list(typed), done.stderr
    return found


LIGHT = (
    "--help",
    "--version",
    "list",
    "list --help",
    "simulate --help",
    "check --help",
    "evaluate --help",
    "figure --help",
    "memorize --help",
    "reproduce --help",
    "lst",
    "simulate phase-diagrm",
    "check end-stat",
    "figure phase-diagrm",
    "figure phase-diagram --reslt x",
)


def test_help_list_and_mistakes_start_at_once() -> None:
    too_many = {typed: sorted(set(HEAVY) & modules) for typed, modules in loaded(LIGHT).items()}
    assert not any(too_many.values()), too_many


NAMED = {
    "train --help": ("torch", "matplotlib", "jinja2", "sklearn", "numba", "scipy.stats"),
    "simulate image-cgro --help": ("torch", "matplotlib", "jinja2", "sklearn", "numba", "scipy.optimize"),
    "simulate phase-diagram --help": (
        *("torch", "matplotlib", "jinja2", "sympy", "sklearn", "scipy.stats", "scipy.optimize"),
    ),
    "check end-state --help": ("torch", "matplotlib", "jinja2", "sympy", "sklearn", "scipy.stats"),
    "figure phase-transition --result nowhere.nc": ("sympy", "sklearn", "scipy.stats"),
}
"""Commands and what they spare, those that spare most first: they follow each other in one process."""


def test_a_named_command_imports_what_it_needs() -> None:
    found = loaded(NAMED)
    too_many = {typed: sorted(set(spared) & found[typed]) for typed, spared in NAMED.items()}
    assert not any(too_many.values()), too_many


def test_torch_waits_for_work() -> None:
    """Importing it takes longer than all else that a help page needs."""
    probe = """
import sys
from cgro.runs import registry
for kind in ("experiment", "check"):
    for name, found in registry.find_all(kind).items():
        if kind == "experiment":
            found.preset("quick")
        assert "torch" not in sys.modules, name
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_mistake_is_one_line_on_every_terminal(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cgro", "memorize", "x.csv", "--verfy", "3"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("cgro: error: unrecognized arguments: --verfy 3; did you mean --verify")
    assert line.endswith("? see `cgro memorize --help`")


@pytest.mark.parametrize("kind", KINDS)
def test_titles_are_read_without_importing(kind: Kind) -> None:
    """The registry reads them from the source; they are those of the objects, in the same order."""
    found = registry.find_all(kind)
    assert list(registry.titles(kind).items()) == [
        (name, each.statement if kind == "check" else each.title) for name, each in found.items()
    ]
    assert found == {name: registry.find(kind, name) for name in found}


NO_NAMES = ["", ".", "..", "common", "phase_diagram", "../cli", "a/b", "Phase-Diagram", "run\n"]


@pytest.mark.parametrize(
    ("kind", "name"), [*(("experiment", name) for name in NO_NAMES), ("check", "../cli"), ("figure", "../cli")]
)
def test_what_is_no_name_leads_to_no_file(kind: Kind, name: str) -> None:
    with pytest.raises(UserError, match="unknown"):
        registry.find(kind, name)


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of experiments with a good file, one that does not parse, and one that cannot be imported."""
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "__init__.py").touch()
    (tmp_path / "toys" / "good.py").write_text(f"{OBJECT}EXPERIMENT = Experiment('A good one', object, print)\n")
    (tmp_path / "toys" / "raises.py").write_text(f"{OBJECT}EXPERIMENT = Experiment('Raises', object, print)\n1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._PLACES, "experiment", registry._Place("toys", "none", "EXPERIMENT"))
    yield tmp_path / "toys"
    for name in [name for name in sys.modules if name.split(".")[0] == "toys"]:
        del sys.modules[name]


def test_a_broken_file_does_not_hide_the_others(broken: Path) -> None:
    assert registry.find("experiment", "good").title == "A good one"
    assert registry.titles("experiment") == {"good": "A good one", "raises": "Raises"}
    with pytest.raises(UserError, match=r"raises\.py: cannot be imported \(ZeroDivisionError"):
        registry.find("experiment", "raises")
    with pytest.raises(UserError, match=r"raises\.py: cannot be imported \(ZeroDivisionError"):
        registry.find_all("experiment")


def test_a_file_that_does_not_parse_is_named(broken: Path) -> None:
    (broken / "torn.py").write_text("EXPERIMENT = \n")
    assert registry.find("experiment", "good").title == "A good one"
    with pytest.raises(UserError, match=r"torn\.py: cannot be read \(SyntaxError"):
        registry.titles("experiment")
    (broken / "torn.py").write_bytes(b"EXPERIMENT = '\xff'\n")
    with pytest.raises(UserError, match=r"torn\.py: cannot be read \(UnicodeDecodeError"):
        registry.titles("experiment")


def test_a_title_that_is_computed_is_refused(broken: Path) -> None:
    (broken / "computed.py").write_text("EXPERIMENT = Experiment('a'.upper())\n")
    with pytest.raises(UserError, match=r"computed\.py: EXPERIMENT must begin with a plain string"):
        registry.titles("experiment")


def test_two_files_of_one_name_are_refused(broken: Path) -> None:
    (broken / "area").mkdir()
    (broken / "area" / "__init__.py").touch()
    (broken / "area" / "good.py").write_text("EXPERIMENT = Experiment('Another')\n")
    with pytest.raises(UserError, match=r"experiment 'good': .*two files"):
        registry.find("experiment", "good")
    with pytest.raises(UserError, match=r"experiment 'good': .*two files"):
        registry.titles("experiment")
