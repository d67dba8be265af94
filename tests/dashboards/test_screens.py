"""Every page in both languages and themes, at the desk and on the phone, as a browser draws it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

PAGES = {
    "wall": ("", ".tile .nz.fuel"),
    "station": ("station?id=S22&", ".nb.fuel"),
    "alarms": ("alarms?", ".ar"),
}
COMBINATIONS = [("zh", "light"), ("zh", "dark"), ("en", "light"), ("en", "dark")]
SIZES = {"desk": (1920, 1080), "phone": (390, 844)}
# a glyph no font has draws the same box whatever the character: 示 must not look like it
GLYPHS = """() => {
  const draw = (c) => {
    const copy = document.createElement("canvas");
    copy.width = copy.height = 40;
    const pen = copy.getContext("2d", { willReadFrequently: true });
    pen.font = `32px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillText(c, 2, 32);
    return [...pen.getImageData(0, 0, 40, 40).data].join();
  };
  const [one, two, none] = [draw("示"), draw("例"), draw("\\u{10FFFE}")];
  return one !== none && two !== none && one !== two && /[1-9]/.test(one);
}"""
# charts are canvases inside shadow roots: count the ones with more than their background on them
CHARTS = """() => {
  const found = [];
  const walk = (root) => {
    for (const e of root.querySelectorAll("*")) {
      if (e.tagName === "CANVAS") found.push(e);
      if (e.shadowRoot) walk(e.shadowRoot);
    }
  };
  for (const id of ["flow-chart", "level-chart"]) walk(document.getElementById(id));
  const tones = (c) => {
    const copy = document.createElement("canvas");
    [copy.width, copy.height] = [c.width, c.height];
    const pen = copy.getContext("2d", { willReadFrequently: true });
    pen.drawImage(c, 0, 0);
    return new Set(new Uint32Array(pen.getImageData(0, 0, c.width, c.height).data.buffer)).size;
  };
  return found.filter((c) => c.width > 200 && c.height > 50 && tones(c) > 4).length;
}"""
TILES = """() => {
  const box = document.getElementById("tiles"), R = box.getBoundingClientRect();
  const T = [...box.children].map((t) => t.getBoundingClientRect());
  return {
    tiles: T.length, scrolls: box.hasAttribute("data-scroll"),
    out: T.filter((r) => r.right > R.right + 1).length,
    below: T.filter((r) => r.bottom > R.bottom + 1).length, width: T[0].width,
    cells: box.querySelectorAll(".nz").length,
  };
}"""
LOADED = """() => performance.getEntriesByType("resource").map((r) => [r.name, r.decodedBodySize])"""
SEEN = "() => ({lang: document.documentElement.lang, tone: document.documentElement.dataset.theme})"


def address(base: str, page: str, lang: str = "zh", theme: str = "light") -> str:
    path = PAGES[page][0] or "?"
    return f"{base}/{path}lang={lang}&theme={theme}"


def _charts(page: Any) -> int:
    """Charts drawn; they come when the series have."""
    drawn = 0
    for _ in range(600):
        drawn = page.evaluate(CHARTS)
        if drawn >= 2:
            break
        page.wait_for_timeout(100)
    return drawn


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("page", PAGES)
def test_screen(page: str, size: str, dashboards: str, browsing: Any, faults: Any, screens: Path) -> None:
    """Two languages, two themes, in one window."""
    width, height = SIZES[size]
    ready = PAGES[page][1]

    def look(browser: Any) -> dict[str, tuple[list[str], dict[str, Any]]]:
        seen = {}
        with faults.shoot(browser, address(dashboards, page), width=width, height=height, ready=ready) as shot:
            for lang, theme in COMBINATIONS:
                if seen:
                    shot.go(address(dashboards, page, lang, theme), ready)
                facts = shot.page.evaluate(SEEN)
                facts["glyphs"] = shot.page.evaluate(GLYPHS)
                if page == "station" and size == "desk":
                    facts["charts"] = _charts(shot.page)
                shot.picture(screens / f"{page}-{size}-{lang}-{theme}.png")
                seen[f"{lang} {theme}"] = (shot.wrong(), facts)
        return seen

    seen = browsing.do(look)
    assert {combination: wrong for combination, (wrong, _) in seen.items() if wrong} == {}
    assert len(seen) == 4
    for combination, (_, facts) in seen.items():
        lang, theme = combination.split()
        assert facts["lang"] == ("zh-Hans-CN" if lang == "zh" else "en")
        assert facts["tone"] == theme
        assert facts["glyphs"], "the page's fonts have no Chinese"
        if "charts" in facts:
            assert facts["charts"] >= 2, f"a trend is empty: {combination}"


@pytest.mark.parametrize("stations", [1, 16, 48, 60])
def test_any_number_of_stations(
    stations: int, county: Callable[..., Any], dashboards: str, browsing: Any, faults: Any, screens: Path
) -> None:
    county("show", stations=stations)

    def look(browser: Any) -> tuple[list[str], dict[str, Any]]:
        with faults.shoot(browser, address(dashboards, "wall"), ready=".tile .nz:not(.off)") as shot:
            there = "wanted => document.querySelectorAll('#tiles > *').length === wanted"
            shot.page.wait_for_function(there, arg=stations, timeout=60_000)
            shot.picture(screens / f"wall-{stations}-stations.png")
            facts = shot.page.evaluate(TILES)
            return shot.wrong(), facts

    wrong, facts = browsing.do(look)
    assert wrong == []
    assert facts["tiles"] == stations
    assert facts["cells"] >= 6 * stations
    assert facts["out"] == 0
    assert facts["scrolls"] == (stations > 48)
    assert stations > 48 or facts["below"] == 0
    assert facts["width"] >= (148 if stations > 16 else 240)


@pytest.mark.parametrize(
    ("page", "scene", "lang", "theme"),
    [
        ("wall", "flood", "zh", "light"),
        ("wall", "flood", "en", "dark"),
        ("alarms", "flood", "en", "light"),
        ("wall", "calm", "en", "light"),
        ("alarms", "calm", "zh", "dark"),
    ],
)
def test_scene(
    page: str,
    scene: str,
    lang: str,
    theme: str,
    county: Callable[..., Any],
    dashboards: str,
    browsing: Any,
    faults: Any,
    screens: Path,
) -> None:
    county("show", scene=scene)

    def look(browser: Any) -> list[str]:
        with faults.shoot(browser, address(dashboards, page, lang, theme), ready="#main") as shot:
            shot.picture(screens / f"{page}-{scene}-{lang}-{theme}.png")
            wrong: list[str] = shot.wrong()
            return wrong

    assert browsing.do(look) == []


def test_lost_feed_is_said_and_nothing_is_cleared(
    county: Callable[..., Any], dashboards: str, browsing: Any, faults: Any, screens: Path
) -> None:
    sold = "document.querySelector('#tile-S22 + a [data-day]').textContent"
    tag = "getComputedStyle(document.getElementById('k-sold').parentElement, '::after').content"

    def look(browser: Any) -> dict[str, Any]:
        with faults.shoot(browser, address(dashboards, "wall"), ready=".tile .nz.fuel") as shot:
            page, facts = shot.page, {}
            facts["before"] = page.evaluate(sold), page.locator("#lost").is_visible(), page.evaluate(tag)
            county("hold")
            page.wait_for_selector("#lost", state="visible", timeout=60_000)
            page.wait_for_timeout(300)
            facts["lost"] = page.evaluate(sold), page.locator("#lost").inner_text(), page.evaluate(tag)
            shot.picture(screens / "wall-lost.png")
            facts["faults"] = shot.wrong()
            county("go")
            page.wait_for_selector("#lost", state="hidden", timeout=60_000)
            facts["after"] = page.evaluate(tag)
            return facts

    facts = browsing.do(look)
    value, visible, plain = facts["before"]
    assert (visible, plain) == (False, "none")
    assert facts["lost"][0] == value
    assert facts["lost"][1].startswith("断线")
    assert facts["lost"][2] == '"旧"'
    assert facts["faults"] == []
    assert facts["after"] == "none"


def test_the_wall_is_light(dashboards: str, browsing: Any, faults: Any) -> None:
    """What makes a first paint soon on any machine: little to load, and no plotting library."""

    def look(browser: Any) -> list[tuple[str, int]]:
        with faults.shoot(browser, address(dashboards, "wall"), ready=".tile .nz.fuel") as shot:
            loaded: list[tuple[str, int]] = shot.page.evaluate(LOADED)
            return loaded

    loaded = browsing.do(look)
    assert loaded
    assert not [name for name, _ in loaded if "bokeh.min" in name]
    assert sum(size for _, size in loaded) < 300_000


def test_texts_of_the_api_are_never_markup(
    county: Callable[..., Any], dashboards: str, browsing: Any, faults: Any
) -> None:
    county("show", scene="hostile")

    def look(browser: Any) -> list[tuple[str, int, bool]]:
        seen = []
        for path in ("?", "station?id=S01&", "alarms?alarm=A-001042&"):
            with faults.shoot(browser, f"{dashboards}/{path}lang=zh&theme=light", ready="#main", settle_s=0.3) as shot:
                there = "document.body.innerText.includes('<img src=x')"
                shot.page.wait_for_function(there, timeout=60_000)  # as text; the feed brings the scene
                text = shot.page.evaluate("document.body.innerText")
                seen.append((shot.page.title(), shot.page.locator("img[src='x']").count(), "<img src=x" in text))
                assert shot.errors == []
        return seen

    for title, images, shown in browsing.do(look):
        assert title != "hit"
        assert images == 0
        assert shown, "the hostile name should stand there as text"
