"""The fleet file: one TOML file that says which stations there are, for how long, and what happens at them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from pumpwatch.errors import BadConfig
from pumpwatch.model import to_us
from pumpwatch_sim.toml_lines import Lines, Place
from pumpwatch_sim.world.plans import Layout

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

HORIZON_DAYS = 3_660
FIRST_YEAR, LAST_YEAR = 1990, 2088
"""Of the start; a period lasts ten years at most, and the devices' two-digit years end in 2099."""
_MOST_BYTES = 10_000_000
_DURATION = re.compile(
    r"P(?=[0-9T])(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_UNIT_S = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
_REMEDY = " — "


def duration_us(text: str) -> int:
    """An ISO 8601 duration of weeks, days, hours, minutes and seconds in microseconds. Raises ``BadConfig``."""
    parts = _DURATION.fullmatch(text)
    if parts is None or text[-1] in "PT":
        odd = re.fullmatch(r"P(?:\d+[YM])+(?:\d+D)?(?:T.*)?", text)
        why = "years and months are not always equally long" if odd else "this is no ISO 8601 duration"
        raise BadConfig(f"{text!r}: {why}{_REMEDY}write for example P30D, PT12H or PT45S")
    seconds = sum(float(number) * _UNIT_S[unit] for unit, number in parts.groupdict().items() if number)
    if seconds > HORIZON_DAYS * 86_400:
        raise BadConfig(f"{text!r}: is longer than {HORIZON_DAYS} days{_REMEDY}give a shorter one")
    return round(seconds * 1e6)


def when(text: str, start_us: int) -> int:
    """The moment, in microseconds since 1970 UTC, of an ISO 8601 time with offset or a duration after ``start_us``.

    Raises ``BadConfig``.
    """
    return start_us + duration_us(text) if text.startswith("P") else to_us(_time(text))


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadConfig(
            f"{text!r}: is neither a time nor a duration{_REMEDY}write for example 2026-03-01T08:00:00+08:00 or P30D"
        ) from None
    if time.tzinfo is None:
        full = time.isoformat()
        raise BadConfig(f"{text!r}: the time has no offset{_REMEDY}write {full}+08:00 for the county's wall clock")
    return time


def _start(value: object) -> object:
    if value == "now":
        return value
    try:
        time = _time(value.isoformat() if isinstance(value, datetime) else str(value))
    except BadConfig as error:
        raise ValueError(str(error).replace(" or P30D", ' or "now"')) from None
    if not FIRST_YEAR <= time.year <= LAST_YEAR:
        raise ValueError(f"{time.isoformat()}: is too far away{_REMEDY}start between {FIRST_YEAR} and {LAST_YEAR}")
    return time


def _moment(text: str) -> str:
    try:
        when(text, 0)
    except BadConfig as error:
        raise ValueError(str(error)) from None
    return text


def _span(text: str) -> str:
    try:
        length_us = duration_us(text)
    except BadConfig as error:
        raise ValueError(str(error)) from None
    if length_us == 0:
        raise ValueError(f"{text!r}: lasts no time at all{_REMEDY}give a duration, or leave it out for ever")
    return text


def _text_of(value: object) -> object:
    """TOML has times of its own, written without quotes."""
    return value.isoformat() if isinstance(value, datetime) else value


Moment: TypeAlias = Annotated[str, BeforeValidator(_text_of), AfterValidator(_moment)]
"""ISO 8601: a time with offset, or a duration after the start of the period."""
Span: TypeAlias = Annotated[str, AfterValidator(_span)]
"""An ISO 8601 duration."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stations(_Part):
    """``[stations]``: the invented county."""

    count: Annotated[int, Field(ge=1, le=2_000)] = 46
    """46 are the county of the demo; fewer are a subset of it under the same ids; more repeat its towns."""
    probe: Literal["good", "base", "poor", "mixed"] = "mixed"
    """Tank gauges: 1.5 L, 3 L or 8 L of noise in a 30 m³ tank, or all three kinds."""
    tank_reading_minutes: Annotated[int, Field(ge=1, le=1_440)] = 5
    """How often the files have a reading of each tank; 1440: once a day, at midnight UTC."""
    demand: Annotated[float, Field(gt=0, le=20)] = 1.0
    """Factor on the customers."""
    outages: bool = True
    """Whether the uplinks fail now and then, as honest ones do."""
    hours: Literal["real", "flat"] = "real"
    """``flat``: nearly as many customers at night as by day, for demonstrations."""
    nuisance: Annotated[float, Field(ge=0, le=5)] = 1.0
    """Factor on honest losses, drifts and errors: common loss, meter drift, deliveries, wander of gauges, charts."""
    tanks: Annotated[int, Field(ge=1, le=6)] | None = None
    """Of every station, in the grades 92#, 95#, 0# and again; None: 3 to 6 as it comes."""
    nozzles_per_tank: Annotated[int, Field(ge=1, le=8)] | None = Field(None, validate_default=True)
    """Needed with ``tanks``, and only then."""
    manifolded: Annotated[bool, Field(validate_default=True)] = False
    """Each two of the ``tanks`` are of one grade and joined by a siphon."""
    tank_litres: Literal[10_000, 20_000, 30_000, 50_000] | None = None
    """What every tank holds, nominally; None: as it comes."""
    sales_per_nozzle_day: Annotated[float, Field(ge=1, le=200)] | None = None
    """Of every nozzle on an average day at demand 1; None: 20 to 90 as it comes."""
    common_loss_percent: Annotated[float, Field(ge=0, le=2)] | None = None
    """Standard deviation of the common loss's wander at nuisance 1; None: 0.1."""
    meter_drift_percent: Annotated[float, Field(ge=0, le=2)] | None = None
    """Standard deviation of the meters' drift at nuisance 1; None: 0.05."""

    @field_validator("nozzles_per_tank")
    @classmethod
    def _with_tanks(cls, value: int | None, info: ValidationInfo) -> int | None:
        tanks = info.data.get("tanks")
        if (value is None) != (tanks is None):
            raise ValueError(f"goes with tanks{_REMEDY}give both or neither")
        return value

    @field_validator("manifolded")
    @classmethod
    def _in_pairs(cls, value: bool, info: ValidationInfo) -> bool:
        if value and (info.data.get("tanks") or 1) % 2:
            raise ValueError(f"joins tanks two by two{_REMEDY}give an even number of tanks")
        return value

    @property
    def layout(self) -> Layout:
        """What every station is like."""
        loss, drift = self.common_loss_percent, self.meter_drift_percent
        return Layout(
            tanks=self.tanks,
            nozzles_per_tank=self.nozzles_per_tank,
            manifolded=self.manifolded,
            tank_l=self.tank_litres,
            sales_per_nozzle_day=self.sales_per_nozzle_day,
            common_loss_sd=None if loss is None else loss / 100.0,
            meter_drift_sd=None if drift is None else drift / 100.0,
        )


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
    onset: Moment = "P30D"
    """ISO 8601: a time with offset, or a duration after the start of the period (``P30D``, ``PT45S``)."""
    lasts: Span | None = None
    """ISO 8601 duration; None: until the end."""
    times: Annotated[int, Field(ge=1, le=1_000)] = 1
    """How many such scenarios, each at a station of its own."""


WireProtocol: TypeAlias = Literal[
    "modbus", "modbus-rtu", "opcua", "dart", "twowire", "lanfeng", "taxport", "ifsf", "tls350"
]
"""What may be spoken on a line."""


class LineEntry(_Part):
    """``[[line]]``: the wire of some dispensers or gauges when the fleet is served live."""

    stations: tuple[str, ...] = ()
    """Station ids; empty: all that no other entry names."""
    protocol: WireProtocol
    wire: Literal["tcp", "pty"] = "tcp"
    mode: Literal["poll", "tap"] = "poll"
    map: Literal["generic-4", "compac-c5000"] = "generic-4"
    """Register map of the Modbus protocols."""
    units: Literal["metric", "us"] = "metric"
    """Of a tank gauge."""


class FaultEntry(_Part):
    """``[[fault]]``: something wrong with a wire when the fleet is served live."""

    station: str
    protocol: WireProtocol | None = None
    """One line of the station; None: all."""
    kind: Literal[
        "silence", "garbage", "truncation", "wrong_checksum", "wrong_address", "delay", "disconnect", "jam", "power_cut"
    ]
    onset: Moment = "PT0S"
    lasts: Span | None = None
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the replies that are spoilt."""
    delay_s: Annotated[float, Field(gt=0, le=60)] = 1.0


class Fleet(_Part):
    """A fleet file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    seed: Annotated[int, Field(ge=0)] = 1
    start: Annotated[datetime | Literal["now"], BeforeValidator(_start)] = "now"
    """With offset. ``now`` is for serving live; files need a time."""
    days: Annotated[int, Field(ge=1, le=HORIZON_DAYS)] = 90
    stations: Stations = Stations()
    scenario: tuple[ScenarioEntry, ...] = ()
    line: tuple[LineEntry, ...] = ()
    """Empty: Modbus TCP for the dispensers and TLS-350 over TCP for the gauge of every station."""
    fault: tuple[FaultEntry, ...] = ()
    _lines: Lines = PrivateAttr(default_factory=lambda: Lines(""))

    def model_post_init(self, context: object) -> None:
        """``load_fleet`` lends the lines of the file as pydantic's context."""
        if isinstance(context, Lines):
            self._lines = context

    def where(self, *place: str | int) -> str:
        """How to begin a complaint about a table or key, ``("scenario", 2, "onset")``: file, line and dotted key."""
        return self._lines.where(place)


def load_fleet(path: Path) -> Fleet:
    """Read and check a fleet file. Raises ``BadConfig`` with file, line, key and remedy of everything wrong with it."""
    text = _read(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(_syntax(path, error)) from None
    lines = Lines(text, str(path))
    try:
        return Fleet.model_validate(data, context=lines)
    except ValidationError as error:
        raise BadConfig("\n".join(_problems(error, lines))) from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise BadConfig(f"{path}: there is no such file{_REMEDY}give the path of a fleet file") from None
    except OSError as error:
        raise BadConfig(f"{path}: cannot be read ({error.strerror}){_REMEDY}give a fleet file you may read") from None
    if len(raw) > _MOST_BYTES:
        raise BadConfig(f"{path}: is larger than {_MOST_BYTES} bytes{_REMEDY}this is hardly a fleet file")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadConfig(f"{path}:{line}: is not UTF-8{_REMEDY}save the file as UTF-8") from None


def _syntax(path: Path, error: tomllib.TOMLDecodeError) -> str:
    what, _, where = str(error).partition(" (at ")
    line = re.match(r"line (\d+), column (\d+)", where)
    place = f"{path}:{line[1]}: column {line[2]}" if line else f"{path}: at the end"
    return f"{place}: {what[:1].lower()}{what[1:]}{_REMEDY}write `key = value` lines, [table] or [[table]]"


def _problems(error: ValidationError, lines: Lines) -> Iterable[str]:
    found = sorted(error.errors(include_url=False), key=lambda detail: lines.line(detail["loc"]) or 0)
    return [f"{lines.where(detail['loc'])}: {_plain(detail)}" for detail in found]


def _plain(detail: ErrorDetails) -> str:
    """What is wrong, and the remedy."""
    kind, given, place = detail["type"], detail["input"], detail["loc"]
    context: Mapping[str, object] = detail.get("ctx", {})
    if kind == "missing":
        return f"is missing{_REMEDY}add `{place[-1]} = …`"
    if kind == "extra_forbidden":
        return f"is not a known key{_REMEDY}{_nearest(str(place[-1]), _known(place[:-1]))}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"cannot be {given!r}{_REMEDY}{_nearest(str(given), choices)}"
    if kind == "string_pattern_mismatch":
        return f"cannot be {given!r}{_REMEDY}use small letters, digits and hyphens"
    words = detail["msg"].removeprefix("Value error, ")
    if _REMEDY in words:
        return words
    words = words.removeprefix("Input ")
    shown = repr(given) if isinstance(given, str | int | float | bool) else f"a {type(given).__name__}"
    return f"{words[:1].lower()}{words[1:]}, not {shown}{_REMEDY}correct it"


def _known(place: Place) -> Iterable[str]:
    tables: Mapping[str, type[BaseModel]] = {"stations": Stations, "line": LineEntry, "fault": FaultEntry}
    return tables[str(place[0])].model_fields if place else Fleet.model_fields


def _nearest(word: str, known: Iterable[str]) -> str:
    words = list(known)
    near = get_close_matches(word, words, n=1) or get_close_matches(word.lower(), words, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(words)}"
