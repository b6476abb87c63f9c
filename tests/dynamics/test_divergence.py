"""Runs whose numbers overflow: said in a line, counted, never reported as errors of a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cgro.base.work import count_diverged
from cgro.cli.main import main
from cgro.runs import store
from cgro.runs.registry import find

TINY = ["--samples", "4", "--patches", "2", "--filters", "3", "--steps", "30", "--seeds", "2"]
EXPERIMENTS = {
    "phase-transition": ["--records", "4"],
    "phase-diagram": ["--x.count", "2", "--y.count", "2"],
    "training-objective": ["--weights", "0.5", "1.0"],
    "activation": ["--odd", "3", "4", "--relu"],
    "dimension": ["--dims", "9", "12"],
    "attack": ["--records", "2"],
}


class Simulate:
    """The command in this process: exit code, path of the result, warnings."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self.folder, self.capsys, self.caplog = folder, capsys, caplog

    def __call__(self, name: str, *options: str) -> tuple[int, xr.Dataset, list[str]]:
        self.caplog.clear()
        dim = [] if name == "dimension" else ["--dim", "9"]
        run = ["simulate", name, *TINY, *dim, "--test-samples", "8", *EXPERIMENTS[name], *options]
        code = main([*run, "--jobs", "1", "--quiet", "--results", str(self.folder)])
        result = store.load(Path(self.capsys.readouterr().out.strip()))
        return code, result, [r.getMessage() for r in self.caplog.records if "warning" in r.getMessage()]


@pytest.fixture
def simulate(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Simulate:
    monkeypatch.setenv("CGRO_THREADS", "1")
    return Simulate(tmp_path, capsys, caplog)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_result_of_diverged_runs_alone_is_stored_and_fails(name: str, simulate: Simulate) -> None:
    code, result, warnings = simulate(name, "--learning-rate", "1e150")
    count = {"phase-transition": 2, "attack": 8, "phase-diagram": 8}.get(name, 4)
    assert code == 1
    assert [text.split(":")[1] for text in warnings] == [f" all {count} runs diverged"]
    assert count_diverged(result) == (count, count)
    last = result.isel(step=-1) if "step" in result.dims else result
    errors = [variable for variable in last.data_vars if str(variable).endswith("_error")]
    assert len(errors) >= 2
    for variable in errors:
        assert last[variable].isnull().all(), variable
    again, _, repeated = simulate(name, "--learning-rate", "1e150")
    assert (again, repeated) == (1, warnings), "a stored result is no better"


def test_some_diverged_runs_are_counted_and_do_not_fail(simulate: Simulate) -> None:
    axes = ["--x.name", "learning_rate", "--x.low", "0.1", "--x.high", "1e150", "--x.no-log"]
    code, result, warnings = simulate("phase-diagram", *axes)
    assert code == 0
    assert [text.split(":")[1] for text in warnings] == [" 4 of 8 runs diverged"]
    assert result["robust_test_error"].isel(x=1).isnull().all()
    assert result["robust_test_error"].isel(x=0).notnull().all()


def test_runs_that_finish_are_not_spoken_of(simulate: Simulate) -> None:
    code, _, warnings = simulate("phase-transition")
    assert (code, warnings) == (0, [])


def test_reference_points_say_how_their_runs_ended() -> None:
    module = find("experiment", "reference-points")
    result = module.run(module.Config(seeds=2, points=("base",), test_samples=2))
    assert count_diverged(result) == (0, 2)


def test_a_status_of_something_else_is_no_divergence() -> None:
    assert count_diverged(xr.Dataset({"status": ("record", np.array(["proved", "broken"]))})) == (0, 0)
    assert count_diverged(xr.Dataset()) == (0, 0)
