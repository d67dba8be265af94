"""The fleet file: one TOML file that says which stations there are, for how long, and what happens at them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

HORIZON_DAYS = 3_660


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stations(_Part):
    """``[stations]``: the invented county."""

    count: Annotated[int, Field(ge=1, le=2_000)] = 46
    """46 are the county of the demo; fewer are a subset of it under the same ids; more repeat its towns."""
    probe: Literal["good", "base", "poor", "mixed"] = "mixed"
    """Tank gauges: 1.5 L, 3 L or 8 L of noise in a 30 m³ tank, or all three kinds."""
    tank_reading_minutes: Annotated[int, Field(ge=1, le=60)] = 5
    """How often the files have a reading of each tank."""
    demand: Annotated[float, Field(gt=0, le=20)] = 1.0
    """Factor on the customers."""
    hours: Literal["real", "flat"] = "real"
    """``flat``: nearly as many customers at night as by day, for demonstrations."""


class ScenarioEntry(_Part):
    """``[[scenario]]``: one thing that happens. Further keys are the scenario's own parameters."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """Id or name in the catalogue: ``F01`` or ``short_by_mainboard``."""
    station: str | None = None
    """Station id; None: chosen by the seed among those without a scenario of their own."""
    nozzle: str | None = None
    dispenser: str | None = None
    tank: str | None = None
    onset: str = "P30D"
    """ISO 8601: a time with offset, or a duration after the start of the period (``P30D``, ``PT45S``)."""
    lasts: str | None = None
    """ISO 8601 duration; None: until the end."""
    times: Annotated[int, Field(ge=1, le=1_000)] = 1
    """How many such scenarios, each at a station of its own."""


class LineEntry(_Part):
    """``[[line]]``: the wire of some dispensers or gauges when the fleet is served live."""

    stations: tuple[str, ...] = ()
    """Station ids; empty: all that no other entry names."""
    protocol: Literal["modbus", "modbus-rtu", "opcua", "dart", "twowire", "lanfeng", "taxport", "ifsf", "tls350"]
    wire: Literal["tcp", "pty"] = "tcp"
    mode: Literal["poll", "tap"] = "poll"
    map: Literal["generic-4", "compac-c5000"] = "generic-4"
    """Register map of the Modbus protocols."""
    units: Literal["metric", "us"] = "metric"
    """Of a tank gauge."""


class FaultEntry(_Part):
    """``[[fault]]``: something wrong with a wire when the fleet is served live."""

    station: str
    protocol: str | None = None
    """One line of the station; None: all."""
    kind: Literal[
        "silence", "garbage", "truncation", "wrong_checksum", "wrong_address", "delay", "disconnect", "jam", "power_cut"
    ]
    onset: str = "PT0S"
    lasts: str | None = None
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the replies that are spoilt."""
    delay_s: Annotated[float, Field(gt=0, le=60)] = 1.0


class Fleet(_Part):
    """A fleet file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    seed: Annotated[int, Field(ge=0)] = 1
    start: datetime | Literal["now"] = "now"
    """With offset. ``now`` is for serving live; files need a time."""
    days: Annotated[int, Field(ge=1, le=HORIZON_DAYS)] = 90
    stations: Stations = Stations()
    scenario: tuple[ScenarioEntry, ...] = ()
    line: tuple[LineEntry, ...] = ()
    """None: Modbus TCP for the dispensers and TLS-350 over TCP for the gauge of every station."""
    fault: tuple[FaultEntry, ...] = ()


def load_fleet(path: Path) -> Fleet:
    """Read and check a fleet file. Raises ``BadConfig`` with file, line, key and remedy of everything wrong with it."""
    raise NotImplementedError(path)
