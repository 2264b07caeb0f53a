"""Items that tests write copy for."""

from __future__ import annotations

from typing import Any


def catalogue(n: int = 60) -> list[dict[str, Any]]:
    """Items of all kinds: with and without size and price, one whose name states its size."""
    names = ["Bananas", "Soft drink, 2 liter bottle", "Cat litter", "Kids' cereal", "Greeting card", "AA batteries"]
    return [
        {
            "item_id": f"{i:04d}",
            "text": names[i % 6],
            "size": [None, "12 oz", ""][i % 3],
            "price": [1.29, float("nan")][i % 2],
            "category": "Grocery",
        }
        for i in range(n)
    ]
