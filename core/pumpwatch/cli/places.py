"""Where things lie: the configuration in force, and what a data folder says of the server that runs on it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pumpwatch.errors import BadConfig
from pumpwatch.settings import Settings, load_settings

DEFAULT_CONFIG: Final = Path("pumpwatch.toml")
RUNNING: Final = "server.json"
"""In the data folder while a server runs: its process and its address."""


def settings_for(data: Path, config: Path | None) -> Settings:
    """The configuration asked for: ``--config``, or the one in the data folder, or ``./pumpwatch.toml``."""
    if config is not None:
        return load_settings(config)
    for candidate in (data / DEFAULT_CONFIG, DEFAULT_CONFIG):
        if candidate.is_file():
            return load_settings(candidate)
    raise BadConfig(
        f"no configuration: neither {data / DEFAULT_CONFIG} nor ./{DEFAULT_CONFIG} is there; "
        "name one with --config FILE (config/example.toml shows how), or see it work first: pumpwatch demo"
    )
