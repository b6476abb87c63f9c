"""Checkpoints and runs: written whole, read only when they are whole, gone on with exactly where a run was left."""

from __future__ import annotations

import os
import pickle
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

from cgro.base.errors import UserError
from cgro.base.files import StorageError
from cgro.base.work import Progress
from cgro.data.images import ImageData, load_images
from cgro.runs import store
from cgro.training import checkpoint, limits
from cgro.training import run as running
from cgro.training.checkpoint import Checkpoint
from cgro.training.config import TrainingConfig
from cgro.training.objectives import Mart, Trades
from cgro.training.run import TrainingRun, load_model, train_cell

TOY = TrainingConfig(
    samples=40, held_out=30, evaluation_images=30, epochs=4, width=3, attack_steps=2, evaluation_steps=3, device="cpu"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "last.safetensors"
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3), "c": torch.rand(2, 3, 4, 4)}
    tensors["c"] = tensors["c"].contiguous(memory_format=torch.channels_last)
    Checkpoint(tensors, {"config": {"x": 1}, "rows": [0.1]}).save(path)
    return path


def test_tensors_and_record_come_back(file: Path) -> None:
    found = Checkpoint.load(file)
    assert found.record == {"config": {"x": 1}, "rows": [0.1]}
    assert torch.equal(found.tensors["a"], torch.arange(6.0).view(2, 3))
    assert found.tensors["b"].dtype == torch.int64
    assert found.tensors["b"].shape == ()


def test_every_truncation_and_every_changed_byte_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 40)):
        file.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"checkpoint .*last.safetensors: (damaged|not one)"):
            Checkpoint.load(file)
    header = 8 + int.from_bytes(content[:8], "little")
    for position in range(header, len(content), 7):
        file.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(UserError, match="altered"):
            Checkpoint.load(file)


def test_no_pickle_and_no_strange_file_is_read(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "executed",)

    path = tmp_path / "evil.safetensors"
    for content in (pickle.dumps(Evil()), b"", b"\x80\x02}", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or truncated"):
            Checkpoint.load(path)
    torch.save(Evil(), path)
    with pytest.raises(UserError, match="damaged or truncated"):
        Checkpoint.load(path)
    assert not (tmp_path / "executed").exists()
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not one of this version of cgro"):
        Checkpoint.load(path)
    with pytest.raises(UserError, match="not found; give a file that `cgro train` wrote"):
        Checkpoint.load(tmp_path / "nothing.safetensors")


def test_a_run_does_not_resume_with_other_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for files, refused in (("3 test images", False), ("3 test images", False), ("2 test images", True)):
        monkeypatch.setattr(ImageData, "files", files)
        if refused:
            with pytest.raises(UserError, match=r"of other image files \(3 test images; here are 2 test images\)"):
                TrainingRun(TOY, tmp_path)
        else:
            TrainingRun(TOY, tmp_path).save()


class StopError(Exception):
    """Stands for the end of a process."""


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    """The learning curves of a run that nothing interrupts."""
    return TrainingRun(TOY).run(lambda _done: None)


AT = (0, 1, 3, 4, 8)
WATCHED = replace(TOY, averaging="ema", augmentation="crop")


def norm(model: torch.nn.Module, data: running.Data) -> dict[str, float]:
    return {"norm": float(sum(p.square().sum() for p in model.parameters()))}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, xr.Dataset, Path]:
    """A run that is watched at some steps, its learning curves and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    run = TrainingRun(WATCHED, folder, every=0.0)
    return run, run.run(lambda _done: None, norm, AT), folder


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("kind", ["killed", "interrupted"])
def test_a_run_left_at_any_step_ends_with_the_same_files(
    tmp_path: Path, watched: tuple[TrainingRun, xr.Dataset, Path], stop: int, kind: str
) -> None:
    whole, curves, folder = watched
    left = TrainingRun(WATCHED, tmp_path / "left", every=0.0)
    steps = 0

    def tick(done: float) -> None:
        nonlocal steps
        steps += 1
        # The first tick tells where the run begins; the others follow the updates.
        if steps == stop + 1:
            raise KeyboardInterrupt if kind == "interrupted" else StopError

    with pytest.raises((KeyboardInterrupt, StopError)):
        left.run(tick, norm, AT)
    again = TrainingRun(WATCHED, tmp_path / "left", every=0.0)
    assert again.trainer.step == (stop if kind == "interrupted" else max(0, stop - 1))
    xr.testing.assert_identical(again.run(lambda _done: None, norm, AT), curves)
    assert again.observed == whole.observed
    assert [row["step"] for row in again.observed] == list(AT)
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "left" / name).read_bytes() == (folder / name).read_bytes()


def test_an_interruption_during_the_evaluation_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: xr.Dataset
) -> None:
    left = TrainingRun(TOY, tmp_path)
    correct, calls = running.correct, 0

    def interrupted(*arguments: object, **options: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise KeyboardInterrupt
        return correct(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(running, "correct", interrupted)
    with pytest.raises(KeyboardInterrupt):
        left.run(lambda _done: None)
    monkeypatch.setattr(running, "correct", correct)
    xr.testing.assert_identical(TrainingRun(TOY, tmp_path).run(lambda _done: None), whole)


def test_cells_use_their_scratch_folder_and_resume(tmp_path: Path, whole: xr.Dataset) -> None:

    def stop(done: float) -> None:
        nonlocal total
        total += done
        if total > 2.2:
            raise KeyboardInterrupt

    total = 0.0
    with pytest.raises(KeyboardInterrupt):
        train_cell(TOY, Progress(stop, tmp_path))
    assert (tmp_path / "last.safetensors").exists()
    done: list[float] = []
    xr.testing.assert_identical(train_cell(TOY, Progress(done.append, tmp_path)), whole)
    assert done[0] > 2
    assert sum(done) == pytest.approx(TOY.epochs)


def test_a_cell_whose_unfinished_work_is_damaged_starts_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, whole: xr.Dataset
) -> None:
    path = tmp_path / "last.safetensors"
    other = Checkpoint({}, {"config": running.plain(replace(TOY, seed=9)), "rows": [], "observed": []}).content()
    for content, reason in ((b"", "damaged"), (other[:-1], "damaged"), (other, "seed differs")):
        path.write_bytes(content)
        caplog.clear()
        xr.testing.assert_identical(train_cell(TOY, Progress(lambda _done: None, tmp_path)), whole)
        assert reason in caplog.text
        assert caplog.text.rstrip().endswith("this cell starts over")
        assert Checkpoint.load(path).record["config"] == running.plain(TOY)


def test_the_best_checkpoint_is_chosen_on_held_out_images(tmp_path: Path) -> None:
    run = TrainingRun(TOY, tmp_path)
    curves = run.run(lambda _done: None)
    held_out = curves["robust_held_out_accuracy"]
    assert curves.attrs["best_epoch"] == int(held_out["epoch"][held_out.values.argmax()])
    assert Checkpoint.load(tmp_path / "best.safetensors").record["rows"][-1]["epoch"] == curves.attrs["best_epoch"]
    for held, tested, best in (([0.3, 0.2], [0.1, 0.9], False), ([0.2, 0.3], [0.9, 0.1], True)):
        run.rows = [
            {"epoch": k, "robust_held_out_accuracy": h, "robust_test_accuracy": t}
            for k, (h, t) in enumerate(zip(held, tested, strict=True))
        ]
        assert run._is_best() == best


def test_without_held_out_images_there_is_no_best_checkpoint(tmp_path: Path) -> None:
    run = TrainingRun(replace(TOY, held_out=0), tmp_path)
    run.run(lambda _done: None)
    assert {path.name for path in tmp_path.iterdir()} == {"last.safetensors"}
    assert not any(name.startswith("best.") for name in Checkpoint.load(tmp_path / "last.safetensors").tensors)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is saved after every update."""
    folder = tmp_path_factory.mktemp("saved")
    TrainingRun(TOY, folder, every=0.0).run(lambda _done: None)
    return folder


@pytest.mark.parametrize("written", [0, 1, 2, 3])
def test_no_kill_loses_the_best_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: Path, written: int
) -> None:
    """Killed after so many files, the next of which would have been any of both: the best one is that of the record."""
    write, count = running.write_whole, 0

    def killed(path: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count > written:
            raise StopError
        write(path, content)

    for module in (running, checkpoint):
        monkeypatch.setattr(module, "write_whole", killed)
    with pytest.raises(StopError):
        TrainingRun(TOY, tmp_path / "left", every=0.0).run(lambda _done: None)
    for module in (running, checkpoint):
        monkeypatch.setattr(module, "write_whole", write)
    (tmp_path / "left").mkdir(exist_ok=True)
    again = TrainingRun(TOY, tmp_path / "left")
    if again.rows:
        held = [row["robust_held_out_accuracy"] for row in again.rows]
        assert again._best
        again.trainer.steps = again.trainer.step  # as if it ended here
        again.run(lambda _done: None)
        best = Checkpoint.load(tmp_path / "left" / "best.safetensors")
        assert best.record["rows"] == again.rows[: held.index(max(held)) + 1]
    TrainingRun(TOY, tmp_path / "left").run(lambda _done: None)
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "left" / name).read_bytes() == (saved / name).read_bytes()


def test_checkpoints_are_written_by_time_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each evaluated epoch: on a GPU that would cost as much as the epoch."""
    save, at = Checkpoint.save, []
    monkeypatch.setattr(Checkpoint, "save", lambda self, path: (at.append(len(self.record["rows"])), save(self, path)))
    TrainingRun(TOY, tmp_path).run(lambda _done: None)
    assert at == [TOY.epochs]
    # What is finished is left alone.
    TrainingRun(TOY, tmp_path).run(lambda _done: None)
    assert at == [TOY.epochs]
    # The best one comes back if it is gone.
    content = (tmp_path / "best.safetensors").read_bytes()
    (tmp_path / "best.safetensors").unlink()
    TrainingRun(TOY, tmp_path).run(lambda _done: None)
    assert (tmp_path / "best.safetensors").read_bytes() == content


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_second_signal_does_not_keep_the_first_from_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: xr.Dataset, when: str
) -> None:
    state, write, left, signals = running.Trainer.state, checkpoint.write_whole, TrainingRun(TOY, tmp_path), 0

    def signal_once() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            os.kill(os.getpid(), signal.SIGINT)

    def tick(_done: float) -> None:
        if left.trainer.step == 3:
            raise KeyboardInterrupt

    def read(self: running.Trainer) -> dict[str, torch.Tensor]:
        signal_once()
        return state(self)

    def written(path: Path, content: bytes) -> None:
        signal_once()
        write(path, content)

    if when == "before":
        monkeypatch.setattr(running.Trainer, "state", read)
    else:
        monkeypatch.setattr(checkpoint, "write_whole", written)
    with pytest.raises(KeyboardInterrupt):
        left.run(tick)
    assert signals > 0
    monkeypatch.undo()
    assert int(Checkpoint.load(tmp_path / "last.safetensors").tensors["loop.step"]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"] or left.rows
    xr.testing.assert_identical(TrainingRun(TOY, tmp_path).run(lambda _done: None), whole)


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    left = tmp_path / f".last.safetensors.{'0' * 32}.tmp"
    left.write_bytes(b"half")
    TrainingRun(TOY, tmp_path)
    assert not left.exists()


def test_weights_that_are_not_finite_are_not_kept(tmp_path: Path) -> None:
    """The last update may spoil them after a loss that was finite."""
    run = TrainingRun(TOY, tmp_path)
    run.trainer.advance(3)
    with torch.no_grad():
        next(iter(run.trainer.model.parameters())).fill_(torch.inf)
    with pytest.raises(UserError, match="training diverged by step 3: weights are not finite"):
        run.save()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_another_configuration_is_refused(tmp_path: Path) -> None:
    TrainingRun(TOY, tmp_path).run(lambda _done: None)
    with pytest.raises(UserError, match=r"of another configuration \(radius differs\); choose another folder"):
        TrainingRun(replace(TOY, radius=0.1), tmp_path)


def test_diverging_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    run = TrainingRun(TOY, tmp_path, every=0.0)
    run.trainer.advance(3)
    run.save()
    before = (tmp_path / "last.safetensors").read_bytes()
    with torch.no_grad():
        next(iter(run.trainer.model.parameters())).fill_(torch.nan)
    with pytest.raises(UserError, match="diverged at step 4, in epoch 2"):
        run.run(lambda _done: None)
    assert (tmp_path / "last.safetensors").read_bytes() == before


def test_a_model_comes_back_as_it_was_evaluated(tmp_path: Path) -> None:
    config = replace(TOY, averaging="swa")
    run = TrainingRun(config, tmp_path)
    run.run(lambda _done: None)
    x = run.data.test.scaled(run.data.test.pixels)
    for name in ("last", "best"):
        model, found, data = load_model(tmp_path / f"{name}.safetensors")
        assert found == config
        assert torch.equal(data.test.pixels, run.data.test.pixels)
        assert not model.training
        if name == "last":
            assert torch.equal(model(x), run.trainer.evaluated.eval()(x))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        TrainingRun(TOY, tmp_path / "file" / "run").run(lambda _done: None)


def test_the_training_loss_is_that_of_the_epoch() -> None:
    run = TrainingRun(TOY)
    run.run(lambda _done: None)
    trainer, losses = TrainingRun(TOY).trainer, []
    for epoch in range(1, TOY.epochs + 1):
        trainer.advance(epoch * trainer.steps_per_epoch)
        losses.append(trainer.mean_loss())
        trainer.reset_loss()
    assert [row["train_loss"] for row in run.rows] == losses


def test_images_keep_their_labels() -> None:
    """Each image of a part is in the data set, on the right side of the split, with that label."""
    whole, data = load_images("digits"), running.Data.of(TOY)
    split = len(whole.train_labels) - TOY.held_out
    sides = {
        "train": (whole.train_images[:split], whole.train_labels[:split]),
        "unseen": (whole.train_images[:split], whole.train_labels[:split]),
        "held_out": (whole.train_images[split:], whole.train_labels[split:]),
        "test": (whole.test_images, whole.test_labels),
    }
    for part, (pixels, labels) in sides.items():
        known = {(bytes(image), label) for image, label in zip(pixels.numpy(), labels.tolist(), strict=True)}
        found = getattr(data, part)
        assert len(found) > 0
        for image, label in zip(found.pixels.contiguous().numpy(), found.labels.tolist(), strict=True):
            assert (bytes(image), label) in known


def test_unseen_images_are_those_that_a_larger_training_set_would_have_next() -> None:
    data, larger = running.Data.of(TOY), running.Data.of(replace(TOY, samples=50))
    assert torch.equal(larger.train.pixels[:40], data.train.pixels)
    assert torch.equal(larger.train.pixels[40:], data.unseen.pixels[:10])
    assert len(data.unseen) == TOY.evaluation_images
    noisy = running.Data.of(replace(TOY, label_noise=1.0))
    assert torch.equal(noisy.unseen.labels, data.unseen.labels)
    assert len(running.Data.of(replace(TOY, samples=None)).unseen) == 0


def test_parts_of_the_data() -> None:
    """Held-out images are the end of the training set, label noise keeps the images, classes are renumbered."""
    clean, noisy = (running.Data.of(replace(TOY, label_noise=rate)) for rate in (0.0, 0.5))
    assert torch.equal(clean.train.pixels, noisy.train.pixels)
    changed = (clean.train.labels != noisy.train.labels).double().mean()
    assert 0.2 < changed < 0.7
    assert torch.equal(clean.held_out.labels, noisy.held_out.labels)
    assert torch.equal(clean.test.labels, noisy.test.labels)
    two = running.Data.of(replace(TOY, classes=(3, 8), samples=None))
    assert two.classes == 2
    assert set(two.train.labels.tolist()) == {0, 1}
    assert len(two.train) > 100
    held = {bytes(image) for image in clean.held_out.pixels.flatten(1).numpy()}
    everything = running.Data.of(replace(TOY, samples=None))
    assert not held & {bytes(image) for image in everything.train.pixels.flatten(1).numpy()}
    with pytest.raises(UserError, match=r"samples must be at most .* for classes .*got 900"):
        running.Data.of(replace(TOY, classes=(3, 8), samples=900))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", "vgg", "model must be one of small-cnn, lenet, .*, got 'vgg'"),
        ("objective", "at", "objective must be one of standard, adversarial, mixture, .*, got 'at'"),
        ("samples", 1200, "samples must be .*got 1200"),
        ("held_out", -1, "held_out must be an integer from 0 to .*, got -1"),
        ("held_out", 1192, "held_out must be .*got 1192"),
        ("radius", 8.0, "radius must be .*got 8: .*divide 8-bit values by 255"),
        ("momentum", 1.0, r"momentum must be in \[0, 1\), got 1.0"),
        ("replays", 1, "replays must be an integer from 2 to .*, got 1"),
        ("micro_batch", -1, "micro_batch must be an integer from 1 to .*, got -1"),
        ("precision", "float16", "precision must be one of float32, bfloat16, got 'float16'"),
        ("width", -1.0, "width must be .*got -1"),
        ("width", float("inf"), "width must be finite, got inf"),
        ("radius_warmup", 2.0, r"radius_warmup must be in \[0, 1\], got 2.0"),
        ("seed", -1, "seed must be an integer from 0 to .*, got -1"),
    ],
)
def test_impossible_configurations_are_named(field: str, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        replace(TOY, **{field: value})
    assert "\n" not in str(error.value)


def test_defaults_depend_on_the_network_and_the_objective() -> None:
    assert TrainingConfig().own_width == 24
    assert replace(TOY, model="preact-resnet18", width=None).own_width == 1
    assert replace(TrainingConfig.cifar10(), model="small-cnn").own_width == 24
    assert replace(TOY, width=2.0).own_width == 2
    assert (replace(TOY, objective="mart").recipe.objective, replace(TOY, objective="trades").recipe.objective) == (
        Mart(5.0), Trades(6.0),
    )  # fmt: skip
    assert replace(TOY, objective="mart", beta=2).recipe.objective == Mart(2.0)
    with pytest.raises(UserError, match=r"weight_perturbation must be .*got 0.01"):
        replace(TOY, objective="free", weight_perturbation=0.01)


def test_whole_numbers_and_the_same_with_a_point_are_one_configuration() -> None:
    assert store.as_json(replace(TOY, width=3)) == store.as_json(replace(TOY, width=3.0))


def test_how_a_run_trains_in_words() -> None:
    assert TOY.method == "PGD adversarial training"
    assert replace(TOY, attack_steps=1).method == "Fast adversarial training"
    assert replace(TOY, objective="trades", weight_perturbation=0.01).method == "TRADES training with AWP"
    assert replace(TOY, objective="standard").method == "Standard training"


def test_a_network_that_is_too_large_for_the_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"width = 10,000,000 would need .* PiB of memory, this machine has"):
        replace(TOY, width=10**7)
    # Memory may be there and taken.
    monkeypatch.setattr(limits, "require_memory", lambda *_: None)
    with pytest.raises(UserError, match=r"width must be smaller, got .*: that small-cnn does not fit into memory"):
        running.make_model(replace(TOY, width=10**7), running.Data.of(TOY))


def test_a_missing_deterministic_algorithm_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation, but you set it. More.")

    monkeypatch.setattr(running.Trainer, "advance", refuse)
    with pytest.raises(UserError, match="deterministic is True: cumsum_cuda_kernel does not have"):
        TrainingRun(replace(TOY, deterministic=True)).run(lambda _done: None)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError):
        TrainingRun(TOY).run(lambda _done: None)


def test_evaluation_takes_smaller_batches_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    inner = running.correct

    def small(*args, batch_size: int, **rest):  # type: ignore[no-untyped-def]
        sizes.append(batch_size)
        if batch_size > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(*args, batch_size=batch_size, **rest)

    monkeypatch.setattr(running, "correct", small)
    rows = TrainingRun(replace(TOY, epochs=1)).run(lambda _done: None)
    assert sizes[:4] == [512, 256, 128, 64]
    assert 0 <= float(rows["clean_test_accuracy"][0]) <= 1
    sizes.clear()
    TrainingRun(replace(TOY, epochs=1, micro_batch=16)).run(lambda _done: None)
    assert set(sizes) == {16}


def test_presets_are_valid() -> None:
    for name in ("digits", "mnist", "cifar10"):
        assert getattr(TrainingConfig, name)().recipe.epochs > 0
    assert replace(TOY, attack_steps=1).recipe.attack.relative_step == 1.25  # type: ignore[union-attr]
    assert replace(TOY, objective="standard").recipe.attack is None
