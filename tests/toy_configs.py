"""A toy configuration of every experiment: all of them together take fifteen seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cgro.dynamics.axes import Axis
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.two_features import TwoFeatureSetting
from cgro.simulations import (
    activation,
    attack,
    atypical_accuracy,
    atypical_harm,
    bat,
    certified_cgro,
    certified_transition,
    cgro_construction,
    complexity_measures,
    coverage,
    dimension,
    distillation,
    finite_size,
    flatness,
    gradient_stability,
    image_cgro,
    image_phases,
    memorization_capacity,
    memorization_scores,
    memorizer_certificates,
    overfitting_cures,
    parameter_counts,
    phase_diagram,
    phase_transition,
    random_labels,
    reference_points,
    robust_lower_bound,
    robust_overfitting,
    robust_overfitting_causes,
    training_objective,
    two_mechanisms,
    unlearnable,
    unlearnable_images,
    width_sweep,
)
from cgro.training.config import TrainingConfig

SMALL = PatchSetting(samples=6, patches=2, dim=30, filters=4, steps=300, learning_rate=0.3)
TINY = TrainingConfig(samples=40, held_out=20, evaluation_images=20, epochs=2, width=2)
CONFIGS: dict[str, Any] = {
    "phase-transition": phase_transition.Config(setting=SMALL, seeds=2, records=20, test_samples=32),
    "phase-diagram": phase_diagram.Config(
        setting=SMALL,
        x=Axis("radius_ratio", 0.5, 1.0, 3),
        y=Axis("noise_norm", 0.5, 2, 3, log=True),
        seeds=2,
        records=4,
    ),
    "training-objective": training_objective.Config(setting=SMALL, weights=(0.0, 0.5, 1.0), seeds=2, records=3),
    "activation": activation.Config(setting=SMALL, odd=(2.0, 3.0), relu=(3.0,), seeds=2, records=5),
    "dimension": dimension.Config(setting=replace(SMALL, dim=100), dims=(30, 1000), seeds=2, records=3),
    "finite-size": finite_size.Config(
        setting=replace(SMALL, dim=100),
        sample_counts=(5, 6, 7),
        dims=(30, 100, 1000),
        seeds=4,
        low=0.4,
        resolution=0.01,
        test_samples=32,
    ),
    "certified-transition": certified_transition.Config(
        setting=replace(SMALL, sampling="vectors", steps=60), records=5, tube_steps=20
    ),
    "unlearnable": unlearnable.Config(
        setting=TwoFeatureSetting(samples=10, patches=2, dim=12, filters=4, steps=40),
        fractions=(0.0, 0.3),
        seeds=2,
        records=3,
        test_samples=20,
    ),
    "distillation": distillation.Config(
        setting=TwoFeatureSetting(samples=10, patches=2, dim=12, filters=4, steps=40, unlearnable=0.3),
        margins=(0.0, 2.0),
        momenta=(0.5, 0.9),
        starts=(0, 15),
        seeds=2,
        records=3,
        test_samples=20,
    ),
    "two-mechanisms": two_mechanisms.Config(
        setting=replace(SMALL, samples=10, steps=40, learning_rate=2.0),
        ratios=(0.1, 0.3, 1.0),
        fractions=(0.0, 0.2),
        seeds=2,
        records=3,
        test_samples=20,
    ),
    "attack": attack.Config(setting=replace(SMALL, steps=8, sampling="vectors"), seeds=1, records=2, test_samples=10),
    "reference-points": reference_points.Config(seeds=2, points=("rho=1.8", "d=50"), test_samples=64),
    "image-cgro": image_cgro.Config(replace(TINY, samples=20, held_out=0)),
    "robust-overfitting": robust_overfitting.Config(TINY),
    "overfitting-cures": overfitting_cures.Config(
        replace(TINY, cure="temporal-ensembling"), cures=("none", "temporal-ensembling"), seeds=2, judged_images=20
    ),
    "robust-overfitting-causes": robust_overfitting_causes.Config(
        replace(TINY, samples=30, label_noise=0.5, schedule="piecewise", attack_steps=1, evaluation_steps=1),
        seeds=2,
        other_width=3,
        fractions=(0.2,),
        noises=(0.0, 0.5),
    ),
    "memorization-scores": memorization_scores.Config(
        replace(TINY, held_out=0, epochs=6, attack_steps=1, evaluation_steps=1, batch_size=20, learning_rate=0.2),
        models=12,
        mislabelled=0.1,
        tracked_runs=1,
        early=2,
    ),
    "atypical-accuracy": atypical_accuracy.Config(
        replace(TINY, held_out=0, attack_steps=1, evaluation_steps=1, batch_size=20), seeds=2
    ),
    "atypical-harm": atypical_harm.Config(
        replace(TINY, held_out=0, attack_steps=1, evaluation_steps=1, batch_size=20), seeds=2, fractions=(0.0, 1.0)
    ),
    "bat": bat.Config(
        replace(TINY, attack_steps=1, evaluation_steps=1, batch_size=20, evaluate_every=2),
        judged_images=20,
        seeds=2,
        ensemble_steps=1,
    ),
    "unlearnable-images": unlearnable_images.Config(
        replace(TINY, attack_steps=1, evaluation_steps=1, batch_size=20, learning_rate=0.2, epochs=4, width=3),
        judged_images=20,
        seeds=2,
        pool=3,
        models=10,
        ensemble_steps=1,
    ),
    "random-labels": random_labels.Config(
        replace(TINY, samples=10, held_out=0, epochs=2, width=4, label_noise=1.0, radius_warmup=0.0, learning_rate=0.2),
        boundary_epochs=(20,),
        boundary_shares=(0.5,),
        highest_radius=0.2,
        radii=3,
    ),
    "gradient-stability": gradient_stability.Config(
        replace(TINY, held_out=0, radius_warmup=0.0), at_epochs=(0, 2), distances=(0.01, 0.1), gradient_images=20
    ),
    "complexity-measures": complexity_measures.Config(
        replace(
            TINY,
            samples=12,
            held_out=0,
            epochs=4,
            attack_steps=2,
            evaluation_steps=4,
            radius=0.05,
            radius_warmup=0.0,
            learning_rate=0.1,
        ),
        objectives=("trades",),
        widths=(3,),
        noises=(1.0, 0.0, 0.5),
        seeds=4,
        ascents=1,
        gammas=(1e-2,),
        draws=50,
    ),
    "width-sweep": width_sweep.Config(TINY, widths=(1, 3)),
    "flatness": flatness.Config(TINY, at_epochs=(1, 2), ratios=(0.5, 1.0), search_steps=2),
    "image-phases": image_phases.Config(replace(TINY, evaluation_images=50, epochs=4), points=5),
    "parameter-counts": parameter_counts.Config(
        samples=(6, 10), dims=(2, 3), ratios=(0.3, 0.6), fixed_samples=8, fixed_dim=4, seeds=2
    ),
    "cgro-construction": cgro_construction.Config(
        dims=(3, 5), samples=10, test_samples=20, attack_points=3, verified=5, seeds=2
    ),
    "coverage": coverage.Config(
        samples=(6, 12), dims=(2, 3), radii=(0.05, 0.1), fixed_samples=8, test_samples=10, attack_points=3, seeds=2
    ),
    "robust-lower-bound": robust_lower_bound.Config(
        cells_per_side=(2, 3),
        largest_dim=4,
        largest_grid=10,
        bound_dim=30,
        line_cells=3,
        seeds=2,
        square_restarts=1,
        square_width=1,
    ),
    "memorization-capacity": memorization_capacity.Config(
        samples=(4, 6),
        dims=(2, 3),
        fixed_samples=4,
        fixed_dim=2,
        largest_width=7,
        restarts=1,
        steps=10,
        seeds=2,
        descents=1,
        labels=("random", "linear"),
    ),
    "memorizer-certificates": memorizer_certificates.Config(
        samples=(4, 6), dims=(2,), ratios=(0.5,), general_samples=4, general_neurons=45, broken=1, nodes=20
    ),
    "certified-cgro": certified_cgro.Config(
        samples=40, test_images=20, attacked_images=10, verified_images=3, width=2, epochs=2
    ),
}
