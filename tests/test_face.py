"""`import cgro`: a few names, imported on first use, each with an example that runs.

What they import is tested in `tests/cli/test_start.py`.
"""

from __future__ import annotations

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import pytest
from tools import ROOT

import cgro

HEAVY = ("numpy", "torch", "scipy", "xarray", "matplotlib", "numba", "tyro")


def in_a_process(source: str) -> str:
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_there_are_at_most_fifteen_names() -> None:
    assert len(cgro.__all__) <= 15
    assert set(cgro.__all__) <= set(dir(cgro))


def test_importing_cgro_costs_nothing() -> None:
    """Less than 0.1 s of CPU, and none of the libraries."""
    probe = """
import sys, time
before = time.process_time()
import cgro
print(time.process_time() - before, *sys.modules)
"""
    seconds, *modules = in_a_process(probe).split()
    assert float(seconds) < 0.1
    assert sorted(set(HEAVY) & set(modules)) == []


@pytest.mark.parametrize("name", cgro.__all__)
def test_a_name_is_the_same_whatever_was_imported_before(name: str) -> None:
    """A package of the same name would hide it: importing one sets the attribute."""
    assert not (ROOT / "cgro" / name).exists()
    assert not (ROOT / "cgro" / f"{name}.py").exists()
    assert callable(getattr(cgro, name))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cgro' has no attribute 'trian'"):
        _ = cgro.trian  # type: ignore[attr-defined]


def test_type_checkers_see_what_is_imported() -> None:
    """The imports under TYPE_CHECKING are those of the table."""
    tree = ast.parse((ROOT / "cgro" / "__init__.py").read_text())
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    places = {name: place.partition(":") for name, place in cgro._PLACES.items()}
    assert seen == {name: (module, called or name) for name, (module, _, called) in places.items()}
    assert set(seen) == set(cgro.__all__)


@pytest.mark.parametrize("name", cgro.__all__)
def test_the_example_of_a_name_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(getattr(cgro, name), name, module=False, globs={})  # type: ignore[arg-type]
    assert example.examples, f"{name} has no example"
    assert f"cgro.{name}" in (example.docstring or "")
    told: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=told.append)
    assert result.failed == 0, "".join(told)
    assert list(tmp_path.iterdir()) == []
