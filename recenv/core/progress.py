"""Progress bars: `tqdm` on a terminal; in a redirected log a few lines in place of one for every refresh."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from tqdm import tqdm

T = TypeVar("T")
EVERY = 60.0
"""Seconds between two lines of a log."""


class Bar(Protocol):
    """What is used of a bar, by hand."""

    n: Any

    def update(self, n: int = 1) -> Any:
        """Move it on by `n`."""

    def set_postfix(self, **figures: Any) -> None:
        """Figures to show behind it."""

    def close(self) -> None:
        """End it."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: object) -> None: ...


class Lines(Generic[T]):
    """A bar for a log: a line when it begins, one a minute at most, one when it ends.

    Args:
        over: what is gone through, if it is iterated over. total: steps in all; the length of `over` if None. label,
            unit: what is done, in which steps. leave: False for a bar that would be wiped out when done: nothing is
            written when it begins or ends.
    """

    def __init__(self, over: Iterable[T] | None, total: int | None, label: str, unit: str, leave: bool) -> None:
        self._over: Iterable[T] = () if over is None else over
        self._total = len(over) if total is None and hasattr(over, "__len__") else total  # type: ignore[arg-type]
        self._label, self._unit, self._leave = label, unit + ("" if self._total == 1 else "s"), leave
        self.n, self._figures, self._closed = 0, "", False
        self._began = self._told = time.monotonic()
        if leave:
            self._write(f"{label}: {'' if self._total is None else f'{self._total:,} '}{self._unit}")

    def __iter__(self) -> Iterator[T]:
        with self:
            for one in self._over:
                yield one
                self.update()

    def __enter__(self) -> Lines[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, n: int = 1) -> None:
        """Move it on by `n`."""
        self.n += n
        if time.monotonic() - self._told >= EVERY:
            self._tell()

    def set_postfix(self, **figures: Any) -> None:
        """Figures to show behind it."""
        self._figures = "".join(f", {name} {value}" for name, value in figures.items())

    def close(self) -> None:
        """End it; the second time does nothing."""
        if self._leave and not self._closed:
            self._tell()
        self._closed = True

    def _tell(self) -> None:
        self._told = time.monotonic()
        done = f"{self.n:,}" + ("" if self._total is None else f" of {self._total:,}")
        self._write(f"{self._label}: {done} {self._unit}, {self._told - self._began:.0f} s{self._figures}")

    @staticmethod
    def _write(line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def bar(label: str, total: int | None = None, unit: str = "step", show: bool = True, leave: bool = True) -> Bar:
    """A bar that is moved by hand; `leave`: it stays when done. Nothing is written unless `show`."""
    if not show or _on_terminal():
        return tqdm(total=total, desc=label, unit=unit, disable=not show, leave=leave)
    return Lines[None](None, total, label, unit, leave)


def through(
    over: Iterable[T], label: str, total: int | None = None, unit: str = "step", show: bool = True
) -> Iterable[T]:
    """What is gone through, with a bar beside it; `total`: how many there are, where `over` does not tell."""
    if not show or _on_terminal():
        return tqdm(over, total=total, desc=label, unit=unit, disable=not show)
    return Lines(over, total, label, unit, True)
