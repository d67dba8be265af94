"""Questions about fillings: those that fit a filter, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from pumpwatch.engine.queries.pages import TIME, Page, Window, cursor, just_after, place_of
from pumpwatch.ledger.threads import in_thread
from pumpwatch.model import Transaction, to_us

if TYPE_CHECKING:
    from pumpwatch.historian import Historian
    from pumpwatch.ledger import Register

FILLINGS: Final = pa.schema(
    [
        ("nozzle_id", pa.string()),
        ("seq", pa.int64()),
        ("start", TIME),
        ("end", TIME),
        *((name, pa.float64()) for name in ("volume_l", "amount_cny", "unit_price")),
        *((name, pa.float64()) for name in ("totalizer_l", "totalizer_cny", "encoder_l")),
        ("encoder_pulses", pa.int64()),
        *((name, pa.float64()) for name in ("tax_l", "tax_cny")),
        *((name, pa.string()) for name in ("payment", "preset_kind")),
        ("preset_value", pa.float64()),
        *((name, pa.string()) for name in ("station_id", "dispenser_id")),
        ("number", pa.int64()),
        ("grade", pa.string()),
    ]
)
_LOOKED_AT: Final = 50_000
"""Fillings that are looked at for one page, where a filter leaves most of them out."""
_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class FillingFilter:
    """Which fillings; what is None does not matter. Bounds are included, but ``end``."""

    station_id: str | None = None
    nozzle_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    """Of their ends."""
    payment: str | None = None
    preset_kind: str | None = None
    grade: str | None = None
    least_l: float | None = None
    most_l: float | None = None
    least_cny: float | None = None
    most_cny: float | None = None

    @property
    def takes_all(self) -> bool:
        """Whether none is left out of those of that place and time."""
        kinds = (self.payment, self.preset_kind, self.grade)
        return kinds == (None,) * 3 and (self.least_l, self.most_l, self.least_cny, self.most_cny) == (None,) * 4

    def fits(self, sale: Transaction, register: Register) -> bool:
        """Whether it is one of them, when place and time are right."""
        nozzle = register.nozzle(sale.nozzle_id) if self.grade is not None else None
        return (
            (self.payment is None or sale.payment == self.payment)
            and (self.preset_kind is None or sale.preset_kind == self.preset_kind)
            and (self.grade is None or (nozzle is not None and nozzle.grade == self.grade))
            and (self.least_l is None or sale.volume_l >= self.least_l)
            and (self.most_l is None or sale.volume_l <= self.most_l)
            and (self.least_cny is None or sale.amount_cny >= self.least_cny)
            and (self.most_cny is None or sale.amount_cny <= self.most_cny)
        )


async def fillings(
    historian: Historian,
    register: Register,
    wanted: FillingFilter,
    window: Window,
    after: str | None,
    limit: int,
) -> Page:
    """Those that ended in the window, newest first; those of one moment by nozzle and number."""
    behind: tuple[int, str, int] | None = None
    if after:
        end_us, nozzle, seq = place_of(after, (int, str, int))
        behind = -end_us, nozzle, seq
    end = window.end if behind is None else min(window.end, just_after(-behind[0]))
    found: list[Transaction] = []
    looked_at = 0
    n = min(limit + 1, _AT_ONCE) if wanted.takes_all else _AT_ONCE
    while window.start < end:
        page = await historian.transactions(
            station_id=wanted.station_id, nozzle_id=wanted.nozzle_id, start=window.start, end=end, limit=n
        )
        ordered = sorted(page, key=_key)
        is_last = len(ordered) < n
        if not is_last:  # others of the oldest moment may not be among them
            oldest = ordered[-1].end
            whole = [sale for sale in ordered if sale.end > oldest]
            if not whole:
                n *= 2
                continue
            ordered, end = whole, whole[-1].end
        for sale in ordered:
            if behind is not None and _key(sale) <= behind:
                continue
            looked_at += 1
            behind = _key(sale)
            if wanted.fits(sale, register):
                found.append(sale)
            if len(found) == limit or looked_at >= _LOOKED_AT:
                return Page(await in_thread(table_of, found, register), cursor(-behind[0], behind[1], behind[2]))
        if is_last:
            break
    return Page(await in_thread(table_of, found, register))


def table_of(sales: Sequence[Transaction], register: Register) -> pa.Table:
    """Fillings as columns, with where they belong."""
    columns: dict[str, list[object]] = {name: [] for name in FILLINGS.names}
    for sale in sales:
        nozzle = register.nozzle(sale.nozzle_id)
        dispenser = register.dispenser(nozzle.dispenser_id) if nozzle else None
        own = {
            "start": to_us(sale.start),
            "end": to_us(sale.end),
            "station_id": dispenser.station_id if dispenser else None,
            "dispenser_id": nozzle.dispenser_id if nozzle else None,
            "number": register.nozzle_number(sale.nozzle_id) if nozzle else None,
            "grade": nozzle.grade if nozzle else None,
        }
        for name, column in columns.items():
            column.append(own[name] if name in own else getattr(sale, name))
    arrays = [
        pa.array(column, pa.int64()).cast(TIME) if field.type == TIME else pa.array(column, field.type)
        for field, column in zip(FILLINGS, columns.values(), strict=True)
    ]
    return pa.table(arrays, schema=FILLINGS)


def _key(sale: Transaction) -> tuple[int, str, int]:
    return -to_us(sale.end), sale.nozzle_id, sale.seq
