"""Standard output that is full, closed or read by nobody, and standard error likewise: one line or nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tools import MEMORIZED, ROOT, SMALL, Outcome, files_below, with_toys

from cgro.base import streams
from cgro.cli import main as cli
from cgro.cli.main import main
from cgro.runs import context, store

Cgro = Callable[..., Outcome]
FULL = Path("/dev/full")
FULL_LINE = "cgro: error: standard output: cannot write (No space left on device); write it elsewhere\n"
TINY = (*SMALL, "--steps", 20, "--x.count", 3, "--y.count", 2, "--seeds", 1, "--test-samples", 16)
TOY = (*("--samples", 40, "--held-out", 30, "--epochs", 1, "--width", 3), *("--attack-steps", 1, "--device", "cpu"))
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")

COMMANDS = {
    "list": ("list",),
    "list --help": ("list", "--help"),
    "simulate --help": ("simulate", "phase-diagram", "--help"),
    "simulate": ("simulate", "phase-diagram", *TINY, "--results", "RESULTS"),
    "check": ("check", "square-error", "--jobs", 1, "--results", "RESULTS"),
    "check --json": ("check", "square-error", "--jobs", 1, "--results", "RESULTS", "--json"),
    "train": ("train", *TOY, "--results", "RESULTS"),
    "memorize": ("memorize", "RESULTS/points.csv"),
    "memorized": ("memorized", "digits", *MEMORIZED, "--results", "RESULTS"),
}


def run_into(stdout: io.TextIOBase, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    np.savetxt(folder / "points.csv", [[0, 0, -1], [1, 1, 1]], delimiter=",")
    monkeypatch.setattr(sys, "stdout", stdout)
    try:
        return main([str(a).replace("RESULTS", str(folder)) for a in COMMANDS[command]])
    finally:
        monkeypatch.undo()


@needs_full
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_output_is_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FULL.open("w") as full:
        assert run_into(full, command, tmp_path, monkeypatch) == 2
    # Progress may come before it.
    assert capsys.readouterr().err.rpartition("\r")[2].strip(" ") == FULL_LINE


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_nobody_reads_ends_quietly(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        assert run_into(pipe, command, tmp_path, monkeypatch) == 141
    assert "cgro" not in capsys.readouterr().err
    if command == "simulate":
        assert list((tmp_path / "phase-diagram").glob("*.nc")), "the result is lost with its name"


@needs_full
def test_progress_that_cannot_be_shown_ends_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "SHOWN_AFTER", 0)
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        shown = io.StringIO()
        assert run_into(shown, "simulate", tmp_path, monkeypatch) == 0
    store.load(Path(shown.getvalue().strip()))


# As processes: what the interpreter does as it ends


def shell(line: str, **more: str) -> subprocess.CompletedProcess[str]:
    known = {"CGRO": f"{sys.executable} -m cgro", "CGRO_THREADS": "1", "PYTHONPATH": with_toys()}
    environment = os.environ | known | more
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)


@pytest.mark.parametrize(
    ("line", "out", "err"),
    [
        ("$CGRO list | true; echo ${PIPESTATUS[0]}", "141", ""),
        ("$CGRO list >&-; echo $?", "0", ""),
        pytest.param("$CGRO list >/dev/full; echo $?", "2", FULL_LINE, marks=needs_full),
        ("$CGRO list --sedes 2>&-; echo $?", "2", ""),
        pytest.param("$CGRO list --sedes 2>/dev/full; echo $?", "2", "", marks=needs_full),
        ("$CGRO simulate naps --naps 1 --seconds 0 --quiet --results $0/a <&- >/dev/null; echo $?", "0", ""),
    ],
)
def test_a_process_ends_as_it_should(line: str, out: str, err: str, tmp_path: Path) -> None:
    done = shell(line.replace("$0", str(tmp_path)))
    assert (done.stdout.strip(), done.stderr) == (out, err)


@pytest.mark.usefixtures("toys")
def test_all_streams_closed_damage_no_file(cgro: Cgro, tmp_path: Path) -> None:
    """A file that took the number of a closed stream would get what is written to that."""
    few = ("simulate", "naps", "--naps", 1, "--seconds", 0.1, "--results", tmp_path)
    line = f"exec $CGRO {' '.join(map(str, few))} --jobs 2 <&- >&- 2>&-"
    assert shell(line).returncode == 0
    assert len(files_below(tmp_path)) >= 2
    outcome = cgro(*few, "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    store.load(Path(outcome.out.strip()))


def test_json_is_whole_beside_progress(cgro: Cgro, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "SHOWN_AFTER", 0)
    outcome = cgro("check", "square-error", "gate", "--json", "--jobs", 1, "--results", tmp_path)
    assert [verdict["name"] for verdict in json.loads(outcome.out)] == ["square-error", "gate"]
    assert "%|" in outcome.err, "no progress to be beside"


@pytest.mark.parametrize(
    ("encoding", "written"), [("ascii", b"l_\\u221e \\udcff\n"), ("utf-8", "l_∞ ".encode() + b"\xff\n")]
)
def test_what_a_terminal_has_no_letters_for(encoding: str, written: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of files are printed as the bytes that they are."""
    monkeypatch.setattr(cli, "_dispatch", lambda _arguments: print("l_∞ \udcff") or 0)
    below = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(below, encoding=encoding))
    assert main(["list"]) == 0
    assert below.getvalue() == written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\n lines\ttabs", "two lines tabs"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\u202egnp.\udcff", "\\u202egnp.\\udcff"),
        ("l_∞ ≤ é 数", "l_∞ ≤ é 数"),
    ],
)
def test_a_message_is_one_line_that_a_terminal_shows(text: str, shown: str) -> None:
    assert streams.clean(text) == shown


def test_a_very_long_message_keeps_both_ends() -> None:
    shown = streams.clean("what " + "x" * 100_000 + " do this")
    assert len(shown) < 2500
    assert shown.startswith("what x")
    assert shown.endswith("x do this")
