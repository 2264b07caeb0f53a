"""`mf`: matrix factorisation for implicit feedback by alternating least squares, with live users folded in.

Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008, sections 4 and 5. User u
has acted r_ui times on item i; p_ui = 1[r_ui > 0] is the preference and c_ui = 1 + alpha log(1 + r_ui / epsilon) the
confidence (their logarithmic form). Factors x_u, y_i (K,) minimise

    sum_ui c_ui (p_ui - x_u . y_i)^2 + lambda (sum_u |x_u|^2 + sum_i |y_i|^2).

The item factors Y are fitted on the memories of the world's training start states, by the package `implicit`. A user's
factors are not looked up but solved for from the memory in the observation (their equation 4), so that users whom the
fit never met are served like any other:

    x_u = (Y'Y + Y'(C_u - I) Y + lambda I)^-1 Y' C_u p_u
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from recenv.agents.base import POLICY_FILE, Bools, Floats
from recenv.agents.baselines import popularity
from recenv.agents.items import BestItemPolicy
from recenv.agents.knn import TIE, acts_of, user_acts
from recenv.core.artefacts import write_tensors
from recenv.core.errors import ArtefactError, InputError, UnsupportedError
from recenv.state import N_KINDS

if TYPE_CHECKING:
    from scipy import sparse

    from recenv.world import World

FACTORS = "mf.safetensors"
_USERS = 64
"""Users solved for together: their gathered factors stay small."""


@dataclass(frozen=True)
class MFConfig:
    """Settings of matrix factorisation.

    Args:
        factors: K, length of the factors.
        regularization: lambda, the factors' penalty.
        alpha: how much confidence one act adds. epsilon: acts up to which confidence rises about linearly.
        iterations: passes of alternating least squares.
    """

    factors: int = 32
    regularization: float = 1.0
    alpha: float = 2.0
    epsilon: float = 1.0
    iterations: int = 15

    def __post_init__(self) -> None:
        whole = self.factors >= 1 and self.iterations >= 1
        if not whole or self.regularization <= 0 or self.alpha <= 0 or self.epsilon <= 0:
            mend = "Give factors and iterations >= 1; regularization, alpha and epsilon > 0."
            raise InputError("mf options", f"{self}", mend)


class MFPolicy(BestItemPolicy):
    """score_i = x_u . y_i; ties, and empty memories, by popularity.

    Args:
        world: whose training users' memories the item factors are fitted on, once they are first asked for.
        config: options of `MFConfig`. seed: of the first factors; same world, options and seed, same bytes.
    """

    name = "mf"
    config_class = MFConfig

    def __init__(self, world: World, config: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(world, config, seed)
        self.popularity = popularity(world) * TIE

    @cached_property
    def factors(self) -> Floats:
        """(n_items, K) float32 item factors."""
        return item_factors(user_acts(self.world), self.config, self.seed)

    def scores(self, obs: Floats, allowed: Bools) -> NDArray[Any]:
        return self.preferences(obs) + self.popularity

    def preferences(self, obs: Floats) -> NDArray[np.float64]:
        """(n, n_items) predicted preferences x_u . y_i from full observations (n, size); 0 for empty memories."""
        item = self.part(obs, "memory_item").astype(np.int64)
        acts = acts_of(self.part(obs, "memory_counts").reshape(*item.shape, N_KINDS))
        parts = [
            fold_in(self.factors, item[at : at + _USERS], acts[at : at + _USERS], self.config)
            for at in range(0, len(obs), _USERS)
        ]
        users = np.concatenate(parts) if parts else np.zeros((0, self.config.factors))
        return np.asarray(users @ self.factors.T.astype(np.float64))

    def save(self, directory: Path) -> None:
        """Write `policy.json` and `mf.safetensors`."""
        super().save(directory)
        write_tensors(Path(directory) / FACTORS, {"item_factors": self.factors})

    @classmethod
    def load(cls, directory: Path, world: World) -> MFPolicy:
        """The policy as saved: its factors, not new ones of `world`.

        Raises:
            ArtefactError: the factors are missing or do not fit the world.
        """
        saved = json.loads((Path(directory) / POLICY_FILE).read_text(encoding="utf-8"))
        made = cls(world, saved["config"], saved["seed"])
        made.factors = load_factors(Path(directory), world.n_items, made.config.factors)
        return made


def load_factors(directory: Path, n_items: int, size: int) -> Floats:
    """(n_items, size) item factors saved in a policy's folder.

    Raises:
        ArtefactError: they are missing, not finite, or of another shape.
    """
    path = directory / FACTORS
    if not path.is_file():
        raise ArtefactError(str(directory), f"holds no {FACTORS}", "Give a folder that the policy was saved in.")
    factors = load_file(path).get("item_factors", np.zeros((0, 0), np.float32))
    if factors.shape != (n_items, size) or factors.dtype != np.float32 or not np.isfinite(factors).all():
        raise ArtefactError(str(path), "does not fit the world", "Load it with the world that it was made in.")
    return factors


def confidence(acts: NDArray[np.float64], config: MFConfig) -> NDArray[np.float64]:
    """c = 1 + alpha log(1 + acts / epsilon), elementwise."""
    return 1.0 + config.alpha * np.log1p(acts / config.epsilon)


def item_factors(acts: sparse.csr_matrix, config: MFConfig, seed: int) -> Floats:
    """(n_items, K) float32 item factors of users' acts (users, n_items), by `implicit` with exact solves, one thread.

    Raises:
        UnsupportedError: the package `implicit` is not installed.
    """
    try:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise UnsupportedError("agent mf", f"needs the package implicit ({error})", "Install recenv[train].") from error

    weights = acts.copy()
    weights.eliminate_zeros()
    weights.data = confidence(weights.data, config)
    # More BLAS threads would change the order of sums, and `implicit` warns of them.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.regularization,
            alpha=1.0,
            iterations=config.iterations,
            use_cg=False,
            num_threads=1,
            random_state=seed,
        )
        model.fit(weights, show_progress=False)
    return np.ascontiguousarray(model.item_factors, np.float32)


def fold_in(
    factors: Floats, item: NDArray[np.int64], acts: NDArray[np.float64], config: MFConfig
) -> NDArray[np.float64]:
    """User factors (n, K) float64 of memories: items (n, M), -1 where empty, and acts on each (n, M).

    An item of the memory without an act (only shown since) counts as not preferred, like any item that is not there.
    """
    y = factors.astype(np.float64)
    known = (item >= 0) & (acts > 0)
    own = np.where(known[..., None], y[np.maximum(item, 0)], 0.0)  # (n, M, K)
    c = np.where(known, confidence(np.where(known, acts, 0.0), config), 0.0)
    normal = y.T @ y + config.regularization * np.eye(y.shape[1])
    left = normal + (own * np.where(known, c - 1.0, 0.0)[..., None]).transpose(0, 2, 1) @ own
    right = (own * c[..., None]).sum(axis=1)
    return np.asarray(np.linalg.solve(left, right[..., None])[..., 0])


def mf_options(config: MFConfig) -> dict[str, Any]:
    """The options of `MFConfig` alone, from a configuration that extends it."""
    names = set(asdict(MFConfig()))
    return {name: value for name, value in asdict(config).items() if name in names}
