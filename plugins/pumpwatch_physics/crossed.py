"""What ``tank_balance`` says of two tanks of which one sells what the other holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from pumpwatch import (
    Department,
    Estimate,
    Evidence,
    Explanation,
    Finding,
    Severity,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.courses import DAY_US
from pumpwatch.wording import litres, nozzle_label, tank_label, title
from pumpwatch_physics.crossing import Crossing, Crossings
from pumpwatch_physics.noting import RULE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Z95: Final = 1.96


def crossed(
    past: StationPast,
    digests: Mapping[int, Mapping[str, NDArray[np.float32]]],
    since: datetime,
    until: datetime,
    utc_offset_us: int,
    crossings: Crossings,
) -> Iterator[Finding]:
    """Each crossing that comes to be evident at since < time <= until, as the swap or the wrong register it is."""
    days = ((to_us(each) + utc_offset_us) // DAY_US for each in (since, until))
    first, last = (min(max(day, min(digests, default=0)), max(digests, default=0)) for day in days)
    for crossing in crossings.found(first - 1, last, utc_offset_us):
        if to_us(since) < crossing.at_us <= to_us(until):
            yield _finding(past, crossing, utc_offset_us)


def _finding(past: StationPast, crossing: Crossing, utc_offset_us: int) -> Finding:
    grades = {tank.tank_id: tank.grade for tank in past.tanks}
    own, other = grades.get(crossing.gaining, ""), grades.get(crossing.losing, "")
    is_swap = own != other
    subject, label = Subject(past.station_id, tank_id=crossing.gaining), tank_label(crossing.gaining)
    group = past.manifold(crossing.gaining)
    nozzles = [each.nozzle_id for each in past.nozzles if each.tank_id in group]
    if not is_swap and crossing.nozzle is not None and crossing.nozzle < len(nozzles):
        nozzle = nozzles[crossing.nozzle]
        subject, label = past.subject(nozzle), nozzle_label(nozzle)
    here, there = tank_label(crossing.gaining), tank_label(crossing.losing)
    share, sd = (100.0 * each for each in crossing.share)
    hours = (crossing.at_us - crossing.since_us) / 3.6e9
    said = title(label, f"疑混入{other} {share:.0f}%", f"{share:.0f}% from {other}")
    if not is_swap:
        said = title(label, f"疑用{there.zh}的油", f"seems to draw from {there.en.lower()}")
    return Finding(
        id=finding_id(RULE, subject, "crossed", crossing.losing, (crossing.at_us + utc_offset_us) // DAY_US),
        rule=RULE,
        cause="product_swap" if is_swap else "wrong_tank",
        subject=subject,
        severity=Severity.HIGH if is_swap else Severity.MEDIUM,
        departments=(Department.MARKET_REGULATION, *((Department.COMMERCE,) if is_swap else ())),
        onset=from_us(crossing.since_us),
        detected_at=from_us(crossing.at_us),
        explanation=Explanation(
            title=said,
            what=Text(
                f"近 {hours:.0f} 小时{here.zh}（{own}）按记录售出 {litres(crossing.sold_l)}，却少降 "
                f"{litres(crossing.gained_l)}（{share:.0f}%）；同时{there.zh}（{other}）多降 "
                f"{litres(crossing.lost_l)}。一罐所失即另一罐所得。",
                f"In the last {hours:.0f} hours {here.en} ({own}) sold {litres(crossing.sold_l)} by the records and "
                f"fell by {litres(crossing.gained_l)} less ({share:.0f}%), while {there.en} ({other}) fell by "
                f"{litres(crossing.lost_l)} more than its nozzles sold: what the one loses the other gains.",
            ),
            why=Text(
                "两罐各自都远超诚实的计量、容积表和损耗偏差，数量又彼此相符；渗漏、失窃和少付不会如此。"
                "其间这两罐的平衡不用于判断各枪，已售出量不足以另作结论。",
                "Each tank is far beyond what honest meters, charts and losses do, and the two amounts agree, as no "
                "leak, theft or short delivery would have it. Meanwhile the balance of neither tank is used against "
                "its nozzles.",
            ),
            otherwise=Text(
                "油枪登记错油罐或错油品；两罐之间有未登记的连通管；倒罐而没有工单。",
                "A nozzle registered at the wrong tank or grade; a pipe between the tanks that is not registered; fuel "
                "moved between tanks without a work order.",
            ),
            on_site=Text(
                "两罐及相关各枪取样，测密度和辛烷值；核对管线图、潜油泵和阀门；用相关油枪加油时观察两罐液位。",
                "Sample both tanks and their nozzles, test density and octane; compare the pipe plan with pumps and "
                "valves; watch both levels while these nozzles sell.",
            ),
        ),
        estimate=Estimate(
            round(share, 2), "%", round(max(share - _Z95 * sd, 0.0), 2), round(share + _Z95 * sd, 2), 0.95
        ),
        evidence=(
            Evidence(
                "crossed_tanks",
                f"{crossing.gaining}/{crossing.losing}",
                {
                    "gained_20c_l": round(crossing.gained_l, 1),
                    "lost_20c_l": round(crossing.lost_l, 1),
                    "sd_l": round(crossing.sd_l, 1),
                    "sold_20c_l": round(crossing.sold_l, 1),
                    "since": from_us(crossing.since_us).isoformat(),
                },
            ),
        ),
    )
