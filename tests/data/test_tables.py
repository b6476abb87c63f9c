"""Files of points: values are read exactly and reported; ambiguous or damaged files are refused by row and column."""

from __future__ import annotations

import gzip
import io
import math
import os
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgro.base.errors import UserError
from cgro.data import classes
from cgro.data.tables import Table, read_table

PLAIN = "0.5,0.25,1\n0.125,2,-1\n"


def read(tmp_path: Path, content: str | bytes, label: str | None = None, name: str = "a.csv") -> Table:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path, label=label)


def written(**arrays: np.ndarray) -> bytes:
    """A .npz archive of arrays, pickled ones too."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def pandas_table(index: bool = True, **columns: object) -> str:
    return pd.DataFrame(columns).to_csv(index=index, lineterminator="\n")


@pytest.mark.parametrize(
    ("content", "points", "labels", "words"),
    [
        (PLAIN, [[0.5, 0.25], [0.125, 2]], [1, -1], "no header"),
        ("\ufeff" + PLAIN, [[0.5, 0.25], [0.125, 2]], [1, -1], "2 points in 2 dimensions"),
        ("\ufeffx,y,label\n" + PLAIN, [[0.5, 0.25], [0.125, 2]], [1, -1], "header skipped"),
        ("a,b,c\n" + PLAIN, [[0.5, 0.25], [0.125, 2]], [1, -1], "labels from the last column, c; header skipped"),
        ("label,a,b\n1,2,3\n0,4,5\n", [[2, 3], [4, 5]], [1, 0], "labels from column label"),
        ("a,Class,b\n2,1,3\n4,0,5\n", [[2, 3], [4, 5]], [1, 0], "labels from column Class"),
        ("label,x,y\n1,2,3\n0,4,5\n", [[2, 3], [4, 5]], [1, 0], "labels from column label"),
        ("label,1x1,1x2\n1,2,3\n0,4,5\n", [[2, 3], [4, 5]], [1, 0], "labels from column label; header skipped"),
        ("0x0,1x0,class\n2,3,1\n4,5,0\n", [[2, 3], [4, 5]], [1, 0], "labels from column class; header skipped"),
        (",1x1,1x2,label\n0,2,3,1\n1,4,5,0\n", [[2, 3], [4, 5]], [1, 0], "column of row numbers skipped"),
        ("# 1x1,1x2,label\n2,3,1\n4,5,0\n", [[2, 3], [4, 5]], [1, 0], "labels from column label"),
        ("y,a,b\n1,2,3\n0,4,5\n", [[2, 3], [4, 5]], [1, 0], "labels from column y"),
        (pandas_table(a=[0.5, 2.0, 3], label=[1, 0, 1]), [[0.5], [2], [3]], [1, 0, 1], "column of row numbers skipped"),
        ('"","a","label"\n"1",2,1\n"2",3,0\n', [[2], [3]], [1, 0], "column of row numbers skipped"),
        ("Unnamed: 0,a,label\n0,2,1\n1,3,0\n", [[2], [3]], [1, 0], "column of row numbers skipped"),
        ("id,a,label\n1,2,1\n2,3,0\n", [[2], [3]], [1, 0], "column of row numbers, id, skipped"),
        ("0,1\n1,0\n2,1\n", [[0], [1], [2]], [1, 0, 1], "3 points in 1 dimension,"),
        ("1;2;1\n3;4;0\n", [[1, 2], [3, 4]], [1, 0], "separated by ';'"),
        ("1\t2\t1\n3\t4\t0\n", [[1, 2], [3, 4]], [1, 0], "separated by tabs"),
        ("  1  2 1\n3 4   0 \n", [[1, 2], [3, 4]], [1, 0], "separated by spaces"),
        ("1.0e0 2.0e0 1.0e0\n3 4 0\n", [[1, 2], [3, 4]], [1, 0], "separated by spaces"),
        (PLAIN.replace("\n", "\r\n"), [[0.5, 0.25], [0.125, 2]], [1, -1], "2 points"),
        (PLAIN.replace("\n", "\r"), [[0.5, 0.25], [0.125, 2]], [1, -1], "2 points"),
        (PLAIN.rstrip("\n"), [[0.5, 0.25], [0.125, 2]], [1, -1], "2 points"),
        ("a,b,label\n" + PLAIN + "\n", [[0.5, 0.25], [0.125, 2]], [1, -1], "header skipped"),
        ("\n\n1,1\n  \n2,0\n", [[1], [2]], [1, 0], "3 blank lines skipped"),
        ("# made by hand\n1,1\n#0,1\n2,0\n", [[1], [2]], [1, 0], "2 comment lines skipped"),
        ("# label,a\n1,7\n2,8\n", [[7], [8]], [1, 2], "labels from column label"),
        (PLAIN.encode("utf-16"), [[0.5, 0.25], [0.125, 2]], [1, -1], "UTF-16"),
        (gzip.compress(PLAIN.encode(), mtime=0), [[0.5, 0.25], [0.125, 2]], [1, -1], "gzip"),
        (' 1.5 , +2.,"1"\n"-.5",1E+2,0\n', [[1.5, 2], [-0.5, 100]], [1, 0], "2 points"),
        ("1,1.0\n2,-0\n3,+2\n4,2e0\n", [[1], [2], [3], [4]], [1, 0, 2, 2], "4 points"),
        ("1,9007199254740993\n2,0\n", [[1], [2]], [9007199254740993, 0], "2 points"),
        ("0.0,1.0,2\n5,6,7\n", [[0, 1], [5, 6]], [2, 7], "no header"),
    ],
)
def test_values_read_are_exact_and_reported(content, points, labels, words, tmp_path: Path) -> None:
    table = read(tmp_path, content)
    np.testing.assert_array_equal(table.data.points, points)
    np.testing.assert_array_equal(table.data.labels, labels)
    assert words in table.words
    assert table.classes == {}


@pytest.mark.parametrize(
    ("content", "classes", "labels"),
    [
        ("a,species\n1,setosa\n2,virginica\n3,setosa\n", {0: "setosa", 1: "virginica"}, [0, 1, 0]),
        ("1,T-shirt/top\n2, ankle boot \n", {0: "T-shirt/top", 1: "ankle boot"}, [0, 1]),
        ("1,True\n2,False\n", {0: "False", 1: "True"}, [1, 0]),
        ('1,"a,b"\n2,"say ""c"""\n', {0: "a,b", 1: 'say "c"'}, [0, 1]),
        ("größe,klasse\n1,süß\n2,sauer\n", {0: "sauer", 1: "süß"}, [1, 0]),
        ("0,cat\n1,dog\n2,cat\n", {0: "cat", 1: "dog"}, [0, 1, 0]),
        ("label,a\ncat,1\ndog,2\n", {0: "cat", 1: "dog"}, [0, 1]),
    ],
)
def test_class_names_are_numbered_in_their_order(content, classes, labels, tmp_path: Path) -> None:
    table = read(tmp_path, content)
    assert table.classes == classes
    np.testing.assert_array_equal(table.data.labels, labels)
    assert f"0 = {classes[0]}, 1 = {classes[1]}" in table.words


REFUSED = {
    "an empty cell first": (",0.1,0.2,1\n1,2,3,0\n", ["row 1 is ',0.1,0.2,1'", "column 1 is empty"]),
    "NA first": ("NA,0.1,1\n1,2,0\n", ["row 1", "column 1 is 'NA'", "missing value"]),
    "NA later": ("a,b,label\n1,2,0\n3,NA,1\n", ["row 3", "column 2 (b) is 'NA'", "missing value"]),
    "an empty cell": ("1,2,0\n3,,1\n", ["row 2", "column 2 is empty"]),
    "an empty label": ("1,2,0\n3,4,\n", ["row 2", "column 3", "empty", "ends in a delimiter"]),
    "a trailing delimiter": ("1,2,0,\n3,4,1,\n", ["row 1", "column 4", "empty", "ends in a delimiter"]),
    "inf": ("1,2,0\ninf,4,1\n", ["row 2", "column 1 is 'inf'", "not finite"]),
    "-Infinity": ("1,2,0\n-Infinity,4,1\n", ["column 1 is '-Infinity'", "not finite"]),
    "overflow": ("1,2,0\n1e400,4,1\n", ["column 1 is '1e400'", "not finite"]),
    "nan": ("1,2,0\nnan,4,1\n", ["column 1 is 'nan'", "missing value"]),
    "complex": ("1,2,0\n1+2j,4,1\n", ["column 1 is '1+2j'", "complex"]),
    "complex first": ("1+2j,2,0\n1,4,1\n", ["row 1", "column 1 is '1+2j'", "complex"]),
    "underscore": ("1,2,0\n1_0,4,1\n", ["column 1 is '1_0'", "underscore"]),
    "underscore first": ("1_0,2,0\n1,4,1\n", ["row 1", "column 1 is '1_0'", "underscore"]),
    "pixels alone": ("1x1,1x2,1x3\n1,4,1\n", ["row 1", "column 1 is '1x1'", "a header has names only"]),
    "a hexadecimal number with a class": ("0x10,cat\n5,dog\n", ["row 1", "column 1 is '0x10'", "hexadecimal"]),
    "hexadecimal": ("0x10,2,0\n1,4,1\n", ["row 1", "column 1 is '0x10'", "hexadecimal"]),
    "thousands in quotes": ('"1,000",2,0\n1,4,1\n', ["row 1", "column 1 is '1,000'", "comma"]),
    "thousands": ("1'000,2,0\n1,4,1\n", ["row 1", 'column 1 is "1\'000"', "not a number"]),
    "decimal commas": ("1,5;2,5;1\n3,5;4,5;0\n", ["row 1 is '1,5;2,5;1'", "',' and ';'", "decimal comma"]),
    "decimal commas later": ("1;2;1\n3,5;4;0\n", ["row 2", "column 1 is '3,5'", "comma"]),
    "a decimal comma and tabs": ("1\t2\t1\n3,5\t4\t0\n", ["row 2", "column 1 is '3,5'", "comma"]),
    "a comment after a number": ("1,2,1\n1,2 # x,0\n", ["row 2", "column 2 is '2 # x'", "not a number"]),
    "a comment after a label": ("1,1\n2,0 # x\n", ["row 2", "column 2 is '0 # x'", "label"]),
    "a full-width digit": ("1,2,1\n１,2,0\n", ["row 2", "column 1 is '１'", "not a number"]),
    "a minus of typography": ("1,2,1\n−1,2,0\n", ["row 2", "column 1 is '−1'", "not a number"]),
    "a short row": ("1,2,1\n1,2\n", ["row 2 is '1,2'", "2 cells", "row 1 has 3"]),
    "a long row": ("1,2,1\n1,2,3,4\n", ["row 2", "4 cells", "row 1 has 3"]),
    "a long row after a blank line": ("a,b,label\n\n1,2,1\n1,2,3,4\n", ["row 4", "4 cells", "row 1 has 3"]),
    "a header too short": ("a,label\n1,2,1\n1,2,0\n", ["row 2", "3 cells", "row 1 has 2"]),
    "one column": ("1\n2\n", ["row 1 is '1'", "one column"]),
    "one column with a header": ("label\n1\n2\n", ["row 1 is 'label'", "one column"]),
    "bars": ("1|2|1\n3|4|0\n", ["row 1 is '1|2|1'", "one column", "separated by commas"]),
    "header only": ("a,b,label\n", ["holds no points"]),
    "comments only": ("# a\n", ["holds no points"]),
    "two headers": ("a,b,label\nx,y,label\n1,2,0\n", ["row 2", "column 1 (a) is 'x'", "not a number"]),
    "header with a number": ("a,2,label\n1,2,0\n", ["row 1", "column 1 is 'a'", "names only"]),
    "header with a gap": ("a,,label\n1,2,0\n", ["row 1", "names only"]),
    "numbered columns of pandas": ("0,1,2\n5,6,7\n8,9,7\n", ["row 1 is '0,1,2'", "column numbers", "0.0"]),
    "numbered columns and a label": ("0,1,label\n5,6,7\n8,9,7\n", ["row 1 is '0,1,label'", "column numbers"]),
    "numbered columns and names": ("0,1,species\n5,6,cat\n8,9,dog\n", ["row 1 is '0,1,species'", "column numbers"]),
    "numbered columns, one coordinate": ("0,1\n5,7\n6,8\n", ["row 1 is '0,1'", "column numbers"]),
    "numbered columns and an index": (
        pandas_table(**{"0": [5, 6], "1": [7, 8]}),
        ["row 1 is ',0,1'", "column numbers"],
    ),
    "numbered columns, an index, a label": (
        pandas_table(**{"0": [5.5, 6], "1": [7, 8.5], "label": [0, 1]}),
        ["row 1 is ',0,1,label'", "column numbers"],
    ),
    "an index without a header": ("0,5,7\n1,6,8\n2,6,7\n", ["first column", "0, 1, 2", "header"]),
    "an index of R without a header": ("1,5,7\n2,6,8\n3,6,7\n", ["first column", "1, 2, 3", "header"]),
    "an unnamed column": (",a,label\n5,5,7\n7,6,8\n", ["column 1 has no name", "row 2", "'5'"]),
    "an id that does not count": ("id,a,label\n17,5,7\n3,6,8\n", ["column 1 (id)", "row 2", "'17'"]),
    "an index and a label": (",label\n0,5\n1,6\n", ["no coordinates"]),
    "half a label": ("1,0.5\n2,1\n", ["row 1", "column 2 is '0.5'", "labels must be integers or names"]),
    "a label nan": ("1,nan\n2,1\n", ["row 1", "column 2 is 'nan'", "missing value"]),
    "a label NA among names": ("1,cat\n2,NA\n", ["row 2", "column 2 is 'NA'", "missing value"]),
    "a label inf": ("1,0\n2,inf\n", ["row 2", "column 2 is 'inf'", "labels must be integers or names"]),
    "a label 1_0": ("1,1_0\n2,0x1\n", ["row 1", "column 2 is '1_0'", "labels must be integers or names"]),
    "a huge label": ("1,9223372036854775808\n2,1\n", ["row 1", "column 2 is '9223372036854775808'", "64 bits"]),
    "a label 1e300": ("1,1e300\n2,1\n", ["row 1", "column 2 is '1e300'", "64 bits"]),
    "names and numbers": ("1,0\n2,1\n3,cat\n", ["row 3", "column 2 is 'cat'", "row 1, column 2 is '0'"]),
    "two labels": ("label,class,a\n0,1,2\n1,1,3\n", ["label and class", "--label"]),
    "label twice": ("label,a,label\n0,1,0\n1,1,1\n", ["two columns are called label"]),
    "y where names follow": (
        "x,y,species\n1,2,cat\n3,4,dog\n",
        ["row 2", "column 3 (species) is 'cat'", "column y", "--label"],
    ),
    "duplicates": ("a,label\n1,0\n2,1\n\n1,1\n", ["rows 2 and 5", "labels 0 and 1"]),
    "duplicates with names": ("a,label\n1,cat\n2,dog\n1,dog\n", ["rows 2 and 4", "labels cat and dog"]),
    "an open quote": ('1,1\n2,"0\n3,1\n', ["row 2", "quote"]),
    "text after a quote": ('1,1\n"2"5,0\n', ["row 2", "quote"]),
    "Latin-1": ("größe,label\n1,0\n".encode("latin-1"), ["row 1", "0xf6", "UTF-8"]),
    "Latin-1 later": ("a,label\n1,ja\n2,m\u00f6\n".encode("latin-1"), ["row 3", "0xf6", "UTF-8"]),
    "UTF-16 without its mark": (PLAIN.encode("utf-16-le"), ["row 1", "NUL", "UTF-16"]),
    "UTF-32": (PLAIN.encode("utf-32"), ["NUL"]),
    "half a UTF-16": (PLAIN.encode("utf-16")[:-1], ["not a file of points"]),
    "half a gzip": (gzip.compress(PLAIN.encode(), mtime=0)[:-9], ["not a file of points", "gzip"]),
    "JSON": ('{"points": [[1, 2]]}\n', ["JSON"]),
    "JSON rows": ("[[1, 2, 0], [3, 4, 1]]\n", ["JSON"]),
    "too large": ("1,0\n2e200,1\n", ["row 2", "column 1 is '2e200'", "1e+150"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_ambiguous_or_damaged_files_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    content, words = REFUSED[case]
    with pytest.raises(UserError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert str(tmp_path / "a.csv") in message
    for word in words:
        assert word in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", b"\x93NUMPY\x01\x00", ["NumPy .npy array", "np.savez"]),
        ("a.csv", b"\x93NUMPY\x01\x00", ["NumPy .npy array", "np.savez"]),
        ("a.parquet", b"PAR1\x15\x04", ["Parquet", ".csv"]),
        ("a.feather", b"ARROW1\x00\x00", ["Arrow", ".csv"]),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ["Excel", ".csv"]),
        ("a.h5", b"\x89HDF\r\n\x1a\n", ["HDF5", ".csv"]),
        ("a.pkl", b"\x80\x04\x95\x10", ["pickle", "never read"]),
        ("a.csv.xz", b"\xfd7zXZ\x00", ["xz", "unpack"]),
        ("a.csv.bz2", b"BZh91AY", ["bzip2", "unpack"]),
        ("a.csv.zst", b"\x28\xb5\x2f\xfd", ["zstd", "unpack"]),
        ("a.npz", b"PK nonsense", ["not a file of points"]),
        ("a.npz", b"1,2,0\n", ["not a file of points", "npz"]),
        ("a.npz", b"PK\x03\x04 nonsense", ["not a file of points"]),
        ("a.npz", written(points=np.eye(2), labels=np.arange(2))[:-30], ["not a file of points"]),
        ("a.npz", written(X=np.eye(2), y=np.arange(2)), ["holds ['X', 'y']", "points (N, D) and labels (N,)"]),
        ("a.npz", written(points=np.eye(2)), ["holds ['points']"]),
        ("a.npz", written(points=np.eye(2) + 0j, labels=np.arange(2)), ["points must be real numbers", "complex128"]),
        ("a.npz", written(points=np.eye(2) > 0, labels=np.arange(2)), ["points must be real numbers, got type bool"]),
        ("a.npz", written(points=np.eye(2).astype(str), labels=np.arange(2)), ["points must be real numbers", "<U"]),
        ("a.npz", written(points=np.eye(2), labels=np.array([{}, 1])), ["not a file of points", "pickle"]),
        ("a.npz", written(points=np.array([[{}]]), labels=np.arange(1)), ["not a file of points", "pickle"]),
        (
            "a.npz",
            written(points=np.eye(2), labels=np.array([0.5, 1])),
            ["labels must be integers, got 0.5 for point 0"],
        ),
        (
            "a.npz",
            written(points=np.eye(2), labels=np.array([1j, 1])),
            ["labels must be integers, got type complex128"],
        ),
        ("a.npz", written(points=np.eye(2), labels=np.array([b"a", b"b"])), ["labels must be integers, got type |S1"]),
        ("a.npz", written(points=np.eye(2), labels=np.array(["a", ""])), ["label 1 is empty", "missing"]),
        ("a.npz", written(points=np.eye(2), labels=np.array(["a", "1"])), ["label 1 is '1'", "label 0 is 'a'"]),
        ("a.npz", written(points=np.eye(2), labels=np.arange(3)), ["labels must have shape (2,)", "got (3,)"]),
        ("a.npz", written(points=np.eye(2), labels=np.eye(2)), ["labels must have shape (2,)", "got (2, 2)"]),
        (
            "a.npz",
            written(points=np.zeros((2, 2, 2)), labels=np.arange(2)),
            ["points must have shape (N, D)", "got (2, 2, 2)"],
        ),
        ("a.npz", written(points=np.eye(2) * np.nan, labels=np.arange(2)), ["got nan at coordinate 0 of point 0"]),
        ("a.npz", written(points=np.ones((2, 1)), labels=np.arange(2)), ["points 0 and 1", "labels 0 and 1"]),
    ],
)
def test_other_files_are_named_with_what_is_accepted(
    name: str, content: bytes, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, content, name=name)
    for word in (str(tmp_path / name), *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_excel_table_is_named(tmp_path: Path) -> None:
    import zipfile

    for member, word in (("xl/workbook.xml", "Excel"), ("a.csv", "zip archive")):
        with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
            archive.writestr(member, "")
        with pytest.raises(UserError, match=word):
            read_table(tmp_path / "a.xlsx")


@pytest.mark.parametrize("kind", ["<f2", ">f4", ">f8", "u1", "<i8", ">i4", "u8"])
def test_arrays_of_every_width_and_byte_order_are_read(kind: str, tmp_path: Path) -> None:
    points = np.arange(6).reshape(3, 2).astype(kind)
    table = read(tmp_path, written(points=points, labels=np.array([2, 0, 1]).astype(kind), more=points), name="a.npz")
    np.testing.assert_array_equal(table.data.points, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(table.data.labels, [2, 0, 1])
    assert table.words == "3 points in 2 dimensions, labels from array labels; array more not read"
    named = read(tmp_path, written(points=points, labels=np.array(["b", "a", "b"])), name="b.npz")
    assert named.classes == {0: "a", 1: "b"}
    assert named.data.labels.tolist() == [1, 0, 1]


def test_the_label_column_is_what_the_user_says(tmp_path: Path) -> None:
    content = "x,y,group\n1,2,0\n3,4,1\n"
    table = read(tmp_path, content, label="group")
    np.testing.assert_array_equal(table.data.points, [[1, 2], [3, 4]])
    assert "labels from column group" in table.words
    for label, where, words in (
        ("grup", content, "--label must be one of x, y, group, got 'grup'; did you mean group?"),
        ("x", PLAIN, "there is no header"),
        ("a", "a,a,b\n1,2,0\n3,4,1\n", "two columns are called a"),
    ):
        with pytest.raises(UserError) as caught:
            read(tmp_path, where, label=label)
        assert words in str(caught.value)
    with pytest.raises(UserError, match="--label is for tables"):
        read(tmp_path, written(points=np.eye(2), labels=np.arange(2)), label="x", name="a.npz")


def test_rows_are_those_of_an_editor(tmp_path: Path) -> None:
    table = read(tmp_path, "# c\na,label\n\n1,0\n#\n2,1\n")
    assert table.rows is not None
    assert table.rows.tolist() == [4, 6]


@settings(max_examples=60)
@given(
    st.lists(st.floats(-1e150, 1e150), min_size=2, max_size=30, unique_by=lambda x: x + 0.0),
    st.sampled_from(["%r", "%.17g", "%.25e"]),
)
def test_numbers_read_are_the_numbers_in_the_file(tmp_path_factory: pytest.TempPathFactory, values, form) -> None:
    path = tmp_path_factory.mktemp("numbers") / "a.csv"
    path.write_text("\n".join(["x,label", *(f"{form % x},{k}" for k, x in enumerate(values))]))
    np.testing.assert_array_equal(read_table(path).data.points[:, 0], values)


def read_or_refused(path: Path) -> tuple[Table | None, str]:
    try:
        return read_table(path), ""
    except UserError as error:
        return None, str(error)


@settings(max_examples=300)
@given(st.text("0123456789+-.eExXnaifjNAlL_' \u0661#", min_size=1, max_size=7))
def test_a_cell_is_the_number_that_python_reads_or_refused(tmp_path_factory: pytest.TempPathFactory, cell: str) -> None:
    path = tmp_path_factory.mktemp("cells") / "a.csv"
    path.write_text(f"a,b,label\n7,0,0\n8,{cell},1\n", encoding="utf-8")
    table, refusal = read_or_refused(path)
    if table is None:
        assert "row 3" in refusal
        assert "column 2 (b)" in refusal
        assert classes.NUMBER.fullmatch(cell.strip()) is None or abs(float(cell)) > 1e150
    else:
        assert table.data.points[1, 1] == float(cell)
        assert "_" not in cell
        assert math.isfinite(float(cell))


def test_files_too_large_for_memory_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": 1000})())
    with pytest.raises(UserError, match=r"a.csv, a file of .* would need .* of memory"):
        read(tmp_path, "1,0\n2,1\n" * 100)
    with pytest.raises(UserError, match=r"a.npz, points of shape \(900, 900\), would need .* of memory"):
        read(tmp_path, written(points=np.zeros((900, 900)), labels=np.arange(900)), name="a.npz")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": 100_000})())
    with pytest.raises(UserError, match=r"a.csv: its gzip content, .* would need .* of memory"):
        read(tmp_path, gzip.compress(b"1,0\n2,1\n" * 10_000))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_a_device_is_refused() -> None:
    with pytest.raises(UserError, match="/dev/zero: it is a device or a socket, not a file"):
        read_table("/dev/zero")


def piped(path: Path, content: bytes) -> threading.Thread:
    """A thread that writes to a new pipe until its reader closes it."""

    def write() -> None:
        with suppress(BrokenPipeError), path.open("wb") as pipe:
            pipe.write(content)

    os.mkfifo(path)
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def test_a_pipe_is_read_as_far_as_memory_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = piped(tmp_path / "pipe", PLAIN.encode())
    assert read_table(tmp_path / "pipe").data.size == 2
    writer.join(10)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"total": 1e6})())
    writer = piped(tmp_path / "endless", b"1,0\n2,1\n" * 2**22)
    with pytest.raises(UserError, match=r"endless, .* bytes of text or more, would need .* of memory"):
        read_table(tmp_path / "endless")
    writer.join(10)
    assert not writer.is_alive()


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(UserError, match="cannot be read"):
            read_table(path)


def test_a_large_table_is_read_in_little_time(tmp_path: Path) -> None:
    """100,000 rows; a Python loop over all cells would take much longer."""
    import time

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((100_000, 5)))
    frame.columns = list("abcde")
    frame["label"] = rng.integers(0, 3, 100_000)
    frame.to_csv(tmp_path / "a.csv", index=False)
    start = time.process_time()
    table = read_table(tmp_path / "a.csv")
    assert time.process_time() - start < 10
    np.testing.assert_array_equal(table.data.points, frame.iloc[:, :5].to_numpy())
