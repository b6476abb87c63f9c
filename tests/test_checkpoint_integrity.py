"""Checkpoints that were changed, forged or left over: refused in one line, never read as data."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cgro.errors import UserError
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
