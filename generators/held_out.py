"""Held-out perplexity of a transformer generator beside its parts and n-grams.

All models score the same tokens, ends counted. What each chooses (order, exponent, share, temperature) it chooses on
the lines that stopped the transformer's training. The exponent of an n-gram is what the temperature is to the
transformer: p^(1 / t) over its sum, which mends a model that is too sure or not sure enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recenv.core.errors import InputError
from recenv.generators.corpus import Line, read_corpus
from recenv.generators.ngram import GroupedKneserNey, KneserNey, TemplateFrequency
from recenv.generators.ngram import perplexity as perplexity_of
from recenv.generators.transformer import TransformerGenerator
from recenv.generators.transformer_mixture import Mixture

MIXTURE = "mixture"
RESAMPLES = 10_000
"""Of held-out lines, for the intervals."""
_EXPONENTS = tuple(0.6 + k / 10 for k in range(13))
_ORDERS = (2, 3, 4, 5)
_START = -1

Gram = KneserNey | GroupedKneserNey


@dataclass(frozen=True)
class Scored:
    """What a model says of the held-out lines.

    Attributes:
        logs: for each line the log-probability of each token and of the end. known: for each line which of these are
            words of the training lines. choice: what was chosen, in words.
    """

    logs: tuple[NDArray[np.float64], ...]
    known: tuple[NDArray[np.bool_], ...]
    choice: str = ""

    def table(self) -> dict[str, Any]:
        """all, known (perplexities a token), nats_a_line, choice."""
        kept = [x[k] for x, k in zip(self.logs, self.known, strict=True)]
        return {
            "all": _perplexity(self.logs),
            "known": _perplexity(kept),
            "nats_a_line": -float(np.mean([x.sum() for x in self.logs])),
            "choice": self.choice,
        }


def score_all(generator: TransformerGenerator, held_out: Sequence[Line]) -> dict[str, Scored]:
    """Name of a model -> its scores of held-out lines.

    Raises:
        InputError: the generator is no mixture.
    """
    if generator.mixture is None:
        raise InputError("perplexity", "the generator has no n-grams", "Fit it with ngram_share above 0, or None")
    codec, place, lines = generator.codec, generator.mixture.place, list(generator.known.lines)
    trained = {line.text for line in lines}
    stop = [line for line in read_corpus().split()[0] if line.text not in trained]
    ends, unknown = place[codec.end], place[codec.unknown]
    parts = (len(place), ends, unknown)

    def ids(some: Sequence[Line]) -> list[list[int]]:
        return [[place[token] for token in codec.encode(line.text)] for line in some]

    known = tuple(np.array([token != unknown for token in line] + [True]) for line in ids(held_out))
    found = _neural(generator, generator.mixture, held_out, stop, known)
    styles, stop_styles, held_styles = ([line.style for line in x] for x in (lines, stop, held_out))
    makes: dict[str, Callable[[int], Gram]] = {
        "n-gram": lambda n: KneserNey(n, *parts).fit(ids(lines)),
        "n-gram by style": lambda n: GroupedKneserNey(n, *parts).fit(ids(lines), styles),
    }
    for name, make in makes.items():
        tried = {n: make(n) for n in _ORDERS}
        order = min(tried, key=lambda n: perplexity_of(tried[n], ids(stop), stop_styles))
        model = tried[order]
        given = _distributions(model, order, ids(stop), stop_styles, ends)
        exponent = min(_EXPONENTS, key=lambda t: _perplexity(_raised(given, t)))
        given = _distributions(model, order, ids(held_out), held_styles, ends)
        found[name] = Scored(_raised(given, 1.0), known, f"order {order}")
        found[f"{name}, exponent"] = Scored(_raised(given, exponent), known, f"order {order}, temperature {exponent:g}")
    frequency = TemplateFrequency(*parts).fit(ids(lines), styles)
    pairs = zip(ids(held_out), held_styles, strict=True)
    found["template frequency"] = Scored(tuple(frequency.token_log_probs(line, s) for line, s in pairs), known)
    return found


def _neural(
    generator: TransformerGenerator,
    mixture: Mixture,
    held_out: Sequence[Line],
    stop: Sequence[Line],
    known: tuple[NDArray[np.bool_], ...],
) -> dict[str, Scored]:
    """The mixture and its transformer, as it is and with the temperature that suits `stop`."""
    alone = generator.alone()
    sure = min((1.0 + k / 10 for k in range(11)), key=lambda t: alone.perplexity(stop, temperature=t))
    chosen = f"n-gram share {mixture.share:g}, temperature {mixture.temperature:g}"
    raised = tuple(alone.token_logs(held_out, temperature=sure))
    return {
        MIXTURE: Scored(tuple(generator.token_logs(held_out)), known, chosen),
        "transformer alone": Scored(tuple(alone.token_logs(held_out)), known),
        "transformer alone, exponent": Scored(raised, known, f"temperature {sure:g}"),
    }


def differences(runs: Sequence[Mapping[str, Scored]], seed: int = 0) -> dict[str, dict[str, float]]:
    """Baseline -> perplexity of the mixture less the baseline's, with a 95 % interval over held-out lines.

    A line's log-probability is the mean over the runs (seeds of training); lines are drawn with replacement, the same
    for both models (paired percentile bootstrap: Efron and Tibshirani, 1993, section 13.3).
    """
    counts = np.array([len(x) for x in runs[0][MIXTURE].logs], np.float64)
    sums = {name: np.mean([[x.sum() for x in run[name].logs] for run in runs], axis=0) for name in runs[0]}
    drawn = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))

    def levels(name: str, index: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(np.exp(-sums[name][index].sum(-1) / counts[index].sum(-1)), np.float64)

    everything = np.arange(len(counts))[None]
    found = {}
    for name in sums:
        if name != MIXTURE:
            low, high = np.quantile(levels(MIXTURE, drawn) - levels(name, drawn), (0.025, 0.975))
            apart = float((levels(MIXTURE, everything) - levels(name, everything))[0])
            found[name] = {"difference": apart, "low": float(low), "high": float(high)}
    return found


def _distributions(
    model: Gram, order: int, lines: Sequence[Sequence[int]], groups: Sequence[str], end: int
) -> list[tuple[list[int], NDArray[np.float64]]]:
    """For each line (its tokens and end, (tokens, V) distributions before each)."""
    found = []
    for line, group in zip(lines, groups, strict=True):
        full = [_START] * (order - 1) + [*line, end]
        steps = range(order - 1, len(full))
        found.append(
            ([*line, end], np.array([model.distribution(tuple(full[i - order + 1 : i]), group) for i in steps]))
        )
    return found


def _raised(
    given: Sequence[tuple[list[int], NDArray[np.float64]]], temperature: float
) -> tuple[NDArray[np.float64], ...]:
    """For each line log of p^(1 / temperature) over its sum at its tokens."""
    found = []
    for tokens, p in given:
        powers = p ** (1.0 / temperature)
        found.append(np.log(powers[np.arange(len(tokens)), tokens] / powers.sum(1)))
    return tuple(found)


def _perplexity(logs: Sequence[NDArray[np.float64]]) -> float:
    return math.exp(-float(np.concatenate(logs).mean()))
