"""What the dashboards process answers: facts passed on, acts protected, no token, nothing from elsewhere."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

TOKEN = "stand-in-token-7f3a"
ACK = "/data/alarms/A-001042/acknowledge"


@pytest.fixture
def web(dashboards: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=dashboards, trust_env=False, timeout=60) as client:
        yield client


def post(web: httpx.Client, path: str = ACK, *, body: Any = None, **headers: str) -> httpx.Response:
    own = {"Origin": str(web.base_url).rstrip("/"), "Content-Type": "application/json"}
    json = {"by": "赵示例", "note": ""} if body is None else body
    return web.post(path, json=json, headers={k: v for k, v in (own | headers).items() if v})


def test_an_act_reaches_the_api_with_its_name(web: httpx.Client, county: Callable[..., Any]) -> None:
    county("reset")
    answer = post(web, body={"by": " 赵示例 ", "note": "已电话联系站方"})
    assert answer.status_code == 200
    assert answer.json()["state"] == "acknowledged"
    assert county("reset") == [{"id": "A-001042", "act": "acknowledge", "by": "赵示例", "note": "已电话联系站方"}]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_an_act_must_be_json(kind: str, web: httpx.Client, county: Callable[..., Any]) -> None:
    county("reset")
    answer = web.post(
        ACK, content=b'{"by": "x"}', headers={"Origin": str(web.base_url).rstrip("/"), "Content-Type": kind}
    )
    assert answer.status_code in ({415} if "multipart" not in kind else {400, 415})
    assert county("reset") == []


@pytest.mark.parametrize("origin", ["", "null", "http://evil.example", "http://127.0.0.1:1", "http://127.0.0.1"])
def test_an_act_must_come_from_our_own_page(origin: str, web: httpx.Client, county: Callable[..., Any]) -> None:
    county("reset")
    answer = post(web, Origin=origin)
    assert (answer.status_code, answer.json()["error"]) == (403, "strange_origin")
    assert county("reset") == []


@pytest.mark.parametrize("path", ["/", "/station", "/assets/wall.js", "/data/alarms", "/data/stations/S22", ACK])
def test_a_name_that_is_not_ours_gets_nothing(path: str, web: httpx.Client) -> None:
    strange = {"Host": f"rebound.example:{web.base_url.port}", "Origin": f"http://rebound.example:{web.base_url.port}"}
    answer = post(web, path, **strange) if path == ACK else web.get(path, headers=strange)
    assert (answer.status_code, answer.json()["error"]) == (403, "strange_host")


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        (ACK, {"by": "", "note": ""}, "no_name"),
        (ACK, {"by": "x" * 41, "note": ""}, "no_name"),
        (ACK, {"by": "a\nb", "note": ""}, "no_name"),
        (ACK, {"note": ""}, "bad_act"),
        (ACK, {"by": 7}, "bad_act"),
        (ACK, ["by"], "bad_act"),
        (ACK, {"by": "x", "note": "y" * 501}, "no_note"),
        (ACK.replace("acknowledge", "clear"), {"by": "x", "note": "  "}, "no_note"),
        (ACK.replace("acknowledge", "clear"), {"by": "x"}, "no_note"),
    ],
)
def test_an_odd_act_is_refused(path: str, body: Any, error: str, web: httpx.Client, county: Callable[..., Any]) -> None:
    county("reset")
    answer = post(web, path, body=body)
    assert (answer.status_code, answer.json()["error"]) == (422, error)
    assert county("reset") == []


def test_a_large_act_is_refused(web: httpx.Client) -> None:
    answer = post(web, body={"by": "x", "note": "y" * 5000})
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_what_the_api_refuses_is_passed_on(web: httpx.Client) -> None:
    answer = post(web, "/data/alarms/A-000000/acknowledge")
    assert answer.status_code == 404
    assert "A-000000" in answer.json()["detail"]
    assert web.get("/data/stations/S99").status_code == 404


@pytest.mark.parametrize(
    "path", ["/data/alarms/A-1/shelve", "/data/alarms/..%2Fstatus/acknowledge", "/data/stations/a%2Fb"]
)
def test_no_other_address_of_the_api_is_reached(path: str, web: httpx.Client) -> None:
    assert post(web, path).status_code in {403, 404, 405}
    assert web.get(path).status_code in {404, 405}


def test_facts_are_passed_on(web: httpx.Client) -> None:
    assert web.get("/data/stations/S22").json()["dispensers"][1]["matches"] is False
    sales = web.get("/data/stations/S22/transactions", params={"limit": 3}).json()
    assert [s["station_id"] for s in sales] == ["S22"] * 3
    assert {a["state"] for a in web.get("/data/alarms").json()} == {"active", "returned", "acknowledged"}
    assert len(web.get("/data/alarms", params={"state": "all", "limit": 1000}).json()) > 20


def test_alarms_as_a_spreadsheet(web: httpx.Client) -> None:
    answer = web.get("/data/alarms", params={"state": "all", "format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="alarms.csv"'
    assert answer.content.startswith(b"\xef\xbb\xbfid,rule,state")


@pytest.mark.parametrize("query", [{"limit": "all"}, {"state": "every"}, {"start": "2026"}, {"limit": "123456"}])
def test_an_unknown_query_is_refused(query: dict[str, str], web: httpx.Client) -> None:
    answer = web.get("/data/alarms", params=query)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_query")


def test_indications_of_a_station(web: httpx.Client) -> None:
    by = {i["nozzle_id"]: i for i in web.get("/data/stations/S22/indications").json()}
    short = by["S22-N03"]
    assert 0.3 < short["low"] < short["error"] < short["high"] < 2.6
    assert by["S22-N12"]["error"] is None
    honest = [i for n, i in by.items() if n not in {"S22-N03", "S22-N12"}]
    assert all(-0.3 < i["low"] <= i["high"] < 0.3 for i in honest)


@pytest.mark.parametrize("path", ["/", "/station?id=S22", "/alarms", "/data/alarms", "/assets/wall.js", "/nowhere"])
def test_every_answer_says_what_a_browser_may_do(path: str, web: httpx.Client) -> None:
    answer = web.get(path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in policy["script-src"]
    assert "*" not in answer.headers["content-security-policy"]
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/?lang=zh", "/alarms", "/station?id=S22", "/data/alarms", "/data/stations/S22"])
def test_neither_token_nor_foreign_addresses_are_in_any_answer(path: str, web: httpx.Client) -> None:
    answer = web.get(path)
    assert answer.status_code == 200
    assert TOKEN not in answer.text
    assert TOKEN not in str(answer.headers)
    assert re.findall(r'(?:src|href)="(?:https?:)?//', answer.text) == []


def test_only_the_page_with_charts_loads_bokeh(web: httpx.Client) -> None:
    assert "bokeh" not in web.get("/").text.lower()
    assert "bokeh" not in web.get("/alarms").text.lower()
    station = web.get("/station?id=S22&lang=en&theme=dark").text
    assert "static/js/bokeh.min.js" in station
    assert "es-module-shims" not in station
    assert '<html lang="en" data-theme="dark"' in station
    assert '<html lang="zh-Hans-CN" data-theme="light"' in web.get("/").text


def test_hostile_query_values_stay_out_of_the_page(web: httpx.Client) -> None:
    page = web.get("/", params={"lang": '"><script>alert(1)</script>', "theme": "x' onload='"}).text
    assert "alert(1)" not in page
    assert "onload" not in page


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def test_without_the_api_pages_still_open_and_say_why() -> None:
    command = [
        "-m",
        "pumpwatch_dashboards",
        "--api",
        f"http://127.0.0.1:{free_port()}",
        "--port",
        "0",
        "--until-stdin-closes",
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, *command], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        url = process.stdout.readline().split()[-1].rstrip("/")
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as web:
            assert web.get("/").status_code == 200
            answer = web.get("/data/alarms")
            assert (answer.status_code, answer.json()["error"]) == (503, "not_reachable")
            assert post(web).status_code == 503
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stderr.read().count("live feed lost") == 1, "a loss is logged once, not each time it is tried"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--api", "127.0.0.1:8081"], "is not an address of the API"), (["--port", "{taken}"], "take another port")],
)
def test_a_bad_command_line_says_what_to_do(arguments: list[str], said: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = [a.replace("{taken}", str(taken.getsockname()[1])) for a in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "pumpwatch_dashboards", *words],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
