"""A trained network for the commands that read one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tools import TRAINING

from cgro.cli.main import main


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with a trained network, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    assert main(["train", "--results", str(folder), "--quiet", *map(str, TRAINING)]) == 0
    return folder


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """The folder of a trained network."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    (folder,) = (tmp_path / "train").iterdir()
    return folder
