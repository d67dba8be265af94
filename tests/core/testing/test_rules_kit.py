"""The checks for rules pass what is right and name what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import numpy as np
import pytest

from pumpwatch import (
    Channel,
    Comparison,
    Delivery,
    Department,
    DeviceEvent,
    DeviceIdentity,
    Dispenser,
    EventKind,
    Explanation,
    Finding,
    Levels,
    Nozzle,
    PluginSettings,
    RecordRule,
    Review,
    Sales,
    Severity,
    Station,
    StationPast,
    Subject,
    Tank,
    Text,
    Transaction,
    finding_id,
)
from pumpwatch.past import SALE_COLUMNS, Chart, sales_from
from pumpwatch.testing import cut_invariant, order_free, screened, without

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 12
WORDS = Text("示例", "Demo")


def a_finding(rule: str, at: datetime, *what: object, station: str = "S01") -> Finding:
    subject = Subject(station)
    return Finding(
        id=finding_id(rule, subject, *what),
        rule=rule,
        cause="edited_record",
        subject=subject,
        severity=Severity.LOW,
        departments=(Department.OPERATIONS,),
        onset=at,
        detected_at=at,
        explanation=Explanation(WORDS, WORDS, WORDS, WORDS, WORDS),
    )


def a_past(station: str = "S01") -> StationPast:
    """Two nozzles that sell each hour; volumes 1, 2, 3 …; a link event a day."""
    n = DAYS * 24
    seq = np.tile(np.arange(1, n + 1), 2)
    end_us = np.tile(np.arange(n, dtype=np.int64) * 3_600_000_000 + 1_772_323_200_000_000 + 60_000_000, 2)
    columns = {name: seq.astype(float) for name in SALE_COLUMNS}
    columns |= {"nozzle": np.repeat(np.array([0, 1], np.int32), n), "seq": seq.astype(np.int64)}
    columns |= {"start_us": end_us - 60_000_000, "end_us": end_us}
    columns |= {"payment": np.full(2 * n, -1, np.int16), "preset_kind": np.full(2 * n, -1, np.int16)}
    nozzles = tuple(f"{station}-N{i:02}" for i in (1, 2))
    sales: Sales = sales_from(columns, nozzles)
    at_us = 1_772_323_200_000_000 + np.arange(n * 4, dtype=np.int64) * 900_000_000
    return StationPast(
        station=Station(station, "示例"),
        dispensers=(Dispenser(f"{station}-D1", station, serial="SER-1"),),
        nozzles=tuple(
            Nozzle(n, f"{station}-D1", f"{station}-T1", "92#", certificate_expires=START.date()) for n in nozzles
        ),
        tanks=(Tank(f"{station}-T1", station, "92#", 30_000.0),),
        start=START,
        end=START + timedelta(days=DAYS),
        sales=sales,
        levels={f"{station}-T1": Levels(at_us, *(np.full(len(at_us), 1000.0) for _ in range(6)))},
        deliveries=(Delivery(f"{station}-T1", START + timedelta(days=3), received_l=5e3, declared_l=5e3),),
        events=tuple(
            DeviceEvent(START + timedelta(days=d, hours=5), station, "D1", EventKind.LINK, {"up": False})
            for d in range(DAYS)
        ),
        identities=(DeviceIdentity(station, f"{station}-D1", START, serial="SER-1"),),
        charts={f"{station}-T1": Chart(np.array([0.0, 1.0]), np.array([0.0, 1.0]))},
    )


def test_the_invented_past_starts_when_it_says() -> None:
    assert a_past().sales.record(0).end == START + timedelta(minutes=1)


class DailyReview(Review):
    """One finding for each UTC day that has sold, at its end."""

    rule: ClassVar[str] = "daily"
    lookback: ClassVar[timedelta] = timedelta(days=1)
    wrong: ClassVar[str] = ""

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        day = timedelta(days=1)
        at = START + day if self.wrong != "anchor" else past.start + day
        while at <= until:
            rows = (past.sales.end_us > (at - day).timestamp() * 1e6) & (past.sales.end_us <= at.timestamp() * 1e6)
            sold = past.sales.volume_l[rows].sum()
            if self.wrong == "memory":
                sold = past.sales.volume_l.sum()
            if sold and (since < at <= until or self.wrong == "outside"):
                found = a_finding(self.rule, at, at.isoformat())
                yield replace(found, explanation=replace(found.explanation, what=Text(f"{sold}", f"{sold}")))
            at += day


CUTS = [START + timedelta(hours=h) for h in (1, 24, 24.5, 100, 213)]


def test_a_review_that_may_be_cut_passes() -> None:
    assert len(cut_invariant(DailyReview(PluginSettings()), a_past(), CUTS)) == DAYS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("anchor", "only when"), ("memory", "another explanation"), ("outside", "asked was")],
)
def test_a_review_that_may_not_be_cut_is_named(wrong: str, said: str) -> None:
    kind = type("Wrong", (DailyReview,), {"wrong": wrong})
    with pytest.raises(AssertionError, match=said):
        cut_invariant(kind(PluginSettings()), a_past(), CUTS)


class Together(Comparison):
    """One finding for each UTC day on which all stations sold."""

    rule: ClassVar[str] = "together"
    lookback: ClassVar[timedelta] = timedelta(days=1)
    wrong: ClassVar[bool] = False

    def digest(self, past: StationPast, since: datetime, until: datetime) -> object:
        days = {int(us // 86_400_000_000) for us in past.sales.end_us}
        return days if not self.wrong else len(days)

    def compare(self, digests: object, since: datetime, until: datetime) -> Iterator[Finding]:
        assert isinstance(digests, dict)
        if self.wrong:
            yield a_finding(self.rule, until, sum(digests.values()))
            return
        for day in sorted(set.intersection(*digests.values())):
            at = datetime.fromtimestamp((day + 1) * 86_400, UTC)
            if since < at <= until:
                yield a_finding(self.rule, at, day)


def test_a_comparison_is_cut_for_all_its_stations() -> None:
    pasts = [a_past("S01"), a_past("S02")]
    assert len(cut_invariant(Together(PluginSettings()), pasts, CUTS)) == DAYS
    wrong = type("Wrong", (Together,), {"wrong": True})
    with pytest.raises(AssertionError, match="said twice"):
        cut_invariant(wrong(PluginSettings()), pasts, CUTS)


class Step(RecordRule):
    """A filling that is not larger by one than the one before; each hundredth is found by itself."""

    rule: ClassVar[str] = "step"
    watches: ClassVar[tuple[type, ...]] = (Transaction,)
    reach: ClassVar[int] = 1

    def check(self, record: object, history: object) -> Iterator[Finding]:
        assert isinstance(record, Transaction)
        before = history.before(record, 1)  # type: ignore[attr-defined]
        if record.seq % 100 == 0 or (before and before[-1].volume_l != record.volume_l - 1):
            yield a_finding(self.rule, record.end, record.nozzle_id, record.seq)

    def screen(self, past: StationPast) -> np.ndarray:
        return past.sales.seq % 100 == 0


class ForgetsToReach(Step):
    reach: ClassVar[int] = 0


class Impatient(RecordRule):
    """A filling within six hours after a link went down is explained; a link event may come after its filling."""

    rule: ClassVar[str] = "impatient"
    watches: ClassVar[tuple[type, ...]] = (Transaction,)

    def check(self, record: object, history: object) -> Iterator[Finding]:
        assert isinstance(record, Transaction)
        since = record.end - timedelta(hours=6)
        if record.seq % 10 == 0 and not history.events("S01", EventKind.LINK, since, record.end):  # type: ignore[attr-defined]
            yield a_finding(self.rule, record.end, record.nozzle_id, record.seq)


class Patient(Impatient):
    patience: ClassVar[timedelta] = timedelta(minutes=5)


@pytest.mark.parametrize("seed", range(3))
def test_a_rule_that_does_not_mind_disorder_passes(seed: int) -> None:
    assert len(order_free(Step(PluginSettings()), a_past(), seed=seed)) == 4
    assert order_free(Patient(PluginSettings()), a_past(), seed=seed)


@pytest.mark.parametrize("kind", [ForgetsToReach, Impatient])
def test_a_rule_that_minds_disorder_is_named(kind: type[RecordRule]) -> None:
    with pytest.raises(AssertionError, match="in disorder"):
        order_free(kind(PluginSettings()), a_past())


def test_a_screen_that_is_too_strict_is_named() -> None:
    past = a_past()
    assert len(screened(Step(PluginSettings()), past)) == 4
    holed = replace(past, sales=past.sales.take(past.sales.seq != 50))
    with pytest.raises(AssertionError, match="leaves out S01-N01 seq 51"):
        screened(Step(PluginSettings()), holed)


@pytest.mark.parametrize("channel", Channel)
def test_a_station_without_a_channel_has_the_others(channel: Channel) -> None:
    past = replace(a_past(), declarations=(1,))  # type: ignore[arg-type]
    assert past.channels == frozenset(Channel)
    lost = {channel} | ({Channel.TANK_READINGS} if channel is Channel.TANK_DIPS else set())
    assert without(past, channel).channels == frozenset(Channel) - lost
