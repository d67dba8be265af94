"""The main job end to end, with real processes, real sockets and real files."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import struct
import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import websockets

pytestmark = pytest.mark.integration


def test_every_device_is_connected_and_nozzles_change(demo, wait_for) -> None:
    status = wait_for(
        "connection", lambda: (s := demo.get("/status"))["devices"]["connected"] == s["devices"]["total"] and s, 90
    )
    assert status["stations"] == {"total": 5, "connected": 5}
    assert {"identity_change", "link_lost", "pulse_ratio", "totalizer_continuity"} <= set(status["rules"]["on"])
    assert status["rules"]["failing"] == {}
    wait_for("samples", lambda: demo.get("/status")["samples_per_s"] > 0, 60)
    before = {t["path"]: t["value"] for t in demo.get("/latest") if t["path"].endswith(".volume")}
    wait_for(
        "change in a nozzle's litres",
        lambda: any(before.get(t["path"]) != t["value"] for t in demo.get("/latest") if "/nozzle-" in t["path"]),
        90,
    )


def test_the_live_feed_sends_a_layout_alarms_and_a_frame_a_second(demo) -> None:
    async def listen() -> tuple[dict, dict, list[bytes]]:
        texts, frames = {}, []
        async with websockets.connect(f"ws://127.0.0.1:{demo.port + 1}/api/v1/live", proxy=None) as socket:
            async for message in socket:
                if isinstance(message, bytes):
                    frames.append(message)
                else:
                    body = json.loads(message)
                    texts[body["type"]] = body
                if len(frames) == 3:
                    return texts["layout"], texts["alarms"], frames
        raise AssertionError("the feed ended")

    layout, alarms, frames = asyncio.run(listen())
    assert isinstance(alarms["alarms"], list)
    stations = layout["stations"]
    n = sum(len(s["nozzles"]) for s in stations)
    t = sum(len(s["tanks"]) for s in stations)
    for frame in frames:
        magic, version, at, s_count, n_count, t_count, _ = struct.unpack_from("<4sIdIIII", frame)
        assert (magic, version, s_count, n_count, t_count) == (b"PW01", layout["version"], len(stations), n, t)
        assert len(frame) == 32 + 4 * (2 * s_count + 3 * n_count + t_count) + s_count + n_count
        assert abs(at - time.time()) < 5
    seconds = [int(struct.unpack_from("<d", frame, 8)[0]) for frame in frames]
    assert seconds == sorted(set(seconds)), "one a second"
    assert seconds[-1] - seconds[0] < 10, "every second, but for a busy machine"


def test_the_three_cheats_raise_their_alarms_and_nothing_else_does(demo, wait_for) -> None:
    truth = {item["cause"]: item["subject"] for item in demo.truth()}
    rules = {"pulse_ratio", "identity_change", "totalizer_continuity"}
    wait_for("three alarms", lambda: rules <= set(demo.alarms()), 150)
    alarms = demo.alarms()
    assert set(alarms) == rules, "no other alarm"
    assert len(demo.get("/alarms", state="all")) == 3
    for alarm in alarms.values():
        subject = {k: v for k, v in truth[alarm["cause"]].items() if v}
        assert {k: alarm["subject"][k] for k in subject} == subject
        for language in ("zh", "en"):
            for part in ("title", "what", "why", "otherwise", "on_site"):
                assert alarm["finding"]["explanation"][part][language]
    assert 2.5 < alarms["pulse_ratio"]["finding"]["estimate"]["value"] < 3.5
    assert alarms["totalizer_continuity"]["finding"]["estimate"]["value"] == pytest.approx(36.5, abs=0.02)


def test_status_on_the_command_line(demo, wait_for) -> None:
    told = demo.command("status", "--json", "--data", str(demo.data))
    assert told.returncode == 0, told.stderr
    status = json.loads(told.stdout)
    assert status["stations"]["total"] == 5
    assert status["journal_backlog"] >= 0
    assert {"rule", "subject", "severity", "since", "acknowledged"} <= set(status["active_alarms"][0])
    people = demo.command("status", "--data", str(demo.data))
    assert "stations 5/5" in people.stdout.replace("\n", " ")


def test_lists_can_be_exported(demo, wait_for) -> None:
    station = demo.get("/stations")[0]["station_id"]
    wait_for("sale", lambda: demo.get(f"/stations/{station}/transactions"), 90)
    for path in ("/alarms", "/stations", f"/stations/{station}/transactions", "/latest"):
        answer = httpx.get(f"http://127.0.0.1:{demo.port + 1}/api/v1{path}", params={"format": "csv"}, timeout=30)
        assert answer.status_code == 200
        assert answer.text.startswith("\ufeff")
        assert len(answer.text.splitlines()) > 1


def test_a_station_that_stops_is_one_alarm_and_recovers_alone(demo, wait_for) -> None:
    station = demo.get("/stations")[-1]["station_id"]
    devices = [d for d in demo.get(f"/stations/{station}")["devices"] if d["driver"] == "modbus"]
    assert demo.command("sim", "stop", station, "--out", str(demo.data / "sim")).returncode == 0
    prefix = f"{station}/{devices[0]['device_id']}/"
    wait_for("BAD tags", lambda: all(t["quality"] >= 0x80 for t in demo.get("/latest", prefix=prefix)), 30)
    wait_for("alarm", lambda: demo.alarms().get("link_lost", {}).get("severity") == "medium", 90)
    lost = [a for a in demo.get("/alarms") if a["rule"] == "link_lost"]
    assert [a["subject"]["station_id"] for a in lost] == [station]
    assert not demo.get(f"/stations/{station}")["connected"]
    assert demo.command("sim", "start", station, "--out", str(demo.data / "sim")).returncode == 0
    wait_for("recovery", lambda: demo.alarms()["link_lost"]["state"] == "returned", 90)
    wait_for("good tags", lambda: all(t["quality"] < 0x40 for t in demo.get("/latest", prefix=prefix)), 90)
    assert demo.post(f"/alarms/{lost[0]['id']}/acknowledge", {"by": "示例员"}).json()["state"] == "cleared"


def test_after_kill_9_nothing_is_lost(demo, wait_for, children_of) -> None:
    alarm = wait_for("alarm", lambda: demo.alarms().get("identity_change"), 150)
    if alarm["state"] == "active":
        demo.post(f"/alarms/{alarm['id']}/acknowledge", {"by": "示例员", "note": "before the crash"})
    tank = next(t["path"] for t in demo.get("/latest") if t["path"].endswith("/tank-1.height"))
    before = len(demo.get("/series", path=tank)["at"])
    wait_for("two more readings", lambda: len(demo.get("/series", path=tank)["at"]) >= before + 2, 90)
    children = children_of(demo.process.pid)
    kept = demo.get("/series", path=tank)["at"]
    os.kill(children["pumpwatch"], signal.SIGKILL)
    killed = time.time()
    wait_for(
        "another server",
        lambda: children_of(demo.process.pid).get("pumpwatch") not in {None, children["pumpwatch"]},
        60,
    )
    wait_for("answers", lambda: demo.get("/status"), 60)
    back = time.time()
    again = demo.alarms()["identity_change"]
    assert again["id"] == alarm["id"]
    assert again["acknowledged_by"] == "示例员"
    assert [e["act"] for e in again["log"]].count("acknowledge") == 1
    wait_for("new readings", lambda: demo.get("/series", path=tank)["at"][-1] > kept[-1], 90)
    after = demo.get("/series", path=tank)["at"]
    assert set(kept) <= set(after), "every reading acknowledged before the crash is still there"
    times = [datetime.fromisoformat(a).timestamp() for a in after]
    longest = max(b - a for a, b in itertools.pairwise(times))
    assert longest < (back - killed) + 40, "no gap but the time it was down"
    wait_for("every device", lambda: (s := demo.get("/status"))["devices"]["connected"] == s["devices"]["total"], 90)
    assert set(demo.alarms()) == {"pulse_ratio", "identity_change", "totalizer_continuity"}


def test_a_second_demo_on_the_same_folder_is_refused(demo) -> None:
    told = demo.command("demo", "--data", str(demo.data), "--no-browser", "--port", "1")
    assert told.returncode == 1
    assert "another folder" in told.stderr


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, demo) -> None:
    (tmp_path / "ledger.sqlite").write_text("precious")
    told = demo.command("demo", "--data", str(tmp_path), "--no-browser")
    assert told.returncode == 1
    assert (tmp_path / "ledger.sqlite").read_text() == "precious"


def test_ctrl_c_ends_everything(tmp_path: Path, start_demo, children_of) -> None:
    short = start_demo(tmp_path / "var", "--stations", "3", "--no-cheats")
    children = children_of(short.process.pid)
    assert set(children) == {"pumpwatch", "pumpwatch_sim", "pumpwatch_dashboards"}
    short.process.send_signal(signal.SIGINT)
    assert short.process.wait(60) == 0
    assert not [pid for pid in children.values() if Path(f"/proc/{pid}").exists()]
