"""`cgro evaluate`: never weaker than the learning curve, any kind of file named, saturated networks told."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from tools import TRAINING, Through
from torch import nn

from cgro.attacks.ball import Budget
from cgro.base.errors import UserError
from cgro.runs import store
from cgro.runs.filetypes import what_is
from cgro.training.checkpoint import Checkpoint
from cgro.training.config import TrainingConfig
from cgro.training.distributed import Team
from cgro.training.evaluation import Evaluation, _as_in_training, evaluate_network
from cgro.training.run import PARTS, TrainingRun, evaluation_stream

CONFIG = TrainingConfig(
    samples=200,
    held_out=60,
    epochs=8,
    width=6,
    radius=0.1,
    attack_steps=2,
    evaluate_every=8,
    evaluation_images=60,
    evaluation_steps=8,
    device="cpu",
)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line would take all cores, of which toy sizes make no use."""
    monkeypatch.setenv("CGRO_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run() -> TrainingRun:
    """A small network, trained to its end."""
    run = TrainingRun(CONFIG)
    run.run(lambda _done: None)
    run.trainer.model.eval()
    return run


def evaluated(run: TrainingRun, part: str, model: nn.Module | None = None, **more) -> Evaluation:
    images = getattr(run.data, part).take(torch.arange(60))
    return evaluate_network(
        model or run.trainer.model,
        run.config,
        images,
        more.pop("budget", run.config.budget),
        part=part,
        epoch=8,
        stream=np.random.SeedSequence(0),
        **{"steps": 20} | more,
    )


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("steps", [1, 20])
def test_no_attack_is_weaker_than_that_of_the_learning_curve(run: TrainingRun, part: str, steps: int) -> None:
    """Even where a single step of PGD is asked for, of which the learning curve took eight."""
    curve = run.rows[-1][f"robust_{part}_accuracy"]
    found = evaluated(run, part, steps=steps, fast=part != "test").masks
    assert list(found)[:2] == ["clean", f"PGD-{max(steps, 8)}"]
    assert float(found["clean"].double().mean()) == run.rows[-1][f"clean_{part}_accuracy"]
    for mask in list(found.values())[1:]:
        assert float(mask.double().mean()) <= curve
    masks = list(found.values())
    assert all(bool((before | ~after).all()) for before, after in pairwise(masks))


class Chaotic(nn.Module):
    """Whether an attack succeeds depends on where it starts."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(1e3 * x.flatten(1).sum(1, keepdim=True)) * torch.tensor([1.0, -1.0])


@pytest.mark.parametrize("part", PARTS)
def test_starts_of_every_process_are_replayed(part: str) -> None:
    """The learning curve of three processes, each on its share of the images, is found again by one."""
    config, chaotic = replace(CONFIG, radius=0.001, evaluation_steps=1, attack_steps=1), Chaotic()
    single = TrainingRun(config)
    images = getattr(single.data, part).take(torch.arange(60))
    images = replace(images, labels=chaotic(images.scaled(images.pixels)).argmax(1))

    def counted(processes: int) -> list[int]:
        found = []
        for rank in range(processes):
            single.team, single.trainer.model = Team(rank, processes), chaotic
            stream = evaluation_stream(config.seed, 8, part, single.team)
            with patch.object(Team, "sum_in_place", lambda *_: None):
                found.append(round(60 * single._accuracy(images, robust=True, stream=stream)))
        return found

    curves = [sum(counted(processes)) for processes in (1, 2, 3)]
    assert len(set(curves)) > 1, "the starts do not matter"
    replayed = [
        int(_as_in_training(chaotic, config, images, config.budget, part, 8, processes).sum())
        for processes in (1, 2, 3)
    ]
    assert replayed == curves


def test_the_learning_curve_is_as_strong_as_the_training() -> None:
    config = replace(CONFIG, attack_steps=12, evaluation_steps=1)
    assert config.stronger.steps == 12
    assert config.stronger.restarts >= 2
    assert replace(config, objective="standard").stronger.steps == 1
    assert CONFIG.stronger.steps == 8


def test_command_line_and_learning_curve_agree(cgro, trained: Path) -> None:
    curves = store.load(trained / "curves.nc")
    for name, epoch in (("best", curves.attrs["best_epoch"]), ("last", 3)):
        for part in PARTS:
            outcome = cgro(
                "evaluate", trained / f"{name}.safetensors", "--quiet", "--images", 40, "--part", part, "--json",
                "--steps", 1,
            )  # fmt: skip
            accuracy = json.loads(outcome.out)["accuracy"]
            curve = float(curves[f"robust_{part}_accuracy"].sel(epoch=epoch))
            assert all(row["value"] <= curve for attack, row in accuracy.items() if attack != "clean")


def test_a_curve_that_cannot_be_replayed_is_told(cgro, tmp_path: Path, caplog) -> None:
    assert cgro("train", "--output", tmp_path, "--quiet", *TRAINING, "--radius", 0.001).code == 0
    path = tmp_path / "best.safetensors"
    command = ("evaluate", path, "--quiet", "--images", 40, "--fast")
    assert cgro(*command).code == 0
    assert "could not be reproduced" not in caplog.text
    found = Checkpoint.load(path)
    rows = [*found.record["rows"][:-1], found.record["rows"][-1] | {"robust_test_accuracy": 0.0}]
    Checkpoint(found.tensors, found.record | {"rows": rows}).save(path)
    assert cgro(*command).code == 0
    assert "has a robust accuracy of 0.00 %" in caplog.text
    assert "could not be reproduced" in caplog.text


def test_masked_gradients_are_told(run: TrainingRun) -> None:
    plain = evaluated(run, "test", fast=True)
    assert plain.complaints() == []
    assert plain.record()["correct_without_limit"] == 0
    probabilities = evaluated(run, "test", Through(lambda z: (100 * z).softmax(1), run.trainer.model), fast=True)
    assert any("probabilities" in words for words in probabilities.record()["warnings"])
    assert probabilities.record()["outputs"] == "probabilities"
    truth, found = (int(e.masks["PGD-20"].sum()) for e in (plain, probabilities))
    assert found <= truth + 1
    # Without gradients at all, even a perturbation of any size is not found.
    blind = evaluated(run, "test", Through(lambda z: z.detach(), run.trainer.model), fast=True)
    record = blind.record()
    assert record["vanishing_gradients"] == record["correct_images"] > 20
    assert record["correct_without_limit"] > 0.05 * record["attacked_without_limit"]
    assert any("stay correct where every pixel may become anything" in words for words in record["warnings"])


def test_the_command_line_tells_of_gradients(cgro, trained: Path) -> None:
    path = trained / "last.safetensors"
    assert "gradients vanish at" in cgro("evaluate", path, "--quiet", "--images", 40, "--fast").out
    gradients = json.loads(cgro("evaluate", path, "--quiet", "--images", 40, "--fast", "--json").out)["gradients"]
    assert {"vanishing_gradients", "outputs", "not_finite", "correct_without_limit", "warnings"} <= set(gradients)


def test_a_radius_may_be_a_fraction(cgro, trained: Path, tmp_path: Path) -> None:
    outcome = cgro("evaluate", trained, "--quiet", "--images", 20, "--fast", "--radius", "8/255", "--json")
    assert json.loads(outcome.out)["radius"] == 8 / 255
    assert "8/0" in cgro("evaluate", trained, "--radius", "8/0").error
    done = cgro("train", "--output", tmp_path / "run", "--quiet", *TRAINING, "--epochs", 1, "--radius", "16/255")
    assert done.code == 0, done.err
    assert store.stored_config(store.load(tmp_path / "run" / "curves.nc"))["radius"] == 16 / 255
    wrong = cgro("train", "--output", tmp_path / "other", *TRAINING, "--radius", "8/x").error
    assert "--radius" in wrong
    assert "such as 8/255" in wrong


def test_a_folder_of_a_run_means_its_best_checkpoint(cgro, trained: Path, caplog) -> None:
    outcome = cgro("evaluate", trained, "--quiet", "--images", 20, "--fast", "--json")
    assert json.loads(outcome.out)["checkpoint"] == "best.safetensors"
    assert cgro("evaluate", trained, "--images", 20, "--fast").code == 0
    assert "taking best.safetensors" in caplog.text
    (trained / "best.safetensors").unlink()
    assert json.loads(cgro("evaluate", trained, "--quiet", "--images", 20, "--fast", "--json").out)["checkpoint"] == (
        "last.safetensors"
    )


def _foreign(folder: Path) -> dict[str, str]:
    """Files of other kinds, and what each is."""
    from safetensors.torch import save_file

    store.save(store.xr.Dataset({"a": ("x", [1.0])}), folder / "result.nc")
    torch.save({"a": torch.zeros(2)}, folder / "model.pt")
    torch.save({"a": 1}, folder / "old.pt", _use_new_zipfile_serialization=False)
    (folder / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    save_file({"a": torch.zeros(2)}, folder / "other.safetensors")
    (folder / "report.json").write_text('{"a": 1}')
    (folder / "notes.txt").write_text("é" * 70_000)
    (folder / "empty").write_bytes(b"")
    np.savez(folder / "points.npz", points=np.zeros(2))
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        archive.writestr("a", "b")
    (folder / "nothing").mkdir()
    (folder / "run").mkdir()
    (folder / "run" / "curves.nc").write_bytes(b"")
    return {
        "result.nc": "a NetCDF or HDF5 file",
        "model.pt": "a pickle of torch.save",
        "old.pt": "a pickle, such as an old file of torch.save",
        "model.pkl": "a pickle",
        "other.safetensors": "a safetensors file of another program",
        "report.json": "a JSON file",
        "notes.txt": "a text file",
        "empty": "an empty file",
        "points.npz": "a NumPy archive",
        "data.zip": "a zip archive",
        "nothing": "an empty folder",
        "run": "a folder that holds curves.nc",
    }


def test_a_file_of_another_kind_is_named(cgro, tmp_path: Path) -> None:
    for name, kind in _foreign(tmp_path).items():
        error = cgro("evaluate", tmp_path / name).error
        assert kind in error
        assert name in error
        assert "`cgro train`" in error


def test_what_is_no_file_is_refused(cgro, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "pipe: is a pipe; give best.safetensors" in cgro("evaluate", tmp_path / "pipe").error
    assert "is a device or a socket; give best.safetensors" in cgro("evaluate", "/dev/zero").error


def test_what_cgro_wrote_is_known(trained: Path, cgro, tmp_path: Path) -> None:
    assert what_is(trained / "best.safetensors") == "a checkpoint of `cgro train`"
    points = tmp_path / "points.csv"
    points.write_text("x,y,label\n0,0,-1\n1,1,1\n")
    assert cgro("memorize", points, "--verify", 0).code == 0
    network = tmp_path / "points-memorizer" / "network.safetensors"
    assert "a network of `cgro memorize`" in cgro("evaluate", network).error
    (tmp_path / "noise").write_bytes(bytes(range(256)))
    assert what_is(tmp_path / "noise") == "a file of an unknown format"
    with pytest.raises(OSError, match="No such file"):
        what_is(tmp_path / "missing")


def test_a_radius_beyond_the_images_is_refused(run: TrainingRun) -> None:
    with pytest.raises(UserError, match="must be at most 1"):
        evaluated(run, "test", budget=Budget("inf", 8.0))
