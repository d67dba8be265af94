"""Papers in simulated stations: each scenario at its first sale or event, honest ones quiet, cuts without a seam."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import lru_cache

import numpy as np
import pytest
from worlds import judged, staged

from pumpwatch import DeviceEvent, DeviceIdentity, EventKind, Severity, WorkOrder, from_us, to_us
from pumpwatch.detection.replay import PastHistory, in_order, judge_station
from pumpwatch_papers import (
    CertificateExpired,
    CovertTests,
    LicenceExpired,
    Seals,
    UnverifiedRepair,
    pumpwatch_detectors,
)
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.dataset.truth import truth_of

DAYS = 20
STATION = "S20"
DRAWS = timedelta(hours=4)
"""So long it is open whether a filling of a standard can was a draw of a verification."""
REVIEWS = [CertificateExpired, LicenceExpired, UnverifiedRepair, CovertTests]


def alarms(past, *rules, **settings):
    return [f for f in judged(past, *rules, **settings) if f.severity is not Severity.INFO]


def happened(name, **parameters):
    staging = _staged(name, tuple(parameters.items()))
    items = truth_of(staging)["items"]
    past = _past(name, tuple(parameters.items()))
    return past, *((items[-1], datetime.fromisoformat(items[-1]["onset"])) if items else (None, None))


@lru_cache
def _staged(name, parameters):
    scenarios = [{"name": name, "station": STATION, "onset": "P10D", **dict(parameters)}] if name else []
    return staged(*scenarios, days=DAYS, tank_reading_minutes=60)


@lru_cache
def _past(name, parameters):
    return station_past(_staged(name, parameters), STATION)


def first_sale(past, since, nozzle=None):
    rows = past.sales.of(nozzle) if nozzle else slice(None)
    start, end = past.sales.start_us[rows], past.sales.end_us[rows]
    return from_us(int(end[start >= to_us(since)].min()))


def with_can(past, end, litres=20.0):
    """The same past, where what ended then is as large as a standard can."""
    volumes = np.where(past.sales.end_us == to_us(end), litres, past.sales.volume_l)
    return replace(past, sales=replace(past.sales, volume_l=volumes))


def local_midnight(day):
    return datetime(day.year, day.month, day.day, tzinfo=datetime.fromisoformat("2026-01-01T00:00:00+08:00").tzinfo)


class TestFoundAtOnce:
    @pytest.mark.parametrize("days", [1, 9])
    def test_p01_at_the_first_sale(self, days):
        past, item, onset = happened("P01", days=days)
        first, *later = alarms(past, *pumpwatch_detectors())
        nozzle = item["subject"]["nozzle_id"]
        assert (first.rule, first.cause, first.subject.nozzle_id) == ("certificate_expired", item["cause"], nozzle)
        assert first.detected_at == first_sale(past, onset, nozzle)
        assert first.onset >= onset
        assert all(f.subject == first.subject and f.cause == first.cause for f in later)
        told = [f.detected_at for f in (first, *later)]
        assert np.all(np.diff(told) < timedelta(days=7))
        assert len(told) <= -(-(past.end - onset).days // 6)

    @pytest.mark.parametrize("licence", ["business", "retail", "hazmat"])
    def test_p02_at_the_first_sale(self, licence):
        past, item, onset = happened("P02", licence=licence)
        first, *later = alarms(past, *pumpwatch_detectors())
        assert (first.cause, first.subject.key, first.detected_at) == (item["cause"], STATION, first_sale(past, onset))
        assert {str(d) for d in first.departments} >= set(item["departments"])
        assert {f.rule for f in later} == {"licence_expired"}

    @pytest.mark.parametrize("seal", ["meter", "encoder", "mainboard"])
    def test_p03_at_the_event(self, seal):
        past, item, onset = happened("P03", seal=seal)
        (finding,) = alarms(past, *pumpwatch_detectors())
        assert (finding.cause, finding.subject.nozzle_id) == ("seal_changed", item["subject"]["nozzle_id"])
        assert finding.detected_at == onset
        assert seal in finding.explanation.title.en

    def test_f20_a_broken_seal(self):
        past, item, onset = happened("F20")
        (finding,) = alarms(past, Seals)
        assert (finding.cause, finding.subject.nozzle_id, finding.detected_at) == (
            "seal_broken", item["subject"]["nozzle_id"], onset,
        )  # fmt: skip

    def test_p04_at_the_first_sale(self):
        past, item, onset = happened("P04")
        first, *later = alarms(past, *pumpwatch_detectors())
        nozzle = item["subject"]["nozzle_id"]
        assert (first.cause, first.subject.nozzle_id) == ("unverified_repair", nozzle)
        assert first.detected_at == first_sale(past, onset, nozzle)
        assert len(later) == 1

    def test_h09_is_a_note_and_the_honest_are_quiet(self):
        past, _, _ = happened("H09")
        assert alarms(past, *pumpwatch_detectors()) == []
        (seal,) = judged(past, Seals)
        assert (seal.cause, seal.severity) == ("recalibration", Severity.INFO)


class TestReviews:
    @pytest.mark.parametrize("scenario", ["P01", "P02", "P04"])
    def test_cuts_leave_no_seam(self, scenario):
        past, _, _ = happened(scenario)
        rules = [kind(kind.Settings()) for kind in REVIEWS]
        chance = random.Random(5)
        whole = in_order(judge_station(past, rules, past.start, past.end)[0])
        for _ in range(6):
            middle = past.start + chance.random() * (past.end - past.start)
            parts = []
            for rule in rules:
                for since, until in ((past.start, middle), (middle, past.end)):
                    seen = past.between(since - rule.lookback, until + timedelta(microseconds=1))
                    parts += judge_station(seen, [rule], since, until)[0]
            assert in_order(parts) == whole

    def test_certificates_in_work_orders_count(self):
        past, item, onset = happened("P01", days=1)
        nozzle = item["subject"]["nozzle_id"]
        order = WorkOrder(STATION, nozzle, onset + timedelta(days=3), "verification", None, "i", "s", "NO-1")
        first, *later = alarms(replace(past, work_orders=(order,)), CertificateExpired)
        assert first.detected_at < order.at
        assert later == []
        early = replace(order, at=onset - timedelta(days=100))
        assert alarms(replace(past, work_orders=(early,)), CertificateExpired) == []
        unsigned = replace(early, signed_by_institute=None)
        assert len(alarms(replace(past, work_orders=(unsigned,)), CertificateExpired)) > 1
        old = replace(order, at=onset - timedelta(days=182))
        assert len(alarms(replace(past, work_orders=(old,)), CertificateExpired)) > 1

    def test_a_verification_that_failed_certifies_nothing(self):
        past, item, onset = happened("P01", days=1)
        nozzle = item["subject"]["nozzle_id"]
        order = WorkOrder(STATION, nozzle, onset - timedelta(days=100), "verification", None, "i", "s", "NO-1")
        for error, found in ((0.30, False), (-0.30, False), (None, False), (2.5, True), (-0.31, True)):
            told = replace(past, work_orders=(replace(order, error_percent=error),))
            assert bool(alarms(told, CertificateExpired)) is found

    def test_a_can_is_told_when_it_is_known_to_be_no_draw(self):
        """Whether the verification comes after the sale is not known at the sale; any other sale is told at once."""
        past, item, onset = happened("P01", days=1)
        nozzle = item["subject"]["nozzle_id"]
        first = first_sale(past, onset, nozzle)
        second = first_sale(past, first, nozzle)
        order = WorkOrder(STATION, nozzle, first + timedelta(minutes=1), "verification", None, "i", "s", "NO-1")
        for litres in (19.6, 20.0, 50.9):
            can = with_can(past, first, litres)
            told = alarms(can, CertificateExpired)[0]
            assert told.detected_at == second < first + DRAWS
            assert alarms(replace(can, work_orders=(order,)), CertificateExpired) == []
            lonely = with_can(can, second, litres)
            assert alarms(lonely, CertificateExpired)[0].detected_at == min(
                first + DRAWS, first_sale(past, second, nozzle)
            )
        for can, at in ((past, first), (with_can(past, first, 19.4), first), (with_can(past, first), first + DRAWS)):
            sales = can.sales.take(can.sales.end_us <= to_us(first))
            (told,) = alarms(replace(can, sales=sales), CertificateExpired)
            assert told.detected_at == at
            assert told.onset < first

    def test_draws_of_a_verification_are_no_sales(self):
        past, item, onset = happened("P01", days=1)
        nozzle = item["subject"]["nozzle_id"]
        first = first_sale(past, onset, nozzle)
        order = WorkOrder(STATION, nozzle, first + timedelta(minutes=1), "verification", None, "i", "s", "NO-1")
        can = replace(with_can(past, first), work_orders=(order,))
        assert alarms(can, CertificateExpired) == []
        assert len(alarms(can, CertificateExpired, draw_hours=0.0)) == 1
        assert len(alarms(replace(past, work_orders=(order,)), CertificateExpired)) == 1

    def test_grace_and_reminder_are_settings(self):
        past, item, onset = happened("P01", days=1)
        nozzle = item["subject"]["nozzle_id"]
        graced = alarms(past, CertificateExpired, grace_days=2)
        assert graced[0].detected_at == first_sale(past, onset + timedelta(days=2), nozzle)
        (note,) = [f for f in judged(past, CertificateExpired, soon_days=5) if f.subject.nozzle_id == nozzle][:1]
        assert note.severity is Severity.INFO
        assert note.detected_at == onset - timedelta(days=6)
        assert "5 more days" in note.explanation.what.en

    def test_a_closed_station_and_one_without_dates(self):
        past, _, _ = happened("")
        closing = date(2026, 3, 10)
        shut = replace(past.station, attributes={**past.station.attributes, "closed_on": closing.isoformat()})
        first, *_ = alarms(replace(past, station=shut), LicenceExpired)
        assert first.detected_at == first_sale(past, local_midnight(closing + timedelta(days=1)))
        assert "closed" in first.explanation.title.en
        bare = replace(
            past.station, business_licence_expires=None, retail_licence_expires=None, hazmat_licence_expires=None,
            attributes={"closed_on": "soon"},
        )  # fmt: skip
        assert judged(replace(past, station=bare), LicenceExpired) == []
        undated = tuple(replace(nozzle, certificate_expires=None) for nozzle in past.nozzles)
        assert judged(replace(past, nozzles=undated), CertificateExpired) == []


class TestRepairs:
    @pytest.fixture
    def bench(self):
        """An honest past and a repair at one of its nozzles in the middle of it."""
        past, _, _ = happened("")
        at = past.start + timedelta(days=8)
        past = replace(past, work_orders=())
        order = WorkOrder(STATION, "S20-N03", at, "repair", "r", None, "s", attributes={"detail": "更换编码器"})
        return past, order

    @pytest.mark.parametrize(
        ("detail", "found"),
        [
            ("更换编码器", True),
            ("replaced flow meter", True),
            ("更换滤芯", False),
            ("升级固件至 5.0.0", False),
            ("parameters", False),
        ],
    )
    def test_what_the_order_says(self, bench, detail, found):
        past, order = bench
        order = replace(order, attributes={"detail": detail})
        assert bool(alarms(replace(past, work_orders=(order,)), UnverifiedRepair)) is found

    def test_what_is_told_later_is_known_later(self, bench):
        """The part by an event after the sale; a can, which may be a draw, counts when it is known to be none."""
        past, order = bench
        first = first_sale(past, order.at, "S20-N03")
        second = first_sale(past, first, "S20-N03")
        seen = first + (second - first) / 2
        event = DeviceEvent(seen, STATION, "S20-N03", EventKind.IDENTITY, {"encoder_serial": "EN-9"})
        told, *_ = alarms(
            replace(past, work_orders=(replace(order, attributes={}),), events=(event,)), UnverifiedRepair
        )
        assert told.detected_at == seen
        assert told.evidence[1].data["end"] == first.isoformat()
        can = replace(with_can(past, first), work_orders=(order,))
        told, *_ = alarms(can, UnverifiedRepair)
        assert (told.detected_at, "1 sale " in told.explanation.what.en) == (second, True)
        told, *_ = alarms(replace(past, work_orders=(order,)), UnverifiedRepair)
        assert told.detected_at == first

    def test_what_devices_say_of_a_repair_without_words(self, bench):
        past, order = bench
        silent, minute = replace(order, attributes={}), timedelta(minutes=1)
        nozzle = past.nozzle_by_id["S20-N03"]
        told = {
            "encoder": DeviceEvent(
                order.at + minute, STATION, "S20-N03", EventKind.IDENTITY, {"encoder_serial": "EN-9"}
            ),
            "board": DeviceEvent(
                order.at, STATION, nozzle.dispenser_id, EventKind.IDENTITY, {"mainboard_serial": "X-9"}
            ),
            "seal": DeviceEvent(
                order.at, STATION, nozzle.dispenser_id, EventKind.SEAL,
                {"nozzle_id": "S20-N03", "seal": "seal_meter", "state": "broken"},
            ),
        }  # fmt: skip
        assert alarms(replace(past, work_orders=(silent,)), UnverifiedRepair) == []
        elsewhere = replace(order, attributes={"detail": "升级固件"})
        assert alarms(replace(past, work_orders=(elsewhere,), events=tuple(told.values())), UnverifiedRepair) == []
        for event in told.values():
            (first, *_) = alarms(replace(past, work_orders=(silent,), events=(event,)), UnverifiedRepair)
            assert first.subject.nozzle_id == "S20-N03"
        identity = DeviceIdentity(STATION, nozzle.dispenser_id, order.at, encoder_serials={"S20-N03": "EN-9"})
        assert alarms(replace(past, work_orders=(silent,), identities=(identity,)), UnverifiedRepair)
        odd = DeviceEvent(
            order.at, STATION, "S20-N03", EventKind.SEAL, {"seal": "pulse_l", "number": "9", "state": "intact"}
        )
        assert alarms(replace(past, work_orders=(silent,), events=(odd,)), UnverifiedRepair) == []
        same = replace(identity, encoder_serials={"S20-N03": f" {nozzle.encoder_serial} "})
        assert alarms(replace(past, work_orders=(silent,), identities=(same,)), UnverifiedRepair) == []

    def test_no_setting_reaches_farther_than_it_looks_back(self):
        most = {"reach_days": 30.0, "draw_hours": 24.0, "trace_hours": 24.0}
        UnverifiedRepair.Settings(**most)
        assert timedelta(days=30.0, hours=48.0) <= UnverifiedRepair.lookback
        for name, value in most.items():
            with pytest.raises(ValueError, match=name):
                UnverifiedRepair.Settings(**{name: value + 0.1})

    def test_a_board_concerns_every_nozzle_of_the_dispenser(self, bench):
        past, order = bench
        dispenser = past.nozzle_by_id["S20-N03"].dispenser_id
        whole = replace(order, device_id=dispenser, attributes={"detail": "更换主板"})
        found = alarms(replace(past, work_orders=(whole,)), UnverifiedRepair)
        assert {f.subject.nozzle_id for f in found} == {
            n.nozzle_id for n in past.nozzles if n.dispenser_id == dispenser
        }

    def test_verified_before_the_first_sale_is_in_order(self, bench):
        past, order = bench
        first = first_sale(past, order.at, "S20-N03")
        verified = replace(order, kind="verification", signed_by_repairer=None, signed_by_institute="i")
        for at, found in ((order.at, 0), (first - timedelta(minutes=5), 0), (first + timedelta(days=2), 1)):
            orders = (order, replace(verified, at=at))
            assert len(alarms(replace(past, work_orders=orders), UnverifiedRepair)) == found
        assert alarms(replace(past, work_orders=(replace(order, signed_by_institute="i"),)), UnverifiedRepair) == []
        failed = (order, replace(verified, at=order.at, error_percent=2.5))
        assert alarms(replace(past, work_orders=failed), UnverifiedRepair)
        before = (order, replace(verified, at=order.at - timedelta(days=2)))
        assert alarms(replace(past, work_orders=before), UnverifiedRepair)


class TestSeals:
    def look(self, kit, *, orders=(), device="S01-D1", registered="SM-1", **detail):
        history = kit.county()
        history.nozzles["S01-N01"] = replace(history.nozzles["S01-N01"], seal_meter=registered)
        history.orders.extend(orders)
        said = {"nozzle_id": "S01-N01", "seal": "seal_meter", "number": "SM-1", "state": "intact", **detail}
        event = DeviceEvent(kit.NOON, "S01", device, EventKind.SEAL, said)
        return kit.judge(Seals(Seals.Settings()), [event], history)

    def test_what_is_in_order_or_unknown_is_quiet(self, kit):
        assert self.look(kit) == []
        assert self.look(kit, number=" sm-1 ") == []
        assert self.look(kit, number="") == []
        assert self.look(kit, registered=None, number="SM-9") == []
        assert self.look(kit, nozzle_id="S01-N77", state="broken") == []
        assert self.look(kit, seal="seal_of_approval", state="broken") == []

    def test_who_may_explain_what(self, kit):
        work = WorkOrder("S01", "S01-N01", kit.NOON - timedelta(hours=2), "repair", "r", None, "s")
        full = replace(work, signed_by_institute="i", kind="calibration")
        verified = replace(full, kind="verification", signed_by_repairer=None)
        for orders, broken, changed, *calibrated in (
            ([], Severity.CRITICAL, Severity.HIGH),
            ([work], Severity.INFO, Severity.HIGH),
            ([replace(work, device_id="S01")], Severity.CRITICAL, Severity.HIGH),
            ([replace(full, device_id="S01")], Severity.INFO, Severity.INFO, True),
            ([replace(full, error_percent=2.5)], Severity.INFO, Severity.HIGH),
            ([full], Severity.INFO, Severity.INFO, True),
            ([work, verified], Severity.INFO, Severity.INFO),
            ([verified], Severity.CRITICAL, Severity.HIGH),
            ([replace(full, at=kit.NOON - timedelta(days=2))], Severity.CRITICAL, Severity.HIGH),
            ([replace(full, kind="inspection")], Severity.CRITICAL, Severity.HIGH),
            ([replace(full, attributes={"detail": "更换滤芯"})], Severity.CRITICAL, Severity.HIGH),
            ([replace(full, attributes={"detail": "更换计量器滤芯"})], Severity.INFO, Severity.INFO, True),
        ):
            named = "recalibration" if calibrated else "seal_broken"
            (one,) = self.look(kit, orders=orders, state="broken", number="")
            (two,) = self.look(kit, orders=orders, number="SM-9")
            assert (one.cause, one.severity) == (named, broken)
            assert (two.cause, two.severity) == ("seal_changed", changed)


class TestOccasions:
    """Live, a rule is asked again when something has come that it names."""

    @staticmethod
    def named(rule, past):
        """The first record of each occasion, in the order of their times."""
        history = PastHistory(past)
        sales = sorted((past.sales.record(row) for row in range(len(past.sales))), key=lambda sale: sale.end)
        found = {}
        for sale in sales:
            if (name := rule.occasion(sale, history)) is not None:
                found.setdefault(name, sale)
        return found

    @pytest.mark.parametrize(
        ("scenario", "kind"), [("P01", CertificateExpired), ("P02", LicenceExpired), ("P04", UnverifiedRepair)]
    )
    def test_each_alarm_has_one_at_the_record_that_shows_it(self, scenario, kind):
        past, _, onset = happened(scenario)
        rule = kind(kind.Settings())
        named = self.named(rule, past)
        found = alarms(past, kind)
        at_once = [f.detected_at for f in found if f.detected_at in {s.end for s in named.values()}]
        assert at_once[0] == found[0].detected_at
        assert len(found) - 1 <= len(named) <= len(found) + 1
        first = min(sale.end for sale in named.values())
        known = past.between(first - rule.lookback, first + timedelta(microseconds=1))
        told = judge_station(known, [rule], first - timedelta(hours=1), first)[0]
        assert [f.id for f in told] == [found[0].id]
        assert all(sale.start >= onset for sale in named.values())

    @pytest.mark.parametrize("kind", [CertificateExpired, LicenceExpired, UnverifiedRepair])
    def test_the_honest_have_none(self, kind):
        past, _, _ = happened("")
        assert self.named(kind(kind.Settings()), past) == {}

    def test_a_certificate_in_a_work_order_and_a_can_are_none(self):
        past, item, onset = happened("P01", days=1)
        nozzle, rule = item["subject"]["nozzle_id"], CertificateExpired(CertificateExpired.Settings())
        order = WorkOrder(STATION, nozzle, onset - timedelta(days=1), "verification", None, "i", "s", "NO-1")
        assert self.named(rule, replace(past, work_orders=(order,))) == {}
        cans = replace(past, sales=replace(past.sales, volume_l=np.full(len(past.sales), 20.3)))
        assert self.named(rule, cans) == {}

    def test_a_repair_that_is_entered_late_is_one(self):
        rule = UnverifiedRepair(UnverifiedRepair.Settings())
        order = WorkOrder(
            STATION,
            "S20-N03",
            local_midnight(date(2026, 3, 9)),
            "repair",
            "r",
            None,
            "s",
            attributes={"detail": "编码器"},
        )
        history = PastHistory(happened("")[0])
        assert rule.occasion(order, history)
        assert rule.occasion(replace(order, signed_by_institute="i"), history) is None
        assert rule.occasion(replace(order, attributes={"detail": "更换滤芯"}), history) is None

    def test_a_part_that_tells_of_open_work_is_one_once(self):
        rule = UnverifiedRepair(UnverifiedRepair.Settings())
        past, hour = happened("")[0], timedelta(hours=1)
        at, nozzle = local_midnight(date(2026, 3, 9)), past.nozzle_by_id["S20-N03"]
        order = WorkOrder(STATION, nozzle.nozzle_id, at, "repair", "r", None, "s")
        history = PastHistory(replace(past, work_orders=(order,)))
        identity = DeviceIdentity(STATION, nozzle.dispenser_id, at + hour, encoder_serials={nozzle.nozzle_id: "EN-9"})
        named = rule.occasion(identity, history)
        assert named
        assert rule.occasion(replace(identity, at=at + 2 * hour), history) == named
        honest = {nozzle.nozzle_id: nozzle.encoder_serial}
        event = DeviceEvent(at + hour, STATION, nozzle.dispenser_id, EventKind.SEAL,
                            {"nozzle_id": nozzle.nozzle_id, "seal": "seal_meter", "state": "broken"})  # fmt: skip
        assert rule.occasion(event, history) not in {None, named}
        for record in (
            replace(identity, encoder_serials=honest), replace(identity, at=at + 25 * hour),
            replace(event, kind=EventKind.POWER), replace(event, device_id="S20"),
        ):  # fmt: skip
            assert rule.occasion(record, history) is None
        assert rule.occasion(identity, PastHistory(past)) is None
