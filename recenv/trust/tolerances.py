"""How far a world may be off and still be used: every tolerance of every gate, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields

from recenv.core.checks import check_type
from recenv.core.errors import InputError

Band = tuple[float | None, float | None]
"""(lowest, highest) figure allowed; None: open on that side."""

_ABOVE_ONE = (
    "ratio_large", "ratio_decile", "ratio_segment", "ratio_week", "ratio_item", "ratio_variance", "ratio_session",
    "ratio_transfer", "ratio_drift",
)  # fmt: skip


@dataclass(frozen=True)
class Tolerances:
    """What each gate allows. A ratio tolerance t means the band [1 / t, t]."""

    level: float = 0.95
    """Confidence of the whole family: all intervals of all gates hold together with at least this probability."""
    family: int = 16
    """Gates with an interval that are judged together; each gets the share (1 - level) / family of the error
    (Bonferroni). A report that judges more of them takes their number."""
    min_positives: int = 1000
    """Responses that the power gate asks for, and that each decile, segment and week is merged to."""
    floor_positives: int = 200
    """Responses below which no gate on predictions gives an interval: the normal approximation is not to be had."""
    min_users: int = 50
    """Users (clusters) below which no gate gives an interval."""
    min_gain: float = 0.01
    """Lowest log-loss gain over the base rate: the share of its log-loss that the model must save."""
    min_gain_items: float = 0.0
    """Lowest log-loss gain over item rates."""
    max_gain: float = 0.9
    """Log-loss gain over the base rate above which a model has seen the answer rather than foreseen it."""
    ratio_large: float = 1.15
    """Predicted / real responses over the whole slice."""
    ratio_decile: float = 1.25
    """Predicted / real by decile of prediction."""
    ratio_segment: float = 1.15
    """Predicted / real by segment."""
    ratio_week: float = 1.25
    """Predicted / real by week."""
    ratio_item: float = 1.25
    """Predicted / real by group of items of like popularity."""
    item_error: float = 0.35
    """Root mean square relative error of item rates, net of sampling noise."""
    ratio_variance: float = 1.25
    """Variance of responses per session, simulated / real ([.8, 1.25])."""
    max_two_sample_auc: float = 0.6
    """AUC of a classifier that tells simulated from real sessions (.5: cannot; 1: always)."""
    ratio_session: float = 1.15
    """Mean session length and mean responses per session, simulated / real."""
    share_gap: float = 0.05
    """Difference of a share in roll-outs (repeats, each category), simulated - real."""
    drift_gap: float = 0.25
    """Difference of a state feature at steps 1, 5, 10, simulated - real, in standard deviations of the real one."""
    ratio_transfer: float = 1.25
    """Predicted / real on the log of a second policy."""
    ratio_drift: float = 1.25
    """Predicted / real in the later part of the slice over that in the earlier part."""
    min_tau: float = 0.3
    """Kendall's tau between the values of policies in the world and in its judge."""
    max_regret: float = 0.1
    """Share of the best judged value lost by taking the world's favourite policy."""
    max_optimism: float = 0.2
    """Share of a policy's value in its training world that the judge (or the off-policy value) does not confirm."""
    max_pessimism_gap: float = 0.35
    """Share of a policy's value in its training world that is gone in the pessimistic world."""
    support_floor: float = 0.1
    """Share of the even chance (1 / number of items to choose from) below which an action's probability under the
    logged policy counts as none: with 100 items on offer .1 is a probability of .001, with 5,000 one of .00002."""
    max_unsupported: float = 0.1
    """Share of a policy's actions that the logs do not support."""
    max_foresight: float = 0.05
    """Claimed log-loss gain on replayed logs less that in the world's own roll-outs: the mark of a leaked future."""

    def __post_init__(self) -> None:
        for f in fields(self):
            check_type("tolerances", f.name, str(f.type), getattr(self, f.name))
        if not 0.5 <= self.level < 1:
            raise InputError("tolerance level", f"{self.level}", "Give a confidence in [0.5, 1).")
        for name in ("family", "min_positives", "floor_positives", "min_users"):
            if getattr(self, name) < 1:
                raise InputError(f"tolerance {name}", f"{getattr(self, name)}", "Give at least 1.")
        for name in _ABOVE_ONE:
            if getattr(self, name) <= 1:
                raise InputError(f"tolerance {name}", f"{getattr(self, name)}", "Give a ratio above 1, such as 1.15.")

    @property
    def gate_level(self) -> float:
        """Confidence of the simultaneous intervals within one gate: 1 - (1 - level) / family."""
        return 1.0 - (1.0 - self.level) / self.family


def band(ratio: float) -> Band:
    """[1 / ratio, ratio]."""
    return (1.0 / ratio, ratio)
