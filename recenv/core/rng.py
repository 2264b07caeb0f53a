"""Counter-based random numbers: a draw is a pure function of its key, so it does not depend on batching or call order.

The key is (seed, environment index, episode, step, stream, k); each word is absorbed by one round of the SplitMix64
finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, section 5).
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

STREAMS: dict[str, int] = {"start": 1, "click": 2, "purchase": 3, "leave": 4, "choice": 7, "frailty": 8}

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> _S30)) * _M1
    z = (z ^ (z >> _S27)) * _M2
    return z ^ (z >> _S31)


def bits(*words: Any) -> NDArray[np.uint64]:
    """64 random bits for each broadcast key; words are integers or integer arrays (negative ones wrap)."""
    with np.errstate(over="ignore"):
        z = np.zeros(np.broadcast_shapes(*(np.shape(w) for w in words)) or (1,), np.uint64)
        for each in words:
            z = _mix((z ^ np.asarray(each, np.int64).astype(np.uint64)) + _GOLDEN)
    return z


def word(text: str) -> int:
    """A key's word for a text: the first 63 bits of its SHA-256 as UTF-8, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def uniform(*words: Any) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) with 53 bits, one for each broadcast key."""
    return (bits(*words) >> _S11).astype(np.float64) * 2.0**-53


def normal(*words: Any) -> NDArray[np.float64]:
    """Standard normal numbers (Box-Muller on two sub-keys), one for each broadcast key."""
    u1, u2 = uniform(*words, 0), uniform(*words, 1)
    return np.sqrt(-2.0 * np.log1p(-u1)) * np.cos(2.0 * np.pi * u2)
