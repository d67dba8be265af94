"""Fillings that several devices see are joined: every one of a thousand, in whatever order they come."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch import (
    CHANNEL_ABSENT,
    CHANNEL_DIFFERS,
    CHANNEL_UNHEARD,
    CHANNEL_UNMATCHED,
    ChannelHeard,
    ChannelSale,
    DeviceEvent,
    Record,
    SalePart,
    Site,
    Transaction,
    is_unheard,
)
from pumpwatch.acquisition import aligning
from pumpwatch.acquisition.aligning import LATE_S, SETTLE_S
from pumpwatch.acquisition.joining import ALONE_S, HELD_S, KEPT, OPEN, PATIENCE_S, Joining
from pumpwatch.testing import FakeClock

START = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOZZLES = tuple(f"S01-N{n:02d}" for n in range(1, 7))
PUMPS = Site("S01", "D1", "S01-D1", NOZZLES)
TAX = Site("S01", "TAX1", "S01-D1", NOZZLES)
PULSES = Site("S01", "ENC1", "S01-D1", NOZZLES)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@dataclass
class Bench:
    """A joining, its clock, and what it has passed on."""

    joining: Joining
    clock: FakeClock
    records: list[Record] = field(default_factory=list)
    scanned: tuple[Site, ...] = ()
    """Devices that are read each second."""

    def tell(self, site: Site, *records: Record | SalePart, wait: bool = True) -> list[Record]:
        news = self.joining.take(site, records, wait=wait)
        self.records += news
        return news

    def to(self, at: datetime) -> list[Record]:
        """By three seconds to this moment."""
        news: list[Record] = []
        while self.clock.now() < at:
            step = min(seconds(3), at - self.clock.now())
            self.clock._now += step
            self.clock._elapsed += step.total_seconds()
            for site in self.scanned:
                news += self.joining.take(site, ())
            for records in self.joining.pass_on().values():
                news += records
        self.records += news
        return news

    def pass_time(self, count: float) -> list[Record]:
        return self.to(self.clock.now() + seconds(count))

    @property
    def sales(self) -> dict[tuple[str, int, datetime], Transaction]:
        """All that history knows: a later telling only fills in."""
        known: dict[tuple[str, int, datetime], Transaction] = {}
        for record in self.records:
            if isinstance(record, Transaction):
                first = known.get(record.key, record)
                for name in ("tax_l", "tax_cny", "encoder_l", "encoder_pulses"):
                    old, new = getattr(first, name), getattr(record, name)
                    assert old is None or old == new, f"{name} of {record.key} was told otherwise"
                known[record.key] = record
        return known

    def events(self, code: str) -> list[DeviceEvent]:
        return [r for r in self.records if isinstance(r, DeviceEvent) and r.detail.get("code") == code]


def bench(*channels: Any, display: bool = True) -> Bench:
    """Pumps, a tax port and an encoder tap, or only some of them."""
    clock = FakeClock(START)
    devices = [(TAX, frozenset({"tax"})), (PULSES, frozenset({"encoder"}))]
    wanted = [each for each in devices if each[1] & set(channels or ("tax", "encoder"))]
    return Bench(Joining(([(PUMPS, frozenset())] if display else []) + wanted, clock), clock)  # type: ignore[arg-type]


def filling(seq: int, end: datetime, litres: float = 30.0, nozzle: str = NOZZLES[0], **more: Any) -> Transaction:
    facts = {"amount_cny": round(litres * 8, 2), "unit_price": 8.0} | more
    return Transaction(nozzle, seq, end - MINUTE, end, litres, **facts)


def taxed(sale: Transaction, *, ahead: float = 0.0, at: datetime | None = None, **more: Any) -> ChannelSale:
    """Its tax record: a clock that tells minutes and is so many seconds ahead."""
    stamp = (at or sale.end) + seconds(ahead)
    facts: dict[str, Any] = {
        "volume_l": sale.volume_l,
        "amount_cny": sale.amount_cny,
        "unit_price": sale.unit_price,
        "at_resolution_s": 60.0,
    }
    return ChannelSale(sale.nozzle_id, stamp.replace(second=0, microsecond=0), "tax", **(facts | more))


def pulsed(sale: Transaction, *, ahead: float = 0.0, **more: Any) -> ChannelSale:
    facts: dict[str, Any] = {"volume_l": sale.volume_l, "pulses": round(sale.volume_l * 100)}
    return ChannelSale(sale.nozzle_id, sale.end + seconds(ahead), "encoder", **(facts | more))


def heard(until: datetime, since: datetime = START, nozzle: str = NOZZLES[0]) -> ChannelHeard:
    return ChannelHeard(nozzle, "tax", since, until)


# ---------------------------------------------------------------- a thousand fillings


def make_sales(rng: random.Random, count: int) -> list[Transaction]:
    """Fillings of several nozzles as a busy day has them, some equal in a row: the same preset at the same price."""
    sales: list[Transaction] = []
    ends = dict.fromkeys(NOZZLES, START + 5 * MINUTE)
    litres = dict.fromkeys(NOZZLES, 30.0)
    for seq in range(1, count + 1):
        nozzle = rng.choice(NOZZLES)
        if rng.random() > 0.15:
            litres[nozzle] = rng.choice([20.0, 25.0, round(rng.uniform(3, 60), 2)])
        ends[nozzle] += seconds(rng.uniform(70, 420))
        sales.append(filling(seq, ends[nozzle].replace(microsecond=0), litres[nozzle], nozzle))
    return sales


def mark(value: float, seq: int) -> float:
    """So little that it is no difference, and tells whose it is."""
    return value + seq * 1e-7


def play(
    rng: random.Random, count: int, delay_s: float, *, live: bool, gaps: float, less: float = 0.0, hung_s: float = 3.0
) -> tuple[Bench, list[Any], set[Any]]:
    """Tell a day; returns what the joining made of it, the fillings, and (channel, seq) of the parts that were lost."""
    rig, sales = bench(), make_sales(rng, count)
    rig.scanned = (PUMPS, TAX, PULSES) if live else ()
    lost: set[tuple[str, int]] = set()
    told: list[tuple[datetime, int, Site, Record | SalePart]] = []

    def add(at: datetime, site: Site, record: Record | SalePart) -> None:
        for again in range(2 if rng.random() < 0.05 else 1):
            told.append((at + seconds(again * rng.uniform(0, 60)), len(told), site, record))

    for sale in sales:
        add(sale.end + seconds(rng.uniform(0, delay_s if not live else hung_s)), PUMPS, sale)
        for channel, site in (("tax", TAX), ("encoder", PULSES)):
            if rng.random() < gaps:
                lost.add((channel, sale.seq))
                continue
            at = sale.end + seconds(rng.uniform(1, delay_s))
            more = {"seen_after": min(sale.end, at - seconds(8))} if live else {}
            if channel == "tax":
                litres = round(0.88 * sale.volume_l, 2) if rng.random() < less else sale.volume_l
                amount = mark(round(8 * litres, 2), sale.seq)
                part = taxed(sale, ahead=431.0, volume_l=litres, amount_cny=amount, **more)
            else:
                part = pulsed(sale, ahead=-17.0, pulses=sale.seq, **more)
            add(at, site, part)
    for at, _, site, record in sorted(told, key=lambda each: each[:2]):
        rig.to(max(at, rig.clock.now()))
        rig.tell(site, record)
    rig.pass_time(2 * LATE_S)
    return rig, sales, lost


def check(rig: Bench, sales: Sequence[Transaction], lost: set[Any]) -> None:
    known = rig.sales
    assert known.keys() == {sale.key for sale in sales}
    for sale in sales:
        joined = known[sale.key]
        if ("tax", sale.seq) in lost:
            assert joined.tax_l is None
        else:
            assert joined.tax_l == sale.volume_l
            assert joined.tax_cny == mark(sale.amount_cny, sale.seq), "its own record and not its neighbour's"
        assert joined.encoder_pulses == (None if ("encoder", sale.seq) in lost else sale.seq)


@pytest.mark.parametrize(("delay_s", "live"), [(20.0, True), (45.0, True), (240.0, False)], ids=str)
def test_every_one_of_a_thousand_fillings_gets_its_own_parts(delay_s: float, live: bool) -> None:
    """Arrival is shuffled, one in twenty is told twice, one part in twenty is lost, both clocks are wrong."""
    rig, sales, lost = play(random.Random(1), 1_000, delay_s, live=live, gaps=0.05)
    check(rig, sales, lost)


def test_other_figures_are_joined_by_their_time() -> None:
    """A third of the tax records say 12 % less, and displays end a filling when the nozzle is hung up."""
    rig, sales, lost = play(random.Random(1), 300, 20.0, live=True, gaps=0.1, less=0.3, hung_s=20.0)
    for sale in sales:
        joined = rig.sales[sale.key]
        if ("tax", sale.seq) in lost:
            assert joined.tax_cny is None
        else:
            assert joined.tax_cny is not None
            assert round(joined.tax_cny * 1e7) % 100_000 == sale.seq
    assert 60 <= sum(rig.sales[sale.key].tax_l not in (None, sale.volume_l) for sale in sales) <= 120


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.sampled_from([15.0, 60.0]), st.booleans(), st.sampled_from([0.0, 0.3]))
def test_a_join_is_never_wrong(seed: int, delay_s: float, live: bool, gaps: float) -> None:
    rig, sales, _ = play(random.Random(seed), 60, delay_s, live=live, gaps=gaps)
    for sale in sales:
        joined = rig.sales[sale.key]
        assert joined.tax_cny in (None, mark(sale.amount_cny, sale.seq))
        assert joined.encoder_pulses in (None, sale.seq)


# ---------------------------------------------------------------- one filling


def rig_of(*channels: str) -> Bench:
    """Devices that have been read well for five minutes."""
    rig = bench(*channels)
    rig.scanned = (PUMPS, TAX, PULSES)
    for _ in range(60):
        rig.pass_time(5)
        rig.tell(TAX, heard(rig.clock.now()))
    return rig


def test_a_filling_waits_for_its_channel_and_comes_once() -> None:
    rig = rig_of("tax")
    end = rig.clock.now()
    sale = filling(1, end)
    assert rig.tell(PUMPS, sale) == []
    rig.pass_time(9)
    (joined,) = rig.tell(TAX, taxed(sale, seen_after=end - seconds(3)))
    assert isinstance(joined, Transaction)
    assert (joined.key, joined.tax_l, joined.tax_cny) == (sale.key, 30.0, 240.0)
    assert rig.pass_time(HELD_S) == []


def test_a_channel_that_comes_first_waits_for_the_display() -> None:
    rig = rig_of("tax")
    end = rig.clock.now()
    sale = filling(1, end)
    assert rig.tell(TAX, taxed(sale, seen_after=end - seconds(9))) == []
    rig.pass_time(6)
    (joined,) = rig.tell(PUMPS, sale)
    assert isinstance(joined, Transaction)
    assert joined.tax_l == 30.0


def test_without_other_devices_nothing_waits_and_without_a_display_nothing_is_said() -> None:
    clock = FakeClock(START)
    alone = Joining([(PUMPS, frozenset())], clock)
    sale, other = filling(1, START), filling(2, START, nozzle="S02-N01")
    assert not alone.is_needed
    assert alone.take(PUMPS, [sale]) == [sale]
    assert rig_of("tax").tell(PUMPS, other) == [other], "a nozzle that no tax port sees"
    blind = bench("tax", display=False)
    assert blind.tell(TAX, taxed(sale), heard(START)) == []
    assert blind.pass_time(2 * HELD_S) == []


def test_a_filling_that_the_channel_surely_has_not_is_passed_on_without_a_word() -> None:
    rig = rig_of("tax")
    sale = filling(1, rig.clock.now())
    rig.tell(PUMPS, sale)
    rig.pass_time(9)
    assert rig.tell(TAX, heard(rig.clock.now())) == [], "it may be written down a moment later"
    rig.pass_time(6)
    assert rig.tell(TAX, heard(rig.clock.now())) == [sale]
    assert not is_unheard(rig.events(CHANNEL_UNHEARD), sale, "tax")


def test_a_filling_whose_channel_says_nothing_is_passed_on_after_its_patience_and_completed_later() -> None:
    rig = rig_of("tax")
    end = rig.clock.now()
    sale = filling(1, end)
    rig.tell(PUMPS, sale)
    news = rig.pass_time(PATIENCE_S + 5)
    assert sale in news
    assert is_unheard(rig.events(CHANNEL_UNHEARD), sale, "tax")
    (whole,) = rig.tell(TAX, taxed(sale, seen_after=end - seconds(3)))
    assert isinstance(whole, Transaction)
    assert (whole.key, whole.tax_l) == (sale.key, 30.0)


def test_what_was_not_heard_and_is_absent_after_all_is_told() -> None:
    rig = rig_of("tax")
    sale = filling(1, rig.clock.now())
    rig.tell(PUMPS, sale)
    rig.pass_time(PATIENCE_S + 5)
    assert is_unheard(rig.events(CHANNEL_UNHEARD), sale, "tax")
    (event,) = rig.tell(TAX, heard(rig.clock.now()))
    assert isinstance(event, DeviceEvent)
    assert event.detail["code"] == CHANNEL_ABSENT
    assert not is_unheard([*rig.events(CHANNEL_UNHEARD), event], sale, "tax")
    assert is_unheard(rig.events(CHANNEL_UNHEARD), filling(1, sale.end, nozzle=NOZZLES[1]), "tax") is False


def test_nobody_waits_for_a_device_that_is_not_there() -> None:
    rig = rig_of("tax")
    rig.joining.lost(TAX)
    sale = filling(1, rig.clock.now())
    assert sale in rig.tell(PUMPS, sale)
    assert is_unheard(rig.events(CHANNEL_UNHEARD), sale, "tax")


def test_before_the_channel_was_first_heard_nothing_is_surely_absent() -> None:
    rig = bench("tax")
    rig.scanned = (PUMPS, TAX)
    old = [filling(seq, START - seq * 5 * MINUTE) for seq in (4, 3, 2, 1)]
    rig.tell(PUMPS, *old)
    for _ in range(30):
        rig.tell(TAX, heard(rig.clock.now()))
        rig.pass_time(5)
    assert rig.events(CHANNEL_ABSENT) == []
    assert all(is_unheard(rig.events(CHANNEL_UNHEARD), sale, "tax") for sale in old)


def test_a_tax_record_without_a_display_is_told_once() -> None:
    rig = rig_of("tax")
    end = rig.clock.now()
    secret = taxed(filling(9, end, 12.5), seen_after=end - seconds(9))
    rig.tell(TAX, secret)
    rig.pass_time(ALONE_S + 6)
    rig.tell(TAX, secret)
    rig.pass_time(HELD_S)
    (event,) = rig.events(CHANNEL_UNMATCHED)
    assert (event.device_id, event.at) == (NOZZLES[0], secret.at)
    assert event.detail["display_heard"] is True
    assert (event.detail["channel"], event.detail["volume_l"]) == ("tax", 12.5)


def test_while_the_pump_is_not_read_its_fillings_are_waited_for() -> None:
    rig = rig_of("tax")
    rig.joining.lost(PUMPS)
    rig.scanned = (TAX,)
    end = rig.clock.now()
    sale = filling(1, end)
    rig.tell(TAX, taxed(sale, seen_after=end - seconds(9)))
    rig.pass_time(HELD_S / 2)
    assert rig.events(CHANNEL_UNMATCHED) == []
    rig.pass_time(HELD_S)
    (event,) = rig.events(CHANNEL_UNMATCHED)
    assert event.detail["display_heard"] is False


@pytest.mark.parametrize("litres", [27.0, 15.5])
def test_another_volume_at_the_same_time_is_the_same_filling(litres: float) -> None:
    """That they differ is what the rules are there for."""
    rig = rig_of("tax")
    end = rig.clock.now()
    sale = filling(1, end)
    rig.tell(PUMPS, sale)
    rig.pass_time(6)
    less = taxed(sale, volume_l=litres, amount_cny=litres * 8, seen_after=end - seconds(9))
    assert rig.tell(TAX, less) == [], "a better one may come"
    rig.pass_time(PATIENCE_S)
    assert [record.tax_l for record in rig.sales.values()] == [litres]
    assert not rig.events(CHANNEL_UNHEARD)


def test_of_three_equal_fillings_the_second_lost_its_record() -> None:
    rig = rig_of("tax")
    sales = []
    for seq in (1, 2, 3):
        end = rig.clock.now()
        sales.append(filling(seq, end, 25.0))
        rig.tell(PUMPS, sales[-1])
        rig.pass_time(9)
        if seq != 2:
            part = taxed(sales[-1], amount_cny=mark(200.0, seq), seen_after=end - seconds(6))
            rig.tell(TAX, part)
        rig.tell(TAX, heard(rig.clock.now()))
        rig.pass_time(60)
    rig.tell(TAX, heard(rig.clock.now()))
    rig.pass_time(SETTLE_S)
    told = [rig.sales[sale.key].tax_cny for sale in sales]
    assert told == [mark(200.0, 1), None, mark(200.0, 3)]


def test_the_dispensers_own_word_of_a_channel_stands_and_a_difference_is_told() -> None:
    rig = rig_of("tax")
    end = rig.clock.now()
    sale = filling(1, end, tax_l=30.0, tax_cny=240.0)
    assert rig.tell(PUMPS, sale) == [sale]
    rig.tell(TAX, taxed(sale, volume_l=26.0, amount_cny=208.0, seen_after=end - seconds(6)))
    rig.pass_time(SETTLE_S + 6)
    (event,) = rig.events(CHANNEL_DIFFERS)
    assert (event.detail["told_l"], event.detail["recorded_l"], event.detail["seq"]) == (30.0, 26.0, 1)
    assert rig.sales[sale.key].tax_l == 30.0


def test_a_sum_is_never_shared_out() -> None:
    """After an outage the totals tell what two fillings were together; neither is said to lack its record."""
    rig = rig_of("tax")
    since = rig.clock.now()
    sales = [filling(1, since + seconds(60)), filling(2, since + seconds(180), 22.0)]
    for sale in sales:
        rig.to(sale.end)
        rig.tell(PUMPS, sale)
    rig.pass_time(60)
    both = ChannelSale(
        NOZZLES[0],
        since,
        "tax",
        52.0,
        416.0,
        at_resolution_s=240.0,
        seen_after=since,
        several=True,
    )
    rig.tell(TAX, both)
    rig.tell(TAX, heard(rig.clock.now()))
    rig.pass_time(ALONE_S + 5)
    rig.tell(TAX, heard(rig.clock.now()))
    assert [sale.tax_l for sale in rig.sales.values()] == [None, None]
    assert all(is_unheard([*rig.events(CHANNEL_UNHEARD), *rig.events(CHANNEL_ABSENT)], s, "tax") for s in sales)
    assert rig.events(CHANNEL_UNMATCHED) == [], "the sum is right"


def test_a_sum_that_is_not_that_of_the_displays_is_told() -> None:
    rig = rig_of("tax")
    since = rig.clock.now()
    rig.to(since + seconds(60))
    rig.tell(PUMPS, filling(1, since + seconds(60)))
    rig.pass_time(60)
    part = ChannelSale(NOZZLES[0], since, "tax", 75.0, 600.0, at_resolution_s=120.0, seen_after=since, several=True)
    rig.tell(TAX, part)
    rig.pass_time(ALONE_S + 5)
    (event,) = rig.events(CHANNEL_UNMATCHED)
    assert (event.detail["volume_l"], event.detail["unjoined"], event.detail["unjoined_l"]) == (75.0, 1, 30.0)


def test_after_a_restart_nothing_is_told_twice() -> None:
    rig = rig_of("tax")
    end = rig.clock.now()
    sale = filling(1, end)
    rig.tell(PUMPS, sale)
    rig.tell(TAX, taxed(sale, seen_after=end - seconds(3)))
    (whole,) = rig.sales.values()
    assert whole.tax_l == 30.0
    again = bench("tax")
    again.clock._now = rig.clock.now()
    again.joining.remember([whole])
    again.scanned = (PUMPS, TAX)
    assert again.tell(PUMPS, sale) == []
    assert again.tell(TAX, taxed(sale)) == [], "the last one the board knows"
    assert again.pass_time(HELD_S + LATE_S) == []


def test_a_filling_reported_again_and_otherwise_reaches_history() -> None:
    rig = rig_of("tax")
    end = rig.clock.now()
    sale = filling(1, end)
    rig.tell(PUMPS, sale)
    rig.tell(TAX, taxed(sale, seen_after=end - seconds(3)))
    edited = filling(1, end, 29.0)
    assert rig.tell(PUMPS, sale) == []
    assert rig.tell(PUMPS, edited) == [edited]


@pytest.mark.parametrize("by", [-3600.0, -20.0, 20.0, 86_400.0])
def test_a_clock_that_is_set_changes_no_waiting(by: float) -> None:
    rig = rig_of("tax")
    sale = filling(1, rig.clock.now())
    rig.tell(PUMPS, sale)
    rig.clock._now += seconds(by)
    assert rig.pass_time(PATIENCE_S - 4) == []
    assert sale in rig.pass_time(8)
    assert is_unheard(rig.events(CHANNEL_UNHEARD), sale, "tax")
    other = filling(2, rig.clock.now(), 22.0)
    rig.tell(PUMPS, other)
    (whole,) = rig.tell(TAX, taxed(other, seen_after=other.end - seconds(3)))
    assert isinstance(whole, Transaction)
    assert (whole.key, whole.tax_l) == (other.key, 22.0)


def test_what_a_device_with_a_long_memory_tells_again_is_not_looked_for_again() -> None:
    rig = rig_of("tax")
    told = []
    for number in range(2 * KEPT):
        rig.pass_time(60)
        sale = filling(number, rig.clock.now(), 20.0 + number)
        rig.tell(PUMPS, sale)
        rig.tell(TAX, taxed(sale, seen_after=sale.end - seconds(3)))
        told.append(sale)
    assert all(sale.tax_l == sale.volume_l for sale in rig.sales.values())
    again = rig.tell(PUMPS, *told)
    again += rig.pass_time(PATIENCE_S + 5)
    assert rig.events(CHANNEL_UNHEARD) == []
    assert all(record in told for record in again), "history has what was joined"
    rig.tell(PUMPS, filling(0, told[0].end, 19.0))
    assert rig.records[-1] == filling(0, told[0].end, 19.0), "otherwise than before: history is to see that"


def test_many_equal_fillings_make_little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are of the same preset, and the difference of the two clocks is not known."""
    count = 0

    class Counting(float):
        def __sub__(self, other: float) -> float:
            nonlocal count
            count += 1
            return float(self) - float(other)

    apart = aligning._apart
    monkeypatch.setattr(aligning, "_apart", lambda shown, part: Counting(apart(shown, part)))
    sales = [filling(number, START + number * MINUTE) for number in range(KEPT)]
    shown = [aligning.Shown(sale, None, 0.0, 0.0) for sale in sales]
    parts = [aligning.Part(taxed(sale, ahead=1_000.0), 0.0, number) for number, sale in enumerate(sales[:OPEN])]
    gap = aligning.ClockGap()
    gap.look_for(shown, parts)
    assert 0 < count <= 10 * KEPT * OPEN
    assert not gap.known, "one filling more or less is as likely"


def test_when_the_server_stops_all_that_waits_is_passed_on() -> None:
    rig = rig_of("tax")
    sale = filling(1, rig.clock.now())
    rig.tell(PUMPS, sale)
    told = rig.joining.flush()
    assert sale in told["S01"]
    assert rig.joining.flush() == {}


def test_who_must_have_it_kept_does_not_wait_and_is_completed_later() -> None:
    rig = rig_of("tax")
    end = rig.clock.now()
    sale = filling(1, end)
    rig.joining.lost(PUMPS)
    rig.scanned = (TAX,)
    assert rig.tell(PUMPS, sale, wait=False) == [sale]
    rig.tell(TAX, taxed(sale, seen_after=end - seconds(3)))
    for minutes in range(1, 40):
        later = filling(1 + minutes, end + 5 * minutes * MINUTE, 20.0 + minutes)
        rig.to(later.end)
        rig.tell(PUMPS, later, wait=False)
        rig.tell(TAX, taxed(later, seen_after=later.end - seconds(3)), heard(rig.clock.now()))
    rig.pass_time(LATE_S)
    assert [s.tax_l for s in rig.sales.values()] == [s.volume_l for s in rig.sales.values()], "by the clocks alone"


def test_what_is_kept_is_bounded() -> None:
    rig = rig_of("tax")
    rig.joining.lost(PUMPS)
    for number in range(110):
        at = rig.clock.now() + seconds(number)
        rig.tell(TAX, ChannelSale(NOZZLES[0], at, "tax", 1.0 + number, 8.0, seen_after=at))
        rig.tell(PUMPS, filling(number, at, 900.0 + number, amount_cny=1.0))
    nozzle = rig.joining._nozzles[NOZZLES[0]]
    assert len(nozzle._shown) <= KEPT
    assert len(nozzle.channels["tax"].parts) <= OPEN
    assert len([r for r in rig.records if isinstance(r, Transaction)]) >= 110 - KEPT, "none is lost"


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_every_filling_is_passed_on_in_time_whatever_comes(seed: int, count: int) -> None:
    """Even if channels talk nonsense and devices come and go: once, or completed, and 25 s late at most."""
    rng = random.Random(seed)
    rig = bench()
    rig.scanned = (PUMPS,)
    passed: dict[tuple[str, int, datetime], datetime] = {}
    arrived: dict[tuple[str, int, datetime], datetime] = {}
    for seq in range(count):
        sale = filling(seq, rig.clock.now(), rng.choice([20.0, 25.0, 30.0]), rng.choice(NOZZLES[:2]))
        arrived[sale.key] = rig.clock.now()
        news = rig.tell(PUMPS, sale)
        other = replace(sale, volume_l=rng.choice([20.0, 25.0, 5.0]), nozzle_id=rng.choice(NOZZLES[:2]))
        told = [taxed(other), pulsed(other), heard(rig.clock.now(), nozzle=other.nozzle_id)]
        news += rig.tell(TAX, *rng.sample(told, rng.randint(0, 3)))
        if rng.random() < 0.2:
            rig.joining.lost(rng.choice([TAX, PULSES, PUMPS]))
        for record in news:
            if isinstance(record, Transaction):
                passed.setdefault(record.key, rig.clock.now())
        until = rig.clock.now() + seconds(rng.choice([0, 3, 30, 60]))
        while rig.clock.now() < until:
            for record in rig.pass_time(3):
                if isinstance(record, Transaction):
                    passed.setdefault(record.key, rig.clock.now())
    for _ in range(15):
        for record in rig.pass_time(3):
            if isinstance(record, Transaction):
                passed.setdefault(record.key, rig.clock.now())
    assert passed.keys() == arrived.keys()
    assert all(passed[key] - at <= seconds(PATIENCE_S + 3) for key, at in arrived.items())
    assert rig.sales.keys() == arrived.keys()
