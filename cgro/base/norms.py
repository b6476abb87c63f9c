"""The norms l_1, l_2 and l_inf of perturbations: names, duals, norms and distances."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Float

from cgro.base.validate import one_of

Norm = Literal["1", "2", "inf"]
DUAL: dict[Norm, Norm] = {"1": "inf", "2": "2", "inf": "1"}
"""max over |u|_p <= 1 of <w, u> is the dual norm of w."""
EXPONENT: dict[Norm, float] = {"1": 1.0, "2": 2.0, "inf": math.inf}
_METRIC = {"1": "cityblock", "2": "euclidean", "inf": "chebyshev"}


def require_norm(norm: str) -> Norm:
    """The norm of that name. Raises: UserError for an unknown name."""
    one_of("norm", norm, get_args(Norm))
    return norm  # type: ignore[return-value]


def cube_diameter(norm: Norm, dim: int) -> float:
    """Largest distance between two points of [0, 1]^dim, e.g. images of `dim` pixels."""
    return {"inf": 1.0, "2": math.sqrt(dim), "1": float(dim)}[norm]


def length(x: Float[np.ndarray, "*batch D"], norm: Norm) -> Float[np.ndarray, "*batch"]:
    """Norm over the last dim."""
    return np.linalg.norm(x, ord=EXPONENT[norm], axis=-1)


def distances(a: Float[np.ndarray, "A D"], b: Float[np.ndarray, "B D"], norm: Norm) -> Float[np.ndarray, "A B"]:
    """Distance from every a to every b, from coordinate differences, so that nothing cancels for close points."""
    return scipy.spatial.distance.cdist(a, b, _METRIC[norm])
