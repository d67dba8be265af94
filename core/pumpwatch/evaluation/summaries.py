"""Tables that the report and the published page share: against the bound, in one figure, by plugin, honest things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pumpwatch.evaluation.scoring import NONE
from pumpwatch.evaluation.words import amount, rate_words, share_words, size_words

Both: TypeAlias = tuple[str, str]
"""Chinese and English."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One table."""

    title: Both
    words: Both
    heads: Sequence[Both]
    rows: Sequence[Sequence[str]]
    names: int = 1
    """So many columns at the left are names of things."""


_NOZZLE_YEARS: Final = ("每百枪年", "per 100 nozzle-years")


def summaries(scores: Mapping[str, Any]) -> Iterator[Summary]:
    """Those that have something to say."""
    made = (_overall, _against_bound, _estimates, _groups, _known, _honest)
    return (each for each in (make(scores) for make in made) if each.rows)


def _overall(scores: Mapping[str, Any]) -> Summary:
    overall, rows = scores["overall"], []
    if scores["items"]:
        score, timely = overall["window_score"], overall["in_time"]
        rows = [
            ["NAB, standard", _number(score["standard"])],
            ["NAB, low false alarms", _number(score["low_false_alarms"])],
            ["precision", _percent(timely["precision"])],
            ["recall", _percent(timely["recall"])],
            ["F1", _percent(timely["f1"])],
            ["right nozzle, a day after the alarm", _percent(overall["attribution_next_day"]["nozzle"])],
            ["right nozzle, at first", _percent(overall["attribution"]["nozzle"])],
            ["right dispenser", _percent(overall["attribution"]["dispenser"])],
            ["right tank", _percent(overall["attribution"]["tank"])],
            *(
                [name, share_words(cause["share"], cause["low"], cause["high"])]
                for name, cause in (
                    ("right cause, at first", overall["right_cause"]),
                    ("right cause, a day after the alarm", overall["right_cause_next_day"]),
                    ("right cause, in the end", overall["right_cause_at_last"]),
                )
            ),
        ]
    return Summary(
        ("总体指标", "In one figure"),
        (
            "窗口得分：0为不报警，100为全部立即查出且无误报；精确率与召回率只计期限（1.5倍下限加一日）内查出者。",
            "The window score is 0 for rules that say nothing and 100 for those that find all at once and say nothing "
            "else. Precision and recall count what is found within 1.5 bounds and a day.",
        ),
        (("指标", "figure"), ("数值", "value")),
        rows,
        names=0,
    )


def mistaken(scores: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """What was missed (no cause) or taken for something else: true and claimed cause, times at first and in the end."""
    first, last = scores["causes"], scores["causes_at_last"]
    for true, told in first.items():
        for other in sorted({*told, *last[true]} - {true}):
            yield true, "" if other == NONE else other, str(told.get(other, 0)), str(last[true].get(other, 0))


def _against_bound(scores: Mapping[str, Any]) -> Summary:
    rows = []
    for row in scores["scenarios"]:
        late, drops = row["after_baseline"], row["delay"]["drops"]
        if row["bound_days"] is None and drops is None:
            continue
        named = row["noticed_delay"]
        rows.append(
            [
                row["scenario"],
                row["cause"],
                size_words(row),
                str(row["n"]),
                _percent(row["found_share"]),
                _number(None if named is None else named["mean"]),
                _number(row["mean_days"]),
                _number(late["mean_days"]),
                _number(row["censored_mean_days"]),
                _number(row["bound_days"]),
                _number(row["ratio_to_bound"]),
                _number(row["censored_ratio_to_bound"]),
                _number(late["ratio_to_bound"]),
                _number(row["ratio_to_formula"]),
                _number(None if drops is None else drops["mean"]),
            ]
        )
    return Summary(
        ("与理论下限相比", "Against the bound"),
        (
            "平均天数。首次报警：不论原因；查出：原因正确；有基线者：此前至少60日正常；截尾：未查出者按观察天数计入。",
            "Mean days. First alarm: of any cause. Found: of the right cause. After a baseline: items with at least "
            "60 honest days before. Censored: what was missed counts as found when watching ended.",
        ),
        (
            ("场景", "scenario"), ("原因", "cause"), ("幅度", "size"), ("数量", "n"), ("查出", "found"),
            ("首次报警", "first alarm"), ("查出天数", "days"), ("有基线者", "after a baseline"), ("截尾", "censored"),
            ("下限", "bound"), ("÷ 下限", "÷ bound"), ("截尾 ÷ 下限", "censored ÷ bound"),
            ("有基线者", "after a baseline"), ("÷ 公式", "÷ formula"), ("车次", "drops"),
        ),
        rows,
        names=2,
    )  # fmt: skip


def _estimates(scores: Mapping[str, Any]) -> Summary:
    return Summary(
        ("估计值", "Estimates"),
        (
            "与真值单位相同的估计；覆盖率附95% Clopper–Pearson区间。",
            "Estimates in the truth's unit; coverage with Clopper and Pearson's 95 % interval.",
        ),
        (("规则", "rule"), ("数量", "n"), ("偏差", "bias"), ("均方根误差", "RMSE"), ("区间覆盖", "covered")),
        [
            [
                rule,
                str(told["n"]),
                f"{told['bias']:.3g}",
                f"{told['rmse']:.3g}",
                share_words(told["coverage"], told["coverage_low"], told["coverage_high"]),
            ]
            for rule, told in scores["overall"]["estimates"].items()
        ],
    )


def _groups(scores: Mapping[str, Any]) -> Summary:
    false = scores["false_alarms"]
    return Summary(
        ("各组规则的误报", "False alarms by group of rules"),
        (
            "physics：依据油罐称量的规则；records：其余规则。",
            "`physics` are the rules that weigh the tank, `records` all others; then by plugin.",
        ),
        (("规则组", "group"), ("次数", "count"), _NOZZLE_YEARS),
        [
            [name, str(told["count"]), rate_words(told)]
            for name, told in (*false["by_group"].items(), *false["by_package"].items())
            if name
        ],
    )


def _known(scores: Mapping[str, Any]) -> Summary:
    return Summary(
        ("按站点记录时长的误报", "False alarms by how long a station is known"),
        (
            "天数：自该站首条记录起。规则对新站要求更多证据；长期误报率以200日之后为准。",
            "Days since the station's first record. Rules want more of a new station; what holds after 200 days stays.",
        ),
        (("天数", "days"), ("次数", "count"), _NOZZLE_YEARS, ("枪年", "nozzle-years")),
        [
            [
                f"≥ {row['from']}" if row["to"] is None else f"{row['from']}–{row['to']}",
                str(row["count"]),
                rate_words(row),
                amount(row["honest_nozzle_years"]),
            ]
            for row in scores["false_alarms"].get("by_days_known", ())
            if row["honest_nozzle_years"]
        ],
        names=0,
    )


def _honest(scores: Mapping[str, Any]) -> Summary:
    return Summary(
        ("正常情况的说明", "Honest things, and what is said of them"),
        (
            "提示：涉及同一对象的提示级说明；说明正确：提示的原因即其本身。",
            "Notes (information) and alarms that touch it then; told right: a note says what it is.",
        ),
        (
            ("场景", "scenario"), ("数量", "n"), ("有提示", "with notes"), ("有报警", "with alarms"),
            ("说明正确", "told right"), ("提示", "notes"), ("报警", "alarms"),
        ),
        [
            [
                row["scenario"],
                str(row["n"]),
                str(row["with_notes"]),
                str(row["with_alarms"]),
                _percent(row["right_share"]),
                _counted(row["notes"]),
                _counted(row["alarms"]),
            ]
            for row in scores["honest"]["scenarios"]
        ],
    )  # fmt: skip


def _counted(causes: Mapping[str, int]) -> str:
    return ", ".join(f"{cause} {times}" for cause, times in causes.items())


def _number(value: float | None) -> str:
    return "" if value is None else amount(value)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
