"""`cgro memorized`: from images to a table, a contact sheet and a result, and from the table to a training."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from tools import MEMORIZED, Outcome, finish, start

from cgro.base.errors import AccuracyWarning
from cgro.cli import memorized
from cgro.data.images import load_images
from cgro.data.user_images import read_user_images
from cgro.memorization.subset_models import Study, SubsetModels
from cgro.runs import store
from cgro.runs.cell_store import Cells

Cgro = Callable[..., Outcome]
RNG = np.random.default_rng(0)
SHADES = np.linspace(0, 1, 24).reshape(24, 1, 1) * np.ones((24, 8, 8))
"""Images that their shade tells."""
LABELS = np.where(np.arange(24) < 12, 5, 9)


def archive(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "own.npz", images=SHADES, labels=LABELS, **arrays)
    return folder / "own.npz"


def folder_of_images(folder: Path) -> Path:
    for k, shade in enumerate(range(0, 240, 10)):
        path = folder / "pictures" / ("cat" if k < 12 else "dog") / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (shade, shade, 255 - shade)).save(path)
    return folder / "pictures"


def rows_of(outcome: Outcome) -> list[dict[str, str]]:
    """The rows of the table that the command printed the path of."""
    assert outcome.code == 0, outcome.err
    path = next(line for line in outcome.out.splitlines() if line.endswith("scores.csv"))
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_an_archive_gives_a_table_a_sheet_and_a_result(tmp_path: Path, cgro: Cgro) -> None:
    path = archive(tmp_path, test_images=SHADES[::2], test_labels=LABELS[::2])
    outcome = cgro("memorized", path, *MEMORIZED, "--results", tmp_path)
    rows = rows_of(outcome)
    assert "20 training images, 10 test images" in outcome.out
    for words in ("reliability", "atypical", "harmful"):
        assert words in outcome.out
    files = [Path(line) for line in outcome.out.splitlines()[-3:]]
    assert [file.name for file in files] == ["memorization.nc", "scores.csv", "sheet.png"]
    assert Image.open(files[2]).width == 1300
    found = store.load(files[0])
    assert found.attrs["experiment"] == "memorized"
    assert f"{path}@" in found.attrs["config"]
    config = json.loads(found.attrs["config"])
    assert (config["threshold"], config["training"]["norm"], config["training"]["radius"]) == (0.25, "inf", 8 / 255)
    given = [float(row["memorization"] or "-2") for row in rows]
    assert given == sorted(given, reverse=True)
    assert len({row["index"] for row in rows}) == 20
    by_index = {int(i): k for k, i in enumerate(found["index"].values)}
    for row in rows:
        k = by_index[int(row["index"])]
        assert row["label"] == ("5" if int(row["index"]) < 12 else "9")
        for prefix, criterion in (("", 0), ("robust_", 1)):
            for name in ("memorization", "error", "low", "high", "harm", "wrong_class", "atypical", "harmful"):
                value = float(found[name].values[criterion, k])
                np.testing.assert_allclose(float(row[f"{prefix}{name}"] or "nan"), value, rtol=1e-5)
        for name in ("csl", "forgetting", "aum"):
            value = float(found["cheap"].sel(score_name=name, view="perturbed")[k])
            np.testing.assert_allclose(float(row[f"{name}_perturbed"]), value, rtol=1e-5)


def test_indices_and_files_belong_together_and_nothing_harms_without_test_images(
    tmp_path: Path, cgro: Cgro, caplog: pytest.LogCaptureFixture
) -> None:
    place = folder_of_images(tmp_path)
    outcome = cgro("memorized", place, *MEMORIZED, "--results", tmp_path)
    rows = rows_of(outcome)
    files = read_user_images(str(place)).files
    assert {row["file"] for row in rows} <= set(files)
    for row in rows:
        assert row["file"] == files[int(row["index"])]
        assert row["label"] == row["file"].split("/")[0]
    assert not [name for name in rows[0] if "harm" in name]
    assert "harmful" not in outcome.out
    assert "without test images there is no influence" in caplog.text
    found = store.load(next(tmp_path.glob("memorized/*/memorization.nc")))
    assert "test" not in found.dims


def test_indices_are_those_of_the_data_set_under_a_subset(tmp_path: Path, cgro: Cgro) -> None:
    outcome = cgro("memorized", "digits", *MEMORIZED, "--classes", 3, 8, "--seed", 4, "--results", tmp_path)
    labels = load_images("digits").train_labels
    rows = rows_of(outcome)
    assert [int(row["label"]) for row in rows] == [int(labels[int(row["index"])]) for row in rows]
    assert {row["label"] for row in rows} == {"3", "8"}
    assert max(int(row["index"]) for row in rows) > 20


def test_a_training_reads_the_table(tmp_path: Path, cgro: Cgro) -> None:
    """The whole way; a sample without a score would be refused, so there are enough models."""
    enough = (*MEMORIZED, "--models", 20, "--ratio", 0.5)
    rows_of(cgro("memorized", "digits", *enough, "--results", tmp_path, "--output", tmp_path / "own"))
    training = ("--samples", 20, "--held-out", 0, "--epochs", 1, "--width", 2, "--attack-steps", 1)
    small = ("--evaluation-images", 10, "--evaluation-steps", 1, "--device", "cpu", "--quiet", "--results", tmp_path)
    scores = ("--cure", "reweighting", "--cure-scores", tmp_path / "own" / "scores.csv")
    assert cgro("train", *training, *small, *scores).code == 0
    other = cgro("train", *training, *small, *scores, "--seed", 1)
    assert "a row for each of the 20 training images, got none with index" in other.error


def test_a_finished_result_is_read_and_fresh_makes_it_anew(
    tmp_path: Path, cgro: Cgro, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path)
    line = ("memorized", path, *MEMORIZED, "--results", tmp_path)
    first = cgro(*line)
    rows_of(first)
    table = next(tmp_path.glob("memorized/*/scores.csv"))
    before = table.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(memorized, "_computed", lambda *_: pytest.fail("it is there"))
        assert cgro(*line).out == first.out
    table.unlink()
    left = table.with_name(f".scores.csv.{32 * 'a'}.tmp")  # by a process that was killed
    left.touch()
    assert cgro(*line).out == first.out, "from stored cells"
    assert not left.exists()
    assert table.read_bytes() == before
    table.write_text("stale")
    assert cgro(*line, "--fresh").out == first.out
    assert table.read_bytes() == before


def test_a_result_of_other_image_files_is_refused(tmp_path: Path, cgro: Cgro, monkeypatch: pytest.MonkeyPatch) -> None:
    line = ("memorized", "digits", *MEMORIZED, "--results", tmp_path)
    monkeypatch.setattr(store, "image_files_of", lambda _config: "one")
    rows_of(cgro(*line))
    monkeypatch.setattr(store, "image_files_of", lambda _config: "another")
    assert "memorization.nc: made from other image files (one; here are another)" in cgro(*line).error


def test_other_content_is_another_result(tmp_path: Path, cgro: Cgro) -> None:
    line = ("memorized", archive(tmp_path), *MEMORIZED, "--results", tmp_path)
    rows_of(cgro(*line))
    np.savez(tmp_path / "own.npz", images=1 - SHADES, labels=LABELS)
    rows_of(cgro(*line))
    assert len(list(tmp_path.glob("memorized/*/scores.csv"))) == 2


def test_a_file_that_changes_during_the_work_is_refused(
    tmp_path: Path, cgro: Cgro, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path)
    before = SubsetModels.__post_init__

    def changed(cell: SubsetModels) -> None:
        np.savez(path, images=1 - SHADES, labels=LABELS)
        before(cell)

    monkeypatch.setattr(SubsetModels, "__post_init__", changed)
    error = cgro("memorized", path, *MEMORIZED, "--results", tmp_path).error
    assert "own.npz: changed since it was recorded as" in error


def test_too_few_models_for_the_threshold_are_reported(
    tmp_path: Path, cgro: Cgro, caplog: pytest.LogCaptureFixture
) -> None:
    cgro("memorized", archive(tmp_path), *MEMORIZED, "--threshold", 0.2, "--results", tmp_path)
    assert "10 models tell memorization from chance only above" in caplog.text
    needed = int(caplog.text.partition("for 0.2 give --models ")[2].split()[0])
    assert 100 < needed < 1000


def test_the_suggested_number_of_models_is_larger_than_what_there_is(caplog: pytest.LogCaptureFixture) -> None:
    """The threshold of the result may be higher than its models alone would need."""
    found = xr.Dataset(
        {"memorization": (("criterion", "k"), np.zeros((2, 30))), "memorization_threshold": 0.9, "harm": 0}
    )
    config = memorized.Memorized(models=500, threshold=0.5, training=memorized._training("here"))
    memorized._warn(found, config)
    assert caplog.text.rstrip().endswith("for 0.5 give --models 501")


def test_images_without_a_score_are_counted(
    tmp_path: Path, cgro: Cgro, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """Once, in the words of the command."""
    outcome = cgro("memorized", archive(tmp_path), *MEMORIZED, "--ratio", 0.9, "--results", tmp_path)
    rows = rows_of(outcome)
    unknown = sum(not row["memorization"] for row in rows)
    assert unknown > 0
    assert "unknown" in next(line for line in outcome.out.splitlines() if line.startswith("reliability"))
    assert f"no score for {unknown} of {len(rows)} images, in the subsets of all 10 models or of none" in caplog.text
    assert not [each for each in recwarn if issubclass(each.category, AccuracyWarning)]


def test_what_is_not_read_is_said(tmp_path: Path, cgro: Cgro, caplog: pytest.LogCaptureFixture) -> None:
    line = [word for word in MEMORIZED if word != "--quiet"]
    rows_of(cgro("memorized", archive(tmp_path, extra=np.zeros(1)), *line, "--results", tmp_path))
    assert "own.npz: array extra not read" in caplog.text


def test_the_printed_table_counts_images(capsys: pytest.CaptureFixture[str]) -> None:
    found = xr.Dataset(
        {
            "atypical": (("criterion", "sample"), np.array([[1, 1, 0], [1, 1, 1]], bool)),
            "reliability": ("criterion", [0.25, 0.75]),
        },
        {"criterion": ["clean", "perturbed"]},
        {"models": 1200},
    )
    memorized._print(found, cast(Study, SimpleNamespace(train=range(3), test=range(4))))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["3", "training", "images,", "4", "test", "images", "clean", "perturbed"]
    assert lines[1] == ["models", "1,200", "1,200"]
    assert lines[2][-2:] == ["0.25", "0.75"]
    assert lines[3] == ["atypical", "training", "images", "2", "3"]


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_command_is_resumed(tmp_path: Path, cgro: Cgro, caplog: pytest.LogCaptureFixture) -> None:
    line = ("memorized", "digits", *MEMORIZED, "--models", 120, "--results", tmp_path / "killed")
    process = start(*line)
    place, end = tmp_path / "killed" / "memorized" / "cells", time.monotonic() + 90
    while not (place.exists() and Cells(place).names()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert finish(process).code == -signal.SIGKILL
    done = len(Cells(place).names())
    assert 1 <= done < 7
    again = cgro(*[x for x in line if x != "--quiet"])
    assert "of 6 cells are already stored" in caplog.text
    whole = cgro(*line[:-1], tmp_path / "whole")
    assert rows_of(again) == rows_of(whole)
