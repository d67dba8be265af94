"""The past judged again: from the command line, through the API, and by the server itself after an import."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from multiprocessing import active_children

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.alarms import State, finding_to_json
from pumpwatch.api import create_app
from pumpwatch.canonical.pasts import Asked, FarPast
from pumpwatch.detection import in_order, judge_station
from pumpwatch.engine import RuleBook, judges
from pumpwatch.errors import BadConfig
from pumpwatch.historian.reading import LentRecords
from pumpwatch.plugins import Plugins
from pumpwatch.settings import Settings
from pumpwatch_sim.dataset.generate import generate
from pumpwatch_sim.dataset.pasts import station_past
from pumpwatch_sim.fleet import load_fleet
from pumpwatch_sim.staging import stage

FLEET = """
name = "detect"
seed = 5
start = 2026-03-02T00:00:00+08:00
days = 8
[stations]
count = 3
[[scenario]]
name = "totalizer_rollback"
station = "S01"
onset = "P3D"
[[scenario]]
name = "short_by_mainboard"
station = "S43"
onset = "P4D"
"""
RULES = ("pulse_ratio", "totalizer_continuity")
CHOSEN = [word for rule in RULES for word in ("--rule", rule)]


def pumpwatch(*words):
    command = [sys.executable, "-m", "pumpwatch", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def found(*words):
    told = pumpwatch("detect", "--json", "--each", "--workers", "1", *words)
    assert told.returncode == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


@pytest.fixture(scope="module")
def county(tmp_path_factory):
    """A data folder with three stations, and the same stations' pasts."""
    folder = tmp_path_factory.mktemp("detect")
    (folder / "fleet.toml").write_text(FLEET, encoding="utf-8")
    plan = load_fleet(folder / "fleet.toml")
    generate(folder / "fleet.toml", folder / "set", workers=1)
    told = pumpwatch("import", str(folder / "set"), "--data", str(folder / "data"), "--json")
    assert told.returncode == 0, told.stderr
    staging = stage(plan, plan.start)
    return folder / "data", {s.station_id: station_past(staging, s.station_id) for s in staging.county.stations}


def judged(pasts):
    kinds = Plugins.discover().rules
    rules = [kinds[name](kinds[name].Settings()) for name in RULES]
    findings = [f for past in pasts for f in judge_station(past, rules, past.start, past.end)[0]]
    return [finding_to_json(f) for f in in_order(findings)]


def test_a_folder_is_judged_as_its_stations_are(county):
    data, pasts = county
    said = found("--data", str(data), *CHOSEN)
    assert said == judged(pasts.values())
    assert {f["subject"]["station_id"] for f in said} == {"S01", "S43"}
    assert {f["rule"] for f in said} == set(RULES)


def test_one_cause_is_told_once_with_how_often(county):
    data, pasts = county
    told = pumpwatch("detect", "--json", "--workers", "1", "--data", str(data), *CHOSEN)
    causes = [json.loads(line) for line in told.stdout.splitlines()]
    every = judged(pasts.values())
    assert {f["subject"]["nozzle_id"] for f in causes} == {f["subject"]["nozzle_id"] for f in every}
    assert len(causes) < len(every)
    assert sum(f["count"] for f in causes) == len(every)


def test_a_period_and_a_station_choose(county):
    data, pasts = county
    half = "2026-03-07T12:00:00+08:00"
    early, late = (found("--data", str(data), *CHOSEN, edge, half) for edge in ("--to", "--from"))
    assert early
    assert late
    assert {f["id"] for f in early} | {f["id"] for f in late} == {f["id"] for f in judged(pasts.values())}
    assert not {f["id"] for f in early} & {f["id"] for f in late}
    only = found("--data", str(data), *CHOSEN, "--station", "S01")
    assert only == judged([pasts["S01"]])


def test_people_see_a_table_and_mistakes_get_words(county, tmp_path):
    data, _ = county
    told = pumpwatch("detect", "--data", str(data), "--rule", "totalizer_continuity", "--workers", "1")
    assert told.returncode == 0
    assert told.stdout.startswith("Findings")
    assert "S01-N" in told.stdout
    for words, remedy in (
        (("--data", str(data), "--rule", "puls_ratio"), "pulse_ratio"),
        (("--data", str(tmp_path / "none")), "no such folder"),
        (("--data", str(data), "--from", "yesterday"), "with its offset"),
        (("--data", str(data), "--station", "S99"), "S01"),
    ):
        wrong = pumpwatch("detect", *words)
        assert wrong.returncode == 1
        assert remedy in wrong.stderr.replace("\n", " ")


async def test_two_processes_say_what_one_says(county):
    _, pasts = county

    async def past(station_id, start, end):
        return pasts[station_id].between(start, end)

    one = next(iter(pasts.values()))
    said = []
    for workers in (1, 2):
        done = []
        with judges(RuleBook(Settings(), names=frozenset(RULES)), workers) as bench:
            judgement = await bench.judge(list(pasts), past, one.start, one.end, done.append)
        said.append([finding_to_json(f) for f in judgement.findings])
        assert done[-1] == len(pasts)
    assert said[0] == said[1] == judged(pasts.values())


BIGGEST = '''
from datetime import timedelta
from typing import ClassVar

from pumpwatch import About, Comparison, Explanation, Finding, Severity, Subject, Text, finding_id, hookimpl

NOTHING = Text("无", "none")


class Biggest(Comparison):
    """A note each midnight: the station that has sold most so far."""

    rule: ClassVar[str] = "biggest"
    every: ClassVar[timedelta] = timedelta(days=1)
    lookback: ClassVar[timedelta] = timedelta(days=9)
    about: ClassVar[About] = None

    def digest(self, past, since, until):
        return sorted(past.sales.end_us.tolist())

    def compare(self, digests, since, until):
        at = since.replace(hour=0, minute=0, second=0, microsecond=0)
        while (at := at + timedelta(days=1)) <= until:
            sold = {station: sum(end < at.timestamp() * 1e6 for end in ends) for station, ends in digests.items()}
            subject = Subject(max(sorted(sold), key=sold.get))
            words = Explanation(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)
            found_id = finding_id(self.rule, subject, at.isoformat())
            yield Finding(found_id, self.rule, "biggest", subject, Severity.INFO, (), at, at, words)


@hookimpl
def pumpwatch_detectors():
    return [Biggest]
'''


async def test_processes_share_a_comparison_of_a_file_and_say_what_one_says(county, tmp_path):
    _, pasts = county
    (tmp_path / "biggest.py").write_text(BIGGEST, encoding="utf-8")

    async def past(station_id, start, end):
        return pasts[station_id].between(start, end)

    one = next(iter(pasts.values()))
    said = []
    for workers in (1, 3):
        with judges(RuleBook(Settings(), tmp_path, frozenset({"biggest"})), workers) as bench:
            judgement = await bench.judge(sorted(pasts), past, one.start, one.end)
        assert not judgement.failing
        said.append([finding_to_json(f) for f in judgement.findings])
    assert len(said[0]) >= 7  # a midnight each
    assert said[0] == said[1]


async def test_what_a_process_cannot_read_its_owner_reads(county, tmp_path):
    _, pasts = county
    one = next(iter(pasts.values()))

    async def past(station_id, start, end):
        return pasts[station_id].between(start, end)

    async def far(station_id, start, end):
        known = replace(pasts[station_id], start=start, end=end)
        return FarPast(LentRecords(tmp_path / "gone.sqlite"), Asked(known))

    with judges(RuleBook(Settings(), names=frozenset(RULES)), 2) as bench:
        judgement = await bench.judge(sorted(pasts), past, one.start, one.end, far=far)
    assert [finding_to_json(f) for f in judgement.findings] == judged(pasts.values())


def test_a_rule_that_is_not_there_is_named():
    with pytest.raises(BadConfig, match=r"puls_ratio.*pulse_ratio"):
        RuleBook(Settings()).choose(["puls_ratio"])


async def test_the_api_judges_as_the_live_server_did(rig, sale):
    async with rig() as r:
        r.forecourt.records = [sale(r.clock.now().replace(microsecond=0), 2, encoder_pulses=2913)]
        await r.until(r.engine.alarms.current)
        (alarm,) = r.engine.alarms.current()
        transport = httpx.ASGITransport(create_app(r.engine, None), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8081/api/v1", timeout=60) as http:
            answer = await http.get("/detect", params={"rule": "pulse_ratio", "station": "S01", "each": True})
            assert answer.status_code == 200, answer.text
            assert answer.json() == {"findings": [finding_to_json(alarm.finding)], "off": {}}
            for question, status in (({"rule": "nothing"}, 400), ({"workers": 99}, 422), ({"from": "soon"}, 422)):
                wrong = await http.get("/detect", params=question)
                assert wrong.status_code == status, wrong.text


async def test_hostile_questions_get_words(rig):
    async with rig() as r:
        transport = httpx.ASGITransport(create_app(r.engine, None), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8081/api/v1", timeout=60) as http:

            @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
            @given(
                st.dictionaries(st.sampled_from(["from", "to", "rule", "workers"]), st.text(max_size=80), min_size=1)
            )
            def ask(question):
                answers.append(asyncio.ensure_future(http.get("/detect", params=question | {"rule": "no such rule"})))

            answers = []
            ask()
            for answer in await asyncio.gather(*answers):
                assert answer.status_code in {400, 422}, answer.text
                assert answer.json()["error"]


async def test_what_an_import_brings_is_reviewed(rig):
    async with rig() as r:
        at = r.clock.now().replace(microsecond=0) - timedelta(days=1)
        times = [(at + timedelta(minutes=n), at + timedelta(minutes=n, seconds=50)) for n in range(1, 4)]
        rows = "nozzle_id,seq,start,end,volume_l,amount_cny,unit_price,encoder_pulses\n" + "".join(
            f"S01-N01,{n},{start.isoformat()},{end.isoformat()},30.0,225.0,7.5,2910\n"
            for n, (start, end) in enumerate(times)
        )

        async def content():
            yield rows.encode()

        report = await r.engine.exchange.take("transactions", "csv", content())
        assert (report.added, report.rejected) == (3, 0)
        await r.until(lambda: r.engine.alarms.current() or r.engine.reviewing.trouble, seconds=600)
        assert r.engine.reviewing.trouble is None
        (alarm,) = [a for a in r.engine.alarms.current() if a.rule == "pulse_ratio"]
        assert alarm.state is State.ACTIVE
        await r.until(lambda: r.engine.reviewing.reviewed)
        assert r.engine.alarms.current()[0].count == 3
        assert r.engine.status()["rules"]["reviewed"]


async def test_judges_leave_no_process_behind_when_something_goes_wrong(county):
    _, pasts = county
    before = set(active_children())
    one = next(iter(pasts.values()))

    async def past(station_id, start, end):
        if station_id != one.station_id:
            raise RuntimeError("the disk has gone")
        return one

    with (
        pytest.raises(RuntimeError, match="the disk has gone"),
        judges(RuleBook(Settings(), names=frozenset(RULES)), 1) as bench,
    ):
        await bench.judge(list(pasts), past, one.start, one.end)
    assert set(active_children()) <= before


async def test_a_review_that_fails_is_told_and_supervision_goes_on(rig, monkeypatch):
    async with rig() as r:

        async def judge(*_, **__):
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(r.engine.reviewing, "judge", judge)
        r.engine.reviewing.wake()
        await r.until(lambda: r.engine.reviewing.trouble, seconds=300)
        assert "a bug" in r.engine.status()["rules"]["review_trouble"]
        path = "S01/D1/nozzle-1.volume"
        r.forecourt.values["nozzle-1.volume"] = 7.25
        await r.until(lambda: r.engine.hub.latest[path].value == 7.25)
