"""A language model of real lines that says how likely a generator's lines are."""

from __future__ import annotations

from collections.abc import Sequence

from recenv.core.errors import InputError
from recenv.generators.ngram import GroupedKneserNey, Ids

ORDERS = (2, 3, 4)


class Reference:
    """Kneser-Ney n-grams of training lines, mixed with those of the line's own group (its style).

    Validation lines choose the order alone: a model of them would foretell the lines by which the generator is judged,
    and they are few. That the generator has read the same lines flatters copies; what it gains by them it loses on
    validation lines, which the score holds besides.

    Args:
        lines, groups: training lines (ids without the end token) and their groups. validation, held_groups: the same.
        vocabulary: number of tokens, end included. end, unknown: ids. ends: whether lines end by their end token; if
            not (lines of a fixed length), it is not scored, and its share is lost alike to all lines.

    Raises:
        InputError: no training or validation line.
    """

    def __init__(
        self,
        lines: Sequence[Ids],
        groups: Sequence[str],
        validation: Sequence[Ids],
        held_groups: Sequence[str],
        vocabulary: int,
        end: int,
        unknown: int,
        ends: bool = True,
    ) -> None:
        if not lines or not validation:
            what = f"{len(lines)} lines to count, {len(validation)} to choose the order"
            raise InputError("gan reference", what, "Give lines of both")
        self.end = end
        tail = [end] if ends else []
        losses = {}
        for order in ORDERS:
            self._grams = GroupedKneserNey(order, vocabulary, end, unknown).fit(lines, groups)
            held = zip(validation, held_groups, strict=True)
            losses[order] = (sum(self.loss([*line, *tail], group) for line, group in held), self._grams)
        self.order = min(losses, key=lambda n: losses[n][0])
        self._grams = losses[self.order][1]

    def loss(self, line: Ids, group: str = "") -> float:
        """- log-probability of a line in nats, of its end only where the line has it."""
        finished = bool(line) and line[-1] == self.end
        logs = self._grams.token_log_probs(line[:-1] if finished else line, group)
        return -float(logs.sum() if finished else logs[:-1].sum())
