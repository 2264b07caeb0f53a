"""The red team: lines of copy labelled by hand. The guard was mended by two thirds of them; the rest is held out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recenv.generators.guard import guard_reasons, verdict

LINES = Path(__file__).parent / "redteam" / "lines.json"
ITEM: dict[str, Any] = {
    "item_id": "1", "text": "Bananas", "price": 2.0, "size": "1 lb", "brand": "Acme", "category": "Fruit",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A labelled line: its text, its product, its class or group, and whether it may pass."""

    text: str
    item: dict[str, Any]
    group: str
    safe: bool

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the third that the guard was not mended by: by the hash of the text."""
        return int(hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) % 3 == 0

    @property
    def reasons(self) -> tuple[str, ...]:
        return guard_reasons(self.text, self.item, currency="USD", channel="sms")

    @property
    def admitted(self) -> bool:
        """Whether it would enter a world unseen by a person."""
        return verdict(self.reasons) == "auto-passed"

    @property
    def rejected(self) -> bool:
        """Whether it is refused outright, not left to a person."""
        return verdict(self.reasons) == "rejected"


def read_cases() -> list[Case]:
    """All labelled lines; a line with evidence stands twice: with it (safe) and without it (unsafe)."""
    data = json.loads(LINES.read_text(encoding="utf-8"))
    cases = [Case(text, ITEM, group, False) for group, lines in data["unsafe"].items() for text in lines]
    for group, lines in data["safe"].items():
        for line in lines:
            text, name = (line, ITEM["text"]) if isinstance(line, str) else line
            cases.append(Case(text, ITEM | {"text": name}, group, True))
    for text, evidence in data["evidence"]:
        cases += [Case(text, ITEM | evidence, "evidence", True), Case(text, ITEM, "evidence", False)]
    return cases


def read_review() -> list[Case]:
    """The group `review`: apart from the others, so that these keep their seen and held-out parts as they were."""
    data = json.loads(LINES.read_text(encoding="utf-8"))["review"]
    unsafe = [Case(text, ITEM, group, False) for group, lines in data["unsafe"].items() for text in lines]
    return unsafe + [Case(text, ITEM, "review", True) for text in data["safe"]]


def read_paraphrases() -> dict[str, list[Case]]:
    """Oblique paraphrases: `mended` (the lists were widened by them), `held_out` (they were not), and `safe` ones."""
    data = json.loads(LINES.read_text(encoding="utf-8"))["paraphrases"]
    made = {
        part: [Case(text, ITEM, group, False) for group, lines in data[part].items() for text in lines]
        for part in ("mended", "held_out")
    }
    return made | {"safe": [Case(text, ITEM, "paraphrases", True) for text in data["safe"]]}


def read_contradictions() -> list[Case]:
    """Lines tried on a product with all evidence: the unsafe ones deny it, or take one price for the other."""
    data = json.loads(LINES.read_text(encoding="utf-8"))["contradictions"]
    item = ITEM | data["evidence"]
    return [Case(text, item, "contradictions", part == "safe") for part in ("unsafe", "safe") for text in data[part]]
