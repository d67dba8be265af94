"""What an operator does with mouse and keyboard, and what reaches the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_acknowledge_is_one_press_in_the_name_on_duty(
    county: Callable[..., Any], dashboards: str, browsing: Any, faults: Any
) -> None:
    county("reset")

    def look(browser: Any) -> tuple[str, list[str]]:
        with faults.shoot(browser, f"{dashboards}/?lang=zh&theme=light", ready="[data-ack='A-001042']") as shot:
            page = shot.page
            page.fill("[data-duty]", "赵示例")
            page.press("[data-duty]", "Enter")
            page.click("[data-ack='A-001042']")
            page.wait_for_selector("#tile-S22.ak")
            row = page.locator(".row", has_text="示例城关三站").inner_text()
            return row, shot.errors

    row, errors = browsing.do(look)
    assert county("reset") == [{"id": "A-001042", "act": "acknowledge", "by": "赵示例", "note": ""}]
    assert "已确认 赵示例" in row
    assert errors == []


def test_keyboard_chooses_and_acknowledges(
    county: Callable[..., Any], dashboards: str, browsing: Any, faults: Any
) -> None:
    county("reset")

    def look(browser: Any) -> list[str]:
        with faults.shoot(browser, f"{dashboards}/alarms?lang=en&theme=light", ready=".ar.sel") as shot:
            page, seen = shot.page, []
            seen.append(page.get_attribute(".ar.sel", "data-id"))
            page.keyboard.press("ArrowDown")
            seen.append(page.get_attribute(".ar.sel", "data-id"))
            assert "alarm=A-001040" in page.evaluate("location.search")
            page.keyboard.press("ArrowUp")
            page.keyboard.press("a")
            page.wait_for_selector(".det .m:has-text('acknowledged operator')")
            page.keyboard.press("Enter")
            seen.append(page.evaluate("document.activeElement.id"))
            return seen

    assert browsing.do(look) == ["A-001042", "A-001040", "clear"]
    assert [a["by"] for a in county("reset")] == ["operator"]


def test_clearing_says_whose_act_it_is_and_wants_a_note(
    county: Callable[..., Any], dashboards: str, browsing: Any, faults: Any
) -> None:
    county("reset")

    def look(browser: Any) -> tuple[str, list[str]]:
        with faults.shoot(browser, f"{dashboards}/alarms?lang=zh&theme=light&alarm=A-001038", ready="#clear") as shot:
            page = shot.page
            page.click("#clear")
            said = page.inner_text("form.clear label")
            assert shot.wrong() == []
            page.keyboard.press("Escape")
            page.wait_for_selector("form.clear", state="detached")
            page.click("#clear")
            page.fill("#clear-note", "   ")
            page.click("form.clear [type=submit]")
            assert page.locator("form.clear").count() == 1
            page.fill("#clear-note", "现场核验：编码器已更换，工单 W-2211")
            page.click("form.clear [type=submit]")
            page.wait_for_selector(".det .m:has-text('已解除')")
            return said, shot.errors

    said, errors = browsing.do(look)
    assert "解除是人的决定" in said
    assert county("reset") == [
        {"id": "A-001038", "act": "clear", "by": "值班员", "note": "现场核验：编码器已更换，工单 W-2211"}
    ]
    assert errors == []


def test_refusal_of_the_api_is_told(county: Callable[..., Any], dashboards: str, browsing: Any, faults: Any) -> None:
    county("reset")

    def look(browser: Any) -> str:
        with faults.shoot(browser, f"{dashboards}/?lang=zh&theme=light", ready="[data-ack='A-001042']") as shot:
            page = shot.page
            page.evaluate("document.querySelector('[data-ack]').dataset.ack = 'A-000000'")
            page.click("[data-ack='A-000000']")
            page.wait_for_selector("#wrong", state="visible")
            told: str = page.inner_text("#wrong")
            return told

    told = browsing.do(look)
    assert told.startswith("未完成：")
    assert "A-000000" in told
    assert "404" in told


def test_language_and_theme_are_remembered(dashboards: str, browsing: Any) -> None:
    def look(browser: Any) -> list[tuple[str, str]]:
        context = browser.new_context()
        context.set_default_timeout(120_000)
        page, seen = context.new_page(), []
        for path in ("?lang=en&theme=dark", "", "station?id=S22", "?lang=zh"):
            page.goto(f"{dashboards}/{path}")
            page.wait_for_selector("#main")
            seen.append(tuple(page.evaluate("[document.documentElement.lang, document.documentElement.dataset.theme]")))
        context.close()
        return seen

    assert browsing.do(look) == [("en", "dark"), ("en", "dark"), ("en", "dark"), ("zh-Hans-CN", "dark")]


def test_station_page_links_keep_language_and_theme(dashboards: str, browsing: Any, faults: Any) -> None:
    def look(browser: Any) -> list[str]:
        with faults.shoot(browser, f"{dashboards}/?lang=en&theme=dark", ready="#tile-S41") as shot:
            page = shot.page
            page.click("#tile-S41")
            page.wait_for_selector("h1")
            station = page.inner_text("h1")
            page.click("nav a:nth-child(3)")
            page.wait_for_selector(".ar")
            return [station, page.evaluate("location.search")]

    assert browsing.do(look) == ["Demo South 4", "?lang=en&theme=dark"]
