"""What stands on a figure's page: words in both languages, times, ticks, and nothing that breaks the drawing."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.figures import Look, draw, ink, to_png, to_svg
from pumpwatch.figures.paper import _page
from pumpwatch.figures.scales import extent, number_ticks, time_ticks
from pumpwatch.figures.sheet import Sheet, legible
from pumpwatch.model import Curve, Figure, Text

START = datetime(2026, 3, 1, 16, tzinfo=UTC).timestamp()
HOURS = tuple(START + 3600 * i for i in range(48))
HEIGHTS = tuple(100.0 + i % 7 for i in range(48))


def a_curve(shape: str = "line", *, alarm: bool = False, name: str = "实测") -> Curve:
    high = tuple(y + 5 for y in HEIGHTS) if shape == "band" else ()
    return Curve(Text(name, f"measured {shape}"), HOURS, HEIGHTS, shape, high, alarm)


def a_figure(*curves: Curve, marks: tuple[tuple[float, Text], ...] = (), is_time: bool = True) -> Figure:
    title = Text("示例站 2号罐液位", "Demo station: level of tank 2")
    return Figure(title, Text("当地时间", "local time"), Text("液位 mm", "level, mm"), curves, is_time, marks)


SHAPES = ["line", "step", "points", "bars", "band", "limit"]
EVERYTHING = a_figure(
    *(a_curve(shape) for shape in SHAPES),
    a_curve("line", alarm=True),
    marks=((HOURS[10], Text("起点", "onset")), (HOURS[11], Text("工单：检定", "work order: verification"))),
)


def words(figure: Figure, language: str, look: Look) -> list[str]:
    """Every text on the page."""
    page = _page(figure, language, look)  # type: ignore[arg-type]
    page.canvas.draw()
    return [t.get_text() for t in page.findobj(mpl.text.Text) if t.get_text() and t.get_visible()]


def test_every_word_is_there_in_both_languages() -> None:
    for language, wanted in (
        ("zh", ["示例站 2号罐液位", "液位 mm", "当地时间", "实测", "起点", "工单：检定"]),
        ("en", ["Demo station: level of tank 2", "level, mm", "local time", "measured bars", "onset"]),
    ):
        said = words(EVERYTHING, language, Look(760))
        assert set(wanted) <= set(said)


@pytest.mark.parametrize("width", [280, 390, 1600])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_word_leaves_the_page_or_covers_another(width: int, language: str) -> None:
    marks = tuple(
        (HOURS[5 + 9 * i // 2], Text(f"第{i}张工单 维修后检定", f"work order {i}: verified after repair"))
        for i in range(9)
    )
    curves = [a_curve(shape, name=f"一条名字比较长的曲线 {shape}") for shape in SHAPES]
    figure = a_figure(*curves, marks=marks)
    page = _page(figure, language, Look(width))  # type: ignore[arg-type]
    page.canvas.draw()
    texts = [t for t in page.findobj(mpl.text.Text) if t.get_text().strip() and t.get_visible()]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts]
    height = page.get_size_inches()[1] * 96
    assert len(boxes) > 12
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.x1 <= width, text
        assert box.y0 >= -1, text
        assert box.y1 <= height, text
    for i, (one, a) in enumerate(boxes):
        for other, b in boxes[i + 1 :]:
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            down = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert across <= 1 or down <= 4, (one, other)
    assert min(t.get_fontsize() for t in texts) * 96 / 72 >= 12


def test_times_are_the_stations() -> None:
    figure = a_figure(a_curve())
    assert "03-02" in " ".join(words(figure, "zh", Look(760)))
    there = words(figure, "zh", Look(1600, zone=ZoneInfo("Asia/Shanghai")))
    utc = words(figure, "zh", Look(1600, zone=UTC))
    assert "00:00\n03-02" in there
    assert "16:00\n03-01" in utc


def test_ticks_are_round_local_times_and_say_the_day_where_it_changes() -> None:
    zone = timezone(timedelta(hours=5, minutes=45))
    ticks = time_ticks(START, START + 2 * 86_400, zone, 700)
    local = [datetime.fromtimestamp(at, zone) for at, _ in ticks]
    assert all((t.minute, t.second) == (0, 0) for t in local)
    assert all(
        ("\n" in text) == (i == 0 or t.date() != local[i - 1].date())
        for i, (t, (_, text)) in enumerate(zip(local, ticks, strict=True))
    )
    years = time_ticks(START, START + 3 * 366 * 86_400, UTC, 700)
    assert 3 <= len(years) <= 13
    assert sum("\n" in text for _, text in years) >= 3
    assert [text for _, text in time_ticks(START, START + 4, UTC, 400)][:2] == ["16:00:00\n03-01", "16:00:01"]


@given(st.floats(-1e15, 1e15), st.floats(1e-6, 1e15), st.integers(1, 12))
def test_ticks_are_few_and_within(low: float, wide: float, most: int) -> None:
    (left, right), _ = extent(a_figure(Curve(Text("a", "a"), (low, low + wide), (0.0, 1.0)), is_time=False))
    ticks = number_ticks(left, right, most)
    assert len(ticks) <= most + 1
    assert all(left <= at <= right or abs(at - left) < 1e-6 * (right - left) for at, _ in ticks)


def test_bars_stand_on_zero_and_a_level_reaches_from_side_to_side() -> None:
    (left, right), (bottom, _) = extent(a_figure(a_curve("bars"), Curve(Text("限", "limit"), (0.0,), (90.0,), "limit")))
    assert bottom < 0
    assert START - 7200 < left < START - 1400
    level = draw(a_figure(a_curve(), Curve(Text("限", "limit"), (0.0,), (90.0,), "limit")), "en")
    assert list(level.Curve.Limit.dimension_values("x")) == list(extent(a_figure(a_curve()))[0])
    assert right > HOURS[-1]


def test_bars_that_stand_unevenly_are_no_hairs() -> None:
    (left, right), _ = extent(a_figure(Curve(Text("量", "litres"), (0.0, 1.0, 10_000.0), (1.0, 1.0, 1.0), "bars")))
    assert left <= -25
    assert right >= 10_025


def test_the_key_names_each_kind_of_curve_once_and_only_what_is_there() -> None:
    two = [Curve(Text("限值", "limit"), (START,), (height,), "limit") for height in (1.0, 2.0)]
    said = words(a_figure(a_curve(), *two, Curve(Text("无", "nothing"), (), (), "points")), "en", Look(500))
    assert said.count("limit") == 1
    assert "nothing" not in said
    assert "measured line" in said


HOSTILE = [
    "$x^2$ $",
    "<script>alert(1)</script>",
    "--><!--",
    "\u202e\u0000\n\t",
    "🛢️ᠮᠣᠩᠭᠣᠯ",
    "示" * 300,
    "w" * 500,
    "",
    "%(x)s {} \\frac",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_are_drawn_as_they_stand(text: str) -> None:
    both = Text(text, text)
    figure = Figure(both, both, both, (Curve(both, HOURS, HEIGHTS),), True, ((HOURS[3], both),))
    svg = to_svg(figure, "zh", Look(320)).decode()
    ET.fromstring(svg)
    assert "<script" not in svg
    assert to_png(figure, "en", Look(320)).startswith(b"\x89PNG")


def test_letters_that_no_font_has_are_boxes() -> None:
    assert legible("油 A\n\tb\U0010ffff") == "油 A b□"


def test_a_long_text_is_broken_at_words_and_beside_han() -> None:
    sheet = Sheet(280, ink(dark=False))
    lines = sheet.wrapped("Nozzle 3: error of the display against the encoder since the first of March")
    assert len(lines) > 1
    assert " ".join(lines) == "Nozzle 3: error of the display against the encoder since the first of March"
    zh = sheet.wrapped("三号枪显示量相对编码器脉冲折算量的误差，自三月一日起连续九十六笔。")
    assert "".join(zh) == "三号枪显示量相对编码器脉冲折算量的误差，自三月一日起连续九十六笔。"
    assert not any(line[0] in "，。" for line in zh)


PLACES = st.floats(-1e15, 1e15) | st.sampled_from([0.0, -0.0, 1e15, START])
ROWS = st.lists(st.tuples(PLACES, PLACES), max_size=6)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(SHAPES), st.booleans(), st.lists(st.tuples(PLACES, PLACES), max_size=6)), max_size=4
    ),
    st.lists(PLACES, max_size=4),
    st.booleans(),
)
def test_any_numbers_can_be_drawn(
    curves: list[tuple[str, bool, list[tuple[float, float]]]], marks: list[float], is_time: bool
) -> None:
    made = [
        Curve(Text("线", "line"), tuple(x for x, _ in rows), tuple(y for _, y in rows), shape,
              tuple(y + 1 for _, y in rows) if shape == "band" else (), alarm)
        for shape, alarm, rows in curves
    ]  # fmt: skip
    figure = a_figure(*made, marks=tuple((at, Text("记", "mark")) for at in marks), is_time=is_time)
    ET.fromstring(to_svg(figure, "zh", Look(300)))
