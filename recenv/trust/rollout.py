"""What a roll-out under the logged behaviour leaves for the gates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recenv.trust.slices import PredictionSlice, SessionStats


@dataclass(frozen=True)
class Rollout:
    """Real sessions beside simulated ones.

    Args:
        how: in words, what was rolled out. stats: by session. independent: (n,) responses per simulated session, drawn
            without the session effect. real_features, simulated_features: (n, F), (m, F) for the two-sample test.
        simulated: the world's own sessions as a slice, where they were scored pair by pair. bytes: of one roll-out,
            done twice. left_out: in words, what neither side holds.
    """

    how: str
    stats: SessionStats
    independent: NDArray[np.float64]
    real_features: NDArray[np.float64]
    simulated_features: NDArray[np.float64]
    feature_names: tuple[str, ...]
    simulated: PredictionSlice | None
    bytes: tuple[bytes, bytes]
    left_out: str = ""

    def variance_ratios(self) -> dict[str, float | None]:
        """Variance of responses per session, simulated / real: with the session effect and without it."""
        real, joint = self.stats.real["responses"].var(), self.stats.simulated["responses"].var()
        alone = self.independent.var()
        values = {"real": real, "simulated": joint, "independent": alone}
        ratios = {"ratio": joint / real, "ratio_independent": alone / real} if real > 0 else {}
        return {k: float(v) for k, v in (values | ratios).items()}
