"""The placebo tests on a data set whose tables hold what was shown and what was not (impressions and opportunities).

    future_exposure           item not on show; is it in the place's NEXT offer?
    outcome_before_exposure   item not on show; is it on show at the same user's next session?
    irrelevant_item           item not on show; is its partner, an item of another category?
each within item and place, and within item and week. Which item is on show is read from the tables `offers` and
`visits` where they are there, else from each session's impressions (the first two tests are then one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError, UnsupportedError
from recenv.data.columns import SPLITS
from recenv.data.schema import clock
from recenv.trust.placebo import (
    FAMILY,
    Placebo,
    future_exposure,
    holm,
    irrelevant_item,
    outcome_before_exposure,
    stratified_ratio,
)
from recenv.trust.placebo_exposures import Exposures, Ints, cell_counts, numbered, read_exposures

if TYPE_CHECKING:
    from recenv.data.schema import Dataset

Floats = NDArray[np.float64]
_COMPLETE = 0.2
"""Rows count as a sample of all (session, item) pairs if their (rounded) weights add up to those within this share."""


@dataclass(frozen=True)
class PlaceboRows:
    """n rows (session, item), a sample of what was and was not shown.

    Args:
        user, item, session, offer: (n,) int64. shown: (n,) bool. outcome: (n,) float64 0 or 1. weight: (n,) float64.
        exposures: what was on show. partner: (N,) int64, for each item one of another category, -1 where there is none.
        sessions: (m,) int64, the sessions the rows come from. complete: whether all items of the catalogue belong to
            every session, so that rows not kept can be counted.
    """

    user: Ints
    item: Ints
    session: Ints
    offer: Ints
    shown: NDArray[np.bool_]
    outcome: NDArray[np.float64]
    weight: NDArray[np.float64]
    exposures: Exposures
    partner: Ints
    sessions: Ints
    complete: bool

    @property
    def place(self) -> Ints:
        """(n,) place; the user where the tables tell no places."""
        return self.exposures.place[self.offer]

    @property
    def shown_next(self) -> NDArray[np.int8]:
        """(n,) whether the place's next offer shows the item: 1, 0, -1 = not known."""
        return self._at(self.exposures.following[self.offer])

    @property
    def shown_later(self) -> NDArray[np.int8]:
        """(n,) whether the user's next session shows the item: 1, 0, -1 = not known."""
        return self._at(self.exposures.after()[self.session])

    def _at(self, offer: Ints) -> NDArray[np.int8]:
        return np.where(offer < 0, -1, self.exposures.holds(offer, self.item)).astype(np.int8)


@dataclass(frozen=True)
class _Test:
    """One comparison: rows in use, who counts as exposed, and what the exact counts are made of."""

    run: Callable[..., Any]
    use: NDArray[np.bool_]
    exposed: NDArray[np.bool_]
    second: Ints
    partner: bool


def placebos(rows: PlaceboRows, family: float = FAMILY) -> list[Placebo]:
    """The tests, judged together (`holm`: any false alarm with a chance of at most `family`); `real` holds the ratio of
    the actual exposure within the same strata."""
    exposures = rows.exposures
    unshown, of = ~rows.shown, exposures.of_session[rows.sessions]
    following, after = exposures.following[of], exposures.after()[rows.sessions]
    partner = rows.partner[rows.item]
    tests = [_Test(future_exposure, unshown & (rows.shown_next >= 0), rows.shown_next == 1, following, False)]
    if exposures.places:
        later = rows.shown_later
        tests.append(_Test(outcome_before_exposure, unshown & (later >= 0), later == 1, after, False))
    beside = exposures.holds(rows.offer, partner)
    tests.append(_Test(irrelevant_item, unshown & (partner >= 0), beside, of, True))
    real = _Test(stratified_ratio, np.ones(len(unshown), bool), rows.shown, of, False)
    kinds = {f"item and {'place' if exposures.places else 'user'}": exposures.place, "item and week": exposures.week}
    table = exposures.table() if rows.complete else None
    out: list[Placebo] = []
    for within, label in kinds.items():
        actual = _run(real, rows, label, table, {}).value
        for test in tests:
            if test.use.any():
                found = _run(test, rows, label, table, {"within": within})
                out.append(replace(found, real=actual))
    return holm(out, family)


def _run(test: _Test, rows: PlaceboRows, label: Ints, table: NDArray[np.bool_] | None, more: dict[str, Any]) -> Any:
    """Run a test within item and the label (K,) of the offer."""
    use, n = test.use, rows.exposures.n_items
    group = label[rows.offer]
    counts = None
    if table is not None:
        counts = _counts(test, rows, label, table)[:, group[use], rows.item[use]].T
    return test.run(
        rows.outcome[use],
        test.exposed[use],
        (group * n + rows.item)[use],
        rows.user[use],
        rows.weight[use],
        rows.item[use],
        counts,
        **more,
    )


def _counts(test: _Test, rows: PlaceboRows, label: Ints, table: NDArray[np.bool_]) -> Floats:
    of = rows.exposures.of_session[rows.sessions]
    known = test.second >= 0
    other: NDArray[np.bool_] | None = table
    if test.partner:
        other = table[:, np.maximum(rows.partner, 0)]
    elif test.run is stratified_ratio:
        other = None
    return cell_counts(table, other, of[known], test.second[known], label[of[known]], int(label.max()) + 1)


def placebo_rows(dataset: Dataset, splits: tuple[str, ...] | None = None, seed: int = 0) -> PlaceboRows:
    """Rows of a data set's impressions and opportunities with a recorded response (purchase, else click).

    Args:
        dataset: checked tables. splits: which rows to take; all but the test slice if None. seed: draws the partners.

    Raises:
        InputError: an unknown split. UnsupportedError: the log holds no opportunities (nothing tells what was not
            shown), no clock, or no response.
    """
    if dataset.meta["time"] != "utc":
        raise UnsupportedError("placebo tests", "the log has an order but no clock", "Give timestamps.")
    events = dataset.events
    impression, opportunity = _is(events["kind"], "impression"), _is(events["kind"], "opportunity")
    if not opportunity.any():
        what = "the log does not hold what was not shown"
        raise UnsupportedError("placebo tests", what, "Log opportunities too; or log propensities, and audit them.")
    scored = impression | opportunity
    response = "purchase" if events["purchase"][scored].notna().any() else "click"
    y = events[response].to_numpy(np.float64)
    items = np.sort(dataset.items["item_id"].astype("str").to_numpy())
    item = numbered(items, events["item_id"])
    user, session = codes(events["user_id"]), codes(events["session_id"])
    begins = np.full(int(session.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(begins, session, clock(events, dataset.meta))
    exposures = read_exposures(dataset, items, item, session, user, begins, impression)
    keep = scored & np.isfinite(y) & (item >= 0) & in_splits(events, splits) & (exposures.of_session[session] >= 0)
    if not keep.any():
        raise UnsupportedError("placebo tests", "no row holds a response", "Bring a log with clicks or purchases.")
    sessions = np.unique(session[keep])
    weight = events["weight"].to_numpy(np.float64)[keep]
    return PlaceboRows(
        user=user[keep],
        item=item[keep],
        session=session[keep],
        offer=exposures.of_session[session[keep]],
        shown=impression[keep],
        outcome=y[keep],
        weight=weight,
        exposures=exposures,
        partner=partners(dataset, items, seed),
        sessions=sessions,
        complete=abs(float(weight.sum()) / (len(sessions) * len(items)) - 1.0) < _COMPLETE,
    )


def partners(dataset: Dataset, items: Any, seed: int) -> Ints:
    """(N,) for each item one of another category, drawn by seed; -1 where all are of one category."""
    table = dataset.items.assign(item_id=dataset.items["item_id"].astype("str")).set_index("item_id")
    category = table["category"].astype("str").reindex(items).to_numpy()
    order = np.random.default_rng([seed, 77]).permutation(len(items))
    out = np.full(len(items), -1)
    for shift in range(1, len(items)):
        other = np.roll(order, shift)
        free = (out[order] < 0) & (category[order] != category[other])
        out[order[free]] = other[free]
        if (out >= 0).all():
            break
    return out


def in_splits(events: Any, splits: tuple[str, ...] | None) -> NDArray[np.bool_]:
    """(rows,) whether a row belongs to the splits; None: all but the test slice."""
    if splits is None:
        return ~_is(events["split"], "test")
    unknown = set(splits) - set(SPLITS)
    if unknown:
        raise InputError("option splits", f"{sorted(unknown)[0]!r}", f"Known: {', '.join(SPLITS)}.")
    return np.asarray(np.logical_or.reduce([_is(events["split"], name) for name in splits]))


def codes(ids: Any) -> Ints:
    """Whole numbers for ids, in their order."""
    return np.asarray(ids.astype("category").cat.codes, np.int64)


def _is(column: Any, value: str) -> NDArray[np.bool_]:
    return np.asarray((column == value).to_numpy(), bool)
