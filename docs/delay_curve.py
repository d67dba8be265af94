"""How soon against how much: ``python docs/delay_curve.py EVALUATION.json …`` renews the page of detection limits.

The measured delays come from what ``pumpwatch evaluate --out`` wrote of the fleets ``score-physics-*``; without such
files they stay as they are. The bound, the monthly rule of 40 CFR 280.43(a) and a daily chart of the tank are computed.
All figures are kept in ``detection-limits.json``; the page and the picture come from it alone (``make docs``).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delay_picture import picture
from delay_ways import CASES, SIZES, SLACK, WATCHED_DAYS, computed, digits, told

from pumpwatch.evaluation.chance import poisson_interval
from pumpwatch.evaluation.words import amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

REFERENCE = Path(__file__).parent / "reference"
NUMBERS = REFERENCE / "detection-limits.json"
PAGE = REFERENCE / "detection-limits.md"
PICTURE = REFERENCE / "detection-limits.svg"
FLEETS = {f"score-physics-{case}": case for case in CASES}
ALL = 0.995
"""From this share on the old ways find everything, as far as a page can tell."""


class BadScoresError(Exception):
    """Files that do not hold what is needed here; the words say why."""


def measured(scores: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Delays by case and size, and the false alarms of the same fleets; other fleets of the files are left out.

    Raises ``BadScoresError`` where no fleet is of a known case, or one comes twice.
    """
    items: dict[str, list[Mapping[str, Any]]] = {}
    seen: set[tuple[str, Any]] = set()
    alarms, years = 0, 0.0
    for scored in scores:
        for fleet in scored["fleets"]:
            run = (fleet["fleet"], fleet["seed"])
            if run in seen:
                raise BadScoresError(f"{run[0]} with seed {run[1]} comes twice")
            seen.add(run)
            years += fleet["honest_nozzle_years"] if run[0] in FLEETS else 0.0
        alarms += sum(alarm["fleet"] in FLEETS for alarm in scored["false_alarms"]["alarms"])
        for item in scored["items"]:
            if item["fleet"] in FLEETS and item["cause"] == "short_delivery" and item["unit"] == "%":
                items.setdefault(FLEETS[item["fleet"]], []).append(item)
    if not items:
        raise BadScoresError(f"no short delivery of a fleet of this page: {', '.join(FLEETS)}")
    return {
        "false_alarms": {"count": alarms, "honest_nozzle_years": round(years, 1)},
        "cases": {case: _by_size(items[case]) for case in CASES if case in items},
    }


def _by_size(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for size in sorted({float(item["size"]) for item in items}):
        mine = [item for item in items if item["size"] == size]
        days = [float(each["delay"]["days"] if each["found"] else each["watched_days"]) for each in mine]
        known = [float(each["bound_days"]) for each in mine if each["bound_days"] is not None]
        # A bound that some items lack, because theirs is too long, would be too short for all.
        least = sum(known) / len(known) if len(known) == len(mine) else None
        found = sum(bool(each["found"]) for each in mine) / len(mine)
        rows.append({"size": size, "n": len(mine), **told(found, days), "bound": digits(least)})
    return rows


HEAD = """\
# Detection limits

<!-- Written by `python docs/delay_curve.py`; do not edit. -->

**检出时间与短量幅度 · Delay against size.** One nozzle (加油枪) on a tank (油罐) gives less than it shows; pulses,
totalizer (泵码) and tax control (税控) agree with the display, so only the tank gauge (液位仪) can tell. How long does
it take, and how long must it take?

![Days until found against per cent short, both logarithmic](detection-limits.svg)
"""
READING = f"""\
## How to read it

* **本系统 pumpwatch**: mean days from the first affected filling until an alarm of the right cause, on simulated
  fleets whose seeds no rule was made with; the bar reaches to the 90th percentile. A hollow point, and `>`, where not
  all were found: what was missed counts as found when watching ended. The share beside it was found.
* **理论下限 bound**: the least mean delay any detector of balances can have at one false alarm in 100 nozzle-years. It
  knows the size, the nozzle and the statistics of what is honestly wrong. The line and the column are of an invented
  tank with a delivery every other day; "÷ bound" holds each fleet against the bound of its own items, missed ones
  included ([what the figures mean](performance.md#what-the-figures-mean)).
* **日台账控制图 daily chart**: book less gauge of the whole tank once a day, in its own standard deviations, as a
  two-sided CUSUM with a slack of {SLACK:g}; its threshold is simulated to one false alarm in 100 nozzle-years. It
  cannot say which nozzle.
* **EPA 月度规则 monthly rule**: 40 CFR 280.43(a), an alarm when book and gauge of a month differ by more than 1.0 % of
  what flowed through and 130 gallons (492 L). It is there against leaks, its threshold is law.

The daily chart and the monthly rule are simulated in the base case: four nozzles with 65 fillings of 30 L a day, a
gauge of 3 L, 10 L of wander for each square root of a day, a common loss of 0.1 % that is forgotten in 10 days and
meter drift of 0.05 % in 60 days. The fault begins at any time of a day and of a month and is watched for
{WATCHED_DAYS:,} days. Deliveries (卸油) count as booked right, which flatters both.

## How to regenerate it

```text
pumpwatch evaluate --fleet score-physics-base --out base    # likewise good, poor, quiet, busy
make curve ARGS='base/evaluation.json good/evaluation.json'
```

Without files the measured figures stay and the others are computed anew, which takes some seconds. All of them are
kept in [detection-limits.json](detection-limits.json); `make docs` writes page and picture from it.
"""
CAVEATS = """\
## What it does not say

* Noise is assumed, not measured at stations. Real gauges wander with temperature; in summer the common loss may be two
  or three times what is assumed here, and every delay grows with it. Estimate it for a fleet before promising a delay.
* Delays are for a step after two hundred honest days; after sixty 1 % takes a tenth longer. A station that
  was short from the first day shows only against its neighbours, deliveries and purchases.
* Errors of a tank's chart move with its height and look like a nozzle's where its use goes with the level.
* Fillings are spread over the nozzles at random. Nozzles that are always used together cannot be told apart.
* The tank tells that more was shown than given. It cannot tell a cheat from a broken meter: only a pattern, an identity
  or an inspection can.
* What encoder (编码器), totalizer or tax control give away is found at once and is no matter of this page.
"""


def page(kept: Mapping[str, Any]) -> str:
    """The whole page, from what is kept."""
    return "\n".join([HEAD, *_base(kept), *_cases(kept), *_false_alarms(kept), READING, CAVEATS])


def _base(kept: Mapping[str, Any]) -> Iterator[str]:
    yield "## Base case · 基准\n"
    ours = {row["size"]: row for row in _rows(kept, "base")}
    if not ours:
        yield "What pumpwatch itself needs is not yet measured.\n"
    least = dict(kept["bound"]["base"])
    daily, monthly = ({row["size"]: row for row in kept[way]} for way in ("daily", "monthly"))
    yield "| short | pumpwatch, days | 90 % | found | bound, days | ÷ bound | daily chart | monthly rule |"
    yield "|---|---|---|---|---|---|---|---|"
    for size in sorted({*SIZES, *ours}):
        mine = _ours(ours.get(size))
        old = [_old(way.get(size)) for way in (daily, monthly)]
        yield f"| {' | '.join([f'{size:g} %', *mine[:3], _days(least.get(size)), mine[3], *old])} |"
    yield ""


def _cases(kept: Mapping[str, Any]) -> Iterator[str]:
    yield "## Other cases\n"
    yield "| case | short | pumpwatch, days | 90 % | found | bound, days | ÷ bound |"
    yield "|---|---|---|---|---|---|---|"
    for name, case in CASES.items():
        ours, least = {row["size"]: row for row in _rows(kept, name)}, dict(kept["bound"][name])
        for size in sorted(ours or {0.5, 1.0, 2.0, 3.0, 5.0}) if name != "base" else ():
            mine = _ours(ours.get(size))
            cells = [f"{case.zh} · {case.en}", f"{size:g} %", *mine[:3], _days(least.get(size)), mine[3]]
            yield f"| {' | '.join(cells)} |"
    yield ""


def _false_alarms(kept: Mapping[str, Any]) -> Iterator[str]:
    yield "## At how many false alarms\n"
    if kept["measured"]:
        false = kept["measured"]["false_alarms"]
        count, years = false["count"], false["honest_nozzle_years"]
        low, high = (100.0 * limit / years for limit in poisson_interval(count))
        yield (
            f"pumpwatch, all rules that judged these fleets together: {count} in {amount(years)} honest nozzle-years, "
            f"{100.0 * count / years:.2f} ({low:.2f}–{high:.2f}) in 100."
        )
    else:
        yield "pumpwatch: not yet measured."
    yield (
        f"The bound and the daily chart: 1 in 100; for that the chart's threshold is {kept['threshold']:g} standard "
        f"deviations.\nThe monthly rule: {kept['monthly_false_alarms']:.2f} in 100.\n"
    )


def _rows(kept: Mapping[str, Any], case: str) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = kept["measured"]["cases"].get(case, ()) if kept["measured"] else ()
    return rows


def _ours(row: Mapping[str, Any] | None) -> Sequence[str]:
    """Mean days, 90th percentile, share found, against the bound."""
    if row is None:
        return ("—",) * 4
    more = "" if row["found"] >= 1.0 else "> "
    against = more + amount(row["days"] / row["bound"]) if row["bound"] else "—"
    return more + amount(row["days"]), amount(row["p90"]), f"{row['found']:.0%} of {row['n']}", against


def _old(row: Mapping[str, Any] | None) -> str:
    if row is None or row["found"] == 0.0:
        return "—" if row is None else "never"
    return amount(row["days"]) if row["found"] >= ALL else f"> {amount(row['days'])} ({row['found']:.0%} found)"


def _days(days: float | None) -> str:
    return "none" if days is None else amount(days)


def drawing(kept: Mapping[str, Any]) -> str:
    """The picture of what is kept."""
    return picture(kept, {name: f"{case.zh} · {case.en}" for name, case in CASES.items()}, ALL)


def write() -> None:
    """The page and its picture, from what is kept."""
    kept = json.loads(NUMBERS.read_text(encoding="utf-8"))
    PAGE.write_text(page(kept), encoding="utf-8")
    PICTURE.write_text(drawing(kept), encoding="utf-8")


def renew(files: Sequence[Path]) -> None:
    """Measure what is computed anew; take what was measured from the files, or leave it. Raises ``BadScoresError``."""
    if files:
        found: dict[str, Any] | None = measured(json.loads(file.read_text(encoding="utf-8")) for file in files)
    else:
        found = json.loads(NUMBERS.read_text(encoding="utf-8"))["measured"] if NUMBERS.exists() else None
    kept = {"measured": found, **computed()}
    NUMBERS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    write()


if __name__ == "__main__":
    try:
        renew([Path(name) for name in sys.argv[1:]])
    except (BadScoresError, OSError) as error:
        sys.exit(f"delay_curve: {error}")
    sys.stdout.write(f"{NUMBERS}\n{PAGE}\n{PICTURE}\n")
