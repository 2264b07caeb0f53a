"""A live catalogue that changes while it is served: read again when its file is another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recenv.core.errors import InputError
from recenv.serving.recommender import Recommender

_NAME = "live catalogue"
"""Of the thread."""
_PATIENCE = 30.0
"""Seconds to wait for the thread's end."""


@contextmanager
def follow(
    recommender: Recommender, items: str | Path, every: float, tell: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Take the file's facts now, and again whenever it has changed, looking every so many seconds from a thread.

    A file that is refused later leaves the facts as they are; `Recommender.status` says why (`refused`), and it is
    read again at each look until it is taken. Put a new catalogue in the file's place in one move (`mv`): one read half
    written would delist what it does not hold yet. `tell` is called whenever the facts have become others, or another
    reason stands in `refused`.

    Raises:
        InputError: the file as it is now is refused, or `every` is no number above 0 that a thread can wait.
    """
    if not 0 < every <= threading.TIMEOUT_MAX:
        raise InputError("reload", f"{every!r}", f"Give seconds above 0, at most {threading.TIMEOUT_MAX:.0f}.")
    path, stop = Path(items), threading.Event()
    seen = _stamp(path)
    recommender.refresh(path)
    about = (recommender, path, every, stop, seen, tell)
    thread = threading.Thread(target=_look, args=about, name=_NAME, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_PATIENCE)


def _look(
    recommender: Recommender, path: Path, every: float, stop: threading.Event, seen: object, tell: Callable[[], None]
) -> None:
    said = ""
    while not stop.wait(every):
        now = _stamp(path)
        if now == seen and now is not None:
            continue
        seen = None
        try:
            recommender.refresh(path)
        except Exception:  # told by `status` (`refused`); whatever it is, the next file may be good
            if recommender.refused != said:
                said = recommender.refused
                tell()
            continue
        seen, said = now, ""
        tell()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with the file's content; None where it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
