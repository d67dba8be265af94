"""What ``bench alarm`` brings as a calling controller: kept by the driver, and told of by the rules that are meant."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr

from pumpwatch import Call, RecordRule, Site
from pumpwatch.cli.benching import calling
from pumpwatch.clock import SystemClock
from pumpwatch.detection import Detection, LiveHistory
from pumpwatch.errors import NotReachable
from pumpwatch.ledger import Register
from pumpwatch.plugins import Plugins
from pumpwatch.settings import parse_settings, resolve_secret
from pumpwatch.testing import ScriptedLine
from pumpwatch_ptsjson import PtsJsonDriver, PtsJsonSettings

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
STATIONS = {f"S{number}": f"S{number}-N01" for number in range(1, 5)}


def call_line():
    line = ScriptedLine({})
    line.address = "call:"
    return line


def told(controller, folder):
    """The settings of its device in the configuration."""
    (station,) = parse_settings(controller.lines(folder / controller.station_id)).stations
    return dict(station.devices[0].settings)


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """The controllers, and the records that a server's driver makes of what each of them brings."""
    records = {}
    callers = calling.controllers(STATIONS)
    drivers = {
        each.station_id: PtsJsonDriver(
            PtsJsonSettings.model_validate(told(each, tmp_path) | {"password": SecretStr(each.password)}),
            Site(each.station_id, "PTS", None, (each.nozzle_id,), ()),
            call_line(),
        )
        for each in callers.values()
    }

    def post(url, *, json, auth, **_):
        request = next(httpx.BasicAuth(*auth).auth_flow(httpx.Request("POST", url, json=json)))
        station = request.url.path.split("/")[2]
        call = Call("POST", dict(request.headers), request.content, request.url.path)
        answer, reading = drivers[station].called(call, NOW)
        records.setdefault(station, []).append(reading.records)
        return httpx.Response(answer.status, content=answer.body)

    monkeypatch.setattr(calling.httpx, "post", post)
    return callers, records


def causes(batches):
    """What the record rules say of the last batch."""
    found = []

    async def heard(finding):
        found.append(finding.cause)

    async def nothing(*_):
        pass

    rules = [kind(kind.Settings()) for kind in Plugins.discover().rules.values()]
    rules = [rule for rule in rules if isinstance(rule, RecordRule)]

    async def judge():
        history = LiveHistory(Register((), (), (), (), ()), {})
        detection = Detection(rules, history, SystemClock(), heard, nothing, nothing, nothing)
        for batch in batches:
            found.clear()
            await detection.judge(batch)
            await detection.judge_patiently_until(time.monotonic() + 86_400)

    asyncio.run(judge())
    return found


@pytest.mark.parametrize("name", sorted(calling.ALTERED))
def test_the_first_altered_record_is_told_of(kept, name):
    callers, records = kept
    known = calling.bring_known("http://server", callers[name], NOW)
    before = causes(records[callers[name].station_id])
    callers[name].bring("http://server", calling.ALTERED[name](known, NOW))
    after = causes(records[callers[name].station_id])
    assert (before, after) == ([], [calling.CAUSES[name]] if name in calling.CAUSES else [])


def test_what_the_server_does_not_keep_is_an_error(kept):
    callers, _ = kept
    wrong = calling.Controller("S1", "S1-N01", "another password")
    with pytest.raises(NotReachable, match="S1"):
        calling.bring_known("http://server", wrong, NOW)
    negative = calling.Filling(1, NOW, -1, 0, 0, 0)
    with pytest.raises(NotReachable, match="Volume"):
        callers["F22"].bring("http://server", [negative])


def test_its_configuration_names_a_secret_that_only_the_server_reads(tmp_path):
    (controller, *_) = calling.controllers(STATIONS).values()
    secret = tmp_path / "secret"
    (station,) = parse_settings(controller.lines(secret)).stations
    (device,) = station.devices
    assert (device.driver, device.line, device.nozzles) == ("ptsjson", "call:", ("S1-N01",))
    assert resolve_secret(device.settings["password"]) == controller.password
    assert secret.stat().st_mode & 0o077 == 0
