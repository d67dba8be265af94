"""What an operator sees and does, in a real browser on the whole demo."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.browser]


# of whichever nozzle is at work: the one seen first may be about to be hung up
RISEN = """() => {
  const before = (window.litresSeen ??= {});
  let risen = false;
  for (const nozzle of document.querySelectorAll(".nb.fuel[data-n]")) {
    const litres = parseFloat(nozzle.querySelector("[data-l]")?.textContent.replace(",", ""));
    risen ||= litres > before[nozzle.dataset.n];
    before[nozzle.dataset.n] = litres;
  }
  return risen;
}"""


def test_a_nozzle_runs_and_a_cheat_is_acknowledged_for_good(demo, wait_for, browsing: Any, faults: Any) -> None:
    cheat = wait_for("cheat", lambda: demo.alarms().get("pulse_ratio"), 150)
    station = cheat["subject"]["station_id"]

    def operate(browser: Any) -> list[str]:
        with faults.shoot(browser, f"{demo.url}/?lang=zh&theme=light", ready=".tile .nz") as shot:
            page = shot.page
            assert page.locator(".tile").count() == 5
            running = page.locator(".nz.fuel").first
            running.wait_for(timeout=60_000)
            tile = page.locator(".tile", has=page.locator(".nz.fuel")).first
            tile.click()
            page.wait_for_selector(".nb.fuel [data-l]", timeout=60_000)
            page.wait_for_function(RISEN, timeout=60_000)
            shot.go(f"{demo.url}/?lang=zh&theme=light", f"#tile-{station}")
            row = page.locator(".row", has=page.locator(f"[data-ack='{cheat['id']}']"))
            assert "少付" in row.inner_text()
            page.fill("[data-duty]", "示例员")
            page.press("[data-duty]", "Enter")
            page.click(f"[data-ack='{cheat['id']}']")
            page.wait_for_selector(f"[data-ack='{cheat['id']}']", state="detached")
            page.reload()
            page.wait_for_selector(f"#tile-{station}.ak, #tile-{station}.un")
            assert page.locator(f"[data-ack='{cheat['id']}']").count() == 0
            assert "已确认 示例员" in page.locator(".row", has_text="少付").first.inner_text()
            return shot.wrong()

    assert browsing.do(operate) == []
    assert demo.alarms()["pulse_ratio"]["acknowledged_by"] == "示例员"


@pytest.mark.parametrize("size", [(1920, 1080), (390, 844)])
def test_our_own_pages_have_no_faults(
    demo, wait_for, browsing: Any, faults: Any, screens, size: tuple[int, int]
) -> None:
    """The same check as for the stand-in's county, on the real thing."""
    alarm = wait_for("cheat", lambda: demo.alarms().get("pulse_ratio"), 150)
    pages = {
        "wall": "/?",
        "station": f"/station?id={alarm['subject']['station_id']}&",
        "alarms": f"/alarms?alarm={alarm['id']}&",
    }

    def look(browser: Any) -> dict[str, list[str]]:
        found = {}
        for name, path in pages.items():
            for language in ("zh", "en"):
                for theme in ("light", "dark"):
                    url = f"{demo.url}{path}lang={language}&theme={theme}"
                    with faults.shoot(browser, url, width=size[0], height=size[1], settle_s=1.5) as shot:
                        shot.picture(screens / f"{name}-{size[0]}-{language}-{theme}.png")
                        if wrong := shot.wrong():
                            found[f"{name} {language} {theme}"] = wrong
        return found

    assert browsing.do(look) == {}
