"""The figures of an alarm over the API."""

from __future__ import annotations

import sys
from dataclasses import replace
from xml.etree import ElementTree

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pumpwatch.alarms import figure_to_json
from pumpwatch.api import create_app
from pumpwatch.api.figures import figures_router
from pumpwatch.model import Curve, Figure, Text

FIGURE = Figure(
    Text("每笔误差", "Error of each sale"),
    Text("时间", "time"),
    Text("误差 %", "error, %"),
    (Curve(Text("误差", "error"), (1.77e9, 1.7701e9), (0.1, 3.0), "points", (), True),),
)


def application(engine, token=None):
    app = create_app(engine, token)
    paths = {getattr(route, "path", "") for route in app.routes}
    if "/api/v1/alarms/{alarm_id}/figures/{number}.{form}" not in paths:
        app.include_router(figures_router(engine))
    return app


def client(engine, token=None, **how):
    transport = httpx.ASGITransport(application(engine, token), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8081/api/v1", **how)


@pytest.fixture
async def shown(rig, sale):
    """A station with one alarm that has one figure, and the API in front of it."""
    async with rig() as r:
        r.forecourt.records = [sale(r.clock.now(), 1, encoder_pulses=2913)]
        await r.until(r.engine.alarms.current)
        (alarm,) = r.engine.alarms.current()
        await r.engine.alarms.raise_(replace(alarm.finding, id="another", figures=(FIGURE,)))
        async with client(r.engine) as http:
            yield r, http, alarm.id


async def test_a_picture_and_the_data(shown) -> None:
    _, http, name = shown
    svg = await http.get(f"/alarms/{name}/figures/0.svg", params={"language": "en", "width": 360})
    assert (svg.status_code, svg.headers["content-type"]) == (200, "image/svg+xml")
    assert svg.headers["content-disposition"] == f'inline; filename="{name}-1-en.svg"'
    assert ElementTree.fromstring(svg.content).get("width") == "270pt"
    png = await http.get(f"/alarms/{name}/figures/0.png", params={"theme": "dark"})
    assert (png.status_code, png.headers["content-type"]) == (200, "image/png")
    assert png.content.startswith(b"\x89PNG")
    data = await http.get(f"/alarms/{name}/figures/0.json")
    assert data.json() == figure_to_json(FIGURE)
    (alarm,) = (await http.get("/alarms")).json()
    assert alarm["finding"]["figures"] == [{"title": {"zh": "每笔误差", "en": "Error of each sale"}}]


async def test_languages_and_themes_differ(shown) -> None:
    _, http, name = shown
    asked = [{"language": language, "theme": theme} for language in ("zh", "en") for theme in ("light", "dark")]
    pictures = {(await http.get(f"/alarms/{name}/figures/0.svg", params=a)).content for a in asked}
    assert len(pictures) == 4


async def test_what_is_not_there_says_so(shown) -> None:
    _, http, name = shown
    answer = await http.get(f"/alarms/{name}/figures/1.svg")
    assert (answer.status_code, answer.json()) == (404, {"error": f"alarm {name} has one figure, the first one is 0"})
    answer = await http.get("/alarms/A-999999/figures/0.svg")
    assert answer.status_code == 404
    assert "A-999999" in answer.json()["error"]
    for path in ("-1.svg", "x.svg", "0.pdf", "1000.png", "0.svg?width=5000", "0.svg?language=fr", "0.png?theme=pink"):
        answer = await http.get(f"/alarms/{name}/figures/{path}")
        assert answer.status_code == 422, path
        assert answer.json()["error"]


async def test_an_alarm_without_figures(rig, sale) -> None:
    async with rig() as r:
        r.forecourt.records = [sale(r.clock.now(), 1, encoder_pulses=2913)]
        await r.until(r.engine.alarms.current)
        (alarm,) = r.engine.alarms.current()
        count = len(alarm.finding.figures)
        async with client(r.engine) as http:
            answer = await http.get(f"/alarms/{alarm.id}/figures/{count}.svg")
        assert answer.status_code == 404


async def test_only_who_may_use_the_api_sees_figures(shown) -> None:
    r, _, name = shown
    async with client(r.engine, "s3cret") as http:
        for form in ("svg", "png", "json"):
            assert (await http.get(f"/alarms/{name}/figures/0.{form}")).status_code == 401
        good = {"authorization": "Bearer s3cret"}
        assert (await http.get(f"/alarms/{name}/figures/0.svg", headers=good)).status_code == 200


async def test_a_server_that_cannot_draw_says_what_to_install(shown, monkeypatch) -> None:
    _, http, name = shown
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    answer = await http.get(f"/alarms/{name}/figures/0.svg", params={"width": 777})
    assert answer.status_code == 501
    assert "pumpwatch[figures]" in answer.json()["error"]
    assert (await http.get(f"/alarms/{name}/figures/0.json")).status_code == 200


NASTY = st.text(max_size=20) | st.sampled_from(
    ["0", "999", "-1", "1e9", "NaN", "9" * 400, "%00", "../x", "\0", "zh", "svg"]
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    NASTY,
    NASTY,
    NASTY | st.sampled_from(["svg", "png", "json"]),
    st.dictionaries(st.sampled_from(["language", "theme", "width", "more"]), NASTY, max_size=4),
)
async def test_hostile_questions_are_answered_in_words(shown, alarm, number, form, asked) -> None:
    _, http, name = shown
    for who, which in ((alarm, number), (name, number), (name, "0")):
        parts = [
            str(httpx.QueryParams({"x": part})).removeprefix("x=").replace("+", "%20") for part in (who, which, form)
        ]
        answer = await http.get(f"/alarms/{parts[0]}/figures/{parts[1]}.{parts[2]}", params=asked)
        assert answer.status_code < 500, answer.text
        assert answer.content
        if answer.status_code != 200:
            assert answer.json()
