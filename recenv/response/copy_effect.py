"""What a text adds to the response logit; each part says whether it is learned, transferred or assumed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from recenv.core import rng
from recenv.core.errors import ArtefactError, InputError

F32: TypeAlias = NDArray[np.float32]
I32: TypeAlias = NDArray[np.int32]

LEARNED, TRANSFERRED, ASSUMED = LABELS = ("learned", "transferred", "assumed")
PARTS = ("a(text)", "e(text)", "segment x style", "category x style", "wear")
NEWS = "news headlines, not shop copy"
"""Where what is transferred comes from; said wherever the label shows."""
DRAWN = "the size of e(text), whose values are drawn"
POSTERIOR = ("base", "segment_style", "category_style")
"""Parts whose posterior mean and standard deviation a learned effect keeps, beside the draw that its world uses."""
_PARTS = {"text": 101, "noise": 102, "segment_style": 103, "category_style": 104}


@dataclass(frozen=True)
class CopyAssumptions:
    """Sizes of the parts, in units of the response logit.

    Attributes:
        text_sd: standard deviation of a(text), the part that the text's features could tell.
        noise_sd: standard deviation of e(text), the part that no model knows beforehand.
        segment_style_sd: standard deviation of segment x style.
        category_style_sd: standard deviation of category x style.
        wear: loss per earlier sight of the style in the session.
    """

    text_sd: float = 0.07
    noise_sd: float = 0.26
    segment_style_sd: float = 0.15
    category_style_sd: float = 0.05
    wear: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"copy assumption {name}", f"{value!r}", "Give a finite number of 0 or more")


@dataclass(frozen=True, eq=False)
class CopyEffect:
    """Effect of showing copy c to a user of segment s on an item of category k, added to the response logit:

        effect = base[c] + segment_style[s, style(c)] + category_style[k, style(c)] - wear * seen_style
        base[c] = a(text of c) + e(text of c)

    Where a part is learned from logged exposures (`recenv.response.copy_fit`), the tables hold one draw from its
    posterior, another one in each world. All other draws are independent normal with mean zero by construction (of the
    distribution, not of the sample: what was drawn is not centred again, so adding a text or a style leaves the
    others' numbers as they are). A copy without a style has neither style terms nor wear.

    Attributes:
        styles: names of the S styles, sorted.
        copy_style: (n_copies,) int32, index into `styles`, -1 for none.
        base: (n_copies,) float32, a + e.
        segment_style: (n_segments, S) float32.
        category_style: (n_categories, S) float32.
        wear: loss per earlier sight of the style in the session.
        seed: of a, segment x style, category x style: one for a world and its judge.
        world_seed: of e: another one in each world.
        assumptions: the standard deviations drawn with.
        sources: part -> `learned`, `transferred` or `assumed`.
        notes: part -> what else is to be known of it; JSON-able.
        posterior: of parts that are not assumed, `base_mean`, `base_sd` and so on, of the shape of the table; and the
            logged `shown` and `responses` of each copy, and `prior`, the a(text) learned with, (n_copies,) float32.
            Empty where all is assumed.
    """

    styles: tuple[str, ...]
    copy_style: I32
    base: F32
    segment_style: F32
    category_style: F32
    wear: float
    seed: int
    world_seed: int
    assumptions: CopyAssumptions
    sources: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(PARTS, ASSUMED))
    notes: Mapping[str, Any] = field(default_factory=dict)
    posterior: Mapping[str, F32] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """One line: which parts are learned, transferred, assumed."""
        if set(self.sources.values()) == {ASSUMED}:
            return ASSUMED
        named = {name: [p for p in PARTS if self.sources[p] == name] for name in LABELS}
        # Of e(text) only the size can come from other texts.
        named[TRANSFERRED] = [DRAWN if p == "e(text)" else p for p in named[TRANSFERRED]]
        told = {LEARNED: "learned", TRANSFERRED: f"transferred from {NEWS}", ASSUMED: "assumed"}
        return "; ".join(f"{told[name]}: {', '.join(parts)}" for name, parts in named.items() if parts)

    def at_mean(self) -> CopyEffect:
        """The effect with posterior means in place of draws: what a decision should go by; itself if none is known."""
        means = {name: self.posterior[f"{name}_mean"] for name in POSTERIOR if f"{name}_mean" in self.posterior}
        wear = self.notes.get("wear", {}).get("mean", self.wear)
        return replace(self, **means, wear=float(wear))  # type: ignore[arg-type]

    @classmethod
    def assume(
        cls,
        copies: Mapping[str, Sequence[Any]] | pa.Table,
        *,
        n_segments: int,
        n_categories: int,
        seed: int,
        world_seed: int,
        assumptions: CopyAssumptions | None = None,
        text_effect: F32 | None = None,
    ) -> CopyEffect:
        """Draw every part; each draw is keyed by the SHA-256 of its text or style, never by its position.

        Args:
            copies: columns copy_id, style, text of equal length, in the order of the copy index; a missing text is
                keyed by its copy_id, a missing style has no style terms.
            n_segments: segments are 0 .. n_segments - 1 (the index is the key).
            n_categories: categories are 0 .. n_categories - 1 (the index is the key: worlds that are to agree must
                number them alike).
            seed: for a, segment x style and category x style.
            world_seed: for e.
            assumptions: sizes of the parts; the defaults if None.
            text_effect: (n_copies,) a(text) told by a model of other tests, and the size of e(text) with it: both are
                then `transferred`. a(text) is drawn if None.

        Raises:
            InputError: a column is missing or of another length, or a count is negative.
        """
        sizes = assumptions or CopyAssumptions()
        ids, style_names, texts = _columns(copies)
        if n_segments < 0 or n_categories < 0:
            raise InputError("copy effect", f"{n_segments} segments, {n_categories} categories", "Give counts >= 0")
        styles = tuple(sorted({s for s in style_names if s}))
        index = {s: i for i, s in enumerate(styles)}
        words = np.array([rng.word(t or c) for c, t in zip(ids, texts)], np.int64)
        style_words = np.array([rng.word(s) for s in styles], np.int64)
        sources, known = dict.fromkeys(PARTS, ASSUMED), {}
        told = sizes.text_sd * _draw(seed, "text", words) if text_effect is None else np.asarray(text_effect)
        if len(told) != len(words):
            raise InputError("text_effect", f"{len(told)} for {len(words)} copies", "Give one a copy")
        if text_effect is not None:
            sources |= {"a(text)": TRANSFERRED, "e(text)": TRANSFERRED}
            known = {"base_mean": told.astype(np.float32), "base_sd": np.full(len(told), sizes.noise_sd, np.float32)}
        base = told + sizes.noise_sd * _draw(world_seed, "noise", words)
        return cls(
            styles=styles,
            copy_style=np.array([index.get(s, -1) if s else -1 for s in style_names], np.int32),
            base=base.astype(np.float32),
            segment_style=_cross(seed, "segment_style", n_segments, style_words, sizes.segment_style_sd),
            category_style=_cross(seed, "category_style", n_categories, style_words, sizes.category_style_sd),
            wear=sizes.wear,
            seed=seed,
            world_seed=world_seed,
            assumptions=sizes,
            sources=sources,
            posterior=known,
        )

    def effect(self, copy: ArrayLike, segment: ArrayLike, category: ArrayLike, seen_style: ArrayLike) -> F32:
        """Effect on the response logit.

        Args:
            copy: (n,) integer index of the copy, -1 for none (effect 0).
            segment: (n,) integer index of the user's segment.
            category: (n,) integer index of the item's category.
            seen_style: (n,) how often the copy's style was seen in this session before.

        Returns:
            (n,) float32.

        Raises:
            InputError: an index outside its table, or a count that is negative or not finite.
        """
        c = _index("copy", copy, len(self.copy_style), lowest=-1)
        s = _index("segment", segment, len(self.segment_style))
        k = _index("category", category, len(self.category_style))
        seen = np.asarray(seen_style, np.float32)
        if not (np.isfinite(seen).all() and (seen >= 0).all()):
            raise InputError("seen_style", "a count that is negative or not finite", "Count sights from 0")
        if not len(self.copy_style):
            return np.zeros(np.broadcast_shapes(c.shape, s.shape, k.shape, seen.shape), np.float32)
        style = np.where(c >= 0, self.copy_style[c], -1)
        styled: F32 = np.zeros(1, np.float32)
        if self.styles:
            by_style = self.segment_style[s, style] + self.category_style[k, style] - np.float32(self.wear) * seen
            styled = np.where(style >= 0, by_style, np.float32(0)).astype(np.float32)
        return np.where(c >= 0, self.base[c] + styled, np.float32(0)).astype(np.float32)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for safetensors or npz; names and settings as the bytes of a JSON text in `copy_meta` (uint8)."""
        settings = {
            "styles": self.styles,
            "seed": self.seed,
            "world_seed": self.world_seed,
            "wear": self.wear,
            "assumptions": asdict(self.assumptions),
            "sources": dict(self.sources),
            "notes": dict(self.notes),
        }
        return {
            **{f"posterior.{name}": array for name, array in self.posterior.items()},
            "copy_style": self.copy_style,
            "base": self.base,
            "segment_style": self.segment_style,
            "category_style": self.category_style,
            "copy_meta": np.frombuffer(json.dumps(settings, sort_keys=True).encode(), np.uint8).copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CopyEffect:
        """The inverse of `to_arrays`.

        Raises:
            ArtefactError: an array is missing, of another type or shape, not finite, or an index lies outside.
        """
        try:
            settings = json.loads(bytes(arrays["copy_meta"]).decode())
            styles = tuple(settings["styles"])
            made = cls(
                styles=styles,
                copy_style=_typed(arrays["copy_style"], np.int32, 1),
                base=_typed(arrays["base"], np.float32, 1),
                segment_style=_typed(arrays["segment_style"], np.float32, 2),
                category_style=_typed(arrays["category_style"], np.float32, 2),
                wear=float(settings["wear"]),
                seed=int(settings["seed"]),
                world_seed=int(settings["world_seed"]),
                assumptions=CopyAssumptions(**settings["assumptions"]),
                # Worlds made before parts had sources: all was assumed.
                sources=settings.get("sources", dict.fromkeys(PARTS, ASSUMED)),
                notes=settings.get("notes", {}),
                posterior=_posterior(arrays),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError("copy effect", f"unreadable arrays ({error})", "Make the world again") from error
        widths = {made.segment_style.shape[1], made.category_style.shape[1], len(styles)}
        low, high = (made.copy_style.min(), made.copy_style.max()) if len(made.copy_style) else (-1, -1)
        odd = [n for n in POSTERIOR if f"{n}_mean" in made.posterior and _odd_posterior(made, n)]
        odd += [p for p in PARTS if made.sources.get(p) not in LABELS]
        if len(made.base) != len(made.copy_style) or len(widths) > 1 or low < -1 or high >= len(styles) or odd:
            raise ArtefactError("copy effect", "arrays that do not fit each other", "Make the world again")
        return made

    def describe(self) -> dict[str, Any]:
        """Each part: source, standard deviation or value, seed, what it is keyed by, and the spread that came out."""
        sizes = self.assumptions

        def part(name: str, sd: float, seed: int, key: str, drawn: F32 | None = None) -> dict[str, Any]:
            row: dict[str, Any] = {"label": self.sources[name], "seed": seed, "keyed_by": key}
            row |= {} if row["label"] == LEARNED else {"sd": sd}
            row |= {} if drawn is None else {"drawn": int(drawn.size), "drawn_sd": _spread(drawn)}
            row |= {"from": NEWS} if row["label"] == TRANSFERRED else {"mean": 0.0}
            return row | dict(self.notes.get(name, {}))

        wear = {"label": self.sources["wear"], "value": self.wear, "unit": "logit per earlier sight of the style"}
        return {
            "unit": "response logit",
            "label": self.label,
            "styles": list(self.styles),
            "parts": {
                "a(text)": part("a(text)", sizes.text_sd, self.seed, "text"),
                "e(text)": part("e(text)", sizes.noise_sd, self.world_seed, "text"),
                "segment x style": part(
                    "segment x style", sizes.segment_style_sd, self.seed, "segment, style", self.segment_style
                ),
                "category x style": part(
                    "category x style", sizes.category_style_sd, self.seed, "category, style", self.category_style
                ),
                "wear": wear | dict(self.notes.get("wear", {})),
            },
            "a + e": {"drawn": int(self.base.size), "drawn_sd": _spread(self.base)},
        }


def _draw(seed: int, part: str, *words: Any) -> NDArray[np.float64]:
    return rng.normal(seed, _PARTS[part], *words)


def _cross(seed: int, part: str, n: int, style_words: NDArray[np.int64], sd: float) -> F32:
    if not n or not len(style_words):
        return np.zeros((n, len(style_words)), np.float32)
    return (sd * _draw(seed, part, np.arange(n)[:, None], style_words[None, :])).astype(np.float32)  # (n, S)


def _columns(copies: Mapping[str, Sequence[Any]] | pa.Table) -> tuple[list[str], list[str], list[str]]:
    names = copies.column_names if isinstance(copies, pa.Table) else list(copies)
    missing = [c for c in ("copy_id", "style", "text") if c not in names]
    if missing:
        raise InputError("copies", f"columns {missing} are missing", "Give copy_id, style and text")
    listed = []
    for name in ("copy_id", "style", "text"):
        column = copies[name].to_pylist() if isinstance(copies, pa.Table) else copies[name]
        listed.append(["" if v is None or (isinstance(v, float) and math.isnan(v)) else str(v) for v in column])
    if len({len(column) for column in listed}) > 1:
        raise InputError("copies", f"columns of lengths {[len(c) for c in listed]}", "Give columns of one length")
    return listed[0], listed[1], listed[2]


def _index(name: str, values: ArrayLike, size: int, lowest: int = 0) -> NDArray[np.integer[Any]]:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(name, f"dtype {array.dtype}", "Give whole-number indices")
    if array.size and (array.min() < lowest or array.max() >= size):
        raise InputError(name, f"index {array.min()} .. {array.max()}", f"Indices go from {lowest} to {size - 1}")
    return array


def _typed(array: NDArray[Any], dtype: Any, ndim: int) -> NDArray[Any]:
    if array.dtype != dtype or array.ndim != ndim or not np.isfinite(array).all():
        raise ValueError(f"expected a finite {np.dtype(dtype)} array of {ndim} dimensions")
    return array


def _posterior(arrays: Mapping[str, NDArray[Any]]) -> dict[str, F32]:
    names = [name for name in arrays if name.startswith("posterior.")]
    return {n.removeprefix("posterior."): _typed(arrays[n], np.float32, arrays[n].ndim) for n in sorted(names)}


def _odd_posterior(made: CopyEffect, name: str) -> bool:
    shape = getattr(made, name).shape
    return any(made.posterior.get(f"{name}_{what}", np.zeros(0)).shape != shape for what in ("mean", "sd"))


def _spread(values: F32) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0
