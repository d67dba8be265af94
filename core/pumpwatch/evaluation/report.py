"""An evaluation as one HTML page that needs nothing else: Chinese and English, for the screen, the phone and paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

from pumpwatch.evaluation import pictures
from pumpwatch.evaluation.scoring import NONE
from pumpwatch.evaluation.summaries import Summary, summaries
from pumpwatch.evaluation.words import amount, rate_words, size_words, spread_words

_LISTED: Final = 200
"""False alarms that are shown one by one."""

_ASSETS: Final = files("pumpwatch.evaluation").joinpath("assets")
_STYLE: Final = _ASSETS.joinpath("report.css").read_text(encoding="utf-8")
_SCRIPT: Final = _ASSETS.joinpath("report.js").read_text(encoding="utf-8")


def _both(zh: str, en: str) -> str:
    return f'<span class="zh" lang="zh">{escape(zh)}</span><span class="en" lang="en">{escape(en)}</span>'


def report_page(scores: Mapping[str, Any]) -> str:
    """The whole page, from what ``score`` gives."""
    parts = [
        "<header><h1>",
        _both("规则评估报告", "How good the rules are"),
        "</h1><button>",
        _both("English", "中文"),
        "</button></header>",
        _facts(scores),
    ]
    if scores["items"]:
        parts += [_found(scores), _scenarios(scores["scenarios"]), _matrix(scores["causes"])]
    parts += [_summary(each) for each in summaries(scores)]
    parts += [_false_alarms(scores), _fleets(scores["fleets"]), _rules(scores["rules"]), _meanings()]
    return (
        '<!doctype html>\n<html><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>pumpwatch evaluate</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{''.join(parts)}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _facts(scores: Mapping[str, Any]) -> str:
    false, items = scores["false_alarms"], scores["items"]
    found = sum(item["found"] for item in items)
    late = [item["records_late"] for item in items if item["deterministic"] and item["found"]]
    sure = [item for item in items if item["deterministic"]]
    facts = [
        (
            "—" if false["per_100_nozzle_years"] is None else f"{false['per_100_nozzle_years']:.2f}",
            _both("每百枪年误报数", "false alarms per 100 nozzle-years"),
            _both(f"95% 区间 {_interval(false)}", f"95 % interval {_interval(false)}"),
        ),
        (
            amount(false["honest_nozzle_years"]),
            _both("正常枪年", "honest nozzle-years"),
            _both(f"{false['count']} 次误报", f"{false['count']} false alarms"),
        ),
    ]
    if items:
        facts.append(
            (
                f"{found / len(items):.0%}",
                _both("期限内查出", "found within the horizon"),
                _both(f"{len(items)} 项中的 {found} 项", f"{found} of {len(items)} items"),
            )
        )
    if sure:
        facts.append(
            (
                f"{sum(each is not None and each <= 1 for each in late)}/{len(sure)}",
                _both("首条记录即查出", "deterministic, found at the first record"),
                _both("或其后一条", "or the one after it"),
            )
        )
    cells = "".join(f"<div><b>{value}</b>{name}<br><small>{note}</small></div>" for value, name, note in facts)
    return f'<div class="facts">{cells}</div>'


def _interval(told: Mapping[str, Any]) -> str:
    return "—" if told["low"] is None else f"{told['low']:.2f}–{told['high']:.2f}"


def _found(scores: Mapping[str, Any]) -> str:
    def delays(deterministic: bool) -> list[float | None]:
        those = [item for item in scores["items"] if item["deterministic"] is deterministic]
        return [item["delay"]["days"] if item["found"] else None for item in those]

    groups = [("确定性 deterministic", delays(True)), ("其余 others", delays(False))]
    return (
        f"<h2>{_both('查出所需时间', 'How soon')}</h2><p>"
        + _both(
            "自首条受影响记录起，到该时刻为止已查出的比例。",
            "Share of items found by this time after the first affected record.",
        )
        + f'</p><div class="scroll">{pictures.found_over_time(groups)}</div>'
    )


def _scenarios(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = [
        ("", "场景", "scenario"),
        ("", "幅度", "size"),
        ("", "数量", "n"),
        ("left", "查出率", "recall"),
        ("", "天", "days"),
        ("wide left", "时间：中位数至90%", "delay: median to 90 %"),
        ("wide", "笔", "sales"),
        ("wide", "升", "litres"),
        ("wide", "及时", "in time"),
        ("wide", "/ 下限", "÷ bound"),
        ("wide", "枪号", "nozzle"),
        ("wide", "区间覆盖", "covered"),
        ("wide", "每项报警", "alarms each"),
        ("wide left", "规则", "rules"),
    ]
    head = "".join(f'<th class="{kind}">{_both(zh, en)}</th>' for kind, zh, en in heads)
    blank = "<td></td>"
    axis = f'<tr class="wide">{5 * blank}<td>{pictures.delay_axis()}</td>{8 * blank}</tr>'
    body = "".join(map(_scenario, rows))
    return (
        f"<h2>{_both('各场景', 'By scenario')}</h2><p>"
        + _both(
            "粗体：查出不到一半。竖线：任何检测方法可能的最短平均时间。括号内为第90百分位。",
            "Bold: less than half found. Upright: the least mean delay any detector could have. In brackets: the 90th "
            "percentile.",
        )
        + f'</p><div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{axis}{body}</tbody></table></div>'
    )


def _scenario(row: Mapping[str, Any]) -> str:
    first, estimate, delay = row["first_record"], row["estimate"], row["delay"]
    nozzle = row["attribution_next_day"]["nozzle"]
    bar = pictures.share_bar(row["recall"], row["recall_low"], row["recall_high"])
    cells = [
        ("", f"{escape(row['scenario'])}<small>{escape(row['cause'])}</small>"),
        ("", escape(size_words(row))),
        ("", str(row["n"])),
        ("left", f'<div class="recall">{bar}<span>{row["recall"]:.0%}</span></div>'),
        ("", spread_words(delay["days"])),
        ("wide left", pictures.delay_strip(delay["days"], row["bound_days"])),
        ("wide", spread_words(delay["sales"])),
        ("wide", spread_words(delay["litres"])),
        ("wide", f"{first['on_time']}/{first['n']}" if first["n"] else ""),
        ("wide", "" if row["ratio_to_bound"] is None else f"{row['ratio_to_bound']:.1f}"),
        ("wide", "" if nozzle is None else f"{nozzle:.0%}"),
        ("wide", "" if estimate is None or estimate["coverage"] is None else f"{estimate['coverage']:.0%}"),
        ("wide", "" if row["alarms_per_item"] is None else f"{row['alarms_per_item']:.1f}"),
        ("wide left", escape(", ".join(row["rules"]))),
    ]
    kind = ' class="missed"' if row["recall"] < 0.5 else ""
    return f"<tr{kind}>" + "".join(f'<td class="{each}">{text}</td>' for each, text in cells) + "</tr>"


def _matrix(causes: Mapping[str, Mapping[str, int]]) -> str:
    claimed = [*sorted({each for told in causes.values() for each in told} - {NONE}), NONE]
    head = "".join(f'<th class="up"><span>{escape(each)}</span></th>' for each in claimed)
    rows = []
    for cause, told in causes.items():
        total = sum(told.values())
        cells = "".join(
            f'<td class="{"right" if each == cause else ""}" style="--share:{100 * told.get(each, 0) / total:.0f}%">'
            f"{told.get(each) or ''}</td>"
            for each in claimed
        )
        rows.append(f"<tr><td>{escape(cause)}</td>{cells}</tr>")
    return (
        f"<h2>{_both('原因判定', 'Causes')}</h2><p>"
        + _both(
            "每行一种真实原因，每列为首个报警所称原因；末列为未报警。",
            "A row is a true cause, a column what the first alarm said; the last column is no alarm at all.",
        )
        + f'</p><div class="scroll"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _summary(each: Summary) -> str:
    head = "".join(
        f'<th class="{"left" if place < each.names else ""}">{_both(*words)}</th>'
        for place, words in enumerate(each.heads)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td class="{"left" if place < each.names else ""}">{escape(cell)}</td>' for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in each.rows
    )
    return (
        f"<h2>{_both(*each.title)}</h2><p>{_both(*each.words)}</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _false_alarms(scores: Mapping[str, Any]) -> str:
    false = scores["false_alarms"]
    rows = [("全部 all", false), *sorted(false["by_rule"].items(), key=lambda each: (-each[1]["count"], each[0]))]
    alarms = false["alarms"]
    listed = "".join(
        f"<tr><td>{escape(each['rule'])}</td><td class='left'>{escape(each['cause'])}</td>"
        f"<td class='left'>{escape(each['subject'])}</td><td>{escape(each['detected_at'])}</td>"
        f"<td class='left wide'>{escape(each['fleet'])} {'' if each['seed'] is None else each['seed']}</td>"
        f"<td class='left wide'>{escape(', '.join(each['happening']))}</td></tr>"
        for each in alarms[:_LISTED]
    )
    names = (
        ("规则", "rule"),
        ("原因", "cause"),
        ("对象", "subject"),
        ("时间", "time"),
        ("数据集", "fleet"),
        ("当时情况", "going on there"),
    )
    head = "".join(
        f"<th class='{'left wide' if number > 3 else 'left' if number in (1, 2) else ''}'>{_both(*words)}</th>"
        for number, words in enumerate(names)
    )
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{listed}</tbody></table></div>'
    more = len(alarms) - _LISTED
    note = f'<p class="note">{_both(f"另有 {more} 条", f"and {more} more")}</p>' if more > 0 else ""
    return (
        f"<h2>{_both('误报', 'False alarms')}</h2><p>"
        + _both(
            f"每百枪年的次数及95%泊松区间；右侧为次数。合计 {rate_words(false)}。",
            "Per 100 nozzle-years with the exact 95 % Poisson interval; the count at the right. "
            f"All: {rate_words(false)}.",
        )
        + f'</p><div class="scroll">{pictures.rates(rows)}</div>{table if alarms else ""}{note}'
    )


def _fleets(fleets: Sequence[Mapping[str, Any]]) -> str:
    names = (
        ("数据集", "fleet"), ("种子", "seed"), ("站数", "stations"), ("天数", "days"), ("枪年", "nozzle-years"),
        ("其中正常", "of them honest"), ("计分项", "items"), ("报警", "alarms"),
    )  # fmt: skip
    keys = ("fleet", "seed", "stations", "days", "nozzle_years", "honest_nozzle_years", "items", "alarms")
    head = "".join(f"<th>{_both(*words)}</th>" for words in names)
    rows = "".join("<tr>" + "".join(f"<td>{_cell(fleet[key])}</td>" for key in keys) + "</tr>" for fleet in fleets)
    return (
        f"<h2>{_both('评估对象', 'What was judged')}</h2>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cell(value: object) -> str:
    if value is None:
        return "—"
    return amount(value) if isinstance(value, float) else escape(str(value))


def _rules(rules: Mapping[str, Any]) -> str:
    parts = [f"<p>{escape(', '.join(rules.get('on', ())))}</p>"]
    for rule, why in rules["failing"].items():
        parts.append(f'<p class="missed">{_both("规则出错", "failing")}: {escape(rule)} — {escape(why)}</p>')
    for rule, reasons in rules["off"].items():
        words = "; ".join(f"{missing} ({stations})" for missing, stations in reasons.items())
        parts.append(
            f'<p class="note">{_both("因缺少数据停用", "off for want of data")}: {escape(rule)} — {escape(words)}</p>'
        )
    return f"<h2>{_both('规则', 'Rules')}</h2>{''.join(parts)}"


MEANINGS: Final = (
    ("查出率", "recall", "在期限内对同一对象报出同一原因的比例；区间为 Clopper–Pearson 95%。",
     "Share of items for which an alarm of the right cause touched the right thing within the horizon; Clopper and "
     "Pearson's 95 % interval."),
    ("时间", "delay", "自首条受影响记录到证据充分之时，以天、笔数、升数计。",
     "From the first affected record to the data time at which the evidence sufficed: days, fillings and litres of "
     "what is touched."),
    ("及时", "in time", "首条可见记录或其后一条即报警；首条记录由有无该场景的两份数据对比得出。",
     "Alarmed at the first record that shows it or the next. Which record that is, is known by making the same world "
     "without the scenario."),
    ("/ 下限", "÷ bound", "平均时间与理论最短平均时间之比；下限按该站自身的读数、销量与已知干扰计算。",
     "Mean delay over the least possible one, from the station's own readings and fillings and nuisances of known "
     "statistics."),
    ("误报", "false alarm", "一因一警、七日内合并后，未触及任何真实问题（或其结束后期限内）的报警；提示级不计。",
     "An alarm, one for each cause and seven days, about something that nothing true touches then, or has touched "
     "within its horizon; information does not count."),
    ("枪号", "nozzle", "报出原因正确时，枪号也正确的比例。",
     "Of the alarms of the right cause, the share that names the right nozzle."),
    ("区间覆盖", "covered", "估计区间包含真值的比例。", "Share of estimates whose interval holds the true size."),
)  # fmt: skip
"""What the figures mean, Chinese and English."""


def _meanings() -> str:
    rows = "".join(
        f"<dt>{_both(zh, en)}</dt><dd>{_both(words_zh, words_en)}</dd>" for zh, en, words_zh, words_en in MEANINGS
    )
    return f"<h2>{_both('含义', 'What the figures mean')}</h2><dl>{rows}</dl>"
