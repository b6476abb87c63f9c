"""Li et al., NeurIPS 2022; Yu, Gao & Zhang, ICLR 2024; Kim, Moon & Yun, NeurIPS 2025: bounds and proofs."""

from __future__ import annotations

from entry import Comparison, Entry, Paper
from measured import stored

COUNTS, CERTIFIED = "parameter-counts-quick", "memorizer-certificates-paper"
PROOFS = "../proofs_check"


def _check(place: str) -> str:
    """A link to a check, by area and file name."""
    return f"[{place.split('/')[1].replace('_', '-')}]({PROOFS}/{place}.py)"


def _formula(name: str, file: str) -> str:
    return f"[{name}](../cgro/memorizers/{file}.py)"


def _along_ratio(count: str) -> str:
    """Sizes of the projected shared square at the smallest and largest ratio, with the lower bound."""
    result = stored(COUNTS)
    chosen = (result["axis"] == "ratio") & (result["construction"] == "projected_ball_sum")
    part = result.isel(record=chosen.values).sortby("ratio")
    words = []
    for k in (0, -1):
        at = part.isel(record=k)
        bound = f", lower bound {int(at['lower_bound']):,}" if count == "total" else ""
        words.append(f"rho = {float(at['ratio']):g}: {int(at[count]):,}{bound}")
    at = part.isel(record=0)
    return f"N = {int(at['samples'])}, D = {int(at['dim'])}; {'; '.join(words)}"


def _sequential() -> str:
    part = stored(CERTIFIED)
    part = part.isel(record=((part["construction"] == "sequential") & (part["broken"] == 0)).values)
    return (
        f"{part.sizes['record']} networks built, {int(part['counts_equal'].sum())} sizes equal to the formula, "
        f"{float((part['structural'] * part['samples']).sum() / part['samples'].sum()):.0%} of the "
        f"{int(part['samples'].sum()):,} points certified"
    )


def _bounds() -> list[list[str]]:
    rows = [
        ("lower", "p > 2, all rho", "min(N, d) d rho^2, Proposition C.6", "lower_bounds/first_layer_width"),
        ("lower", "p <= 2, all rho", "min(N, d) d (rho / gamma_p)^2, Proposition C.6",
         "lower_bounds/first_layer_width"),
        ("lower", "p = inf, rho > 1/2", "min(N, d) d, Proposition C.7", "lower_bounds/first_layer_width"),
        ("lower", "p = inf, rho = 0.8", "d^2, Yu et al.", "lower_bounds/width_below_dimension"),
        ("lower", "p < inf, rho <= (1 - 1/d)^(1/p)", "sqrt(N / (1 - rho^p)), Proposition C.8",
         "lower_bounds/shattering"),
        ("lower", "p = 2, rho -> 1", "sqrt(N d), Li et al.", "lower_bounds/memorizer_parameters"),
        ("upper", "rho < 1 / (gamma_p N sqrt d)", "sqrt(N), Theorem C.12", "sizes/grid_cells_size"),
        ("upper", "up to 1 / (gamma_p sqrt d)", "N d^(1/4) (rho gamma_p)^(1/2), Theorem C.13",
         "sizes/grouped_cells_size"),
        ("upper", "up to 1 / (gamma_p sqrt d)", "N, Egosi et al.", "projections/egosi_condition"),
        ("upper", "up to 1 / gamma_p", "N d^2 (rho gamma_p)^2 as printed; Theorem C.14 itself has the exponent 4",
         "construction_s/published_order"),
        ("upper", "up to 1 / gamma_p", "N d^3 (rho gamma_p)^6, Egosi et al.", "projections/egosi_condition"),
        ("upper", "all rho", "N d^2 p^2, Yu et al.", "memorizers/sequential_state"),
    ]  # fmt: skip
    built = {
        "sizes/grid_cells_size": _formula("grid_cells", "cells"),
        "sizes/grouped_cells_size": _formula("grouped_cells", "grouped_cells"),
        "construction_s/published_order": _formula("projected_ball_sum", "projected"),
        "memorizers/sequential_state": _formula("sequential", "sequential") + ", l_inf only",
    }
    return [[side, where, bound, _check(check), built.get(check, "-")] for side, where, bound, check in rows]


def _statement(place: str, shows: str, published: str, check: str, more: str = "") -> Entry:
    """A figure that illustrates a statement, or the statement itself."""
    words = "Not drawn: an illustration. What it illustrates" if place.startswith("Figure") else "The statement"
    decided = f"{words} is decided by {_check(check)}."
    return Entry(place, shows, published, difference=f"{decided} {more}".strip(), kind="statement")


LI = Paper(
    "Li et al.: why robust generalization is difficult",
    "NeurIPS 2022, [arXiv:2205.13863](https://arxiv.org/abs/2205.13863)",
    "The theorems [S]. Whether the paper has further figures or tables could not be verified.",
    (
        _statement(
            "Theorems 2.2 and 2.3", "Sizes for zero robust training error", "O(N D log(D / delta)), Omega(sqrt(N "
            "D)) [S]",
            "sizes/shared_square_order",
        ),
        _statement(
            "Theorem 4.3", "Robust generalization needs exponentially many parameters on a separable family",
            "(2 eps)^(-(D-1)/6) [S]", "lower_bounds/robust_size",
            "There with the exponent (D-1)/2 for that family. `cgro simulate robust-lower-bound` draws it.",
        ),
    ),
)  # fmt: skip

YU = Paper(
    "Yu, Gao & Zhang: optimal robust memorization",
    "ICLR 2024, [OpenReview 47hDbAMLbc](https://openreview.net/forum?id=47hDbAMLbc)",
    "The abstract and reviews [N]. Whether the paper has figures or tables could not be verified; these are its "
    "statements.",
    (
        _statement(
            "Theorem 4.1", "Robust memorization by depth 2 and width 2 is NP-hard", "[N]",
            "lower_bounds/two_neuron_hardness",
        ),
        _statement(
            "lower bound of the width", "No width below the dimension memorizes all data sets",
            "width at least D for N > D, rho >= 0.8 [read: Kim, Moon & Yun, section 3]",
            "lower_bounds/width_below_dimension", "There with its sharp threshold.",
        ),
        Entry(
            "Theorem 4.8", "Networks of depth 2N + 1 and width 3D + 1 with O(N D) non-zero parameters", "[N]",
            CERTIFIED, "", _sequential, "In l_inf, as in the theorem.", kind="statement",
        ),
        Entry(
            "Theorem 5.2", "O(N D log D) parameters with a controlled Lipschitz constant, two labels", "[N]",
            difference="Not built. The construction `lipschitz` has the best constant with O(N D) parameters instead.",
        ),
    ),
)  # fmt: skip

KIM = Paper(
    "Kim, Moon & Yun: the cost of robustness",
    "NeurIPS 2025, [arXiv:2510.24643](https://arxiv.org/abs/2510.24643)",
    "The text of the paper [read]. All of its eight figures illustrate bounds and proofs; nothing is measured there.",
    (
        Entry(
            "Figure 1", "Upper and lower bounds of the number of parameters against rho, log-log, d = Theta(N)",
            "N d^2 rho^4 against (rho^2 min(N, d) + 1) d for large rho, without constants [read]",
            COUNTS, "parameter-counts", lambda: _along_ratio("total"),
            "Built networks with their exact counts, for one N and D, and the orders beside them. The shared "
            "square needs fewer than the published order for N above sqrt(D) / rho.", kind="statement",
        ),
        _statement(
            "Figure 2a, 2b", "The points e_j and 0, and the distance of e_j from a null space",
            "first layer at least rho^2 min(N - 1, d) wide [read: Proposition 3.2]", "lower_bounds/first_layer_width",
        ),
        _statement(
            "Figure 3", "A projection that keeps balls apart", "for rho <= 2/5 sqrt(m / d) [read: section 5.2]",
            "projections/projected_separation",
        ),
        _statement(
            "Figure 4a, 4b", "Balls inside cells of a grid, and balls across them",
            "sqrt(N) and N d^(1/4) rho^(1/2) parameters [read: Theorem 4.2]", "sizes/grouped_cells_size",
            "There with error 0 by ReLUs alone, where the theorem allows an error eta.",
        ),
        _statement(
            "Figure 5", "Shattered points and the balls that shatter them",
            "floor(N/2) floor(1/(1 - rho^2)) points [read: Appendix A.3]", "lower_bounds/shattering",
        ),
        Entry(
            "Figure 6", "A tree of the five cases of Theorem B.14", "[read: Appendix B.3]",
            difference="Not drawn: no quantity. In its fifth case, N < d, the proof gives N^3 rho^4 + N d rho^2, "
            "which is "
            f"what {_check('construction_s/published_order')} compares with.", kind="statement",
        ),
        _statement(
            "Figure 7", "The ReLU step of which the floor network is made", "[read: Lemma B.16]",
            "gadgets/floor_network",
        ),
        Entry(
            "Figure 8", "The same as Figure 1 for non-zero parameters, d = Theta(sqrt N)",
            "N d rho^2 + d against sqrt(N min(d, 1/(1 - rho^2))) [read: Appendix E]",
            COUNTS, "parameter-counts", lambda: _along_ratio("nonzero"),
            "Bottom row of the picture, for one N and D.", kind="statement",
        ),
        Entry(
            "Table 1", "Bounds for all l_p norms, with those of earlier papers", "see below [read: Appendix D.1]",
            difference="Orders, not numbers: each has a check, see below.", kind="statement",
        ),
    ),
    (
        Comparison(
            "Table 1: orders of parameter counts [read], and what decides or builds them here. gamma_p = d^|1/p - "
            "1/2|.",
            ("bound", "range", "order", "check", "construction"), _bounds,
        ),
    ),
)  # fmt: skip
