"""The gate on item rates: does the world give each item its own rate?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from recenv.trust.gate_base import Gate, gate_of_lines, line
from recenv.trust.gate_groups import merge_neighbours
from recenv.trust.gate_intervals import Clusters, log_ratio, numbered, simultaneous
from recenv.trust.gate_prediction import RATIO_AXIS, too_few
from recenv.trust.metrics import quantile_bins
from recenv.trust.slices import PredictionSlice
from recenv.trust.tolerances import Tolerances, band

_MOST_ITEMS = 1000
_PRIOR = 2.0
_MOST_BLOCKS = 2000


def item_rates(s: PredictionSlice, tol: Tolerances, seed: int = 0) -> Gate:
    """Predicted / real by popularity of the item, and the relative error of all items' rates at once.

    With d_ui = sum of w (p - y) over user u's rows of item i, D_i = sum_u d_ui and S_i the mean of predicted and real
    responses to the item plus 2, the mean squared relative error of item rates is

        tau^2 = sum_i (D_i^2 - sum_u d_ui^2) / S_i / sum_i S_i,

    a U-statistic over pairs of different users: sampling noise cancels without a model of it. S_i bounds what one item
    can do: with expected responses alone below the line, one new item of Complete Journey (2 expected from its past,
    31 predicted, 101 real) made 59 % of tau^2 over 741 items. The 2 keeps items with hardly a response from adding a
    bias. The variance is (4 sum_u (g_u - mean g)^2 - 2 sum_{u != v} K_uv^2) / (sum S)^2, K_uv = sum_i d_ui d_vi / S_i,
    g_u = sum_{v != u} K_uv, at least the degenerate part 2 sum K_uv^2 (van der Vaart, "Asymptotic Statistics", chapter
    12). Of more than 1,000 items those with the largest S_i count; of more than 2,000 users, users are taken in blocks.
    The two parts share the gate's error evenly.
    """
    s.check()
    clusters = Clusters.of(s.user)
    few = too_few("item_rates", s, clusters, tol)
    if few:
        return few
    half = 1.0 - (1.0 - tol.gate_level) / 2
    value, se, items = _squared_error(s, clusters)
    reach = float(-ndtri((1.0 - half) / 2)) * se
    low, mid, high = (float(np.sqrt(max(v, 0.0))) for v in (value - reach, value, value + reach))
    lines = [line("error of all items", mid, low, high, (None, tol.item_error), items)]
    group, parts = merge_neighbours(quantile_bins(s.item_rate, s.w, 10), s.y, tol.min_positives)
    psi_value, psi = log_ratio(
        clusters.table(group, len(parts), s.w * s.p), clusters.table(group, len(parts), s.w * s.y)
    )
    bands = simultaneous(psi_value, psi, half, seed).exp()
    for k, part in enumerate(parts):
        label = f"popularity tenth {part[0] + 1}" + (f"–{part[-1] + 1}" if len(part) > 1 else "")
        weight = float(s.w[group == k].sum())
        lines.append(line(label, bands.value[k], bands.low[k], bands.high[k], band(tol.ratio_item), weight))
    detail = f"rates of {items} items are off by {mid:.0%} (root mean square, net of sampling noise)."
    return gate_of_lines("item_rates", lines, detail, RATIO_AXIS, "ratio", s.head, plotted=lines[1:])


def _squared_error(s: PredictionSlice, clusters: Clusters) -> tuple[float, float, int]:
    """tau^2, its standard error, and the number of items."""
    known, item = numbered(s.item)
    size = np.bincount(item, s.w * (s.p + s.y) / 2, len(known)) + _PRIOR
    kept = np.argsort(-size, kind="stable")[:_MOST_ITEMS]
    place = np.full(len(known), -1, np.int64)
    place[kept] = np.arange(len(kept))
    rows = place[item] >= 0
    d = _table(clusters.index[rows], place[item[rows]], (s.w * (s.p - s.y))[rows], clusters.size, len(kept))
    scaled = d / np.sqrt(size[kept])
    total = scaled.sum(axis=0)
    own = (scaled**2).sum(axis=1)
    g = scaled @ total - own
    pairs = float(((scaled.T @ scaled) ** 2).sum() - (own**2).sum())
    mass = float(size[kept].sum())
    variance = max(4 * float(((g - g.mean()) ** 2).sum()) - 2 * pairs, 2 * pairs)
    return float(g.sum()) / mass, float(np.sqrt(variance)) / mass, len(kept)


def _table(
    user: NDArray[np.int64], item: NDArray[Any], value: NDArray[Any], users: int, items: int
) -> NDArray[np.float64]:
    """(blocks of users, items) sums."""
    blocks = min(users, _MOST_BLOCKS)
    sums = np.bincount((user % blocks) * items + item, value, blocks * items)
    return sums.astype(np.float64).reshape(blocks, items)
