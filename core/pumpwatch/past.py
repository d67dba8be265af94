"""One station's past as columns: what reviews look at, the same live, replayed and simulated; floor 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pumpwatch.model import (
    CovertTest,
    Declaration,
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    Dispenser,
    EventKind,
    HotlineReport,
    Nozzle,
    Station,
    Subject,
    Tank,
    Transaction,
    WorkOrder,
    from_us,
    to_us,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pumpwatch.model import SaleChannel

RESUBMITTED: Final = "resubmitted"
"""``detail["code"]`` of the event that a filling was reported again, and otherwise; see ``resubmission``."""

CHANNEL_UNHEARD: Final = "channel_unheard"
"""``detail["code"]``: a filling was passed on while one of its channels could not be heard; see ``is_unheard``."""
CHANNEL_ABSENT: Final = "channel_absent"
"""The channel was heard later, and has no record of the filling."""
CHANNEL_UNMATCHED: Final = "channel_unmatched"
"""A channel recorded a filling that no display showed."""
CHANNEL_DIFFERS: Final = "channel_differs"
"""A channel recorded another figure of a filling than the dispenser tells in that channel's name."""


class Channel(StrEnum):
    """Kinds of data that a station may have or not; a rule that needs one is off where it is missing."""

    ENCODER = "encoder"
    """Pulses or litres counted at the encoder."""
    TAX = "tax"
    """Volumes recorded by tax control."""
    TOTALIZERS = "totalizers"
    TANK_READINGS = "tank_readings"
    """At least one an hour on average; a daily dip is ``TANK_DIPS`` only."""
    TANK_DIPS = "tank_dips"
    """At least one a day."""
    CHARTS = "charts"
    """Strapping charts of the tanks."""
    DELIVERIES = "deliveries"
    """Delivery papers."""
    IDENTITY = "identity"
    """Devices tell what they are, or the register has it."""
    DECLARATIONS = "declarations"
    CERTIFICATES = "certificates"
    """Expiry dates in the register."""


@dataclass(frozen=True, slots=True, eq=False)
class Sales:
    """Fillings as columns of equal length n, ordered by nozzle, end and sequence number; each filling once.

    Litres, CNY, microseconds since 1970 UTC; NaN where a channel has nothing.
    """

    nozzle_ids: tuple[str, ...]
    """What ``nozzle`` counts in, in the order of the register."""
    nozzle: NDArray[np.int32]
    seq: NDArray[np.int64]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    volume_l: NDArray[np.float64]
    amount_cny: NDArray[np.float64]
    unit_price: NDArray[np.float64]
    totalizer_l: NDArray[np.float64]
    totalizer_cny: NDArray[np.float64]
    encoder_l: NDArray[np.float64]
    encoder_pulses: NDArray[np.float64]
    tax_l: NDArray[np.float64]
    tax_cny: NDArray[np.float64]
    preset_value: NDArray[np.float64]
    payment: NDArray[np.int16]
    """Place in ``payments``; −1 where it was not told."""
    preset_kind: NDArray[np.int16]
    """Place in ``preset_kinds``; −1 where nothing was preset."""
    payments: tuple[str, ...] = ()
    preset_kinds: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.nozzle)

    def of(self, nozzle_id: str) -> slice:
        """The rows of one nozzle; empty for one that has none."""
        if nozzle_id not in self.nozzle_ids:
            return slice(0, 0)
        code = self.nozzle_ids.index(nozzle_id)
        return slice(*self.nozzle.searchsorted(np.array([code, code + 1], self.nozzle.dtype)).tolist())

    def is_paid(self, payment: str) -> NDArray[np.bool_]:
        """(n,) which fillings were paid in this way (``cash``, ``own_use`` …)."""
        if payment not in self.payments:
            return np.zeros(len(self), bool)
        paid: NDArray[np.bool_] = self.payment == self.payments.index(payment)
        return paid

    def take(self, rows: NDArray[Any] | slice) -> Sales:
        """Some rows; they must keep their order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in SALE_COLUMNS})

    def record(self, row: int) -> Transaction:
        """One filling as a record, without the bytes of its report."""

        def real(name: str) -> float | None:
            value = float(getattr(self, name)[row])
            return None if value != value else value  # noqa: PLR0124 - NaN

        pulses = real("encoder_pulses")
        payment, preset = int(self.payment[row]), int(self.preset_kind[row])
        return Transaction(
            nozzle_id=self.nozzle_ids[self.nozzle[row]],
            seq=int(self.seq[row]),
            start=from_us(self.start_us[row]),
            end=from_us(self.end_us[row]),
            volume_l=float(self.volume_l[row]),
            amount_cny=float(self.amount_cny[row]),
            unit_price=float(self.unit_price[row]),
            totalizer_l=real("totalizer_l"),
            totalizer_cny=real("totalizer_cny"),
            encoder_l=real("encoder_l"),
            encoder_pulses=None if pulses is None else int(pulses),
            tax_l=real("tax_l"),
            tax_cny=real("tax_cny"),
            payment=None if payment < 0 else self.payments[payment],
            preset_kind=None if preset < 0 else self.preset_kinds[preset],
            preset_value=real("preset_value"),
        )


SALE_COLUMNS: Final = tuple(f.name for f in fields(Sales) if f.name not in {"nozzle_ids", "payments", "preset_kinds"})
"""The columns of ``Sales`` that have a row for each filling."""


def sales_from(
    columns: Mapping[str, Any],
    nozzle_ids: Sequence[str],
    payments: tuple[str, ...] = (),
    preset_kinds: tuple[str, ...] = (),
) -> Sales:
    """Order columns (named as ``SALE_COLUMNS``) as ``Sales`` wants them; of several reports the first row stands."""
    order = np.lexsort((columns["seq"], columns["end_us"], columns["nozzle"]))
    keys = [columns[name][order] for name in ("nozzle", "end_us", "seq")]
    first = np.ones(len(order), bool)
    first[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    chosen: dict[str, Any] = {name: columns[name][order[first]] for name in SALE_COLUMNS}
    return Sales(nozzle_ids=tuple(nozzle_ids), **chosen, payments=payments, preset_kinds=preset_kinds)


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Readings of one tank as columns of equal length n, oldest first, each time once; NaN where nothing was told."""

    at_us: NDArray[np.int64]
    height_mm: NDArray[np.float64]
    volume_l: NDArray[np.float64]
    volume_20c_l: NDArray[np.float64]
    water_mm: NDArray[np.float64]
    temperature_c: NDArray[np.float64]
    density_kg_m3: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.at_us)

    def take(self, rows: NDArray[Any] | slice) -> Levels:
        """Some rows; they must keep their order."""
        return Levels(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A strapping chart: volume over height, both rising."""

    height_mm: NDArray[np.float64]
    volume_l: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StationPast:
    """Everything known of one station between two times, oldest first wherever there is an order.

    What is registered and signed (``station`` to ``charts``) is not cut at the two times.
    """

    station: Station
    dispensers: tuple[Dispenser, ...]
    nozzles: tuple[Nozzle, ...]
    tanks: tuple[Tank, ...]
    start: datetime
    end: datetime
    """Records at ``start`` <= time < ``end`` are here; fillings by their end."""
    sales: Sales
    levels: Mapping[str, Levels]
    """By tank id; a tank without readings has none."""
    deliveries: tuple[Delivery, ...] = ()
    events: tuple[DeviceEvent, ...] = ()
    identities: tuple[DeviceIdentity, ...] = ()
    work_orders: tuple[WorkOrder, ...] = ()
    declarations: tuple[Declaration, ...] = ()
    reports: tuple[HotlineReport, ...] = ()
    covert_tests: tuple[CovertTest, ...] = ()
    charts: Mapping[str, Chart] = field(default_factory=dict)

    @property
    def station_id(self) -> str:
        """The station's id."""
        return self.station.station_id

    def subject(self, nozzle_id: str) -> Subject:
        """A nozzle of this station as a finding names it."""
        nozzle = self.nozzle_by_id.get(nozzle_id)
        return Subject(self.station_id, nozzle.dispenser_id if nozzle else None, nozzle_id)

    @cached_property
    def nozzle_by_id(self) -> Mapping[str, Nozzle]:
        """The registered nozzles."""
        return {nozzle.nozzle_id: nozzle for nozzle in self.nozzles}

    @cached_property
    def dispenser_by_id(self) -> Mapping[str, Dispenser]:
        """The registered dispensers."""
        return {dispenser.dispenser_id: dispenser for dispenser in self.dispensers}

    def events_of(self, *kinds: EventKind) -> tuple[DeviceEvent, ...]:
        """The events of these kinds."""
        return tuple(event for event in self.events if event.kind in kinds)

    def manifold(self, tank_id: str) -> tuple[str, ...]:
        """The tank and those a siphon joins to it, by id; balances of joined tanks are only right together."""
        joined = {tank.tank_id: tank.manifold for tank in self.tanks}
        name = joined.get(tank_id)
        return (tank_id,) if name is None else tuple(sorted(t for t, m in joined.items() if m == name))

    @cached_property
    def channels(self) -> frozenset[Channel]:
        """Which kinds of data this station has in this time. A column that is empty throughout is not there."""
        sales, days = self.sales, max((self.end - self.start).total_seconds() / 86_400, 1e-9)
        spans = [max(float(levels.at_us[-1] - levels.at_us[0]) / 86_400e6, 1.0) for levels in self.levels.values()]
        rates = [len(levels) / span for levels, span in zip(self.levels.values(), spans, strict=True)]
        told = {
            Channel.ENCODER: _any(sales.encoder_pulses) or _any(sales.encoder_l),
            Channel.TAX: _any(sales.tax_l),
            Channel.TOTALIZERS: _any(sales.totalizer_l),
            Channel.TANK_READINGS: bool(rates) and max(rates) >= 24.0,
            Channel.TANK_DIPS: bool(rates) and max(rates) >= min(0.9, 0.9 / days),
            Channel.CHARTS: bool(self.charts),
            Channel.DELIVERIES: any(d.declared_l is not None for d in self.deliveries),
            Channel.IDENTITY: bool(self.identities)
            or any(d.mainboard_serial or d.firmware_digest or d.serial for d in self.dispensers),
            Channel.DECLARATIONS: bool(self.declarations),
            Channel.CERTIFICATES: any(n.certificate_expires for n in self.nozzles),
        }
        return frozenset(channel for channel, there in told.items() if there)

    def between(self, start: datetime, end: datetime) -> StationPast:
        """The same past with records of start <= time < end only; itself where that leaves nothing out."""
        if start <= self.start and self.end <= end:
            return self
        first, last = to_us(start), to_us(end)

        def cut(records: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(r for r in records if start <= r.at < end)

        return replace(
            self,
            start=max(start, self.start),
            end=min(end, self.end),
            sales=self.sales.take((self.sales.end_us >= first) & (self.sales.end_us < last)),
            levels={
                tank: levels.take(rows)
                for tank, levels in self.levels.items()
                if (rows := slice(*np.searchsorted(levels.at_us, [first, last]))).start < rows.stop
            },
            deliveries=cut(self.deliveries),
            events=cut(self.events),
            identities=cut(self.identities),
        )


def is_signed(order: WorkOrder) -> bool:
    """Whether anybody signed; which signatures a change needs is the rule's to say. Without any it explains nothing."""
    return bool(order.signed_by_repairer or order.signed_by_institute or order.signed_by_station)


def _any(column: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(column).any())


# ---------------------------------------------------------------- records that come again, and otherwise

_FACTS: Final = (
    "volume_l", "amount_cny", "unit_price", "totalizer_l", "totalizer_cny", "encoder_l", "encoder_pulses", "tax_l",
    "tax_cny", "payment", "preset_kind", "preset_value",
)  # fmt: skip
"""What a second report of a filling may say otherwise."""


def resubmission(first: Transaction, later: Transaction, station_id: str) -> DeviceEvent | None:
    """The event that a filling was reported again with other content; None when the reports agree.

    What only one of the reports has is no disagreement: a channel may be late. The event's time is the filling's end,
    its device the nozzle, so that it is the same event however often the later report comes.
    """
    for name in _FACTS:
        old, new = getattr(first, name), getattr(later, name)
        if old is not None and new is not None and old != new:
            return DeviceEvent(
                at=first.end,
                station_id=station_id,
                device_id=first.nozzle_id,
                kind=EventKind.ALARM,
                detail={"code": RESUBMITTED, "seq": first.seq, "field": name, "first": old, "later": new}
                | ({} if name == "volume_l" else {"volume_l": first.volume_l}),
            )
    return None


def filled(first: Transaction, later: Transaction) -> Transaction:
    """The first report with what only the later one knows; the first itself when that is nothing."""
    news = {
        name: getattr(later, name)
        for name in (*_FACTS, "encoder_pulses")
        if getattr(first, name) is None and getattr(later, name) is not None
    }
    return replace(first, **news) if news else first


def same_serial(one: str, other: str) -> bool:
    """Whether two writings mean one serial number: capitals, blanks and hyphens are the writer's, not the maker's."""
    plain = ["".join(filter(str.isalnum, each)).casefold() for each in (one, other)]
    return plain[0] == plain[1] if all(plain) else one == other


def told_together(first: DeviceIdentity, later: DeviceIdentity) -> DeviceIdentity:
    """The later word of a dispenser with what only the first has: its pump's driver and its tax port tell parts."""
    kept = {f.name: getattr(first, f.name) for f in fields(later) if getattr(later, f.name) is None}
    return replace(later, **kept, encoder_serials={**first.encoder_serials, **later.encoder_serials})


def resubmissions(past: StationPast) -> Iterator[DeviceEvent]:
    """The events of fillings that were reported again, and otherwise."""
    return (e for e in past.events if e.kind is EventKind.ALARM and e.detail.get("code") == RESUBMITTED)


def is_unheard(events: Iterable[DeviceEvent], sale: Transaction, channel: SaleChannel) -> bool:
    """Whether what a filling lacks of a channel was not heard, so that it is not known to lack it.

    ``events`` are the station's of kind ``ALARM`` at the filling's end; acquisition tells them (``CHANNEL_UNHEARD``).
    """
    asked = {"channel": channel, "seq": sale.seq}
    codes = {
        event.detail.get("code")
        for event in events
        if event.at == sale.end and event.device_id == sale.nozzle_id and asked.items() <= event.detail.items()
    }
    return CHANNEL_UNHEARD in codes and CHANNEL_ABSENT not in codes
