"""Malformed input: every command line of the table is refused in one line that says these words, and leaves no file.

In a line, words NAME=VALUE at the front are environment variables. Files that the lines name are made in `folder`.
"""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tools import Outcome, files_below, finish, start

from cgro.cli.main import main
from cgro.runs.registry import titles

Cgro = Callable[..., Outcome]
BIG = "9" * 30
LONG = "x" * 5000
HELP = "see `cgro"

PARSING = [
    ("", "required: COMMAND"),
    ("''", "invalid choice: ''"),
    ("simulat", "invalid choice: 'simulat'"),
    ("--results x list", "unrecognized|required|invalid"),
    ("list extra", "unrecognized arguments: extra"),
    ("list --jobs 2", "unrecognized arguments: --jobs 2"),
    ("list '\x1b[31mred'", "unrecognized arguments: \\x1b[31mred"),
    ("list '\u202eabc'", "\\u202eabc"),
    ("list 'two\nlines'", "two lines"),
    ("list '\udcff'", "\\udcff"),
    (f"list {LONG}", "unrecognized arguments: xxx"),
    ("list 'a\0b'", "a\\x00b"),
    ("simulate nothing-such", "experiment 'nothing-such': unknown"),
    ("simulate ''", "experiment '': unknown"),
    ("simulate ../activation", "experiment '../activation': unknown"),
    ("simulate activatoin", "did you mean activation"),
    ("simulate '\x1b[2Jx'", "unknown"),
    ("check nothing-such", "check 'nothing-such': unknown"),
    ("check end-state gram-law --seed 1", "parameters belong to one check"),
    ("figure nothing-such", "figure 'nothing-such': unknown"),
    ("figure ''", "figure '': unknown"),
    ("evaluate", "required: FILE"),
    ("memorize", "required: FILE"),
    ("reproduce --samples 3", "unrecognized arguments: --samples 3"),
    ("reproduce --preset huge", "'huge'"),
]

# Each experiment once at least, and every kind of field.
SIMULATE = [
    ("simulate phase-diagram --samples 1_0", "--samples must be an integer in digits 0 to 9, got '1_0'"),
    ("simulate phase-diagram --samples １０", "--samples must be an integer", "'１０'"),
    ("simulate phase-diagram --samples 0x10", "--samples", "'0x10'"),
    ("simulate phase-diagram --samples ''", "--samples", "got ''"),
    ("simulate phase-diagram --samples ' 5'", "--samples", "' 5'"),
    (f"simulate phase-diagram --samples {BIG}", "--samples", "2^63 - 1"),
    (f"simulate phase-diagram --samples {'9' * 5000}", "--samples", "2^63 - 1"),
    ("simulate phase-diagram --samples nan", "--samples", "'nan'"),
    ("simulate phase-diagram --samples '1\n2'", "--samples", r"'1\n2'"),
    ("simulate phase-diagram --samples", "--samples", "Missing value"),
    ("simulate phase-diagram --seed -1", "seed"),
    ("simulate phase-diagram --seeds -1", "seeds"),
    ("simulate phase-diagram --radius-ratio 1e400", "--radius-ratio must be a number that a float holds"),
    ("simulate phase-diagram --radius-ratio nan", "radius_ratio"),
    ("simulate phase-diagram --radius-ratio 0,5", "--radius-ratio must be a number like 0.5", "'0,5'"),
    ("simulate phase-diagram --signal -inf", "signal"),
    ("simulate phase-diagram --device tpu", "device"),
    ("simulate phase-diagram --x.name nothing", "axis must be one of "),
    ("simulate phase-diagram --engine ''", "--engine"),
    ("simulate phase-diagram --quiet=1", "--quiet"),
    ("simulate phase-diagram --preset deep", "'deep'"),
    ("simulate phase-diagram --jobs 0", "jobs"),
    ("simulate phase-diagram --jobs -3", "jobs"),
    ("simulate phase-diagram --jobs 1.5", "--jobs", "'1.5'"),
    ("simulate phase-diagram --jobs nan", "--jobs", "'nan'"),
    ("simulate phase-diagram --dask nonsense://nowhere", "--dask 'nonsense://nowhere': no address"),
    ("simulate phase-diagram --dask ''", "--dask"),
    ("simulate phase-transition --records 0", "records"),
    ("simulate phase-transition --stop-loss inf", "stop_loss"),
    ("simulate training-objective --weights 0.5 nan", "adversarial_weight must be finite, got nan"),
    ("simulate dimension --dims 0", "dim"),
    ("simulate activation --odd 3 inf", "exponent"),
    ("simulate attack --trainings.0.attack ''", "--trainings.0.attack"),
    ("simulate coverage --seed -1", "seed"),
    ("simulate cgro-construction --seed -1", "seed"),
    ("simulate certified-cgro --epochs -1", "epochs"),
    ("simulate flatness --radius inf", "radius"),
    ("simulate image-cgro --learning-rate nan", "learning_rate"),
    ("simulate image-phases --batch-size 0", "batch_size"),
    ("simulate robust-overfitting --label-noise 2", "label_noise"),
    ("simulate overfitting-cures --cures awp awp", "cures must be one or more different names, got awp, awp"),
    ("simulate overfitting-cures --cure-strength nan", "cure_strength must be finite, got nan"),
    ("simulate overfitting-cures --cures awpp", "--cures"),
    ("simulate gradient-stability --at-epochs 99", "at_epochs must be an integer from 0 to 16, got 99"),
    ("simulate gradient-stability --distances 0.1 nan", "distances must be finite, got nan"),
    ("simulate memorization-scores --models 5", "models must be an integer of at least 10, got 5"),
    ("simulate memorization-scores --ratio 1", "ratio must be in (0, 1), got 1"),
    ("simulate memorization-scores --ratio 0.001", "ratio must leave some of 80 images in and some out, got 0.001"),
    ("simulate memorization-scores --rotated 0.7 --blended 0.7", "must be at most 1 together, got 1.5"),
    ("simulate memorization-scores --chance 0.6", "chance must be in (0, 0.5], got 0.6"),
    ("simulate memorization-scores --label-noise 0.1", "label_noise must be 0, got 0.1: give mislabelled"),
    ("simulate dimension --dim 7", "dim must be left out, got 7: give dims"),
    ("simulate finite-size --radius-ratio 0.9", "radius_ratio must be left out, got 0.9: give low and high"),
    ("simulate finite-size --low 1 --high 0.5", "high must be above low, 1, got 0.5"),
    ("simulate finite-size --resolution 0", "resolution must be greater than 0, got 0"),
    ("simulate finite-size --resolution 1e-300", "resolution = 1e-300"),
    ("simulate finite-size --sample-counts 10 10", "sample_counts must be one or more, all different, got 10, 10"),
    ("simulate finite-size --seeds 2", "seeds must be an integer of at least 3, got 2"),
    ("simulate activation --exponent 4", "exponent must be left out, got 4.0: give odd and relu"),
    ("simulate attack --attack pgd-l2", "attack must be left out, got pgd-l2: give trainings"),
    ("simulate training-objective --adversarial-weight 0.1", "adversarial_weight must be left out, got 0.1: give weig"),
    ("simulate unlearnable --teacher-learnable 3", "teacher_learnable must be left out, got 3.0: give teachers"),
    ("simulate unlearnable --fractions 0 1.5", "fractions must be in [0, 1], got 1.5"),
    (
        "simulate unlearnable --fractions 0.001",
        "fractions must leave samples of both kinds, or be 0 or 1, got 0.001 of",
    ),
    ("simulate unlearnable --fractions 0.1 0.1", "fractions must be one or more, all different, got 0.1, 0.1"),
    ("simulate unlearnable --fractions 0.1 0.05", "fractions must be increasing, got [0.1, 0.05]"),
    ("simulate unlearnable --visibility 2", "visibility must be in [0, 1], got 2"),
    ("simulate unlearnable --margin 0", "margin must be greater than 0, got 0"),
    ("simulate unlearnable --teachers good", "--teachers"),
    ("simulate unlearnable --dim 2", "dim must be an integer of at least 3, got 2"),
    ("simulate unlearnable --records 1", "records must be an integer of at least 2, got 1"),
    ("simulate unlearnable --test-samples 100000000000", "memory"),
    (
        "simulate unlearnable --ensembling-momentum 0.9",
        "ensembling_momentum must be left out, got 0.9: give momenta of",
    ),
    ("simulate certified-transition --activation relu", "activation must be odd for a proved trajectory, got 'relu'"),
    ("simulate certified-transition --exponent 2", "exponent must be 3 for bounds on test errors, got 2"),
    ("simulate certified-transition --sampling gram --dim 200", "sampling must be vectors for a proved trajectory"),
    ("simulate certified-transition --attack pgd-l2", "attack must be transfer or worst for a proved trajectory"),
    ("simulate certified-transition --unlearnable 0.3", "unlearnable must be left out, got 0.3"),
    ("simulate certified-transition --robust-ratio 1.5", "robust_ratio must be in [0, 1], got 1.5"),
    ("simulate certified-transition --stop-loss 1", "stop_loss must be left out, got 1.0: give steps"),
    ("simulate certified-transition --bits 20", "bits must be an integer from 64 to 4,096, got 20"),
    ("simulate certified-transition --records 1", "records must be an integer of at least 2, got 1"),
    ("simulate certified-transition --tube-steps -1", "tube_steps must be a non-negative integer, got -1"),
    ("check certified-transition --robust-ratio 2", "the claim's hypothesis '0 <= robust_ratio <= 1' must hold"),
    ("check certified-transition --first-steps 1 2", "first_steps has three steps"),
    ("simulate two-mechanisms --radius-ratio 0.5", "radius_ratio must be left out, got 0.5: give ratios"),
    ("simulate two-mechanisms --unlearnable 0.5", "unlearnable must be left out, got 0.5: give fractions"),
    ("simulate two-mechanisms --ratios 0 0.5", "ratios must be greater than 0, got 0"),
    ("simulate two-mechanisms --ratios 0.5 0.2", "ratios must be increasing, got [0.5, 0.2]"),
    ("simulate two-mechanisms --fractions 0 1.5", "fractions must be in [0, 1], got 1.5"),
    (
        "simulate two-mechanisms --fractions 0.001",
        "fractions must leave samples of both kinds, or be 0 or 1, got 0.001",
    ),
    ("simulate two-mechanisms --attack pgd-l2", "attack must be one of transfer, worst, got 'pgd-l2'"),
    ("simulate two-mechanisms --sampling gram", "sampling must be one of auto, vectors, got 'gram'"),
    ("simulate two-mechanisms --stop-loss 1", "stop_loss must be left out, got 1.0: give steps"),
    ("simulate two-mechanisms --visibility 1 --fractions 0", "fractions must be greater than 0, got 0"),
    ("simulate attack --stop-loss 1", "stop_loss must be left out, got 1.0: give steps"),
    ("simulate phase-transition --unlearnable 0.1", "unlearnable must be left out, got 0.1: experiment two-mechanisms"),
    (
        "simulate phase-diagram --teacher-learnable 0",
        "teacher_learnable must be left out, got 0.0: experiment two-mech",
    ),
    ("simulate dimension --visibility 0.5", "visibility must be left out, got 0.5: experiment two-mechanisms has"),
    ("simulate attack --teacher-unlearnable 0", "teacher_unlearnable must be left out, got 0.0: experiment two-mech"),
    ("simulate activation --unlearnable 0.5", "unlearnable must be left out, got 0.5: experiment two-mechanisms"),
    (
        "simulate training-objective --unlearnable 0.5",
        "unlearnable must be left out, got 0.5: experiment two-mechanisms",
    ),
    ("simulate phase-transition --unlearnable 2", "unlearnable must be in [0, 1], got 2"),
    ("simulate phase-transition --visibility -1", "visibility must be in [0, 1], got -1"),
    (
        "simulate phase-transition --unlearnable 0.5 --dim 2 --sampling vectors",
        "dim must be at least 3, got 2: noise is",
    ),
    ("simulate distillation --teacher-unlearnable 3", "teacher_unlearnable must be left out, got 3.0: give margins"),
    (
        "simulate distillation --teacher-learnable 3",
        "teacher_learnable must be left out, got 3.0: give learnable_margin",
    ),
    ("simulate distillation --ensembling-momentum 0.9", "ensembling_momentum must be left out, got 0.9: give momenta"),
    (
        "simulate distillation --ensembling-momentum 0.9 --ensembling-start 3",
        "ensembling_start must be left out, got 3: give starts",
    ),
    ("simulate distillation --ensembling-start 3", "ensembling_start must be 0 without ensembling_momentum, got 3"),
    ("simulate distillation --unlearnable 0", "unlearnable must leave samples of both kinds, got 0 of 200"),
    ("simulate distillation --unlearnable 0.999", "unlearnable must leave samples of both kinds, got 0.999 of 200"),
    ("simulate distillation --unlearnable 2", "unlearnable must be in [0, 1], got 2"),
    ("simulate distillation --margins -1 0", "margins must be at least 0, got -1"),
    ("simulate distillation --margins 1 0", "margins must be increasing, got [1.0, 0.0]"),
    ("simulate distillation --margins", "margins must be one or more, all different, got none"),
    ("simulate distillation --learnable-margin inf", "learnable_margin must be finite, got inf"),
    ("simulate distillation --momenta 0.9 1", "momenta must be in [0, 1), got 1"),
    ("simulate distillation --momenta 0.9 0.9", "momenta must be one or more, all different, got 0.9, 0.9"),
    ("simulate distillation --starts 4000", "starts must be an integer from 0 to 3,999, got 4,000"),
    ("simulate distillation --starts 500 0", "starts must be increasing, got [500, 0]"),
    ("simulate distillation --seeds 0", "seeds must be an integer from 1 to 10,000, got 0"),
    ("simulate distillation --records 1", "records must be an integer of at least 2, got 1"),
    ("simulate distillation --test-samples 100000000000", "memory"),
    ("simulate atypical-harm --fractions 0 0.5", "fractions must increase from 0 to 1, got [0.0, 0.5]"),
    ("simulate atypical-harm --fractions 0 1 2", "fractions must be in [0, 1], got 2"),
    ("simulate atypical-harm --added atypical atypical", "added"),
    ("simulate atypical-harm --added", "added"),
    ("simulate atypical-harm --added mislabelled --mislabelled 0", "mislabelled must give at least 1 of 100 images"),
    ("simulate atypical-harm --objective standard", "objective must be one of", "got 'standard'"),
    ("simulate bat --methods adversarial trades", "methods must include adversarial and bat, got adversarial, trades"),
    (
        "simulate bat --methods adversarial bat bat",
        "methods must be one or more, all different, got adversarial, bat, bat",
    ),
    ("simulate bat --methods adversarial bat awp", "--methods"),
    ("simulate bat --objective trades", "objective must be adversarial, got trades: give methods"),
    ("simulate bat --beta 3", "beta must be left out, got 3: TRADES and MART have their own"),
    ("simulate bat --cure awp", "cure must be one of", "got 'awp'"),
    ("simulate bat --ensemble-steps 0", "ensemble_steps must be an integer from 1 to 10,000, got 0"),
    ("simulate bat --held-out 0", "held_out must be at least 10, to choose the best checkpoint by, got 0"),
    ("simulate bat --rotated 0.01 --blended 0.01", "judged_images must be enough for 1 atypical image, got 20"),
    ("simulate atypical-accuracy --rotated 0 --blended 0", "rotated and blended must make at least 1 of 100 images"),
    ("simulate atypical-accuracy --rotated 0.5 --blended 0.5", "must be at most 0.9 together, got 1.1"),
    ("simulate atypical-accuracy --blended -0.1", "blended must be in [0, 1], got -0.1"),
    ("simulate atypical-accuracy --samples 10", "samples must leave at least 10 typical images, got 10 with 0.3"),
    ("simulate atypical-accuracy --cure awp", "cure must be none, got awp: runs here differ only in their images"),
    ("simulate atypical-accuracy --label-noise 0.1", "label_noise must be 0, got 0.1: give mislabelled"),
    ("simulate atypical-accuracy --seeds 1001", "seeds must be"),
    ("simulate atypical-harm --data own", "data must be a data set by name, got own: the images are changed in known"),
    ("simulate unlearnable-images --pool 1", "pool must be an integer from 2 to 1,000, got 1"),
    ("simulate unlearnable-images --share 0", "share must be in (0, 1], got 0"),
    ("simulate unlearnable-images --smoothing 1.1", "smoothing must be in (0, 1], got 1.1"),
    ("simulate unlearnable-images --mislabelled 0.95", "mislabelled must be in [0, 0.9], got 0.95"),
    ("simulate unlearnable-images --models 9", "models must be an integer of at least 10, got 9"),
    ("simulate unlearnable-images --ratio 0.001", "ratio must leave some of 100 images in and some out, got 0.001"),
    ("simulate unlearnable-images --seeds 1001", "seeds must be an integer from 1 to 1,000, got 1,001"),
    ("simulate unlearnable-images --ensemble-steps 0", "ensemble_steps must be an integer from 1 to 10,000, got 0"),
    ("simulate unlearnable-images --held-out 0", "held_out must be at least 10, to choose the best checkpoint by"),
    ("simulate unlearnable-images --objective trades", "objective must be adversarial, got trades: arms change PGD-AT"),
    ("simulate unlearnable-images --cure awp", "cure must be none, got awp: arms here differ only in what is"),
    ("simulate unlearnable-images --label-noise 0.1", "label_noise must be 0, got 0.1: give mislabelled"),
    ("simulate unlearnable-images --data own", "data must be a data set by name, got own: the images are drawn and"),
    ("simulate robust-overfitting-causes --noises 0 2", "noises must be in [0, 1], got 2"),
    ("simulate robust-overfitting-causes --fractions 0.3 0.1", "fractions must be increasing, got [0.3, 0.1]"),
    ("simulate robust-overfitting-causes --pools wrong", "--pools"),
    ("simulate robust-overfitting-causes --other-width 0", "width"),
    ("simulate complexity-measures --noises 0 0.5", "noises must include 1, random labels, got 0.0, 0.5"),
    ("simulate complexity-measures --seeds 1", "models without random labels must be at least 8, got 4"),
    (
        "simulate complexity-measures --gammas 0.01 0.005",
        "gammas must be one or more and increasing, got [0.01, 0.005]",
    ),
    ("simulate complexity-measures --norm 2", "norm must be inf"),
    ("simulate random-labels --noises 1 2", "noises must be in [0, 1], got 2"),
    ("simulate random-labels --boundary-shares 0 1", "beta must be in (0, 1,000,000.0], got 0"),
    ("simulate random-labels --model wrn-16 --width 1 --data cifar10", "model must have no batch norm"),
    ("simulate random-labels --objectives pgd", "--objectives"),
    ("train --objective mixture --beta 2", "beta must be at most 1 with objective mixture, got 2"),
    ("train --cure ensembling", "--cure"),
    ("train --cure temporal-ensembling --cure-momentum 1", "cure_momentum must be in [0, 1), got 1.0"),
    ("train --cure temporal-ensembling --cure-start 9 --cure-end 3", "cure_end must be after cure_start, got 9 to 3"),
    ("train --cure reweighting", "cure_scores must be given with cure reweighting"),
    ("train --cure dropping --cure-scores no.csv", "cure_scores no.csv: no such file; write one with the columns"),
    ("train --cure dropping --cure-scores .", "cure_scores .: no such file"),
    ("train --cure bat --cure-discrimination nan", "cure_discrimination must be finite, got nan"),
    ("train --cure bat --micro-batch 2", "micro_batch must be left out with cure bat, got 2"),
    ("train --cure bat --objective trades", "objective must be adversarial with cure bat, got trades"),
    ("simulate width-sweep --widths 0", "width"),
    ("simulate reference-points --seeds -1", "seeds"),
    ("simulate memorization-capacity --samples -1", "samples"),
    ("simulate memorizer-certificates --ratios 0.5 2", "ratio"),
    ("simulate parameter-counts --dims 0", "dim"),
    ("simulate robust-lower-bound --ratio nan", "ratio"),
]

CHECK = [
    ("check gram-law --seed -1", "check gram-law: seed must be a non-negative integer, got -1"),
    ("check gram-law --seed 1.5", "--seed must be an integer"),
    ("check gram-law --seed １", "--seed must be an integer"),
    ("check gram-law --tolerance nan", "tolerance must be finite, got nan"),
    ("check gram-law --tolerance 1e400", "--tolerance must be a number that a float holds"),
    ("check gram-law --draws -5", "draws"),
    ("check integer-indicator --step inf", "step must be finite, got inf"),
    ("check end-state --signals 1 nan", "signals must be finite, got nan"),
    ("check square-error --levels 0", "hypothesis"),
    ("check square-error --levels 99", "hypothesis"),
    ("check square-error --level 3", "--level", "did you mean --levels"),
    ("check square-error --seeds -1", "--seeds", "-1"),
    ("check square-error --seeds x", "--seeds", "x"),
    ("check square-error --time-limit nan", "--time-limit", "'nan'"),
    ("check square-error --time-limit inf", "--time-limit", "'inf'"),
    ("check square-error --time-limit -1", "--time-limit"),
    ("check square-error --time-limit 0", "--time-limit"),
    ("check square-error --time-limit abc", "--time-limit"),
    ("check square-error --jobs 0", "jobs"),
    ("check square-error --jobs 1e3", "--jobs"),
    ("check square-error --preset paper", "'paper'"),
    ("check square-error --results file/below", "file/below", "Not a directory"),
]

TRAIN = [
    ("train --preset imagenet", "'imagenet'"),
    ("train --data imagenet", "'imagenet'"),
    ("train --model nothing", "model"),
    ("train --epochs 0", "epochs"),
    ("train --epochs 1_0", "--epochs must be an integer"),
    ("train --radius nan", "radius"),
    ("train --radius 8", "radius", "8/255"),
    ("train --norm 3", "--norm", "'3'"),
    ("train --learning-rate -0.1", "learning_rate"),
    ("train --learning-rate inf", "learning_rate"),
    ("train --batch-size -1", "batch_size"),
    ("train --drops 1 x", "--drops must be an integer in digits 0 to 9, got 'x'"),
    ("train --width -1", "width"),
    ("train --seed -1", "seed"),
    ("train --held-out -1", "held_out"),
    ("train --held-out 5000 --device cpu", "held_out"),
    ("train --samples 100000 --device cpu", "samples"),
    ("train --device tpu", "device"),
    ("train --checkpoint-every 0", "--checkpoint-every"),
    ("train --checkpoint-every nan", "--checkpoint-every"),
    ("train --output file/run", "file/run", "Not a directory"),
    ("train --output loop/run", "loop/run", "symbolic links"),
    (f"train --output {LONG}", "File name too long"),
    ("train --results /proc/nothing", "/proc/nothing"),
    ("train --preset mnist --data-dir truncated", "truncated/train-images-idx3-ubyte.gz", "truncated gzip"),
    ("train --preset mnist --data-dir altered", "altered/train-images-idx3-ubyte: altered, its sha256", "ba891046e650"),
    ("train --preset mnist --data-dir short", "short/train-images-idx3-ubyte.gz", "expected 47,040,016"),
    ("train --preset mnist --data-dir empty-mnist", "empty-mnist/train-images-idx3-ubyte.gz", "holds 0 bytes"),
    ("train --preset mnist --data-dir file", "file"),
    ("train --preset cifar10 --data-dir pickle", "data_batch_1"),
    ("train --preset cifar10 --data-dir records", "data_batch_1.bin", "holds 10 bytes", "expected 30,730,000"),
    ("CGRO_DATA=truncated train --preset mnist", "truncated/train-images-idx3-ubyte.gz", "truncated gzip"),
    ("CGRO_DATA=file train --preset mnist", "file"),
]

EVALUATE = [
    ("evaluate nothing.safetensors", "nothing.safetensors"),
    ("evaluate .", "."),
    ("evaluate loop", "loop"),
    ("evaluate empty", "empty"),
    ("evaluate random", "random"),
    ("evaluate cut.safetensors", "cut.safetensors"),
    ("evaluate flipped.safetensors", "flipped.safetensors"),
    ("evaluate good.safetensors --images 0", "--images"),
    ("evaluate good.safetensors --images 9", "--images"),
    ("evaluate good.safetensors --images 100000000000000000", "--images"),
    ("evaluate good.safetensors --images １００", "--images"),
    ("evaluate good.safetensors --steps 0", "--steps"),
    ("evaluate good.safetensors --batch -1", "--batch"),
    ("evaluate good.safetensors --radius nan", "radius"),
    ("evaluate good.safetensors --radius -1", "radius"),
    ("evaluate good.safetensors --radius ten", "--radius", "'ten'"),
    ("evaluate good.safetensors --norm 2", "--radius"),
    ("evaluate good.safetensors --norm 3", "--norm", "'3'"),
    ("evaluate good.safetensors --part all", "--part", "'all'"),
    ("evaluate good.safetensors --seed -1", "--seed"),
    ("evaluate good.safetensors --device tpu", "--device"),
]

FIGURE = [
    ("figure --result good.nc", "name the figure"),
    ("figure phase-diagram --result nothing.nc", "nothing.nc: not found"),
    ("figure phase-diagram --result .", "Is a directory"),
    ("figure phase-diagram --result empty", "empty", "damaged"),
    ("figure phase-diagram --result random", "random", "damaged"),
    ("figure phase-diagram --result points.csv", "points.csv", "damaged"),
    ("figure phase-diagram --preset deep", "'deep'"),
    ("figure phase-diagram --results file", "file"),
    ("figure phase-diagram --output", "--output"),
]

MEMORIZE = [
    ("memorize nothing.csv", "nothing.csv"),
    ("memorize .", "."),
    ("memorize empty", "empty"),
    ("memorize random", "random"),
    ("memorize cut.npz", "cut.npz"),
    ("memorize names.npz", "points", "labels"),
    ("memorize ragged.csv", "ragged.csv", "row"),
    ("memorize nan.csv", "nan"),
    ("memorize twice.csv", "twice.csv: rows", "same point"),
    ("memorize one.csv", "label"),
    ("memorize words.csv", "words.csv"),
    ("memorize points.csv --norm 3", "norm"),
    ("memorize points.csv --norm ''", "norm"),
    ("memorize points.csv --radius 9", "radius"),
    ("memorize points.csv --radius nan", "radius"),
    ("memorize points.csv --radius -1", "radius"),
    ("memorize points.csv --radius 1 --ratio 0.5", "--ratio"),
    ("memorize points.csv --ratio 0", "--ratio"),
    ("memorize points.csv --ratio 1", "--ratio"),
    ("memorize points.csv --ratio inf", "--ratio"),
    ("memorize points.csv --construction nothing", "construction"),
    ("memorize points.csv --verify -1", "--verify"),
    ("memorize points.csv --verify 1.5", "--verify"),
    ("memorize points.csv --export -1", "--export"),
    ("memorize points.csv --nodes -1", "--nodes"),
    ("memorize points.csv --nodes nan", "--nodes"),
    ("memorize points.csv --output file/below", "file: cannot write"),
]

MEMORIZED = [
    ("memorized", "required: FILE or DATA"),
    ("memorized --models 10 digits", "required: FILE or DATA, before the options"),
    ("memorized digts", "digts: neither a file, a folder, nor one of the data sets", "did you mean digits"),
    ("memorized ''", "must not be empty|neither a file"),
    ("memorized nothing/there", "nothing/there: no such file or folder; give an .npz file"),
    ("memorized digits --data mnist", "--data mnist: the images are already named, digits; give mnist"),
    ("memorized images.npz --data digits", "--data digits: the images are already named, images.npz"),
    ("memorized file", "file: it is no .npz archive"),
    ("memorized loop", "loop: neither"),
    ("memorized random", "random: it is no .npz archive"),
    ("memorized cut.npz", "cut.npz: it is no .npz archive"),
    ("memorized names.npz", "names.npz: must have an array images, got x"),
    ("memorized one-class.npz", "two or more classes, got only those of class 7"),
    ("memorized unequal.npz", "labels must be one for each of the 12 images, got 2"),
    ("memorized wide.npz --samples 12", "images must be square, got 4 x 3: crop or pad them"),
    ("memorized images.npz --samples 13", "samples must be 10 to 12 with own"),
    ("memorized images.npz --ratio 0.99", "ratio must leave some of 12 images in and some out, got 0.99"),
    ("memorized images.npz --radius 8", "radius"),
    ("memorized empty-folder", "empty-folder: has no subfolders of images"),
    ("memorized pictures", "pictures: dog/1.png must be 4 x 4 pixels like cat/1.png, got 5 x 4"),
    ("memorized digits --models 9", "models must be an integer of at least 10, got 9"),
    ("memorized digits --ratio 1", "ratio must be in (0, 1), got 1"),
    ("memorized digits --chance 0", "chance must be in (0, 0.5], got 0"),
    ("memorized digits --threshold nan", "threshold must be finite, got nan"),
    ("memorized digits --tracked-runs 0", "tracked_runs must be an integer from 1 to 1,000, got 0"),
    ("memorized digits --early 0", "early must be"),
    ("memorized digits --label-noise 0.1", "label_noise must be 0, got 0.1: it replaces labels to be scored"),
    ("memorized digits --preset mnist", "--preset"),
    ("memorized digits --jobs 0", "jobs"),
    ("memorized digits --output file", "--output must name a folder, got the file file"),
    ("memorized digits --results file/below", "file/below", "Not a directory"),
]

ELSEWHERE = [
    ("CGRO_THREADS=0 simulate phase-diagram --jobs 1", "CGRO_THREADS must be a positive integer, got '0'"),
    ("CGRO_THREADS=１ reproduce", "CGRO_THREADS must be a positive integer, got '１'"),
    (f"CGRO_THREADS={BIG} check square-error", "CGRO_THREADS"),
    ("CGRO_THREADS=1.5 train --preset digits", "CGRO_THREADS must be a positive integer, got '1.5'"),
    ("CGRO_RESULTS=file simulate phase-diagram --jobs 1", "file", "Not a directory|folder"),
    ("simulate phase-diagram --jobs 1 --results file/below", "file/below", "Not a directory"),
    ("simulate phase-diagram --jobs 1 --results /proc/nothing", "/proc/nothing"),
    ("simulate phase-diagram --jobs 1 --results loop", "loop"),
    (f"simulate phase-diagram --jobs 1 --results {LONG}", "File name too long"),
    ("reproduce --jobs 0", "jobs"),
    ("reproduce --results file/below --jobs 1", "file/below", "Not a directory"),
]

TABLE = [*PARSING, *SIMULATE, *CHECK, *TRAIN, *EVALUATE, *FIGURE, *MEMORIZE, *MEMORIZED, *ELSEWHERE]
TOY = "train --samples 40 --held-out 30 --epochs 1 --width 3 --attack-steps 1 --device cpu --quiet --output"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are what they should be, and files that are not."""
    here = tmp_path_factory.mktemp("bad")
    write = np.random.default_rng(0).bytes
    (here / "file").write_text("")
    (here / "empty").write_bytes(b"")
    (here / "random").write_bytes(write(3000))
    (here / "loop").symlink_to("loop")
    _points(here)
    _images(here)
    for place, name, content in (
        ("truncated", "train-images-idx3-ubyte.gz", gzip.compress(write(9000))[:-9]),
        ("altered", "train-images-idx3-ubyte", b"\0\0\x08\x03\0\0\xea\x60\0\0\0\x1c\0\0\0\x1c" + bytes(47_040_000)),
        ("short", "train-images-idx3-ubyte.gz", gzip.compress(bytes(100))),
        ("empty-mnist", "train-images-idx3-ubyte.gz", b""),
        ("pickle", "cifar-10-batches-py/data_batch_1", write(100)),
        ("records", "cifar-10-batches-bin/data_batch_1.bin", write(10)),
    ):
        (here / place / name).parent.mkdir(parents=True)
        (here / place / name).write_bytes(content)
    assert main([*TOY.split(), str(here / "run")]) == 0
    shutil.move(here / "run" / "last.safetensors", here / "good.safetensors")
    shutil.rmtree(here / "run")
    good = bytearray((here / "good.safetensors").read_bytes())
    (here / "cut.safetensors").write_bytes(good[: len(good) // 2])
    good[len(good) // 2] ^= 1
    (here / "flipped.safetensors").write_bytes(good)
    return here


def _points(here: Path) -> None:
    (here / "points.csv").write_text("x,y,label\n0,0,-1\n1,1,1\n")
    (here / "ragged.csv").write_text("0,0,-1\n1,1\n")
    (here / "nan.csv").write_text("0,nan,-1\n1,1,1\n")
    (here / "twice.csv").write_text("x,y,label\n0,0,-1\n0,0,1\n")
    (here / "one.csv").write_text("x,y,label\n0,0,1\n1,1,1\n")
    (here / "words.csv").write_text("a,b,c\nd,e,f\n")
    np.savez(here / "whole.npz", points=np.zeros((2, 2)), labels=[-1, 1])
    (here / "cut.npz").write_bytes((here / "whole.npz").read_bytes()[:100])
    np.savez(here / "names.npz", x=np.zeros((2, 2)))


def _images(here: Path) -> None:
    images, labels = np.zeros((12, 4, 4)), np.arange(12) % 2
    np.savez(here / "images.npz", images=images, labels=labels)
    np.savez(here / "wide.npz", images=images[:, 1:], labels=labels)
    np.savez(here / "unequal.npz", images=images, labels=labels[:2])
    np.savez(here / "one-class.npz", images=images, labels=np.full(12, 7))
    (here / "empty-folder").mkdir()
    for name, size in (("cat", (4, 4)), ("dog", (5, 4))):
        (here / "pictures" / name).mkdir(parents=True)
        Image.new("L", size).save(here / "pictures" / name / "1.png")


def split(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of a line of the table; its environment variables are set."""
    words = shlex.split(line)
    while words and words[0].startswith("CGRO_"):
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    return words


@pytest.mark.parametrize(
    ("line", "words"), [(line, words) for line, *words in TABLE], ids=[ascii(r[0])[1:60] for r in TABLE]
)
def test_it_is_refused_in_one_line(
    line: str, words: list[str], folder: Path, cgro: Cgro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CGRO_DATA", raising=False)
    before = set(files_below(folder))
    error = cgro(*split(line, monkeypatch)).error
    assert error.isprintable()
    assert len(error) < 2500
    for word in words:
        assert any(one in error for one in word.split("|")), error
    assert set(files_below(folder)) == before


@pytest.mark.parametrize("line", ["memorize nothing.csv --nodes 1_0", "memorize nothing.csv", "list $'\\xff'"])
def test_a_process_refuses_it_too(line: str) -> None:
    words = [os.fsdecode(b"\xff") if "xff" in word else word for word in shlex.split(line)]
    assert "cgro: error: " in finish(start(*words)).error


def test_the_table_is_large_and_every_command_is_in_it() -> None:
    lines = [line for line, *_ in TABLE]
    assert len(set(lines)) == len(lines) >= 120
    for experiment in titles("experiment"):
        assert any(line.startswith(f"simulate {experiment} ") for line in lines), experiment
    for command in ("list", "simulate", "check", "train", "evaluate", "figure", "memorize", "memorized", "reproduce"):
        assert any(command in line.split() for line in lines)
