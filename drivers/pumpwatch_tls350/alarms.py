"""What the console's alarm codes mean, in Chinese and in English.

Source: Veeder-Root serial interface manual 576013-635, function i101. A code is category, alarm and device, two digits
each: ``020402`` is an overfill of tank 2.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from pumpwatch import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

CATEGORIES = MappingProxyType(
    {
        "01": Text("系统", "system"),
        "02": Text("油罐", "tank"),
        "03": Text("液体传感器", "liquid sensor"),
        "05": Text("外部输入", "input"),
        "18": Text("机械加油机接口", "mechanical dispenser interface"),
        "19": Text("电子加油机接口", "electronic dispenser interface"),
        "20": Text("油品", "product"),
        "29": Text("Modbus", "Modbus"),
        "99": Text("外部", "external"),
    }
)
SYSTEM = MappingProxyType(
    {
        "04": Text("备用电池关闭", "battery off"),
        "06": Text("安全警告", "security warning"),
        "12": Text("保护盖打开", "protective cover open"),
        "17": Text("时钟不正确", "clock incorrect"),
    }
)
TANK = MappingProxyType(
    {
        "01": Text("设置数据警告", "setup data warning"),
        "02": Text("泄漏报警", "leak alarm"),
        "03": Text("高水位报警", "high water alarm"),
        "04": Text("溢油报警", "overfill alarm"),
        "05": Text("低液位报警", "low product alarm"),
        "06": Text("油量突降报警", "sudden loss alarm"),
        "07": Text("高液位报警", "high product alarm"),
        "08": Text("液位无效", "invalid fuel level"),
        "09": Text("探棒断开", "probe out"),
        "10": Text("高水位警告", "high water warning"),
        "11": Text("需要进油", "delivery needed"),
        "12": Text("达到最大存量", "maximum product"),
        "20": Text("正在测漏", "leak test active"),
        "25": Text("对账警告", "reconciliation warning"),
        "26": Text("对账报警", "reconciliation alarm"),
        "27": Text("低温警告", "cold temperature warning"),
        "28": Text("缺少进油单", "missing delivery ticket"),
        "29": Text("毛量泄漏测试失败", "gross leak test fault"),
        "30": Text("密度警告", "density warning"),
        **{f"{n}": Text("泄漏测试提示", "leak test notice") for n in range(13, 20)},
        **{
            f"{n}": Text("连续测漏或罐容标定提示", "continuous leak test or chart calibration notice")
            for n in range(21, 25)
        },
    }
)
UNKNOWN: Mapping[str, Text] = MappingProxyType({})
NO_DELIVERIES = "i202"
"""A code of the driver's own, with the tank: the console gives no delivery report."""


def meaning(code: str) -> Text:
    """A sentence for an alarm code; one that is not in the table keeps its number."""
    if code.startswith(NO_DELIVERIES):
        tank = int(code[-2:])
        return Text(f"{tank} 号油罐的进油记录读不到", f"Tank {tank}: no delivery report can be had")
    category, alarm, device = code[:2], code[2:4], int(code[4:])
    where = CATEGORIES.get(category, Text(f"类别 {category}", f"category {category}"))
    known = {"01": SYSTEM, "02": TANK}.get(category, UNKNOWN)
    what = known.get(alarm, Text(f"报警 {alarm}", f"alarm {alarm}"))
    number = Text(f" {device}", f" {device}") if device else Text("", "")
    return Text(f"{where.zh}{number.zh}：{what.zh}", f"{where.en}{number.en}: {what.en}".capitalize())
