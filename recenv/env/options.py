"""Options of an environment: one frozen dataclass, checked against what the world supports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from recenv.core.errors import InputError, UnsupportedError
from recenv.response.frailty import LATER_SLOTS

if TYPE_CHECKING:
    from recenv.world import World

CHOICES: dict[str, tuple[str | None, ...]] = {
    "reward": (None, "incremental", "gross"),
    "reward_mode": ("sampled", "expected"),
    "observation": ("summary", "full"),
    "slate_response": ("independent", "cascade", "position", "choice"),
    "candidates": (None, "logged", "all"),
    "repeats": (None, "forbid", "allow"),
    "invalid_action": ("null", "raise"),
    "split": ("train", "validation"),
    "leave": (None, "model", "never"),
}
WEIGHTS = ("w_click", "w_purchase", "w_revenue")


@dataclass(frozen=True)
class EnvOptions:
    """What a `recenv` environment can be told.

    Args:
        reward: `incremental` (expectation if shown minus expectation if not shown) or `gross`. None: incremental where
            the world knows both.
        reward_mode: `sampled` responses or their `expected` values. What happens to the user is sampled in both.
        observation: `summary` (profile, sums, counts, context) or `full` (adds memory, categories and recent events).
        slate: number of items shown at once.
        slate_response: how the items of a slate share the user's response: `independent`, `cascade` (a response ends
            the examination), `position` (examination by rank 1 / log2(1 + rank), assumed, times relevance) or `choice`
            (multinomial over odds, with no choice).
        horizon: slots in a session. None: as the world's logs have it. 1: a one-shot session, ends by `terminated`.
        candidates: `logged` (what was on offer in the start state's visit) or `all` (extrapolation). None: logged where
            the logs tell.
        repeats: whether an item may be shown twice in a session: `forbid` or `allow`. None: as in the logs.
        invalid_action: a masked action shows nothing and costs an exposure (`null`) or is refused (`raise`).
        w_click: reward of a click. None: 1 where clicks are the only response, else 0.
        w_purchase: reward of a purchase. None: 1 where the world has purchases.
        w_revenue: reward of one unit of revenue. None: 0.
        cost: cost of each exposure.
        split: whose start states are used: `train` or `validation` (no world holds those of the test split).
        seconds_per_slot: seconds by which the clock moves after each slot. None: as the world declares.
        leave: whether users leave by the `model` or `never`. None: by the model where the logs tell.
        exclude: ids of items that are never shown (a business rule).
        pessimism: k, so many standard deviations are taken off every probability of a response to what is shown: the
            ensemble's calibrated one, and in a world fitted with `segment_sd` what that assumes to be open by segment
            (then keep k below 1 / segment_sd: above it what was never shown has probability 0). 0: off. Needs members.
        support: items whose probability under the logged policy, for the user's segment among what is on offer, is
            below this are masked; 0: off.
    """

    reward: str | None = None
    reward_mode: str = "sampled"
    observation: str = "summary"
    slate: int = 1
    slate_response: str = "independent"
    horizon: int | None = None
    candidates: str | None = None
    repeats: str | None = None
    invalid_action: str = "null"
    w_click: float | None = None
    w_purchase: float | None = None
    w_revenue: float | None = None
    cost: float = 0.0
    split: str = "train"
    seconds_per_slot: int | None = None
    leave: str | None = None
    exclude: tuple[str, ...] = ()
    pessimism: float = 0.0
    support: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise InputError(name, f"{value!r}", f"Choose one of {', '.join(str(v) for v in allowed)}.")
        _whole("slate", self.slate, 1)
        for name, least in (("horizon", 1), ("seconds_per_slot", 0)):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least)
        for name in (*WEIGHTS, "cost", "pessimism", "support"):
            _finite(name, getattr(self, name), optional=name in WEIGHTS)
        if self.pessimism < 0:
            raise InputError("pessimism", f"{self.pessimism}", "Give a number of 0 or more.")
        if not 0 <= self.support < 1:
            raise InputError("support", f"{self.support}", "Give a probability below 1; 0 masks nothing.")
        if self.cost < 0:
            raise InputError("cost", f"{self.cost}", "Give a cost of 0 or more.")
        if isinstance(self.exclude, str) or not all(isinstance(i, str) for i in self.exclude):
            raise InputError("exclude", f"{self.exclude!r}", "Give a list of item ids (strings).")
        object.__setattr__(self, "exclude", tuple(self.exclude))

    @classmethod
    def build(cls, values: Mapping[str, Any]) -> EnvOptions:
        """Options from keyword arguments.

        Raises:
            InputError: an option that does not exist, or a value out of range.
        """
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise InputError(f"option {name!r}", "does not exist", f"Known options: {', '.join(known)}.")
        return cls(**values)

    def resolve(self, world: World) -> EnvOptions:
        """The options with every None replaced by what the world's logs support.

        Raises:
            UnsupportedError: the world cannot give what is asked (its logs or its model do not tell).
            InputError: an excluded item that is not in the catalogue, or a slate longer than the catalogue.
        """
        values: dict[str, Any] = {
            "reward": self.reward or ("incremental" if world.has_unshown else "gross"),
            "candidates": self.candidates or ("logged" if world.offers_known else "all"),
            "repeats": self.repeats or ("allow" if world.repeats_logged else "forbid"),
            "leave": self.leave or ("model" if world.leave_known else "never"),
            "horizon": int(world.horizon_default) if self.horizon is None else self.horizon,
            "seconds_per_slot": int(world.seconds_per_slot) if self.seconds_per_slot is None else self.seconds_per_slot,
        }
        values |= _weights(self, world.responses)
        result = replace(self, **values)
        _supported(result, world)
        return result


def shares_effect(options: EnvOptions) -> bool:
    """Whether the session effect applies: where each slot's chance stays what the model says, averaged over the effect.

    So it does for single items, and for slates with `independent` or `position` responses.
    """
    return options.slate == 1 or options.slate_response in ("independent", "position")


def assumptions(options: EnvOptions, world: World) -> list[str]:
    """What these resolved options assume beyond the world's own assumptions, one sentence each."""
    told = ["clock: each slot takes the declared seconds", "acts of the user's own between slots: none"]
    if options.candidates == "all":
        told.append("candidates='all': extrapolation, items not on offer are shown under the declared reference exp_*")
    if options.repeats == "allow" and not world.repeats_logged:
        told.append("repeats='allow': extrapolation, the logs hold no item twice in a session")
    if options.slate > 1:
        told.append(f"slate response {options.slate_response!r}: assumed, not estimated from these logs")
    if options.slate > 1 and options.slate_response == "position":
        told.append("examination by rank 1 / log2(1 + rank): assumed")
    if world.frailty and not shares_effect(options):
        told.append(f"the learned session effect is left out: slate response {options.slate_response!r} shares its own")
    if world.frailty and shares_effect(options) and (options.horizon or world.horizon_default) > 1:
        told += [line for line in (LATER_SLOTS,) if line not in world.meta["assumed"]]
    if options.pessimism:
        by = "the ensemble's disagreement" + (" and an assumed spread by segment" if world.open_by_segment else "")
        if world_caution(options.pessimism, world):
            sd = float(world.meta["segment_sd"])
            by += f" (at {1 / sd:g} and above, a segment is taken never to want what it was never shown)"
        told.append(f"pessimism {options.pessimism:g}: responses lowered by {by}, not estimates")
    if options.support:
        told.append(f"items with a logged probability below {options.support:g} are masked")
    if options.leave == "model":
        told.append("leaving: nobody leaves where nothing is shown; a slate counts by its mean logit")
    return told


def pessimism_caution(pessimism: float, segment_sd: float) -> str:
    """The warning where pessimism leaves nothing of what a segment was never shown; "" elsewhere.

    With v = segment_sd^2 and a small p, max(0, p - k sqrt(v) p (1 - p)) is 0 from k = 1 / segment_sd on.

    Args:
        pessimism: k, standard deviations taken off. segment_sd: that of the world's fit; 0 where it has none.
    """
    if not segment_sd or pessimism * segment_sd < 1:
        return ""
    return (
        f"CAUTION, pessimism {pessimism:g}: the world was fitted with segment_sd {segment_sd:g}, so that from "
        f"1 / segment_sd = {1 / segment_sd:g} on whatever a segment was never shown is worth nothing to a policy, "
        f"which then learns to leave it out. Keep pessimism below {1 / segment_sd:g}."
    )


def world_caution(pessimism: float, world: World) -> str:
    """`pessimism_caution` of the world's own fit."""
    return pessimism_caution(pessimism, float(world.meta.get("segment_sd", 0.0)))


def _weights(options: EnvOptions, responses: tuple[str, ...]) -> dict[str, float]:
    """Reward weights; unset ones count purchases, or clicks where there are none."""
    defaults = {
        "w_click": 0.0 if "purchase" in responses else 1.0,
        "w_purchase": 1.0 if "purchase" in responses else 0.0,
        "w_revenue": 0.0,
    }
    if any(getattr(options, name) is not None for name in WEIGHTS):
        defaults = dict.fromkeys(WEIGHTS, 0.0)
    return {n: defaults[n] if getattr(options, n) is None else float(getattr(options, n)) for n in WEIGHTS}


def _supported(options: EnvOptions, world: World) -> None:
    for name in WEIGHTS:
        response = name.removeprefix("w_")
        if getattr(options, name) and response not in world.responses:
            have = ", ".join(world.responses)
            raise UnsupportedError(name, f"the world's logs hold no {response}", f"They hold: {have}.")
    if options.reward == "incremental" and not world.has_unshown:
        raise UnsupportedError(
            "reward='incremental'", "this world does not know what happens to items not shown", "Use reward='gross'."
        )
    if options.candidates == "logged" and not world.offers_known:
        raise UnsupportedError(
            "candidates='logged'", "the logs do not tell what was on offer", "Use candidates='all' (extrapolation)."
        )
    if options.leave == "model" and not world.leave_known:
        raise UnsupportedError("leave='model'", "the logs do not tell when users leave", "Use leave='never'.")
    if options.pessimism and not world.members:
        what = "this world has no ensemble"
        raise UnsupportedError(f"pessimism={options.pessimism}", what, "Fit it anew with `recenv fit --members 10`.")
    if options.slate > world.n_items:
        raise InputError("slate", f"{options.slate}", f"The catalogue has {world.n_items} items.")
    unknown = sorted(set(options.exclude) - set(world.items.column("item_id").to_pylist())) if options.exclude else []
    if unknown:
        raise InputError("exclude", f"no item {unknown[0]!r}", "Give item ids of this world's catalogue.")


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(name, f"{value!r}", f"Give a whole number of {least} or more.")


def _finite(name: str, value: object, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(name, f"{value!r}", "Give a finite number.")
