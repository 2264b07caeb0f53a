"""`recenv COMMAND`: reads the command line, calls the command's `run`, prints named errors instead of tracebacks."""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from recenv.core.errors import InputError, RecenvError

COMMANDS: dict[str, tuple[str, str, str]] = {
    "prepare": ("prepare", "PrepareConfig", "logs to tables"),
    "fit": ("fit", "FitConfig", "tables to a world and its judge"),
    "copy": ("make_copy", "CopyConfig", "add copy variants to a world"),
    "train": ("train", "TrainConfig", "train an agent in a world"),
    "benchmark": ("benchmark", "BenchmarkConfig", "compare agents in the judge's world"),
    "evaluate": ("evaluate", "EvaluateConfig", "off-policy value of a policy on the test slice"),
    "fidelity": ("fidelity", "FidelityConfig", "how well a world predicts the test slice"),
    "export": ("export", "ExportConfig", "a trained policy as a bundle"),
    "serve": ("serve", "ServeConfig", "serve a bundle over HTTP"),
    "demo": ("demo", "DemoConfig", "all of it on real data"),
    "check": ("check", "CheckConfig", "does an environment keep the rules?"),
}
REPLAYED = {"prepare": "out", "fit": "world", "copy": "world", "train": "", "benchmark": ""}
"""Commands that take `--config`: the entry of their result that names the folder in which their options are to be kept;
"" for runs, which keep them from their start."""
FILES = ("path", "mapping", "pretrained")
"""Options of type `str` that may name a file or a folder."""
REPLAY = (
    "--config FILE (of prepare, fit, copy, train, benchmark): what is not given is taken from FILE, the config.json of "
    "a folder that the command wrote."
)
DONE, BAD_INPUT, INTERRUPTED, UNHEARD = 0, 2, 130, 141


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<10} {what}" for name, (_, _, what) in COMMANDS.items()]
    head = "usage: recenv COMMAND [options]\n\nTurn your own shop logs into a Gymnasium environment.\n\ncommands:"
    tail = "`recenv COMMAND --help` lists a command's options; each takes --json."
    return "\n".join([head, *lines, "", tail, REPLAY])


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console command; exits 0 when done, 2 on bad usage or bad input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(DONE if words else BAD_INPUT)
    if words[0] in ("--version", "version"):
        print(importlib.import_module("recenv").__version__)
        sys.exit(DONE)
    if words[0] not in COMMANDS:
        print(f"recenv: no command {words[0]!r}\n\n{usage()}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    sys.exit(_run(words[0], words[1:]))


def _run(command: str, words: list[str]) -> int:
    as_json = "--json" in words
    try:
        result = _called(command, [w for w in words if w != "--json"])
    except RecenvError as error:
        print(f"recenv {command}: {error}", file=sys.stderr)
        return BAD_INPUT
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "recenv":
            raise
        print(f"recenv {command}: {error.name} is not installed. Run `pip install 'recenv[all]'`.", file=sys.stderr)
        return BAD_INPUT
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _output_closed():
            return UNHEARD
        print(f"recenv {command}: {error}. Check the path, its permissions and the disk.", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"recenv {command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    code = int(result.pop("exit_code", DONE))
    if as_json:
        print(json.dumps(result, sort_keys=True, allow_nan=False))
    return code


def _output_closed() -> bool:
    """Whether whoever read our output has seen enough (`| head`); what is left then goes nowhere, without a word."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    closed = any(event & select.POLLERR for _, event in pipe.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed


def _called(command: str, words: list[str]) -> dict[str, Any]:
    """`_call`; what fails while an interrupt unwinds (a package that is half imported, say) is that interrupt."""
    try:
        return _call(command, words)
    except Exception as error:
        if _interrupted(error):
            raise KeyboardInterrupt from error
        raise


def _interrupted(error: BaseException) -> bool:
    """Whether the error came up while an interrupt, or an error of that kind, was being handled."""
    behind = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt) or (behind is not None and _interrupted(behind))


def _call(command: str, words: list[str]) -> dict[str, Any]:
    import tyro

    module_name, config_name, _ = COMMANDS[command]
    module = importlib.import_module(f"recenv.scripts.{module_name}")
    kind = getattr(module, config_name)
    if command not in REPLAYED:
        only: dict[str, Any] = module.run(tyro.cli(kind, args=words, prog=f"recenv {command}"))
        return only
    from recenv.core.config import keep_config

    words, file = _without_config(words)
    default = tyro.MISSING_NONPROP if file is None else _defaults(kind, command, Path(file))
    told = f"{kind.__doc__}\n\n{REPLAY}"
    config = tyro.cli(kind, args=words, prog=f"recenv {command}", default=default, description=told)
    result: dict[str, Any] = module.run(config)
    folder = REPLAYED[command] and Path(result[REPLAYED[command]])
    if folder and folder != getattr(config, "world", None):  # `copy --review` may only have read
        keep_config(folder, command, config, FILES)
    return result


def _defaults(kind: type[Any], command: str, path: Path) -> Any:
    """An instance of a command's options, as kept in a file; those it does not hold keep their own defaults, and tyro
    asks for what has none.

    Raises:
        InputError: as `read_config`; an option that the command does not have or cannot be given; a value of another
            type than the option's.
    """
    import tyro

    from recenv.core.config import read_config, typed

    file, found = read_config(path, command, REPLAYED)
    own = fields(kind)
    if not REPLAYED[command]:
        # What a run keeps are the settings of the library, in groups.
        replay = importlib.import_module("recenv.agents.replay")
        found = getattr(replay, f"of_{command}")(found, {field.name for field in own}, str(file))
    needed = {f.name: tyro.MISSING for f in own if f.default is MISSING and f.default_factory is MISSING}
    return kind(**needed | typed(kind, found, str(file)))


def _without_config(words: list[str]) -> tuple[list[str], str | None]:
    """The words without `--config FILE`, and the file; None where it is not among them.

    Raises:
        InputError: it stands there twice, or without a file.
    """
    found = [i for i, word in enumerate(words) if word.split("=")[0] == "--config"]
    if not found:
        return words, None
    if len(found) > 1:
        raise InputError("--config", "is given twice", "Give one file.")
    here, (_, equals, file) = found[0], words[found[0]].partition("=")
    if not equals:
        file = (words[here + 1 : here + 2] or [""])[0]
    if not file or file.startswith("--"):
        raise InputError("--config", "names no file", "Give the config.json of a folder that the command wrote.")
    return words[:here] + words[here + (1 if equals else 2) :], file


if __name__ == "__main__":
    main()
