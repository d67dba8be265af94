"""The OPC UA driver: its settings, and the door to what it does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from pumpwatch import BadConfig, Driver, PluginSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pumpwatch import Line, Reading, Site, Tag


class OpcuaSettings(PluginSettings):
    """Keys of ``settings`` of a device with ``driver = "opcua"``."""

    brand: str | None = Field(None, description="Name of a node map that comes with pumpwatch")
    map: Path | None = Field(None, description="Path of your own node map, instead of brand")
    root: str = Field("", description="What {root} stands for in the map: where this device is in the server")
    mode: Literal["subscribe", "poll"] = Field(
        "subscribe", description="poll reads every scan at one go; so does subscribe where the server refuses"
    )
    publishing_s: float = Field(0.5, ge=0.05, le=60, description="How often the server tells what has changed, seconds")
    sampling_s: float = Field(0.25, ge=0, le=60, description="How often the server looks at a value, seconds")
    queue: int = Field(20, ge=2, le=10_000, description="Changes of one value that the server keeps until it can tell")
    outage_s: float = Field(
        120, ge=10, le=3600, description="How long the server shall keep session and queues while the line is broken"
    )
    security: Literal["none", "Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"] = Field(
        "none", description="Security policy"
    )
    protection: Literal["sign", "sign_and_encrypt"] = Field(
        "sign_and_encrypt", description="What is done to each message under a security policy"
    )
    certificate: Path | None = Field(None, description="Our certificate, DER or PEM")
    private_key: SecretStr | None = Field(None, description="Its key as PEM; by reference: file:PATH")
    private_key_password: SecretStr | None = Field(None, description="Of the key, if it has one; by reference")
    server_fingerprint: str = Field("", description="SHA-256 of the server's certificate, 64 hexadecimal digits")
    user: str | None = Field(None, min_length=1, description="User name; needs a security policy")
    password: SecretStr | None = Field(None, description="Of the user; by reference")

    @field_validator("server_fingerprint")
    @classmethod
    def _hexadecimal(cls, value: str) -> str:
        digits = re.sub(r"[:\s]", "", value).lower()
        if digits and not re.fullmatch(r"[0-9a-f]{64}", digits):
            raise ValueError("a fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits")
        return digits

    @model_validator(mode="after")
    def _fit_together(self) -> OpcuaSettings:
        if (self.brand is None) == (self.map is None):
            raise ValueError("give either brand (a map that comes with pumpwatch) or map (the path of your own)")
        if self.security == "none":
            if self.user or self.password:
                raise ValueError("a password would go over the line for all to read; choose security = Basic256Sha256")
        elif self.certificate is None or self.private_key is None:
            raise ValueError(f"security = {self.security} needs certificate and private_key; add them")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together; give both or neither")
        return self


class OpcuaDriver(Driver):
    """Reads one device of an OPC UA server by its node map, over a session of its own."""

    name: ClassVar[str] = "opcua"
    Settings: ClassVar[type[PluginSettings]] = OpcuaSettings

    def __init__(self, settings: OpcuaSettings, site: Site, line: Line) -> None:
        super().__init__(settings, site, line)
        try:
            from pumpwatch_opcua.device import Device  # noqa: PLC0415 - the library is slow to load, and an extra
        except ImportError as error:
            raise BadConfig(f"driver: opcua needs asyncua ({error}); run: pip install 'pumpwatch[opcua]'") from error
        self._device = Device(settings, site, line.address)

    def tags(self) -> Sequence[Tag]:
        """The map's tags of this device, and two of the server's."""
        return self._device.tags()

    async def connect(self) -> None:
        """Open or take up the session, find the nodes, subscribe. What is cut short goes on at the next call."""
        await self._device.connect()

    async def read(self, tags: Sequence[Tag], now: datetime) -> Reading:
        """See ``Driver``. What the subscription told since the last call is among it, whether it is due or not."""
        return await self._device.read(tags, now)

    async def close(self) -> None:
        """End the session. What the server has not told yet is lost."""
        await self._device.close()
