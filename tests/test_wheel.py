"""The wheel, installed beside a user's own folders, and packages that add to cgro."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from tools import MEMORIZED, ROOT


def pip(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder where cgro and an example package are installed, and the wheel of cgro; built from copies."""
    folder = tmp_path_factory.mktemp("installed")
    kept = shutil.ignore_patterns(".*", "build", "results", "__pycache__", "*.egg-info", "example")
    copies = [folder / "sources", folder / "example"]
    for source, copy in zip((ROOT, ROOT / "tests" / "example"), copies, strict=True):
        shutil.copytree(source, copy, ignore=kept)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheels", *copies)
    wheels = sorted((folder / "wheels").glob("*.whl"))
    pip("install", "--no-deps", "--no-index", "--no-compile", "--target", folder / "site", *wheels)
    (own,) = (wheel for wheel in wheels if wheel.name.startswith("cgro-"))
    return folder / "site", own


ALL = """
import contextlib, io, json, sys
from cgro.cli.main import main
outcomes = []
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(json.loads(line))
    outcomes.append((code, out.getvalue()))
print(json.dumps(outcomes))
print(*sys.modules)
"""
TINY = "--samples 40 --held-out 20 --evaluation-images 20 --epochs 1 --width 3 --attack-steps 1 --device cpu"
SLOW = {"torch._dynamo", "sklearn", "distributed"}
"""Libraries that take a second or more to import, and that no command of the test needs."""


@pytest.fixture
def run(installed: tuple[Path, Path], tmp_path: Path):
    """Commands, run one by one in one process, in a folder with a user's own `figures`, `simulations` and so on."""
    for name in ("figures", "simulations", "proofs_check", "tests", "results"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the user has a folder of that name')\n")

    def process(*arguments: str, typed: str = "") -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            input=typed,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(installed[0]), "CGRO_THREADS": "1"},
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commands(*lines: str) -> list[tuple[int, str]]:
        typed = "\n".join(json.dumps(line.split()) for line in lines)
        outcomes, modules = process("-c", ALL, typed=typed).splitlines()
        assert sorted(SLOW & set(modules.split())) == []
        return [tuple(outcome) for outcome in json.loads(outcomes)]

    assert "experiment\tphase-diagram\t" in process("-m", "cgro", "list")
    return commands


def test_the_wheel_owns_one_name(installed: tuple[Path, Path]) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(installed[1]).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"cgro"}


def test_every_folder_is_packaged() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"cgro": "cgro"} | setuptools["package-dir"]
    expected = {
        ".".join((package, *path.parent.relative_to(ROOT / folder).parts))
        for package, folder in folders.items()
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert sorted(setuptools["packages"]) == sorted(expected)


def test_all_commands_work_beside_the_users_own_folders(run, tmp_path: Path) -> None:
    """Including those of a package installed beside it."""
    (tmp_path / "points.csv").write_text("0.5,0,-1\n0,1,1\n")
    outcomes = run(
        "list",
        "simulate coin-flips --coins 5 --quiet",
        "figure coin-flips",
        "check best-share --json --quiet",
        "check best-share --factor 0.5 --json --quiet",
        f"simulate image-cgro {TINY} --seeds 1 --jobs 1 --quiet",
        "figure image-cgro",
        "check square-error --json --quiet --jobs 1",
        f"train {TINY} --output run --quiet",
        "evaluate run --images 20 --steps 1 --fast",
        "memorize points.csv",
        f"memorized digits {' '.join(map(str, MEMORIZED))}",
    )
    assert [code for code, _ in outcomes] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    listed, flips, drawn, best, worst, images, figure, holds, *_ = (out for _, out in outcomes)
    for kind, name in (("experiment", "coin-flips"), ("check", "best-share"), ("figure", "coin-flips")):
        assert [line for line in listed.splitlines() if line.startswith(f"{kind}\t{name}\t")]
    assert flips.startswith("results/coin-flips/")
    assert images.startswith("results/image-cgro/")
    assert len(drawn.split()) == len(figure.split()) == 3
    assert [json.loads(out)[0]["outcome"] for out in (best, worst, holds)] == ["holds", "fails", "holds"]
