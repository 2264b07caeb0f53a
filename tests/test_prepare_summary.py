"""What `recenv prepare` prints: what each kind of row is used for, and which key changes what was set aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers_logs import attributed, moment, write_mapping

from recenv.data.logs import BuildOptions, build
from recenv.data.summary import REASONS, kind_lines, summary_lines
from recenv.scripts.prepare import PrepareConfig, run

DAY = 86_400.0


def write_log(folder: Path, **keys: Any) -> Path:
    """Ten users who are shown something each day of 30, put it in the cart, and buy now and then."""
    rows = []
    for day in range(30):
        for user in range(10):
            now = day * DAY + 60 * user
            rows.append((f"u{user}", "shown", f"i{(day + user) % 5}", now))
            rows.append((f"u{user}", "basket", f"i{(day + user) % 5}", now + 20))
            if (day + user) % 3 == 0:
                rows.append((f"u{user}", "tap", f"i{(day + user) % 5}", now + 10))
            if (day + user) % 6 == 0:
                rows.append((f"u{user}", "paid", f"i{(day + user + 6 * (user == 9)) % 6}", now + 90))
            if user == 0:
                rows.append((f"u{user}", "scroll", "i0", now + 5))
    frame = pd.DataFrame(rows, columns=["who", "what", "sku", "at"])
    frame["at"] = [moment(s).strftime("%Y-%m-%d %H:%M:%S") for s in frame["at"]]
    frame.to_csv(folder / "events.csv", index=False)
    kinds = {"shown": "impression", "basket": "cart", "tap": "click", "paid": "purchase", "scroll": None}
    names = {"user_id": "who", "item_id": "sku", "timestamp": "at", "kind": "what"}
    write_mapping(folder, {"events": {"path": "events.csv", "columns": names, "kinds": kinds}, **keys})
    return folder


def prepared(folder: Path, capsys: pytest.CaptureFixture[str], **keys: Any) -> tuple[list[str], dict[str, Any]]:
    write_log(folder, **keys)
    result = run(PrepareConfig("csv", folder / "out", path=str(folder), progress=False, overwrite=True))
    return [line.strip() for line in capsys.readouterr().out.splitlines()], result


def test_each_kind_says_what_it_is_used_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, result = prepared(tmp_path, capsys)
    told = {line.split(" ")[0]: line for line in lines}
    assert told["cart"].startswith("cart 300: enters the user's history")
    assert told["cart"].endswith("is no label")
    assert "to be predicted: click, purchase;" in told["impression"]
    assert told["click"].startswith(f"click {result['counts']['clicks_joined']}: became labels")
    assert f"({result['counts']['purchases_joined']} others became labels)" in told["purchase"]
    assert "view" not in told
    assert set(result["uses"]) <= set(lines)
    assert "assumed: times without a zone are taken as UTC" in lines
    assert sum("without a zone" in line for line in lines) == 1


def test_rows_set_aside_name_the_key_that_changes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, long = prepared(tmp_path, capsys)
    told = {line.split(" ")[0]: line for line in lines}
    assert "kind_missing 30: without a kind, or of one that `kinds` of the mapping sets to null" in lines
    for reason in ("window_open_at_end", "window_crosses_split"):
        assert f"{reason} {long['quarantined'][reason]}: " in told[reason]
        assert "shorten purchase_window_days (7) of the mapping" in told[reason]
    lines, short = prepared(tmp_path, capsys, purchase_window_days=0.01, click_window_minutes=30)
    told = {line.split(" ")[0]: line for line in lines}
    assert short["quarantined"]["window_open_at_end"] < long["quarantined"]["window_open_at_end"]
    assert "shorten click_window_minutes (30) of the mapping" in told["window_open_at_end"], "the longer one counts"


def test_responses_that_stand_with_what_was_shown_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    raw = attributed()
    raw.events["purchase"] = raw.events["click"]
    own = raw.events.head(20).assign(kind="purchase", click=np.nan, purchase=np.nan, propensity=np.nan)
    raw.events = pd.concat([raw.events, own], ignore_index=True)
    meta = build(raw, BuildOptions()).meta | {"exposure": "derived"}
    impression, purchase = kind_lines(meta)
    assert "but, being derived, that it was shown" in impression
    assert purchase.startswith("purchase 20: enters the user's history")
    assert "none may stand in both" in purchase
    assert not any("assumed" in line for line in summary_lines(Path("out"), meta | {"source": "x"}, BuildOptions()))


def test_hints_are_of_reasons_that_exist() -> None:
    """A reason that was renamed would leave its hint behind."""
    folder = Path(build.__code__.co_filename).parent
    source = "".join(file.read_text("utf-8") for file in folder.glob("*.py") if file.stem != "summary")
    for reason in REASONS:
        assert f'"{reason}"' in source or reason.startswith("unknown_"), reason


def test_split_times_without_a_zone_are_utc_like_all_times() -> None:
    cuts = ("2024-03-10T00:00:00", "2024-03-20T02:00:00", "2024-03-30T00:00:00")
    zoned = ("2024-03-10T00:00:00Z", "2024-03-20T04:00:00+02:00", "2024-03-30T00:00:00Z")
    found = [build(attributed(), BuildOptions(split_times=times)).meta["split_times"] for times in (cuts, zoned)]
    assert found[0] == found[1]
