"""Finds and reads the files of a public source, with errors that name the file, the column and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from recenv.core.errors import InputError

ENDINGS = (".parquet", ".csv")


def find_file(source: str, path: str | Path | None, stems: Sequence[str]) -> Path:
    """The file `path`, or the first of `stems` (names without ending) in the folder `path`, as Parquet or CSV.

    Raises:
        InputError: no path, nothing there, or a file of another kind.
    """
    if path is None:
        raise InputError(f"source {source}", "needs --path", f"Give the folder that holds {stems[0]}{ENDINGS[0]}.")
    given = Path(path)
    if given.is_file():
        if given.suffix.lower() not in ENDINGS:
            raise InputError(str(given), f"is a {given.suffix or 'nameless'} file", "Save it as Parquet or CSV.")
        return given
    for stem in stems:
        for ending in ENDINGS:
            if (given / f"{stem}{ending}").is_file():
                return given / f"{stem}{ending}"
    wanted = ", ".join(f"{stem}{ENDINGS[0]}" for stem in stems)
    raise InputError(str(given), "is missing, or holds no file of this source", f"It should hold {wanted} (or .csv).")


def column_names(file: Path) -> list[str]:
    """Names of the columns of a Parquet or CSV file, without its rows.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        if file.suffix.lower() != ".parquet":
            return [str(name) for name in pd.read_csv(file, nrows=0).columns]
        return list(pq.ParquetFile(file).schema_arrow.names)
    except (OSError, ValueError, UnicodeError) as error:
        raise InputError(str(file), f"cannot be read ({error})", "Give the source's own Parquet or CSV file.") from None


def read_columns(file: Path, types: dict[str, Any]) -> pd.DataFrame:
    """The columns named in `types` as a table, each of the type given (`str`, `float`, `int`, `bool`, `time`).

    Raises:
        InputError: the file cannot be read, a column is missing, or a value does not fit its column's type.
    """
    try:
        if file.suffix.lower() == ".parquet":
            table = pd.read_parquet(file)
        else:
            text = [name for name, kind in types.items() if kind is str]
            table = pd.read_csv(file, dtype=dict.fromkeys(text, "str"), low_memory=False)
    except (OSError, ValueError, UnicodeError) as error:
        raise InputError(str(file), f"cannot be read ({error})", "Give the source's own Parquet or CSV file.") from None
    missing = [name for name in types if name not in table]
    if missing:
        raise InputError(str(file), f"column {missing[0]!r} is missing", "Give the source's own file, unchanged.")
    return pd.DataFrame({name: _typed(file, table[name], kind) for name, kind in types.items()})


def _typed(file: Path, values: pd.Series, kind: Any) -> pd.Series:
    where = f"{file.name} column {values.name!r}"
    values = values.reset_index(drop=True)
    try:
        if kind == "time":
            return pd.to_datetime(values, format="ISO8601")
        if kind is str:
            return values.astype("object").where(values.notna(), None).astype("str")
        if kind is bool:
            return values.astype("bool")
        numbers = pd.to_numeric(values).astype("float64")
    except (ValueError, TypeError) as error:
        raise InputError(where, f"cannot be read ({error})", "Give the source's own file, unchanged.") from None
    if kind is int and (numbers.dropna() % 1 != 0).any():
        raise InputError(where, "holds other than whole numbers", "Give the source's own file, unchanged.")
    return numbers
