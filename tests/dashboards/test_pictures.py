"""The figures of an alarm on its page: the right picture for the window, language and theme, and to take along."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

DRAWN = "A-001042"
PICTURE = f"/data/alarms/{DRAWN}/figures/0"

SEEN = """() => {
  const i = document.querySelector(".pic img"), links = [...document.querySelectorAll(".pic a")];
  return {
    natural: i.naturalWidth, shown: i.clientWidth, box: i.closest(".pics").clientWidth, src: i.src, alt: i.alt,
    links: links.map((a) => [a.textContent, a.getAttribute("download")]),
    wrong: document.querySelector(".pic .wrong").hidden,
  };
}"""


@pytest.fixture
def web(dashboards: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=dashboards, trust_env=False, timeout=60) as client:
        yield client


def test_a_picture_is_passed_on(web: httpx.Client) -> None:
    svg = web.get(f"{PICTURE}.svg", params={"language": "en", "theme": "dark", "width": 400, "finding": "0" * 24})
    assert (svg.status_code, svg.headers["content-type"]) == (200, "image/svg+xml")
    assert ElementTree.fromstring(svg.content).get("width") == "300pt"
    assert svg.headers["content-disposition"] == f'inline; filename="{DRAWN}.svg"'
    assert svg.headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'" in svg.headers["content-security-policy"]
    png = web.get(f"{PICTURE}.png")
    assert (png.status_code, png.headers["content-type"]) == (200, "image/png")
    assert png.content.startswith(b"\x89PNG")


def test_what_is_not_there_is_said_as_the_api_says_it(web: httpx.Client) -> None:
    for path in (f"/data/alarms/{DRAWN}/figures/7.svg", "/data/alarms/A-000000/figures/0.png"):
        answer = web.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json; charset=utf-8")
        assert answer.json()


@pytest.mark.parametrize(
    "query",
    [{"width": "wide"}, {"width": "12345"}, {"language": "fr"}, {"theme": "<b>"}, {"limit": "5"}, {"finding": "x/y"}],
)
def test_an_odd_question_goes_no_further(web: httpx.Client, query: dict[str, str]) -> None:
    answer = web.get(f"{PICTURE}.svg", params=query)
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_query")


@pytest.mark.parametrize("path", ["0.pdf", "x.svg", "1234.svg", "0.svg/..", "..%2F0.svg"])
def test_no_other_address_is_reached(web: httpx.Client, path: str) -> None:
    assert web.get(f"/data/alarms/{DRAWN}/figures/{path}").status_code == 404


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (390, 844)])
def test_the_page_shows_the_picture_in_its_own_size(
    width: int, height: int, dashboards: str, browsing: Any, faults: Any, screens: Path
) -> None:
    def look(browser: Any) -> list[dict[str, Any]]:
        seen = []
        for language, theme in (("zh", "light"), ("en", "dark")):
            url = f"{dashboards}/alarms?alarm={DRAWN}&lang={language}&theme={theme}"
            with faults.shoot(browser, url, width=width, height=height, ready=".pic img") as shot:
                for _ in range(600):
                    if shot.page.evaluate("document.querySelector('.pic img').naturalWidth > 0"):
                        break
                    shot.page.wait_for_timeout(100)
                facts = shot.page.evaluate(SEEN)
                shot.picture(screens / f"figure-{width}-{language}-{theme}.png")
                seen.append(facts | {"faults": shot.wrong()})
        return seen

    zh, en = browsing.do(look)
    for facts in (zh, en):
        assert facts["faults"] == []
        assert facts["natural"] == facts["shown"], "letters would be other than 12 px"
        assert facts["box"] - 40 < facts["shown"] <= facts["box"]
        assert facts["wrong"], "the words for a missing picture are hidden"
    assert "language=zh" in zh["src"]
    assert "theme=dark" in en["src"]
    assert (zh["alt"], en["alt"]) == ("图：S22-N03 每笔误差", "Figure: S22-N03: error of each sale")
    assert zh["links"] == [["下载 PNG", f"{DRAWN}-1-zh.png"], ["下载 SVG", f"{DRAWN}-1-zh.svg"]]
    assert en["links"] == [["Download PNG", f"{DRAWN}-1-en.png"], ["Download SVG", f"{DRAWN}-1-en.svg"]]


@pytest.mark.browser
def test_a_picture_that_does_not_come_is_words(dashboards: str, browsing: Any, faults: Any) -> None:
    def look(browser: Any) -> tuple[str, bool]:
        with faults.shoot(browser, f"{dashboards}/alarms?lang=en&alarm=A-001040") as shot:
            shot.page.route("**/figures/**", lambda route: route.abort())
            shot.page.goto(f"{dashboards}/alarms?lang=en&alarm={DRAWN}", wait_until="commit")
            shot.page.wait_for_selector(".pic .wrong", state="visible", timeout=20_000)
            return shot.page.inner_text(".pic .wrong"), shot.page.locator(".pic img").is_visible()

    words, visible = browsing.do(look)
    assert words == "The figure cannot be had now; the evidence below stands."
    assert not visible
