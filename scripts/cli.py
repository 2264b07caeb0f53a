"""`recenv COMMAND`: reads the command line, calls the command's `run`, prints named errors instead of tracebacks."""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
from collections.abc import Sequence
from typing import Any

from recenv.core.errors import RecenvError

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
DONE, BAD_INPUT, INTERRUPTED, UNHEARD = 0, 2, 130, 141


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<10} {what}" for name, (_, _, what) in COMMANDS.items()]
    head = "usage: recenv COMMAND [options]\n\nTurn your own shop logs into a Gymnasium environment.\n\ncommands:"
    return "\n".join([head, *lines, "", "`recenv COMMAND --help` lists a command's options; each takes --json."])


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
        result = _call(command, [w for w in words if w != "--json"])
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


def _call(command: str, words: list[str]) -> dict[str, Any]:
    import tyro

    module_name, config_name, _ = COMMANDS[command]
    module = importlib.import_module(f"recenv.scripts.{module_name}")
    config = tyro.cli(getattr(module, config_name), args=words, prog=f"recenv {command}")
    result: dict[str, Any] = module.run(config)
    return result


if __name__ == "__main__":
    main()
