"""What offices come to hold about a station: declarations, certificates, inspections, calls and covert tests."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from pumpwatch.model import WorkOrder, from_us
from pumpwatch_sim.chance import generator
from pumpwatch_sim.world.people import LOCAL
from pumpwatch_sim.world.timeline import NO_TAX_RECORD, Purpose
from pumpwatch_sim.world.work import CovertTest, Declaration, Papers, Report

if TYPE_CHECKING:
    from numpy.random import Generator

    from pumpwatch_sim.world.plans import StationPlan
    from pumpwatch_sim.world.timeline import Bools, Ints, Sales, Timeline

SALES_PER_REPORT = 20_000
DAYS_PER_COVERT_TEST = 45.0
DAYS_PER_INSPECTION = 60.0
REFERENCE_UNCERTAINTY_PERCENT = 0.1
"""Of a covert test's measure, k = 2."""
CERTIFICATE_DAYS = 182
VAT = 0.13
PURCHASE_SHARE = 0.88
"""What a station pays for its fuel, as a share of the pump's price."""

_LOCAL_US = 8 * 3_600_000_000
_DAY_US = 86_400_000_000
_INSTITUTE = "示例县计量检定所"
_CHANNELS = ("12315", "12366", "other")
_CHANNEL_SHARES = (0.86, 0.09, 0.05)
_CALLS = (
    "加了{amount}元油，感觉油量不足，请核查。",
    "油表没有升到平时的位置，怀疑加油机不准。",
    "同样{amount}元，比别的站少跑几十公里。",
    "加油显示{litres}升，超过油箱容量，请查一下。",
    "加油后发动机抖动，怀疑油品质量有问题。",
    "要求开具发票，站方说机器坏了，让改天再来。",
    "加油站标价与结账价格不一致。",
    "员工没有归零就开始加油。",
    "加油{litres}升，感觉比上次少，希望上门检测。",
    "会员优惠没有兑现，服务态度差。",
)


class Books:
    """Adds up one station's stretches as they are made, and draws up its papers at the end."""

    def __init__(self, station: StationPlan, seed: int, start_us: int, end_us: int) -> None:
        """The period is the data set's; what happens outside it stands in no paper."""
        self._station, self._seed = station, seed
        self._start_us, self._end_us = start_us, end_us
        self._grades = sorted({nozzle.registered.grade for nozzle in station.nozzles})
        self._grade_of = np.array([self._grades.index(n.registered.grade) for n in station.nozzles], np.int64)
        first, last = _months(np.array([start_us, end_us - 1]))
        self._first_month, months = int(first), int(last - first) + 1
        shape = (months, len(self._grades))
        self._sold, self._earned, self._bought = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape)
        self._draws: dict[tuple[int, date], list[tuple[int, float]]] = {}
        self._reports: list[Report] = []
        self._covert: list[CovertTest] = []

    def add(self, timeline: Timeline) -> None:
        """Take in the next stretch. An honest station declares what its tax control has recorded."""
        sales = timeline.sales
        within = (sales.start_us >= self._start_us) & (sales.end_us < self._end_us)
        booked = within & (sales.tax_volume != NO_TAX_RECORD) & (sales.purpose != Purpose.TEST_DRAW)
        cells = (_months(sales.end_us[booked]) - self._first_month, self._grade_of[sales.nozzle[booked]])
        np.add.at(self._sold, cells, sales.tax_volume[booked])
        np.add.at(self._earned, cells, sales.tax_amount[booked])
        for drop in timeline.drops:
            if drop.documented and self._start_us <= drop.end_us < self._end_us:
                grade = self._station.tanks[drop.tank].registered.grade
                if grade in self._grades:
                    month = int(_months(np.array([drop.end_us]))[0]) - self._first_month
                    self._bought[month, self._grades.index(grade)] += drop.declared_l
        for index in np.flatnonzero(within & (sales.purpose == Purpose.TEST_DRAW)):
            error = sales.volume[index] / 100.0 / sales.out_l[index] - 1.0
            day = _local_day(int(sales.start_us[index]))
            self._draws.setdefault((int(sales.nozzle[index]), day), []).append((int(sales.hung_us[index]), error))
        chance = generator(self._seed, "offices", self._station.station_id, timeline.start_us)
        self._take_calls(sales, within & (sales.purpose == Purpose.CUSTOMER), chance)
        self._take_covert_tests(sales, within, (timeline.end_us - timeline.start_us) / _DAY_US, chance)

    def _take_calls(self, sales: Sales, customers: Bools, chance: Generator) -> None:
        """Some of those who filled up call a hotline, most of them without reason."""
        for index in _some(np.flatnonzero(customers), float(customers.sum()) / SALES_PER_REPORT, chance):
            at_us = int(sales.hung_us[index]) + int(chance.exponential(6.0) * 3.6e9)
            nozzle = self._station.nozzles[sales.nozzle[index]].registered.nozzle_id if chance.random() < 0.4 else None
            channel = _CHANNELS[int(chance.choice(len(_CHANNELS), p=_CHANNEL_SHARES))]
            text = _CALLS[int(chance.integers(len(_CALLS)))].format(
                amount=round(int(sales.amount[index]) / 100), litres=f"{int(sales.volume[index]) / 100:.1f}"
            )
            if at_us < self._end_us:
                self._reports.append(Report(_second(at_us), self._station.station_id, nozzle, channel, text))

    def _take_covert_tests(self, sales: Sales, within: Bools, days: float, chance: Generator) -> None:
        """Booked ones, and now and then a customer who was none."""
        booked = np.flatnonzero(within & (sales.purpose == Purpose.COVERT_TEST))
        likely = np.flatnonzero(
            within & (sales.purpose == Purpose.CUSTOMER) & (sales.out_l > 5.0) & (sales.out_l < 60.0)
        )
        for index in np.concatenate([booked, _some(likely, days / DAYS_PER_COVERT_TEST, chance)]):
            measured = float(sales.out_l[index]) * (1.0 + chance.normal(0.0, REFERENCE_UNCERTAINTY_PERCENT / 200.0))
            self._covert.append(
                CovertTest(
                    _second(int(sales.hung_us[index])),
                    self._station.nozzles[sales.nozzle[index]].registered.nozzle_id,
                    int(sales.volume[index]) / 100,
                    round(measured, 3),
                    REFERENCE_UNCERTAINTY_PERCENT,
                )
            )

    def papers(self) -> Papers:
        """Honest papers; scenarios change them afterwards."""
        papers = Papers(
            station=self._station,
            start=_local_day(self._start_us),
            end=_local_day(self._end_us - 1),
            declarations=self._declarations(),
            work_orders=[],
            reports=self._reports,
            covert_tests=self._covert,
            ledger={},
        )
        chance = generator(self._seed, "offices", self._station.station_id, "papers")
        self._verify(papers, chance)
        self._inspect(papers, chance)
        return papers

    def _declarations(self) -> list[Declaration]:
        """One a grade for each month that lies wholly in the period: of others the office's figure would be larger."""
        first, last = _local(self._start_us), _local(self._end_us)
        declarations = []
        for month in range(len(self._sold)):
            year, number = divmod(self._first_month + month, 12)
            opens = datetime(1970 + year, number + 1, 1, tzinfo=LOCAL)
            closes = (opens + timedelta(days=31)).replace(day=1)
            if opens < first or closes > last:
                continue
            for place, grade in enumerate(self._grades):
                sold, earned = self._sold[month, place] / 100.0, self._earned[month, place] / 100.0
                bought = float(self._bought[month, place])
                paid_for_it = bought * PURCHASE_SHARE * earned / sold if sold else 0.0
                declarations.append(
                    Declaration(
                        self._station.station_id,
                        f"{opens:%Y-%m}",
                        grade,
                        round(bought, 2),
                        float(sold),
                        float(earned),
                        round(max(0.0, (earned - paid_for_it) * VAT / (1.0 + VAT)), 2),
                    )
                )
        return declarations

    def _verify(self, papers: Papers, chance: Generator) -> None:
        """A certificate for each nozzle that was tested, and for each whenever the one it has would run out."""
        until: dict[int, date] = {}
        for (nozzle, day), draws in sorted(self._draws.items()):
            until[nozzle] = day + timedelta(days=CERTIFICATE_DAYS)
            error = float(np.mean([error for _, error in draws]))
            self._certify(papers, nozzle, day, _second(max(at for at, _ in draws)), error, chance)
        for nozzle, plan in enumerate(self._station.nozzles):
            expires = until.get(nozzle, plan.registered.certificate_expires)
            while expires is not None and papers.start <= expires <= papers.end:
                day = max(papers.start, expires - timedelta(days=int(chance.integers(3, 21))))
                at = datetime(day.year, day.month, day.day, 9, tzinfo=LOCAL)
                at += timedelta(minutes=int(chance.integers(420)))
                self._certify(papers, nozzle, day, at, plan.meter.error + chance.normal(0.0, 0.0002), chance)
                expires = day + timedelta(days=CERTIFICATE_DAYS)

    def _certify(self, papers: Papers, nozzle: int, day: date, at: datetime, error: float, chance: Generator) -> None:
        nozzle_id = self._station.nozzles[nozzle].registered.nozzle_id
        number = f"DEMO-{day.year}-{int(chance.integers(10**6)):06d}"
        papers.work_orders.append(
            WorkOrder(
                self._station.station_id,
                nozzle_id,
                at,
                "verification",
                signed_by_institute=_INSTITUTE,
                signed_by_station=self._station.registered.short_name,
                certificate_no=number,
                error_percent=round(error * 100.0, 3),
            )
        )
        papers.ledger[nozzle_id] = {
            "certificate_no": number,
            "certificate_expires": day + timedelta(days=CERTIFICATE_DAYS),
        }

    def _inspect(self, papers: Papers, chance: Generator) -> None:
        """Routine visits to a dispenser, which change nothing."""
        days = (self._end_us - self._start_us) / _DAY_US
        for _ in range(int(chance.poisson(days / DAYS_PER_INSPECTION))):
            at_us = self._start_us + int(chance.random() * days) * _DAY_US
            at = _local(at_us).replace(hour=9, minute=0, second=0, microsecond=0)
            at += timedelta(minutes=int(chance.integers(480)))
            dispenser = self._station.dispensers[int(chance.integers(len(self._station.dispensers)))]
            if _local(self._start_us) <= at < _local(self._end_us):
                papers.work_orders.append(
                    WorkOrder(
                        self._station.station_id,
                        dispenser.registered.dispenser_id,
                        at,
                        "inspection",
                        signed_by_station=self._station.registered.short_name,
                        attributes={"detail": "例行检查：油枪、软管、滤芯、铅封完好"},
                    )
                )


def _some(indices: Ints, expected: float, chance: Generator) -> Ints:
    """A few of these, on average so many."""
    count = min(int(chance.poisson(expected)), len(indices))
    return np.sort(chance.choice(indices, count, replace=False)) if count else indices[:0]


def _months(at_us: Ints) -> Ints:
    """Local months since January 1970."""
    return (at_us + _LOCAL_US).astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)


def _local(at_us: int) -> datetime:
    return from_us(at_us).astimezone(LOCAL)


def _local_day(at_us: int) -> date:
    return _local(at_us).date()


def _second(at_us: int) -> datetime:
    return from_us(at_us // 1_000_000 * 1_000_000)
