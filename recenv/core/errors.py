"""Named errors: each says where the problem is, what it is, and how to mend it."""

from __future__ import annotations


class RecenvError(Exception):
    """Base of every error that recenv raises on purpose.

    Args:
        where: the file, table, row, column, option or array concerned.
        what: what was found there, with the value.
        mend: what the reader can do about it.
    """

    def __init__(self, where: str, what: str, mend: str) -> None:
        super().__init__(f"{where}: {what}. {mend}")
        self.where, self.what, self.mend = where, what, mend

    def __reduce__(self) -> tuple[type[RecenvError], tuple[str, str, str]]:
        return type(self), (self.where, self.what, self.mend)


class InputError(RecenvError, ValueError):
    """Bad data, a bad option or a bad array given by the user."""


class ArtefactError(RecenvError, ValueError):
    """A world, run or bundle on disk that is missing, changed, or of another schema version."""


class UnsupportedError(RecenvError, ValueError):
    """A request that the logs or the model cannot support (for instance a reward on a response never logged)."""
