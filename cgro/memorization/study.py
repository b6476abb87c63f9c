"""A study of memorization: scores of subset models with their errors, the groups that they tell, and cheap scores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy  # its parts are imported when first used
import xarray as xr
from jaxtyping import Float, Int

from cgro.base.errors import AccuracyWarning, UserError
from cgro.base.machine import single_thread
from cgro.base.validate import between
from cgro.base.work import Tick
from cgro.data.tampering import Tampering
from cgro.memorization.groups import groups
from cgro.memorization.scores import interval, memorization, split_half, standard_errors
from cgro.memorization.subset_models import Study
from cgro.memorization.tracker import SCORES, VIEWS, Tracker
from cgro.training.config import TrainingConfig
from cgro.training.run import Own, TrainingRun


@dataclass(frozen=True)
class TrackedRun:
    """A training run on all images of a study, whose cheap scores are kept; a cell for `track`."""

    training: TrainingConfig
    tampering: Tampering
    data_seed: int
    """Takes the place of the run's seed where the images of the study are drawn."""
    early: int
    """Epochs over which EL2N is averaged."""
    file: str = ""
    """As in `SubsetModels`."""

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work


@single_thread()
def track(cell: TrackedRun, tick: Tick) -> xr.Dataset:
    """score (score, view, sample): every score of `cgro.memorization.tracker`; NaN where the run has none."""
    drawn = replace(cell.training, seed=cell.data_seed)
    study, tracker = Study.of(drawn, cell.tampering, cell.file), Tracker(cell.early)
    run = TrainingRun.of_cell(cell.training, tick, Own(prepared=study.data, observers=(tracker,)))
    run.run(tick)
    found = tracker.scores(run.trainer.kept.of(tracker), run.trainer.epoch)
    values = np.stack([found[name] for name in SCORES])
    return xr.Dataset(
        {"score": (("score_name", "view", "sample"), values, {"long_name": "Cheap score", "units": "1"})},
        {"score_name": list(SCORES), "view": list(VIEWS)},
    )


def combined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The answers of all models, from those of some each."""
    return xr.concat(parts, "model", data_vars="minimal", coords="minimal", compat="override", join="exact")


def studied(
    parts: Sequence[xr.Dataset], runs: Sequence[xr.Dataset], *, chance: float = 0.05, least: float = 0.0
) -> xr.Dataset:
    """The scores of `scored`, the answers of all models, and cheap (score_name, view, sample), mean over the runs.

    parts: results of `train_subset_models`; runs: of `track`.
    """
    answers = combined(parts)
    cheap = xr.concat([run["score"] for run in runs], "run").mean("run", keep_attrs=True, skipna=False)
    return scored(answers, chance=chance, least=least).merge(answers).assign(cheap=cheap)


def extremes(scores: Float[np.ndarray, " n"], count: int) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Indices of the samples with the largest scores, and of those with the smallest, from the outermost inwards.

    At most `count` and half of the samples with a score; of equal scores, the first.
    """
    known = np.flatnonzero(np.isfinite(scores))
    most = known[np.argsort(-scores[known], kind="stable")]
    count = min(count, len(known) // 2)
    return most[:count], most[len(most) - count :][::-1]


def scored(
    answers: xr.Dataset, *, chance: float = 0.05, least: float = 0.0, draws: int = 100, seed: int = 0
) -> xr.Dataset:
    """Scores of every training sample and the groups that follow, for each criterion of being correct.

    answers: the result of `train_subset_models`. Variables over (criterion, sample): memorization with its standard
    error and a 95 % interval (low, high); harm; wrong_class, the largest share of models without the sample that give
    it the same wrong class; atypical, harmful. Over (criterion, test): atypical_test. Over criterion: the thresholds of
    these groups, which chance exceeds with probability `chance`, and the split-half reliability of all models, NaN if
    unknown.

    Without test images there is no influence: harm, harmful, atypical_test and their thresholds are left out.

    Raises: UserError as `groups`.
    """
    mask, labels, test_labels = (answers[name].values for name in ("mask", "label", "test_label"))
    rows: dict[str, list[np.ndarray | float]] = {name: [] for name in _WORDS}
    for given, tested in zip(answers["answer"].values, answers["test_answer"].values, strict=True):
        correct, right = given == labels, tested == test_labels
        found = groups(mask, correct, right, chance=chance, least=least, draws=draws, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            error, (low, high) = standard_errors(mask, correct), interval(mask, correct)
        own: dict[str, np.ndarray | float] = {
            "memorization": memorization(mask, correct), "error": error, "low": low, "high": high,
            "harm": found.harm, "wrong_class": _wrong_class(mask, given, labels), "atypical": found.atypical,
            "harmful": found.harmful, "atypical_test": found.atypical_test,
            "memorization_threshold": found.memorization_threshold,
            "influence_threshold": found.influence_threshold, "harm_threshold": found.harm_threshold,
            "reliability": _reliability(mask, correct),
        }  # fmt: skip
        for name, values in own.items():
            rows[name].append(values)
    variables = {
        name: (("criterion", dim) if dim else ("criterion",), np.array(rows[name]), {"long_name": words, "units": "1"})
        for name, (dim, words) in _WORDS.items()
        if len(test_labels) or name not in OF_INFLUENCE
    }
    return xr.Dataset(variables, {"criterion": answers["criterion"]}, {"chance": chance, "models": len(mask)})


def _reliability(mask: np.ndarray, correct: np.ndarray) -> float:
    """Of all models; NaN if too few samples have a score in both halves to tell."""
    try:
        return split_half(mask, correct).full
    except UserError:
        return float("nan")


OF_INFLUENCE = ("harm", "harmful", "atypical_test", "influence_threshold", "harm_threshold")
"""What takes test images to find."""
_WORDS = {
    "memorization": ("sample", "Memorization"),
    "error": ("sample", "Standard error of the memorization"),
    "low": ("sample", "Lower end of a 95 % interval of the memorization"),
    "high": ("sample", "Upper end of a 95 % interval of the memorization"),
    "harm": ("sample", "Harm to typical test samples"),
    "wrong_class": ("sample", "Share of models without the sample that give it the most frequent wrong class"),
    "atypical": ("sample", "Memorization exceeds chance"),
    "harmful": ("sample", "Harm exceeds chance"),
    "atypical_test": ("test", "Influence of an atypical sample exceeds chance"),
    "memorization_threshold": ("", "Memorization that chance rarely exceeds"),
    "influence_threshold": ("", "Influence that chance rarely exceeds"),
    "harm_threshold": ("", "Harm that chance rarely exceeds"),
    "reliability": ("", "Expected correlation of the memorization with that of as many other models"),
}


def _wrong_class(
    mask: np.ndarray, given: Int[np.ndarray, "t n"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The largest share of a wrong class among the answers of models without the sample; NaN without such models."""
    counts = np.stack([(~mask & (given == c)).sum(axis=0) for c in range(max(labels.max(), given.max()) + 1)])
    counts[labels, np.arange(len(labels))] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(counts.max(axis=0) / (~mask).sum(axis=0), dtype=float)


def spearman(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Spearman's rank correlation of two scores and its interval; NaN if one of them is constant or never known.

    Samples without a score count in neither. The interval is that of Fisher's transform with the variance
    (1 + rho^2 / 2) / (n - 3) of Bonett & Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations", Psychometrika 2000.

    Raises: UserError for different lengths, and a confidence outside of (0, 1).
    """
    between("confidence", confidence, 0, 1, open_low=True, open_high=True)
    if np.shape(a) != np.shape(b):
        raise UserError(f"scores must be of the same samples, got {np.shape(a)} and {np.shape(b)}")
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 4 or np.ptp(a[known]) == 0 or np.ptp(b[known]) == 0:
        return np.nan, np.nan, np.nan
    rho = float(scipy.stats.spearmanr(a[known], b[known]).statistic)
    if abs(rho) > 1 - 1e-12:
        return (float(np.sign(rho)),) * 3
    reach = scipy.special.ndtri((1 + confidence) / 2) * np.sqrt((1 + rho**2 / 2) / (known.sum() - 3))
    return rho, float(np.tanh(np.arctanh(rho) - reach)), float(np.tanh(np.arctanh(rho) + reach))
