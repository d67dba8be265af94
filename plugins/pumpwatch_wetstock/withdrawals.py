"""The rule ``unrecorded_withdrawal``: a tank falls and no record says why."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar, Final

from pydantic import Field

from pumpwatch import (
    About,
    Channel,
    Estimate,
    Explanation,
    Finding,
    PluginSettings,
    Review,
    Severity,
    StationPast,
    Subject,
    Text,
    finding_id,
    from_us,
    to_us,
)
from pumpwatch.courses import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    WORK_MOST_L,
    Course,
    courses,
    misplaced_l,
    wrong_clocks,
)
from pumpwatch.wording import litres, local, nozzle_label, station_label, title, yuan
from pumpwatch_wetstock.claims import (
    CALM,
    DEPARTMENTS,
    EXCUSED,
    ON_SITE,
    OTHERWISE,
    Claim,
    counted_evidence,
    fall_evidence,
    night_evidence,
)
from pumpwatch_wetstock.falls import Counted, Fall, Night, counted, falls, moved_l, nights, occasions, worked
from pumpwatch_wetstock.figures import course_label, level_figure, price_cny

_Z95: Final = 1.96
_NIGHT_H: Final = (22.0, 6.0)
_WEEK: Final = 7
_QUIET_L: Final = 150.0
"""Sold while a fall is measured, up to which the hour is quiet."""
_BY_DAY: Final = 1.6
"""How much larger a fall must be by day, when sales shake the difference."""
_CLOCK_DAYS: Final = 2
_WORK_DAYS: Final = 14
_WORK_SIGMAS, _WORK_LEAST_L = 10.0, 72.0
"""What is lost under signed work counts from here on."""
_WORK_TIMES: Final = 3
"""Losses under signed work on so many occasions of five weeks are no note any more, however small."""
_AGAIN: Final = 2.0
_AGAIN_L: Final = 100.0
"""A fall so many times as large as what was told of the week, and so much larger, is told again."""


class WithdrawalSettings(PluginSettings):
    """Keys of ``[rules.unrecorded_withdrawal]``."""

    sigmas: float = Field(6.5, ge=4.0, description="Threshold of a single fall, robust deviations of its statistic.")
    least_l: float = Field(15.0, gt=0.0, description="What is less is left alone, litres.")
    alone_sigmas: float = Field(7.0, ge=5.0, description="The same where no nozzle's counter speaks for the fall.")
    alone_l: float = Field(15.0, gt=0.0, description="The least such fall at a quiet hour of the night, litres.")
    night_sigmas: float = Field(6.0, ge=4.0, description="Threshold of a whole night's loss, robust deviations.")
    night_least_l: float = Field(60.0, gt=0.0, description="A night that lost less is left alone, litres.")
    judged_h: float = Field(10.0, ge=9.0, le=12.0, description="Local hour at which the night before is judged.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


class UnrecordedWithdrawal(Review):
    """Falls of a tank beyond what was sold; each morning the night is judged, one finding a cause, subject and week."""

    rule: ClassVar[str] = "unrecorded_withdrawal"
    Settings: ClassVar[type[PluginSettings]] = WithdrawalSettings
    needs: ClassVar[frozenset[Channel]] = frozenset({Channel.TANK_READINGS})
    lookback: ClassVar[timedelta] = timedelta(days=42)
    settings: WithdrawalSettings
    about: ClassVar[About] = About(
        title=Text("无记录出油", "Unrecorded withdrawal"),
        catches=("T05", "T06", "W03", "C01"),
        inputs="Tank readings (at most an hour apart), fillings, totalizers and sequence numbers; work orders, clock "
        "events.",
        statistic="d = mean of six readings of held plus sold (20 °C, joined tanks as one) before, less that of six "
        "readings from a quarter of an hour later, less the median of d of that day and 0.3 % of what was sold; over a "
        "silence the same across it. For slow withdrawals: the loss from 19:00 to 08:00 against the deviation of the "
        "nights of four weeks and against the loss an hour of the day before.",
        threshold="d > 6.5 robust deviations of d itself over a fortnight (noise, wander and the timing of sales are "
        "in it) + 0.8 % of what was sold, and 15 L, where a nozzle's totalizer moved by as much; without such a "
        "witness 7 deviations at quiet hours of the night, 11 and 24 L otherwise. The fall must have lasted for two "
        "hours and the level must have stood as high for three hours before. With white noise d has σ·√(2/6) = 0.58 σ, "
        "in the simulated tanks with their wander 0.75 σ: 7 deviations are 5.3 σ, two single readings would want "
        "4.95·√2 = 7 σ. A night: 6 deviations and 60 L on two of three nights, and at least twice the day's loss an "
        "hour.",
        power="In one window at night (W03): with σ = 3 L of 21 L 179 of 180 were found; at base probes of all tanks "
        "(σ 2.4 to 4.5 L) 77 % of 21 L and 95 % of 26 L, at good ones 78 of 78 of 20 L, at poor ones (8 L) 78 of 78 of "
        "50 L; of 60 and of 200 L 104 of 104, all called theft. Six stations, probes of 1.5 to 8 L, nuisances 1.2 "
        "times the assumed: T05 (120 L and 30 L a night) found 6 of 6 on the first morning; T06 with 600 L a day 6 of "
        "6 on the first morning, 200 L in twenty fills 6 of 6 after 1.4 to 19 days; C01 of 2 h and of half an hour 6 "
        "of 6. No false alarm in 631 honest nozzle-years (nuisances up to twice the assumed); in 300 honest tank-years "
        "no fall was more than 5.7 deviations.",
        pitfalls="Deliveries, the two readings before their rise (the first minutes slosh) and ninety minutes after "
        "them (sloshing, warm fuel that shrinks) and test draws are left out. Work on the tank or its probe counts "
        "when the repairer and the station signed: what is lost meanwhile is a note, beyond 1,200 L in a fortnight or "
        "on the third occasion in five weeks a low alarm: a paper that the station makes itself is no excuse every "
        "fortnight. A leak is even: it is in the median. A wrong clock moves sales: the threshold is wider by the most "
        "sold in so long a while, and what lies between is a note. A fall that missing sequence numbers of a nozzle "
        "explain is left to the rule that counts them. Told once a week and cause, and again when it is more than "
        "twice what was told and 100 L more.",
        source="Own derivation from the noise and wander of magnetostrictive probes (D10, D11 on the scenarios' page).",
    )

    def review(self, past: StationPast, since: datetime, until: datetime) -> Iterator[Finding]:
        """Each morning at the hour of judgement."""
        offset = round((self.settings.judged_h - self.settings.utc_offset_h) * HOUR_US)
        first = (to_us(since) - offset) // DAY_US + 1
        last = (to_us(until) - offset) // DAY_US
        claims = self._claims(past, offset)
        for day in range(first, last + 1):
            for claim in claims.get(day, ()):
                if claim in self._news(claims, day):
                    yield self._finding(past, claim, day * DAY_US + offset)

    @staticmethod
    def _news(claims: dict[int, list[Claim]], day: int) -> list[Claim]:
        """A day's claims that the week has not heard of: the first of its kind, or one far larger than those told."""
        told: dict[tuple[str, str, Severity], float] = {}
        news: list[Claim] = []
        for each in range(day // _WEEK * _WEEK, day + 1):
            for claim in claims.get(each, ()):
                kind = claim.cause, claim.subject.key, claim.severity
                if kind not in told or claim.litres > max(_AGAIN * told[kind], told[kind] + _AGAIN_L):
                    told[kind] = claim.litres
                    news += [claim] * (each == day)
        return news

    def _claims(self, past: StationPast, offset: int) -> dict[int, list[Claim]]:
        """By day of judgement (days since 1970)."""
        claims: dict[int, list[Claim]] = defaultdict(list)
        silent: dict[int, list[tuple[Course, Fall]]] = defaultdict(list)
        for course in courses(past):
            by_day: dict[int, list[Fall]] = defaultdict(list)
            for fall in falls(course, self.settings.least_l, self.settings.sigmas):
                day = -((offset - fall.judged_us) // DAY_US)
                if fall.silent:
                    silent[day].append((course, fall))
                else:
                    by_day[day].append(fall)
            for day, found in self._by_night(past, course, by_day, offset).items():
                claims[day] += found
            for day, claim in self._worked(course, offset):
                claims[day].append(claim)
        for day, pairs in silent.items():
            claims[day] += self._while_silent(past, pairs)
        return claims

    def _worked(self, course: Course, offset: int) -> Iterator[tuple[int, Claim]]:
        """By day of judgement: what a tank lost under signed work, a note until it is more than such work explains."""
        found = worked(course, _WORK_SIGMAS, _WORK_LEAST_L)
        for place, fall in enumerate(found):
            begin = fall.end_us - _WORK_DAYS * DAY_US
            lost = math.fsum(other.litres for other in found[: place + 1] if other.end_us > begin)
            again = occasions(found[: place + 1]) >= _WORK_TIMES
            severity = Severity.LOW if again or lost > WORK_MOST_L else Severity.INFO
            excuse = "again" if again else "work"
            yield (
                -((offset - fall.judged_us) // DAY_US),
                Claim("offline_sale", course.subject, course, (fall,), excuse=excuse, severity=severity),
            )

    def _by_night(
        self, past: StationPast, course: Course, by_day: dict[int, list[Fall]], offset: int
    ) -> dict[int, list[Claim]]:
        claims: dict[int, list[Claim]] = defaultdict(list)
        clocks = wrong_clocks(past, course)
        nozzles = counted(past, course) if by_day else ()
        open_falls: dict[int, list[Fall]] = {}
        for day in sorted(by_day):
            due = day * DAY_US + offset
            wrong = [clock for clock in clocks if due - _CLOCK_DAYS * DAY_US < clock.at_us <= due]
            rest: list[Fall] = []
            doubtful: list[Fall] = []
            mine: dict[str, list[tuple[Fall, Counted]]] = defaultdict(list)
            for fall in by_day[day]:
                known = [each for each in nozzles if each.end_us <= due]
                if _moved_elsewhere(past, course, fall) or _missing(known, fall):
                    continue
                told = [each for each in known if _explains(each, fall, by_day[day])]
                slack = misplaced_l(past, course, wrong, fall.start_us - HOUR_US, fall.end_us + HOUR_US)
                sure = fall.litres - slack > fall.limit_l if told else self._strong(fall, slack)
                if slack and not sure:
                    doubtful += [fall] * bool(told or self._strong(fall))
                elif told:
                    mine[told[0].nozzle_id].append((fall, told[0]))
                elif sure:
                    rest.append(fall)
            for nozzle, pairs in mine.items():
                subject = past.subject(nozzle)
                those = tuple(fall for fall, _ in pairs)
                seen = tuple(dict.fromkeys(each for _, each in pairs))
                claims[day].append(Claim("offline_sale", subject, course, those, seen))
            if doubtful:
                claims[day].append(
                    Claim(
                        "offline_sale",
                        course.subject,
                        course,
                        tuple(doubtful),
                        excuse="clock",
                        severity=Severity.INFO,
                    )
                )
            if rest:
                open_falls[day] = rest
        slow, lost = self._slow(past, course, offset)
        for day, rest in open_falls.items():
            again = len(rest) > 1 or sum(day - back in open_falls for back in (1, 2, 3)) >= 2
            again |= any(day - back in slow for back in range(4))
            night = lost.get(day)
            if night is not None:
                more = night.litres - math.fsum(fall.litres for fall in rest)
                again |= more > max(4.0 * night.sd_l, self.settings.night_least_l)
            at_night = all(self._is_night(fall.start_us) for fall in rest)
            cause = "offline_sale" if again or not at_night else "theft"
            claims[day].append(Claim(cause, course.subject, course, tuple(rest)))
        for day, night in slow.items():
            if day not in by_day:
                claims[day].append(Claim("offline_sale", course.subject, course, (), night=night))
        return claims

    def _slow(self, past: StationPast, course: Course, offset: int) -> tuple[dict[int, Night], dict[int, Night]]:
        """By day of judgement: nights that lost too much, as at least one of the two before did; and all nights."""
        if not len(course.at_us):
            return {}, {}
        shift = round(self.settings.utc_offset_h * HOUR_US)
        first, last = ((int(at) + shift) // DAY_US for at in (course.at_us[0], course.at_us[-1]))
        made = {
            -((offset - night.end_us) // DAY_US): night
            for night in nights(course, [day * DAY_US - shift for day in range(first, last + 1)])
        }
        heavy = {}
        for day, night in made.items():
            if night.litres <= max(self.settings.night_sigmas * night.sd_l, self.settings.night_least_l):
                continue
            by_day = [made[d].day_l_per_h for d in (day - 1, day) if d in made]
            known = [each for each in by_day if not math.isnan(each)]
            even = not known or known[-1] > 0.5 * night.l_per_h
            given = sum(
                max(moved_l(other, night.start_us, night.end_us), 0.0)
                for other in courses(past)
                if other is not course and not other.stirred[other.rows(night.start_us, night.end_us)].any()
            )
            if not even and given < 0.4 * night.litres:
                heavy[day] = night
        return {day: night for day, night in heavy.items() if day - 1 in heavy or day - 2 in heavy}, made

    def _while_silent(self, past: StationPast, pairs: list[tuple[Course, Fall]]) -> Iterator[Claim]:
        """Tanks that were silent together are the station's silence; one that was alone is a fall like others."""
        for course, fall in pairs:
            others = [
                silent.litres
                for other, silent in pairs
                if other is not course and silent.start_us < fall.end_us and fall.start_us < silent.end_us
            ]
            alone = not others and any(
                other is not course
                and other.rows(fall.start_us + MINUTE_US, fall.end_us).stop
                > other.rows(fall.start_us + MINUTE_US, fall.end_us).start
                for other in courses(past)
            )
            if alone:
                cause = "theft" if self._is_night(fall.start_us) else "offline_sale"
                yield Claim(cause, course.subject, course, (fall,))
            elif not others or (course, fall) == max(pairs, key=lambda pair: (pair[1].litres, pair[0].tanks)):
                whole = replace(fall, litres=fall.litres + math.fsum(others))
                yield Claim("collector_outage", Subject(past.station_id), course, (whole,))

    def _strong(self, fall: Fall, slack_l: float = 0.0) -> bool:
        """Whether a fall that no counter speaks for stands by itself, even if wrong clocks made so much of it."""
        settings, litres = self.settings, fall.litres - slack_l
        if self._is_night(fall.start_us) and fall.sold_l < _QUIET_L:
            return litres > max(settings.alone_sigmas * fall.sd_l, settings.alone_l)
        return litres > _BY_DAY * max(settings.alone_sigmas * fall.sd_l, settings.alone_l)

    def _is_night(self, at_us: int) -> bool:
        hour = (at_us / HOUR_US + self.settings.utc_offset_h) % 24.0
        return hour >= _NIGHT_H[0] or hour < _NIGHT_H[1]

    # ------------------------------------------------------------ words

    def _finding(self, past: StationPast, claim: Claim, due_us: int) -> Finding:
        course = claim.course
        half = _Z95 * claim.sd_l + 0.005 * claim.litres
        price = price_cny(past, course, claim.end_us)
        return Finding(
            id=finding_id(
                self.rule, claim.subject, claim.cause, claim.start_us, *([claim.excuse] if claim.excuse else [])
            ),
            rule=self.rule,
            cause=claim.cause,
            subject=claim.subject,
            severity=claim.severity,
            departments=DEPARTMENTS[claim.cause],
            onset=from_us(claim.start_us),
            detected_at=from_us(due_us),
            explanation=self._explain(past, claim, price),
            estimate=Estimate(
                round(claim.litres, 1), "L", round(claim.litres - half, 1), round(claim.litres + half, 1), 0.95
            ),
            evidence=(
                *(fall_evidence(course, fall) for fall in claim.falls[:12]),
                *(counted_evidence(each) for each in claim.counted[:6]),
            )
            or (night_evidence(course, claim),),
            figures=(
                level_figure(
                    course,
                    claim.start_us - 5 * HOUR_US,
                    min(claim.end_us + 5 * HOUR_US, due_us),
                    tuple(
                        (fall.start_us, Text(f"−{fall.litres:.0f} L", f"−{fall.litres:.0f} L"))
                        for fall in claim.falls[:12]
                    ),
                    alarm_us=(claim.start_us, claim.end_us),
                ),
            ),
        )

    def _explain(self, past: StationPast, claim: Claim, price: float | None) -> Explanation:
        offset, course = self.settings.utc_offset_h, claim.course
        start, end = local(from_us(claim.start_us), offset), local(from_us(claim.end_us), offset)
        tank = course_label(course)
        worth = f"，合 {yuan(claim.litres * price)}" if price else ""
        worth_en = f", {yuan(claim.litres * price)}" if price else ""
        sold = math.fsum(fall.sold_l for fall in claim.falls)
        times = len(claim.falls)
        if claim.night is not None:
            seen_zh = f"整夜（{start} 至 {end}）比售出量多下降 {litres(claim.litres)}{worth}，白天没有同样的下降"
            seen_en = (
                f"from {start} to {end} it fell by {litres(claim.litres)}{worth_en} more than was sold; not so by day"
            )
        elif claim.cause == "collector_outage":
            seen_zh = f"数据中断期间（{start} 至 {end}）液位下降，而记录缺 {litres(claim.litres)}{worth}"
            seen_en = f"while nothing was heard ({start} to {end}) the tanks fell by {litres(claim.litres)}{worth_en}"
            seen_en += " without a record"
        else:
            seen_zh = (
                f"{start} 至 {end} 之间下降 {times} 次，共 {litres(claim.litres)}{worth}，"
                f"同时段有记录的售出只有 {litres(sold)}"
            )
            seen_en = (
                f"{'one fall' if times == 1 else f'{times} falls'} between {start} and {end}, "
                f"{litres(claim.litres)}{worth_en} in all beyond the {litres(sold)} that records say were sold"
            )
        label, name, name_en = tank, "无记录出油", "unrecorded"
        if claim.excuse is not None:
            name, name_en = EXCUSED[claim.excuse]
        elif claim.cause == "collector_outage":
            label = station_label(past.station, past.station_id)
            name, name_en = "断采期间出油", "sold while silent"
        elif claim.counted:
            label = nozzle_label(claim.counted[0].nozzle_id)
            seen_zh += f"；{label.zh}泵码同时段多走 {litres(math.fsum(each.litres for each in claim.counted))}"
            moved = litres(math.fsum(each.litres for each in claim.counted))
            seen_en += f"; the totalizer of {label.en} moved {moved} beyond its records at that time"
        elif claim.cause == "theft":
            name, name_en = "夜间油位下降", "fell at night"
        limit = claim.falls[0].limit_l if claim.falls else self.settings.night_sigmas * claim.sd_l
        return Explanation(
            title=title(label, f"{name} {claim.litres:,.0f} L", f"{name_en}, {claim.litres:,.0f} L"),
            what=Text(zh=f"{tank.zh}：{seen_zh}。", en=f"{tank.en}: {seen_en}."),
            why=Text(
                zh=f"无异常时这一差值的标准差约 {claim.sd_l:.1f} L（含液位噪声、漂移和售油时差），界限 {limit:.0f} L；"
                f"{CALM[claim.excuse].zh}",
                en=f"With nothing amiss this difference has a deviation of about {claim.sd_l:.1f} L (noise, wander and "
                f"timing of sales), the limit is {limit:.0f} L; {CALM[claim.excuse].en}",
            ),
            otherwise=OTHERWISE[claim.cause],
            on_site=ON_SITE[claim.cause],
        )


def _explains(each: Counted, fall: Fall, fellows: list[Fall]) -> bool:
    """Whether a nozzle's counter moved over this fall, by it or by it and others of its time together."""
    if math.isnan(each.litres) or not (each.start_us <= fall.end_us and fall.start_us <= each.end_us):
        return False
    together = math.fsum(o.litres for o in fellows if each.start_us <= o.end_us and o.start_us <= each.end_us)
    slack = 0.25 * each.litres + 5.0 * fall.sd_l
    return each.litres > 0.5 and (abs(fall.litres - each.litres) <= slack or abs(together - each.litres) <= slack)


def _missing(known: list[Counted], fall: Fall) -> bool:
    """Whether records that are missing by their numbers may be this fall: that is another rule's matter."""
    gone = [o for o in known if o.missing and o.start_us <= fall.end_us and fall.start_us <= o.end_us]
    return any(math.isnan(each.litres) for each in gone) or (
        math.fsum(each.litres for each in gone) > 0.5 * fall.litres
    )


def _moved_elsewhere(past: StationPast, course: Course, fall: Fall) -> bool:
    """Whether another tank gained as much: then fuel was moved, or a nozzle draws from another tank than registered.

    Or lost as much, in great steps: then it is the data of all gauges that jump.
    """
    for other in courses(past):
        if other is not course:
            moved = moved_l(other, fall.start_us, fall.end_us)
            if moved > 0.5 * fall.litres or (abs(moved) > 0.5 * fall.litres and fall.litres > 500.0):
                return True
    return False
