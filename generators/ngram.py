"""Baselines for held-out perplexity on the tokens of a neural generator: Kneser-Ney n-grams and template frequency.

Sequences are token ids without the end token, which every model adds and scores. The unknown token gets the share of
tokens that occur once in training (Good-Turing), which training lines alone would give it nothing of.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recenv.core.checks import check_whole
from recenv.core.errors import InputError

Ids = Sequence[int]
_START = -1


class LineModel(Protocol):
    """Scores lines token by token."""

    def token_log_probs(self, line: Ids, group: str = "") -> NDArray[np.float64]:
        """(len(line) + 1,) natural log-probability of each token and of the end."""
        ...


def perplexity(
    model: LineModel, lines: Sequence[Ids], groups: Sequence[str] | None = None, skip: int | None = None
) -> float:
    """exp(- mean log-probability per token), ends counted; tokens equal to `skip` (the unknown token) left out.

    Raises:
        InputError: no token to score.
    """
    total, count = 0.0, 0
    for line, group in zip(lines, groups or [""] * len(lines), strict=True):
        kept = np.array([token != skip for token in line] + [True])
        logs = model.token_log_probs(line, group)[kept]
        total, count = total + float(logs.sum()), count + len(logs)
    if not count:
        raise InputError("perplexity", "no line", "Give at least one")
    return math.exp(-total / count)


class KneserNey:
    """Interpolated Kneser-Ney n-grams, one absolute discount an order: D = n1 / (n1 + 2 n2).

    p(w | h) = max(c(h w) - D, 0) / c(h) + D N1+(h .) / c(h) p(w | h'), where h' drops the first token of h; lower
    orders count distinct left neighbours instead of occurrences, and the lowest rests on 1 / vocabulary.
    (Chen and Goodman, "An empirical study of smoothing techniques for language modeling", TR-10-98, section 4.1.6.)

    Args:
        order: n. vocabulary: number of tokens, end included. end, unknown: their ids.
    """

    def __init__(self, order: int, vocabulary: int, end: int, unknown: int) -> None:
        check_whole("order", order, 1, 9)
        check_whole("vocabulary", vocabulary, 2)
        self.order, self.vocabulary, self.end, self.unknown = order, vocabulary, end, unknown

    def fit(self, lines: Sequence[Ids]) -> KneserNey:
        """Count the n-grams of training lines; returns itself.

        Raises:
            InputError: no line.
        """
        if not lines:
            raise InputError("n-gram", "no line to count", "Give at least one")
        padded = [[_START] * (self.order - 1) + [*line, self.end] for line in lines]
        top = Counter(tuple(line[i : i + self.order]) for line in padded for i in range(len(line) - self.order + 1))
        self.counts: list[Counter[tuple[int, ...]]] = [top]
        while len(next(iter(self.counts[0]))) > 1:
            self.counts.insert(0, Counter(gram[1:] for gram in self.counts[0]))
        words = Counter(token for line in lines for token in line)
        # Where every token occurs once they would leave nothing for themselves.
        once = min(sum(c == 1 for c in words.values()), words.total() - 1)
        self.unseen = max(0, once) / max(1, words.total()) if self.unknown not in words else 0.0
        self._sum()
        return self

    def _sum(self) -> None:
        self.mass: list[defaultdict[tuple[int, ...], int]] = []
        self.kinds: list[defaultdict[tuple[int, ...], int]] = []
        self.discounts: list[float] = []
        for table in self.counts:
            mass: defaultdict[tuple[int, ...], int] = defaultdict(int)
            kinds: defaultdict[tuple[int, ...], int] = defaultdict(int)
            for gram, count in table.items():
                mass[gram[:-1]] += count
                kinds[gram[:-1]] += 1
            once, twice = (sum(c == k for c in table.values()) for k in (1, 2))
            self.mass.append(mass)
            self.kinds.append(kinds)
            self.discounts.append(once / (once + 2 * twice) if once > 0 else 0.5)
        self.followers = [_followers(table) for table in self.counts]

    def probability(self, history: tuple[int, ...], token: int) -> float:
        """p(token | the last order - 1 tokens of history)."""
        # The unknown token's share is set aside at the lowest order; the other tokens divide the rest.
        p = 1.0 / (self.vocabulary - bool(self.unseen))
        for level, table in enumerate(self.counts):
            h = history[len(history) - level :]
            mass = self.mass[level].get(h, 0)
            if level and not mass:
                break
            d = self.discounts[level]
            p = max(table.get((*h, token), 0) - d, 0.0) / mass + d * self.kinds[level][h] / mass * p
            if not level:
                p = p * (1.0 - self.unseen) if token != self.unknown or not self.unseen else self.unseen
        return p

    def distribution(self, history: tuple[int, ...], group: str = "") -> NDArray[np.float64]:
        """(vocabulary,) `probability` of every token at once; ids must be 0 .. vocabulary - 1. `group` is not looked
        at."""
        p = np.full(self.vocabulary, 1.0 / (self.vocabulary - bool(self.unseen)))
        for level, followers in enumerate(self.followers):
            h = history[len(history) - level :]
            mass = self.mass[level].get(h, 0)
            if level and not mass:
                break
            d, (tokens, counts) = self.discounts[level], followers[h]
            p *= d * self.kinds[level][h] / mass
            p[tokens] += np.maximum(counts - d, 0.0) / mass
            if not level and self.unseen:
                p *= 1.0 - self.unseen
                p[self.unknown] = self.unseen
        return p

    def known(self, history: tuple[int, ...]) -> tuple[int, ...]:
        """The part of a history that decides: its longest end that training lines have, of at most order - 1."""
        level = 0
        while level + 1 < self.order and self.mass[level + 1].get(history[len(history) - level - 1 :], 0):
            level += 1
        return history[len(history) - level :]

    def token_log_probs(self, line: Ids, group: str = "") -> NDArray[np.float64]:
        """See `LineModel`; `group` is not looked at."""
        full = [_START] * (self.order - 1) + [*line, self.end]
        first = self.order - 1
        return np.log([self.probability(tuple(full[i - first : i]), full[i]) for i in range(first, len(full))])


def _followers(
    table: Counter[tuple[int, ...]],
) -> dict[tuple[int, ...], tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """History -> (tokens seen after it, their counts)."""
    after: defaultdict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
    for gram, count in table.items():
        after[gram[:-1]][gram[-1]] = count
    return {h: (np.array(list(x), np.int64), np.array(list(x.values()), np.float64)) for h, x in after.items()}


class GroupedKneserNey:
    """Kneser-Ney n-grams of all lines mixed with those of the line's own group (its style).

    p = share p_group + (1 - share) p_all: what conditioning on the style is worth to an n-gram.
    """

    def __init__(self, order: int, vocabulary: int, end: int, unknown: int, share: float = 0.5) -> None:
        if not 0.0 <= share < 1.0:
            raise InputError("option share", f"{share}", "Give a share from 0 to below 1")
        self.parts = (order, vocabulary, end, unknown)
        self.share = share

    def fit(self, lines: Sequence[Ids], groups: Sequence[str]) -> GroupedKneserNey:
        """Count all lines, and those of each group; returns itself."""
        self.all = KneserNey(*self.parts).fit(lines)
        self.each = {
            name: KneserNey(*self.parts).fit([line for line, g in zip(lines, groups, strict=True) if g == name])
            for name in dict.fromkeys(groups)
        }
        return self

    def token_log_probs(self, line: Ids, group: str = "") -> NDArray[np.float64]:
        """See `LineModel`; a group never met has the n-grams of all lines alone."""
        common = self.all.token_log_probs(line)
        if group not in self.each:
            return common
        own = self.each[group].token_log_probs(line)
        return np.log(self.share * np.exp(own) + (1.0 - self.share) * np.exp(common))

    def distribution(self, history: tuple[int, ...], group: str = "") -> NDArray[np.float64]:
        """As in `KneserNey`, for a group."""
        common = self.all.distribution(history)
        if group not in self.each:
            return common
        return self.share * self.each[group].distribution(history) + (1.0 - self.share) * common


class TemplateFrequency:
    """Whole lines by their frequency, mixed with smoothed single tokens: what `templates` knows of a new line.

    p(line) = share count(line in its group) / lines of the group + (1 - share) prod p(token). The chain rule gives
    tokens: the first component's share of the probability of the line so far is kept up as its prefix is read.

    Args:
        vocabulary, end, unknown: as in `KneserNey`. share: of the whole lines.
    """

    def __init__(self, vocabulary: int, end: int, unknown: int, share: float = 0.5) -> None:
        if not 0.0 <= share < 1.0:
            raise InputError("option share", f"{share}", "Give a share from 0 to below 1")
        self.tokens, self.share, self.end = KneserNey(1, vocabulary, end, unknown), share, end

    def fit(self, lines: Sequence[Ids], groups: Sequence[str]) -> TemplateFrequency:
        """Count lines by group, and tokens; returns itself."""
        self.tokens.fit(lines)
        self.prefixes: Counter[tuple[str, tuple[int, ...]]] = Counter()
        for line, group in zip(lines, groups, strict=True):
            full = (*line, self.end)
            self.prefixes.update((group, full[:k]) for k in range(len(full) + 1))
        return self

    def token_log_probs(self, line: Ids, group: str = "") -> NDArray[np.float64]:
        """See `LineModel`."""
        full = (*line, self.end)
        total = max(1, self.prefixes[(group, ())])
        whole = np.array([self.prefixes[(group, full[:k])] / total for k in range(len(full) + 1)])
        single = np.concatenate([[0.0], np.cumsum(self.tokens.token_log_probs(line))])
        return np.diff(np.log(self.share * whole + (1.0 - self.share) * np.exp(single)))
