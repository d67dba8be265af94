"""The Modbus driver on a simulated device: what it asks, what it reports, and what becomes of sales in hard times."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch import (
    BadConfig,
    BadReply,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    NotReachable,
    PumpwatchError,
    Quality,
    Refused,
    ScanClass,
    Site,
    Tag,
    Transaction,
)
from pumpwatch.testing import ScriptedLine
from pumpwatch_modbus import ModbusDriver, ModbusSettings


def fast(driver: ModbusDriver) -> list[Tag]:
    return [tag for tag in driver.tags() if tag.scan is ScanClass.FAST]


async def sales(driver: ModbusDriver, now: datetime) -> list[tuple[str, int]]:
    """(nozzle, seq) of the fillings one read returns."""
    records = (await driver.read(fast(driver), now)).records
    return [(r.nozzle_id, r.seq) for r in records if isinstance(r, Transaction)]


# ---------------------------------------------------------------- values


async def test_live_values(device, driver, now, values_of) -> None:
    device.live(1, state=2, volume=2051, totalizer=123_456_789)
    device.put(50, (1_790_000_000).to_bytes(4, "big"))
    samples = await values_of(driver, now)
    assert {name: samples[f"nozzle-1.{name}"].value for name in ("state", "volume", "amount", "flow", "price")} == {
        "state": 2,
        "volume": 20.51,
        "amount": 41.02,
        "flow": 30.5,
        "price": 8.12,
    }
    assert samples["nozzle-1.totalizer"].value == 1_234_567.89
    assert samples["nozzle-1.sequence"].value == 0
    assert samples["clock"].value == 1_790_000_000
    assert samples.keys() == {tag.name for tag in driver.tags()}
    assert all(s.at == now and s.quality is Quality.GOOD for s in samples.values())


async def test_a_scan_is_the_fewest_requests(device, driver, now) -> None:
    await driver.read(fast(driver), now)
    assert device.reads == [(100, 78)]
    device.reads.clear()
    await driver.read(driver.tags(), now)
    assert device.reads == [(0, 84), (100, 78)]


async def test_only_configured_nozzles_are_read(device, now, new_device) -> None:
    for n in range(1, 5):
        device.live(n, seq=1)
        device.sale(n, 1)
    site = Site("S01", "D1", "S01-D1", ("S01-N05", "S01-N06"))
    driver = ModbusDriver(ModbusSettings(brand="generic-4", unit=1), site, ScriptedLine(device.answer))
    assert await sales(driver, now) == [("S01-N05", 1), ("S01-N06", 1)]
    assert device.reads[0] == (100, 38)


async def test_a_state_that_does_not_exist_is_out_of_range(device, driver, now, values_of) -> None:
    device.live(2, state=9)
    samples = await values_of(driver, now, "nozzle-2.state")
    assert (samples["nozzle-2.state"].value, samples["nozzle-2.state"].quality) == (9, Quality.OUT_OF_RANGE)


async def test_settings_override_the_map(new_device, site, now, values_of) -> None:
    device = new_device(unit=9, blocks=((1000, 1711),))
    device.put(1102, bytes.fromhex("0308 0000"))  # 2051 with low word and low byte first is 03 08 00 00
    line = ScriptedLine(device.answer)
    given = ModbusSettings(
        brand="generic-4", unit=9, word_order="low_first", byte_order="low_first", base_offset=1000, max_registers=40
    )
    driver = ModbusDriver(given, site, line)
    samples = await values_of(driver, now, "nozzle-1.volume")
    assert samples["nozzle-1.volume"].value == 20.51
    assert all(first >= 1000 and count <= 40 for first, count in device.reads)


async def test_a_tag_that_is_not_there(driver, now) -> None:
    with pytest.raises(BadConfig, match=r"no tag 'nozzle-9\.volume' in 'Generic four-nozzle dispenser'"):
        await driver.read([Tag("nozzle-9.volume")], now)


async def test_any_combination_of_tags_is_answered(device, driver, now) -> None:
    """More combinations than plans are remembered."""
    tags = driver.tags()
    for i in range(100):
        wanted = [tags[i % len(tags)], tags[i * 7 % len(tags)]]
        reading = await driver.read(wanted, now)
        assert {tag.name for tag in wanted} <= {sample.tag for sample in reading.samples}


# ---------------------------------------------------------------- failures


async def test_one_refused_read_leaves_the_others(device, driver, now, values_of) -> None:
    device.fails = lambda first, count: 2 if first < 84 else None
    samples = await values_of(driver, now)
    assert samples["identity.serial"].quality is Quality.REFUSED and samples["identity.serial"].value is None
    assert samples["nozzle-1.volume"].quality is Quality.GOOD


async def test_everything_refused_is_an_error(device, driver, now) -> None:
    device.fails = lambda first, count: 2
    with pytest.raises(Refused, match=r"unit 1, registers 0–83: .*exception 2"):
        await driver.read(driver.tags(), now)
    device.fails = lambda first, count: 11
    with pytest.raises(NotReachable, match="exception 11"):
        await driver.read(driver.tags(), now)


async def test_a_broken_line_is_not_reachable(driver, now) -> None:
    driver.line.broken = True
    with pytest.raises(NotReachable):
        await driver.read(driver.tags(), now)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(["tcp", "rtu"]))
def test_rubbish_on_the_line_never_does_more_than_complain(data: st.DataObject, framing: str) -> None:
    async def read() -> None:
        line = ScriptedLine(lambda request: data.draw(st.binary(max_size=300)), chunk=data.draw(st.integers(1, 64)))
        site = Site("S01", "D1", "S01-D1", ("S01-N01",))
        driver = ModbusDriver(ModbusSettings(brand="generic-4", unit=1, framing=framing), site, line)
        await driver.read(driver.tags(), datetime(2026, 11, 22, tzinfo=UTC))

    async def with_deadline() -> None:
        task = asyncio.ensure_future(read())
        for _ in range(20):  # a scripted line that has nothing more to say waits for ever
            await asyncio.sleep(0)
        if not task.done():
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        except PumpwatchError as error:
            assert isinstance(error, BadReply | Refused | NotReachable)

    asyncio.run(with_deadline())


# ---------------------------------------------------------------- sales


async def test_a_filling_with_all_it_says(device, driver, now) -> None:
    device.live(2, seq=5)
    raw = device.sale(2, 5)
    (sale,) = [r for r in (await driver.read(fast(driver), now)).records if isinstance(r, Transaction) and r.seq == 5]
    assert sale == Transaction(
        nozzle_id="S01-N02",
        seq=5,
        start=datetime.fromtimestamp(1_785_000_500, UTC),
        end=datetime.fromtimestamp(1_785_000_560, UTC),
        volume_l=20.51,
        amount_cny=166.54,
        unit_price=8.12,
        totalizer_l=1_234_567.89,
        totalizer_cny=987_654_321.0,
        encoder_l=20.51,
        encoder_pulses=2051,
        tax_l=20.5,
        tax_cny=166.46,
        payment="mobile",
        preset_kind="money",
        preset_value=200.0,
        raw=raw,
    )


async def test_what_a_filling_lacks_is_none(device, driver, now) -> None:
    device.live(1, seq=1)
    device.sale(1, 1, payment=0, preset=0, preset_value=777, tax=0xFFFFFFFF, tax_amount=0xFFFFFFFF)
    (sale,) = (await driver.read(fast(driver), now)).records
    assert (sale.payment, sale.preset_kind, sale.preset_value, sale.tax_l, sale.tax_cny) == (None,) * 5
    device.live(1, seq=2)
    device.sale(1, 2, payment=9)
    (sale,) = (await driver.read(fast(driver), now)).records
    assert sale.payment == "9"


async def test_the_pulse_equivalent_makes_the_encoders_litres(device, driver, now) -> None:
    device.live(1, seq=1)
    device.sale(1, 1, pulses=1850, pulse=105)
    (sale,) = (await driver.read(fast(driver), now)).records
    assert (sale.encoder_pulses, sale.encoder_l) == (1850, 19.425)


async def test_the_first_read_takes_the_whole_memory(device, driver, now) -> None:
    for n, last in ((1, 10), (2, 2), (3, 0)):
        device.live(n, seq=last)
        for seq in range(max(1, last - 3), last + 1):
            device.sale(n, seq)
    expected = [("S01-N01", s) for s in (7, 8, 9, 10)] + [("S01-N02", s) for s in (1, 2)]
    assert await sales(driver, now) == expected
    assert await sales(driver, now) == []
    assert device.reads[1:] == [(200, 96), (296, 96), (392, 32), (100, 78)]


@pytest.mark.parametrize(("moved", "told"), [(1, [11]), (2, [11, 12]), (4, [11, 12, 13, 14]), (9, [16, 17, 18, 19])])
async def test_a_sequence_that_has_moved(device, driver, now, moved, told) -> None:
    device.live(1, seq=10)
    await sales(driver, now)
    for seq in range(11, 11 + moved):
        device.sale(1, seq)
    device.live(1, seq=10 + moved)
    assert await sales(driver, now) == [("S01-N01", seq) for seq in told]
    assert await sales(driver, now) == []


async def test_numbers_that_begin_anew_lose_no_sale(device, driver, now) -> None:
    last = 2**32 - 1
    device.live(1, seq=last - 1)
    await sales(driver, now)
    for shown, new, told in ((last, [last], [last]), (1, [0, 1], [0, 1]), (3, [2, 3], [2, 3])):
        for seq in new:
            device.sale(1, seq, start=1_785_000_000, end=1_785_000_060)
        device.live(1, seq=shown)
        assert await sales(driver, now) == [("S01-N01", seq) for seq in told]


async def test_numbers_that_begin_anew_keep_what_is_owed(device, driver, now) -> None:
    last = 2**32 - 1
    device.live(1, seq=last - 2)
    await sales(driver, now)
    device.live(1, seq=last)
    assert await sales(driver, now) == [], "the slots are written later"
    for seq in (last - 1, last, 0):
        device.sale(1, seq, start=1_785_000_000, end=1_785_000_060)
    device.live(1, seq=0)
    assert await sales(driver, now) == [("S01-N01", seq) for seq in (last - 1, last, 0)]


async def test_a_sale_is_seen_whatever_tags_are_due(device, driver, now) -> None:
    device.live(1, seq=1)
    device.sale(1, 1)
    slow = [tag for tag in driver.tags() if tag.name == "identity.serial"]
    assert any(isinstance(r, Transaction) for r in (await driver.read(slow, now)).records)


async def test_a_slot_being_overwritten_is_tried_again(device, driver, now) -> None:
    device.live(1, seq=3)
    for seq in (1, 2, 3):
        device.sale(1, seq)
    device.sale(1, 6, at_seq=2)  # a newer sale has begun to take the place of the second
    assert await sales(driver, now) == [("S01-N01", 1), ("S01-N01", 3)]
    device.sale(1, 2)
    assert await sales(driver, now) == [("S01-N01", 2)]
    assert await sales(driver, now) == []


async def test_a_sale_that_is_overwritten_for_good_is_given_up(device, driver, now) -> None:
    device.live(1, seq=4)
    for seq in (2, 3, 4, 5):
        device.sale(1, seq)  # 5 stands where 1 was, and its number has not moved yet
    assert await sales(driver, now) == [("S01-N01", s) for s in (2, 3, 4)]
    device.live(1, seq=5)
    assert await sales(driver, now) == [("S01-N01", 5)]
    device.reads.clear()
    assert await sales(driver, now) == []
    assert device.reads == [(100, 78)]


async def test_an_empty_slot_is_not_asked_for_ever(device, driver, now) -> None:
    device.live(1, seq=1)
    for _ in range(20):
        assert await sales(driver, now) == []
    assert len(device.reads) == 20 + 5


async def test_a_sequence_that_goes_back_is_a_new_memory(device, driver, now) -> None:
    device.live(1, seq=1000)
    device.sale(1, 1000)
    assert await sales(driver, now) == [("S01-N01", 1000)]
    device.sale(1, 1)
    device.sale(1, 2)
    device.live(1, seq=2)
    assert await sales(driver, now) == [("S01-N01", 1), ("S01-N01", 2)]


async def test_an_exchange_cut_short_loses_no_sale(device, driver, now) -> None:
    for n in (1, 2, 3, 4):
        device.live(n, seq=4)
        for seq in (1, 2, 3, 4):
            device.sale(n, seq)
    told: list[tuple[str, int]] = []
    answer = driver.line._replies
    for allowed in (0, 1, 3, 3, 9):
        left = [allowed]

        def reply(request: bytes, left: list[int] = left) -> bytes | None:
            left[0] -= 1
            return answer(request) if left[0] >= 0 else None

        driver.line._replies = reply
        try:
            async with asyncio.timeout(0.02):
                told += await sales(driver, now)
        except TimeoutError:
            assert allowed != 9
    assert told == [(f"S01-N{n:02d}", seq) for n in (1, 2, 3, 4) for seq in (1, 2, 3, 4)]


async def test_a_memory_that_is_refused_shows_in_the_sequence(device, driver, now) -> None:
    device.live(1, seq=1)
    device.live(2, seq=1)
    device.sale(1, 1)
    device.sale(2, 1)
    device.fails = lambda first, count: 2 if first == 360 else None
    reading = await driver.read(fast(driver), now)
    quality = {s.tag: (s.value, s.quality) for s in reading.samples if s.tag.endswith("sequence")}
    assert quality["nozzle-1.sequence"] == (1, Quality.GOOD)
    assert quality["nozzle-2.sequence"] == (1, Quality.REFUSED)
    assert [r.nozzle_id for r in reading.records] == ["S01-N01"]
    device.fails = lambda first, count: None
    assert await sales(driver, now) == [("S01-N02", 1)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(1, 2), st.integers(0, 3), st.booleans()), min_size=1, max_size=25))
def test_every_sale_is_told_once_while_the_memory_holds_it(steps: list[tuple[int, int, bool]], new_device) -> None:
    """Sales happen at random and some reads fail: nothing that the slots still held is missed or told twice."""

    async def run() -> None:
        device, now = new_device(), datetime(2026, 11, 22, tzinfo=UTC)
        site = Site("S01", "D1", "S01-D1", ("S01-N01", "S01-N02"))
        driver = ModbusDriver(ModbusSettings(brand="generic-4", unit=1), site, ScriptedLine(device.answer))
        last, owed = {1: 0, 2: 0}, {1: [], 2: []}
        for nozzle, count, works in steps:
            for _ in range(count):
                last[nozzle] += 1
                device.sale(nozzle, last[nozzle])
                owed[nozzle].append(last[nozzle])
            device.live(nozzle, seq=last[nozzle])
            device.fails = (lambda first, size: None) if works else (lambda first, size: 4)
            try:
                told = await sales(driver, now)
            except Refused:
                assert not works
                continue
            expected = [(f"S01-N{n:02d}", seq) for n in (1, 2) for seq in owed[n][-4:]]
            assert told == expected
            owed = {1: [], 2: []}

    asyncio.run(run())


# ---------------------------------------------------------------- identity and events


async def records_of(driver: ModbusDriver, now: datetime, kind: type) -> list:
    return [r for r in (await driver.read(driver.tags(), now)).records if isinstance(r, kind)]


async def test_the_identity_is_told_once_and_when_it_changes_and_hourly(device, driver, now) -> None:
    device.put(2, b"GD4-000123".ljust(16, b"\0"))
    device.put(26, bytes(range(32)))
    device.put(60, b"ENC-2".ljust(16, b"\0"))
    (identity,) = await records_of(driver, now, DeviceIdentity)
    assert identity == DeviceIdentity(
        station_id="S01",
        dispenser_id="S01-D1",
        at=now,
        serial="GD4-000123",
        firmware_digest=bytes(range(32)).hex(),
        encoder_serials={"S01-N02": "ENC-2"},
    )
    assert await records_of(driver, now + timedelta(seconds=30), DeviceIdentity) == []
    device.put(26, bytes(32))
    later = now + timedelta(seconds=60)
    (changed,) = await records_of(driver, later, DeviceIdentity)
    assert (changed.firmware_digest, changed.at) == ("00" * 32, later)
    assert await records_of(driver, later + timedelta(minutes=59), DeviceIdentity) == []
    assert len(await records_of(driver, later + timedelta(minutes=60), DeviceIdentity)) == 1


async def test_no_identity_without_a_dispenser_or_without_its_tags(device, driver, now) -> None:
    assert not (await driver.read(fast(driver), now)).records
    site = Site("S01", "D1", None, ("S01-N01",))
    nameless = ModbusDriver(ModbusSettings(brand="generic-4", unit=1), site, ScriptedLine(device.answer))
    assert await records_of(nameless, now, DeviceIdentity) == []


async def test_cover_and_lock_are_events(device, driver, now) -> None:
    assert await records_of(driver, now, DeviceEvent) == []
    device.registers[1] = 0b11
    events = await records_of(driver, now, DeviceEvent)
    assert [(e.kind, e.device_id, dict(e.detail)) for e in events] == [
        (EventKind.COVER, "D1", {"open": True}),
        (EventKind.LOCK, "D1", {"locked": True}),
    ]
    assert await records_of(driver, now, DeviceEvent) == []
    device.registers[1] = 0b10
    (event,) = await records_of(driver, now, DeviceEvent)
    assert (event.kind, dict(event.detail)) == (EventKind.COVER, {"open": False})
