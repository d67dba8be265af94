"""self_lock: each code with its meaning, whose it is, and signed repairs beside it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pumpwatch import DeviceEvent, EventKind, Severity, WorkOrder
from pumpwatch_integrity.locks import CODES, LockSettings, SelfLock, code_of


def lock(kit, device="S01-D1", kind=EventKind.LOCK, **detail):
    return DeviceEvent(kit.NOON, "S01", device, kind, detail)


def judged(kit, *events, orders=()):
    history = kit.county()
    history.orders.extend(orders)
    return kit.judge(SelfLock(LockSettings()), events, history)


@pytest.mark.parametrize(
    ("code", "cause", "severity"),
    [
        (61, "identity_change", Severity.HIGH),
        (62, "self_lock", Severity.MEDIUM),
        (63, "identity_change", Severity.CRITICAL),
        (64, "short_delivery", Severity.CRITICAL),
        (65, "identity_change", Severity.HIGH),
        (17, "self_lock", Severity.MEDIUM),
        (None, "self_lock", Severity.MEDIUM),
    ],
)
def test_each_code(kit, code, cause, severity):
    (finding,) = judged(kit, lock(kit, code=code, nozzle_id="S01-N02"))
    assert (finding.cause, finding.severity, finding.subject.key) == (cause, severity, "S01-N02")
    assert finding.onset == finding.detected_at == kit.NOON
    assert finding.evidence[0].data["code"] == code
    if code in CODES:
        assert CODES[code].meaning.zh in finding.explanation.what.zh
        assert str(code) in finding.explanation.title.en


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("63", 63),
        ("E63", 63),
        ("ERR-63", 63),
        (63.0, 63),
        (6.3, None),
        (True, None),
        (10**400, None),
        (float("nan"), None),
        (float("inf"), None),
        ("resubmitted", None),
    ],
)
def test_how_codes_are_written(told, number):
    assert code_of(told) == number


def test_whose_lock_it_is(kit):
    for device, detail, subject in (
        ("S01-D1", {}, "S01-D1"),
        ("S01-N03", {}, "S01-N03"),
        ("S01-D1", {"nozzle_id": "S01-N77"}, "S01-D1"),
    ):
        (finding,) = judged(kit, lock(kit, device, code=61, **detail))
        assert finding.subject.key == subject
    assert judged(kit, lock(kit, "TLS", code=61)) == []


def test_alarms_count_with_these_codes_only(kit):
    assert len(judged(kit, lock(kit, kind=EventKind.ALARM, code=63))) == 1
    assert (
        judged(kit, lock(kit, kind=EventKind.ALARM, code=17), lock(kit, kind=EventKind.ALARM, code="resubmitted")) == []
    )
    assert judged(kit, lock(kit, kind=EventKind.POWER, code=63)) == []


def test_unlocking_is_not_told(kit):
    assert judged(kit, lock(kit, code=63, locked=False), lock(kit, code=63, state="unlocked")) == []
    assert len(judged(kit, lock(kit, code=63, locked=True))) == 1


def test_who_must_have_signed_the_repair_that_explains_it(kit):
    order = WorkOrder("S01", "S01-D1", kit.NOON - timedelta(hours=5), "repair", "r", None, "s")
    full = replace(order, signed_by_institute="i")
    for signed, severity in (
        (order, Severity.LOW),
        (full, Severity.INFO),
        (replace(full, device_id="S01"), Severity.INFO),
        (replace(order, device_id="S01"), Severity.CRITICAL),
        (replace(full, device_id="S01-N02", at=kit.NOON + timedelta(hours=20)), Severity.INFO),
        (replace(order, at=kit.NOON - timedelta(days=3)), Severity.CRITICAL),
        (replace(order, signed_by_repairer=None), Severity.CRITICAL),
        (replace(order, kind="inspection"), Severity.CRITICAL),
        (replace(order, attributes={"detail": "更换滤芯"}), Severity.CRITICAL),
        (replace(order, attributes={"detail": "更换编码器"}), Severity.LOW),
        (replace(order, device_id="S01-D2"), Severity.CRITICAL),
    ):
        (finding,) = judged(kit, lock(kit, code=63, nozzle_id="S01-N02"), orders=[signed])
        assert finding.severity is severity


def test_the_same_event_again_is_the_same_finding(kit):
    found = judged(
        kit, lock(kit, code=63), lock(kit, code=63), replace(lock(kit, code=63), at=kit.NOON + timedelta(days=1))
    )
    assert len({finding.id for finding in found}) == 2
