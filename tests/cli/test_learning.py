"""`cgro train` and `cgro evaluate`: their files, what they print, going on after an interruption, and mistakes."""

from __future__ import annotations

import json
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.run
from tools import ROOT, TRAINING, full_disk

from cgro.data import images
from cgro.data.catalog import TRAINING_IMAGES
from cgro.runs import store
from cgro.training import run as running
from cgro.training.checkpoint import Checkpoint
from cgro.training.config import TrainingConfig


def test_train_writes_curves_and_checkpoints(cgro, trained: Path, tmp_path: Path) -> None:
    curves = store.load(trained / "curves.nc")
    assert curves["robust_test_accuracy"].dims == ("epoch",)
    assert store.stored_config(curves)["width"] == 3
    assert {p.name for p in trained.iterdir()} == {"curves.nc", "best.safetensors", "last.safetensors"}
    # The same command finds that everything is done; another configuration has a folder of its own.
    before = {p.name: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in trained.iterdir()}
    again = cgro("train", "--results", tmp_path, "--quiet", *TRAINING)
    assert again.code == 0
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in trained.iterdir()} == before
    assert again.out.splitlines()[-3:] == [
        str(trained / name) for name in ("curves.nc", "best.safetensors", "last.safetensors")
    ]
    for words in ("best epoch", "last epoch (3)", "clean training", "robust held-out", "robust test"):
        assert words in again.out
    other = cgro("train", "--results", tmp_path, "--quiet", *TRAINING, "--seed", 1)
    assert Path(other.out.splitlines()[-1]).parent != trained


def test_a_finished_run_is_listed_from_its_files_alone(cgro, trained: Path, tmp_path: Path, monkeypatch) -> None:
    """Neither data nor a network are needed; what is damaged or gone is not listed as if it were there."""
    monkeypatch.setattr(running.Data, "of", None)
    outcome = cgro("train", "--results", tmp_path, "--quiet", *TRAINING)
    assert outcome.code == 0
    assert str(trained / "best.safetensors") in outcome.out
    path = trained / "best.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-9] + b"X" + content[-8:])
    assert "altered" in cgro("train", "--results", tmp_path, "--quiet", *TRAINING).error
    monkeypatch.undo()
    path.unlink()
    assert cgro("train", "--results", tmp_path, "--quiet", *TRAINING).code == 0
    assert path.read_bytes() == content


def test_results_of_other_image_files_are_refused(cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = ("simulate", "image-cgro", "--seeds", 1, *TRAINING)
    for arguments, name in ((("train", *TRAINING), "curves.nc"), (simulation, ".nc")):
        command = (*arguments, "--results", tmp_path, "--quiet")
        for files in ("3 test images", "3 test images", "2 test images"):
            monkeypatch.setattr(images, "image_files", lambda _name, here=files: here)
            outcome = cgro(*command)
            assert outcome.code == 2 * (files[0] == "2"), outcome.err
        assert f"{name}: made from other image files (3 test images; here are 2 test images)" in outcome.error
        assert cgro(*command, "--fresh").code == 0
        assert cgro(*command).code == 0


def test_without_held_out_images_only_the_last_checkpoint_is_listed(cgro, tmp_path: Path) -> None:
    for _ in range(2):
        outcome = cgro("train", "--output", tmp_path, *TRAINING, "--held-out", 0)
        assert outcome.code == 0
        assert [Path(line).name for line in outcome.out.splitlines()[-2:]] == ["curves.nc", "last.safetensors"]
        assert "best" not in outcome.out
        assert {p.name for p in tmp_path.iterdir()} == {"curves.nc", "last.safetensors"}


def test_an_interrupted_training_goes_on(cgro, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step, calls = running.Trainer._update, 0

    def interrupted(self: running.Trainer) -> None:
        nonlocal calls
        calls += 1
        step(self)
        if calls == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(running.Trainer, "_update", interrupted)
    outcome = cgro("train", "--output", tmp_path / "run", "--quiet", *TRAINING)
    assert outcome.code == 130
    assert outcome.err == "\ncgro: interrupted; checkpoints are kept, repeat the command to resume\n"
    assert int(Checkpoint.load(tmp_path / "run" / "last.safetensors").tensors["loop.step"]) == 3
    outcome = cgro("train", "--output", tmp_path / "run", *TRAINING)
    assert outcome.code == 0
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == (trained / "last.safetensors").read_bytes()
    monkeypatch.setattr(running.Trainer, "_update", step)
    assert cgro("train", "--output", tmp_path / "run", "--quiet", "--fresh", *TRAINING).code == 0
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == (trained / "last.safetensors").read_bytes()


@pytest.mark.parametrize("before", [0, 2])
def test_an_interruption_on_a_full_disk_says_what_is_kept(
    before: int, cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, save = running.Trainer._update, running.TrainingRun.save

    def interrupted(self: running.Trainer) -> None:
        step(self)
        if self.step == 3:
            signal.raise_signal(signal.SIGTERM)

    def after_each(self: running.TrainingRun) -> None:
        if self.trainer.step == before:
            save(self)

    def on_a_full_disk(self: running.TrainingRun) -> None:
        with full_disk():
            save(self)

    monkeypatch.setattr(running.Trainer, "_update", interrupted)
    monkeypatch.setattr(running.TrainingRun, "_save_in_time", after_each)
    monkeypatch.setattr(running.TrainingRun, "save", on_a_full_disk)
    outcome = cgro("train", "--output", tmp_path / "run", "--quiet", *TRAINING)
    assert outcome.code == 143
    kept = "the checkpoint of step 2 is kept" if before else "no checkpoint is kept"
    line = r"\ncgro: interrupted; step 3 is lost: folder .*: cannot write \(File too large\); free space, .*; "
    assert re.fullmatch(f"{line}{kept}\n", outcome.err)
    last = tmp_path / "run" / "last.safetensors"
    assert before == (int(Checkpoint.load(last).tensors["loop.step"]) if last.exists() else 0)
    assert not list(last.parent.glob(".*"))


def test_evaluate_reports_every_stage_with_wilson_intervals(cgro, trained: Path) -> None:
    path = trained / "best.safetensors"
    outcome = cgro("evaluate", path, "--quiet", "--images", 50, "--json")
    found = json.loads(outcome.out)
    (kept,) = trained.glob("best-test-50-linf-0.15-strong-*.json")
    assert json.loads(kept.read_text()) == found
    assert list(found["accuracy"]) == ["clean", "PGD-20", "strong: pgd", "strong: apgd-ce", "strong: apgd-targeted"]
    values = [row["value"] for row in found["accuracy"].values()]
    assert values[0] >= values[1]
    assert values[2] >= values[3] >= values[4]
    n, p, z = 50, found["accuracy"]["clean"]["value"], 1.959964
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / (1 + z * z / n)
    assert found["accuracy"]["clean"]["low"] == pytest.approx(max(0.0, middle - half), abs=1e-6)
    assert found["accuracy"]["clean"]["high"] == pytest.approx(middle + half, abs=1e-6)
    table = cgro("evaluate", path, "--quiet", "--images", 50, "--fast", "--part", "held_out")
    assert "PGD-20" in table.out
    assert "strong" not in table.out
    assert "30 images, held-out part of the training set" in table.out
    # The reported clean accuracy is that of the learning curve's best epoch.
    curves = store.load(trained / "curves.nc")
    best = float(curves["clean_held_out_accuracy"].sel(epoch=curves.attrs["best_epoch"]))
    assert f"{100 * best:.2f}" in table.out


def test_no_evaluation_overwrites_another(cgro, trained: Path) -> None:
    """Other settings and another state of the checkpoint have files of their own; the same ones are written again."""
    path = trained / "last.safetensors"
    common = ("evaluate", path, "--quiet", "--images", 20, "--fast", "--json")
    settings = [(), ("--steps", 3), ("--seed", 1), ("--batch", 7), ("--radius", 0.15000001), ("--part", "train")]
    found = [json.loads(cgro(*common, *more).out) for more in (*settings, ())]
    assert [each["seed"] for each in found[:3]] == [0, 0, 1]
    stored = [json.loads(file.read_text()) for file in sorted(trained.glob("*.json"))]
    assert len(stored) == len(settings)
    times = [each["provenance"].pop("created") for each in (*found, *stored)]
    assert len(times) == len(found) + len(stored)
    assert all(each in stored for each in found)
    again = Checkpoint.load(path)
    Checkpoint(again.tensors, again.record | {"observed": [{"step": 0}]}).save(path)
    assert cgro(*common).code == 0
    assert len(list(trained.glob("*.json"))) == len(settings) + 1


def test_several_runs_are_evaluated(cgro, trained: Path, tmp_path: Path) -> None:
    """As a shell writes out results/train/*."""
    assert cgro("train", "--results", tmp_path, "--quiet", *TRAINING, "--seed", 1).code == 0
    runs = sorted((tmp_path / "train").iterdir())
    assert len(runs) == 2
    found = json.loads(cgro("evaluate", *runs, "--quiet", "--images", 20, "--fast", "--json").out)
    assert [json.loads(each["provenance"]["config"])["seed"] for each in found] == [
        store.stored_config(store.load(run / "curves.nc"))["seed"] for run in runs
    ]
    table = cgro("evaluate", *runs, "--quiet", "--images", 20, "--fast").out
    assert all(f"{run / 'best.safetensors'}, epoch" in table for run in runs)
    assert "not found" in cgro("evaluate", trained, tmp_path / "none", "--quiet", "--images", 20, "--fast").error


def test_a_larger_radius_breaks_everything(cgro, trained: Path) -> None:
    """What gradient masking would hide: within half the pixel range no image is robust."""
    outcome = cgro("evaluate", trained / "last.safetensors", "--quiet", "--images", 40, "--radius", 0.5, "--json")
    assert json.loads(outcome.out)["accuracy"]["strong: apgd-targeted"]["value"] == 0
    l1 = cgro(
        "evaluate", trained / "last.safetensors", "--quiet", "--images", 20, "--norm", "1", "--radius", 2, "--json"
    )
    assert json.loads(l1.out)["norm"] == "1"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--radius", 8), ["radius must be", "got 8: ", "8/255"]),
        (("--modle", "lenet"), ["--modle", "did you mean --model"]),
        (("--model", "vgg"), ["vgg", "small-cnn"]),
        (("--preset", "imagenet"), ["imagenet", "digits", "mnist", "cifar10"]),
        (("--width", 2.5), ["width must be a whole number", "got 2.5"]),
        (("--checkpoint-every", 0), ["0", "seconds above 0"]),
    ],
)
def test_mistakes_in_training_are_one_line(cgro, tmp_path: Path, arguments, parts) -> None:
    error = cgro("train", "--results", tmp_path, "--quiet", *TRAINING, *arguments).error
    assert all(part in error for part in parts), error
    assert list(tmp_path.rglob("*.nc")) == []


def test_mistakes_in_evaluation_are_one_line(cgro, trained: Path, tmp_path: Path) -> None:
    path = trained / "last.safetensors"
    assert "not found" in cgro("evaluate", tmp_path / "nothing.safetensors").error
    assert "8/255" in cgro("evaluate", path, "--radius", 8).error
    norm = cgro("evaluate", path, "--norm", "2").error
    assert "--norm 2 requires --radius: the network was trained at radius 0.15 in l_inf" in norm
    assert "--images must be a positive integer, got '0'" in cgro("evaluate", path, "--images", 0).error
    assert "--norm must be one of '1', '2', 'inf', got '3'" in cgro("evaluate", path, "--norm", "3").error
    path.write_bytes(path.read_bytes()[:-10])
    assert "damaged or truncated" in cgro("evaluate", path).error
    assert "damaged or truncated" in cgro("train", "--output", trained, "--quiet", *TRAINING).error


def test_a_checkpoint_from_a_gpu_is_evaluated_here(cgro, trained: Path) -> None:
    path = trained / "last.safetensors"
    found = Checkpoint.load(path)
    record = found.record | {"config": found.record["config"] | {"device": "cuda"}}
    Checkpoint(found.tensors, record).save(path)
    assert "PGD-20" in cgro("evaluate", path, "--quiet", "--images", 20, "--fast", "--device", "cpu").out
    assert "torch sees no CUDA device" in cgro("evaluate", path, "--images", 20, "--device", "cuda").error


def test_a_checkpoint_of_another_version_is_named(cgro, trained: Path) -> None:
    path = trained / "last.safetensors"
    found = Checkpoint.load(path)
    Checkpoint(found.tensors, found.record | {"config": found.record["config"] | {"flavour": 3}}).save(path)
    error = cgro("evaluate", path, "--images", 20).error
    assert "of another version of cgro" in error
    assert "flavour" in error


def test_an_average_counts_once_there_is_one(tmp_path: Path) -> None:
    """Weights are averaged in the last quarter alone; before, the average is of untrained weights."""
    config = TrainingConfig(
        samples=60, held_out=30, evaluation_images=30, epochs=8, width=3, attack_steps=2, averaging="swa",
        learning_rate=0.1, device="cpu",
    )  # fmt: skip
    run = running.TrainingRun(config, tmp_path)
    for epochs in (4, 8):
        run.trainer.advance(epochs * run.trainer.steps_per_epoch)
        run.save()
        model, *_ = running.load_model(tmp_path / "last.safetensors")
        for name, value in run.trainer.evaluated.state_dict().items():
            assert torch.equal(model.state_dict()[name], value)


def test_a_checkpoint_that_does_not_fit_its_configuration_is_named(cgro, trained: Path) -> None:
    path = trained / "last.safetensors"
    found = Checkpoint.load(path)
    Checkpoint(found.tensors, found.record | {"config": found.record["config"] | {"width": 4.0}}).save(path)
    assert "does not fit its own configuration" in cgro("evaluate", path).error


def test_torchrun_trains_the_same_network(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two processes, which torchrun starts from here."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torchrun would set it
    arguments = [str(a) for a in ("train", "--output", tmp_path / "team", "--quiet", *TRAINING)]
    command = ["--standalone", "--nproc-per-node", "2", "-m", "cgro", *arguments]
    with ThreadPoolExecutor(1) as thread:  # in the main thread, it would leave its handlers of signals
        thread.submit(torch.distributed.run.main, command).result(timeout=240)
    assert capfd.readouterr().out.count("last.safetensors") == 1
    single, team = (Checkpoint.load(folder / "last.safetensors") for folder in (trained, tmp_path / "team"))
    assert team.record.pop("processes") == {"1": 2, "2": 2, "3": 2}
    assert team.record.keys() == single.record.keys()
    one, two = single.tensors, team.tensors
    for name in one:
        if name.startswith("model."):
            torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5)
    curves = [store.load(folder / "curves.nc") for folder in (trained, tmp_path / "team")]
    np.testing.assert_allclose(curves[0]["train_loss"], curves[1]["train_loss"], rtol=1e-4)
    np.testing.assert_allclose(curves[0]["clean_test_accuracy"], curves[1]["clean_test_accuracy"], atol=0.03)


def test_other_scores_are_another_run_and_an_evaluation_needs_none(cgro, tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    options = ("--results", tmp_path, "--quiet", *TRAINING, "--cure", "dropping", "--cure-scores", scores)
    folders = []
    for low in (0.5, 0.5, 0.25):
        rows = [f"{index},{1 if index % 10 == 0 else low}\n" for index in range(TRAINING_IMAGES["digits"])]
        scores.write_text("".join(["index,memorization\n", *rows]))
        outcome = cgro("train", *options)
        assert outcome.code == 0
        folders.append(Path(outcome.out.splitlines()[-1]).parent)
    assert folders[0] == folders[1] != folders[2]
    curves = store.load(folders[0] / "curves.nc")
    assert curves["effective_sample_size"].values.tolist() == pytest.approx([36, 36, 36])
    assert "dropping by scores" in curves.attrs["method"]
    scores.unlink()
    assert cgro("evaluate", folders[0], "--images", 10, "--steps", 2).code == 0
    scores.write_text("index,memorization\n0,0.5\n")
    assert "a row for each of the 40 training images, got none with index" in cgro("train", *options).error


def test_the_help_has_no_python(cgro) -> None:
    """The docstring of a configuration has an example; its first line is what the command line shows."""
    out = cgro("train", "--preset", "digits", "--help").out
    assert "best and last checkpoints. Repeat an interrupted command" in " ".join(out.split())
    assert ">>>" not in out
