"""The figure of a part that is not what it was: its fields over time, with the work on it as marks; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from pumpwatch import Curve, Figure, History, Text, WorkOrder

BACK: Final = timedelta(days=365)
"""Work so long before is shown."""
_LEAST: Final = timedelta(days=30)
_MARKS: Final = 12
_KINDS: Final = {
    "repair": Text("维修", "repair"),
    "install": Text("安装", "installation"),
    "verification": Text("检定", "verification"),
    "calibration": Text("校准", "calibration"),
    "inspection": Text("检查", "inspection"),
}


def work_before(devices: Iterable[str | None], station_id: str, at: datetime, history: History) -> list[WorkOrder]:
    """The latest signed work on these devices in the year before, and to the day after; oldest first."""
    orders = {
        (order.at, order.device_id, order.kind): order
        for device in devices
        if device is not None
        for order in history.work_orders(device, at - BACK)
        if order.station_id == station_id and order.at <= at + timedelta(days=1)
    }
    return [order for _, order in sorted(orders.items())][-_MARKS:]


_UNLIKE: Final = Text("不符", "not as registered")


def parts_timeline(
    label: Text, fields: Sequence[Text], at: datetime, orders: Sequence[WorkOrder], since: Text = _UNLIKE
) -> Figure:
    """Each field a line, one above the other: low until ``at``, high ``since`` it is so."""
    first = _first(at, orders)
    return Figure(
        title=Text(f"{label.zh} 部件与维修时间线", f"{label.en}: parts and work over time"),
        x=Text("时间", "time"),
        y=Text(f"各项（高：{since.zh}）", f"fields (high: {since.en})"),
        curves=tuple(
            Curve(name, (first, at.timestamp()), (2.0 * row, 2.0 * row + 1.0), shape="step", alarm=True)
            for row, name in enumerate(fields)
        ),
        marks=(*_marks(orders), (at.timestamp(), since)),
    )


def moments_timeline(label: Text, what: Text, value: float, at: datetime, orders: Sequence[WorkOrder]) -> Figure:
    """One point of an axis of ``what``, with the work before it."""
    first = _first(at, orders)
    return Figure(
        title=Text(f"{label.zh} {what.zh}与维修时间线", f"{label.en}: {what.en} and work over time"),
        x=Text("时间", "time"),
        y=what,
        curves=(
            Curve(what, (at.timestamp(),), (value,), shape="points", alarm=True),
            Curve(Text("此前", "before"), (first, at.timestamp()), (0.0, 0.0)),
        ),
        marks=_marks(orders),
    )


def _first(at: datetime, orders: Sequence[WorkOrder]) -> float:
    return min([at - _LEAST, *(order.at - timedelta(days=1) for order in orders)]).timestamp()


def _marks(orders: Sequence[WorkOrder]) -> tuple[tuple[float, Text], ...]:
    return tuple((order.at.timestamp(), _KINDS.get(order.kind, Text(order.kind, order.kind))) for order in orders)
