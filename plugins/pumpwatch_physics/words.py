"""What the rules of the balance say, cause by cause, and their pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pumpwatch import About, Text
from pumpwatch.wording import litres, local_day
from pumpwatch_physics.blocks import BLOCKS, LOOKS
from pumpwatch_physics.crossing import APART_SIGMAS, EACH_SIGMAS, LEAST
from pumpwatch_physics.runs import JOINED_NATS, NATS
from pumpwatch_physics.states import BACK_DAYS, STRANGE
from pumpwatch_physics.strata import HOURLY_SD, STRATA
from pumpwatch_physics.tank_model import COMMON_SD, METER_MEAN_SD, TANK_SIZES, USUAL_NOISE_L
from pumpwatch_physics.telling import Told, Wording
from pumpwatch_physics.watch import (
    AGAIN_NATS,
    CHART_DAYS,
    CHART_LEAST,
    CHART_MOST,
    CHART_SIGMAS,
    EARLY_DAYS,
    EARLY_NATS,
    LEARN_DAYS,
    LEAST_MARGIN,
    LEVEL_DAYS,
    LEVEL_LEAST,
    LEVEL_SIGMAS,
    MARGIN,
    PART_BOTH_NATS,
    PART_DAYS,
    PART_KNOWN_NATS,
    PART_SIZES,
    PATIENT_BLOCKS,
    SILENT_L,
    SPARSE_BLOCKS,
    SPARSE_MARGIN,
    SUSPECTED,
    TURN_NATS,
    UNNAMED_MARGIN,
    UNNAMED_NATS,
)

if TYPE_CHECKING:
    from pumpwatch import WorkOrder

LIMIT_PERCENT: Final = 0.30
"""JJG 443: what a dispenser may be wrong by."""

_METER_SITE: Final = Text(
    "用标准金属量器在常用流速下检定该枪（含大升数和夜间等平常工况），核对计量器、编码器和主板铅封、加油机自校验与"
    "维修记录；同时读罐，比较检定量与液位变化。",
    "Verify the nozzle with a prover at usual flow, large volumes and usual hours included; look at the seals of "
    "meter, encoder and mainboard, at self-checks and repair papers; read the tank meanwhile and compare.",
)
_METER_ELSE: Final = Text(
    "计量器磨损或未登记的调整；枪与罐的对应登记有误；有加油记录未上传或重复；罐内有未登记的抽取或进油。",
    "A worn meter or an adjustment without papers; a nozzle registered at the wrong tank; fillings not uploaded or "
    "told twice; fuel drawn or brought in without a record.",
)
SHORT: Final = Wording(Text("少付", "short"), _METER_ELSE, _METER_SITE)
SOME: Final = Wording(Text("一支枪少付", "one nozzle short"), _METER_ELSE, _METER_SITE)
LEVEL: Final = Wording(Text("持续少付", "always short"), _METER_ELSE, _METER_SITE)
WORN: Final = Wording(
    Text("计量漂移", "meter drift"),
    Text(
        "缓慢变化多为计量器磨损；也可能是逐步加大的人为调整；枪与罐的对应登记有误。",
        "Slow change is wear as a rule; it may also be an adjustment in small steps, or a nozzle registered at the "
        "wrong tank.",
    ),
    Text(
        "安排检定；超出允差时停用该枪，由持证机构调整后复检。",
        "Have it verified; if it is out of tolerance take it out of use until an authorised repairer has set it right.",
    ),
)
GAIN: Final = Wording(
    Text("整罐盈余", "stock gain"),
    Text(
        "该罐各枪一起多显；或有无记录进油、容积表或探棒改变而没有工单、油温补偿改变。",
        "All nozzles of the tank show more than they give; or fuel comes in unrecorded, a chart or probe was changed "
        "without papers, a temperature compensation was changed.",
    ),
    Text(
        "检定该罐各枪；核对进油单与卸油记录、容积表和探棒的改动，人工量油比较。",
        "Verify every nozzle of the tank; look at delivery papers, at changes of chart and probe, and dip the tank.",
    ),
)
LINE_LEAK: Final = Wording(
    Text("加油时损耗", "loss while pumping"),
    Text(
        "管线在泵压下渗漏；该罐各枪一起少显（多付）；售油未记录；季节性蒸发；容积表或探棒改变而没有工单。",
        "The line leaks under the pump's pressure; all nozzles give more than they show; sales without a record; "
        "vapour of a season; a chart or probe changed without papers.",
    ),
    Text(
        "先作管线压力试验，查看泵底槽、人孔和观测井；再检定各枪并人工量油。",
        "Test the line's tightness first, look into sumps, manholes and wells; then verify the nozzles and dip the "
        "tank.",
    ),
)
LEAK: Final = Wording(
    Text("疑似渗漏", "leak"),
    Text(
        "油罐渗漏；夜间有小量抽取而无记录；液位仪漂移或油温读数缓慢变化。",
        "The tank leaks; small amounts are drawn at night without a record; the probe drifts or its temperature does.",
    ),
    Text(
        "停止收发油，作静置试验（数小时），查看观测井和人孔；确认后按应急预案处置。",
        "Stop sales and deliveries, let the tank stand for some hours, look at wells and manholes; if it is confirmed "
        "follow the emergency plan.",
    ),
)
CHART: Final = Wording(
    Text("容积表偏差", "chart off"),
    Text(
        "作业后容积表或探棒参数有误；或同一天起损耗真的改变。",
        "The chart or the probe's parameters are wrong since the work; or the losses truly changed that day.",
    ),
    Text(
        "核对作业后录入的容积表、探棒零点与罐容；用一车有流量计的进油校核。",
        "Check the chart, the probe's zero and the capacity that were entered; compare with one metered delivery.",
    ),
)
PART: Final = Wording(
    Text("部分少付", "some short"),
    Text(
        "该类加油的流速或油温不同；记录时间、支付或预置信息有误；枪与罐的对应登记有误。",
        "Such fillings differ in flow or warmth; times, payments or presets are recorded wrongly; a nozzle is "
        "registered at the wrong tank.",
    ),
    Text(
        "按所述条件实测该枪（同样的升数、时段、支付和预置方式），与其他条件下的结果比较；查铅封、主板与键盘记录。",
        "Measure the nozzle under the condition named (the same volume, hour, payment and preset) and under others; "
        "look at seals, mainboard and keypad records.",
    ),
)
INSPECTIONS: Final = Wording(
    Text("检查时不少付", "not at visits"),
    Text(
        "检查前后恰好有调整或停用；检查期间加油很少；检查时间登记有误。",
        "An adjustment or a pause happened to fall to the visits; few fillings at that time; a visit's time is wrong.",
    ),
    Text(
        "不预先通知，按平常加油方式实测；比较检查当天与前后各天的罐内平衡；查铅封、主板与遥控接收部件。",
        "Measure without notice, as customers fill; compare the tank's balance of visiting days with the days around "
        "them; look at seals, mainboard and anything that receives.",
    ),
)


def recalibrated(order: WorkOrder, utc_offset_h: float) -> Wording:
    """A step that signed work explains."""
    day = local_day(order.at, utc_offset_h)
    kind = {"calibration": Text("校准", "calibration"), "repair": Text("维修", "repair")}.get(
        order.kind, Text("检定", "verification")
    )
    number = order.certificate_no or "—"
    return Wording(
        Text("已调整", "adjusted"),
        Text(
            f"与 {day} 签字的{kind.zh}（证书 {number}）相符，仅作记录；若作业未涉及计量器则须另查。",
            f"It fits the signed {kind.en} of {day} (certificate {number}): a note. If that work did not concern the "
            "meter it needs another explanation.",
        ),
        Text("核对该作业的单据和检定结果即可。", "Compare with the papers and the result of that work."),
    )


def what(told: Told, wording: Wording, sign: float) -> Text:
    """One cause's sentence of how much, since when and what it came to."""
    size, label, since = told.size(sign), told.label, told.since
    missing, worth = litres(told.missing_l), told.worth
    if wording is LEAK:
        return Text(
            f"{label.zh}自 {since} 起无论是否加油都减少 {size.zh}，至今约 {missing}{worth.zh}。",
            f"{label.en} has been losing {size.en} since {since} whether anything is sold or not, about {missing} so "
            f"far{worth.en}.",
        )
    if wording is LINE_LEAK:
        return Text(
            f"{label.zh}自 {since} 起加油时比售出多减少 {size.zh}，至今约 {missing}{worth.zh}。",
            f"Since {since} {label.en} has been losing {size.en} more than is sold, only while pumps run: about "
            f"{missing} so far{worth.en}.",
        )
    if wording is CHART:
        return Text(
            f"{label.zh}自 {since} 的作业后，液位仪算出的升数变化比售出量偏 {size.zh}。",
            f"Since the work of {since} the litres that {label.en}'s gauge reckons are off by {size.en} against what "
            "is sold.",
        )
    if wording is SOME:
        likeliest = told.likeliest
        return Text(
            f"{label.zh}自 {since} 起有一支枪显示比实际给出多 {size.zh}，最可能是{likeliest.zh}，尚不能确定；"
            f"至今约少给 {missing}{worth.zh}。",
            f"Since {since} one nozzle at {label.en} has been showing {size.en} more than it gives, most likely "
            f"{likeliest.en}, which is not certain yet; about {missing} not given so far{worth.en}.",
        )
    if wording is GAIN:
        return Text(
            f"{label.zh}自 {since} 起各枪一起显示比罐内减少量多 {size.zh}；"
            f"此后约售出 {litres(told.sold_l)}，相差约 {missing}{worth.zh}。",
            f"Since {since} all nozzles at {label.en} show {size.en} more than the tank loses; of about "
            f"{litres(told.sold_l)} sold that is about {missing}{worth.en}.",
        )
    if wording.title.en == "adjusted":
        return Text(
            f"{label.zh}的误差自 {since} 起改变 {size.zh}。", f"{label.en}'s error changed by {size.en} on {since}."
        )
    further_zh, further_en = ("再", "a further ") if told.is_further else ("", "")
    beginning_zh = "自开始监测" if wording is LEVEL else f"自 {since} 起"
    beginning_en = "since it has been watched" if wording is LEVEL else f"since {since}"
    change_zh = "逐渐显示" if wording is WORN else "显示"
    return Text(
        f"{label.zh}{beginning_zh}{further_zh}{change_zh}比实际给出多 {size.zh}；此后约售出 {litres(told.sold_l)}，"
        f"少给约 {missing}{worth.zh}。",
        f"{label.en} has been showing {further_en}{size.en} more than it gives {beginning_en}; of about "
        f"{litres(told.sold_l)} sold that is about {missing} not given{worth.en}.",
    )


def what_part(told: Told) -> Text:
    """Which fillings are short and by how much."""
    size, label, condition = told.size(), told.label, told.condition
    return Text(
        f"{label.zh}自 {told.since} 起，仅“{condition.zh}”的加油显示比实际给出多 {size.zh}，其他加油没有这样的差异。",
        f"Since {told.since} {label.en} shows {size.en} more than it gives {condition.en} only; its other fillings do "
        "not differ so.",
    )


def what_inspections(told: Told) -> Text:
    """How much less a nozzle is short about visits."""
    size, label = told.size(), told.label
    return Text(
        f"{label.zh}在检查或检定前后的误差比平时低 {size.zh}：检查时付足，平时少付。",
        f"About inspections {label.en}'s error is lower by {size.en} than on other days: it gives in full then and is "
        "short otherwise.",
    )


def why_part(told: Told) -> Text:
    """Against the same nozzle's other fillings."""
    return Text(
        "依据罐内存量与售出量之和（20 °C），把该枪符合条件的加油与同日其他加油比较；共同损耗、容积表和液位噪声对两者"
        f"相同，因而抵消。已按所试条件的个数提高门槛；没有差异时出现这样数据的机会约为有此差异时的 {told.odds.zh}。",
        "What the tank holds plus what was sold (20 °C): the nozzle's fillings of this kind against its others of the "
        "same days. Losses, chart and gauge are the same for both and cancel. The threshold was raised for the number "
        f"of conditions tried; without such a difference data like these would come {told.odds.en} often.",
    )


_PATIENT_H: Final = PATIENT_BLOCKS * 24 // BLOCKS
ABOUT_BALANCE: Final = About(
    title=Text("罐内物理平衡", "Physical balance of the tank"),
    catches=(
        "F02",
        "F03",
        "F04",
        "F05",
        "F06",
        "F12",
        "F13",
        "F16",
        "F20",
        "F21",
        "F23",
        "C10",
        "H17",
        "W01",
        "W02",
        "W04",
    ),
    inputs="Tank readings of any interval, down to a dip a day (one difference a day), with the tank's temperature; "
    "fillings with their volume, start and end; the register (which nozzle draws from which tank, siphons); signed "
    "work orders. Neither encoder, tax control nor totalizers, nor the chart.",
    statistic="Held + sold at 20 °C, reading by reading, its differences made white exactly (the gauge's noise is a "
    f"moving average of first order beside a wander). Each {24 // BLOCKS} hours become S = Σ z·e and G = Σ z·z', z the "
    "litres of each nozzle, the hours and the litres by band of the chart. A Kalman filter follows the common loss, "
    "each nozzle's error, the hour of the day, a leak and the chart's bands. It learns how much more than assumed "
    "the tank's blocks vary, believes its days less by that and lets losses and meters wander more; where a reading's "
    f"noise is above {USUAL_NOISE_L:g} L the common loss is taken to wander more, and less where the tank's own days "
    "say so. A step "
    f"of one nozzle, of all nozzles or of the leak at any time within {BACK_DAYS} days leaves a known signature in its "
    "innovations (Willsky and Jones); the likelihood ratio is averaged over sizes and summed over times; a fault of "
    "the whole tank is taken as rarer beforehand. A block beyond "
    f"{STRANGE:g} deviations counts as if it were so strange. A "
    "nozzle's absolute error, against the others and towards "
    f"±{100 * METER_MEAN_SD:.2f} %, is watched from the first day on. Two tanks of which one gains what the other "
    "loses are crossed: that is told at once (product swap, or a nozzle at the wrong tank), and neither is judged "
    "until a day after it.",
    threshold=f"{NATS:g} nats for the likeliest cause ({JOINED_NATS:g} more where a siphon joins tanks), which must "
    f"lead the next by {MARGIN:g} nats, and by less while it goes on, {LEAST_MARGIN:g} after {_PATIENT_H} hours. Where "
    "what a nozzle's blocks show differs by more than noise, it must lead by so much more. Where another that seems "
    "short, or all together, are so close to a nozzle, the tank is told of at once, and the nozzle when it leads, by "
    f"{UNNAMED_MARGIN:g} nats at least, for which {UNNAMED_NATS:g} less are wanted: one alarm. "
    f"Where all together are likeliest and a nozzle is close, the tank is told of after {_PATIENT_H} hours. "
    f"Of readings rarer than a third of an hour it must lead by {SPARSE_MARGIN:g}, and those hours are "
    f"{SPARSE_BLOCKS * 24 // BLOCKS}. "
    f"{AGAIN_NATS:g} nats more for another cause at a "
    "tank of which one was told. Before one nozzle is said to give more than it shows, both are twice as much. "
    f"A cause that had {SUSPECTED:g} nats when {24 // BLOCKS} hours began is told of after any "
    f"{24 // BLOCKS // LOOKS} h of them. "
    f"Nothing in a tank's first {LEARN_DAYS} days with readings, and until day {EARLY_DAYS:g} up to "
    f"{EARLY_NATS:g} nats more, fewer day by day. A nozzle short since the first day: more than "
    f"{100 * LEVEL_LEAST:.2f} % by {LEVEL_SIGMAS:g} deviations after {LEVEL_DAYS} days with readings. A small step "
    "(0.6 % at most) within five days of signed work on the meter is a note, but upwards only the first of a nozzle. "
    "One that grew slowly and is as small is a meter out of tolerance: low, or a note within ±0.30 %. Notes only: an "
    "error reckoned beyond 0.30 % with a deviation of 0.15 % at most, of which nothing else was said; a calibration "
    "signed by repairer and institute, a day after it. A chart: "
    f"{100 * CHART_LEAST:g} % and {CHART_SIGMAS:g} deviations {CHART_DAYS} days after signed work on the tank; more "
    f"than {100 * CHART_MOST:g} % is no chart and told of all nozzles. Crossed tanks: each off by {EACH_SIGMAS:g} "
    f"deviations over the last day or less, the amounts {APART_SIGMAS:g} apart at most, {100 * LEAST:g} % of what the "
    "gaining tank sold, twice.",
    power="Most when one nozzle of a few changes: of four nozzles with 65 fillings a day each and a gauge of 3 L, 3 % "
    "is a matter of hours, 1 % of days and 0.5 % of weeks. Fewer fillings, noisier gauges and rarer readings take "
    "longer as the bound of information says; a dip a day finds little below "
    "some per cent and can hardly tell which nozzle. Of a meter worn to "
    "+0.45 % the error is known to ±0.2 % (95 %) at best, since all nozzles of a tank may be off together: at 1.5 "
    "times the nuisances none of fifteen was noted. The measured delays stand "
    "beside that bound on the page of the rules' performance.",
    pitfalls="All nozzles of a tank together look like its common loss, which honestly wanders by "
    f"{100 * COMMON_SD:g} %: of them only {100 * TANK_SIZES[0]:g} % and more is looked for. Neighbours that sell in "
    "step tell one another apart slowly; then the rule waits, and the odds of the runner-up say so. Unrecorded sales "
    "or deliveries are steps of the level, not slopes, and are left out here (`unrecorded_withdrawal`, "
    "`delivery_papers`). Readings about deliveries, work and draws that are poured back are not used, nor hours in "
    f"which a nozzle that usually sells more than {SILENT_L:g} L sold nothing: its records may be late. Work on a tank "
    "frees its common loss. While two tanks are crossed a cheat at either is not seen, and a crossing of less than "
    f"{100 * LEAST:g} % looks like faults of both. A "
    "size is of the first hours or days and its interval is wide; it does not narrow afterwards.",
    source="Willsky and Jones, A generalized likelihood ratio approach to the detection and estimation of jumps, 1976; "
    "Pollak, Optimal detection of a change in distribution, 1985; JJG 443; EPA/530/UST-90/007 for leaks.",
)
ABOUT_SELECTIVE: Final = About(
    title=Text("选择性少付", "Short at some fillings"),
    catches=("F06", "F07", "F08", "F09", "F10", "F11"),
    inputs="What `tank_balance` needs, and of each filling its volume, amount, hour, payment and preset where they are "
    "told; the times of inspections from signed work orders.",
    statistic=f"For each nozzle and each of {len(STRATA)} conditions (above 20, 40 and 60 L, except at test volumes, "
    "night, out of office hours, shifts, payments, preset or not) S and G of the fillings that fulfil it, less what "
    "all fillings of the tank's nozzles that day explain: a contrast from which losses, chart and the meters' own "
    "errors cancel; of conditions of time also less what those hours do to all nozzles alike, taken as "
    f"{100 * HOURLY_SD:g} %. At the same hours the fillings of several nozzles mix in the readings: such a condition "
    f"is named of a nozzle that leads the others by {MARGIN:g} nats, and what it does is taken out of theirs. A day "
    "beyond three deviations counts less. "
    f"The likelihood ratio of a step is averaged over sizes from {100 * PART_SIZES[0]:g} % to "
    f"{100 * PART_SIZES[-1]:g} % and summed over its beginning in {PART_DAYS} days. About visits: whether a nozzle "
    "known to be short is as short on the day of a visit, from its midnight (twelve hours before at most) until six "
    "hours after.",
    threshold=f"{NATS:g} nats and the logarithm of the number of conditions; the best condition of a nozzle is named, "
    f"once. Fewer when all fillings of the nozzle are suspected too: both together {PART_BOTH_NATS:g} nats more than "
    f"that; {PART_KNOWN_NATS:g} at a nozzle known to be short, of which only the condition is in doubt. Of others up "
    f"to {EARLY_NATS:g} nats more until day {EARLY_DAYS:g}. About visits {TURN_NATS:g} nats, of nozzles known to be "
    "short only.",
    power="Of a fault at a share w of a nozzle's fillings the whole balance sees w times its size, the contrast its "
    "full size at those fillings: 5 % above 40 L is found within days and named some days later; rarer conditions "
    "take as much longer as they are rarer. The measured delays stand on the page of the rules' performance.",
    pitfalls="Conditions overlap; the likeliest is named. Conditions that no record tells (a remote key, a stranger's "
    "plate) are found by the whole balance without a name. Payments and presets that are not told have no fillings of "
    "their kind, and no finding comes of it.",
    source="Short delivery that depends on volume and amount: California Division of Measurement Standards and Chinese "
    "court records, see the scenarios' page; multiplicity by Bonferroni.",
)
