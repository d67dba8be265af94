"""identity_change: each field against the ledger, quiet beside a signed work order, one finding for one identity."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from pumpwatch import Department, DeviceEvent, DeviceIdentity, EventKind, Severity, WorkOrder
from pumpwatch_integrity.identity import IdentityChange, IdentitySettings

FIELDS = ["serial", "mainboard_serial", "firmware_version", "firmware_digest", "tax_serial"]


def rule(**keys):
    return IdentityChange(IdentitySettings(**keys))


@pytest.fixture
def honest(kit):
    return DeviceIdentity(
        "S01",
        "S01-D1",
        kit.NOON,
        serial="SER-1",
        mainboard_serial="MB-1",
        firmware_version="1.2.0",
        firmware_digest="ab" * 32,
        tax_serial="TAX-1",
        encoder_serials={"S01-N01": "ENC-1", "S01-N02": "ENC-2"},
    )


def order(kit, *, days=-1.0, **more):
    return WorkOrder(
        **{
            "station_id": "S01",
            "device_id": "S01-D1",
            "at": kit.NOON + timedelta(days=days),
            "kind": "repair",
            "signed_by_repairer": "示例维修",
            "signed_by_institute": "示例检定",
            "signed_by_station": "示例站长",
            **more,
        }
    )


def test_the_registered_identity_is_quiet(kit, honest):
    assert kit.judge(rule(), [honest], kit.county()) == []


def test_what_the_device_does_not_tell_is_not_judged(kit, honest):
    silent = replace(honest, **dict.fromkeys(FIELDS), encoder_serials={})
    assert kit.judge(rule(), [silent], kit.county()) == []
    blank = replace(honest, **dict.fromkeys(FIELDS, " \0"), encoder_serials={"S01-N01": "\0\0"})
    assert kit.judge(rule(), [blank], kit.county()) == []


def test_what_is_not_registered_is_not_judged(kit, honest):
    history = kit.county()
    history.dispensers["S01-D1"] = replace(history.dispensers["S01-D1"], **dict.fromkeys(FIELDS))
    history.nozzles["S01-N01"] = replace(history.nozzles["S01-N01"], encoder_serial=None)
    other = replace(honest, **dict.fromkeys(FIELDS, "X"), encoder_serials={"S01-N01": "X", "S01-N77": "X"})
    assert kit.judge(rule(), [other], history) == []


def test_an_unregistered_dispenser_is_not_judged(kit, honest):
    assert kit.judge(rule(), [replace(honest, dispenser_id="S01-D9", encoder_serials={})], kit.county()) == []


def test_capitals_and_padding_do_not_count(kit, honest):
    same = replace(honest, firmware_digest="AB" * 32, mainboard_serial="MB-1\0\0 ")
    assert kit.judge(rule(), [same], kit.county()) == []


@pytest.mark.parametrize("field", FIELDS)
def test_each_field(kit, honest, field):
    (finding,) = kit.judge(rule(), [replace(honest, **{field: "NEW-9"})], kit.county())
    assert finding.cause == "identity_change"
    assert finding.severity is Severity.CRITICAL
    assert finding.subject.key == "S01-D1"
    assert finding.onset == finding.detected_at == kit.NOON
    assert (Department.TAX in finding.departments) is (field == "tax_serial")
    assert Department.MARKET_REGULATION in finding.departments
    assert [e.reference for e in finding.evidence] == [f"S01-D1/{field}"]
    assert finding.evidence[0].data["observed"] == "NEW-9"
    for text in (finding.explanation.what.zh, finding.explanation.what.en):
        assert "NEW-9" in text
        assert str(getattr(honest, field))[:12] in text
    assert finding.evidence[0].data["registered"] == getattr(honest, field)


def test_all_changed_fields_are_one_finding(kit, honest):
    (finding,) = kit.judge(rule(), [replace(honest, **dict.fromkeys(FIELDS, "NEW-9"))], kit.county())
    assert len(finding.evidence) == 5
    assert finding.explanation.title.zh == "1号加油机 5项身份不符"
    assert finding.explanation.title.en == "Dispenser 1 identity: 5 fields changed"


def test_an_encoder_names_its_nozzle(kit, honest):
    changed = replace(honest, encoder_serials={"S01-N01": "ENC-1", "S01-N02": "ENC-99"})
    (finding,) = kit.judge(rule(), [changed], kit.county())
    assert (finding.subject.dispenser_id, finding.subject.nozzle_id) == ("S01-D1", "S01-N02")
    assert finding.explanation.title.zh == "2号枪 编码器序列号不符"
    assert finding.explanation.title.en == "Nozzle 2 encoder serial changed"


def test_swapped_encoders_say_so(kit, honest):
    swapped = replace(honest, encoder_serials={"S01-N01": "ENC-2", "S01-N02": "ENC-1"})
    one, two = kit.judge(rule(), [swapped], kit.county())
    assert "2号枪" in one.explanation.otherwise.zh
    assert "Nozzle 1" in two.explanation.otherwise.en


def test_board_and_encoder_are_told_apart(kit, honest):
    both = replace(honest, mainboard_serial="MB-9", encoder_serials={"S01-N01": "ENC-9"})
    found = kit.judge(rule(), [both], kit.county())
    assert [f.subject.key for f in found] == ["S01-D1", "S01-N01"]


class TestWorkOrder:
    def judged(self, kit, honest, *orders, **keys):
        history = kit.county()
        history.orders.extend(orders)
        return kit.judge(rule(**keys), [replace(honest, mainboard_serial="MB-9")], history)

    @pytest.mark.parametrize("kind", ["repair", "install", "verification"])
    @pytest.mark.parametrize("days", [-7.0, -1.0, 0.0, 1.0])
    def test_signed_and_near_is_a_note(self, kit, honest, kind, days):
        (finding,) = self.judged(kit, honest, order(kit, kind=kind, days=days))
        assert finding.severity is Severity.INFO
        assert finding.explanation.title.en == "Dispenser 1 changed with work order"
        assert "institute" in finding.explanation.why.en

    @pytest.mark.parametrize("days", [-7.01, 1.01])
    def test_too_far_is_not(self, kit, honest, days):
        (finding,) = self.judged(kit, honest, order(kit, days=days))
        assert finding.severity is Severity.CRITICAL

    @pytest.mark.parametrize("kind", ["inspection", "calibration", ""])
    def test_another_kind_is_not(self, kit, honest, kind):
        (finding,) = self.judged(kit, honest, order(kit, kind=kind))
        assert finding.severity is Severity.CRITICAL

    @pytest.mark.parametrize("signature", ["signed_by_repairer", "signed_by_station"])
    @pytest.mark.parametrize("blank", [None, "", " "])
    def test_a_signature_lacking_is_not(self, kit, honest, signature, blank):
        (finding,) = self.judged(kit, honest, order(kit, **{signature: blank}))
        assert finding.severity is Severity.CRITICAL

    def test_without_the_institute_it_is_a_note_that_says_so(self, kit, honest):
        (finding,) = self.judged(kit, honest, order(kit, signed_by_institute=" "))
        assert finding.severity is Severity.INFO
        assert finding.explanation.why.en.endswith("signed by repairer and station.")
        assert "verified" in finding.explanation.otherwise.en

    def test_a_verification_after_the_repair_completes_it(self, kit, honest):
        repair = order(kit, days=-1.0, signed_by_institute=None)
        verified = order(kit, days=0.5, kind="verification", signed_by_repairer=None, device_id="S01-N02")
        (finding,) = self.judged(kit, honest, repair, verified)
        assert finding.severity is Severity.INFO
        assert "institute" in finding.explanation.why.en

    def test_a_verification_alone_or_a_nozzles_repair_explains_no_board(self, kit, honest):
        verified = order(kit, kind="verification", signed_by_repairer=None, device_id="S01-N01")
        (finding,) = self.judged(kit, honest, verified, order(kit, device_id="S01-N01"))
        assert finding.severity is Severity.CRITICAL

    def test_another_digest_under_one_version_needs_the_institute(self, kit, honest):
        half, digest = order(kit, signed_by_institute=None), replace(honest, firmware_digest="cd" * 32)
        for changed, severity in (
            (digest, Severity.CRITICAL),
            (replace(digest, firmware_version="2.0.0"), Severity.INFO),
        ):
            history = kit.county()
            history.orders.append(half)
            (finding,) = kit.judge(rule(), [changed], history)
            assert finding.severity is severity

    def test_an_order_for_the_whole_station_needs_the_institute(self, kit, honest):
        whole = order(kit, device_id="S01")
        for signed, severity in ((whole, Severity.INFO), (replace(whole, signed_by_institute=None), Severity.CRITICAL)):
            (finding,) = self.judged(kit, honest, signed)
            assert finding.severity is severity

    def test_a_verification_that_failed_completes_nothing(self, kit, honest):
        patched = replace(honest, firmware_digest="cd" * 32)
        repair = order(kit, days=-1.0, signed_by_institute=None)
        verified = order(kit, days=0.5, kind="verification", signed_by_repairer=None, error_percent=0.1)
        for error, severity in ((0.1, Severity.INFO), (2.5, Severity.CRITICAL)):
            history = kit.county()
            history.orders.extend([repair, replace(verified, error_percent=error)])
            (finding,) = kit.judge(rule(), [patched], history)
            assert finding.severity is severity

    def test_another_tax_control_without_the_institute_is_low(self, kit, honest):
        for institute, severity in ((None, Severity.LOW), ("所", Severity.INFO)):
            history = kit.county()
            history.orders.append(order(kit, signed_by_institute=institute))
            (finding,) = kit.judge(rule(), [replace(honest, tax_serial="TAX-9")], history)
            assert finding.severity is severity

    @pytest.mark.parametrize("off_s", [10**400, float("nan"), "long"])
    def test_a_power_cut_of_no_length_is_none(self, kit, honest, off_s):
        history = kit.county()
        cut = DeviceEvent(kit.NOON - timedelta(minutes=9), "S01", "S01-D1", EventKind.POWER, {"off_s": off_s})
        history.take(cut)
        (finding,) = kit.judge(rule(), [replace(honest, mainboard_serial="MB-9")], history)
        assert {each.kind for each in finding.evidence} == {"identity"}

    @pytest.mark.parametrize(
        ("detail", "days", "severity"),
        [
            ("更换主板", -6, Severity.INFO),
            ("更换主板", -8, Severity.CRITICAL),
            ("升级固件至 5.0.0", -0.1, Severity.CRITICAL),
            ("更换滤芯", -0.1, Severity.CRITICAL),
            ("", -0.9, Severity.INFO),
            ("", -2, Severity.CRITICAL),
        ],
    )
    def test_an_order_speaks_for_what_it_is_about(self, kit, honest, detail, days, severity):
        half = order(kit, days=days, signed_by_institute=None, attributes={"detail": detail})
        (finding,) = self.judged(kit, honest, half)
        assert finding.severity is severity

    def test_an_order_that_names_the_value_explains_it_for_ever(self, kit, honest):
        old = order(kit, days=-400, attributes={"detail": "更换主板，新号 MB-9。"})
        (finding,) = self.judged(kit, honest, old)
        assert finding.severity is Severity.INFO
        (finding,) = self.judged(kit, honest, replace(old, attributes={"detail": "更换主板，新号 MB-99"}))
        assert finding.severity is Severity.CRITICAL

    def test_three_orders_with_one_signature_each_are_not(self, kit, honest):
        orders = [
            order(kit, signed_by_repairer=None, signed_by_institute=None),
            order(kit, signed_by_repairer=None, signed_by_station=None),
            order(kit, signed_by_institute=None, signed_by_station=None),
        ]
        assert [f.severity for f in self.judged(kit, honest, *orders)] == [Severity.CRITICAL]

    def test_another_dispenser_or_station_is_not(self, kit, honest):
        for other in (order(kit, device_id="S01-D2"), order(kit, station_id="S02")):
            assert [f.severity for f in self.judged(kit, honest, other)] == [Severity.CRITICAL]

    def test_the_days_are_a_setting(self, kit, honest):
        (finding,) = self.judged(kit, honest, order(kit, days=-20.0), work_order_days=30)
        assert finding.severity is Severity.INFO

    def test_judged_again_after_the_order_is_a_note_of_its_own(self, kit, honest):
        history, judged = kit.county(), rule()
        changed = replace(honest, encoder_serials={"S01-N01": "ENC-9"})
        (alarm,) = kit.judge(judged, [changed], history)
        history.orders.append(order(kit, days=0.5))
        notes = kit.judge(judged, [changed, replace(changed, at=kit.NOON + timedelta(hours=13))], history)
        assert [note.severity for note in notes] == [Severity.INFO, Severity.INFO]
        assert alarm.id not in {note.id for note in notes}


class TestRepeats:
    def test_the_same_identity_is_one_finding_in_any_order(self, kit, honest):
        records = [
            replace(honest, at=kit.NOON + timedelta(minutes=5 * i), mainboard_serial="MB-9" if i >= 4 else "MB-1")
            for i in range(12)
        ]
        in_order = kit.judge(rule(), records, kit.county())
        shuffled = records + records[::3]
        random.Random(3).shuffle(shuffled)
        told = kit.judge(rule(), shuffled, kit.county())
        assert {f.id for f in told} == {f.id for f in in_order}
        assert len({f.id for f in told}) == 1
        assert min(f.onset for f in told) == min(f.onset for f in in_order) == records[4].at

    def test_another_value_is_another_finding(self, kit, honest):
        ids = {
            f.id
            for serial in ("MB-8", "MB-9", "mb-9 ")
            for f in kit.judge(rule(), [replace(honest, mainboard_serial=serial)], kit.county())
        }
        assert len(ids) == 2


class TestEvents:
    """What data sets hold: events of kind identity, for a dispenser or for a nozzle."""

    def event(self, kit, device, **detail):
        return DeviceEvent(kit.NOON, "S01", device, EventKind.IDENTITY, detail)

    def test_an_event_is_judged_like_an_identity(self, kit, honest):
        (told,) = kit.judge(rule(), [replace(honest, mainboard_serial="MB-9")], kit.county())
        (event,) = kit.judge(rule(), [self.event(kit, "S01-D1", mainboard_serial="MB-9")], kit.county())
        assert (event.id, event.subject, event.explanation) == (told.id, told.subject, told.explanation)

    @pytest.mark.parametrize("device", ["S01-N02", "S01-D1"])
    def test_an_encoder_is_told_by_the_nozzle_or_for_it(self, kit, device):
        more = {} if device == "S01-N02" else {"nozzle_id": "S01-N02"}
        (finding,) = kit.judge(rule(), [self.event(kit, device, encoder_serial="ENC-9", **more)], kit.county())
        assert (finding.subject.dispenser_id, finding.subject.nozzle_id) == ("S01-D1", "S01-N02")

    def test_what_is_registered_or_unknown_is_quiet(self, kit):
        events = [
            self.event(kit, "S01-D1", mainboard_serial="mb-1", note="x"),
            self.event(kit, "S01-N02", encoder_serial="ENC-2"),
            self.event(kit, "TLS", mainboard_serial="MB-9"),
            self.event(kit, "S01-D1", encoder_serial="ENC-9"),
            self.event(kit, "S01-D1"),
            DeviceEvent(kit.NOON, "S01", "S01-D1", EventKind.POWER, {"mainboard_serial": "MB-9"}),
        ]
        assert kit.judge(rule(), events, kit.county()) == []

    def test_a_power_cut_just_before_is_told(self, kit):
        cut = DeviceEvent(
            kit.NOON - timedelta(minutes=3), "S01", "S01-D1", EventKind.POWER, {"up": True, "off_s": 1500.0}
        )
        other = replace(cut, device_id="S01-D2", detail={"up": True, "off_s": 9_000.0})
        change = self.event(kit, "S01-D1", mainboard_serial="MB-9")
        (finding,) = kit.judge(rule(), [cut, other, change], kit.county())
        assert "25 minutes" in finding.explanation.what.en
        assert finding.evidence[-1].data["off_minutes"] == 25.0
