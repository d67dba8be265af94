"""What the records of one station and month say for a grade of risk: figures only, judged elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch import EventKind, StationPast, to_us
from pumpwatch_tax.circumstances import spans
from pumpwatch_tax.declared_sales import DeclaredSalesSettings, grade_months
from pumpwatch_tax.periods import DAY_US, HOUR_US, Month

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEAR = timedelta(hours=3)
"""A stock must be read this near to the month's end."""


@dataclass(frozen=True, slots=True)
class MonthFacts:
    """One station in one month; None where the data do not say. Litres, CNY, hours, %."""

    sales: int
    litres: float
    cny: float
    covered_percent: float
    """Days with a sale."""
    channels_percent: float
    """Fillings that have encoder, tax and totalizer, on the average; own use needs no tax."""
    declared_gap_percent: float | None
    balance_percent: float | None
    """(opening stock + purchases − closing stock − sales) / sales."""
    untaxed: int | None
    """Sales that are not in tax control."""
    breaks: int
    """Missing runs and repetitions of sequence numbers."""
    outage_h: float
    rounding_fen: float
    """Mean of amount − litres × price."""
    rounded_up_percent: float
    """Of the amounts that are off by half a fen and more, those that are too large."""
    own_use_percent: float
    expired: int
    """Certificates and licences that had run out when the month ended."""
    reports: int
    prices: Mapping[str, float]
    """Mean price by grade."""


def month_facts(past: StationPast, month: Month, settings: DeclaredSalesSettings) -> MonthFacts | None:
    """The figures of a month; None when nothing was sold."""
    sales = past.sales
    first, last = to_us(month.start), to_us(month.end)
    rows = np.flatnonzero((sales.end_us >= first) & (sales.end_us < last) & np.isfinite(sales.volume_l))
    if not len(rows):
        return None
    own = np.zeros(len(sales), bool)
    for payment in settings.untaxed_payments:
        own |= sales.is_paid(payment)
    litres, cny = sales.volume_l[rows], np.nan_to_num(sales.amount_cny[rows])
    off_fen = 100.0 * (sales.amount_cny[rows] - sales.volume_l[rows] * sales.unit_price[rows])
    off_fen = off_fen[np.isfinite(off_fen)]
    beyond = np.abs(off_fen) > 0.55  # fen: more than rounding to the nearest makes
    days = len(np.unique((sales.end_us[rows] + round(settings.utc_offset_h * HOUR_US)) // DAY_US))
    has_tax = np.isfinite(sales.tax_l)
    there = [
        np.isfinite(sales.encoder_pulses[rows]) | np.isfinite(sales.encoder_l[rows]),
        has_tax[rows] | own[rows],
        np.isfinite(sales.totalizer_l[rows]),
    ]
    taxed = np.unique(sales.nozzle[rows][has_tax[rows]])
    untaxed = rows[~has_tax[rows] & ~own[rows] & np.isin(sales.nozzle[rows], taxed)]
    return MonthFacts(
        sales=len(rows),
        litres=round(float(litres.sum()), 2),
        cny=round(float(cny.sum()), 2),
        covered_percent=round(100.0 * days / month.days, 1),
        channels_percent=round(100.0 * float(np.mean([part.mean() for part in there])), 1),
        declared_gap_percent=_declared_gap(past, month, settings),
        balance_percent=_balance(past, month, float(litres.sum())),
        untaxed=len(untaxed) if len(taxed) else None,
        breaks=_breaks(past, rows),
        outage_h=round(_outage_h(past, month), 2),
        rounding_fen=round(float(off_fen.mean()), 4) if len(off_fen) else 0.0,
        rounded_up_percent=round(100.0 * float((off_fen[beyond] > 0).mean()), 1) if beyond.any() else 50.0,
        own_use_percent=round(100.0 * float(litres[own[rows]].sum()) / max(float(litres.sum()), 1e-9), 3),
        expired=_expired(past, month),
        reports=sum(r.station_id == past.station_id and month.start <= r.at < month.end for r in past.reports),
        prices=_prices(past, rows),
    )


def _declared_gap(past: StationPast, month: Month, settings: DeclaredSalesSettings) -> float | None:
    told = {d.grade: d for d in past.declarations if (d.station_id, d.period) == (past.station_id, month.period)}
    grades = [g for g in grade_months(past, month, told, settings) if g.declared_l is not None]
    metered = sum(g.surely_l for g in grades)
    if metered <= 0.0:
        return None
    return round(100.0 * sum(g.short_l() for g in grades) / metered, 3)


def _balance(past: StationPast, month: Month, sold: float) -> float | None:
    """What was sold without coming from anywhere (minus) or came and was not sold (plus), % of the sales."""
    change = 0.0
    for tank in past.tanks:
        stocks = [_stock(past, tank.tank_id, at) for at in (month.start, month.end)]
        if stocks[0] is None or stocks[1] is None:
            return None
        change += stocks[0] - stocks[1]
    inside = [d for d in past.deliveries if month.start <= d.at < month.end and d.declared_l is not None]
    if not past.tanks or not inside or sold <= 0.0:
        return None
    return round(100.0 * (change + sum(d.declared_l or 0.0 for d in inside) - sold) / sold, 3)


def _stock(past: StationPast, tank_id: str, at: datetime) -> float | None:
    """The last reading at or before a moment, or the first of all; at most three hours from it."""
    levels = past.levels.get(tank_id)
    if levels is None:
        return None
    row = max(int(np.searchsorted(levels.at_us, to_us(at), side="right")) - 1, 0)
    if not len(levels) or abs(int(levels.at_us[row]) - to_us(at)) > to_us(at) - to_us(at - _NEAR):
        return None
    stock = float(levels.volume_l[row])
    return stock if np.isfinite(stock) else None


def _breaks(past: StationPast, rows: NDArray[np.intp]) -> int:
    """Numbers used twice and runs of numbers that are missing, whatever order the clocks put the sales in."""
    count = 0
    nozzle, numbers = past.sales.nozzle[rows], past.sales.seq[rows]
    for code in np.unique(nozzle):
        steps = np.diff(np.sort(numbers[nozzle == code]))
        count += int(np.count_nonzero(steps > 1)) + int(np.count_nonzero(steps == 0))
    return count


def _outage_h(past: StationPast, month: Month) -> float:
    """Hours of the month in which some link of the station was down."""
    events = [e for e in past.events_of(EventKind.LINK) if month.start - timedelta(days=31) <= e.at < month.end]
    return sum(
        max(0.0, (min(end, month.end) - max(start, month.start)).total_seconds() / 3600.0)
        for start, end in spans(events, month.end)
    )


def _expired(past: StationPast, month: Month) -> int:
    station = past.station
    dates = [
        station.business_licence_expires,
        station.retail_licence_expires,
        station.hazmat_licence_expires,
        *(nozzle.certificate_expires for nozzle in past.nozzles),
    ]
    last_day = (month.end + timedelta(hours=month.utc_offset_h) - timedelta(days=1)).date()
    return sum(until is not None and until < last_day for until in dates)


def _prices(past: StationPast, rows: NDArray[np.intp]) -> dict[str, float]:
    sales = past.sales
    prices = {}
    grades = [n.grade if (n := past.nozzle_by_id.get(name)) else "" for name in sales.nozzle_ids]
    for grade in sorted(set(grades) - {""}):
        mine = rows[np.array([g == grade for g in grades], bool)[sales.nozzle[rows]]]
        litres = float(sales.volume_l[mine].sum())
        if litres > 0.0:
            prices[grade] = round(float(np.nansum(sales.unit_price[mine] * sales.volume_l[mine])) / litres, 4)
    return prices
