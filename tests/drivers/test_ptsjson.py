"""jsonPTS: the guide's samples as records, the envelope, hostile bodies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pumpwatch import (
    Answer,
    BadConfig,
    BadReply,
    Call,
    Delivery,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    NotReachable,
    NozzleState,
    Quality,
    Reading,
    Record,
    Refused,
    Site,
    TankReading,
    Transaction,
)
from pumpwatch.historian.codec import decode, encode
from pumpwatch.model import Batch, SampleBatch
from pumpwatch.testing import ScriptedLine
from pumpwatch_ptsjson import PtsJsonDriver, PtsJsonSettings
from pumpwatch_ptsjson.driver import MOST_SAMPLES

PTS_ID = "003A003A3435510938393730"
PASSWORD = "not-a-real-one"
NOW = datetime(2026, 9, 1, 4, 0, 10, tzinfo=UTC)
SITE = Site("S01", "PTS", "S01-D1", ("S01-N01", "S01-N02", "S01-N03"), ("S01-T1", "S01-T2"))
SALE = {
    "DateTimeStart": "2026-09-01T11:58:00",
    "DateTime": "2026-09-01T12:00:00",
    "Pump": 1,
    "Nozzle": 2,
    "FuelGradeId": 1,
    "FuelGradeName": "92#",
    "Transaction": 1001,
    "Volume": 26.72,
    "TCVolume": 26.65,
    "Price": 7.5,
    "Amount": 200.4,
    "TotalVolume": 48231.15,
    "TotalAmount": 9043341,
    "Tag": "",
    "UserId": 1,
    "IsOffline": False,
    "PumpTransactionsUploaded": 47,
    "PumpTransactionsTotal": 48,
}
MEASUREMENT = {
    "DateTime": "2026-09-01T12:00:00",
    "Tank": 1,
    "Status": "OK",
    "Alarms": ["HighWater"],
    "ProductHeight": 2534.1,
    "WaterHeight": 3.2,
    "Temperature": 24.7,
    "ProductVolume": 18420,
    "WaterVolume": 2,
    "ProductUllage": 6580,
    "ProductTCVolume": 18351,
    "ProductDensity": 742.5,
}
STATUS = {
    "ConfigurationId": "747a3fe2",
    "DateTime": "2026-09-01T12:00:08",
    "BatteryVoltage": 3023,
    "CpuTemperature": 37,
    "PowerDownDetected": False,
    "Pumps": {
        "IdleStatus": {
            "Ids": [1, 3],
            "NozzlesUp": [2, 0],
            "LastNozzles": [1, 0],
            "LastVolumes": [12.5, 0.0],
            "LastAmounts": [93.75, 0.0],
            "LastPrices": [7.5, 1.11],
        },
        "FillingStatus": {"Ids": [2], "Nozzles": [1], "Volumes": [43.8], "Amounts": [45.99], "Prices": [1.05]},
        "EndOfTransactionStatus": {},
        "OfflineStatus": {"Ids": [4]},
    },
    "Probes": {
        "OnlineStatus": {"Ids": [1], "Measurements": [[1, 1000.0, 10.0, 20.0, 20000, 100, 15000, 19900, 759.0, 1.0]]},
        "OfflineStatus": {"Ids": [2]},
    },
}
SETTINGS = {"user": "s01", "password": PASSWORD, "scheme": "basic", "places": ["1/1", "1/2", "2/1"]}
BASIC = {"authorization": "Basic czAxOm5vdC1hLXJlYWwtb25l"}


def made(site: Site = SITE, **more: Any) -> PtsJsonDriver:
    line = ScriptedLine({})
    line.address = "call:"
    return PtsJsonDriver(PtsJsonSettings.model_validate(SETTINGS | more), site, line)


def envelope(*packets: dict[str, Any], **more: Any) -> bytes:
    told = {"Protocol": "jsonPTS", "PtsId": PTS_ID, "Packets": list(packets)} | more
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass")


def packet(kind: str, data: Any, number: int = 1) -> dict[str, Any]:
    return {"Id": number, "Type": kind, "Data": data}


def call(driver: PtsJsonDriver, body: bytes, now: datetime = NOW, **headers: str) -> tuple[Answer, Reading]:
    return driver.called(Call("POST", BASIC | headers, body, "/call/S01/PTS"), now)


def brought(kind: str, data: Any, driver: PtsJsonDriver | None = None) -> Reading:
    """What one packet becomes; it must have been confirmed."""
    answer, reading = call(driver or made(), envelope(packet(kind, data)))
    assert answer.status == 200
    assert json.loads(answer.body)["Packets"] == [{"Id": 1, "Type": kind, "Message": "OK"}]
    return reading


def only(reading: Reading, kind: type[Record]) -> Record:
    (found,) = [record for record in reading.records if isinstance(record, kind)]
    return found


def refused(kind: str, data: Any) -> str:
    """Why one packet is not kept."""
    answer, reading = call(made(), envelope(packet(kind, data)))
    (said,) = json.loads(answer.body)["Packets"]
    assert (said["Id"], said["Type"], said["Error"]) == (1, kind, True)
    assert not [record for record in reading.records if not isinstance(record, DeviceIdentity)]
    return said["Message"]


def value(reading: Reading, tag: str) -> object:
    (sample,) = [sample for sample in reading.samples if sample.tag == tag]
    return sample.value


# ---------------------------------------------------------------- what the packets say


def test_a_filling() -> None:
    reading = brought("UploadPumpTransaction", SALE)
    sale = only(reading, Transaction)
    raw = json.loads(sale.raw)
    assert (raw["Transaction"], raw["FuelGradeName"]) == (1001, "92#")
    assert not [name for name in raw if name.startswith("PumpTransactions")]
    assert sale == Transaction(
        nozzle_id="S01-N02",
        seq=1_788_235_200,
        start=datetime(2026, 9, 1, 3, 58, tzinfo=UTC),
        end=datetime(2026, 9, 1, 4, 0, tzinfo=UTC),
        volume_l=26.72,
        amount_cny=200.4,
        unit_price=7.5,
        totalizer_l=48231.15,
        totalizer_cny=9043341.0,
        raw=sale.raw,
        attributes={"transaction": "1001", "tc_volume_l": "26.65", "user_id": "1", "offline": "false"},
    )
    assert value(reading, "nozzle-2.totalizer") == 48231.15
    assert value(reading, "nozzle-2.sequence") == 1001


def test_a_filling_sent_again_is_the_same_record() -> None:
    first = only(brought("UploadPumpTransaction", SALE), Transaction)
    again = only(brought("UploadPumpTransaction", SALE | {"PumpTransactionsUploaded": 48}), Transaction)
    assert again == first


def test_numbers_that_each_nozzle_has_of_its_own() -> None:
    assert only(brought("UploadPumpTransaction", SALE, made(numbers="nozzle")), Transaction).seq == 1001


def test_a_filling_without_its_start_begins_when_it_ends() -> None:
    sale = only(brought("UploadPumpTransaction", {k: v for k, v in SALE.items() if k != "DateTimeStart"}), Transaction)
    assert sale.start == sale.end


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Nozzle": 3}, "nozzle 3 of pump 1"),
        ({"Pump": "1"}, "Pump is not a whole number"),
        ({"Volume": None}, "Volume is missing"),
        ({"Volume": -1}, "Volume is not a number that can be"),
        ({"Amount": 10**400}, "Amount is not a number that can be"),
        ({"DateTime": "2026-09-01 12:00:00"}, "DateTime is not a time"),
        ({"DateTime": "2026-02-30T12:00:00"}, "DateTime is no time of the calendar"),
        ({"DateTime": "0001-01-01T00:00:00"}, "DateTime is no time of the calendar"),
        ({"DateTime": "1969-01-01T00:00:00"}, "DateTime is before 1970"),
        ({"DateTime": "9999-12-31T00:00:00"}, "DateTime: 9999-12-30 16:00 UTC is to come; set the controller's clock"),
        ({"DateTime": "2026-09-02T12:01:00"}, "is to come"),
        ({"DateTimeStart": "2026-09-01T12:00:01"}, "DateTimeStart is after DateTime"),
        ({"Volume": 100_001}, "Volume is not a number that can be"),
        ({"Transaction": True}, "Transaction is not a whole number"),
        ({"Transaction": 65_536}, "Transaction is not a whole number"),
    ],
)
def test_a_filling_that_cannot_be_kept_is_not_confirmed(change: dict[str, Any], says: str) -> None:
    assert says in refused("UploadPumpTransaction", SALE | change)


def test_a_tank() -> None:
    reading = brought("UploadTankMeasurement", MEASUREMENT)
    assert only(reading, TankReading) == TankReading(
        "S01-T1",
        datetime(2026, 9, 1, 4, 0, tzinfo=UTC),
        2534.1,
        volume_l=18420.0,
        volume_20c_l=18351.0,
        water_mm=3.2,
        temperature_c=24.7,
        density_kg_m3=742.5,
    )
    assert value(reading, "tank-1.volume") == 18420.0
    assert value(reading, "tank-1.alarms") == "HighWater"
    assert "tank 3 is not in the server's configuration" in refused("UploadTankMeasurement", MEASUREMENT | {"Tank": 3})


def test_a_tank_without_a_height_is_no_reading() -> None:
    reading = brought("UploadTankMeasurement", {"DateTime": "2026-09-01T12:00:00", "Tank": 2, "Status": "ERROR"})
    assert not [record for record in reading.records if isinstance(record, TankReading)]
    assert {s.quality for s in reading.samples if s.tag.startswith("tank-2.") and s.tag != "tank-2.alarms"} == {
        Quality.BAD
    }


def test_a_delivery() -> None:
    reading = brought(
        "UploadInTankDelivery",
        {
            "Tank": 2,
            "StartValues": {"DateTime": "2026-09-01T02:00:00", "ProductVolume": 5000.5},
            "EndValues": {"DateTime": "2026-09-01T02:30:00", "ProductVolume": 15000},
            "AbsoluteValues": {"ProductVolume": 10050, "PumpsDispensedVolume": 50.5},
        },
    )
    assert only(reading, Delivery) == Delivery(
        "S01-T2",
        datetime(2026, 8, 31, 18, 0, tzinfo=UTC),
        received_l=9999.5,
        end=datetime(2026, 8, 31, 18, 30, tzinfo=UTC),
        attributes={"pumps_dispensed_l": "50.5"},
    )
    assert "StartValues or EndValues is missing" in refused("UploadInTankDelivery", {"Tank": 1})
    assert "EndValues.DateTime" in refused(
        "UploadInTankDelivery", {"Tank": 1, "StartValues": {"DateTime": "2026-09-01T02:00:00"}, "EndValues": {}}
    )


def test_an_alert() -> None:
    told = {"DateTime": "2026-09-01T12:00:00", "DeviceType": "Probe", "DeviceNumber": 2, "State": "Start", "Code": 7}
    assert only(brought("UploadAlertRecord", told), DeviceEvent) == DeviceEvent(
        datetime(2026, 9, 1, 4, 0, tzinfo=UTC),
        "S01",
        "PTS",
        EventKind.ALARM,
        {"code": "pts 7", "device_type": "Probe", "device_number": "2", "state": "Start"},
    )
    assert "Code is missing" in refused("UploadAlertRecord", {"DateTime": "2026-09-01T12:00:00"})


def test_the_present() -> None:
    reading = brought("UploadStatus", STATUS)
    states = {n: value(reading, f"nozzle-{n}.state") for n in (1, 2, 3)}
    assert states == {1: NozzleState.IDLE, 2: NozzleState.LIFTED, 3: NozzleState.FUELLING}
    assert value(reading, "nozzle-1.volume") == 12.5
    assert value(reading, "nozzle-3.volume") == 43.8
    assert value(reading, "nozzle-3.price") == 1.05
    assert value(reading, "tank-1.height") == 1000.0
    assert value(reading, "tank-1.volume_20c") == 19900
    assert value(reading, "clock_difference") == -2
    assert value(reading, "battery") == 3.023
    assert value(reading, "power_down") == 0
    offline = [sample for sample in reading.samples if sample.tag.startswith("tank-2.")]
    assert len(offline) == 8
    assert {sample.quality for sample in offline} == {Quality.NOT_CONNECTED}


def test_a_pump_that_is_out_has_no_state() -> None:
    reading = brought("UploadStatus", STATUS | {"Pumps": {"OfflineStatus": {"Ids": [1]}}})
    states = {s.tag: s.quality for s in reading.samples if s.tag.endswith(".state")}
    assert states == {"nozzle-1.state": Quality.NOT_CONNECTED, "nozzle-2.state": Quality.NOT_CONNECTED}


def test_who_it_is() -> None:
    headers = {
        "x-pts-id": PTS_ID,
        "x-pts-firmware-version-datetime": "2021-11-12T08:05:41",
        "x-pts-configuration-identifier": "747a3fe2",
    }
    one = packet("UploadConfiguration", {"a": 1, "b": [1, 2]})
    _, reading = call(made(), envelope(one), **headers)
    assert only(reading, DeviceIdentity) == DeviceIdentity(
        "S01", "S01-D1", NOW, serial=PTS_ID, firmware_version="2021-11-12T08:05:41"
    )
    assert value(reading, "identity.configuration") == "747a3fe2"
    digests = [
        value(brought("UploadConfiguration", data), "identity.configuration_digest")
        for data in ({"b": [1, 2], "a": 1}, {"a": 1, "b": [2, 1]})
    ]
    assert digests[0] == value(reading, "identity.configuration_digest")
    assert digests[1] != digests[0]
    _, alone = call(made(Site("S01", "PTS", None, SITE.nozzle_ids)), envelope(one), **headers)
    assert list(alone.records) == []


def test_what_comes_late_is_a_record_and_not_the_present() -> None:
    driver = made()
    later = MEASUREMENT | {"DateTime": "2026-09-01T11:00:00", "ProductHeight": 99.0}
    brought("UploadTankMeasurement", MEASUREMENT, driver)
    reading = brought("UploadTankMeasurement", later, driver)
    assert only(reading, TankReading).height_mm == 99.0
    assert not [sample for sample in reading.samples if sample.tag.startswith("tank-1.")]


def test_a_clock_that_was_ahead_holds_nothing_up() -> None:
    driver = made()
    ahead = brought("UploadTankMeasurement", MEASUREMENT | {"DateTime": "2026-09-01T23:00:00"}, driver)
    assert only(ahead, TankReading).at == NOW.replace(hour=15, minute=0, second=0)
    assert {sample.at for sample in ahead.samples} == {NOW}, "no older than the call, and no younger"
    answer, reading = call(driver, envelope(packet("UploadTankMeasurement", MEASUREMENT)), NOW - timedelta(seconds=10))
    assert answer.status == 200
    assert not [s for s in reading.samples if s.tag == "tank-1.height"], "older than the call that brought the future"
    fresh = MEASUREMENT | {"DateTime": "2026-09-01T12:00:10"}
    assert value(brought("UploadTankMeasurement", fresh, driver), "tank-1.height") == 2534.1


def test_a_controller_that_was_taken_over_brings_no_flood() -> None:
    """Each pump counts once a group, and what one call may bring is bounded."""
    places = [f"1/{number}" for number in range(1, 10)]
    driver = made(Site("S01", "PTS", None, tuple(f"S01-N{number:02}" for number in range(1, 10))), places=places)
    groups = ("IdleStatus", "FillingStatus", "EndOfTransactionStatus", "OfflineStatus")
    status = {"DateTime": "2026-09-01T12:00:00", "Pumps": {group: {"Ids": [1] * 100} for group in groups}}
    _, once = call(driver, envelope(packet("UploadStatus", status)))
    assert len([s for s in once.samples if s.tag.startswith("nozzle-")]) == len(groups) * 9
    answer, reading = call(driver, envelope(*[packet("UploadStatus", status, number) for number in range(700)]))
    assert MOST_SAMPLES <= len(reading.samples) < MOST_SAMPLES + 100
    said = [each["Message"] for each in json.loads(answer.body)["Packets"]]
    assert said[0] == "OK"
    assert said[-1] == f"more than {MOST_SAMPLES} values at once; send this again"
    crowd = {"DateTime": "2026-09-01T12:00:00", "Pumps": {"IdleStatus": {"Ids": [1] * 101}}}
    assert "not a list of at most 100" in refused("UploadStatus", crowd)


# ---------------------------------------------------------------- the envelope


def test_each_packet_has_an_answer_of_its_own() -> None:
    good, bad = packet("UploadPumpTransaction", SALE, 7), packet("UploadPumpTransaction", SALE | {"Pump": 9}, 8)
    other = packet("UploadGpsRecord", {}, 9)
    answer, reading = call(made(), envelope(bad, good, other))
    said = {
        each["Id"]: each.get("Message") if "Error" not in each else False for each in json.loads(answer.body)["Packets"]
    }
    assert said == {7: "OK", 8: False, 9: False}
    assert only(reading, Transaction).attributes["transaction"] == "1001"
    assert "switch it off" in json.loads(answer.body)["Packets"][2]["Message"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[]", "not an envelope"),
        (b'{"Protocol":"jsonPTS","Packets":[]}', "1 to 1000"),
        (b'{"Protocol":"jsonPTS","Packets":[1]}', "not an object"),
        (b'{"Protocol":"jsonPTS","Packets":[{"Id":1.5,"Type":"X"}]}', "Id"),
        (b'{"Protocol":"jsonPTS","Packets":[{"Id":1,"Type":"<b>"}]}', "Type"),
        (b'{"Protocol":"jsonPTS","PtsId":"xyz","Packets":[{"Id":1,"Type":"X"}]}', "PtsId"),
        (b'{"Protocol":"jsonPTS","Packets":[{"Id":NaN,"Type":"X"}]}', "not JSON"),
        (b'{"Protocol":"jsonPTS","Packets":[{"Id":' + b"9" * 5000 + b',"Type":"X"}]}', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"Protocol":"jsonPTS","Packets":' + b"[" * 100 + b"]" * 100 + b"}", "nested too deeply"),
    ],
)
def test_a_body_that_is_no_envelope(body: bytes, says: str) -> None:
    with pytest.raises(BadReply, match=says):
        call(made(), body)


def test_another_controller_is_not_taken_for_this_one() -> None:
    one = packet("UploadPumpTransaction", SALE)
    with pytest.raises(BadReply, match="not the one meant here"):
        call(made(pts_id="AAAA"), envelope(one))
    with pytest.raises(BadReply, match="not the one meant here"):
        call(made(), envelope(one), **{"x-pts-id": "AAAA"})
    answer, _ = call(made(pts_id=PTS_ID.lower()), envelope(one), **{"x-pts-id": PTS_ID})
    assert answer.status == 200


# ---------------------------------------------------------------- the driver


async def test_it_is_connected_while_it_calls() -> None:
    driver = made(silence_s=60)
    tags = driver.tags()
    assert await driver.read(tags, NOW) == Reading()
    brought("UploadStatus", STATUS, driver)
    assert await driver.read(tags, NOW + timedelta(seconds=60)) == Reading()
    with pytest.raises(NotReachable, match=r"no call since 2026-09-01 04:00 UTC.*POST /call/S01/PTS"):
        await driver.read(tags, NOW + timedelta(seconds=61))


async def test_who_never_calls_is_not_reachable() -> None:
    driver = made(silence_s=60)
    await driver.read((), NOW)
    with pytest.raises(NotReachable):
        await driver.read((), NOW + timedelta(seconds=61))


def test_every_sample_has_a_tag() -> None:
    driver = made()
    names = {tag.name for tag in driver.tags()}
    told = [brought("UploadStatus", STATUS), brought("UploadPumpTransaction", SALE)]
    told.append(brought("UploadTankMeasurement", MEASUREMENT))
    assert {sample.tag for reading in told for sample in reading.samples} <= names
    assert len(names) == len(driver.tags())


def test_bad_settings_are_explained() -> None:
    with pytest.raises(BadConfig, match="3 nozzles"):
        made(places=["1/1"])
    for wrong in ({"places": ["0/1", "1/1", "1/2"]}, {"places": ["1/1"] * 3}, {"password": "short"}, {"user": "a:b"}):
        with pytest.raises(ValidationError):
            made(**wrong)


def test_without_places_each_nozzle_is_a_pump() -> None:
    reading = brought("UploadPumpTransaction", SALE | {"Pump": 3, "Nozzle": 1}, made(places=None))
    assert only(reading, Transaction).nozzle_id == "S01-N03"


def test_nobody_else_is_called() -> None:
    class Other(PtsJsonDriver):
        called = PtsJsonDriver.__mro__[1].called  # type: ignore[assignment]

    line = ScriptedLine({})
    line.address = "call:"
    other = Other(PtsJsonSettings.model_validate(SETTINGS), SITE, line)
    with pytest.raises(Refused, match="not called"):
        call(other, b"")


# ---------------------------------------------------------------- hostile bodies

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        ["2026-09-01T12:00:00", "9999-12-31T23:59:59", "0001-01-01T00:00:00", 1, 2, 65535, 1e308, "\ud800"]
    )
)
INNER = "Ids Nozzles NozzlesUp Volumes Measurements StartValues EndValues AbsoluteValues IdleStatus FillingStatus"
MORE = "OfflineStatus OnlineStatus Code State"
NAMES = st.sampled_from([*SALE, *MEASUREMENT, *STATUS, *INNER.split(), *MORE.split()]) | st.text(max_size=8)
DATA = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=6))
UPLOADS = "PumpTransaction TankMeasurement InTankDelivery AlertRecord Status Configuration"
TYPES = st.sampled_from([f"Upload{name}" for name in UPLOADS.split()])
WHOLE = {"UploadPumpTransaction": SALE, "UploadTankMeasurement": MEASUREMENT, "UploadStatus": STATUS}


def taken(body: bytes) -> None:
    """A body is answered or called bad; what it brings can be written to disk."""
    driver = made()
    try:
        answer, reading = call(driver, body)
    except BadReply as error:
        assert str(error).isprintable()
        return
    assert answer.status == 200
    json.loads(answer.body)
    names = {tag.name for tag in driver.tags()}
    assert {sample.tag for sample in reading.samples} <= names
    samples = SampleBatch.pack("S01", "PTS", reading.samples)
    (back,) = decode(encode([Batch("S01", samples, tuple(reading.records), NOW)]), "test")  # type: ignore[arg-type]
    assert back.records == tuple(reading.records)


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    taken(body)


@given(TYPES, DATA, st.dictionaries(NAMES, DATA, max_size=4))
def test_any_data(kind: str, data: Any, change: dict[str, Any]) -> None:
    taken(envelope(packet(kind, data), packet(kind, WHOLE.get(kind, {}) | change)))


@given(
    st.dictionaries(st.sampled_from(["Protocol", "PtsId", "Packets"]), DATA), st.dictionaries(NAMES, DATA, max_size=3)
)
def test_any_envelope(more: dict[str, Any], extra: dict[str, Any]) -> None:
    taken(envelope(packet("UploadStatus", STATUS) | extra, **more))


@given(st.data())
def test_any_cut(data: st.DataObject) -> None:
    body = envelope(packet("UploadPumpTransaction", SALE), packet("UploadStatus", STATUS))
    start = data.draw(st.integers(0, len(body)))
    taken(body[:start] + data.draw(st.binary(max_size=4)) + body[start + data.draw(st.integers(0, 4)) :])
