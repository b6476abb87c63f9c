"""`cgro results`: what is there, how results differ, what is damaged, and what may go."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tools import Outcome

from cgro.runs import store
from cgro.runs.cell_store import FILE, Cells, Name
from cgro.runs.packing import pack

Cgro = Callable[..., Outcome]


def saved(folder: Path, name: str, *, value: float = 1.0, epochs: int = 3, seeds: int = 2) -> Path:
    """A result of an experiment `name`, under the name by which commands find it."""
    config = json.dumps({"training": {"epochs": epochs, "data": "digits"}, "seeds": seeds}, sort_keys=True)
    result = xr.Dataset(
        {
            "error": (("seed", "step"), np.full((seeds, 4), value), {"units": "fraction", "long_name": "Test error"}),
            "note": ("seed", ["a"] * seeds),
        },
        {"seed": range(seeds), "step": [1, 2, 3, 4]},
        {
            "experiment": name,
            "config": config,
            "command": f"cgro simulate {name} --epochs {epochs}",
            "created": "2026-01-02T03:04:05+00:00",
            "wall_seconds": 61.5,
        },
    )
    path = folder / name / f"{store.content_hash(name, config)}.nc"
    store.save(result, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved(tmp_path, "bat")
    saved(tmp_path, "bat", epochs=5)
    saved(tmp_path, "width-sweep")
    cells = Cells(tmp_path / "bat" / "cells")
    for k in range(3):
        cells.add(Name("f(C)", json.dumps({"k": k})), pack(xr.Dataset({"x": k})))
    return tmp_path


def lines(outcome: Outcome) -> list[list[str]]:
    return [line.split("\t") for line in outcome.out.splitlines()]


def test_results_are_listed_by_experiment_and_configuration(cgro: Cgro, folder: Path) -> None:
    rows = lines(cgro("results", "--results", folder))
    assert rows[0][:2] == ["experiment", "options"]
    assert [row[:2] for row in rows[1:]] == [
        ["bat", "--epochs 3"], ["bat", "--epochs 5"], ["width-sweep", "--epochs 3"],
    ]  # fmt: skip
    assert rows[1][2:4] == ["2026-01-02 03:04", "62 s"]
    assert len(lines(cgro("results", "list", "bat", "--results", folder))) == 3
    for where in ("epochs=5", "training.epochs=5.0", "epochs=5 data=digits"):
        (found,) = lines(cgro("results", "--results", folder, "--where", *where.split()))[1:]
        assert found[1] == "--epochs 5"
    assert not lines(cgro("results", "--results", folder, "--where", "epochs=6"))[1:]
    described = json.loads(cgro("results", "--results", folder, "--json").out)
    assert described[0]["config"] == {"seeds": 2, "training.data": "digits", "training.epochs": 3}


def test_a_result_is_shown_by_its_path_or_the_beginning_of_its_name(cgro: Cgro, folder: Path) -> None:
    path = saved(folder, "bat", epochs=5)
    for word in (path, path.stem[:8]):
        shown = cgro("results", "show", word, "--results", folder).out
        assert "  training.epochs: 5" in shown
        assert "error\tseed 2, step 4\tfraction\t1\t1\tTest error" in shown
    for k in (1, 2):
        (folder / f"same{k}.nc").write_bytes(path.read_bytes())
    assert "2 results in" in cgro("results", "show", "same", "--results", folder).err
    assert "must not be empty" in cgro("results", "show", "", "--results", folder).err
    assert "no such file, and no result" in cgro("results", "show", "zz", "--results", folder).err


def test_differences_are_found_where_there_are_any(cgro: Cgro, tmp_path: Path) -> None:
    first, same = (saved(tmp_path / name, "bat") for name in ("one", "two"))
    assert cgro("results", "compare", first, same).code == 0
    assert cgro("results", "compare", tmp_path / "one", tmp_path / "two").code == 0
    near = saved(tmp_path / "three", "bat", value=1 + 1e-9)
    found = cgro("results", "compare", first, near)
    assert found.code == 1
    assert "error\t8 of 8 differ\t1e-09\t1e-09" in found.out
    assert cgro("results", "compare", first, near, "--tolerance", "1e-8").code == 0
    assert cgro("results", "compare", tmp_path / "one", tmp_path / "three").code == 1

    # More seeds: values are compared for those of both, and the configuration tells.
    more = json.loads(cgro("results", "compare", first, saved(tmp_path, "bat", seeds=3), "--json").out)
    assert more["fields"] == {"seeds": [2, 3]}
    differences = {each["name"]: each["difference"] for each in more["variables"] if each["difference"]}
    assert differences["error"] == "2 values of seed in both"
    assert not more["equal"]
    nan = saved(tmp_path / "four", "bat", value=np.nan)
    assert cgro("results", "compare", nan, nan).code == 0
    strict = json.loads(cgro("results", "compare", first, nan, "--json").out, parse_constant=pytest.fail)
    assert {each["name"]: each["largest"] for each in strict["variables"]}["error"] is None
    assert "8 are NaN in one of both" in cgro("results", "compare", first, nan, "--tolerance", "1").out


def test_values_are_exported_one_table_for_each_set_of_dimensions(cgro: Cgro, folder: Path, tmp_path: Path) -> None:
    path = saved(folder, "bat")
    written = cgro("results", "export", path, "--output", tmp_path / "tables").out.split()
    tables = {
        Path(file).name.removeprefix(path.stem): list(csv.DictReader(Path(file).read_text().splitlines()))
        for file in written
    }
    assert tables["-seed-step.csv"][5] == {"seed": "1", "step": "2", "error": "1.0"}
    assert tables["-seed.csv"] == [{"seed": "0", "note": "a"}, {"seed": "1", "note": "a"}]


def test_damage_is_named_and_nothing_else(cgro: Cgro, folder: Path) -> None:
    whole = cgro("results", "check", "--results", folder)
    assert (whole.code, whole.out) == (0, "3 results and 3 cells: all intact\n")
    path, database = saved(folder, "bat"), folder / "bat" / "cells" / FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    stored = database.read_bytes()
    place = stored.rindex(b'{"k": ')
    database.write_bytes(stored[: place + 6] + b"7" + stored[place + 7 :])
    found = cgro("results", "check", "--results", folder)
    assert found.code == 1
    assert f"result file {path}: damaged" in found.out
    assert "1 cells are damaged" in found.out
    assert database.read_bytes()[place + 6 : place + 7] == b"7", "a check repairs nothing"


def test_nothing_is_deleted_unless_asked(cgro: Cgro, folder: Path) -> None:
    (folder / "bat" / f".x.nc.{'0' * 32}.tmp").write_bytes(b"half")
    (folder / "bat" / "cells" / "0123456789abcdef").mkdir()
    (folder / "bat" / "cells" / "0123456789abcdef" / "part").write_bytes(b"work")
    old = saved(folder, "bat", epochs=7)
    old.rename(old.with_name("0123456789abcdef.nc"))
    before = sorted(folder.rglob("*"))
    found = json.loads(cgro("results", "clean", "--results", folder, "--json").out)
    assert [each["kind"] for each in found] == ["leftovers", "outdated", "unfinished", "cells"]
    told = cgro("results", "clean", "--results", folder).out
    assert "nothing is deleted" in told
    assert sorted(folder.rglob("*")) == before
    cgro("results", "clean", "--results", folder, "--delete", "outdated", "leftovers")
    assert [each["kind"] for each in json.loads(cgro("results", "clean", "--results", folder, "--json").out)] == [
        "unfinished", "cells",
    ]  # fmt: skip
    assert len(lines(cgro("results", "--results", folder))) == 4
    cgro("results", "clean", "--results", folder, "--delete", "cells", "unfinished")
    assert not list((folder / "bat" / "cells").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("results shw", "unknown; did you mean show"),
        ("results list bta", "experiment 'bta': unknown"),
        ("results --results nowhere", "folder nowhere: not found"),
        ("results --where epochs", "--where must be FIELD=VALUE, got 'epochs'"),
        ("results show", "takes 1 FILE, got 0"),
        ("results compare a", "takes 2 FILE, got 1"),
        ("results check b", "takes no FILE, got 1"),
        ("results check --delete cells", "--delete: `cgro results check` has no such option"),
        ("results clean --delete all", "--delete must be one or more of leftovers"),
        ("results show nothing.nc", "nothing.nc: no such file"),
        ("results show .", "a folder; give a result file"),
        ("results compare . nothing.nc", "must both be files or both be folders"),
        ("results compare . .", "no file of . has the name"),
        ("results compare a b --tolerance -1", "--tolerance must be at least 0"),
    ],
)
def test_mistakes_take_one_line(
    cgro: Cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    found = cgro(*words.split())
    assert found.code == 2
    assert message in found.err
    assert found.err.count("\n") == 1
