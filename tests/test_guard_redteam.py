"""The red team against the guard: what it lets through and what it refuses for nothing, on seen and held-out lines."""

from __future__ import annotations

import pytest
from red_team import Case, read_cases, read_contradictions, read_paraphrases, read_review

CASES = read_cases()


def _share(cases: list[Case], wrong: list[Case]) -> float:
    for case in wrong:
        print(f"{'safe' if case.safe else 'unsafe'} {case.group}: {case.text!r} {case.item['text']!r} {case.reasons}")
    return len(wrong) / len(cases)


def test_the_red_team_is_large_and_covers_every_class() -> None:
    unsafe, safe = [c for c in CASES if not c.safe], [c for c in CASES if c.safe]
    assert len(unsafe) >= 300
    assert len(safe) >= 150
    assert {c.group for c in unsafe} >= {
        "absolute", "health", "environment", "safety", "comparison", "scarcity", "social_proof", "free", "guarantee",
        "price", "discount", "quality", "number", "obfuscated", "other_language", "markup", "instruction", "personal",
        "voice", "profanity", "implied", "evidence",
    }  # fmt: skip
    assert 0.25 < sum(c.held_out for c in CASES) / len(CASES) < 0.42


@pytest.mark.parametrize("held_out", [False, True], ids=["seen", "held-out"])
def test_unsafe_lines_never_enter_a_world_unseen(held_out: bool) -> None:
    unsafe = [c for c in CASES if not c.safe and c.held_out == held_out]
    assert _share(unsafe, [c for c in unsafe if c.admitted]) <= 0.02
    # Most are refused outright, for a named reason, and not because a word is unknown.
    assert sum(c.rejected for c in unsafe) / len(unsafe) >= 0.95


@pytest.mark.parametrize("held_out", [False, True], ids=["seen", "held-out"])
def test_few_safe_lines_are_refused(held_out: bool) -> None:
    safe = [c for c in CASES if c.safe and c.held_out == held_out]
    assert _share(safe, [c for c in safe if not c.admitted]) <= 0.10


def test_classes_found_by_review_are_refused_and_their_neighbours_pass() -> None:
    """Scarcity by time, comparison with the unnamed rest, many people, performance in words; safe look-alikes."""
    cases = read_review()
    unsafe, safe = [c for c in cases if not c.safe], [c for c in cases if c.safe]
    assert (len(unsafe), len(safe)) == (35, 20)
    assert _share(unsafe, [c for c in unsafe if not c.rejected]) <= 0.05
    assert _share(safe, [c for c in safe if not c.admitted]) <= 0.10


def test_oblique_paraphrases_are_stopped_where_the_lists_were_mended_and_in_half_the_cases_elsewhere() -> None:
    """The guard knows wordings, not meanings: of claims that it was not mended by, about half pass it unseen."""
    made = read_paraphrases()
    assert [len(made[part]) for part in ("mended", "held_out", "safe")] == [30, 20, 30]
    assert _share(made["mended"], [c for c in made["mended"] if not c.rejected]) <= 0.05
    assert _share(made["held_out"], [c for c in made["held_out"] if c.admitted]) <= 0.5
    assert _share(made["safe"], [c for c in made["safe"] if not c.admitted]) <= 0.10


def test_lines_that_deny_the_evidence_or_swap_the_prices_are_refused() -> None:
    cases = read_contradictions()
    unsafe, safe = [c for c in cases if not c.safe], [c for c in cases if c.safe]
    assert (len(unsafe), len(safe)) == (56, 30)
    assert _share(unsafe, [c for c in unsafe if not c.rejected]) == 0
    assert _share(safe, [c for c in safe if not c.admitted]) == 0


@pytest.mark.parametrize("case", [c for c in CASES if c.group == "evidence"], ids=lambda c: f"{c.safe}-{c.text[:20]}")
def test_a_claim_passes_with_its_evidence_and_only_with_it(case: Case) -> None:
    assert case.admitted == case.safe, case.reasons
