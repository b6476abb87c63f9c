"""Packed Datasets: what is packed comes back to the bit, and nothing else is taken for one."""

from __future__ import annotations

import json
import pickle
import zlib
from contextlib import suppress

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from test_store import SMALL, assert_same_values, datasets

from cgro.runs.packing import pack, unpack


@settings(max_examples=50)
@given(dataset=datasets())
def test_a_packed_dataset_comes_back(dataset: xr.Dataset) -> None:
    back = unpack(pack(dataset))
    assert_same_values(back, dataset)
    assert list(back.variables) == list(dataset.variables)
    assert list(back.coords) == list(dataset.coords)
    assert pack(back) == pack(dataset)
    for name, variable in dataset.variables.items():
        assert back[name].dtype == variable.dtype


def test_what_netcdf_would_change_stays() -> None:
    values = {"text": ("seed", np.array(["a", "bc"], dtype=object)), "flag": ("seed", [True, False]), "one": 3}
    dataset = xr.Dataset(
        values, {"seed": [4, 5]}, {"n": np.int64(3), "x": np.float64(0.1), "list": [1, 2], "nan": np.nan}
    )
    back = unpack(pack(dataset))
    xr.testing.assert_identical(back, dataset.assign_attrs(n=3, x=0.1))
    assert back["text"].dtype == object


@pytest.mark.parametrize("values", [[1j], np.array(["2020-01-01"], dtype="M8[ns]"), np.array([None]), [b"a"]])
def test_other_values_are_refused_by_name(values: object) -> None:
    with pytest.raises(TypeError, match=r"variable odd has dtype .*: only numbers and strings are stored"):
        pack(xr.Dataset({"odd": ("k", values)}))


@settings(max_examples=100)
@given(where=st.floats(0, 1, exclude_max=True), how=st.integers(1, 255), seed=st.integers(0, 10**6))
def test_no_bytes_end_in_another_error(where: float, how: int, seed: int) -> None:
    """A digest guards what is stored; here whatever is behind it is unpacked or refused."""
    inside = bytearray(zlib.decompress(pack(SMALL)))
    inside[int(where * len(inside))] ^= how
    for content in (zlib.compress(bytes(inside)), bytes(inside), np.random.default_rng(seed).bytes(50)):
        with suppress(ValueError):
            assert isinstance(unpack(content), xr.Dataset)


def packed(about: object) -> bytes:
    text = about if isinstance(about, str) else json.dumps(about)
    return zlib.compress(save({"x": np.zeros(2)}, {"dataset": text}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pickle.dumps(SMALL),
        zlib.compress(b""),
        zlib.compress(pickle.dumps(SMALL)),
        zlib.compress(save({"x": np.zeros(2)})),
        packed(None),
        packed([]),
        packed("[" * 100_000),
        packed({"variables": [{"name": "x"}], "attributes": {}}),
        packed({"variables": 3, "attributes": {}}),
    ],
)
def test_what_is_no_dataset_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a packed Dataset"):
        unpack(content)
