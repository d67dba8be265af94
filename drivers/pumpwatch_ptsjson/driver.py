"""The jsonPTS driver: answers a PTS-2 controller that calls, and turns what it brings into records and samples."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from pumpwatch import (
    Answer,
    BadConfig,
    BadReply,
    DeviceIdentity,
    Driver,
    NotReachable,
    PluginSettings,
    Reading,
    Sample,
    ScanClass,
    Tag,
    TagKind,
)
from pumpwatch_ptsjson import uploads
from pumpwatch_ptsjson.credentials import Gate
from pumpwatch_ptsjson.envelope import LONGEST_TEXT, Confirmation, confirmed, opened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pumpwatch import Call, Line, Record, SalePart, Site
    from pumpwatch_ptsjson.envelope import Packet

NOZZLE_TAGS = (
    ("state", "", TagKind.STATE, "0 idle, 1 lifted, 2 fuelling, 3 stopped"),
    ("volume", "L", TagKind.MEASUREMENT, "On the display"),
    ("amount", "CNY", TagKind.MEASUREMENT, "On the display"),
    ("price", "CNY/L", TagKind.STATE, "Unit price"),
    ("totalizer", "L", TagKind.COUNTER, "Volume totalizer after the last filling"),
    ("totalizer_amount", "CNY", TagKind.COUNTER, "Money totalizer after the last filling"),
    ("sequence", "", TagKind.COUNTER, "Number of the last filling, 1 to 65535"),
)
TANK_ALARMS = ("alarms", "", TagKind.STATE, "What the probe complains of, or none")
OWN_TAGS = (
    ("identity.serial", "", TagKind.IDENTITY, "PtsId of the controller"),
    ("identity.firmware_version", "", TagKind.IDENTITY, "Day and time of the controller's firmware"),
    ("identity.configuration", "", TagKind.IDENTITY, "Identifier of the controller's configuration"),
    ("identity.configuration_digest", "", TagKind.IDENTITY, "SHA-256 of the configuration it has sent"),
    ("clock_difference", "s", TagKind.MEASUREMENT, "Controller's clock less ours"),
    ("battery", "V", TagKind.MEASUREMENT, "Voltage of the controller's battery"),
    ("cpu_temperature", "°C", TagKind.MEASUREMENT, "Temperature of the controller"),
    ("power_down", "", TagKind.STATE, "1 when the controller has seen its power fail"),
)
HEADERS = (
    ("identity.serial", "x-pts-id"),
    ("identity.firmware_version", "x-pts-firmware-version-datetime"),
    ("identity.configuration", "x-pts-configuration-identifier"),
)
UPLOADS = {
    "UploadPumpTransaction": uploads.transaction,
    "UploadTankMeasurement": uploads.tank_measurement,
    "UploadInTankDelivery": uploads.delivery,
    "UploadAlertRecord": uploads.alert,
}
MOST_SAMPLES = 20_000
"""Of one call, about: a quarter of a second of work."""
_PLACE = re.compile(r"([1-9][0-9]?[0-9]?)/([1-9])", re.ASCII)
_USER = re.compile(r'[^\s":\\]{1,64}', re.ASCII)


class PtsJsonSettings(PluginSettings):
    """Keys of ``settings`` of a device with ``driver = "ptsjson"``."""

    user: str = Field(description="User name that the controller shows")
    password: SecretStr = Field(description="Its password, at least six characters, by reference: env: or file:")
    scheme: Literal["digest", "basic"] = Field(
        "digest", description="How it shows them: DIP-2 off is digest, DIP-2 on is basic, which wants HTTPS in front"
    )
    signing_key: SecretStr | None = Field(
        None, description="Secret key of the message signature, by reference, if one is set in the controller"
    )
    pts_id: str | None = Field(
        None, pattern=r"^[0-9A-Fa-f]{1,24}$", description="PtsId that must call; without it, any with these credentials"
    )
    places: tuple[str, ...] | None = Field(
        None, description="Pump and nozzle of each of the nozzles, like 2/1; without it, each is nozzle 1 of a pump"
    )
    numbers: Literal["shared", "nozzle"] = Field(
        "shared",
        description="nozzle: it numbers the transactions of each nozzle by one, so that a gap is a missing filling",
    )
    clock_offset_h: Annotated[float, Field(ge=-14, le=14)] = Field(
        8.0, description="Hours the controller's clock is ahead of UTC"
    )
    silence_s: Annotated[float, Field(ge=1, le=86_400)] = Field(
        600.0, description="After so long without a call the controller counts as not connected, seconds"
    )

    @field_validator("user")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not _USER.fullmatch(value):
            raise ValueError("a user name is up to 64 ASCII characters without blanks, quotes and colons")
        return value

    @field_validator("password", "signing_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not 6 <= len(value.get_secret_value()) <= 128:
            raise ValueError("a secret has 6 to 128 characters; set a longer one here and in the controller")
        return value

    @field_validator("places")
    @classmethod
    def _places(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for place in value or ():
            if not _PLACE.fullmatch(place):
                raise ValueError(f"{place!r} is no place; write PUMP/NOZZLE, for example 2/1")
        if value and len(set(value)) < len(value):
            raise ValueError("a place stands there twice; give each nozzle its own")
        return value


class PtsJsonDriver(Driver):
    """Answers one controller. It is never asked: it is connected as long as it calls."""

    name: ClassVar[str] = "ptsjson"
    Settings: ClassVar[type[PluginSettings]] = PtsJsonSettings

    def __init__(self, settings: PtsJsonSettings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        places = settings.places or tuple(f"{pump}/1" for pump in range(1, len(site.nozzle_ids) + 1))
        if len(places) != len(site.nozzle_ids):
            raise BadConfig(
                f"places: {len(places)} given for {len(site.nozzle_ids)} nozzles; give one for each, in their order"
            )
        nozzles = {_place(place): number for number, place in enumerate(places, 1)}
        self._forecourt = uploads.Forecourt(
            site, nozzles, timedelta(hours=settings.clock_offset_h), settings.numbers == "nozzle"
        )
        key = settings.signing_key
        self._gate = Gate(
            settings.scheme,
            settings.user,
            settings.password.get_secret_value(),
            None if key is None else key.get_secret_value(),
        )
        self._pts_id = settings.pts_id and settings.pts_id.upper()
        self._silence = timedelta(seconds=settings.silence_s)
        self._heard: datetime | None = None
        """When it last called, or when it was first waited for."""
        self._told_at: dict[str, datetime] = {}
        """Time of the last sample of each tag: what comes late is a record, and no longer the present."""

    def tags(self) -> Sequence[Tag]:
        """Seven tags a nozzle, nine a tank, and the controller's own."""
        nozzles = range(1, len(self.site.nozzle_ids) + 1)
        probe = [(name, unit, TagKind.MEASUREMENT, text) for name, unit, _, text in uploads.TANK_FIELDS]
        tanks = range(1, len(self.site.tank_ids) + 1)
        groups = (
            *((f"nozzle-{number}.", NOZZLE_TAGS) for number in nozzles),
            *((f"tank-{number}.", (*probe, TANK_ALARMS)) for number in tanks),
            ("", OWN_TAGS),
        )
        return [
            Tag(prefix + name, unit, ScanClass.NORMAL, kind, text)
            for prefix, group in groups
            for name, unit, kind, text in group
        ]

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """Nothing to ask. Raises ``NotReachable`` when it has not called for too long."""
        self._heard = self._heard or now
        if now - self._heard > self._silence:
            raise NotReachable(
                f"no call since {self._heard:%Y-%m-%d %H:%M} UTC; check the controller's network and its remote server "
                f"settings: POST /call/{self.site.station_id}/{self.site.device_id}"
            )
        return Reading()

    def called(self, call: Call, now: datetime) -> tuple[Answer, Reading]:
        """See ``Driver``. Each packet is confirmed, or told why it is not kept; then the controller sends it again."""
        challenge = self._gate.challenge(call, now)
        if challenge is not None:
            return _refusal(401, "show the user name and password of this device", {"www-authenticate": challenge})
        if not self._gate.is_signed(call):
            return _refusal(401, "X-Data-Signature is not the HMAC-SHA-256 of the body with this device's key", {})
        envelope = opened(call.body)
        told = {name: _clean(call.headers.get(header)) for name, header in HEADERS}
        claims = {each.upper() for each in (envelope.controller, told["identity.serial"]) if each}
        if len(claims) > 1 or (self._pts_id is not None and claims != {self._pts_id}):
            raise BadReply(f"the controller {' or '.join(sorted(claims)) or 'without PtsId'} is not the one meant here")
        self._heard = now
        told["identity.serial"] = next(iter(claims), None)
        confirmations: list[Confirmation] = []
        samples: list[Sample] = []
        records: list[Record | SalePart] = []
        for packet in envelope.packets:
            try:
                reading = self._kept(packet, told, now, MOST_SAMPLES - len(samples))
            except BadReply as error:
                confirmations.append(Confirmation(packet, str(error)))
            else:
                confirmations.append(Confirmation(packet))
                samples += reading.samples
                records += reading.records
        samples += [Sample(name, value, now) for name, value in told.items() if value is not None]
        records += self._identity(told, now)
        headers = {"content-type": "application/json; charset=utf-8"}
        return Answer(200, headers, confirmed(confirmations)), Reading(self._news(samples, now), records)

    # ------------------------------------------------------------ packets

    def _kept(self, packet: Packet, told: dict[str, str | None], now: datetime, room: int) -> Reading:
        """What a packet says; what it says of the controller itself goes into ``told``."""
        if room <= 0:
            raise BadReply(f"more than {MOST_SAMPLES} values at once; send this again")
        if packet.type in UPLOADS:
            return UPLOADS[packet.type](packet, self._forecourt, now)
        if packet.type == "UploadStatus":
            return uploads.status(packet, self._forecourt, now)
        if packet.type == "UploadConfiguration":
            told["identity.configuration_digest"] = uploads.configuration_digest(packet)
            return Reading()
        raise BadReply(f"{packet.type} is not kept here; switch it off in the controller's remote server settings")

    def _identity(self, told: Mapping[str, str | None], now: datetime) -> list[DeviceIdentity]:
        serial = told["identity.serial"]
        if self.site.dispenser_id is None or serial is None:
            return []
        version = told["identity.firmware_version"]
        return [
            DeviceIdentity(
                self.site.station_id, self.site.dispenser_id, now, serial=serial, firmware_version=version or None
            )
        ]

    def _news(self, samples: Sequence[Sample], now: datetime) -> list[Sample]:
        """Those that are not older than what their tag last told.

        What comes from the future is of now: it holds nothing up, and is as old as the call that brought it.
        """
        news = []
        for sample in sorted(samples, key=lambda sample: sample.at):
            last, at = self._told_at.get(sample.tag), min(sample.at, now)
            if last is None or at >= last:
                self._told_at[sample.tag] = at
                news.append(sample if at == sample.at else sample._replace(at=at))
        return news


def _place(text: str) -> tuple[int, int]:
    pump, _, nozzle = text.partition("/")
    return int(pump), int(nozzle)


def _clean(text: str | None) -> str | None:
    """A header's value as it may stand in a tag."""
    return "".join(char for char in (text or "")[:LONGEST_TEXT] if char.isprintable()).strip() or None


def _refusal(status: int, why: str, headers: Mapping[str, str]) -> tuple[Answer, Reading]:
    body = json.dumps({"error": why}).encode()
    return Answer(status, {"content-type": "application/json", **headers}, body), Reading()
