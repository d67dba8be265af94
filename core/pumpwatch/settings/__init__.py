"""What a configuration file may say, how it is read, and what is wrong with it; floor 2."""

from pumpwatch.settings.address import LineAddress
from pumpwatch.settings.loading import load_settings, parse_settings, resolve_secret
from pumpwatch.settings.models import (
    AcquisitionSettings,
    ApiSettings,
    DetectionSettings,
    DeviceSettings,
    HistorianSettings,
    PluginsSettings,
    ServerSettings,
    Settings,
    Source,
    StationSettings,
)
from pumpwatch.settings.places import Place, Places, scan
from pumpwatch.settings.problems import BadSettings, Problem, did_you_mean, dotted, problems_from
from pumpwatch.settings.reference import keys_table, settings_reference, settings_schema

__all__ = [
    "AcquisitionSettings",
    "ApiSettings",
    "BadSettings",
    "DetectionSettings",
    "DeviceSettings",
    "HistorianSettings",
    "LineAddress",
    "Place",
    "Places",
    "PluginsSettings",
    "Problem",
    "ServerSettings",
    "Settings",
    "Source",
    "StationSettings",
    "did_you_mean",
    "dotted",
    "keys_table",
    "load_settings",
    "parse_settings",
    "problems_from",
    "resolve_secret",
    "scan",
    "settings_reference",
    "settings_schema",
]
