"""recenv: a Gymnasium environment built from a shop's own behaviour logs."""

import sys as _sys
from importlib.util import find_spec as _find_spec
from pathlib import PurePath as _PurePath

__version__ = "0.1.0"

if _find_spec("gymnasium") is not None:  # a served bundle does without
    try:
        from recenv.env.registry import register as _register

        _register()
    except KeyboardInterrupt:
        # The console command is interrupted before any line of `recenv.scripts.cli` can see to it.
        if _PurePath(_sys.argv[0] if _sys.argv else "").stem != "recenv":
            raise
        _sys.stderr.write("recenv: interrupted\n")
        _sys.exit(130)
