"""The planner: the fewest reads, checked against brute force."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch_modbus.reads import REGISTERS, Span, Window, gaps_between, plan

SPACE = 16
spans = st.builds(Span, st.integers(0, SPACE - 1), st.integers(1, 4))
gaps = st.lists(st.builds(Span, st.integers(1, SPACE), st.integers(0, 2)), max_size=3)


def touches(read: Span, gap: Span) -> bool:
    return read.first < gap.end and gap.first < read.end


def fewest(ranges: frozenset[Span], limit: int, forbidden: list[Span]) -> int | None:
    """Try every window against every set of open ranges."""
    windows = [
        Span(first, size)
        for first in range(SPACE + 4)
        for size in range(1, limit + 1)
        if not any(touches(Span(first, size), gap) for gap in forbidden)
    ]

    @cache
    def least(todo: frozenset[Span]) -> int | None:
        if not todo:
            return 0
        rests = {frozenset(s for s in todo if not window.holds(s)) for window in windows} - {todo}
        counts = [count for rest in rests if (count := least(rest)) is not None]
        return 1 + min(counts) if counts else None

    return least(ranges)


@settings(max_examples=150, deadline=None)
@given(st.frozensets(spans, max_size=5), st.integers(1, 7), gaps)
def test_no_plan_has_fewer_reads(ranges: frozenset[Span], limit: int, forbidden: list[Span]) -> None:
    least = fewest(ranges, limit, forbidden)
    if least is None:
        with pytest.raises(ValueError, match="cannot be read at once"):
            plan(ranges, limit, forbidden)
    else:
        reads = plan(ranges, limit, forbidden)
        assert len(reads) == least
        assert all(any(read.holds(span) for read in reads) for span in ranges)
        assert all(1 <= read.size <= limit for read in reads)
        assert not any(touches(read, gap) for read in reads for gap in forbidden)


def test_sixty_registers_are_one_request() -> None:
    assert plan([Span(100 + i, 1) for i in range(60)], 125) == (Span(100, 60),)


def test_gaps_are_read_over_when_the_map_allows() -> None:
    assert plan([Span(0, 2), Span(90, 4)], 125) == (Span(0, 94),)
    assert plan([Span(0, 2), Span(90, 4)], 125, [Span(50, 1)]) == (Span(0, 2), Span(90, 4))


def test_a_border_without_width_is_not_crossed() -> None:
    assert plan([Span(0, 4), Span(4, 4)], 125, [Span(4, 0)]) == (Span(0, 4), Span(4, 4))


def test_a_value_is_never_torn_in_two() -> None:
    assert plan([Span(0, 3), Span(3, 3)], 4) == (Span(0, 3), Span(3, 3))


def test_blocks_leave_the_rest_forbidden() -> None:
    assert gaps_between([]) == ()
    blocks = [Span(100, 80), Span(0, 84), Span(180, 20)]
    assert gaps_between(blocks) == (Span(84, 16), Span(180, 0), Span(200, REGISTERS - 200))
    assert gaps_between([Span(5, REGISTERS - 5)]) == (Span(0, 5),)


def test_a_window_that_failed_is_shut_for_longer_each_time() -> None:
    window, opened = Window(4, patience=2), []
    for _ in range(10):
        opened.append(window.opened())  # never worked
    assert opened == [True, False, False, True, False, False, False, False, True, False]
    window = Window(4)
    for _ in range(5):
        assert window.opened()
        window.worked()
    assert not Window(1).opened()
