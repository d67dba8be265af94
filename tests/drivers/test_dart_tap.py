"""Fillings from what passes on a DART line: an hour of a busy station with damaged bytes, and small talk by hand.

The hour is made by the simulator's pumps and controller, which share no code with the driver. Before it ends the
controller is started anew and reads all totalizers once more, as controllers do at the end of a shift: so the last
filling of each nozzle is said twice, too.
"""

from __future__ import annotations

import math
import random
from collections import Counter as Count
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from pumpwatch import NozzleState, from_us
from pumpwatch_dart.fillings import Decimals, Filling
from pumpwatch_dart.frames import Kind, control, data
from pumpwatch_dart.side import Side
from pumpwatch_dart.traffic import Traffic
from pumpwatch_sim.fleet import Fleet, Stations
from pumpwatch_sim.live.player import StationPlayer
from pumpwatch_sim.live.views import Sale
from pumpwatch_sim.staging import stage
from pumpwatch_sim.wire.dart import DartController, DartPumps
from pumpwatch_sim.wire.dart_frames import Settings

START = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
HOUR_S, TURN_S = 3600, 0.1


# ---------------------------------------------------------------- an hour of a busy station


@dataclass(frozen=True)
class Hour:
    """What passed, and what was sold."""

    chunks: list[tuple[float, bytes]]
    """Seconds from the start, and a question with its answer."""
    addresses: dict[int, tuple[str, ...]]
    """Nozzles of each side."""
    sold: dict[str, list[Sale]]
    """By nozzle, in their order: those that took place between these two."""
    ever: dict[str, list[Sale]]
    """All that ended while it was recorded."""
    end: datetime

    def second_by_second(self, spoil: Callable[[bytes], bytes] = bytes) -> Iterator[tuple[datetime, bytes]]:
        passed, second = bytearray(), 1
        for at, chunk in self.chunks:
            while at >= second:
                yield START + timedelta(seconds=second), bytes(passed)
                passed.clear()
                second += 1
            passed += spoil(chunk)
        yield START + timedelta(seconds=second), bytes(passed)


def record(demand: float, per_side: int, settings: Settings, lasts_s: int = HOUR_S) -> Hour:
    """Play it. What begins in the first minute or ends in the last ones is not asked for, but may be told."""
    again_s = lasts_s - 60
    stations = Stations(count=1, hours="flat", demand=demand, outages=False)
    staging = stage(Fleet(name="tap", seed=1, stations=stations), START)
    (plan,) = staging.county.stations
    now_us = [staging.start_us]
    player = StationPlayer(staging, plan.station_id, lambda: now_us[0])
    pumps = DartPumps(player.dispensers, nozzles_per_side=per_side, settings=settings)
    controller = DartController(player.dispensers, nozzles_per_side=per_side, settings=settings)
    chunks = []
    sales: dict[tuple[str, int], Sale] = {}
    for turn in range(round(lasts_s / TURN_S)):
        if turn == round(again_s / TURN_S):
            controller = DartController(player.dispensers, nozzles_per_side=per_side, settings=settings)
        now_us[0] = staging.start_us + round(turn * TURN_S * 1e6)
        asked = controller.turn()
        answered = pumps.receive(asked)
        controller.receive(answered)
        chunks.append((turn * TURN_S, asked + answered))
        if turn % 50 == 0 or turn + 1 == round(lasts_s / TURN_S):
            sales |= {(n.nozzle_id, s.sequence): s for n in player.nozzles for s in n.sales if s is not None}
    addresses, sold, ever = {}, {}, {}
    for dispenser in player.dispensers:
        names = [nozzle.nozzle_id for nozzle in dispenser.nozzles]
        for first in range(0, len(names), per_side):
            addresses[0x50 + len(addresses)] = tuple(names[first : first + per_side])
    begin, end = START + timedelta(seconds=60), START + timedelta(seconds=again_s - 30)
    for nozzle in player.nozzles:
        mine = [s for (name, _), s in sales.items() if name == nozzle.nozzle_id]
        ever[nozzle.nozzle_id] = [sale for sale in mine if _at(sale.end_s) >= START - timedelta(seconds=30)]
        sold[nozzle.nozzle_id] = sorted(
            (s for s in mine if begin <= _at(s.start_s) and _at(s.end_s) <= end), key=lambda sale: sale.end_s
        )
    return Hour(chunks, addresses, sold, ever, end)


def _at(second: int) -> datetime:
    return from_us(second * 1_000_000)


@pytest.fixture(scope="module")
def hour() -> Hour:
    return record(20.0, 1, Settings())


@pytest.fixture(scope="module")
def quarter() -> Hour:
    return record(20.0, 1, Settings(), HOUR_S // 4)


@dataclass(frozen=True)
class Told:
    """What a tap made of it."""

    fillings: dict[str, list[Filling]]
    unproven: int

    def missed_and_invented(self, hour: Hour) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]:
        """Fillings that were sold and not told, and those told that were not sold, or told twice."""
        missed, invented = [], []
        for nozzle, sold in hour.sold.items():
            told = Count((filling.volume, filling.amount) for filling in self.fillings[nozzle])
            wanted = Count((sale.volume, sale.amount) for sale in sold)
            missed += [(nozzle, *figures) for figures in (wanted - told).elements()]
            really = Count((sale.volume, sale.amount) for sale in hour.ever[nozzle])
            invented += [(nozzle, *figures) for figures in (told - really).elements()]
        return missed, invented


def tap(hour: Hour, spoil: Callable[[bytes], bytes] = bytes, skip: int = 0) -> Told:
    """Listen to an hour; the first ``skip`` bytes of it were not heard."""
    traffic = Traffic()
    sides = {address: Side(len(names), Decimals()) for address, names in hour.addresses.items()}
    fillings: dict[str, list[Filling]] = {nozzle: [] for nozzle in hour.sold}
    for now, passed in [*hour.second_by_second(spoil), (hour.end + timedelta(seconds=300), b"")]:
        skipped, skip = passed[:skip], max(0, skip - len(passed))
        for heard in traffic.feed(passed[len(skipped) :]):
            sides[heard.address].hear(heard, now) if heard.address in sides else None
        for address, side in sides.items():
            side.tick(now)
            for filling in side.book.collect(now):
                fillings[hour.addresses[address][(filling.nozzle or 0) - 1]].append(filling)
    return Told(fillings, sum(side.book.unproven for side in sides.values()))


def noise(seed: int, share: float = 0.01) -> Callable[[bytes], bytes]:
    """Each byte becomes any with this probability; the way from one to the next is drawn at once."""
    dice = random.Random(seed)
    ahead = [0]

    def spoil(passed: bytes) -> bytes:
        noisy = bytearray(passed)
        while ahead[0] < len(noisy):
            noisy[ahead[0]] = dice.randrange(256)
            ahead[0] += 1 + int(math.log(1.0 - dice.random()) / math.log(1.0 - share))
        ahead[0] -= len(noisy)
        return bytes(noisy)

    return spoil


def test_a_clean_hour_is_told_whole(hour: Hour) -> None:
    told = tap(hour)
    assert told.missed_and_invented(hour) == ([], [])
    assert told.unproven == 0
    assert sum(map(len, hour.sold.values())) > 200
    for nozzle, sold in hour.sold.items():
        by_end = {sale.end_s: sale for sale in sold}
        for filling in told.fillings[nozzle]:
            end_s = min(by_end, key=lambda s: abs(_at(s) - filling.moved))
            sale = by_end[end_s]
            if (sale.volume, sale.amount) != (filling.volume, filling.amount):
                continue  # at the ends of the hour
            assert abs(_at(sale.end_s) - filling.moved) <= timedelta(seconds=8)
            assert abs(_at(sale.start_s) - filling.began) <= timedelta(seconds=8)
            assert filling.price == sale.price
            assert (filling.totalizer, filling.totalizer_amount) == (sale.totalizer, sale.totalizer_amount)
            assert not filling.by_totalizer


@pytest.mark.parametrize("seeds", [range(4)])
def test_an_hour_with_one_byte_in_a_hundred_damaged(hour: Hour, seeds: range) -> None:
    missed = []
    for seed in seeds:
        not_told, invented = tap(hour, noise(seed)).missed_and_invented(hour)
        assert invented == []
        missed += not_told
    sold = len(seeds) * sum(map(len, hour.sold.values()))
    assert len(missed) <= 0.001 * sold, missed


def test_damage_ten_times_as_bad_loses_and_never_invents(quarter: Hour) -> None:
    told = tap(quarter, noise(1, 0.1))
    missed, invented = told.missed_and_invented(quarter)
    assert invented == []
    assert len(missed) < sum(map(len, quarter.sold.values()))


@pytest.mark.parametrize("skip", [1, 100_003])
def test_it_may_begin_anywhere(quarter: Hour, skip: int) -> None:
    _, invented = tap(quarter, skip=skip).missed_and_invented(quarter)
    assert invented == []


@pytest.mark.parametrize(("per_side", "settings"), [(2, Settings()), (4, Settings(china_totals=True, wrap_to=1))])
def test_sides_with_several_nozzles(per_side: int, settings: Settings) -> None:
    """Two customers at one display are a fault of the simulator's world: what such a pump never says is not told."""
    hour = record(12.0, per_side, settings, 1200)
    missed, invented = tap(hour).missed_and_invented(hour)
    assert invented == []
    assert len(missed) <= 0.05 * sum(map(len, hour.sold.values()))
    assert tap(hour, noise(5)).missed_and_invented(hour)[1] == []


# ---------------------------------------------------------------- small talk


class Talk:
    """One side's line, spoken by hand: ``pump`` and ``controller`` say payloads, a second passes with each."""

    def __init__(self, nozzles: int = 1, decimals: Decimals | None = None) -> None:
        self.side = Side(nozzles, decimals or Decimals())
        self.now = START
        self.told: list[Filling] = []
        self._traffic = Traffic()
        self._numbers = {"pump": 0, "controller": 0}

    def line(self, passed: bytes, seconds: float = 1.0) -> None:
        """Bytes pass."""
        self.now += timedelta(seconds=seconds)
        for heard in self._traffic.feed(passed):
            self.side.hear(heard, self.now)
        self.side.tick(self.now)
        self.told += self.side.book.collect(self.now)

    def pump(self, *payload: str, damage: bool | int = False, times: int = 1) -> None:
        """``damage``: so many bytes of it; True is more than one."""
        number = self._next("pump")
        frame = bytearray(data(0x50, number, bytes.fromhex("".join(payload))))
        for place in range(4, 4 + (2 if damage is True else damage)):
            frame[place] ^= 0x55
        for _ in range(times):
            self.line(control(Kind.POLL, 0x50) + bytes(frame))
        self.line(control(Kind.ACK, 0x50, number), 0.0)

    def controller(self, *payload: str) -> None:
        number = self._next("controller")
        self.line(control(Kind.EOT, 0x50) + data(0x50, number, bytes.fromhex("".join(payload))))
        self.line(control(Kind.ACK, 0x50, number), 0.0)

    def idle(self, seconds: float = 20.0) -> None:
        for _ in range(int(seconds)):
            self.line(control(Kind.POLL, 0x50) + control(Kind.EOT, 0x50))

    def lift(self, nozzle: int = 1, price: str = "000789", damage: bool = False) -> None:
        self.pump(f"0304{price}{0x10 + nozzle:02x}", damage=damage)

    def filling(self, volume: int, amount: int, nozzle: int | None = None, price: str = "000789") -> None:
        known = "" if nozzle is None else f"0304{price}{0x10 + nozzle:02x}"
        self.pump("010104", known, f"0208{volume:08d}{amount:08d}")

    def shows(self, volume: int, amount: int, damage: bool = False) -> None:
        self.pump(f"0208{volume:08d}{amount:08d}", damage=damage)

    def completes(
        self, volume: int, amount: int, price: str = "000789", damage: bool | int = False, times: int = 1
    ) -> None:
        self.pump(f"0208{volume:08d}{amount:08d}", f"0304{price}00", "010105", damage=damage, times=times)

    def totals(self, volume: int | None, amount: int | None = None, nozzle: int = 1) -> None:
        if volume is not None:
            self.pump(f"6510{nozzle:02x}{volume:010d}{volume:010d}" + "00" * 5)
        if amount is not None:
            self.pump(f"6510{0x10 + nozzle:02x}{amount:010d}{amount:010d}" + "00" * 5)

    @property
    def figures(self) -> list[tuple[int | None, int | None]]:
        return [(filling.volume, filling.amount) for filling in self.told]

    def _next(self, who: str) -> int:
        self._numbers[who] = self._numbers[who] % 15 + 1
        return self._numbers[who]


@pytest.fixture
def talk() -> Talk:
    """A pump whose price and totalizers have been heard: 7.89, 1000.00 L and 7890.00."""
    talk = Talk()
    talk.pump("0304 000789 00")
    talk.totals(100_000, 789_000)
    return talk


def test_sent_again_and_again_it_is_one_filling(talk: Talk) -> None:
    talk.lift()
    talk.filling(1000, 7890)
    talk.completes(2500, 19725, times=4)
    talk.totals(102_500, 808_725)
    talk.completes(2500, 19725)
    talk.pump("0101 05", "0304 000789 00", "0208 00002500 00019725")
    talk.idle(60)
    assert talk.figures == [(2500, 19725)]
    assert (talk.told[0].totalizer, talk.told[0].totalizer_amount) == (102_500, 808_725)


def test_two_equal_fillings_are_two(talk: Talk) -> None:
    for _ in range(2):
        talk.lift()
        talk.filling(100, 789)
        talk.completes(1267, 10000)
        talk.idle()
    assert talk.figures == [(1267, 10000)] * 2


def test_lifted_and_hung_up_is_no_filling(talk: Talk) -> None:
    talk.lift()
    assert talk.side.state(1) is NozzleState.LIFTED
    talk.pump("0208 00000000 00000000", "0304 000789 00", "010105")
    assert talk.side.state(1) is NozzleState.IDLE
    talk.idle()
    assert talk.figures == []


def test_without_anything_heard_of_the_filling_a_display_at_rest_is_an_old_one(talk: Talk) -> None:
    talk.completes(2500, 19725)
    talk.idle()
    assert talk.figures == []


def test_an_end_that_was_missed_is_told_by_the_volume_totalizer(talk: Talk) -> None:
    talk.lift()
    talk.filling(2500, 19725)
    talk.completes(2500, 19725, damage=True)
    talk.idle(30)
    assert talk.figures == []
    assert talk.side.state(1) is NozzleState.STOPPED
    talk.totals(102_500)
    assert talk.side.state(1) is NozzleState.IDLE
    talk.idle()
    assert talk.figures == [(2500, 19725)]
    assert talk.told[0].by_totalizer


def test_or_by_the_amount_totalizer(talk: Talk) -> None:
    talk.filling(2500, 19725)
    talk.totals(None, 808_725)
    talk.idle()
    assert talk.figures == [(2500, 19725)]


def test_or_by_the_display_said_again_at_rest(talk: Talk) -> None:
    talk.filling(2400, 18936)
    talk.completes(2500, 19725, damage=True)
    talk.idle()
    talk.pump("0208 00002500 00019725", "0304 000789 00")
    talk.idle()
    assert talk.figures == [(2500, 19725)]
    assert not talk.told[0].by_totalizer


def test_or_by_the_damaged_frame_itself_when_it_says_what_is_known(talk: Talk) -> None:
    talk.filling(2500, 19725, nozzle=1)
    talk.completes(2500, 19725, damage=1)
    talk.idle()
    assert talk.figures == [(2500, 19725)]
    assert talk.told[0].damaged
    assert not talk.told[0].by_totalizer


@pytest.mark.parametrize(("volume", "amount", "price"), [(2501, 19733, "000789"), (2500, 19700, "000788")])
def test_but_it_tells_nothing_that_was_not_heard_before(talk: Talk, volume: int, amount: int, price: str) -> None:
    talk.filling(2500, 19725, nozzle=1)
    talk.completes(volume, amount, price, damage=1)
    talk.idle(300)
    assert talk.figures == []


def test_or_by_nothing_and_then_it_is_not_told(talk: Talk) -> None:
    talk.filling(2500, 19725)
    talk.completes(2500, 19725, damage=True)
    talk.idle(300)
    talk.lift()
    talk.filling(100, 789)
    talk.completes(900, 7101)
    talk.idle()
    assert talk.figures == [(900, 7101)]


def test_the_last_litres_unheard_are_told_by_both_totalizers_once_it_stands_still(talk: Talk) -> None:
    talk.filling(2300, 18147)
    talk.totals(102_500, 808_725)
    talk.idle(30)
    assert talk.figures == []
    talk.idle(60)
    assert talk.figures == [(2500, 19725)]


def test_more_than_the_end_of_one_filling_is_not_told(talk: Talk) -> None:
    """Between the readings 50 L went through unheard; nobody can say how many fillings they were."""
    talk.filling(2000, 15780)
    talk.totals(107_000, 844_230)
    talk.idle(120)
    assert talk.figures == []
    assert talk.side.book.unproven == 1


def test_a_display_that_stood_still_has_no_unheard_end(talk: Talk) -> None:
    """Two litres more went through after it: another filling, that nobody heard."""
    talk.filling(2300, 18147)
    talk.shows(2300, 18147)
    talk.totals(102_500, 808_725)
    talk.idle(120)
    assert talk.figures == []


def test_the_filling_after_it_and_the_next_readings_tell_the_one_before(talk: Talk) -> None:
    talk.filling(2300, 18147)
    talk.completes(2500, 19725, damage=True)
    talk.lift()
    talk.filling(100, 789)
    talk.completes(900, 7101)
    talk.totals(103_400, 815_826)
    talk.idle()
    assert sorted(talk.figures, key=str) == [(2500, 19725), (900, 7101)]
    first = min(talk.told, key=lambda filling: filling.moved)
    assert (first.volume, first.totalizer, first.by_totalizer) == (2500, 102_500, True)


def test_two_ends_missed_are_told_when_their_displays_add_up(talk: Talk) -> None:
    for volume in (2500, 900):
        talk.lift()
        talk.filling(volume, round(volume * 7.89))
        talk.completes(volume, round(volume * 7.89), damage=True)
    talk.totals(103_400, 815_826)
    talk.idle()
    assert sorted(talk.figures, key=str) == [(2500, 19725), (900, 7101)]


def test_a_totalizer_that_counts_while_fuel_flows_ends_nothing(talk: Talk) -> None:
    talk.lift()
    talk.filling(500, 3945)
    talk.totals(100_500, 792_945)
    talk.shows(900, 7101)
    talk.totals(100_900, 796_101)
    talk.shows(1500, 11835)
    talk.completes(2000, 15780)
    talk.totals(102_000, 804_780)
    talk.idle()
    assert talk.figures == [(2000, 15780)]


def test_what_flows_without_a_display_is_no_filling(talk: Talk) -> None:
    talk.idle()
    talk.totals(103_000, 812_670)
    talk.idle()
    talk.filling(100, 789)
    talk.completes(2000, 15780)
    talk.totals(105_000, 828_450)
    talk.idle()
    assert talk.figures == [(2000, 15780)]


def test_a_totalizer_that_is_set_back_proves_nothing(talk: Talk) -> None:
    talk.filling(2500, 19725)
    talk.totals(2_500, 19_725)
    talk.idle(120)
    assert talk.figures == []


def test_a_totalizer_rolls_over() -> None:
    talk = Talk()
    talk.totals(9_999_999_000, 9_999_990_000)
    talk.filling(2500, 19725)
    talk.totals(1_500, 9_725)
    talk.idle()
    assert talk.figures == [(2500, 19725)]


def test_a_display_that_contradicts_its_price_needs_a_witness(talk: Talk) -> None:
    """One frame may have been damaged so that its checksum is right."""
    talk.filling(2400, 18936)
    talk.completes(2500, 29725)
    talk.idle()
    assert talk.figures == []
    talk.pump("010105", "0304 000789 00", "0208 00002500 00029725")
    talk.idle()
    assert talk.figures == [(2500, 29725)]


def test_the_totalizer_is_such_a_witness_and_the_running_display_is(talk: Talk) -> None:
    talk.filling(2400, 18936)
    talk.completes(2500, 29725)
    talk.totals(102_500)
    talk.idle()
    talk.filling(600, 9999)
    talk.completes(600, 9999)
    talk.idle()
    assert talk.figures == [(2500, 29725), (600, 9999)]


def test_a_preset_that_overruns_by_a_step_agrees(talk: Talk) -> None:
    talk.filling(2400, 18936)
    talk.completes(2535, 20000)
    talk.idle()
    assert talk.figures == [(2535, 20000)]


def test_a_reset_of_the_controller_ends_nothing(talk: Talk) -> None:
    talk.lift()
    talk.controller("02 01 01")
    talk.controller("01 01 05")
    talk.controller("01 01 06")
    assert talk.side.state(1) is NozzleState.LIFTED
    talk.filling(500, 3945)
    talk.controller("01 01 05")
    assert talk.side.state(1) is NozzleState.FUELLING
    talk.shows(900, 7101)
    talk.completes(1000, 7890)
    talk.idle()
    assert talk.figures == [(1000, 7890)]


def test_a_preset_amount_is_kept(talk: Talk) -> None:
    talk.lift()
    talk.controller("04 04 00 01 00 00")
    talk.filling(100, 789)
    talk.completes(1267, 10000)
    talk.idle()
    talk.lift()
    talk.filling(100, 789)
    talk.completes(2000, 15780)
    talk.idle()
    assert [filling.preset_amount for filling in talk.told] == [10000, None]


def test_a_filling_heard_from_its_middle_on(talk: Talk) -> None:
    talk.filling(2000, 15780)
    talk.completes(2500, 19725)
    talk.idle()
    (filling,) = talk.told
    assert filling.began == filling.moved - timedelta(seconds=31), "reckoned back at 40 L/min"


def test_a_nozzle_of_several_is_known_by_its_lifting(talk: Talk) -> None:
    talk = Talk(nozzles=3)
    talk.lift(2)
    assert [talk.side.state(n) for n in (1, 2, 3)] == [0, 1, 0]
    talk.filling(100, 789)
    talk.completes(2500, 19725)
    talk.idle()
    assert [filling.nozzle for filling in talk.told] == [2]


def test_or_by_its_price() -> None:
    talk = Talk(nozzles=2)
    talk.controller("05 06 00 07 89 00 08 01")
    talk.filling(100, 801)
    talk.completes(2500, 20025, price="000801")
    talk.idle()
    assert [filling.nozzle for filling in talk.told] == [2]


def test_or_by_a_totalizer() -> None:
    talk = Talk(nozzles=2)
    talk.totals(100_000, 789_000, nozzle=1)
    talk.totals(500_000, 100_000, nozzle=2)
    talk.filling(100, 789)
    talk.completes(2500, 19725)
    talk.idle(60)
    assert talk.told == []
    talk.totals(100_000, 789_000, nozzle=1)
    talk.totals(502_500, 119_725, nozzle=2)
    talk.idle()
    assert [(filling.nozzle, filling.volume) for filling in talk.told] == [(2, 2500)]


def test_another_nozzle_is_not_taken_for_the_one_before() -> None:
    """The end at nozzle 1 and the lifting of nozzle 2 were not heard."""
    talk = Talk(nozzles=2)
    talk.filling(500, 3945, nozzle=1)
    talk.completes(600, 4734, damage=True)
    talk.lift(2, damage=True)
    talk.filling(900, 7101, nozzle=2)
    talk.completes(2000, 15780)
    talk.idle()
    assert [(filling.nozzle, filling.volume) for filling in talk.told] == [(2, 2000)]
    assert talk.side.book.unproven == 1


def test_totals_with_fewer_decimals_than_the_display() -> None:
    talk = Talk(decimals=Decimals(volume=3, amount=2, price=2, totals=2))
    talk.totals(100_000, 789_000)
    talk.filling(25_004, 19728)
    talk.totals(102_500, 808_728)
    talk.idle()
    assert talk.figures == [(25_004, 19728)]


def test_what_waits_is_bounded() -> None:
    talk = Talk(nozzles=9)
    for n in range(200):
        talk.totals(100_000 + n, 789_000, nozzle=n % 9 + 1)
        talk.filling(10 + n, 79)
        talk.filling(5, 39)
        talk.completes(2000, 15780)
    side = talk.side
    waiting = sum(len(t.since) for ledger in side.book.ledgers.values() for t in (ledger.volume, ledger.amount))
    assert len(side.book.strays) + waiting + len(side.book.done) < 40
    assert side.book.unproven > 150
