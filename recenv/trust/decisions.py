"""Logged decisions of a data set, as off-policy evaluation wants them: the state before, what was allowed, what came.

A decision is one impression: a user, at a moment, was shown one action. The state before it comes from replaying the
user's whole log through the one state rule, so that a policy sees what it would have seen live.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError, UnsupportedError
from recenv.data.columns import NONE_ITEM
from recenv.data.schema import Dataset, clock
from recenv.response.log import encode_log, session_numbers
from recenv.trust.decision_states import numbered, states_before
from recenv.world import World

Ints = NDArray[np.int64]
REWARDS = ("click", "purchase", "revenue")
_WIDEST = 16
"""Impressions at one moment above which a log tells what was on show, and no single decision."""


@dataclass(frozen=True)
class Actions:
    """What counts as an action in a log: items with their copies where the log tells copies, else items alone.

    Args:
        of_world: (world.n_actions,) int64, the action that each row of the world's action table counts as; 0: nothing.
        size: number A of actions. copies: whether they tell copies.
    """

    of_world: Ints
    size: int
    copies: bool

    def number(self, world: World, items: Ints, copies: Ints) -> Ints:
        """(n,) action of each pair of item (-1: nothing) and copy (-1: none).

        Raises:
            InputError: a pair that the world does not have.
        """
        if not self.copies:
            return items + 1
        index = {pair: a for a, pair in enumerate(zip(world.action_item.tolist(), world.action_copy.tolist()))}
        known = np.where(items < 0, -1, copies)
        action = np.array([index.get(pair, -1) for pair in zip(items.tolist(), known.tolist())], np.int64)
        if (action < 0).any():
            row = int(np.argmin(action))
            what = f"item {items[row]} with copy {copies[row]} is no action of the world"
            raise InputError("events", what, "Give the world that was fitted on these data.")
        return action

    def collapse(self, table: NDArray[Any]) -> NDArray[np.float64]:
        """(n, A) sums of a table (n, world.n_actions) over the world's actions that count as one here."""
        if self.size == len(self.of_world):
            return np.asarray(table, np.float64)
        starts = np.flatnonzero(np.diff(self.of_world, prepend=-1))
        return np.add.reduceat(np.asarray(table, np.float64), starts, axis=1)


@dataclass(frozen=True)
class Decisions:
    """n decisions, made in m moments.

    Args:
        actions: what an action is. action: (n,) int64. moment: (n,) int64, row of `obs` and `allowed`.
        obs: (m, size) float32, full observations before the decision. allowed: (m, n_items) bool, items that could
            have been shown. nothing: whether showing nothing was among the log's decisions.
        reward: response -> (n,) float64, NaN where it was not recorded.
        propensity: (n,) float64, NaN where the log has none. position: (n,) int64 from 0.
        placed: (n,) bool, whether the log has a position; 0 is taken where not. weight: (n,) float64.
        user: (n,) int64. session, step: (n,) int64, number of the session and of the decision in it.
        segment: (n,) int64, the world's segment of the user. aside: reason -> rows left out.
    """

    actions: Actions
    action: Ints
    moment: Ints
    obs: NDArray[np.float32]
    allowed: NDArray[np.bool_]
    nothing: bool
    reward: dict[str, NDArray[np.float64]]
    propensity: NDArray[np.float64]
    position: Ints
    placed: NDArray[np.bool_]
    weight: NDArray[np.float64]
    user: Ints
    session: Ints
    step: Ints
    segment: Ints
    aside: dict[str, int]

    def __len__(self) -> int:
        return len(self.action)

    @property
    def slates(self) -> bool:
        """Whether rows are places of slates: several at one moment that no weights explain, or places that differ
        other than by the decision's number in its session."""
        together = len(np.unique(self.moment)) < len(self) and bool((self.weight == 1.0).all())
        place = self.position[self.placed]
        one_after_another = np.array_equal(place, self.step[self.placed])
        return together or (len(np.unique(place)) > 1 and not one_after_another)

    def mask(self, world: World, moments: slice) -> NDArray[np.bool_]:
        """(k, world.n_actions) allowed actions of some moments."""
        part = self.allowed[moments]
        table = np.ones((len(part), world.n_items + 1), bool)
        table[:, :-1] = part
        table[:, -1] = self.nothing  # action 0 has item -1
        return table[:, world.action_item]


def refuse_without_decisions(meta: dict[str, Any]) -> None:
    """Raise UnsupportedError, with the reason, where a log holds no single decisions to be weighed.

    Derived exposures (all that was promoted in a store and week): some 190 products were on show at once, to everybody
    there. What was chosen was a set for a store, not an item for a user: the probability of ONE item does not exist.
    Taking each (visit, item) as a decision of its own, shown or not, with an estimated probability of being promoted,
    would give numbers; but it rests on promotions being as good as random given what is recorded, and placebo tests
    say that they are not (a promotion next week "raises" this week's purchases). A figure that its own placebo
    contradicts is not printed.
    """
    if meta["exposure"] == "none":
        what = "no exposure was recorded, so there is no decision whose outcome could be weighed"
        raise UnsupportedError("off-policy evaluation", what, "Bring a log of impressions, best with propensities.")
    if meta["exposure"] == "derived":
        what = (
            "exposures are derived: what was chosen was a set of items for everybody, never one item for one user, so "
            "the one-step propensity of an item does not exist"
        )
        mend = (
            "Compare policies in the judge's world (recenv benchmark), read in recenv fidelity how far that may be "
            "trusted, and log single decisions with their propensities"
        )
        raise UnsupportedError("off-policy evaluation", what, mend)


def logged_decisions(dataset: Dataset, world: World, split: str = "test") -> Decisions:
    """The decisions of one split, each with the state before it.

    Args:
        dataset: with all the splits up to `split`, whose events fill the users' histories. world: names the items and
            copies, and says what is remembered of a user; users need not be the world's own.

    Raises:
        UnsupportedError: the log holds no single decisions. InputError: no impression in the split, or an item that
            the world does not have.
    """
    refuse_without_decisions(dataset.meta)
    events = dataset.events
    picked = (events["kind"] == "impression").to_numpy() & (events["split"] == split).to_numpy()
    if not picked.any():
        raise InputError("split", f"no impressions of split {split!r}", "Give data that reach into it.")
    names = events["item_id"].to_numpy(object)[picked].astype(str)
    items = codes(names, world.items["item_id"].to_pylist())
    strange = (items < 0) & (names != NONE_ITEM)
    if strange.any():
        what = f"item {names[strange][0]!r} is not in the world"
        raise InputError("events", what, "Give data of the world's catalogue.")
    everywhere = events["user_id"].to_numpy(object).astype(str)
    ids = np.unique(everywhere[picked])
    log = encode_log(dataset, world.items["item_id"].to_pylist(), ids, world.copies["copy_id"].to_pylist())
    user = codes(everywhere[picked], ids.tolist())
    session, time = session_numbers(dataset)[picked], clock(events, dataset.meta)[picked]
    key, moment = np.unique(np.stack([user, session, time]), axis=1, return_inverse=True)
    moment = moment.reshape(-1).astype(np.int64)
    _single(moment, items)
    copies = codes(
        np.array([c if isinstance(c, str) else "" for c in events["copy_id"].to_numpy(object)[picked]]),
        world.copies["copy_id"].to_pylist(),
    )
    actions = _actions(world, items, copies)
    profile = _profiles(dataset, world, ids)
    obs, step = states_before(world, log, profile, key)
    allowed = _allowed(dataset, world, key, moment, items, picked)
    shown = events["kind"] == "impression"
    blank = bool((events["item_id"].to_numpy(object)[shown.to_numpy()] == NONE_ITEM).any())
    position = events["position"].to_numpy(np.float64, na_value=np.nan)[picked]
    found = Decisions(
        actions=actions,
        action=actions.number(world, items, copies),
        moment=moment,
        obs=obs,
        allowed=allowed,
        nothing=blank,
        reward={name: events[name].to_numpy(np.float64)[picked] for name in REWARDS},
        propensity=events["propensity"].to_numpy(np.float64)[picked],
        position=np.nan_to_num(position, nan=1.0).astype(np.int64) - 1,
        placed=~np.isnan(position),
        weight=events["weight"].to_numpy(np.float64)[picked],
        user=user,
        session=session,
        step=step[moment],
        segment=world.segment_of(profile)[user].astype(np.int64),
        aside={},
    )
    fits = np.where(items >= 0, allowed[moment, items], blank)
    return found if fits.all() else _kept(found, fits, "not_on_offer")


def _kept(found: Decisions, keep: NDArray[np.bool_], reason: str) -> Decisions:
    names = ("action", "moment", "propensity", "position", "placed", "weight", "user", "session", "step", "segment")
    rows: dict[str, Any] = {name: getattr(found, name)[keep] for name in names}
    reward = {name: values[keep] for name, values in found.reward.items()}
    return replace(found, **rows, reward=reward, aside={**found.aside, reason: int((~keep).sum())})


def with_reward(found: Decisions, name: str) -> tuple[Decisions, NDArray[np.float64]]:
    """The decisions whose response `name` was recorded, and that response, (n,) float64.

    Raises:
        InputError: unknown response, or recorded nowhere.
    """
    if name not in REWARDS:
        raise InputError("option 'reward'", f"unknown {name!r}", f"Use one of {', '.join(REWARDS)}.")
    known = ~np.isnan(found.reward[name])
    if not known.any():
        there = [n for n in REWARDS if not np.isnan(found.reward[n]).all()]
        raise InputError("option 'reward'", f"no {name} was recorded", f"These were: {', '.join(there) or 'none'}.")
    found = found if known.all() else _kept(found, known, f"{name}_not_recorded")
    return found, found.reward[name]


def _single(moment: Ints, items: Ints) -> None:
    """A slate has some positions; hundreds of items at one moment are no slate."""
    pairs = np.unique(np.stack([moment, items]), axis=1)
    wide = float(np.median(np.bincount(pairs[0])))
    if wide > _WIDEST:
        what = f"{wide:.0f} items were shown at one moment: no single decision can be told"
        raise UnsupportedError("off-policy evaluation", what, "Log each decision with its time, or its position.")


def _actions(world: World, items: Ints, copies: Ints) -> Actions:
    """What an action is in this log. Copies count where every row whose item has copies tells one."""
    has = np.zeros(world.n_items, bool)
    has[world.action_item[world.action_copy >= 0]] = True
    told = bool(has.any()) and bool((copies >= 0)[(items >= 0) & has[items]].all())
    if not told:
        return Actions(world.action_item.astype(np.int64) + 1, world.n_items + 1, False)
    return Actions(np.arange(world.n_actions), world.n_actions, True)


def _profiles(dataset: Dataset, world: World, ids: NDArray[Any]) -> NDArray[np.float32]:
    users = dataset.users.set_index("user_id").loc[ids]
    return world.profile_encoder.encode({c: users[c].tolist() for c in users.columns}, len(ids))


def _allowed(
    dataset: Dataset, world: World, key: Ints, moment: Ints, items: Ints, picked: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(m, n_items): what was on offer, less what was shown before in the session where logs hold no repeats."""
    allowed = _offered(dataset, world, key.shape[1], moment, picked)
    if world.repeats_logged:
        return allowed
    step = numbered(key)
    row = np.flatnonzero(items >= 0)
    order = row[np.argsort(moment[row], kind="stable")]
    at = 0
    # Moments of a session follow one another in `key`: what is shown in one is taken from those after it.
    shown: list[int] = []
    where = moment[order]
    for m in range(key.shape[1]):
        if step[m] == 0:
            shown = []
        if shown:
            allowed[m, shown] = False
        while at < len(order) and where[at] == m:
            shown.append(int(items[order[at]]))
            at += 1
    return allowed


def _offered(
    dataset: Dataset, world: World, n_moments: int, moment: Ints, picked: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    if dataset.offers is None or dataset.visits is None:
        return np.ones((n_moments, world.n_items), bool)
    offer_of = dict(zip(dataset.visits["session_id"].tolist(), dataset.visits["offer_id"].tolist()))
    item = codes(dataset.offers["item_id"].to_numpy(object).astype(str), world.items["item_id"].to_pylist())
    offer = dataset.offers["offer_id"].to_numpy()
    order = np.argsort(offer, kind="stable")
    numbers, start = np.unique(offer[order], return_index=True)
    held = dict(zip(numbers.tolist(), np.split(item[order], start[1:])))
    allowed = np.zeros((n_moments, world.n_items), bool)
    first = np.unique(moment, return_index=True)[1]
    sessions = dataset.events["session_id"].to_numpy(object)[picked]
    for m, name in enumerate(sessions[first].tolist()):
        offered = held.get(offer_of.get(name))
        allowed[m, slice(None) if offered is None else offered] = True
    return allowed


def codes(values: NDArray[Any], levels: list[str]) -> Ints:
    """(n,) place of each value among `levels`, -1 where it is not there."""
    index = {name: code for code, name in enumerate(levels)}
    return np.array([index.get(value, -1) for value in values.tolist()], np.int64)
