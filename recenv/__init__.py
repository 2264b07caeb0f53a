"""recenv: a Gymnasium environment built from a shop's own behaviour logs."""

from recenv.env.registry import register as _register

__version__ = "0.1.0"

_register()
