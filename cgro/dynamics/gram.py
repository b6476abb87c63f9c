"""The `gram` engine: gradient descent in the reduced variables (u, v), at a cost that does not depend on d.

Derivation [D], verified against the direct engine in the tests: the gradient of filter r lies in the span of the
features and of the noise patches, which are orthogonal to them, so the dynamics of u and v are closed given G. With A
the accumulated coefficients of the patches,

    v = v(0) + A G,    K = K(0) + v(0) A^T + A v^T.

The recursion has two implementations: a compiled loop over runs on the CPU (`kernel`), and batched tensor operations
for a GPU (`_tensor_step`; it also runs on the CPU, where the tests compare the two). Your own activation takes the
latter on every device, with its derivative by autograd.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from cgro.base.errors import UserError
from cgro.base.machine import available_cores, limited_threads
from cgro.dynamics import kernel
from cgro.dynamics.activations import activation, factor, require_function, slope
from cgro.dynamics.crossings import LEVELS, Watch
from cgro.dynamics.memory import require_engine
from cgro.dynamics.patch_cnn import initial_filters, output_signs
from cgro.dynamics.runs import Runs, State, gram_draw, vector_draw
from cgro.dynamics.signal_attack import SignalAttack, attacked, margins


class GramEngine:
    """Trains a batch of runs in the reduced variables.

    compiled: use the compiled loop (default on the CPU) or tensor operations. threads: worker threads of the compiled
    loop, None for all cores; the result does not depend on them.

    Raises: UserError for an attack that leaves the set A (the reduction is exact only inside A).
    """

    def __init__(
        self,
        runs: Runs,
        device: torch.device | str = "cpu",
        *,
        compiled: bool | None = None,
        threads: int | None = None,
    ) -> None:
        setting = runs.common
        if setting.attack not in ("transfer", "worst"):
            raise UserError(
                f"attack must be transfer or worst with engine gram, got {setting.attack!r}: use --engine direct for "
                "attacks on the whole input"
            )
        if callable(setting.activation):
            require_function(setting.activation)
            compiled = False  # the loop knows powers only
        self.runs = runs
        self.device = torch.device(device)
        self.compiled = self.device.type == "cpu" if compiled is None else compiled
        self.threads = threads or available_cores()
        kind = setting.activation
        self.signs = output_signs(setting.filters, kind).to(self.device)

        # One draw per seed and dimension: scales only multiply it, so all runs of a seed share their Gram matrix.
        keys = [(seed, s.dim, s.draws_gram) for s, seed in zip(runs.settings, runs.seeds, strict=True)]
        index = {key: k for k, key in enumerate(dict.fromkeys(keys))}
        first = {key: b for b, key in reversed(list(enumerate(keys)))}
        require_engine(setting, runs=len(runs), draws=len(index), direct=False)
        draws = [gram_draw(runs.settings[first[key]], key[0]) for key in index]
        self.draw = np.array([index[key] for key in keys])

        def stacked(name: str) -> Tensor:
            return torch.from_numpy(np.stack([getattr(d, name) for d in draws])).to(self.device)

        self.G, self.labels = stacked("gram"), stacked("labels")
        scale, noise = runs.values("init_scale", self.device), runs.values("noise", self.device)
        each = torch.from_numpy(self.draw).to(self.device)

        def doubled(x: Tensor) -> Tensor:
            return initial_filters(x, kind)

        self.u = scale[:, None, None] * doubled(stacked("signal_projection")[..., None])[each, ..., 0]
        self.u[:, 1:] *= runs.values("visibility", self.device)[:, None, None]
        self.unlearnable = stacked("rank")[each] < runs.values("unlearnable", self.device)[:, None]
        self.v0 = (scale * noise)[:, None, None] * doubled(stacked("noise_projection"))[each]
        self.K0 = scale[:, None, None] ** 2 * doubled(doubled(stacked("filter_gram")).mT)[each]
        self.v, self.A = self.v0.clone(), torch.zeros_like(self.v0)
        names = ("signal", "radius", "adversarial_weight", "learning_rate", "noise", "visibility")
        doubts = 1 - torch.tensor([s.targets for s in runs.settings], dtype=torch.float64, device=self.device)
        columns = [runs.values(name, self.device) for name in names]
        self.parameters = torch.stack([*columns, *doubts.unbind(1)], dim=1)
        self.taken = 0
        self._times = np.full((len(runs), len(LEVELS)), np.nan)
        self._watch = Watch(self.parameters[:, kernel.SIGNAL], self.unlearnable)

    def advance(self, steps: int) -> None:
        if self.compiled:
            self._compiled_steps(steps)
            self.taken += steps
            return
        # Tensors of this size lose time on several threads of a CPU.
        with limited_threads(1) if self.device.type == "cpu" else nullcontext():
            for _ in range(steps):
                self._tensor_step()
                self.taken += 1
        self._watch.see(self.taken, self.u[:, 0], self._slopes_and_memorized()[1])

    def times(self) -> np.ndarray:
        return self._times.copy() if self.compiled else self._watch.times()

    def state(self) -> State:
        A = self.A / self.parameters[:, kernel.NOISE, None, None] ** 2
        K = self.K0 + self.v0 @ A.mT + A @ self.v.mT
        labels = self.labels[torch.from_numpy(self.draw).to(self.device)]
        return State(u=self.u, v=self.v, K=(K + K.mT) / 2, labels=labels, unlearnable=self.unlearnable)

    def memorized(self) -> Float64[Tensor, "B N"]:
        """V_i of every training sample of each run."""
        return self._slopes_and_memorized()[1]

    def filters(self, run: int) -> Float64[Tensor, "F d"]:
        """The filters of one run, from the coefficients of its patches. Raises: ValueError if it has no patches."""
        setting = self.runs.settings[run]
        if setting.draws_gram:
            raise ValueError("the run draws only its Gram matrix and has no patches")
        drawn, K = vector_draw(setting, self.runs.seeds[run]), setting.features
        start = setting.init_scale * torch.from_numpy(drawn.filters).to(self.device)
        W = initial_filters(start, setting.activation).clone()
        W += (self.A[run] / setting.noise) @ torch.from_numpy(drawn.noise).to(self.device)
        W[:, :K] = self.u[run].mT
        return W

    def keep(self, indices: np.ndarray) -> None:
        chosen = torch.from_numpy(indices).to(self.device)
        for name in ("u", "v", "v0", "A", "K0", "parameters", "unlearnable"):
            setattr(self, name, getattr(self, name)[chosen].contiguous())
        self.runs, self.draw, self._times = self.runs.select(indices), self.draw[indices], self._times[indices]
        self._watch.keep(chosen)

    def _compiled_steps(self, steps: int) -> None:
        setting = self.runs.common
        arrays = [x.numpy() for x in (self.v, self.A, self.u, self.G, self.labels, self.unlearnable)]
        rest = (self.draw, self.signs.numpy(), self.parameters.numpy(), float(setting.exponent))
        flags = (setting.activation == "relu", setting.attack == "worst", self.taken, steps)
        watched = (np.array(LEVELS), self._times)
        # Short slices let the threads share uneven work.
        slices = np.array_split(np.arange(len(self.runs)), min(len(self.runs), 4 * self.threads))

        def work(part: np.ndarray) -> None:
            kernel.advance(*arrays, *rest, *flags, *watched, int(part[0]), int(part[-1]) + 1)

        # No BLAS threads inside ours: the products are small, and their last bits would depend on the thread count.
        with limited_threads(1, "blas"):
            if self.threads == 1 or len(slices) == 1:
                for part in slices:
                    work(part)
            else:
                with ThreadPoolExecutor(self.threads) as pool:
                    list(pool.map(work, slices))

    def _slopes_and_memorized(self) -> tuple[Tensor, Tensor]:
        """Signed slopes at v (B, F, n), and V_i (B, N)."""
        q, kind = self.runs.common.exponent, self.runs.common.activation
        W = self.signs[:, None] * slope(self.v, q, kind)
        phi = self.signs[:, None] * activation(self.v, q, kind) if callable(kind) else W * self.v
        y = self.labels[torch.from_numpy(self.draw).to(self.device)].to(torch.float64)
        return W, y * phi.sum(1).view(*y.shape, -1).sum(2)

    def _tensor_step(self) -> None:
        setting = self.runs.common
        q, kind = setting.exponent, setting.activation
        alpha, delta, lam, eta, sigma, kappa, *doubts = self.parameters.unbind(1)
        each = torch.from_numpy(self.draw).to(self.device)
        y = self.labels[each].to(torch.float64)
        side = (y > 0).long()
        rate = (eta * factor(q, kind) / y.shape[1])[:, None]

        W, V = self._slopes_and_memorized()
        self._watch.see(self.taken, self.u[:, 0].clone(), V)
        push, change = torch.zeros_like(y), torch.empty_like(self.u)
        for k, seen in enumerate((torch.ones_like(kappa), kappa)[: self.u.shape[1]]):
            here, u = self.unlearnable == (k == 1), self.u[:, k]
            attack: SignalAttack = "worst" if setting.attack == "worst" else "transfer"
            robust, target = attacked(attack, alpha, delta, u, self.signs, q, kind)
            clean = margins(alpha, u, self.signs, q, kind)

            def psi(margin: Tensor, doubt: Tensor, here: Tensor = here) -> Tensor:
                return here * (torch.sigmoid(-(margin.gather(1, side) + V)) - doubt[:, None])

            psi_clean, psi_attacked = (
                (1 - lam)[:, None] * psi(clean, doubts[k]),
                lam[:, None] * psi(robust, doubts[k]),
            )
            push += psi_clean + psi_attacked
            t = alpha[:, None].expand_as(target)
            pull = self._pull(psi_clean, y, t, u) + self._pull(psi_attacked, y, target, u)
            change[:, k] = rate * seen[:, None] * pull

        coefficient = rate * sigma[:, None] ** 2 * push * y
        W *= coefficient.repeat_interleave(setting.patches - 1, dim=1)[:, None]
        self.A += W
        self.v += torch.bmm(W, self.G[each])
        self.u = self.u + change

    def _pull(self, psi: Tensor, y: Tensor, t: Tensor, u: Tensor) -> Tensor:
        """sum_i psi_i d/du_r [y_i sum_r a_r phi(y_i t u_r)] / factor, with one signal t for each label (B, F)."""
        q, kind = self.runs.common.exponent, self.runs.common.activation
        pulls = []
        for column, label in enumerate((-1.0, 1.0)):
            total, at = ((y == label) * psi).sum(1, keepdim=True), t[:, column : column + 1]
            pulls.append(total * at * self.signs * slope(label * at * u, q, kind))
        return pulls[0] + pulls[1]
