"""The scores of a study as a CSV table, one row for each training sample, the most memorized first."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import xarray as xr

COLUMNS = ("memorization", "error", "low", "high", "atypical", "harm", "harmful", "wrong_class")
PREFIXES = {"clean": "", "perturbed": "robust_"}
"""What columns of a criterion begin with: the plain names are those of Feldman & Zhang's scores."""


def as_csv(found: xr.Dataset) -> str:
    """Index in the data set, file, label, then for each criterion its scores, then cheap scores.

    found: the result of `cgro.memorization.study.studied`, with class_name (class), and with file (sample) if the
    images come from files. Harm is left out where it is not known, and cheap scores are where no run computed them.
    Samples without a score have empty cells, and come last.
    """
    columns: dict[str, np.ndarray] = {"index": found["index"].values}
    if "file" in found:
        columns["file"] = found["file"].values
    columns["label"] = found["class_name"].values[found["label"].values]
    for criterion in found["criterion"].values.tolist():
        own = found.sel(criterion=criterion)
        columns |= {f"{PREFIXES[criterion]}{name}": own[name].values for name in COLUMNS if name in found}
    for name in found["score_name"].values.tolist():
        for view in found["view"].values.tolist():
            values = found["cheap"].sel(score_name=name, view=view).values
            if np.isfinite(values).any():
                columns[f"{name}_{view}"] = values
    order = np.lexsort((columns["index"], -np.nan_to_num(columns["memorization"], nan=-2.0)))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_shown(values[k]) for values in columns.values()] for k in order)
    return text.getvalue()


def _shown(value: Any) -> Any:
    """A value as text: nothing for NaN, 0 and 1 for false and true."""
    if isinstance(value, np.bool_):
        return int(value)
    if isinstance(value, np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return value
