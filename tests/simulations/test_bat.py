"""The experiment bat: what is compared, and verdicts of hand-made answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from toy_configs import CONFIGS

from cgro.figures import bat as figure
from cgro.plots.words import agreed
from cgro.simulations import bat

TOY: bat.Config = CONFIGS["bat"]
ATTACKS, CHECKPOINTS = ("clean", "PGD-20", "ensemble"), ("best", "last")


def test_methods_differ_in_nothing_else() -> None:
    config = replace(TOY, training=replace(TOY.training, cure="bat", cure_strength=2.0, cure_start=1))
    found = {name: config.training_of(name) for name in config.methods}
    assert [each.objective for each in found.values()] == ["adversarial", "trades", "mart", *["adversarial"] * 3]
    assert [each.cure for each in found.values()] == ["none"] * 3 + ["bat", "gairat", "random-weights"]
    assert [each.cure_strength for each in found.values()] == [None] * 3 + [2.0, None, None]
    assert [each.cure_start for each in found.values()] == [None] * 3 + [1, 1, 1]
    rest = {
        replace(each, objective="adversarial", cure="none", cure_strength=None, cure_start=None)
        for each in found.values()
    }
    assert rest == {TOY.training}


def test_the_random_control_is_compared_by_default_and_in_both_presets() -> None:
    for config in (bat.Config(), bat.Config.quick(), bat.Config.paper()):
        assert {"adversarial", "trades", "mart", "bat", "gairat", "random-weights"} == set(config.methods)
    assert bat.Config.paper().ensemble_steps == 100


def test_accuracies_are_means_of_the_stored_answers(results: dict[str, xr.Dataset]) -> None:
    result = results["bat"]
    assert result["correct"].dims == ("training", "seed", "checkpoint", "attack", "image")
    assert result["correct"].dtype == bool
    for group, kinds in {"all": (0, 1, 2), "typical": (0,), "atypical": (1, 2)}.items():
        for seed in range(2):
            own = np.isin(result["kind"].values[seed], kinds)
            means = result["correct"].values[:, seed][..., own].mean(-1)
            np.testing.assert_allclose(result["accuracy"].sel(group=group).isel(seed=seed).values, means)


def made(**correct: np.ndarray) -> xr.Dataset:
    """A result of these answers (seed, checkpoint, attack, image), of which the last ten images are rotated."""
    names = [name.replace("_", "-") for name in correct]
    answers = np.stack(list(correct.values()))
    kind = np.zeros(answers.shape[1::3], dtype=int)
    kind[:, -10:] = 1
    return xr.Dataset(
        {
            "correct": (("training", "seed", "checkpoint", "attack", "image"), answers),
            "kind": (("seed", "image"), kind),
        },
        {"training": names, "seed": range(len(kind)), "checkpoint": list(CHECKPOINTS), "attack": list(ATTACKS)},
    )


def answers(counts: dict[tuple[str, str], int], seeds: int = 4) -> np.ndarray:
    """Of 100 images the first so many are correct by checkpoint and attack, and one more with every other seed."""
    found = np.zeros((seeds, 2, 3, 100), dtype=bool)
    for s in range(seeds):
        for c, checkpoint in enumerate(CHECKPOINTS):
            for a, attack in enumerate(ATTACKS):
                found[s, c, a, : counts[checkpoint, attack] + s % 2] = True
    return found


def counts(*numbers: int) -> dict[tuple[str, str], int]:
    """Images correct at the best checkpoint under each attack, and at the last one."""
    return dict(zip([(c, a) for c in CHECKPOINTS for a in ATTACKS], numbers, strict=True))


def test_verdicts_of_known_answers() -> None:
    """BAT has 20 more clean images at the best and 30 at the last checkpoint; under PGD 10 more, under the ensemble
    10 fewer; its control is PGD-AT, and GAIRAT has what PGD finds only."""
    result = made(
        adversarial=answers(counts(50, 40, 38, 50, 30, 28)),
        bat=answers(counts(70, 50, 28, 80, 40, 18)),
        random_weights=answers(counts(50, 40, 38, 50, 30, 28)),
        gairat=answers(counts(50, 40, 20, 50, 30, 10)),
    )
    found = {(each.says, each.group, each.checkpoint): each for each in figure.relations(result)}
    gain = found["clean: BAT above PGD-AT", "all", "last"]
    np.testing.assert_allclose(gain.by_seed, 30)
    low, high = gain.over_images
    assert low == pytest.approx(30 - 1.96 * np.sqrt(21), abs=1.5)  # binomial(100, 0.3)
    assert high == pytest.approx(30 + 1.96 * np.sqrt(21), abs=1.5)
    verdicts = {key: each.holds for key, each in found.items()}
    assert verdicts["clean: BAT above PGD-AT", "all", "best"] == "yes"
    assert verdicts["clean: BAT above PGD-AT", "atypical", "last"] == "undecided"  # both err on all of them
    for checkpoint in CHECKPOINTS:
        assert verdicts["PGD-20: BAT no worse than PGD-AT", "all", checkpoint] == "yes"
        assert verdicts["ensemble: BAT no worse than PGD-AT", "all", checkpoint] == "no"
        assert verdicts["clean: BAT above random weights", "all", checkpoint] == "yes"
        assert verdicts["ensemble: BAT above random weights", "all", checkpoint] == "no"
        assert verdicts["PGD-20 minus ensemble: GAIRAT above PGD-AT", "all", checkpoint] == "yes"
        assert verdicts["PGD-20 minus ensemble: BAT above PGD-AT", "all", checkpoint] == "yes"
    np.testing.assert_allclose(found["PGD-20 minus ensemble: GAIRAT above PGD-AT", "all", "last"].by_seed, 18)
    np.testing.assert_allclose(found["PGD-20 minus ensemble: BAT above PGD-AT", "all", "last"].by_seed, 20)
    assert verdicts["clean: BAT gains more at the last", "all", "last minus best"] == "yes"
    np.testing.assert_allclose(found["clean: BAT gains more at the last", "all", "last minus best"].by_seed, 10)
    assert verdicts["PGD-20: BAT gains more at the last", "all", "last minus best"] == "undecided"


def test_equal_methods_are_no_worse_but_not_above() -> None:
    same = answers(counts(50, 40, 38, 50, 30, 28))
    verdicts = {(each.says, each.checkpoint): each.holds for each in figure.relations(made(adversarial=same, bat=same))}
    assert verdicts["clean: BAT above PGD-AT", "best"] == "undecided"
    assert verdicts["ensemble: BAT no worse than PGD-AT", "best"] == "yes"
    assert not [says for says, _ in verdicts if "random" in says or "GAIRAT" in says]


def test_a_gain_on_few_images_or_with_some_seeds_only_is_undecided() -> None:
    """One interval is not enough: three images that differ with all seeds, and many that differ with one."""
    base = np.zeros((4, 2, 3, 100), dtype=bool)
    few, one = base.copy(), base.copy()
    few[..., :3] = True
    one[0] = True
    few_relation, one_relation = (figure.relations(made(adversarial=base, bat=each))[1] for each in (few, one))
    assert few_relation.by_seed.tolist() == [3.0] * 4
    assert few_relation.over_images[0] == 0
    assert few_relation.holds == "undecided"
    assert one_relation.over_images[0] > 0
    assert one_relation.holds == "undecided"
    two = figure.relations(made(adversarial=base[:2], bat=few[:2]))
    assert {each.holds for each in two} == {"needs 3 seeds"}


def test_verdicts_agree_or_are_undecided() -> None:
    assert agreed("yes", "yes") == "yes"
    assert agreed("no", "no") == "no"
    assert agreed("yes", "no") == agreed("yes", "undecided") == "undecided"
    assert agreed("needs 3 seeds", "yes") == "needs 3 seeds"


def test_the_table_says_what_was_learned(results: dict[str, xr.Dataset]) -> None:
    table = figure.table(results["bat"])
    assert len(table.rows) == 6 + 4 + 3 + 4 + 4
    assert {row[-1] for row in table.rows} == {"needs 3 seeds"}
    at = 100 * float(results["bat"]["train_accuracy"].sel(training="bat", criterion="clean", trained="typical").mean())
    assert f"BAT {at:.0f} % of the typical" in table.notes[0]
