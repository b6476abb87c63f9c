"""Every command and every piece of Python in the documentation runs.

A command of the docs is run as it is written, followed by options that make it small (the last of two equal options
counts). A command without a row in `COMMANDS` fails, so that the docs cannot promise what nobody tried.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch.distributed.run
from tools import MEMORIZED, ROOT, files_below

from cgro.cli.main import main
from cgro.data.catalog import TRAINING_IMAGES
from cgro.runs import registry
from cgro.training.config import TrainingConfig

DOCS = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", "build", "results"} & set(path.relative_to(ROOT).parts[:-1])
)
PATCHES = "--filters 4 --steps 20 --seeds 1 --test-samples 16"
IMAGES = "--data digits --samples 40 --held-out 20 --epochs 1 --attack-steps 1 --evaluation-images 20 --quiet"
CNN = f"{IMAGES} --model small-cnn --width 2 --radius 0.1 --augmentation none --precision float32"
SUBSETS = " ".join(map(str, MEMORIZED))

COMMANDS: dict[str, tuple[str, int]] = {
    "cgro simulate phase-transition --dim 1000000 --seeds 20": (f"{PATCHES} --samples 6 --records 3", 0),
    "cgro simulate phase-diagram --x.name radius_ratio --y.name samples --y.low 10 --y.high 80 --y.count 8 "
    "--y.no-log": (
        f"{PATCHES} --x.count 2 --y.count 2 --y.high 11 --jobs 1",
        0,
    ),
    "cgro simulate phase-diagram --trace --x.count 193": (
        f"{PATCHES} --x.count 2 --y.count 2 --samples 6 --jobs 1",
        0,
    ),
    "cgro simulate phase-diagram --preset paper": (f"{PATCHES} --x.count 2 --y.count 2 --samples 6 --jobs 1", 0),
    "cgro simulate robust-overfitting --preset paper": (f"{CNN} --seeds 1 --jobs 1", 0),
    "cgro simulate phase-diagram": (f"{PATCHES} --x.count 2 --y.count 2 --samples 6 --jobs 1", 0),
    "cgro figure phase-diagram": ("", 0),
    "cgro simulate certified-cgro --data mnist --samples 10000 --radius 0.3 --data-dir ~/data": (
        "--data digits --samples 40 --radius 0.1 --test-images 20 --attacked-images 10 --verified-images 3 --width 2 "
        "--epochs 1 --jobs 1",
        0,
    ),
    "cgro memorize points.csv --norm 2 --ratio 0.9": ("", 0),
    "cgro memorize points.csv --norm 2 --ratio 0.9 --verify 10": ("--verify 2", 0),
    "cgro memorize points.csv --radius 0.02 --export 30": ("", 0),
    # A check that has no time is undecided, and that is not as expected.
    "cgro check": ("--time-limit 0.001 --jobs 1", 1),
    "cgro check end-state --signals 1.0 1.5 2.0 --runs 30": ("--time-limit 0.001 --jobs 1", 1),
    "cgro check --preset deep --seeds 20 --json > verdicts.json": ("--time-limit 0.001 --jobs 1 --seeds 1", 1),
    "cgro results": ("--results .", 0),
    "cgro results list random-labels --where seeds=2": ("--results .", 0),
    "cgro results check": ("--results .", 0),
    "cgro results clean": ("--results .", 0),
    "cgro train": (CNN, 0),
    "cgro evaluate results/train/*": ("--images 10 --steps 2", 0),
    "cgro train --preset mnist --samples 10000 --width 8": (CNN, 0),
    "cgro train --preset cifar10": (CNN, 0),
    "cgro train --preset cifar10 --objective trades --weight-perturbation 0.005 --averaging ema": (CNN, 0),
    "cgro train --cure temporal-ensembling --samples 300 --label-noise 0.4 --schedule piecewise": (
        f"{CNN} --epochs 2",
        0,
    ),
    "cgro train --cure bat --cure-strength 2 --cure-discrimination 0 --samples 300": (CNN, 0),
    "cgro train --cure dropping --cure-strength 0.2 --cure-scores scores.csv": (CNN, 0),
    "cgro memorized images.npz --models 500": (SUBSETS, 0),
    "cgro memorized digits --samples 200 --output memorized": (f"{SUBSETS} --models 20 --ratio 0.5", 0),
    "cgro train --cure reweighting --cure-scores memorized/scores.csv --samples 200 --held-out 0": (
        f"{CNN} --samples 20 --held-out 0",
        0,
    ),
    "torchrun --nproc-per-node 4 -m cgro train --preset cifar10": (f"{CNN} --seed 7", 0),
}
"""Commands of the docs: the options that make them small, and the exit code."""
BY_CI = {"make reproduce", "make test", "make docs"}
"""Continuous integration covers these: `make test` is its last step, `make reproduce` runs the same command as
`test_reproduce_writes_everything`, and `make docs` the same as the tests of the site."""
BY_THE_WHEEL = {"pip install ."}
"""`tests/test_wheel.py` installs a copy of the sources."""


def blocks(language: str) -> list[tuple[Path, str]]:
    """Fenced blocks of that language in all documents."""
    return [
        (path, block)
        for path in DOCS
        for block in re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    ]


def commands() -> list[str]:
    """Every command of every `sh` block, without its comment, in order."""
    lines = (line.partition(" #")[0].strip() for _, block in blocks("sh") for line in block.splitlines())
    return [line for line in lines if line]


def test_the_documents_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md"} <= {str(path.relative_to(ROOT)) for path in DOCS}
    assert {"sh", "python", ""} >= {word for path in DOCS for word in re.findall(r"^```(\w*)", path.read_text(), re.M)}


def test_every_command_of_the_docs_is_tested_and_no_other() -> None:
    assert {*commands()} == {*COMMANDS, *BY_CI, *BY_THE_WHEEL}
    targets = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{command.removeprefix('make ')}:", targets, re.MULTILINE) for command in BY_CI)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run one after the other, as a reader would run them."""
    folder = tmp_path_factory.mktemp("reader")
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.random((30, 5)).round(6), rng.choice([-1, 1], 30)])
    np.savetxt(folder / "points.csv", rows, delimiter=",", fmt="%g")
    count = TRAINING_IMAGES["digits"]
    scores = "".join(f"{index},{index / count}\n" for index in range(count))
    np.savez(folder / "images.npz", images=rng.random((30, 8, 8)), labels=rng.integers(0, 2, 30))
    (folder / "scores.csv").write_text(f"index,memorization\n{scores}")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_runs(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("CGRO_RESULTS", raising=False)
    typed, _, redirected = command.partition(" > ")
    small, expected = COMMANDS[command]
    words = [name for word in shlex.split(typed) for name in as_a_shell(word)]
    program, arguments = words[0], [*words[1:], *shlex.split(small)]
    code = with_torchrun(arguments) if program == "torchrun" else main(arguments)
    out, err = capfd.readouterr()
    assert code == expected, err
    assert out
    if redirected:
        Path(redirected).write_text(out)


def as_a_shell(word: str) -> list[str]:
    """The words that a shell makes of this one."""
    word = os.path.expanduser(word)
    return sorted(glob.glob(word)) or [word]


def with_torchrun(arguments: list[str]) -> int:
    """The exit code of what torchrun would start; that two processes of it train as one is tested with training."""
    asked = torch.distributed.run.parse_args(arguments)
    assert asked.nproc_per_node.isdecimal()
    assert asked.module
    assert asked.training_script == "cgro"
    return main(asked.training_script_args)


@pytest.mark.parametrize(("path", "block"), blocks("python"), ids=lambda value: getattr(value, "name", ""))
def test_the_python_of_the_docs_runs(path: Path, block: str, tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        exec(compile(block, str(path), "exec"), {"__name__": "__main__"})
    assert files_below(tmp_path) == []


def test_how_to_pages_are_short() -> None:
    """At most ten lines of code each, a question first, and pitfalls at the end."""
    pages = [path for path in DOCS if path.parent.name == "howto"]
    assert len(pages) == 6
    for page in pages:
        text = page.read_text()
        assert re.match(r"# .+\n\n\*.+\?\*\n", text), page
        assert "## Pitfalls" in text, page
        shown = [block for path, block in blocks("python") if path == page]
        assert shown, page
        assert max(sum(bool(line.strip()) for line in block.splitlines()) for block in shown) <= 10, page


def test_the_readme_is_short_and_begins_with_the_installation() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 110
    assert any(line.startswith("pip install") for line in lines[:25])


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_a_bare_train_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Nothing but `cgro train`, with a small default preset."""
    small = TrainingConfig(samples=40, held_out=20, evaluation_images=20, epochs=1, width=2, attack_steps=1)
    monkeypatch.setattr(TrainingConfig, "digits", classmethod(lambda _cls: small))
    monkeypatch.setenv("CGRO_RESULTS", str(tmp_path))
    assert main(["train"]) == 0
    names = ["curves.nc", "best.safetensors", "last.safetensors"]
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()[-3:]] == names


def test_a_bare_check_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Nothing but `cgro check`, where there is one check."""
    area = tmp_path / "toy_checks" / "area"
    area.mkdir(parents=True)
    for package in (area, area.parent):
        (package / "__init__.py").touch()
    source = (ROOT / "proofs_check" / "gadgets" / "square_error.py").read_text()
    (area / "only_one.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._PLACES, "check", registry._PLACES["check"]._replace(package="toy_checks"))
    monkeypatch.setenv("CGRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("CGRO_THREADS", "1")
    assert main(["check"]) == 0
    assert "Verdicts: 1 holds." in capsys.readouterr().out
