"""Data flows one way: a layer imports only layers to its left, and the library none of the experiments."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

LAYERS = (
    {"data"},
    {"networks"},
    {"attacks"},
    {"certify", "dynamics", "training"},
    {"evidence", "memorization", "measures"},
    {"sweeps", "plots"},
)
"""From left to right; layers of one set do not import each other, save for `SAVE`."""
SAVE = {("plots", "sweeps")}
"""The report reads what the store wrote."""
FOUNDATION = {
    "cgro",
    "cgro.claim",
    "cgro.errors",
    "cgro.experiment",
    "cgro.files",
    "cgro.filetypes",
    "cgro.interrupts",
    "cgro.machine",
    "cgro.norms",
    "cgro.numerals",
    "cgro.randomness",
    "cgro.validate",
}
"""What every layer may import; it imports nothing but itself."""
COMMAND_LINE = {
    "cgro.__main__",
    "cgro.checking",
    "cgro.cli",
    "cgro.commands",
    "cgro.configure",
    "cgro.drawing",
    "cgro.learning",
    "cgro.listing",
    "cgro.memorizer_folder",
    "cgro.memorizer_report",
    "cgro.memorizing",
    "cgro.option_values",
    "cgro.options",
    "cgro.registry",
    "cgro.reproducing",
    "cgro.streams",
}
"""What may import every layer, and no layer may import."""
OUTSIDE = {"simulations", "proofs_check", "figures", "benchmarks", "tests"}
RANK = {layer: rank for rank, layers in enumerate(LAYERS) for layer in layers}

LIBRARY = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "cgro").rglob("*.py"))
}


def imports(source: str) -> Iterator[str]:
    """Every module that the source imports, wherever in it; `from a import b` counts as both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offences(module: str, source: str) -> list[str]:
    """What the module must not import."""
    own = module.split(".")[1] if module.count(".") else ""
    found = []
    for name in imports(source):
        package, _, rest = name.partition(".")
        layer = rest.split(".")[0]
        if package in OUTSIDE:
            found.append(name)
        if package != "cgro" or name not in LIBRARY or module in COMMAND_LINE:
            continue
        if module in FOUNDATION:
            allowed = name in FOUNDATION
        elif layer in RANK:
            allowed = layer == own or RANK[layer] < RANK[own] or (own, layer) in SAVE
        else:
            allowed = name in FOUNDATION
        if not allowed:
            found.append(name)
    return found


@pytest.mark.parametrize("module", LIBRARY)
def test_a_module_imports_only_what_is_to_its_left(module: str) -> None:
    assert offences(module, LIBRARY[module].read_text()) == []


@pytest.mark.parametrize("module", LIBRARY)
def test_every_module_has_a_place(module: str) -> None:
    layer = module.split(".")[1] if module.count(".") else ""
    assert (layer in RANK) + (module in FOUNDATION) + (module in COMMAND_LINE) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cgro.data.patches", "from cgro.networks import patch_cnn"),
        ("cgro.data.patches", "def late():\n    import cgro.sweeps.store"),
        ("cgro.dynamics.gram", "from cgro.training.loop import Trainer"),
        ("cgro.sweeps.store", "import cgro.plots.output"),
        ("cgro.sweeps.store", "from cgro.registry import find"),
        ("cgro.experiment", "from cgro.data.patches import require_sizes"),
        ("cgro.commands", "import simulations.attack"),
        ("cgro.plots.output", "from figures import attack"),
        ("cgro.plots.output", "import proofs_check"),
    ],
)
def test_the_guard_sees_an_offence(module: str, source: str) -> None:
    assert offences(module, source)


def test_experiments_checks_and_figures_know_only_the_library() -> None:
    """Nor do they import each other across folders, save for checks, which may run a simulation's setting."""
    for folder in ("simulations", "figures"):
        for path in sorted((ROOT / folder).glob("*.py")):
            named = {name.split(".")[0] for name in imports(path.read_text())}
            allowed = {folder, "simulations"}
            assert not named & (OUTSIDE - allowed), path


def test_the_library_is_found() -> None:
    assert {"cgro.cli", "cgro.sweeps.store", "cgro.data.patches"} <= set(LIBRARY)
    assert isinstance(ROOT, Path)
