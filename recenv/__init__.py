"""recenv: a Gymnasium environment built from a shop's own behaviour logs."""

from importlib.util import find_spec as _find_spec

__version__ = "0.1.0"

if _find_spec("gymnasium") is not None:  # a served bundle does without
    from recenv.env.registry import register as _register

    _register()
