"""Start-up: a command imports what it needs and nothing else; a name leads to its file directly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tools import ROOT

from cgro.base.errors import UserError
from cgro.runs import registry
from cgro.runs.registry import Kind

HEAVY = ("torch", "scipy", "matplotlib", "xarray", "pandas", "numba", "sympy", "sklearn", "numpy", "jinja2")
KINDS: tuple[Kind, ...] = ("experiment", "check", "figure")
OBJECT = "from cgro.runs.experiment import Experiment\n"


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


FACE = {
    f"import cgro; cgro.{name}": ("torch",)
    for name in ("PatchSetting", "critical_ratio", "predicted_times", "TrainingConfig", "memorize")
}
"""What may be used without torch. Importing it takes longer than all else that a help page needs."""
EVERYTHING = {
    f"from cgro.runs import registry; found = registry.find('{kind}', '{name}'){quick}": ("torch",)
    for kind, quick in (("experiment", "; found.preset('quick')"), ("check", ""))
    for name in registry.files(kind)
}
PROBE = """
import json, shlex, sys, traceback
from cgro.cli.main import main
for line in json.load(sys.stdin):
    try:
        exec(line) if line.startswith(("import", "from")) else main(shlex.split(line))
    except Exception:
        traceback.print_exc()
        print("failed:", line, sep="\\t", file=sys.stderr)
    print("loaded:", line, *sys.modules, sep="\\t", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def too_many() -> Callable[[Mapping[str, Sequence[str]]], dict[str, list[str]]]:
    """After which lines there are modules that these lines spare: all lines follow each other in one process."""
    lines = [*LIGHT, *NAMED, *FACE, *EVERYTHING]
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"CGRO_THREADS": "1"},
        timeout=120,
    )
    told = [line.split("\t") for line in done.stderr.splitlines()]
    found = {line: set(modules) for kind, line, *modules in (each for each in told if each[0] == "loaded:")}
    assert list(found) == lines, done.stderr
    assert "failed:" not in {each[0] for each in told}, done.stderr

    def extra(spared: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        return {line: bad for line, modules in spared.items() if (bad := sorted(set(modules) & found[line]))}

    return extra


def test_help_list_and_mistakes_start_at_once(too_many) -> None:
    assert too_many(dict.fromkeys(LIGHT, HEAVY)) == {}


def test_a_named_command_imports_what_it_needs(too_many) -> None:
    assert too_many(NAMED) == {}


@pytest.mark.parametrize("lines", [FACE, EVERYTHING], ids=["names of cgro", "experiments and checks"])
def test_torch_waits_for_work(lines: dict[str, Sequence[str]], too_many) -> None:
    assert too_many(lines) == {}


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
