"""The results store: what is saved comes back, damage is named, and no mishap leaves half a file."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tools import ROOT, files_below, full_disk

from cgro.base import files
from cgro.base.errors import UserError
from cgro.base.fields import later
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import Block
from cgro.runs import registry, store
from cgro.simulations import overfitting_cures

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
NAMES = st.text("abcdefgh", min_size=1, max_size=4)
DTYPES = st.sampled_from(["<f8", "<f4", ">f8", "<i8", "<i2", "<u4", "|b1", "<U5"])
SMALL = xr.Dataset({"error": ("seed", [0.25, np.nan])}, {"seed": [0, 1]}, {"config": "{}"})


@st.composite
def datasets(draw: st.DrawFn) -> xr.Dataset:
    """Datasets such as experiments return: named dimensions, labels, attributes."""
    sizes = draw(st.dictionaries(NAMES, st.integers(0, 4), max_size=3))
    attributes = st.dictionaries(NAMES, TEXT | st.integers(-(2**31), 2**31) | st.floats(allow_nan=False), max_size=3)
    variables = {}
    for name in draw(st.lists(NAMES.map(lambda s: f"v_{s}"), max_size=4, unique=True)):
        dims = draw(st.lists(st.sampled_from(sorted(sizes)), unique=True)) if sizes else []
        dtype = np.dtype(draw(DTYPES))
        elements = TEXT.filter(lambda s: len(s) <= 5) if dtype.kind == "U" else None
        values = draw(hnp.arrays(dtype, tuple(sizes[d] for d in dims), elements=elements))
        variables[name] = (dims, values, draw(attributes))
    labels = {d: (d, [f"label {k}" for k in range(n)]) for d, n in sizes.items() if draw(st.booleans())}
    return xr.Dataset(variables, labels, draw(attributes))


def assert_same_values(back: xr.Dataset, dataset: xr.Dataset) -> None:
    """To the bit, where numbers are concerned."""
    xr.testing.assert_identical(back, dataset)
    for name, variable in dataset.variables.items():
        assert back[name].dtype.kind == variable.dtype.kind or variable.dtype.kind == "U"
        if variable.dtype.kind == "f":
            assert back[name].values.astype("<f8").tobytes() == variable.values.astype("<f8").tobytes()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dataset=datasets())
def test_a_stored_dataset_comes_back(dataset: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "a" / "result.nc"
    store.save(dataset, path)
    assert_same_values(store.load(path), dataset)
    assert files_below(tmp_path) == [path]


def test_a_unit_of_time_stays_a_number(tmp_path: Path) -> None:
    store.save(xr.Dataset({"wall": ("seed", [1.5], {"units": "seconds"})}), tmp_path / "r.nc")
    assert store.load(tmp_path / "r.nc")["wall"].item() == 1.5


def test_netcdf_readers_open_a_result(tmp_path: Path) -> None:
    store.save(SMALL, tmp_path / "r.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "r.nc", engine="h5netcdf"), SMALL)


def test_the_same_dataset_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nc", "b.nc"):
        store.save(SMALL, tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good file."""
    path = tmp_path_factory.mktemp("intact") / "r.nc"
    store.save(SMALL, path)
    return path.read_bytes()


DAMAGES: dict[str, Callable[[bytes, float, int], bytes]] = {
    "one byte changed": lambda b, where, how: b[: (k := int(where * len(b)))] + bytes([b[k] ^ how]) + b[k + 1 :],
    "truncated": lambda b, where, how: b[: int(where * len(b))],
    "longer": lambda b, where, how: b + bytes([how]),
    "random bytes": lambda b, where, how: np.random.default_rng(how).bytes(int(where * len(b))),
}


@pytest.mark.parametrize("damage", DAMAGES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), how=st.integers(1, 255))
def test_a_damaged_file_is_named(damage: str, where: float, how: int, intact: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.nc"
    path.write_bytes(DAMAGES[damage](intact, where, how))
    with pytest.raises(UserError, match=r"result file .*r\.nc: damaged .*; delete it and run again"):
        store.load(path)


def sealed(content: bytes) -> bytes:
    """With a right digest, as anybody can make one."""
    return content + hashlib.sha256(content).digest()


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(500), b"CDF\x01" + bytes(40)])
def test_a_right_checksum_does_not_make_a_result(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.nc").write_bytes(sealed(content))
    with pytest.raises(
        UserError, match=r"result file .*r\.nc: not made by cgro \(it holds no NetCDF data: .*\); delete"
    ):
        store.load(tmp_path / "r.nc")


CONFIG = PatchSetting()


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({}, "holds something that is no experiment, not phase-diagram"),
        ({"experiment": "attack"}, "holds attack, not phase-diagram"),
        ({"experiment": "phase-diagram"}, "does not say its configuration"),
        ({"experiment": "phase-diagram", "config": "null"}, "does not say its configuration"),
        ({"experiment": "phase-diagram", "config": "{"}, "does not say its configuration"),
        ({"experiment": "phase-diagram", "config": 3.5}, "does not say its configuration"),
        ({"experiment": "phase-diagram", "config": "[" * 100_000}, "does not say its configuration"),
        (
            {"experiment": "phase-diagram", "config": store.as_json(replace(CONFIG, samples=41))},
            r"made with another configuration \(samples is 41, asked for is 40\); rename or delete it",
        ),
        (
            {"experiment": "phase-diagram", "config": "{}"},
            r'made with another configuration \(activation is "absent", asked for is "odd"\)',
        ),
    ],
)
def test_a_result_of_something_else_is_not_read(attributes: dict[str, Any], words: str, tmp_path: Path) -> None:
    store.save(xr.Dataset({"error": ("seed", [0.25])}, attrs=attributes), tmp_path / "r.nc")
    with pytest.raises(UserError, match=rf"result file .*r\.nc: {words}"):
        store.load_result(tmp_path / "r.nc", "phase-diagram", CONFIG)


def test_a_result_of_the_configuration_is_read(tmp_path: Path) -> None:
    made = SMALL.assign_attrs(experiment="phase-diagram", **store.provenance(CONFIG, 1.0))
    store.save(made, tmp_path / "r.nc")
    for config in (CONFIG, None):
        xr.testing.assert_identical(store.load_result(tmp_path / "r.nc", "phase-diagram", config), made)


def test_a_missing_file_and_an_unreadable_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        store.load(tmp_path / "r.nc")
    with pytest.raises(UserError, match=r"result file .*: cannot be read \(Is a directory\); make it readable"):
        store.load(tmp_path)

    def refuse(_path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\); make it readable"):
        store.load(tmp_path / "r.nc")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    refused = pytest.raises(files.StorageError, match=r"folder .*: cannot write \(File too large\); free space")
    with refused as caught, full_disk():
        store.save(SMALL, tmp_path / "r.nc")
    assert "\n" not in str(caught.value)
    assert files_below(tmp_path) == []


def test_a_failing_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.nc"
    files.write_whole(path, b"old")

    def half_a_write(error: BaseException) -> Callable[[Path, bytes], int]:
        def write(target: Path, content: bytes) -> int:
            with target.open("wb") as file:
                file.write(content[:2])
            raise error

        return write

    full = OSError(errno.ENOSPC, "No space left on device")
    for error, expected in ((full, files.StorageError), (KeyboardInterrupt(), KeyboardInterrupt)):
        monkeypatch.setattr(Path, "write_bytes", half_a_write(error))
        with pytest.raises(expected):
            files.write_whole(path, b"new content")
        assert files_below(tmp_path) == [path]
        assert path.read_bytes() == b"old"


@pytest.mark.parametrize("write", [lambda folder: files.write_whole(folder / "r.nc", b""), files.require_writable])
def test_a_folder_that_cannot_be(write: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(files.StorageError, match=r"folder .*results.*: cannot write .*; free space, make it writable"):
        write(tmp_path / "results" / "phase-diagram")


def test_asking_whether_a_folder_can_be_written_leaves_no_file(tmp_path: Path) -> None:
    files.require_writable(tmp_path / "new")
    assert files_below(tmp_path) == []


# Names of results


def changed(owner: type, name: str, value: Any) -> Iterator[Any]:
    """Other values that a field might take."""
    kind = get_type_hints(owner)[name]
    if is_dataclass(value):
        yield from variants(value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, float):
        # The widths of small networks are whole numbers; a share may be at most 1.
        yield from (value + 3,) if name.endswith("width") else (value * 1.01, value * 0.99) if value else (0.5,)
    elif value is None:
        recorded = f"scores.csv@{0:016x}"
        yield recorded if str in get_args(kind) else 3 if int in get_args(kind) or name == "width" else 0.5
    elif isinstance(value, tuple):
        yield from [(*value, value[-1])] if value else [("base",), ("swa",), (0, 1), (1, 2), (0.5, 1.0)]
        if len(value) > 1:
            yield value[:-1]
            if isinstance(value[0], float):
                yield (value[0], (value[0] + value[1]) / 2, *value[1:])
        elif value and isinstance(value[0], float):
            yield (value[0] / 2, *value)
        elif value:
            yield from ((*value, choice) for choice in get_args(get_args(kind)[0]) if choice not in value)
        if value and type(value[-1]) is int:
            yield (*value, value[-1] + 1)
    else:
        yield from (choice for choice in dict.fromkeys((*get_args(kind), "cpu", "signal")) if choice != value)


WITH: dict[str, dict[str, Any]] = {
    "drops": {"schedule": "piecewise"},
    "cure": {"cure_strength": None, "cure_start": None, "cure_end": None},
    "cure_strength": {"cure": "temporal-ensembling"},
    "cure_start": {"cure": "self-adaptive", "cure_strength": None, "cure_end": None},
    "cure_end": {"cure": "temporal-ensembling", "cure_start": 0},
    "cure_discrimination": {"cure": "bat", "cure_strength": None, "cure_start": None, "cure_end": None},
    "cure_scores": {"cure": "reweighting", "cure_strength": None, "cure_start": None, "cure_end": None},
    "ensembling_start": {"ensembling_momentum": 0.5},
    "default_starts": {
        "cures": ("none", "swa"),
        "training": replace(
            overfitting_cures.Config.quick().training, cure="swa", cure_strength=None, cure_start=1, cure_end=None
        ),
    },
    "objectives": {"seeds": 4},
    "noises": {"seeds": 4},
}
"""Fields that need others."""


def variants(config: Any) -> Iterator[Any]:
    """Configurations that differ in one field, at least one for each field."""
    for field in fields(config):
        found = []
        for value in changed(type(config), field.name, getattr(config, field.name)):
            try:
                found.append(replace(config, **WITH.get(field.name, {}) | {field.name: value}))
            except UserError:
                continue
        assert found, field.name
        yield from found


CONFIGS = {name: module.Config.quick() for name, module in registry.find_all("experiment").items()}
BLOCK = Block((PatchSetting(),), (0,), "gram", 2, 8, False, "auto")


@pytest.mark.parametrize("config", [*CONFIGS.values(), PatchSetting(), BLOCK], ids=[*CONFIGS, "setting", "block"])
def test_every_field_is_part_of_the_name(config: Any) -> None:
    paths = [store.result_path(Path(), "name", c) for c in (config, *variants(config))]
    assert len(set(paths)) == len(paths) > len(fields(config))
    assert store.result_path(Path(), "name", replace(config)) == paths[0]
    assert store.result_path(Path(), "other", config).name != paths[0].name


def test_the_name_does_not_hang_on_the_order_of_fields() -> None:
    @dataclass
    class One:
        a: int = 1
        b: float = 2.0

    @dataclass
    class Two:
        b: float = 2.0
        a: int = 1

    assert store.as_json(One()) == store.as_json(Two())


def test_a_field_that_came_later_changes_nothing_at_its_default() -> None:
    @dataclass
    class Before:
        a: int = 1

    @dataclass
    class After:
        a: int = 1
        b: float | None = later(None)

    nested = [{"one": (Before(2),)}], [{"one": (After(2),)}]
    assert store.as_json(After()) == store.as_json(Before())
    assert store.as_json(nested[0]) == store.as_json(nested[1])
    assert store.as_json(After(b=0.0)) == '{"a": 1, "b": 0.0}'


def test_a_new_format_gives_new_names(monkeypatch: pytest.MonkeyPatch) -> None:
    old = store.content_hash("x")
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    assert store.content_hash("x") != old


# Provenance


def test_provenance_says_how_to_make_the_result_again(tmp_path: Path) -> None:
    config = CONFIGS["phase-diagram"]
    path = tmp_path / "r.nc"
    store.save(SMALL.assign_attrs(store.provenance(config, 1.2345)), path)
    stored = store.load(path)
    assert store.stored_config(stored) == json.loads(store.as_json(config))
    assert store.stored_config(stored)["seeds"] == config.seeds
    assert stored.attrs["cgro_version"] == metadata.version("cgro")
    versions = json.loads(stored.attrs["library_versions"])
    names = ("numpy", "scipy", "torch", "numba", "python-flint", "xarray")
    assert versions == {name: metadata.version(name) for name in names}
    assert stored.attrs["device"]
    assert stored.attrs["created"].endswith("+00:00")
    assert stored.attrs["wall_seconds"] == 1.234
    if (ROOT / ".git").exists():
        head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        assert stored.attrs["git_commit"].removesuffix("-dirty") == head.stdout.strip()


def test_the_device_is_the_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    config = CONFIGS["phase-diagram"]
    assert store.provenance(config, 0)["device"] == "a GPU"
    assert "CPU" in str(store.provenance(replace(config, device="cpu"), 0)["device"])


def test_a_commit_is_known_only_in_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_git(*_args: object, **_options: object) -> None:
        raise OSError("no git")

    monkeypatch.setattr(store.subprocess, "run", no_git)
    assert store.git_commit.__wrapped__() == "unknown"
    monkeypatch.setattr(store, "__file__", str(tmp_path / "site-packages" / "cgro" / "sweeps" / "store.py"))
    assert store.git_commit.__wrapped__() == "unknown"
