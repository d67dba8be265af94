"""The tax port's frames and what is made of totals and current sales, without a line."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch import BadConfig, BadReply, ChannelHeard, ChannelSale, DeviceEvent, EventKind, Reading, Site
from pumpwatch.testing import ScriptedLine
from pumpwatch_taxport import TaxPortDriver, TaxPortSettings
from pumpwatch_taxport.frames import NOISE, Command, CurrentSale, Question, TaxInfo, Total
from pumpwatch_taxport.guns import EQUAL_READS, TOTAL_CHANGED, GunSales, PriceWatch

JUNE = date(2024, 6, 1)
NOON = datetime(2024, 6, 1, 4, 30, tzinfo=UTC)
QUESTIONS = [Question(command, 1, JUNE) for command in Command]
REPLY = bytes.fromhex("BB 1A FF 86 01 30 31 31 32 33 30 30 30 32 35 35 30 30 32 30 31 32 30 30 37 38 39 7C")


def frame(number: int, command: int, content: bytes) -> bytes:
    body = bytes((number, command)) + content
    return bytes((0xBB, len(body) + 1)) + body + bytes((reduce(xor, body),))


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize(
    ("command", "gun", "vector"),
    [
        (Command.INFO, 0, "BB 04 FF 83 00 7C"),
        (Command.INFO, 1, "BB 04 FF 83 01 7D"),
        (Command.CURRENT, 1, "BB 05 FF 86 01 01 79"),
        (Command.GRAND, 1, "BB 06 FF 89 01 00 01 76"),
        (Command.DAY, 1, "BB 0D FF 87 01 32 30 32 34 30 36 30 31 01 7B"),
        (Command.MONTH, 1, "BB 0B FF 88 01 32 30 32 34 30 36 01 75"),
    ],
)
def test_questions_are_the_vectors(command: Command, gun: int, vector: str) -> None:
    assert Question(command, gun, JUNE).request == bytes.fromhex(vector)


def test_the_reply_of_the_vectors() -> None:
    question = Question(Command.CURRENT, 1)
    assert [question.complete(REPLY[:n]) for n in range(len(REPLY))] == [0] * len(REPLY)
    assert question.complete(REPLY) == len(REPLY)
    assert question.fact(REPLY) == CurrentSale(1, 12, 30, 2550, 20120, 789)


def test_noise_without_end_is_no_reply() -> None:
    with pytest.raises(BadReply, match="speed and parity"):
        Question(Command.GRAND, 1).complete(b"\x00" * (NOISE + 1))


@pytest.mark.parametrize(
    ("command", "content", "says"),
    [
        (Command.CURRENT, b"\x01" + b"0" * 21, "21 characters"),
        (Command.CURRENT, b"\x01" + b"002460" + b"0" * 16, "no day and time"),
        (Command.CURRENT, b"\x01" + b"\xff" * 22, "no text"),
        (Command.GRAND, b"\x01" + b"-00000000001" + b"0" * 12, "no decimals"),
        (Command.MONTH, b"\x01" + b"202405" + b"0" * 20, "of 202405"),
        (Command.INFO, b"\x00" + b"12345", "5 characters"),
    ],
)
def test_a_sound_frame_with_other_content_is_bad(command: Command, content: bytes, says: str) -> None:
    with pytest.raises(BadReply, match=says):
        Question(command, 1, JUNE).fact(frame(0xFF, command, content))


@given(st.sampled_from(QUESTIONS), st.binary(max_size=200), st.booleans())
def test_whatever_comes_is_a_fact_or_a_bad_reply(question: Question, noise: bytes, framed: bool) -> None:
    data = frame(0xFF, question.command, noise[:60]) if framed else noise
    try:
        length = question.complete(data)
        assert 0 <= length <= len(data)
        fact = question.fact(data[:length] if length else data)
    except BadReply:
        return
    assert fact is None or isinstance(fact, TaxInfo | CurrentSale | Total)


@given(st.integers(0, len(REPLY) - 1), st.integers(1, 255), st.binary(max_size=20))
def test_no_value_comes_of_a_frame_with_one_wrong_byte(place: int, change: int, before: bytes) -> None:
    wrong = REPLY[:place] + bytes((REPLY[place] ^ change,)) + REPLY[place + 1 :]
    with pytest.raises(BadReply):
        Question(Command.CURRENT, 1).fact(before + wrong)


# ---------------------------------------------------------------- one gun


class Gun:
    """A gun that is asked every four seconds."""

    def __init__(self) -> None:
        self.now = NOON
        self.sales = GunSales("S01-N01", 1.5, self.event, timedelta(hours=8))
        self.told: list[object] = []
        self.grand(1_000_00, 8_000_00)
        self.grand(1_000_00, 8_000_00)
        self.current(20_00, 160_00)
        self.first = self.told.copy()
        self.told.clear()

    @staticmethod
    def event(at: datetime, detail: object) -> DeviceEvent:
        return DeviceEvent(at, "S01", "TAX1", EventKind.ALARM, detail)  # type: ignore[arg-type]

    def grand(self, litres: int, money: int, after_s: float = 4.0) -> Command | None:
        self.now += timedelta(seconds=after_s)
        self.sales.grand(Total(litres, money), self.now)
        self.told += self.sales.collect()
        return self.sales.wants

    def current(self, litres: int, money: int, price: int = 800, minute: int = 30) -> Command | None:
        self.now += timedelta(seconds=4)
        self.sales.current(CurrentSale(1, 12, minute, litres, money, price), self.now, b"raw")
        self.told += self.sales.collect()
        return self.sales.wants

    @property
    def sold(self) -> list[ChannelSale]:
        return [each for each in self.told if isinstance(each, ChannelSale)]


def test_a_sale_is_what_the_total_rose_by() -> None:
    gun = Gun()
    assert [sale.volume_l for sale in gun.first if isinstance(sale, ChannelSale)] == [20.0]
    before = gun.now
    assert gun.grand(1_030_50, 8_244_00, 100) is Command.CURRENT
    assert gun.sold == []
    assert gun.current(30_50, 244_00, minute=32) is Command.GRAND
    (sale,) = gun.sold
    assert (sale.volume_l, sale.amount_cny, sale.unit_price, sale.total_l) == (30.5, 244.0, 8.0, 1030.5)
    assert (sale.at, sale.at_resolution_s, sale.raw) == (datetime(2024, 6, 1, 4, 32, tzinfo=UTC), 60.0, b"raw")
    assert sale.seen_after == before - timedelta(seconds=4), "the last look that did not show it"
    assert gun.grand(1_030_50, 8_244_00) is None
    assert isinstance(gun.told[-1], ChannelHeard)


def test_another_guns_sale_is_asked_again() -> None:
    gun = Gun()
    gun.grand(1_030_00, 8_240_00, 100)
    assert gun.current(12_34, 91_00, 737) is Command.GRAND, "not what the total rose by"
    assert gun.grand(1_030_00, 8_240_00) is Command.CURRENT
    gun.current(30_00, 240_00)
    assert [(sale.volume_l, sale.several) for sale in gun.sold] == [(30.0, False)]


def test_two_sales_between_two_looks_are_split_when_price_and_money_fit() -> None:
    gun = Gun()
    for _ in range(EQUAL_READS):
        gun.grand(1_055_00, 8_440_00, 300)
        gun.current(25_00, 200_00, minute=40)
    assert [(sale.volume_l, sale.amount_cny, sale.several) for sale in gun.sold] == [
        (30.0, 240.0, True),
        (25.0, 200.0, False),
    ]


def test_what_cannot_be_split_is_the_difference_of_the_totals() -> None:
    gun = Gun()
    for _ in range(EQUAL_READS):
        gun.grand(1_055_00, 8_440_00, 300)
        gun.current(20_00, 160_00)
    (sale,) = gun.sold
    assert (sale.volume_l, sale.amount_cny, sale.unit_price, sale.several) == (55.0, 440.0, None, True)
    assert sale.seen_after is not None
    assert sale.seen_after < sale.at + timedelta(seconds=sale.at_resolution_s) <= gun.now


@pytest.mark.parametrize(("litres", "money"), [(500_00, 4_000_00), (1_000_00, 7_999_00), (9_000_00, 72_000_00)])
def test_a_total_that_cannot_be_is_believed_after_three_reads_and_told(litres: int, money: int) -> None:
    gun = Gun()
    gun.grand(1_030_00, 8_240_00, 60)
    gun.current(30_00, 240_00)
    gun.told.clear()
    for _ in range(EQUAL_READS - 1):
        if gun.grand(litres, money) is Command.CURRENT:
            assert gun.current(30_00, 240_00) is Command.GRAND, "not what it rose by"
        assert gun.told == []
    gun.grand(litres, money)
    (event,) = gun.told
    assert isinstance(event, DeviceEvent)
    assert event.detail["code"] == TOTAL_CHANGED
    assert (event.detail["before_l"], event.detail["after_l"]) == (1030.0, litres / 100)
    gun.told.clear()
    gun.grand(litres + 10_00, money + 80_00, 30)
    gun.current(10_00, 80_00)
    assert [sale.volume_l for sale in gun.sold] == [10.0]


def test_another_guns_total_once_changes_nothing() -> None:
    gun = Gun()
    gun.grand(1_030_00, 8_240_00, 60)
    gun.current(30_00, 240_00)
    gun.told.clear()
    gun.grand(777_00, 5_000_00)
    gun.grand(1_030_00, 8_240_00)
    assert [type(each) for each in gun.told] == [ChannelHeard]


def test_the_first_total_needs_a_second_that_agrees() -> None:
    sales = GunSales("S01-N01", 1.5, Gun.event, timedelta(hours=8))
    sales.grand(Total(9_000_00, 1), NOON)
    sales.grand(Total(1_000_00, 8_000_00), NOON + timedelta(seconds=4))
    assert sales.total is None, "the first was another gun's"
    sales.grand(Total(1_000_00, 8_000_00), NOON + timedelta(seconds=8))
    assert sales.total == Total(1_000_00, 8_000_00)


def test_the_neighbours_total_at_the_start_is_no_filling() -> None:
    """Its board answers for the other gun first; the rest of our own total was not sold just now."""
    gun = Gun()
    gun.sales = GunSales("S01-N01", 3.5, Gun.event, timedelta(hours=8))
    wants: Command | None = Command.GRAND
    for total in (5_000_00, *[812_345_67] * 8):
        wants = gun.current(25_50, 204_00) if wants is Command.CURRENT else gun.grand(total, total * 8)
    assert [(sale.volume_l, sale.seen_after) for sale in gun.sold] == [(25.5, None)], "the one of before we came"
    assert not any(isinstance(each, DeviceEvent) for each in gun.told)


def test_the_neighbours_total_after_the_start_is_no_filling_either() -> None:
    gun = Gun()
    assert gun.grand(812_345_67, 6_500_000_00) is Command.CURRENT
    assert gun.current(20_00, 160_00) is Command.GRAND
    assert gun.grand(1_000_00, 8_000_00) is None
    assert gun.sold == []


def test_a_filling_that_had_begun_before_we_came_is_one() -> None:
    gun = Gun()
    assert gun.grand(1_900_00, 15_200_00) is Command.CURRENT
    gun.current(900_00, 7_200_00)
    assert [sale.volume_l for sale in gun.sold] == [900.0]


@pytest.mark.parametrize("max_flow_l_s", [3.5, 1.5])
def test_lorries_are_filled_one_after_another(max_flow_l_s: float) -> None:
    """At 120 L/min, half a minute between them: faster than a limit that is too low, but each is the rise itself."""
    gun = Gun()
    gun.sales.max_flow_l_s = max_flow_l_s
    for sold in range(1, 7):
        for _ in range(40):
            gun.grand(1_000_00 + (sold - 1) * 600_00, 8_000_00 + (sold - 1) * 4_800_00, 8)
        for _ in range(4):
            if gun.sales.wants is Command.CURRENT:
                gun.current(600_00, 4_800_00, minute=sold)
            else:
                gun.grand(1_000_00 + sold * 600_00, 8_000_00 + sold * 4_800_00)
    assert [sale.volume_l for sale in gun.sold] == [600.0] * 6
    assert not any(isinstance(each, DeviceEvent) for each in gun.told)


def test_a_price_counts_after_three_equal_reads() -> None:
    watch = PriceWatch()
    seen = []
    for price in (800, 800, 750, 800, 800, 800, 810):
        watch.read(price)
        seen.append(watch.price)
    assert seen == [None, None, None, None, None, 800, 800]


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [
        (datetime(2024, 5, 31, 16, 1, tzinfo=UTC), 1, 6),
        (datetime(2024, 5, 31, 16, 1, tzinfo=UTC), 31, 5),
        (datetime(2024, 3, 31, 15, 59, tzinfo=UTC), 1, 4),
        (datetime(2024, 1, 1, 0, 30, tzinfo=UTC), 31, 12),
        (datetime(2024, 6, 10, 4, 0, tzinfo=UTC), 24, 5),
        (datetime(2024, 6, 10, 4, 0, tzinfo=UTC), 12, 5),
        (datetime(2024, 3, 1, 4, 0, tzinfo=UTC), 31, 1),
    ],
)
def test_a_sale_has_the_last_month_that_it_can_have(now: datetime, day: int, month: int) -> None:
    gun = Gun()
    gun.now = now
    gun.grand(1_030_00, 8_240_00)
    gun.sales.current(CurrentSale(day, 0, 1, 30_00, 240_00, 800), now, b"")
    (sale,) = [each for each in gun.sales.collect() if isinstance(each, ChannelSale)]
    local = sale.at + timedelta(hours=8)
    assert (local.month, local.day) == (month, day)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 10**12 - 1), st.integers(0, 10**12 - 1), st.integers(0, 600)),
        max_size=60,
    )
)
def test_whatever_a_board_says_the_totals_hold(said: list[tuple[bool, int, int, int]]) -> None:
    """What is told as sold never exceeds what the total rose by since the last time it was set anew."""
    sales = GunSales("S01-N01", 1.5, Gun.event, timedelta(hours=8))
    now, sold, base = NOON, 0.0, None
    for is_grand, litres, money, later in said:
        now += timedelta(seconds=later)
        if is_grand:
            sales.grand(Total(litres, money), now)
        else:
            sales.current(CurrentSale(1, 12, 30, litres % 10**6, money % 10**6, 800), now, b"")
        told = sales.collect()
        if any(isinstance(each, DeviceEvent) for each in told) or base is None:
            base, sold = sales.total, 0.0
        sold += sum(s.volume_l or 0.0 for s in told if isinstance(s, ChannelSale) and s.seen_after is not None)
        assert len(told) <= 3
        if base is not None and sales.total is not None:
            assert sold <= (sales.total.litres - base.litres) / 100 + 1e-3


# ---------------------------------------------------------------- the driver


def driver(nozzles: tuple[str, ...] = ("S01-N01", "S01-N02"), **settings: object) -> TaxPortDriver:
    site = Site("S01", "TAX1", "S01-D1", nozzles)
    return TaxPortDriver(TaxPortSettings.model_validate(settings), site, ScriptedLine({}))


def test_the_fastest_nozzle_that_is_allowed_is_believed() -> None:
    assert TaxPortSettings().max_flow_l_s * 60 >= 200, "L/min, JJG 443-2023"


def test_settings_that_cannot_be_say_why() -> None:
    with pytest.raises(BadConfig, match="without nozzles"):
        driver(())
    with pytest.raises(BadConfig, match="guns: 1 numbers for 2 nozzles"):
        driver(guns=[1])
    with pytest.raises(BadConfig, match="give each"):
        driver(guns=[1, 1])


def test_it_tells_the_tax_channel_and_tags_of_each_nozzle() -> None:
    one = driver(guns=[2, 5])
    assert one.sale_channels == {"tax"}
    names = [tag.name for tag in one.tags()]
    assert len(names) == len(set(names)) == 2 * 9 + 5
    assert {"nozzle-2.tax_total", "identity.tax_serial", "clock_difference"} <= set(names)


async def test_guns_are_asked_by_the_boards_numbers() -> None:
    asked: list[bytes] = []

    def board(request: bytes) -> bytes:
        asked.append(request)
        return frame(0xFF, request[3], b"\x00" + (b"1234567890" if request[3] == Command.INFO else b""))

    site = Site("S01", "TAX1", "S01-D1", ("S01-N01", "S01-N02"))
    one = TaxPortDriver(TaxPortSettings(guns=(2, 5)), site, ScriptedLine(board))
    reading = Reading()
    for second in range(0, 120, 2):
        reading = await one.read(one.tags(), NOON + timedelta(seconds=second))
    assert len(asked) == 30, "every four seconds"
    assert {request[4] for request in asked if request[3] != Command.INFO} == {2, 5}
    assert {sample.value for sample in reading.samples if sample.tag == "status"} == {"not_initialised"}
