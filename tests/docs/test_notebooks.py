"""The notebooks run in a fresh kernel, offline, and print what is stored in them.

Words must be the same, and numbers within a tolerance. Seeds are fixed, so that on the same machine all digits agree;
elsewhere sums are rounded in another order. A memorizer and its bounds, nearest neighbours and short runs of the patch
model move by less than the last printed digit, which may still round the other way. Training on images amplifies
rounding: with another number of threads, accuracies of this notebook moved by up to 5 points.
"""

from __future__ import annotations

import importlib.util
import re
import socket

import nbformat
import pytest
from tools import ROOT

FOLDER = ROOT / "docs" / "notebooks"
_SPEC = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
assert _SPEC is not None
assert _SPEC.loader is not None
execute = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(execute)

TOLERANCES = {
    "own_points": 0.0015,
    "own_activation": 0.015,
    "own_objective": 12.0,  # points, and ends of intervals in points
    "own_scores": 0.015,
}
"""Largest difference of a printed number: one and a half units of the last digit, or points of accuracy."""
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])")
OFFLINE = """
import socket
def _refuse(*_a, **_k): raise OSError("this test is offline")
socket.create_connection = _refuse
socket.getaddrinfo = _refuse
"""


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells print or show as text, one text for each cell with an output."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [
        "".join(output.get("text", output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
        for cell in cells
    ]
    return [text for text in shown if text]


def differences(stored: list[str], found: list[str], tolerance: float) -> list[str]:
    """Where two lists of texts differ, in words; digits of numbers do not count up to the tolerance."""
    if len(stored) != len(found):
        return [f"{len(stored)} texts are stored, {len(found)} found"]
    wrong = []
    for before, now in zip(stored, found, strict=True):
        if " ".join(NUMBER.sub("#", before).split()) != " ".join(NUMBER.sub("#", now).split()):
            wrong.append(f"stored {before!r}, found {now!r}")
            continue
        pairs = zip(map(float, NUMBER.findall(before)), map(float, NUMBER.findall(now)), strict=True)
        wrong += [f"stored {a}, found {b} in {now!r}" for a, b in pairs if abs(a - b) > tolerance + 1e-9]
    return wrong


@pytest.mark.parametrize("name", TOLERANCES)
def test_a_notebook_prints_what_is_stored(name: str) -> None:
    path = FOLDER / f"{name}.ipynb"
    stored = nbformat.read(path, as_version=4)
    assert differences(texts(stored), texts(execute.executed(path, before=OFFLINE)), TOLERANCES[name]) == []


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(TOLERANCES)


@pytest.mark.parametrize("name", TOLERANCES)
def test_a_notebook_is_short_and_stored_with_its_outputs_alone(name: str) -> None:
    """No more than ten cells, pictures below 100 kB, and no times, paths or versions."""
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert 6 <= len(notebook.cells) <= 10
    assert notebook == execute.plain(nbformat.read(path, as_version=4))
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == list(
        range(1, sum(cell.cell_type == "code" for cell in notebook.cells) + 1)
    )
    pictures = [
        output.data["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert 1 <= len(pictures) <= 2
    assert all(len(picture) * 3 / 4 < 100_000 for picture in pictures)
    assert str(ROOT) not in path.read_text()
    assert socket.gethostname() not in "".join(texts(notebook))


def test_a_changed_number_or_word_is_seen() -> None:
    assert differences(["error 0.50, 3 runs"], ["error 0.51, 3 runs"], 0.015) == []
    assert differences(["error 0.50, 3 runs"], ["error 0.53, 3 runs"], 0.015)
    assert differences(["error 0.50, 3 runs"], ["error 0.50, 3 cells"], 0.015)
    assert differences(["error 0.50"], [], 0.015)
    assert differences(["-1.5"], ["1.5"], 0.015)
