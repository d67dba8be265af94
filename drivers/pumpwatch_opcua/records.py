"""What a device's values mean as records: fillings, tank readings, identity, events. No input or output."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pumpwatch import DeviceEvent, DeviceIdentity, NozzleState, Quality, TankReading, Transaction
from pumpwatch_opcua.nodemap import NOZZLE, TANK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pumpwatch import Record, Sample, Site, Value
    from pumpwatch_opcua.nodemap import NodeMap
    from pumpwatch_opcua.points import LivePoint

IDENTITY_AGAIN = timedelta(hours=1)
"""An unchanged identity is reported again after this long: proof that it was looked at."""
MOST_TRIES = 5
"""Looks at a filling whose values are not there; then it is given up, and its number is missing."""
RECENT = 32
"""Changes of a filling's values that are remembered: more than come between two reads."""
ROLLS = (*(10**digits for digits in range(4, 10)), 2**15, 2**16, 2**31, 2**32)
"""Where numbers of fillings begin anew, at 0 or 1."""
NEAR_ROLL = 32
"""Numbers on either side of that which may not be seen."""
BUSY = frozenset({NozzleState.LIFTED, NozzleState.FUELLING})
_UNKNOWN = frozenset({Quality.BAD, Quality.BAD_REPLY, Quality.NOT_CONNECTED})


@dataclass(slots=True)
class Owed:
    """A filling whose number has been seen."""

    nozzle: int
    """The device's own number, from 1."""
    seq: int
    at: datetime
    """Source time of the number."""
    tries: int = 0


class Recorder:
    """Follows the values of one device.

    ``note`` every sample, read what ``owed`` names at one go and tell it with ``sold``, and ``collect`` last. What is
    known is kept until it is collected: a read that is cut short loses nothing.
    """

    def __init__(self, nodemap: NodeMap, site: Site, points: Mapping[str, LivePoint]) -> None:
        self._map = nodemap
        self._site = site
        self._points = points
        nozzles = range(1, len(site.nozzle_ids) + 1)
        self._sequences: dict[str, int] = {}
        self._states: dict[str, int] = {}
        self._fields: dict[int, dict[str, str]] = {}
        """Nozzle to field to tag."""
        if sale := nodemap.sale:
            self._sequences = {sale.sequence.replace(NOZZLE, str(n)): n for n in nozzles}
            self._states = {sale.state.replace(NOZZLE, str(n)): n for n in nozzles} if sale.state else {}
            for n in nozzles:
                self._fields[n] = {key: tag.replace(NOZZLE, str(n)) for key, tag in sale.fields_.present().items()}
        self._remembered = frozenset(tag for fields in self._fields.values() for tag in fields.values())
        self._minded = self._remembered.union(self._sequences, self._states, (entry.tag for entry in nodemap.events))
        self._recent: defaultdict[str, deque[Sample]] = defaultdict(lambda: deque(maxlen=RECENT))
        self._events = {entry.tag: entry for entry in nodemap.events}
        self._told: dict[str, Value] = {}
        self._seen: dict[int, int] = {}
        self._began: defaultdict[int, deque[datetime]] = defaultdict(lambda: deque(maxlen=4))
        self._busy: set[int] = set()
        self.owed: list[Owed] = []
        """Fillings to be read, oldest first."""
        self._identity: DeviceIdentity | None = None
        self._measured: dict[int, datetime] = {}
        self._ready: list[Record] = []

    @property
    def sequences(self) -> Iterable[str]:
        """Tags that must be known at every read, so that no choice of tags can miss a filling."""
        return self._sequences

    def note(self, samples: Sequence[Sample]) -> None:
        """Samples in the order of their coming."""
        for sample in samples:
            tag = sample.tag
            if tag not in self._minded or not sample.quality.is_good or sample.quality is Quality.BACKFILLED:
                continue
            if tag in self._remembered:
                self._recent[tag].append(sample)
            if tag in self._states:
                self._move(self._states[tag], sample)
            if tag in self._sequences:
                self._count(self._sequences[tag], sample)
            if tag in self._events and sample.value != self._told.get(tag, 0):
                self._told[tag] = sample.value
                entry, site = self._events[tag], self._site
                detail = {entry.key: sample.value}
                self._ready.append(DeviceEvent(sample.at, site.station_id, site.device_id, entry.kind, detail))

    def wanted(self, nozzle: int) -> dict[str, str]:
        """What to read at one go for a filling that is owed: name to tag; ``seq`` and ``state`` among them."""
        sale = self._map.sale
        wanted = dict(self._fields[nozzle])
        if sale:
            wanted["seq"] = sale.sequence.replace(NOZZLE, str(nozzle))
            if sale.state:
                wanted["state"] = sale.state.replace(NOZZLE, str(nozzle))
        return wanted

    def sold(self, owed: Owed, told: Mapping[str, tuple[Value, Quality]]) -> None:
        """What was read for a filling that is owed."""
        values = {key: value for key, (value, quality) in told.items() if quality.is_good and value is not None}
        seq, state = values.pop("seq", None), values.pop("state", NozzleState.IDLE)
        if seq != owed.seq or state in BUSY:
            # The next one has begun, so the device shows that: what it told until the number moved must do.
            values = self._as_of(owed.nozzle, owed.at)
        sale = self._transaction(owed, values)
        owed.tries += 1
        if sale is not None:
            self._ready.append(sale)
        if sale is not None or owed.tries >= MOST_TRIES:
            self.owed.remove(owed)

    def collect(self, due: Iterable[str], now: datetime) -> list[Record]:
        """Everything that became known, each once; a reading of each tank whose height is due."""
        self._measure(frozenset(due), now)
        self._identify(now)
        ready, self._ready = self._ready, []
        return ready

    # ------------------------------------------------------------ fillings

    def _move(self, nozzle: int, sample: Sample) -> None:
        busy = sample.value in BUSY
        if busy and nozzle not in self._busy:
            self._began[nozzle].append(sample.at)
        (self._busy.add if busy else self._busy.discard)(nozzle)

    def _count(self, nozzle: int, sample: Sample) -> None:
        """A number that was not seen to move is a filling only if the device tells when it ended."""
        if not isinstance(sample.value, int | float) or sample.value != int(sample.value):
            return
        seq, seen = int(sample.value), self._seen.get(nozzle)
        if seq == seen:
            return
        self._seen[nozzle] = seq
        went_on, rolled = seen is not None and seq > seen, seen is not None and _rolled(seen, seq)
        if rolled or (seq > 0 and (went_on or "end" in self._fields[nozzle])):
            self.owed.append(Owed(nozzle, seq, sample.at))

    def _as_of(self, nozzle: int, at: datetime) -> dict[str, float | int | str]:
        """The last good values that were told until then."""
        values: dict[str, float | int | str] = {}
        for key, tag in self._fields[nozzle].items():
            for sample in self._recent[tag]:
                if sample.value is not None and (sample.at <= at or key not in values):
                    values[key] = sample.value
        return values

    def _transaction(self, owed: Owed, values: Mapping[str, float | int | str]) -> Transaction | None:
        def number(key: str) -> float | None:
            value = values.get(key)
            return value if isinstance(value, int | float) else None

        def word(key: str) -> str | None:
            value = values.get(key)
            return None if value is None else str(value)

        nozzle = owed.nozzle
        volume, amount, price = number("volume_l"), number("amount_cny"), number("unit_price")
        end = _time(number("end")) if "end" in self._fields[nozzle] else owed.at
        if volume is None or amount is None or price is None or end is None:
            return None
        start = _time(number("start"))
        if start is None:
            start = max((began for began in self._began[nozzle] if began <= end), default=end)
        pulses, preset = number("encoder_pulses"), word("preset_kind")
        return Transaction(
            nozzle_id=self._site.nozzle_ids[nozzle - 1],
            seq=owed.seq,
            start=min(start, end),
            end=end,
            volume_l=volume,
            amount_cny=amount,
            unit_price=price,
            totalizer_l=number("totalizer_l"),
            totalizer_cny=number("totalizer_cny"),
            encoder_l=number("encoder_l"),
            encoder_pulses=None if pulses is None else int(pulses),
            tax_l=number("tax_l"),
            tax_cny=number("tax_cny"),
            payment=word("payment"),
            preset_kind=preset,
            preset_value=None if preset is None else number("preset_value"),
            raw=json.dumps({"seq": owed.seq, **values}, sort_keys=True, ensure_ascii=False).encode(),
        )

    # ------------------------------------------------------------ tanks and identity

    def _measure(self, due: frozenset[str], now: datetime) -> None:
        entry = self._map.tank
        for number, tank_id in enumerate(self._site.tank_ids if entry else (), 1):
            names = {key: tag.replace(TANK, str(number)) for key, tag in entry.present().items()} if entry else {}
            height = self._points[names["height_mm"]].sample
            if names["height_mm"] not in due or height is None or not height.quality.is_good:
                continue
            values: dict[str, float] = {}
            for key, tag in names.items():
                sample = self._points[tag].sample
                if sample is not None and sample.quality.is_good and isinstance(sample.value, int | float):
                    values[key] = sample.value
            if "height_mm" not in values:
                continue
            # A height that has not moved is one that holds now, for the server tells every change.
            at = height.at if self._measured.get(number) != height.at else now
            self._measured[number] = height.at
            self._ready.append(
                TankReading(
                    tank_id,
                    at,
                    values["height_mm"],
                    volume_l=values.get("volume_l"),
                    volume_20c_l=values.get("volume_20c_l"),
                    water_mm=values.get("water_mm"),
                    temperature_c=values.get("temperature_c"),
                    density_kg_m3=values.get("density_kg_m3"),
                )
            )

    def _identify(self, now: datetime) -> None:
        """What the dispenser says it is: the first time, when it has changed, and once an hour."""
        entry, site = self._map.identity, self._site
        if entry is None or site.dispenser_id is None:
            return
        tags = {key: tag for key, tag in entry if tag is not None and NOZZLE not in tag}
        serials = {
            (entry.encoder_serials or "").replace(NOZZLE, str(n)): nozzle_id
            for n, nozzle_id in enumerate(site.nozzle_ids if entry.encoder_serials else (), 1)
        }
        samples = {tag: self._points[tag].sample for tag in (*tags.values(), *serials)}
        if any(sample is None or sample.quality in _UNKNOWN for sample in samples.values()):
            return

        def told(tag: str) -> str | None:
            sample = samples[tag]
            return None if sample is None or sample.value in {None, ""} else str(sample.value)

        identity = DeviceIdentity(
            station_id=site.station_id,
            dispenser_id=site.dispenser_id,
            at=now,
            encoder_serials={nozzle: serial for tag, nozzle in serials.items() if (serial := told(tag))},
            **{key: told(tag) for key, tag in tags.items()},
        )
        last = self._identity
        if last is not None and replace(identity, at=last.at) == last and now - last.at < IDENTITY_AGAIN:
            return
        self._identity = identity
        self._ready.append(identity)


def _rolled(seen: int, seq: int) -> bool:
    """Whether numbers have begun anew, and were not set back."""
    return 0 <= seq < NEAR_ROLL and any(roll - NEAR_ROLL <= seen < roll for roll in ROLLS)


def _time(seconds: float | None) -> datetime | None:
    """Seconds since 1970 UTC; None for what no device tells in this century."""
    return None if seconds is None or not 0 <= seconds < 1 << 32 else datetime.fromtimestamp(seconds, UTC)
