"""recenv: a Gymnasium environment built from a shop's own behaviour logs."""

__version__ = "0.1.0"
