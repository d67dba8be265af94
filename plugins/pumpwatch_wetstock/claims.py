"""What a night shows of an unrecorded withdrawal, and the words for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pumpwatch import Department, Evidence, Severity, Subject, Text, from_us
from pumpwatch.courses import WORK_MOST_L, Course
from pumpwatch_wetstock.falls import Counted, Fall, Night

EXCUSED: Final = {
    "work": ("作业期间下降", "fell during work"),
    "again": ("屡次作业期间下降", "fell at works"),
    "clock": ("时钟有误时下降", "fell, clock wrong"),
}
CALM: Final = {
    None: Text(
        zh="下降前三小时和之后两小时液位稳定，附近没有卸油、检定回罐或油罐作业。",
        en="the level was steady for three hours before and two after, and there was no delivery, verification or work "
        "on the tank.",
    ),
    "work": Text(
        zh=f"该时段有维修方和站方签字的作业单。更换探棒最多使读数移动约 600 L，故十四天内累计不超过 "
        f"{WORK_MOST_L:,.0f} L 时仅作记录；超过时请核对抽出油品的去向。",
        en="a work order signed by the repairer and the station is about this time. A new probe moves the reading by "
        f"600 L at most, so up to {WORK_MOST_L:,.0f} L in a fortnight are a note; of more, ask where the fuel went.",
    ),
    "again": Text(
        zh="该时段有签字的作业单，但五周内已是第三次以上在作业期间少油。换探棒、清罐几年一次；"
        "请核对每次作业的内容、签字人和抽出油品的去向。",
        en="there is a signed work order about this time, but it is at least the third loss under such work in five "
        "weeks. Probes are changed and tanks cleaned once in years: ask what was done each time, who signed, and where "
        "the fuel went.",
    ),
    "clock": Text(
        zh="加油机时钟当时有误，同时间长度内的售出量可以解释这一差值，仅作记录。",
        en="a dispenser's clock was wrong then, and what is sold in so long a while can explain it: a note.",
    ),
}
DEPARTMENTS: Final = {
    "theft": (Department.POLICE,),
    "offline_sale": (Department.TAX, Department.COMMERCE, Department.EMERGENCY),
    "collector_outage": (Department.MARKET_REGULATION, Department.TAX),
}
OTHERWISE: Final = {
    "theft": Text(
        zh="维修抽油、清罐或倒罐而没有工单；值班人员加油未经油枪；探棒故障跳变。",
        en="Fuel pumped out for repair, cleaning or another tank without a work order; staff filling past the nozzles; "
        "a probe that jumped.",
    ),
    "offline_sale": Text(
        zh="加油机登记在别的油罐；交易记录丢失或迟到；倒罐而没有工单；油罐泄漏。",
        en="A nozzle registered at another tank; records lost or late; fuel moved to another tank without a work "
        "order; a leak.",
    ),
    "collector_outage": Text(
        zh="设备停电或检修；断采期间的记录尚未补传。",
        en="A power cut or maintenance; records of the silence that are still to come.",
    ),
}
ON_SITE: Final = {
    "theft": Text(
        zh="查看该时段卸油口、人孔和出入口监控；检查人孔锁与铅封；人工量油复核；必要时报警。",
        en="Look at the video of fill point, manhole and gates of that time; check locks and seals of the manhole; dip "
        "the tank; call the police if needed.",
    ),
    "offline_sale": Text(
        zh="抄录各枪机械泵码并与记录核对；查找未登记的加油机、软管和旁通管线；查看该时段监控；核对当日现金与税控。",
        en="Write down the mechanical totalizers and compare them with the records; look for unregistered dispensers, "
        "hoses and by-passes; look at the video of that time; compare cash and tax control.",
    ),
    "collector_outage": Text(
        zh="核对断采前后泵码与液位；查采集器电源、接线和封印；查看该时段监控和收款流水。",
        en="Compare totalizers and levels before and after; check the collector's power, wiring and seals; look at the "
        "video and the takings of that time.",
    ),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a night (from one judgement to the next) shows of one cause at one subject."""

    cause: str
    subject: Subject
    course: Course
    falls: tuple[Fall, ...]
    counted: tuple[Counted, ...] = ()
    night: Night | None = None
    excuse: str | None = None
    """What may explain it: ``work`` or ``clock``."""
    severity: Severity = Severity.HIGH

    @property
    def litres(self) -> float:
        """All together, at 20 °C."""
        return self.night.litres if self.night is not None else math.fsum(fall.litres for fall in self.falls)

    @property
    def sd_l(self) -> float:
        """Of ``litres``."""
        return self.night.sd_l if self.night is not None else math.hypot(*(fall.sd_l for fall in self.falls))

    @property
    def start_us(self) -> int:
        """When the first began."""
        return self.night.start_us if self.night is not None else min(fall.start_us for fall in self.falls)

    @property
    def end_us(self) -> int:
        """When the last was over."""
        return self.night.end_us if self.night is not None else max(fall.end_us for fall in self.falls)


def fall_evidence(course: Course, fall: Fall) -> Evidence:
    """A fall with its threshold."""
    return Evidence(
        "tank_fall",
        course.tanks[0],
        {
            "start": from_us(fall.start_us).isoformat(),
            "end": from_us(fall.end_us).isoformat(),
            "fall_20c_l": round(fall.litres, 1),
            "sd_l": round(fall.sd_l, 2),
            "limit_l": round(fall.limit_l, 1),
            "sold_20c_l": round(fall.sold_l, 1),
            "silent": fall.silent,
        },
    )


def counted_evidence(each: Counted) -> Evidence:
    """What a totalizer moved beyond its records."""
    return Evidence(
        "totalizer_gap",
        each.nozzle_id,
        {
            "after": from_us(each.start_us).isoformat(),
            "before": from_us(each.end_us).isoformat(),
            "moved_l": round(each.litres, 2),
        },
    )


def night_evidence(course: Course, claim: Claim) -> Evidence:
    """A night's loss beside that of the day."""
    day = claim.night.day_l_per_h if claim.night is not None else math.nan
    return Evidence(
        "night_balance",
        course.tanks[0],
        {
            "start": from_us(claim.start_us).isoformat(),
            "end": from_us(claim.end_us).isoformat(),
            "lost_20c_l": round(claim.litres, 1),
            "sd_l": round(claim.sd_l, 1),
            "lost_by_day_l_per_h": None if math.isnan(day) else round(day, 2),
        },
    )
