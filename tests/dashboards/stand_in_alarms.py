"""Invented alarms for the stand-in API, in the wire format of the real one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pumpwatch.model import Curve, Figure, Text

DRAWN = "S22-N03"
"""The subject whose alarm has a figure."""
HOSTILE = "<img src=x onerror=\"document.title='hit'\">'\"&"

# number | minutes ago | severity | state | subject | cause | zh | en | department | by | estimate | times found
_ONE = """
1042|3.2|critical|active|S22-N03|short_delivery|3号枪 少付 +2.41%|Nozzle 3 short +2.41%|mr||2.41 % 2.18 2.63|96
1040|21.5|high|returned|S40-T2|water|2号罐 水高 52 mm|Tank 2 water 52 mm|em||52 mm 50 54|1
1039|14.4|medium|ack|S37|collector_outage|站端采集器断线|Collector link lost|op|王示例||1
1038|169|medium|ack|S15-N06|tolerance|6号枪 少付 +0.42% 待核验|Nozzle 6 short +0.42%, verify|mr|李示例||14
1031|369|low|ack|S09|certificate_expired|检定证书 6 天后到期|Certificate ends in 6 d|mr|李示例||1
1028|28|medium|cleared|S28|collector_outage|液位仪通讯中断|Gauge link lost|op|||1
1027|49|low|cleared|S05|clock_fault|时钟偏差 4 s|Clock off by 4 s|op|||1
1026|72|medium|cleared|S40-T1|theft|1号罐 低液位|Tank 1 low|co|||1
1025|157|high|cleared|S17-T3|delivery_short|卸油短量 −1.9%|Delivery short −1.9%|co||-1.9 % -2.2 -1.6|1
"""
_FLOOD = """
1043|1.0|high|active|S24-T1|leak|1号罐 疑似泄漏 0.6 L/h|Tank 1 leak 0.6 L/h|em||0.6 L/h 0.4 0.8|1
1044|1.1|high|active|S03|identity_change|编码器更换 无工单|Encoder changed, no order|mr|||1
1045|1.2|medium|active|S29|tax_memory_gap|税控与显示差 38 L|Tax and display differ 38 L|tax|||1
1046|1.3|medium|active|S11-T2|water|2号罐 水高 62 mm|Tank 2 water 62 mm|em|||1
1047|1.4|high|active|S44-N02|totalizer_rollback|2号枪 泵码倒退|Nozzle 2 totalizer back|mr|||1
1048|1.5|high|active|S02-D2|identity_change|2号加油机 主板不符|Dispenser 2 board changed|mr|||1
1049|1.6|low|active|S18|clock_fault|时钟快 6 s|Clock fast by 6 s|op|||1
1050|1.7|medium|active|S31-N05|tolerance|5号枪 少付 +0.41% 待核验|Nozzle 5 short +0.41%, verify|mr|||1
"""
_DEPARTMENTS = {
    "mr": "market_regulation",
    "op": "operations",
    "em": "emergency",
    "co": "commerce",
    "tax": "tax",
}
_WHAT = {
    "zh": "{key} 本笔显示 31.86 L，编码器计 31.09 L，少付 0.77 L（+2.48%），合 ¥6.11。"
    "自 2026-11-16 06:40:12 起连续 {count} 笔，合计少付 81.60 L，合 ¥647.09，"
    "+2.41%（95% 区间 +2.18% 至 +2.63%）。",
    "en": "{key}, sale 4713: displayed 31.86 L, encoder counted 31.09 L: customer short 0.77 L (+2.48%), ¥6.11. "
    "Since 2026-11-16 06:40:12, {count} sales in a row: short 81.60 L, ¥647.09, "
    "+2.41% (95% interval +2.18% to +2.63%).",
}
_WHY = {
    "zh": "显示量与编码器脉冲是两个独立通道，诚实时每笔相差不超过 0.020 L，本笔超出。"
    "误差超出允差 ±0.30%，计量磨损不影响这两个通道的比值。",
    "en": "The display and the encoder's pulses are two channels; honest sales differ by at most 0.020 L, this one "
    "by more. The error is beyond the tolerance ±0.30%; wear of the meter does not change their ratio.",
}
_ELSE = {
    "zh": "检定后脉冲当量已变而台账未更新（对照检定证书）；"
    "丢脉冲会影响所有大小的加油，与此不符；温度影响不超过 0.12%。",
    "en": "Litres a pulse changed at a verification and the ledger was not updated; lost pulses would touch sales "
    "of every size; temperature explains at most 0.12%.",
}
_ON_SITE = {
    "zh": "20 L 量器测不出。用 50 L 量器，或连续加油 30 L 以上；查看封印和接线。",
    "en": "A 20 L can will not show it. Use a 50 L can, or run one sale past 30 L; look at seals and wiring.",
}


def iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def current(scene: str, born: datetime, stations: set[str]) -> list[dict[str, Any]]:
    """The alarms of a scene: ``one``, ``calm`` (all cleared), ``flood``, ``hostile`` (texts that are HTML)."""
    lines = (_ONE + (_FLOOD if scene == "flood" else "")).split("\n")
    alarms = [_alarm(line, born) for line in lines if line]
    if scene == "calm":
        alarms = [a for a in alarms if a["state"] == "cleared"]
    if scene == "hostile":
        alarms[0]["finding"]["explanation"]["title"] = {"zh": HOSTILE, "en": HOSTILE}
        alarms[0]["finding"]["evidence"][0]["reference"] = alarms[0]["finding"]["evidence"][-1]["kind"] = HOSTILE
        alarms[0]["log"][0]["note"] = HOSTILE
    return [a for a in alarms if a["subject"]["station_id"] in stations]


def earlier(born: datetime, like: dict[str, Any]) -> list[dict[str, Any]]:
    """Alarms of the last day, long cleared."""
    counts = (2, 1, 0, 0, 1, 0, 0, 1, 3, 2, 4, 2, 1, 3, 2, 5, 3, 2, 1)
    old = []
    for hours, count in zip(range(23, 4, -1), counts, strict=True):
        for i in range(count):
            raised = born - timedelta(hours=hours, minutes=7 * i)
            said = iso(raised + timedelta(seconds=30 + 9 * i))
            times = {
                "raised_at": iso(raised),
                "acknowledged_at": said,
                "cleared_at": iso(raised + timedelta(minutes=9)),
            }
            old.append(like | times | {"id": f"A-{900 - hours * 10 + i:06d}", "state": "cleared"})
    return old


def _alarm(line: str, born: datetime) -> dict[str, Any]:
    number, minutes, severity, state, key, cause, zh, en, where, by, figures, count = line.split("|")
    state = {"ack": "acknowledged"}.get(state, state)
    raised = born - timedelta(minutes=float(minutes))
    station, _, part = key.partition("-")
    subject = {"station_id": station, "dispenser_id": None, "nozzle_id": None, "tank_id": None}
    if part[:1] == "N":
        subject |= {"nozzle_id": key, "dispenser_id": f"{station}-D{(int(part[1:]) - 1) // 4 + 1}"}
    elif part:
        subject["tank_id" if part[0] == "T" else "dispenser_id"] = key
    known = iso(raised + timedelta(seconds=48)) if by else None
    over = iso(raised + timedelta(minutes=12)) if state in {"cleared", "returned"} else None
    log = [{"at": iso(raised), "act": "raise", "by": "", "note": ""}]
    log += [{"at": iso(raised + timedelta(seconds=9 * i)), "act": "repeat", "by": "", "note": ""} for i in range(3)]
    log += [{"at": known, "act": "acknowledge", "by": by, "note": ""}] if known else []
    log += [{"at": over, "act": "return", "by": "", "note": ""}] if over else []
    shared = {
        "rule": cause,
        "cause": cause,
        "subject": subject,
        "severity": severity,
        "departments": [_DEPARTMENTS[where]],
    }
    onset = iso(raised - timedelta(hours=2))
    texts = {"title": {"zh": zh, "en": en}, "what": {k: v.format(key=key, count=count) for k, v in _WHAT.items()}}
    finding = {"id": f"{int(number):024x}", "onset": onset, "detected_at": iso(raised), "estimate": _estimate(figures)}
    finding |= shared | {"explanation": texts | {"why": _WHY, "otherwise": _ELSE, "on_site": _ON_SITE}}
    finding["evidence"] = [_sale(key, raised, i) for i in range(3)]
    seen = {"registered": "3F0C", "observed": "3F0C"}
    finding["evidence"] += [{"kind": "identity", "reference": key, "data": seen}]
    finding["figures"] = (
        [{"title": {"zh": f"{key} 每笔误差", "en": f"{key}: error of each sale"}}] if key == DRAWN else []
    )
    return shared | {
        "id": f"A-{int(number):06d}",
        "state": state,
        "raised_at": iso(raised),
        "onset": onset,
        "acknowledged_at": known,
        "acknowledged_by": by or None,
        "returned_at": over,
        "cleared_at": over if state == "cleared" else None,
        "cleared_by": None,
        "count": int(count),
        "finding": finding,
        "log": log,
    }


def figure(raised: datetime) -> Figure:
    """What the figure of ``DRAWN`` shows: thirty sales, the last ten of them out of tolerance."""
    at = [raised.timestamp() - 1_800 * (30 - i) for i in range(30)]
    error = [2.41 + (i % 5 - 2) * 0.04 if i >= 20 else (i % 7 - 3) * 0.05 for i in range(30)]
    return Figure(
        Text("3号枪 每笔误差", "Nozzle 3: error of each sale"),
        Text("当地时间", "local time"),
        Text("显示量对编码器，%（正：消费者吃亏）", "display against encoder, % (plus: customer short)"),
        (
            Curve(Text("允差 ±0.30%", "tolerance ±0.30%"), (at[0], at[-1]), (-0.3, -0.3), "band", (0.3, 0.3)),
            Curve(Text("允差内", "within tolerance"), tuple(at[:20]), tuple(error[:20]), "points"),
            Curve(Text("超差", "out of tolerance"), tuple(at[20:]), tuple(error[20:]), "points", (), alarm=True),
        ),
        marks=((at[20], Text("起点", "onset")), (at[6], Text("工单：检定", "work order: verification"))),
    )


def _estimate(figures: str) -> dict[str, Any] | None:
    if not figures:
        return None
    value, unit, low, high = figures.split()
    return {"value": float(value), "unit": unit, "low": float(low), "high": float(high), "confidence": 0.95}


def _sale(key: str, raised: datetime, i: int) -> dict[str, Any]:
    shown, counted = 31.86 - i, 31.09 - i
    data = {"end": iso(raised - timedelta(minutes=9 * (2 - i))), "displayed_l": shown, "counted_l": counted}
    data |= {"pulses": round(counted * 100), "pulse_l": 0.01, "tax_l": shown if i else None}
    data |= {"error_percent": (shown - counted) / counted * 100, "short_cny": 6.11}
    return {"kind": "transaction", "reference": f"{key}/{4711 + i}", "data": data}
