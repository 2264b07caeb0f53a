"""`Recommender`: a user's raw features and recent events in, items with copy, score and propensity out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.core.render import clean, render
from recenv.observation import observe
from recenv.serving.bundle import Bools, Bundle, Floats
from recenv.serving.choice import NOTHING, distribution, draw
from recenv.serving.facts import Facts, Standing
from recenv.serving.history import History, finite, read_history, read_time, rebuild
from recenv.serving.live import Source, frozen, live
from recenv.state import begin_session

NONE_ITEM = "__none__"
"""Item id that stands for showing nothing."""
FALLBACK = "popular"


class Recommendations(list[dict[str, Any]]):
    """Rows, best first, and `notes`: what was left out or went wrong, by name."""

    def __init__(self, rows: list[dict[str, Any]], notes: Mapping[str, Any]) -> None:
        super().__init__(rows)
        self.notes = dict(notes)


@dataclass
class Request:
    """What one request comes to: observation (1, size) float32, allowed actions (1, A) bool, notes, and the facts and
    lines that stand at its moment."""

    observation: Floats
    mask: Bools
    notes: dict[str, Any]
    facts: Facts
    standing: Standing


class Recommender:
    """Serves one bundle, with the facts of its own catalogue until `refresh` brings others.

    Args:
        bundle: the loaded bundle. explore: share of choices made evenly among allowed items (the propensities say so).

    Attributes:
        facts: what copy is filled from and rests on. refused: why the last `refresh` failed; "" where it did not.

    Raises:
        InputError: `explore` outside [0, 1].
    """

    def __init__(self, bundle: Bundle, explore: float = 0.0) -> None:
        if isinstance(explore, bool) or not isinstance(explore, (int, float)) or not 0.0 <= explore <= 1.0:
            raise InputError("explore", f"{explore!r}", "Give a number from 0 to 1.")
        self.bundle, self.explore = bundle, float(explore)
        self.actions_of = np.searchsorted(bundle.action_item, np.arange(len(bundle.items) + 1))
        self.never = np.array([bundle.item_index[i] for i in bundle.manifest["exclude"]], np.int64)
        self.popular = np.append(NOTHING, bundle.item_rate[bundle.action_item[1:]]).astype(np.float64)
        self.facts, self.refused = frozen(bundle), ""
        self._refreshing = threading.Lock()

    @classmethod
    def load(cls, path: str | Path, explore: float = 0.0, items: Source | None = None) -> Recommender:
        """A recommender of the bundle in a folder, with a live catalogue where `items` is given.

        Raises:
            ArtefactError: as `Bundle.load` does. InputError: as `refresh` does.
        """
        made = cls(Bundle.load(path), explore)
        if items is not None:
            made.refresh(items)
        return made

    def refresh(self, items: Source) -> dict[str, Any]:
        """Take the facts of a live catalogue, from now on; requests that are running keep those they began with.

        Calls from several threads take turns, so that the facts are those of the call that began to read last.

        Only what `render` fills in and what copy rests on is replaced (`recenv.serving.cells.COLUMNS`). What the policy
        sees stays as exported: item vectors, items and categories by index. An item that the catalogue lacks is not
        shown; a line that its row no longer bears out is not shown, and its item comes with another line or, where it
        has none left, with its plain name under the item's first action.

        Args:
            items: a CSV or Parquet file with one row an item, or such rows by column name.

        Returns:
            counts, as `/healthz` gives them (`status`, `recenv.serving.live`).

        Raises:
            InputError: a bad file, row or cell; the facts are then as before.
        """
        with self._refreshing:
            try:
                self.facts = live(self.bundle, items)
            except Exception as error:  # a fault of ours too has to be told: a follower's thread has nobody to ask
                self.refused = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                raise
            self.refused = ""
            return self.status()

    def status(self) -> dict[str, Any]:
        """Where the facts come from, counts (`live`, `Facts.summary`), why the last `refresh` failed (`refused`)."""
        return self.facts.summary(math.floor(time.time())) | ({"refused": self.refused} if self.refused else {})

    def recommend(
        self,
        user: Mapping[str, Any],
        history: Sequence[Any] = (),
        k: int = 1,
        now: Any = None,
        eligible: Collection[str] | None = None,
        exclude: Collection[str] = (),
        seed: int | None = None,
        session_id: str | None = None,
        context: Mapping[str, float] | None = None,
    ) -> Recommendations:
        """Up to `k` items to show now, best first.

        Args:
            user: raw features by name; what is left out counts as missing. history: events with `item_id`, `kind`
                (impression, view, cart, click, purchase), `timestamp`, and perhaps `session_id`, `copy_id` and, on
                impressions, `click` and `purchase`.
            now: the present; the clock's where None (the last event's time in a world whose time is a mere order).
            eligible: ids of the items that may be shown; all where None. exclude: ids that may not. What the bundle
                excludes (`exclude` of the environment trained in) is never shown.
            seed: of the draw where the policy draws; fresh randomness where None. session_id: the running session;
                where None, the last one goes on if its last event is not older than the session gap.
            context: `ctx_*` values, 0 where left out.

        Returns:
            rows with `item_id copy_id style text score propensity position policy fallback`; the propensity is that of
            this item and copy at this position, given those above. A policy that would rather show nothing ends the
            list with the item `__none__`. `notes` counts unknown items and copies, items not shown because the live
            catalogue lacks them (`delisted`), copies not shown because their facts no longer hold at `now`
            (`stale_copies`), and says why a fallback was used.

        Raises:
            InputError: a malformed or non-finite input, or a feature that the bundle does not know.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InputError("k", f"{k!r}", "Give a whole number of 1 or more.")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
            raise InputError("seed", f"{seed!r}", "Give a whole number of 0 or more.")
        request = self.request(user, history, now, eligible, exclude, session_id, context)
        score, broken = self._score(request)
        if broken:
            request.notes["fallback"] = broken
        rows = self._rank(score, request, k, np.random.default_rng(seed), bool(broken))
        return Recommendations(rows, request.notes)

    def request(
        self,
        user: Mapping[str, Any],
        history: Sequence[Any] = (),
        now: Any = None,
        eligible: Collection[str] | None = None,
        exclude: Collection[str] = (),
        session_id: str | None = None,
        context: Mapping[str, float] | None = None,
    ) -> Request:
        """Observation and mask of a request, as the environment would give them; arguments as in `recommend`."""
        bundle, spec = self.bundle, self.bundle.spec
        if not isinstance(user, Mapping):
            raise InputError("user", f"a {type(user).__name__}", "Give a mapping of features by name.")
        profile = bundle.encoder.encode({name: [_feature(name, value)] for name, value in user.items()}, 1)
        gap = int(bundle.manifest["session_gap"])
        moment = self._now(now, history)
        events = read_history(history, bundle.item_index, bundle.copy_index, moment, spec.calendar, gap)
        state, row, at = rebuild(spec, profile, events), np.zeros(1, np.int64), np.array([moment], np.int64)
        goes_on = _goes_on(events, moment, session_id, gap if spec.calendar else -1)
        if not goes_on:
            begin_session(state, row, at)
        raw = observe(spec, state, row, at, self._context(context or {}), "full")
        shown = events.shown_in(events.last_session) if goes_on else np.zeros(0, np.int64)
        notes: dict[str, Any] = dict(events.notes)
        items = self._allowed(eligible, exclude, notes)
        if bundle.manifest["repeats"] == "forbid":
            items[shown] = False
        facts = self.facts
        standing = facts.at(moment if spec.calendar else math.floor(time.time()))
        wanted = items[bundle.action_item]
        wanted[0] = True
        notes |= _left_out(items, wanted, facts, standing)
        mask = wanted & standing.allowed
        return Request(np.clip(raw, bundle.low, bundle.high), mask[None], notes, facts, standing)

    def _now(self, now: Any, history: Sequence[Any]) -> int:
        calendar = self.bundle.spec.calendar
        if now is not None:
            return read_time(now, "now", calendar)
        if calendar:
            return math.floor(time.time())
        stamps = [row.get("timestamp") for row in history if isinstance(row, Mapping)]
        return max((read_time(t, "history timestamp", calendar) for t in stamps), default=0)

    def _context(self, context: Mapping[str, float]) -> Floats:
        columns = self.bundle.manifest["context_columns"]
        unknown = sorted(set(context) - set(columns))
        if unknown:
            known = ", ".join(columns) or "none"
            raise InputError(f"context {unknown[0]!r}", "unknown to this bundle", f"Known context: {known}.")
        for name, value in context.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not finite(value):
                raise InputError(f"context {name!r}", "no finite number", "Give a finite number.")
        return np.array([[context.get(name, 0.0) for name in columns]], np.float32)

    def _allowed(
        self, eligible: Collection[str] | None, exclude: Collection[str], notes: dict[str, Any]
    ) -> NDArray[np.bool_]:
        """(n_items,) items that may be shown; ids that the catalogue does not hold are counted in `notes`."""
        index = self.bundle.item_index
        allowed = np.full(len(index), eligible is None)
        for ids, value, name in ((eligible or (), True, "eligible"), (exclude, False, "exclude")):
            if isinstance(ids, str) or not all(isinstance(i, str) for i in ids):
                raise InputError(name, f"{ids!r}", "Give a list of item ids (strings).")
            known = [index[i] for i in ids if i in index]
            allowed[known] = value
            if len(known) < len(ids):
                notes[f"unknown_{name}"] = len(ids) - len(known)
        allowed[self.never] = False
        return allowed

    def _score(self, request: Request) -> tuple[NDArray[np.float64], str]:
        """Scores (A,), and what is wrong with the model (then they are those of the fallback policy)."""
        try:
            action, score = self.bundle.policy.run(request.observation, request.mask)
        except Exception as error:  # onnxruntime's own classes; the answer says that it comes from the fallback
            return self.popular, f"the model failed: {type(error).__name__}"
        if score.shape != (1, self.bundle.n_actions) or not np.isfinite(score[request.mask]).all():
            return self.popular, "the model gave scores that are not finite"
        if not 0 <= int(action[0]) < self.bundle.n_actions or not request.mask[0, int(action[0])]:
            return self.popular, "the model chose an action that is not allowed"
        return score[0].astype(np.float64), ""

    def _rank(
        self, score: NDArray[np.float64], request: Request, k: int, rng: np.random.Generator, fallback: bool
    ) -> list[dict[str, Any]]:
        bundle, left, rows = self.bundle, request.mask[0].copy(), []
        rule = "best-item" if fallback else bundle.rule
        explore = 0.0 if fallback else self.explore
        for position in range(1, k + 1):
            if position > 1 and not left[1:].any():
                break
            probability = distribution(rule, score, left, bundle.action_item, explore)
            action = draw(probability, rng)
            chosen = self._describe(action, request)
            chosen |= {"score": float(score[action]) if action else None, "propensity": float(probability[action])}
            chosen |= {
                "position": position,
                "policy": FALLBACK if fallback else bundle.policy_name,
                "fallback": fallback,
            }
            rows.append(chosen)
            if action == 0:
                break
            item = int(bundle.action_item[action])
            left[self.actions_of[item] : self.actions_of[item + 1]] = False
        return rows

    def _describe(self, action: int, request: Request) -> dict[str, Any]:
        item, copy = int(self.bundle.action_item[action]), int(self.bundle.action_copy[action])
        if item < 0:
            return {"item_id": NONE_ITEM, "copy_id": None, "style": None, "text": ""}
        row = request.facts.rows[item]
        if copy < 0 or request.standing.bare[action]:
            return {"item_id": row["item_id"], "copy_id": None, "style": None, "text": clean(row["text"])}
        line = self.bundle.copies[copy]
        text = render(line["text"], row, self.bundle.manifest["currency"])
        return {"item_id": row["item_id"], "copy_id": line["copy_id"], "style": line["style"], "text": text}


def _left_out(items: Bools, wanted: Bools, facts: Facts, standing: Standing) -> dict[str, int]:
    """Counts of the items (n_items,) and actions (A,) wanted that the facts do not let through; only those above 0."""
    found = {
        "delisted": int(np.count_nonzero(items & ~facts.listed)),
        "stale_copies": int(np.count_nonzero(wanted & standing.stale)),
    }
    return {name: count for name, count in found.items() if count}


def _feature(name: str, value: Any) -> Any:
    if value is not None and not isinstance(value, (str, bool, int, float)):
        raise InputError(f"user feature {name!r}", f"a {type(value).__name__}", "Give a text or a number.")
    if isinstance(value, (int, float)) and not finite(value):
        raise InputError(f"user feature {name!r}", "no finite number", "Give a finite number, or leave it out.")
    return value


def _goes_on(history: History, now: int, session_id: str | None, gap: int) -> bool:
    """Whether the request belongs to the history's last session."""
    if not len(history.time):
        return False
    if session_id is not None:
        return session_id == history.last_session_id
    return now - int(history.time[-1]) <= gap
