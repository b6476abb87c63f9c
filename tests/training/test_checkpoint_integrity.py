"""Checkpoints that were changed, forged or left over: refused in one line, never read as data."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from cgro.base.errors import UserError
from cgro.training.checkpoint import Checkpoint
from cgro.training.config import TrainingConfig
from cgro.training.run import TrainingRun

TOY = TrainingConfig(
    samples=40, held_out=30, evaluation_images=30, epochs=2, width=3, attack_steps=2, evaluation_steps=3, device="cpu"
)
ARGUMENTS = (
    *("--samples", 40, "--held-out", 30, "--evaluation-images", 30, "--epochs", 2, "--width", 3),
    *("--attack-steps", 2, "--evaluation-steps", 3, "--device", "cpu"),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The last checkpoint of a run."""
    folder = tmp_path_factory.mktemp("run")
    TrainingRun(TOY, folder).run(lambda _done: None)
    return Checkpoint.load(folder / "last.safetensors")


def flipped(content: bytes, low: int, high: int, rng: random.Random) -> bytes:
    at = rng.randrange(low, high)
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def replaced(content: bytes, low: int, high: int, rng: random.Random) -> bytes:
    at = rng.randrange(low, high)
    other = rng.choice([b for b in range(256) if b != content[at]])
    return content[:at] + bytes([other]) + content[at + 1 :]


@pytest.mark.parametrize("part", ["header", "body"])
@pytest.mark.parametrize("change", [flipped, replaced])
def test_none_of_300_changes_is_read_as_data(
    written: Checkpoint, tmp_path: Path, change: Callable[..., bytes], part: str
) -> None:
    path, rng = tmp_path / "last.safetensors", random.Random(1)
    written.save(path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    low, high = (0, end) if part == "header" else (end, len(content))
    read = 0
    for _ in range(300):
        path.write_bytes(change(content, low, high, rng))
        with contextlib.suppress(UserError):
            Checkpoint.load(path)
            read += 1
    assert read == 0


def test_a_changed_radius_is_refused(written: Checkpoint, tmp_path: Path, cgro) -> None:
    path = tmp_path / "last.safetensors"
    written.save(path)
    content = path.read_bytes()
    assert content.count(b'radius\\": 0.15') == 1
    path.write_bytes(content.replace(b'radius\\": 0.15', b'radius\\": 0.05'))
    assert "altered, it does not match its checksum" in cgro("evaluate", path).error
    assert "altered, it does not match its checksum" in cgro("train", "--output", tmp_path, "--quiet", *ARGUMENTS).error


def test_other_readers_of_safetensors_read_it(written: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    written.save(path)
    tensors = load_file(path)
    assert tensors.keys() == written.tensors.keys()
    assert all(torch.equal(tensors[name], value) for name, value in written.tensors.items())
    with safe_open(path, framework="pt") as file:
        assert '"radius": 0.15' in file.metadata()["cgro"]
    assert written.content() == path.read_bytes()


def test_a_checkpoint_of_the_first_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    about = json.dumps({"format": 1, "record": {}, "sha256": "0" * 64}, sort_keys=True)
    save_file({"a": torch.zeros(1)}, path, {"cgro": about})
    with pytest.raises(UserError, match=r"not one of this version of cgro \(format 1, expected 2\); train again"):
        Checkpoint.load(path)


def forged(path: Path, tensors: dict[str, torch.Tensor], about: str) -> None:
    """A file with a right digest around anything."""
    content = bytearray(save(tensors, {"cgro": "0" * 64 + about}))
    place = slice(content.index(b"0" * 64), content.index(b"0" * 64) + 64)
    content[place] = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(content)
    with safe_open(path, framework="pt") as file:
        assert len(file.metadata()["cgro"]) == 64 + len(about)


DEEP = 100_000


@pytest.mark.parametrize(
    "about",
    [
        "", "null", "3", "{", "[]", "{}", '{"format": 2}', '{"format": 2, "record": null}',
        '{"format": 2, "record": []}',
        '{"format": "2", "record": {}}', '{"format": 2, "record": {"config": ' + "[" * DEEP + "]" * DEEP + "}}",
        '{"a":' * DEEP + "1" + "}" * DEEP, '{"format": 2, "record": {}}', '{"format": 2, "record": {"config": null}}',
        '{"format": 2, "record": {"config": []}}', '{"format": 2, "record": {"config": {}}}',
    ],
    ids=lambda about: about[:40],
)  # fmt: skip
def test_a_forged_record_is_refused_in_one_line(written: Checkpoint, tmp_path: Path, cgro, about: str) -> None:
    path = tmp_path / "last.safetensors"
    forged(path, written.tensors, about)
    for arguments in (("evaluate", path), ("train", "--output", tmp_path, "--quiet", *ARGUMENTS)):
        assert f"checkpoint {path}: " in cgro(*arguments).error


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "a field too many": ({"flavour": 3}, "of another version of cgro (field flavour is unknown)"),
    "a field too few": ({"radius": ...}, "of another version of cgro (field radius is missing)"),
    "no number": ({"width": "wide"}, "width must be a real number, got 'wide'"),
    "null": ({"radius": None}, "radius must be a real number, got None"),
    "not finite": ({"learning_rate": float("nan")}, "learning_rate must be finite, got nan"),
    "no word": ({"data": ["digits"]}, "data must be a word, got ['digits']"),
    "no model": ({"model": "vgg"}, "model must be one of small-cnn"),
    "no sequence": ({"classes": 3}, "classes must be a sequence of integers, got 3"),
    "too large": ({"width": 1e9}, "width = 1,000,000,000 would need"),
    "a nest": ({"seed": {"a": [[[]]]}}, "seed must be an integer from 0 to"),
    "another width": ({"width": 4.0}, "does not fit its own configuration: state of another model or recipe"),
    "other classes": ({"classes": [3, 8]}, "does not fit its own configuration: state of another model or recipe"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_forged_configuration_is_refused_in_one_line(written: Checkpoint, tmp_path: Path, cgro, what: str) -> None:
    change, message = CONFIGS[what]
    config = written.record["config"] | {name: value for name, value in change.items() if value is not ...}
    for name in (name for name, value in change.items() if value is ...):
        del config[name]
    path = tmp_path / "last.safetensors"
    Checkpoint(written.tensors, written.record | {"config": config}).save(path)
    assert message in cgro("evaluate", path).error
    error = cgro("train", "--output", tmp_path, "--quiet", *ARGUMENTS).error
    assert "of another configuration" in error
    assert f"({next(iter(change))} differs)" in error


ROWS: list[tuple[str, Any]] = [
    ("rows", None), ("rows", {}), ("rows", [3, 4]), ("rows", []), ("observed", ...), ("rows", ...),
    ("observed", "none"), ("observed", [{"norm": 1}]), ("observed", [{"step": 99}]),
    ("observed", [{"step": 2}, {"step": 2}]), ("observed", [{"step": "2"}]),
    ("processes", [2]), ("processes", {"1": 0}), ("processes", {"1": "2"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ROWS, ids=str)
def test_forged_curves_are_refused_in_one_line(
    written: Checkpoint, tmp_path: Path, cgro, name: str, value: Any
) -> None:
    record = {key: part for key, part in written.record.items() if key != name}
    path = tmp_path / "last.safetensors"
    Checkpoint(written.tensors, record if value is ... else record | {name: value}).save(path)
    assert f"checkpoint {path}: " in cgro("train", "--output", tmp_path, "--quiet", *ARGUMENTS).error
    if name == "rows" and value != []:
        assert f"checkpoint {path}: it has no rows" in cgro("evaluate", path).error


@pytest.mark.parametrize("epoch", [None, "2", 1.5, 0, 3, [2]])
def test_a_forged_epoch_is_refused_in_one_line(written: Checkpoint, tmp_path: Path, cgro, epoch: Any) -> None:
    path = tmp_path / "last.safetensors"
    rows = [*written.record["rows"][:-1], written.record["rows"][-1] | {"epoch": epoch}]
    Checkpoint(written.tensors, written.record | {"rows": rows}).save(path)
    for arguments in (("evaluate", path), ("train", "--output", tmp_path, "--quiet", *ARGUMENTS)):
        assert f"checkpoint {path}: its learning curves cannot be: " in cgro(*arguments).error


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 7}, {"epoch": "1"}, {"train_loss": "low"}, {"train_loss": float("nan")}, {"train_loss": None},
        {"clean_test_accuracy": 1.5}, {"clean_test_accuracy": ...}, {"robust_held_out_accuracy": ...}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_forged_row_is_refused_in_one_line(written: Checkpoint, tmp_path: Path, cgro, change: dict) -> None:
    rows = [dict(row) for row in written.record["rows"]]
    rows[0] = {name: value for name, value in (rows[0] | change).items() if value is not ...}
    path = tmp_path / "last.safetensors"
    Checkpoint(written.tensors, written.record | {"rows": rows}).save(path)
    error = cgro("train", "--output", tmp_path, "--quiet", *ARGUMENTS).error
    assert f"checkpoint {path}: its learning curves cannot be: " in error


FIRST = "model.layers.1.weight"
TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "a weight less": lambda t: t.pop(FIRST),
    "a weight more": lambda t: t.update({"model.layers.99.weight": torch.zeros(3)}),
    "another shape": lambda t: t.update({FIRST: t[FIRST][:1]}),
    "another type": lambda t: t.update({FIRST: t[FIRST].long()}),
    "half": lambda t: t.update({FIRST: t[FIRST].half()}),
    "complex": lambda t: t.update({FIRST: t[FIRST].to(torch.complex64)}),
    "not finite": lambda t: t.update({FIRST: t[FIRST] * torch.nan}),
    "no tensors": lambda t: t.clear(),
}
STATES: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "no step": lambda t: t.pop("loop.step"),
    "a step below 0": lambda t: t.update({"loop.step": torch.tensor(-1)}),
    "a step beyond the end": lambda t: t.update({"loop.step": torch.tensor(10**12)}),
    "a step before the curves": lambda t: t.update({"loop.step": torch.tensor(1)}),
    "half a step": lambda t: t.update({"loop.step": torch.tensor(0.5)}),
    "many steps": lambda t: t.update({"loop.step": torch.tensor([1, 2])}),
    "targets that are no class": lambda t: t.update({"loop.targets": t["loop.targets"] + 100}),
    "targets below 0": lambda t: t.update({"loop.targets": t["loop.targets"] - 100}),
    "targets of too few images": lambda t: t.update({"loop.targets": t["loop.targets"][:3]}),
    "targets as words": lambda t: t.update({"loop.targets": t["loop.targets"].double()}),
    "weights of too few images": lambda t: t.update({"loop.weights": t["loop.weights"][:3]}),
    "no momentum": lambda t: [t.pop(name) for name in list(t) if name.startswith("momentum.")],
    "a momentum less": lambda t: t.pop(FIRST.replace("model", "momentum")),
    "a momentum of another shape": lambda t: t.update({FIRST.replace("model", "momentum"): torch.zeros(2)}),
    "no best network": lambda t: [t.pop(name) for name in list(t) if name.startswith("best.")],
    "a best network of another shape": lambda t: t.update({FIRST.replace("model", "best"): torch.zeros(2)}),
    "an average": lambda t: t.update({"averaged.n_averaged": torch.tensor([1.0, 2.0])}),
}


@pytest.mark.parametrize("what", TENSORS | STATES)
def test_forged_tensors_are_refused_in_one_line(written: Checkpoint, tmp_path: Path, cgro, what: str) -> None:
    tensors = {name: value.clone() for name, value in written.tensors.items()}
    (TENSORS | STATES)[what](tensors)
    path = tmp_path / "last.safetensors"
    Checkpoint(tensors, written.record).save(path)
    error = cgro("train", "--output", tmp_path, "--quiet", *ARGUMENTS).error
    assert f"checkpoint {path}: " in error
    if what in TENSORS:
        assert "does not fit its own configuration" in cgro("evaluate", path).error


def test_an_unchanged_checkpoint_is_read(written: Checkpoint, tmp_path: Path, cgro) -> None:
    """The tests above refuse for the right reason."""
    path = tmp_path / "last.safetensors"
    forged(path, written.tensors, json.dumps({"format": 2, "record": written.record}))
    assert cgro("evaluate", path, "--fast", "--quiet", "--images", 10).code == 0
    assert cgro("train", "--output", tmp_path, "--quiet", *ARGUMENTS).code == 0
