"""Item vectors, computed once at fit and then frozen: half from content, half from co-occurrence in the logs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import svds

_BUCKETS = 512
_DENSE_LIMIT = 64
_NEIGHBOURS, _CANDIDATES, _BLOCK = 10, 4096, 256


def item_vectors(
    text: Sequence[str],
    category: Sequence[str],
    price: NDArray[np.float64],
    session: NDArray[np.int64],
    item: NDArray[np.int64],
    dim: int = 32,
) -> NDArray[np.float32]:
    """Vectors (n_items, <= dim) float32 with rows of norm at most 1.

    The first half is the truncated SVD of hashed words, category and price; the second that of the positive
    pointwise mutual information of items met in one session (Levy and Goldberg, "Neural word embedding as implicit
    matrix factorization", NeurIPS 2014, section 3). An item that the logs do not know takes its second half from the
    items nearest to it in content, see `from_content`.

    Args:
        text, category: of each item. price: (n_items,), NaN where unknown.
        session, item: (n,) pairs of a session number and an item that the user acted on in it.
    """
    half = dim // 2
    content = _svd(_content_matrix(text, category, price), half)
    together = _svd(_ppmi(session, item, len(text)), half)
    vectors = np.concatenate([_scaled(content), _scaled(together)], axis=1)
    known = vectors[:, half:].any(axis=1, keepdims=True)
    return np.where(known, vectors, from_content(vectors)).astype(np.float32)


def from_content(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """(n_items, D) vectors (n_items, D) whose second half is guessed from the first, each item's own left out.

    The mean of the second halves of the 10 other known items of the greatest positive cosine in content (of at most
    4,096, spread over the catalogue), weighted by it: shorter where they disagree. With zeros instead, an unknown
    item's likeness to what a user likes would be half of what it is for known items, and it is taken for a bad one;
    stretched to full length, a policy that takes the best of many guesses shows too many of them. Zeros stay where
    no known item is like it.
    """
    half = vectors.shape[1] // 2
    content, together = vectors[:, :half].astype(np.float64), vectors[:, half:].astype(np.float64)
    known = np.flatnonzero(together.any(axis=1))
    known = known[np.unique(np.linspace(0, len(known) - 1, min(len(known), _CANDIDATES)).astype(int))]
    guess = np.zeros(together.shape)
    for at in range(0, len(vectors) if len(known) else 0, _BLOCK):
        like = np.maximum(content[at : at + _BLOCK] @ content[known].T, 0.0)
        like[known[None] == np.arange(at, at + len(like))[:, None]] = 0.0
        if len(known) > _NEIGHBOURS:
            like[like < np.partition(like, -_NEIGHBOURS, axis=1)[:, -_NEIGHBOURS, None]] = 0.0
        guess[at : at + _BLOCK] = like @ together[known] / np.maximum(like.sum(axis=1, keepdims=True), 1e-12)
    return np.concatenate([content, guess], axis=1)


def _content_matrix(text: Sequence[str], category: Sequence[str], price: NDArray[np.float64]) -> sp.csr_matrix:
    rows, columns, values = [], [], []
    log_price = np.log1p(np.nan_to_num(price, nan=0.0))
    spread = log_price.std() or 1.0
    for i, (line, group) in enumerate(zip(text, category)):
        words = re.findall(r"\w+", line.lower())
        entries = [(f"c:{group}", 1.5), *((f"w:{w}", 1.0 / max(len(words), 1) ** 0.5) for w in words)]
        for name, value in entries:
            rows.append(i)
            columns.append(_bucket(name))
            values.append(value)
        rows.append(i)
        columns.append(_BUCKETS)
        values.append(float((log_price[i] - log_price.mean()) / spread) * 0.3)
    return sp.csr_matrix((values, (rows, columns)), shape=(len(text), _BUCKETS + 1))


def _bucket(name: str) -> int:
    return (
        int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big") % _BUCKETS
    )


def _ppmi(session: NDArray[np.int64], item: NDArray[np.int64], n_items: int) -> sp.csr_matrix:
    if not len(session):
        return sp.csr_matrix((n_items, n_items))
    _, row = np.unique(session, return_inverse=True)
    met = sp.csr_matrix((np.ones(len(row)), (row, item)), shape=(row.max() + 1, n_items))
    met.data[:] = 1.0
    pairs = (met.T @ met).tocoo()
    keep = pairs.row != pairs.col
    i, j, count = pairs.row[keep], pairs.col[keep], pairs.data[keep]
    total = count.sum()
    if total == 0:
        return sp.csr_matrix((n_items, n_items))
    marginal = np.bincount(i, count, n_items)
    pmi = np.log(count * total / (marginal[i] * marginal[j]))
    positive = pmi > 0
    return sp.csr_matrix((pmi[positive], (i[positive], j[positive])), shape=(n_items, n_items))


def _svd(matrix: sp.csr_matrix, dim: int) -> NDArray[np.float64]:
    """U S^1/2 of the leading `dim` singular triplets; the largest entry of each column is positive."""
    n = min(matrix.shape)
    if matrix.nnz == 0:
        return np.zeros((matrix.shape[0], dim))
    if n <= max(_DENSE_LIMIT, dim + 1):
        u, s, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
    else:
        u, s, _ = svds(matrix.astype(np.float64), k=dim, v0=np.ones(n), random_state=0)
        order = np.argsort(-s)
        u, s = u[:, order], s[order]
    u, s = u[:, :dim], s[:dim]
    out = np.zeros((matrix.shape[0], dim))
    out[:, : len(s)] = u * np.sqrt(s)
    sign = np.sign(out[np.abs(out).argmax(axis=0), np.arange(dim)])
    return out * np.where(sign == 0, 1.0, sign)


def _scaled(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of norm sqrt(1/2), so that the two halves together have norm 1; zero rows stay."""
    norm = np.linalg.norm(part, axis=1, keepdims=True)
    return np.where(norm > 1e-12, part / np.maximum(norm, 1e-12), 0.0) * 0.5**0.5
