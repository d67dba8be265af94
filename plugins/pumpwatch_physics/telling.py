"""What a claim of the balance says to people: how much, why it is believed, what else it may be, and its figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from pumpwatch import Curve, Estimate, Evidence, Explanation, Figure, Subject, Text, from_us, to_us
from pumpwatch.courses import DAY_US
from pumpwatch.past import is_signed
from pumpwatch.wording import local_day, nozzle_label, percent, tank_label, title, yuan
from pumpwatch_physics.blocks import SETTLED_US
from pumpwatch_physics.strata import STRATA

if TYPE_CHECKING:
    from pumpwatch import StationPast, WorkOrder
    from pumpwatch_physics.runs import Followed
    from pumpwatch_physics.states import Suspicion
    from pumpwatch_physics.watch import Claim

GALLON_L: Final = 3.785411784
_RECENT_US: Final = 14 * DAY_US
"""How far back records are looked at: within what a chronicle may see."""
_SHOWN_DAYS: Final = 60
_POINTS: Final = 380
_MOST_NATS: Final = 20.0
"""Odds beyond e^20, 1 in 480 million, are not told more finely: models are never that right."""
_ALIKE_NATS: Final = 0.5
"""Less between two causes is no difference."""
_LARGE: Final = 100.0
"""Odds from which on decimals are left out."""
_SIZES: Final = ("value", "low", "high")
_LIMIT: Final = 0.30
_ORDERS: Final = {
    "repair": Text("维修", "repair"),
    "calibration": Text("校准", "calibration"),
    "verification": Text("检定", "verification"),
    "inspection": Text("检查", "inspection"),
    "install": Text("安装", "installation"),
}


@dataclass(frozen=True, slots=True)
class Wording:
    """What is said of one cause; ``title`` is put behind the name of the thing."""

    title: Text
    otherwise: Text
    on_site: Text


@dataclass(frozen=True)
class Told:
    """One claim with what of the station's past belongs to it; everything is known at the claim's time."""

    past: StationPast
    followed: Followed
    claim: Claim
    onset_us: int
    """Of the affair it belongs to; see ``begun_us``."""
    utc_offset_h: float
    is_further: bool = False
    """Whether the nozzle was claimed before, so that this comes on top."""
    sharpens: str | None = None
    """Id of the finding that told of the tank only, if this claim names its nozzle."""

    @property
    def nozzle_id(self) -> str | None:
        """The nozzle it is about, if it is about one."""
        return None if self.claim.nozzle is None else self.followed.nozzles[self.claim.nozzle]

    @property
    def subject(self) -> Subject:
        """The nozzle, or the (first) tank."""
        nozzle = self.nozzle_id
        if nozzle is not None:
            return self.past.subject(nozzle)
        return Subject(self.past.station_id, tank_id=self.followed.tanks[0])

    @property
    def label(self) -> Text:
        """``3号枪``; ``1号油罐``, of joined tanks the first and how many."""
        nozzle, tanks = self.nozzle_id, self.followed.tanks
        if nozzle is not None:
            return nozzle_label(nozzle)
        name = tank_label(tanks[0])
        if len(tanks) == 1:
            return name
        return Text(f"{name.zh}等{len(tanks)}罐", f"{name.en} and {len(tanks) - 1} joined")

    @property
    def is_leak(self) -> bool:
        """Whether sizes are litres an hour rather than shares."""
        return self.claim.kind == "leak"

    @property
    def begun_us(self) -> int:
        """When what is claimed began: the onset, but of what comes on top its own beginning."""
        return self.claim.since_us if self.is_further else self.onset_us

    @property
    def days(self) -> float:
        """Until the evidence sufficed."""
        return max(self.claim.at_us - self.begun_us, 0) / DAY_US

    def interval(self, sign: float = 1.0) -> tuple[float, float, float]:
        """Value, low and high: per cent, litres an hour of a leak; ``sign`` −1 turns them round.

        The balance tells the share of what is shown; E is the share of what is given.
        """
        sized = self.claim.sized
        told = [sized.value, sized.low, sized.high]
        if not self.is_leak:
            told = [100.0 * each / (1.0 - each) for each in told]
        value, low, high = (sign * each for each in told)
        return value, min(low, high), max(low, high)

    def estimate(self, sign: float = 1.0) -> Estimate:
        """With its 95 % interval."""
        value, low, high = self.interval(sign)
        return Estimate(round(value, 4), "L/h" if self.is_leak else "%", round(low, 4), round(high, 4), 0.95)

    def size(self, sign: float = 1.0) -> Text:
        """``+3.01%（95% 区间 +2.80% 至 +3.20%）``."""
        value, low, high = self.interval(sign)
        if self.is_leak:
            gallons = value / GALLON_L
            return Text(
                f"{value:.2f} L/h（95% 区间 {low:.2f} 至 {high:.2f} L/h，合 {gallons:.2f} gal/h）",
                f"{value:.2f} L/h (95% interval {low:.2f} to {high:.2f} L/h; {gallons:.2f} gal/h)",
            )
        return Text(
            f"{percent(value)}（95% 区间 {percent(low)} 至 {percent(high)}）",
            f"{percent(value)} (95% interval {percent(low)} to {percent(high)})",
        )

    @cached_property
    def sold_l(self) -> float:
        """Litres that the nozzle, or all of them, sold since the beginning: of the last days by the records."""
        claim, track = self.claim, self.followed.track
        recent_us = max(self.begun_us, claim.at_us - _RECENT_US)
        nozzles = self.followed.nozzles if self.nozzle_id is None else (self.nozzle_id,)
        sold = 0.0
        for nozzle in nozzles:
            mine = self.past.sales.of(nozzle)
            rows = slice(
                *np.searchsorted(self.past.sales.end_us[mine], [recent_us, claim.at_us], side="right").tolist()
            )
            sold += float(np.nansum(self.past.sales.volume_l[mine][rows]))
        for end, litres in zip(track.day_us, track.litres, strict=True):
            share = (min(end, recent_us) - max(end - DAY_US, self.begun_us)) / DAY_US
            if share > 0.0:
                sold += share * float(litres.sum() if claim.nozzle is None else litres[claim.nozzle])
        return sold

    @property
    def missing_l(self) -> float:
        """Litres of fuel it comes to since the onset; of some fillings only, not known."""
        value = abs(self.claim.sized.value)
        if self.is_leak:
            return value * self.days * 24.0
        if self.claim.kind == "some":
            return self.sold_l / len(self.followed.nozzles) * (value / (1.0 + value))
        return self.sold_l * (value / (1.0 + value) if self.claim.nozzle is not None else value)

    @property
    def price_cny(self) -> float | None:
        """What a litre of this tank last cost before the evidence sufficed, if any price was told in those days."""
        sales, latest = self.past.sales, (0, math.nan)
        for nozzle in self.followed.nozzles:
            mine = sales.of(nozzle)
            first, last = np.searchsorted(
                sales.end_us[mine], [self.claim.at_us - _RECENT_US, self.claim.at_us]
            ).tolist()
            told = np.flatnonzero(np.isfinite(sales.unit_price[mine][first:last]))
            if len(told):
                row = mine.start + first + int(told[-1])
                latest = max(latest, (int(sales.end_us[row]), float(sales.unit_price[row])))
        return None if math.isnan(latest[1]) else latest[1]

    @property
    def worth(self) -> Text:
        """`` 约 ¥310.00`` of what is missing; nothing without a price."""
        price = self.price_cny
        if price is None:
            return Text("", "")
        told = yuan(self.missing_l * price)
        return Text(f"，按零售价约 {told}", f", about {told} at the pump")

    @property
    def since(self) -> str:
        """Local day of the beginning."""
        return local_day(from_us(self.begun_us), self.utc_offset_h)

    @property
    def odds(self) -> Text:
        """How much more rarely honest meters would give data like these."""
        return _one_in(self.claim.nats)

    @property
    def rival(self) -> Text:
        """The next likely cause and how much less likely it is, as a sentence; nothing where there was none."""
        rival = self.claim.rival
        if rival is None:
            return Text("", "")
        cause, lead = self._cause(rival), self.claim.nats - rival.nats
        if lead < _ALIKE_NATS:
            return Text(
                f"次可能的原因是{cause.zh}，可能性与之相当。", f" The runner-up is {cause.en}, about as likely."
            )
        odds = _one_in(lead)
        return Text(
            f"次可能的原因是{cause.zh}，可能性为其 {odds.zh}。", f" The runner-up is {cause.en}, {odds.en} likely."
        )

    @property
    def likeliest(self) -> Text:
        """The nozzle that explains most, of a claim that names none."""
        place = self.claim.likeliest
        return Text("", "") if place is None else nozzle_label(self.followed.nozzles[place])

    @property
    def condition(self) -> Text:
        """Which fillings are meant, of a claim about some only."""
        stratum = self.claim.stratum
        return Text("", "") if stratum is None else STRATA[stratum].label

    @property
    def why(self) -> Text:
        """Of what is found against the whole tank's balance."""
        days, sold = f"{max(self.days, 0.1):.1f}", f"{self.sold_l:,.0f} L"
        zh_whose, en_whose = ("该枪", "its") if self.claim.nozzle is not None else ("各枪共", "all nozzles'")
        return Text(
            f"依据罐内存量与售出量之和（20 °C），逐读数比较：其间 {days} 天，{zh_whose}售出约 {sold}。"
            f"已计入共同损耗、各枪固有误差、容积表误差和液位噪声；诚实情况下出现这样数据的机会约为有此误差时的 "
            f"{self.odds.zh}。{self.rival.zh}",
            f"What the tank holds plus what was sold (20 °C), reading by reading, over {days} days and {en_whose} "
            f"{sold}. Common loss, each nozzle's own error, the chart and the gauge's noise are allowed for; honest "
            f"meters would give such data {self.odds.en} often.{self.rival.en}",
        )

    def short_size(self, sign: float = 1.0) -> str:
        """As titles tell it."""
        value = self.interval(sign)[0]
        return f"{value:.1f} L/h" if self.is_leak else percent(value)

    def evidence(self) -> tuple[Evidence, ...]:
        """The figures, for machines."""
        claim, rival, price = self.claim, self.claim.rival, self.price_cny
        unit = "l_h" if self.is_leak else "percent"
        sizes = {f"{name}_{unit}": round(each, 4) for name, each in zip(_SIZES, self.interval(), strict=True)}
        return (
            Evidence(
                "tank_balance",
                self.followed.tanks[0],
                {
                    "kind": "all_nozzles" if claim.kind == "tank" else claim.kind,
                    **sizes,
                    "nats": round(claim.nats, 4),
                    "odds": _rounded(math.exp(min(claim.nats, _MOST_NATS))),
                    "rival": None if rival is None else self._faulty(rival),
                    "rival_shows_more": None if rival is None else rival.rising,
                    "rival_odds": None
                    if rival is None
                    else _rounded(math.exp(min(claim.nats - rival.nats, _MOST_NATS))),
                    "condition": None if claim.stratum is None else STRATA[claim.stratum].name,
                    "since": from_us(claim.since_us).isoformat(),
                    "days": round(self.days, 3),
                    "sold_l": round(self.sold_l, 1),
                    "missing_l": None if claim.kind in {"part", "inspections"} else round(self.missing_l, 1),
                    "price_cny_l": price,
                },
            ),
        )

    def figures(self) -> tuple[Figure, ...]:
        """Each nozzle's error day by day against the legal band, and what is claimed; nothing before the first day."""
        track, claim = self.followed.track, self.claim
        first_us = claim.at_us - max(_SHOWN_DAYS * DAY_US, claim.at_us - self.begun_us + 7 * DAY_US)
        rows = [place for place, end in enumerate(track.day_us) if first_us <= end <= claim.at_us - SETTLED_US]
        if not rows:
            return ()
        n = len(self.followed.nozzles)
        drawn = claim.likeliest if claim.nozzle is None else claim.nozzle
        rows = rows[:: -(-len(rows) * (n + 1) // _POINTS)]
        at = tuple(track.day_us[place] / 1e6 for place in rows)
        value = np.round(np.array([track.value[place] for place in rows]) * 100.0, 4)
        half = np.array([track.sd[place] for place in rows]) * 196.0
        curves = []
        for place, name in enumerate(self.followed.nozzles):
            mine, label = place == drawn, nozzle_label(name)
            told = value[:, place]
            if mine:
                below, above = (np.round(told + side * half[:, place], 4) for side in (-1.0, 1.0))
                name95 = Text(f"{label.zh} 95% 区间", f"{label.en}, 95% interval")
                curves.append(Curve(name95, at, tuple(below.tolist()), "band", tuple(above.tolist())))
            curves.append(Curve(label, at, tuple(told.tolist()), alarm=mine))
        end = (at[0], max(at[-1], claim.at_us / 1e6))
        if drawn is not None:
            before = [place for place, when in enumerate(track.day_us) if when <= self.begun_us]
            is_step = bool(before) and claim.kind in {"nozzle", "some"}
            usual = 100.0 * float(track.value[before[-1]][drawn]) if is_step else 0.0
            size, low, high = (round(usual + each, 4) for each in self.interval())
            span = (max(self.begun_us / 1e6, at[0]), claim.at_us / 1e6)
            curves += [
                Curve(Text("推断的区间", "claimed, 95% interval"), span, (low, low), "band", (high, high), alarm=True),
                Curve(Text("推断", "claimed"), span, (size, size), alarm=True),
            ]
        curves += [
            Curve(Text(f"允差 {percent(side)}", f"limit {percent(side)}"), end, (side, side), "limit")
            for side in (_LIMIT, -_LIMIT)
        ]
        marks = [(self.onset_us / 1e6, Text("起始", "onset"))]
        marks += [
            (to_us(order.at) / 1e6, _ORDERS.get(order.kind, Text("作业", "work")))
            for order in self.orders
            if at[0] <= to_us(order.at) / 1e6 <= end[1]
        ][-6:]
        return (
            Figure(
                Text("各枪误差与允差", "Each nozzle's error against the legal limits"),
                Text("时间", "Time"),
                Text("误差 %（正：多显）", "Error, % (plus: shows too much)"),
                tuple(curves),
                marks=tuple(marks),
            ),
        )

    @property
    def orders(self) -> tuple[WorkOrder, ...]:
        """Signed work on the nozzle, its dispenser or the tanks that was done before the evidence sufficed."""
        past, nozzle = self.past, self.nozzle_id
        names = set(self.followed.tanks)
        if nozzle is not None:
            registered = past.nozzle_by_id.get(nozzle)
            names |= {nozzle} | ({registered.dispenser_id} if registered else set())
        names |= {name.removeprefix(f"{past.station_id}-") for name in names}
        signed = [o for o in past.work_orders if o.device_id in names and is_signed(o)]
        return tuple(sorted((o for o in signed if to_us(o.at) <= self.claim.at_us), key=_order))

    def order_near(self, days: float, kinds: frozenset[str]) -> WorkOrder | None:
        """The nearest work on the meter, signed by who may adjust or certify one, about the onset."""
        near = [
            (abs(to_us(o.at) - self.claim.since_us), _order(o), o)
            for o in self.orders
            if o.kind in kinds
            and (o.signed_by_repairer or o.signed_by_institute)
            and o.device_id.removeprefix(f"{self.past.station_id}-")
            not in {tank.removeprefix(f"{self.past.station_id}-") for tank in self.followed.tanks}
            and abs(to_us(o.at) - self.claim.since_us) <= days * DAY_US
        ]
        return min(near)[2] if near else None

    def _faulty(self, suspicion: Suspicion) -> str:
        """The nozzle, ``all_nozzles`` or ``leak``."""
        return (*self.followed.nozzles, "all_nozzles", "leak")[suspicion.fault]

    def _cause(self, suspicion: Suspicion) -> Text:
        n, up = len(self.followed.nozzles), suspicion.rising
        if suspicion.fault < n:
            label = nozzle_label(self.followed.nozzles[suspicion.fault])
            return Text(f"{label.zh}{'多显' if up else '少显'}", f"{label.en} showing {'more' if up else 'less'}")
        if suspicion.fault == n:
            return (
                Text("各枪一起多显", "all nozzles showing more")
                if up
                else Text("加油时管线或共同损耗变大", "a line leak while pumping, or more common loss")
            )
        return Text("油罐渗漏", "a leak of the tank") if up else Text("油罐无记录进油", "fuel coming in unrecorded")


def explained(told: Told, wording: Wording, what: Text, why: Text, sign: float = 1.0) -> Explanation:
    """The whole explanation; the title fits lists and ends with the size."""
    size = told.short_size(sign)
    return Explanation(
        title=title(told.label, f"{wording.title.zh} {size}", f"{wording.title.en} {size}"),
        what=what,
        why=why,
        otherwise=wording.otherwise,
        on_site=wording.on_site,
    )


def _order(order: WorkOrder) -> tuple[int, str, str]:
    return to_us(order.at), order.device_id, order.kind


def _rounded(odds: float) -> float:
    """To one decimal, and none of large ones."""
    return round(odds, 1) if odds < _LARGE else round(odds)


def _one_in(nats: float) -> Text:
    """``1/13,000``, ``13,000 times less`` (likely, often), to two figures."""
    odds = math.exp(min(max(nats, 0.0), _MOST_NATS))
    digits = max(math.floor(math.log10(odds)) - 1, 0)
    told = f"{round(odds / 10**digits) * 10**digits:,}"
    return Text(f"1/{told}", f"{told} times less")
