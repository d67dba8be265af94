"""What the OPC UA driver makes of values: fillings, tank readings, identities, events; and node maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from pumpwatch import (
    BadConfig,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Quality,
    Record,
    Refused,
    Sample,
    Site,
    TankReading,
    Transaction,
    Value,
)
from pumpwatch_opcua import OpcuaDriver, OpcuaSettings
from pumpwatch_opcua.nodemap import NodeMap, brand_path, load_map
from pumpwatch_opcua.points import LivePoint
from pumpwatch_opcua.records import MOST_TRIES, Recorder

SITE = Site("S01", "D1", "S01-D1", ("S01-N01", "S01-N02"), ("S01-T1",))
T0 = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
COUNTY = brand_path("county")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@dataclass
class Device:
    """A recorder and the values of its device."""

    nodemap: NodeMap = field(default_factory=lambda: load_map(COUNTY))
    site: Site = SITE

    def __post_init__(self) -> None:
        points = self.nodemap.points(self.site, "")
        self.points = {point.tag.name: LivePoint(point, n) for n, point in enumerate(points)}
        self.recorder = Recorder(self.nodemap, self.site, self.points)

    def tell(self, seconds: float, quality: Quality = Quality.GOOD, **values: Value) -> None:
        """Values of nozzle 1 as a subscription tells them."""
        self.take([Sample(f"nozzle-1.{name}", value, at(seconds), quality) for name, value in values.items()])

    def take(self, samples: list[Sample]) -> None:
        for sample in samples:
            self.points[sample.tag].sample = sample
        self.recorder.note(samples)

    def look(self) -> list[Transaction]:
        """Read what is owed, as the driver does, and collect."""
        for owed in list(self.recorder.owed):
            told = {}
            for key, tag in self.recorder.wanted(owed.nozzle).items():
                sample = self.points[tag].sample
                told[key] = (sample.value, sample.quality) if sample else (None, Quality.BAD)
            self.recorder.sold(owed, told)
        return [record for record in self.collect() if isinstance(record, Transaction)]

    def collect(self, *due: str, now: datetime = T0) -> list[Record]:
        return self.recorder.collect(due, now)


SHOWN = {"volume": 25.5, "amount": 201.2, "price": 7.89, "pulses": 2550, "totalizer": 1025.5, "totalizer_amount": 9e3}


# ---------------------------------------------------------------- fillings


def test_a_filling_is_complete_when_its_number_moves() -> None:
    device = Device()
    device.tell(0, state=0, sequence=7, **SHOWN)
    assert device.look() == [], "nobody saw this one end"
    device.tell(10, state=1)
    device.tell(12, state=2)
    device.tell(70, state=0, sequence=8, **SHOWN)
    (sale,) = device.look()
    assert (sale.nozzle_id, sale.seq, sale.start, sale.end) == ("S01-N01", 8, at(10), at(70))
    assert (sale.volume_l, sale.amount_cny, sale.unit_price) == (25.5, 201.2, 7.89)
    assert (sale.totalizer_l, sale.totalizer_cny, sale.encoder_pulses) == (1025.5, 9000.0, 2550)
    assert b'"volume_l": 25.5' in sale.raw
    assert device.look() == []


@pytest.mark.parametrize(
    ("shown", "sold"),
    [
        ((65_534, 65_535, 0, 1, 2), [65_535, 0, 1, 2]),
        ((2**32 - 1, 1), [1]),
        ((9_998, 9_999, 1), [9_999, 1]),
        ((8_000, 0, 1), [1]),
        ((60_000, 2, 3), [3]),
        ((5, -1, 0), []),
    ],
)
def test_numbers_that_begin_anew_lose_no_filling(shown: tuple[int, ...], sold: list[int]) -> None:
    """Nor is one made where a number was set back."""
    device = Device()
    for place, number in enumerate(shown):
        device.tell(10 * place, state=0, sequence=number, **SHOWN)
    assert [owed.seq for owed in device.recorder.owed] == sold
    assert [sale.seq for sale in device.look()] == sold


def test_the_next_filling_has_begun_before_the_first_was_read() -> None:
    device = Device()
    device.tell(0, state=0, sequence=7, **SHOWN)
    device.tell(10, state=2, volume=5.0, amount=40.0)
    device.tell(60, state=0, volume=10.0, amount=80.0, totalizer=1035.5, sequence=8)
    device.tell(62, state=1, volume=0.0, amount=0.0)
    device.tell(63, state=2, volume=3.0, amount=24.0)
    device.tell(64, state=0, volume=4.0, amount=32.0, totalizer=1039.5, sequence=9)
    sales = device.look()
    assert [(s.seq, s.start, s.end, s.volume_l, s.amount_cny, s.totalizer_l) for s in sales] == [
        (8, at(10), at(60), 10.0, 80.0, 1035.5),
        (9, at(62), at(64), 4.0, 32.0, 1039.5),
    ]


def test_a_filling_nobody_saw_begin() -> None:
    device = Device()
    device.tell(0, sequence=7, **SHOWN)
    device.tell(60, state=0, sequence=8)
    (sale,) = device.look()
    assert sale.start == sale.end == at(60)


def test_a_number_that_goes_back_is_no_filling() -> None:
    device = Device()
    device.tell(0, state=0, sequence=7, **SHOWN)
    device.tell(1, sequence=2)
    assert device.look() == []
    device.tell(2, sequence=3)
    assert [sale.seq for sale in device.look()] == [3]


@pytest.mark.parametrize("nonsense", ["8", 8.5, None])
def test_a_number_that_is_none(nonsense: Value) -> None:
    device = Device()
    device.tell(0, state=0, sequence=7, **SHOWN)
    device.tell(1, sequence=nonsense)
    device.tell(2, Quality.BAD, sequence=9)
    device.tell(3, Quality.BACKFILLED, sequence=5)
    assert device.look() == []


def test_a_filling_whose_values_cannot_be_had_is_given_up() -> None:
    device = Device()
    device.tell(0, Quality.BAD_REPLY, **SHOWN)
    device.tell(0, state=0, sequence=7)
    device.tell(1, sequence=8)
    for _ in range(MOST_TRIES):
        assert len(device.recorder.owed) == 1
        assert device.look() == []
    assert device.recorder.owed == []


def test_a_device_that_tells_when_a_filling_ended(tmp_path: Path) -> None:
    """Then the last one is told at once, and under the same key at each start."""
    names = ("sequence", "volume", "amount", "price", "start", "end", "payment")
    lines = ['title = "t"', *(f'[[tags]]\nname = "nozzle-{{n}}.{n}"\nnode = "ns=1;s={{n}}.{n}"' for n in names[:-1])]
    lines += ['[[tags]]\nname = "nozzle-{n}.payment"\nnode = "ns=1;s={n}.pay"\nkind = "identity"']
    lines += ['[sale]\nsequence = "nozzle-{n}.sequence"\n[sale.fields]']
    fields = {"volume_l": "volume", "amount_cny": "amount", "unit_price": "price", "start": "start", "end": "end"}
    lines += [f'{key} = "nozzle-{{n}}.{tag}"' for key, tag in (fields | {"payment": "payment"}).items()]
    path = tmp_path / "map.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    device = Device(load_map(path))
    end = T0.timestamp() - 600
    device.tell(0, sequence=7, volume=25.5, amount=201.2, price=7.89, start=end - 60, end=end, payment="cash")
    (sale,) = device.look()
    assert (sale.seq, sale.end, sale.end - sale.start, sale.payment) == (7, at(-600), timedelta(minutes=1), "cash")


# ---------------------------------------------------------------- tanks, identity, events


def test_tank_readings() -> None:
    device = Device()
    values = {"height": 1234.5, "volume": 20_000.0, "water": 3.0, "temperature": 18.5, "density": None}
    samples = [Sample(f"tank-1.{name}", value, at(-40)) for name, value in values.items() if value is not None]
    device.take([*samples, Sample("tank-1.density", None, at(-40), Quality.BAD_REPLY)])
    (reading,) = device.collect("tank-1.height")
    expected = TankReading("S01-T1", at(-40), 1234.5, 20_000.0, water_mm=3.0, temperature_c=18.5)
    assert reading == expected
    assert device.collect("tank-1.volume") == []
    (again,) = device.collect("tank-1.height", now=at(10))
    assert again.at == at(10), "what has not moved holds now"
    device.take([Sample("tank-1.height", 1230.0, at(12))])
    assert device.collect("tank-1.height", now=at(20))[0].at == at(12)
    device.take([Sample("tank-1.height", None, at(30), Quality.NOT_CONNECTED)])
    assert device.collect("tank-1.height", now=at(31)) == []


def told(device: Device, **values: str | None) -> list[Sample]:
    names = [name for name in device.points if name.startswith("identity.") or name.endswith("encoder_serial")]
    given = {"identity.serial": "GD-1", "identity.firmware_version": "4.2"} | values
    return [Sample(name, given.get(name, "X"), T0) for name in names]


def test_the_identity() -> None:
    device = Device()
    samples = told(device)
    device.take(samples[:-1])
    assert device.collect() == [], "not all is known yet"
    device.take(samples)
    (identity,) = device.collect()
    assert isinstance(identity, DeviceIdentity)
    assert (identity.serial, identity.firmware_version, identity.dispenser_id) == ("GD-1", "4.2", "S01-D1")
    assert identity.encoder_serials == {"S01-N01": "X", "S01-N02": "X"}
    assert device.collect(now=at(3000)) == []
    assert len(device.collect(now=at(3601))) == 1
    device.take([Sample("identity.firmware_version", "4.3", at(4000))])
    (identity,) = device.collect(now=at(4000))
    assert identity.firmware_version == "4.3"
    device.take([Sample("identity.firmware_version", None, at(4001), Quality.BAD_REPLY)])
    assert device.collect(now=at(9999)) == []
    device.take([Sample("identity.firmware_version", None, at(4002), Quality.REFUSED)])
    (identity,) = device.collect(now=at(9999))
    assert identity.firmware_version is None, "the server has no such node"


def test_events() -> None:
    device = Device()
    device.take([Sample("health", 0, T0)])
    assert device.collect() == []
    device.take([Sample("health", 1, at(1)), Sample("health", 1, at(2)), Sample("health", 0, at(3))])
    assert device.collect() == [
        DeviceEvent(at(n), "S01", "D1", EventKind.ALARM, {"device_health": value}) for n, value in ((1, 1), (3, 0))
    ]


# ---------------------------------------------------------------- maps


def test_the_tags_are_of_what_the_device_has() -> None:
    names = {point.tag.name for point in load_map(COUNTY).points(Site("S01", "T", tank_ids=("S01-T1", "S01-T2")), "")}
    assert {name.split(".")[0] for name in names} == {"tank-1", "tank-2"}
    names = {point.tag.name for point in load_map(COUNTY).points(SITE, "")}
    assert {"nozzle-2.state", "tank-1.height", "health"} <= names
    assert "nozzle-3.state" not in names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 1", "title: .*correct it"),
        ('title = "t"', "tags: missing; add it"),
        ('title = "t"\n[[tags]]\nname = "a"\nnode = "x"', "'x' is no node; write a browse path"),
        ('title = "t"\n[[tags]]\nname = "a"\nnode = "i=1"\nspeed = 1', "tags.0.speed: no such key"),
        ('title = "t"\n[[tags]]\nname = "a"\nnode = "i=1"\n[[tags]]\nname = "a"\nnode = "i=2"', "'a' is there twice"),
        ('title = "t"\n[[tags]]\nname = "a"\nnode = "i=1"\n[identity]\nserial = "aa"', "did you mean 'a'"),
        ('title = "t"\n[[tags]]\nname = "a"\nnode = "i=1"\n[tank]\nheight_mm = "a"', "write {t} for its number"),
        ("title = ", "not TOML"),
    ],
)
def test_maps_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadConfig, match=message) as caught:
        load_map(path)
    assert str(path) in str(caught.value)


def test_a_map_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="check the path"):
        load_map(tmp_path / "none.toml")
    with pytest.raises(BadConfig, match="did you mean 'county'"):
        brand_path("conty")


def driver(site: Site = SITE, line: str = "opc.tcp://127.0.0.1:1", **keys: str) -> OpcuaDriver:
    return OpcuaDriver(OpcuaSettings(**keys), site, SimpleNamespace(address=line))


def test_a_device_the_map_has_nothing_for(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="name its dispenser, nozzles or tanks"):
        driver(Site("S01", "D1"), brand="county")
    path = tmp_path / "map.toml"
    path.write_text('title = "t"\n[[tags]]\nname = "a"\nnode = "/{root}/0:a"', encoding="utf-8")
    with pytest.raises(BadConfig, match=r"root: 'a' of 't'.*add 'root'"):
        driver(map=str(path))
    path.write_text('title = "t"\n[[tags]]\nname = "server.lost"\nnode = "i=1"', encoding="utf-8")
    with pytest.raises(BadConfig, match="the driver's own tag"):
        driver(map=str(path))


async def test_a_line_that_is_no_server() -> None:
    with pytest.raises(Refused, match=r"write opc\.tcp://HOST"):
        await driver(line="tcp://127.0.0.1:502", brand="county").connect()
