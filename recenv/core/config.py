"""Options of a command kept in a `config.json`, and read from there: every value checked against its field's type."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from recenv.core.errors import InputError
from recenv.core.runs import CONFIG

COMMAND = "command"
"""Entry of a config.json that names the command which wrote it."""
_LEFT_OUT = ("out", "overwrite")
"""Options that are not kept: a replay names its own folder, and says itself that it may replace what is there."""
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def keep_config(folder: Path, command: str, config: Any, files: Collection[str] = ()) -> None:
    """Write what a command was told to `config.json`; paths made absolute, so that they hold wherever they are read.

    Args:
        folder: made by the command. config: a dataclass of its options. files: names of options of type `str` that may
            name a file; made absolute where there is one.
    """
    found = {name: value for name, value in vars(config).items() if name not in _LEFT_OUT}
    for name in files:
        if found.get(name) and Path(found[name]).exists():
            found[name] = Path(found[name])
    plain = {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in found.items()}
    text = json.dumps({COMMAND: command, **plain}, indent=1, sort_keys=True, allow_nan=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def read_config(path: Path, command: str, readers: Collection[str]) -> tuple[Path, dict[str, Any]]:
    """The file and what it holds but for its command.

    Args:
        path: a config.json, or the folder that holds it. command: which must have written it. readers: commands that
            read such files.

    Raises:
        InputError: no such file, no JSON object, or one of no or another command.
    """
    file = path / CONFIG if path.is_dir() else path
    mend = f"Give the {CONFIG} of a folder that `recenv {command}` wrote."
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(str(file), "there is no such file", mend) from error
    except (ValueError, OSError) as error:
        raise InputError(str(file), f"cannot be read as JSON ({error})", mend) from error
    if not isinstance(found, dict):
        raise InputError(str(file), "holds no JSON object", mend)
    wrote = found.pop(COMMAND, None)
    if wrote is None:
        mend = f'Add "{COMMAND}": "{command}" if it holds options of `recenv {command}`.'
        raise InputError(str(file), "names no command", mend)
    if wrote != command:
        mend = f"Use it with `recenv {wrote} --config`." if wrote in readers else mend
        raise InputError(str(file), f"{COMMAND} is {wrote!r}, not {command!r}", mend)
    return file, found


def typed(kind: type[Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values from JSON in the types of a dataclass's fields: a string as Path, a list as tuple; no other conversion.

    Args:
        kind: the dataclass. values: by name, not necessarily of every field. where: what an error names.

    Raises:
        InputError: a name that is no field, or a value of another type than its field's.
    """
    hints, names = get_type_hints(kind), [field.name for field in fields(kind)]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise InputError(where, f"unknown option {', '.join(unknown)}", f"Choose among {', '.join(names)}.")
    return {name: _typed(hints[name], value, f"{where}, option {name}") for name, value in values.items()}


def _typed(hint: Any, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(hint, config=_STRICT).validate_json(json.dumps(value))
    except ValidationError as error:
        told = error.errors(include_url=False)[0]["msg"]
        wanted = getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint)
        raise InputError(where, f"{value!r} ({told})", f"Give JSON for {wanted}.") from error
