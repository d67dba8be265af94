"""Short delivery by other hardware and software: boards, firmware, encoders and the station's computer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pumpwatch.model import Department, EventKind, Subject, Text
from pumpwatch_sim.scenarios.base import Parameter, Scenario, Scope, Size
from pumpwatch_sim.scenarios.occasions import MINUTE_US
from pumpwatch_sim.scenarios.short import ShortDelivery, percent
from pumpwatch_sim.scenarios.traces import (
    close,
    cut_power,
    digest,
    dispenser_of,
    identify,
    next_at,
    nozzles_of,
    serial,
    tell,
)
from pumpwatch_sim.world.timeline import ClockFault, IdentityChange

if TYPE_CHECKING:
    from pumpwatch_sim.scenarios.base import Target, TruthItem, Value
    from pumpwatch_sim.world.plans import DispenserPlan, StationPlan
    from pumpwatch_sim.world.timeline import Floats, Timeline
    from pumpwatch_sim.world.work import Demand, Memory, Metering

_BOARD = Size(1.0, "mainboard")


def _dispenser_subject(dispenser: DispenserPlan) -> Subject:
    return Subject(dispenser.registered.station_id, dispenser.registered.dispenser_id)


class RewritingFirmware(ShortDelivery):
    """The mainboard's program tells rewritten pulses too; what it cannot tell is the approved checksum."""

    id = "F02"
    name = "rewriting_firmware"
    title = Text("固件同改升数与脉冲", "firmware rewrites litres and pulses")
    evidence = ("P6", "D6")
    parameters: ClassVar[Mapping[str, Parameter]] = {"percent": percent(2.0, 1.0, 3.0)}

    def devices(self, timeline: Timeline) -> None:
        """Another checksum under the same version."""
        dispenser = dispenser_of(timeline.station, self.target.nozzle or 0).registered
        image = f"rewriting firmware {dispenser.firmware_version}"
        identify(
            timeline, IdentityChange(dispenser.dispenser_id, self.onset_us, firmware_digest=digest(image)), self.end_us
        )

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """The checksum is there at once, the litres have to be weighed."""
        dispenser = dispenser_of(stations[self.target.station_id], self.target.nozzle or 0)
        firmware = self.item(
            stations,
            cause="identity_change",
            subject=_dispenser_subject(dispenser),
            size=Size(1.0, "firmware"),
            deterministic=True,
        )
        return (*super().truth(stations), firmware)


class StationSoftware(ShortDelivery):
    """A program on the station's computer rewrites litres and tax records, with a ratio for each nozzle."""

    id = "F05"
    name = "station_software"
    title = Text("站级管理软件作弊", "station software, a ratio per nozzle")
    scope = Scope.STATION
    departments = (Department.MARKET_REGULATION, Department.POLICE)
    evidence: ClassVar[tuple[str, ...]] = ("D6", "P6", "P10")
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent_low": percent(1.2, 0.5, 10.0),
        "percent_high": percent(2.3, 0.5, 10.0),
    }

    def ratios(self, station: StationPlan) -> Floats:
        """Of the nozzles, as fractions, set in hundredths of a per cent."""
        low, high = sorted((self.number("percent_low"), self.number("percent_high")))
        drawn = self.chance("ratios", station.station_id).uniform(low, high, len(station.nozzles))
        return np.rint(drawn * 100.0) / 10_000.0

    def shortness(self, metering: Metering) -> Floats:
        """By nozzle."""
        return self.ratios(metering.stretch.station)[metering.wish.nozzle]

    def devices(self, timeline: Timeline) -> None:
        """Every mainboard runs a program the approval does not know."""
        for dispenser in timeline.station.dispensers:
            registered = dispenser.registered
            image = digest(f"station software {registered.firmware_version}")
            identify(
                timeline, IdentityChange(registered.dispenser_id, self.onset_us, firmware_digest=image), self.end_us
            )

    def size(self) -> Size:
        """The middle of the ratios."""
        return Size(round((self.number("percent_low") + self.number("percent_high")) / 2.0, 3), "%")

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """The station is short; each dispenser's identity has changed."""
        firmware = (
            self.item(
                stations,
                cause="identity_change",
                subject=_dispenser_subject(dispenser),
                size=Size(1.0, "firmware"),
                deterministic=True,
            )
            for dispenser in stations[self.target.station_id].dispensers
        )
        return (*super().truth(stations), *firmware)


class MainboardSwap(ShortDelivery):
    """The mainboard is exchanged at night with the power off; the new one gives two per cent less."""

    id = "F14"
    name = "mainboard_swapped"
    title = Text("夜间断电换主板", "mainboard swapped at night")
    scope = Scope.DISPENSER
    cause = "identity_change"
    evidence = ("D6", "D5", "P6")
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(2.0, 0.5, 10.0),
        "off_minutes": Parameter(25.0, "min", 1.0, 240.0, words="without power"),
    }

    @classmethod
    def settle(cls, onset_us: int, origin_us: int, values: Mapping[str, Value]) -> int:
        """The next 02:00 of the wall clock."""
        return next_at(onset_us, 2.0)

    def demand(self, demand: Demand) -> None:
        """Nobody fills in the dark."""
        station = demand.stretch.station
        own = nozzles_of(station, station.dispensers[self.target.dispenser or 0])
        close(demand, own, self.onset_us, self._on_us)

    @property
    def _on_us(self) -> int:
        return self.onset_us + round(self.number("off_minutes") * MINUTE_US)

    def memory(self, memory: Memory) -> None:
        """The board comes from another dispenser and goes on with its own sequence; the totalizers were set."""
        sales, station = memory.sales, memory.stretch.station
        on = self.mine(station, sales.nozzle) & self.active(sales.start_us)
        sales.seq = np.where(on & (sales.seq >= 0), sales.seq + self._foreign_sequence, sales.seq)

    @property
    def _foreign_sequence(self) -> int:
        return int(self.chance("sequence").integers(2_000, 20_000))

    def devices(self, timeline: Timeline) -> None:
        """Dark, then another serial and checksum."""
        dispenser = timeline.station.dispensers[self.target.dispenser or 0].registered
        cut_power(timeline, self.onset_us, self._on_us, (dispenser.dispenser_id,))
        board = serial(self.chance("board"), "MB")
        change = IdentityChange(
            dispenser.dispenser_id,
            self._on_us,
            mainboard_serial=board,
            firmware_digest=digest(f"cheat board {board}"),
        )
        identify(timeline, change, self.end_us)

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """The board, and what it does."""
        board = self.item(stations, size=_BOARD)
        short = self.item(stations, cause="short_delivery", deterministic=False, horizon_days=30)
        return (board, short)


class ClonedSerial(Scenario):
    """A second board tells the serial numbers of another dispenser of the station; its clock runs by itself."""

    id = "F15"
    name = "cloned_serial"
    title = Text("克隆主板序列号", "cloned mainboard serial")
    scope = Scope.DISPENSER
    cause = "identity_change"
    departments = (Department.MARKET_REGULATION,)
    evidence = ("D6",)
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "clock_s_per_day": Parameter(
            1.5, "s/d", -1.9, 1.9, words="which the clone's clock gains; not an alarm in itself"
        )
    }

    @classmethod
    def suits(cls, station: StationPlan, target: Target) -> bool:
        """There has to be a neighbour."""
        return len(station.dispensers) > 1

    def devices(self, timeline: Timeline) -> None:
        """The serial of its neighbour."""
        station, own = timeline.station, self.target.dispenser or 0
        dispenser = station.dispensers[own].registered.dispenser_id
        twin = station.dispensers[(own + 1) % len(station.dispensers)].registered
        change = IdentityChange(
            dispenser, self.onset_us, mainboard_serial=twin.mainboard_serial, tax_serial=twin.tax_serial
        )
        identify(timeline, change, self.end_us)
        if self.onset_us < timeline.end_us:
            drift = self.number("clock_s_per_day")
            timeline.clock_faults.append(
                ClockFault(dispenser, self.onset_us, drift_s_per_day=drift, end_us=self.end_us)
            )

    def size(self) -> Size:
        """One board."""
        return _BOARD


class EncoderSwap(ShortDelivery):
    """An encoder with more teeth, so more pulses a litre."""

    id = "F17"
    name = "encoder_swapped"
    title = Text("更换多齿编码器", "encoder with more teeth")
    cause = "identity_change"
    evidence = ("D6", "P6", "F1")
    deterministic = True
    horizon_days = 1
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "percent": percent(2.0, 1.0, 5.0),
        "lock_code": Parameter(True, words="the monitoring microprocessor reports code 61 or 65 once"),
    }

    def devices(self, timeline: Timeline) -> None:
        """Another encoder serial, and the code of an authentication that failed."""
        nozzle = timeline.station.nozzles[self.target.nozzle or 0].registered
        chance = self.chance("encoder")
        encoder = {nozzle.nozzle_id: serial(chance, "EN")}
        identify(timeline, IdentityChange(nozzle.dispenser_id, self.onset_us, encoder_serials=encoder), self.end_us)
        if self.flag("lock_code"):
            code = int(chance.choice((61, 65)))
            tell(timeline, self.onset_us, nozzle.dispenser_id, EventKind.LOCK, code=code, nozzle_id=nozzle.nozzle_id)

    def truth(self, stations: Mapping[str, StationPlan]) -> Sequence[TruthItem]:
        """The encoder, and what it does."""
        encoder = self.item(stations, size=Size(1.0, "encoder"))
        short = self.item(stations, cause="short_delivery", deterministic=False, horizon_days=30)
        return (encoder, short)


SCENARIOS: tuple[type[Scenario], ...] = (
    RewritingFirmware,
    StationSoftware,
    MainboardSwap,
    ClonedSerial,
    EncoderSwap,
)
