"""The tools of ``bench alarm`` measure what they say."""

from __future__ import annotations

import csv
import json
import tomllib
from datetime import UTC, datetime
from io import StringIO
from types import SimpleNamespace

import httpx

from pumpwatch import DeviceEvent, EventKind, Nozzle
from pumpwatch.cli.benching import alarm
from pumpwatch.detection import LiveHistory
from pumpwatch.ledger import Register
from pumpwatch_integrity.clock import ClockFault
from pumpwatch_papers.seals import Seals
from pumpwatch_sim.dataset.truth import truth_of
from pumpwatch_sim.fleet import Fleet
from pumpwatch_sim.staging import stage

STARTED = "2026-11-22T08:00:00+00:00"


def told(number, rule, cause, station, raised, shown, *notes):
    return {
        "id": f"A-{number:06}", "rule": rule, "cause": cause, "raised_at": f"2026-11-22T{raised}+00:00",
        "subject": {"station_id": station}, "finding": {"detected_at": f"2026-11-22T{shown}Z"},
        "log": [{"at": f"2026-11-22T{at}Z", "note": note} for at, note in notes],
    }  # fmt: skip


def answering(*alarms):
    def answer(request):
        return httpx.Response(200, json={"started": STARTED} if request.url.path.endswith("status") else list(alarms))

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://bench/api/v1")


def test_the_fleet_stages_every_scenario_at_a_station_of_its_own():
    scenarios = [*alarm.SCENARIOS.values(), (alarm.TOO_LITTLE[1], {"station": alarm.PAST})]
    text = alarm._fleet("live", "now", alarm.STATIONS, scenarios, "PT60S", demand=20.0)
    items = truth_of(stage(Fleet.model_validate(tomllib.loads(text)), datetime(2026, 11, 22, 8, tzinfo=UTC)))["items"]
    names = {alarm._IN_TRUTH.get(name, name) for name, _ in scenarios}
    assert {item["scenario"] for item in items} == names
    assert len({item["subject"]["station_id"] for item in items}) == len(names)
    assert alarm.STATIONS - len(names) == len(alarm.ALTERED)  # free for those that call
    (repair,) = [item for item in items if item["scenario"] == "unverified_after_repair"]
    header, row = alarm._repair(repair).splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["device_id"] == "S35-N04"


def test_seconds_are_from_the_record_or_the_start_to_the_first_alarm_that_is_about_it():
    items = {
        name: {"cause": cause, "subject": {"station_id": station}}
        for name, cause, station in (
            ("T03", "rollback", "S01"), ("P01", "expired", "S02"), ("F15", "identity_change", "S03"),
        )
    }  # fmt: skip
    alarms = (
        told(1, "totalizer_continuity", "rollback", "S09", "08:01:00", "08:00:59"),
        told(2, "totalizer_continuity", "rollback", "S01", "08:02:07", "08:02:00"),
        told(3, "certificate_expired", "expired", "S02", "08:00:20", "07:30:00"),
        told(4, "price", "other", "S02", "08:00:10", "08:00:10"),
        told(5, "identity_change", "identity_change", "S03", "08:03:01", "08:03:00",
             ("08:03:01", ""), ("08:03:12", "explains cloned_serial S03-D1: twice")),
    )  # fmt: skip
    with answering(*alarms) as http:
        assert alarm._watched(http, items) == {"T03": 7.0, "P01": 20.0, "F15": 12.0}


def test_what_is_imported_counts_from_its_arrival():
    arrived = datetime(2026, 11, 22, 8, 2, tzinfo=UTC)
    wanted = {name: alarm.Wanted("S01", cause, arrived) for name, cause in alarm.TOLD.items()}
    alarms = (
        told(1, "seals", "seal_changed", "S02", "08:02:05", "08:01:00"),
        told(2, "clock_fault", "clock_fault", "S01", "08:03:05", "08:01:00"),
        told(3, "seals", "seal_changed", "S01", "08:02:45", "08:01:00"),
    )
    with answering(*alarms) as http:
        assert alarm._awaited(http, wanted, 60.0) == {"P03": 45.0, "C06": 65.0}


def test_events_of_other_devices_show_a_seal_and_a_clock():
    now = datetime(2026, 11, 22, 8, tzinfo=UTC)
    station = {"station_id": "S01", "dispensers": [{"dispenser_id": "S01-D1", "nozzle_ids": ["S01-N01", "S01-N02"]}]}
    events = [
        DeviceEvent(
            datetime.fromisoformat(row["time"]),
            row["station_id"],
            row["device_id"],
            EventKind(row["kind"]),
            json.loads(row["detail"]),
        )
        for row in csv.DictReader(StringIO(alarm._events(station, now)))
    ]
    nozzle = Nozzle("S01-N01", "S01-D1", "S01-T1", "92#", seal_mainboard="SM-1")
    history = LiveHistory(Register((), (), (), (nozzle,), ()), {})
    rules = [kind(kind.Settings()) for kind in (Seals, ClockFault)]
    found = [finding.cause for event in events for rule in rules for finding in rule.check(event, history)]
    assert found == list(alarm.TOLD.values())


def test_what_never_comes_is_none(monkeypatch):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    monkeypatch.setattr(alarm, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    item = {"cause": "rollback", "subject": {"station_id": "S01"}}
    with answering() as http:
        assert alarm._watched(http, {"T03": item}) == {"T03": None}
    assert alarm.AFTER_S <= now[0] < alarm.AFTER_S + 1.0
