"""What a configuration may say: every table and key with its default, unit and meaning."""

from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    Strict,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pumpwatch.settings.address import BadAddress, LineAddress
from pumpwatch.settings.conflicts import conflicts
from pumpwatch.settings.places import Places
from pumpwatch.settings.problems import REMEDY

_ID = re.compile(r"[^\W_][\w.\-]{0,63}")
_HOST = re.compile(r"[^\s/\[\]]+")
REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+")
"""How a secret is referred to."""


def _id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError(
            f'"{value}" cannot be an id{REMEDY}use letters, digits, `-`, `_` and `.`, at most 64, and no slash'
        )
    return value


def _line(value: str) -> str:
    try:
        LineAddress.parse(value)
    except BadAddress as error:
        raise ValueError(f'{error.message}, in "{value}"{REMEDY}{error.remedy}') from error
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    for position, value in enumerate(values):
        if value in values[:position]:
            raise ValueError(f'"{value}" stands there twice{REMEDY}keep one of them')
    return values


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


Id = Annotated[str, AfterValidator(_id)]
Ids = Annotated[tuple[Id, ...], AfterValidator(_unique)]
Line = Annotated[str, AfterValidator(_line)]
Seconds = Annotated[float, Strict(), Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Strict(), Field(ge=0, le=65_535)]


TOLD: Mapping[str, object] = MappingProxyType({})
"""Validation context that says: contradictions are told elsewhere."""


class _Table(BaseModel):
    """Base of all tables: an unknown key is an error, nothing changes after loading, tracebacks show no values."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ServerSettings(_Table):
    """What the server is called and which time its people live in."""

    name: str = Field(default="pumpwatch", description="Name of this server, shown in the title bar", max_length=80)
    time_zone: str = Field(
        default="Asia/Shanghai",
        description="Time zone (IANA name) in which days begin and times are shown; times are stored in UTC",
    )

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            near = get_close_matches(value, zoneinfo.available_timezones(), n=1, cutoff=0.6)
            remedy = f"did you mean `{near[0]}`?" if near else "write an IANA name, for example Asia/Shanghai or UTC"
            raise ValueError(f'there is no time zone "{value}"{REMEDY}{remedy}') from None
        return value


class ApiSettings(_Table):
    """The HTTP interface through which the dashboards, the command line and other programs ask."""

    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on, without port; anything but loopback requires `token`",
    )
    port: Port = Field(default=8081, description="TCP port to listen on; 0 takes any free one")
    token: str | None = Field(
        default=None,
        description="Secret that callers must show, as a reference: `env:NAME` or `file:PATH`; optional on loopback",
        validate_default=True,
    )

    @field_validator("host")
    @classmethod
    def _bare_host(cls, value: str) -> str:
        is_v6 = value.count(":") > 1
        if not _HOST.fullmatch(value) or (":" in value and not is_v6):
            raise ValueError(
                f'"{value}" is not a host{REMEDY}write a name or an IP address alone, without http://, port or brackets'
            )
        return value

    @field_validator("token")
    @classmethod
    def _by_reference(cls, value: str | None, info: ValidationInfo) -> str | None:
        host = info.data.get("host")
        if value is None and host is not None and not _is_loopback(host):
            raise ValueError(
                f"is missing, but the API listens on {host}, beyond this machine{REMEDY}"
                'add `token = "env:PUMPWATCH_TOKEN"`, or set host = "127.0.0.1"'
            )
        if value is not None and not REFERENCE.fullmatch(value):
            raise ValueError(
                f"a secret may not stand in the configuration itself{REMEDY}"
                'write "env:NAME" (an environment variable) or "file:PATH" (a file only this server may read)'
            )
        return value


class AcquisitionSettings(_Table):
    """How often devices are read, and for how long they may keep silent."""

    fast_s: Seconds = Field(default=1.0, description="Period of the scan class fast (nozzle states, volumes), seconds")
    normal_s: Seconds = Field(default=10.0, description="Period of the scan class normal (tanks), seconds")
    slow_s: Seconds = Field(default=30.0, description="Period of the scan class slow (identities, clocks), seconds")
    timeout_s: Seconds = Field(default=1.0, description="Deadline of one read, seconds")
    heartbeat_s: Seconds = Field(
        default=10.0, description="An unchanged value is stored again after this long, seconds"
    )
    backoff_max_s: Seconds = Field(
        default=10.0, description="Longest pause between two tries at a device that does not answer, seconds"
    )


class HistorianSettings(_Table):
    """Where history is kept."""

    store: Id = Field(default="embedded", description="Name of the store")
    settings: dict[str, Any] = Field(default_factory=dict, description="The store's own keys")
    journal_max_bytes: Annotated[int, Field(ge=1_000_000)] = Field(
        default=2_147_483_648,
        description="The most that may wait on disk for the store. A full journal refuses: drivers slow down and "
        "nothing is dropped",
    )
    journal_max_days: Annotated[float, Field(gt=0, le=3_650)] = Field(
        default=30.0, description="The longest that data may wait on disk for the store; then the journal is full"
    )
    journal_alarm_at: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="How full the journal is by either bound when the alarm `journal` is raised"
    )
    disk_alarm_bytes: Annotated[int, Field(ge=0)] = Field(
        default=1_073_741_824, description="With less free space on the disk of the data the alarm `disk` is raised"
    )


class DetectionSettings(_Table):
    """How the past is reviewed; which rules there are stands in `[rules]`."""

    review_s: Annotated[float, Field(ge=0)] = Field(
        default=3600.0, description="How often the last days are reviewed, seconds; 0: never"
    )
    review_days: Annotated[float, Field(gt=0, le=400)] = Field(
        default=7.0, description="How many days a review looks at: what came in later than that is not found by it"
    )
    workers: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="Processes that review")


class PluginsSettings(_Table):
    """Which plugins are not wanted."""

    disabled: Ids = Field(default=(), description="Names of plugins that are installed but shall not be loaded")


class DeviceSettings(_Table):
    """One device of a station: a dispenser, a tank gauge."""

    id: Id = Field(
        description="Id within the station: `D1`, `D2` … for dispensers, `TLS` for the gauge; part of every tag's path"
    )
    driver: Id = Field(
        description="Name of the driver that speaks with it, for example `modbus`; `pumpwatch plugins` lists them"
    )
    line: Line = Field(
        description="Line it hangs on: `tcp://HOST:PORT`, `serial:PORT?baud=9600&bytesize=8&parity=N&stopbits=1`, "
        "`rfc2217://HOST:PORT?baud=…` for a serial port elsewhere, or `tls://HOST:PORT?ca=…&cert=…&key=…`; devices "
        "with the same line take turns. `opc.tcp://HOST:PORT` for an OPC UA server; `call:` for a device that "
        "calls this server",
    )
    dispenser: Id | None = Field(
        default=None, description="Id in the ledger of the dispenser this device is, for example `S01-D1`"
    )
    nozzles: Ids = Field(
        default=(), description="Nozzle ids in the ledger, in the order in which the device numbers its nozzles from 1"
    )
    tanks: Ids = Field(
        default=(), description="Tank ids in the ledger, in the order in which the device numbers its tanks from 1"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="The driver's own keys")

    @property
    def address(self) -> LineAddress:
        """The line's address, parsed."""
        return LineAddress.parse(self.line)


class StationSettings(_Table):
    """One station and its devices."""

    id: Id = Field(description="Id of the station in the ledger, for example `S01`; part of every tag's path")
    devices: tuple[DeviceSettings, ...] = Field(
        default=(), description="The station's devices, one table `[[stations.devices]]` each"
    )


@dataclass(frozen=True, slots=True)
class Source:
    """The text that settings come from, so that what is found wrong later can still point at its line.

    Not compared: settings that say the same are equal, wherever they stand.
    """

    file: str = field(default="settings", compare=False)
    lines: Places = field(default_factory=Places, compare=False)


class Settings(_Table):
    """A whole configuration."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    acquisition: AcquisitionSettings = Field(default_factory=AcquisitionSettings)
    historian: HistorianSettings = Field(default_factory=HistorianSettings)
    rules: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="One table a rule, named after it: `enabled` (true or false) and the rule's own keys",
    )
    detection: DetectionSettings = Field(default_factory=DetectionSettings)
    plugins: PluginsSettings = Field(default_factory=PluginsSettings)
    stations: tuple[StationSettings, ...] = Field(default=(), description="The stations, one table `[[stations]]` each")

    _source: Source = PrivateAttr(default_factory=Source)

    @property
    def source(self) -> Source:
        """Where these settings stand; without lines when they were made in code."""
        return self._source

    @model_validator(mode="after")
    def _agrees_with_itself(self, info: ValidationInfo) -> Settings:
        if info.context is TOLD:
            return self
        for conflict in conflicts(self.model_dump()):
            raise PydanticCustomError("conflict", "{text}", {"text": str(conflict)})
        return self
