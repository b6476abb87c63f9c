"""Execute the notebooks and store them with their outputs: `make notebooks`, or this file with names of notebooks.

Each runs in a fresh kernel, in an empty folder. What differs between two runs of the same code is left out (times,
paths, versions of the kernel, standard error), so that executing a notebook again gives the same file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
SHOWN = ("text/plain", "image/png")
"""Kinds of output that are stored."""


def executed(path: Path, *, before: str = "", timeout: float = 300) -> nbformat.NotebookNode:
    """The notebook after a run in a fresh kernel, in which the code `before` ran first.

    Raises: CellExecutionError of the first cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    if before:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(before))
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": folder}}).execute()
    notebook.cells = notebook.cells[1:] if before else notebook.cells
    return plain(notebook)


def plain(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without what differs from run to run."""
    notebook.metadata = nbformat.from_dict(KERNEL)
    for number, cell in enumerate(notebook.cells):
        cell["id"], cell["metadata"] = f"cell-{number}", nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs if (kept := _kept(output)) is not None]
    return notebook


def _kept(output: nbformat.NotebookNode) -> nbformat.NotebookNode | None:
    if output.output_type == "stream":
        return output if output.name == "stdout" else None
    output["data"] = nbformat.from_dict({kind: value for kind, value in output["data"].items() if kind in SHOWN})
    output["metadata"] = nbformat.from_dict({})
    return output


def main(names: list[str]) -> None:
    for path in [FOLDER / name for name in names] or sorted(FOLDER.glob("*.ipynb")):
        notebook = executed(path)
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        print(path.name, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
