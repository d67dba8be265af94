"""The keys of the store ``influxdb``."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from pumpwatch import PluginSettings
from pumpwatch.settings import resolve_secret

_REFERENCE: Final = re.compile(r"(env|file):.+")


class InfluxSettings(PluginSettings):
    """Keys of ``settings`` in ``[historian]`` with ``store = "influxdb"``."""

    model_config = ConfigDict(hide_input_in_errors=True)  # an error must not tell the token

    url: str = Field("http://127.0.0.1:8086", description="Address of the server, or of the proxy before it")
    database: str = Field(
        "pumpwatch",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,40}$",
        description="Its name; the buckets are DATABASE/samples, DATABASE/readings and DATABASE/records",
    )
    org: str = Field("pumpwatch", description="Organisation, of InfluxDB 2")
    token: SecretStr | None = Field(
        None, description="Token, or with `user` the password; by reference: env:NAME or file:PATH"
    )
    user: str | None = Field(None, min_length=1, description="User name, of InfluxDB 1; without it `token` is a token")
    ca: Path | None = Field(None, description="PEM file of the authority that signed the server's certificate")
    plain_http: bool = Field(
        default=False, description="Whether the token may go over a network without TLS, for all to read"
    )
    samples_days: int = Field(92, ge=0, le=36_500, description="Days samples are kept; 0: for ever")
    tank_readings_days: int = Field(1_100, ge=0, le=36_500, description="Days readings of tanks are kept; 0: for ever")
    timeout_s: float = Field(10.0, gt=0, le=300, description="Deadline of one request, seconds")
    request_bytes: int = Field(
        1_000_000, ge=1_000, le=25_000_000, description="Size of one write before compression, bytes"
    )
    version: int | None = Field(None, ge=1, le=3, description="Of the server, 1, 2 or 3, where it does not tell")

    @field_validator("token", mode="before")
    @classmethod
    def _revealed(cls, value: object) -> object:
        """Commands that are not the server hand the reference itself."""
        return resolve_secret(value) if isinstance(value, str) and _REFERENCE.fullmatch(value) else value

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("write an address such as https://influx.example:8086")
        if parts.username or parts.password:
            raise ValueError("user and password may not stand in the address; use user and token")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _safe(self) -> InfluxSettings:
        if self.user and self.token is None:
            raise ValueError("user needs its password: give it as token, by reference")
        if self.token and not self.plain_http and self.url.startswith("http:") and not _is_here(self.url):
            raise ValueError(
                "the token would go over the network for all to read; use https, or allow it with plain_http = true"
            )
        return self


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
