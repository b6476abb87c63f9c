"""A trained network for the commands that read one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import TRAINING


@pytest.fixture
def trained(cgro, tmp_path: Path) -> Path:
    """The folder of a trained network."""
    outcome = cgro("train", "--results", tmp_path, "--quiet", *TRAINING)
    assert outcome.code == 0, outcome.err
    return Path(outcome.out.splitlines()[-1]).parent
