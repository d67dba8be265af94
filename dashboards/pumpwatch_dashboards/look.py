"""The look of Panel's part of a page: Bokeh themes and chart colours, all taken from the tokens and the theme file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import param
from bokeh.themes import Theme
from panel.theme import Native
from panel.theme.base import DarkTheme, DefaultTheme

from pumpwatch_dashboards.web import ASSETS

_TOKEN = re.compile(r"--pw-([a-z0-9-]+):\s*(#[0-9a-f]{6})")


class Tone(StrEnum):
    """Light for lit rooms, dark for dim ones."""

    LIGHT = "light"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Colours:
    """The tokens a chart draws with."""

    ink: str
    ink_2: str
    ink_3: str
    run: str
    run_2: str
    line: str
    edge: str
    font: str


def bokeh_theme(tone: Tone) -> Theme:
    """Bokeh's own defaults: axes, grids, fonts."""
    return Theme(json=_theme_json(tone))


@cache
def colours(tone: Tone) -> Colours:
    """HoloViews sets the colours of its glyphs itself, so a theme does not reach them: they are named from here."""
    light, _, dark = (ASSETS / "tokens.css").read_text("utf-8").partition(':root[data-theme="dark"]')
    token = dict(_TOKEN.findall(light if tone is Tone.LIGHT else dark.partition("}")[0]))
    names = ("ink", "ink-2", "ink-3", "run", "run-2", "line", "edge")
    font = _theme_json(tone)["attrs"]["Axis"]["major_label_text_font"]
    return Colours(**{name.replace("-", "_"): token[name] for name in names}, font=font)


@cache
def _theme_json(tone: Tone) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((ASSETS / "bokeh_theme.json").read_text("utf-8"))
    chosen: dict[str, Any] = {"attrs": spec["attrs"]} if tone is Tone.LIGHT else spec["dark"]
    return chosen


def _bokeh_theme_of(tone: Tone) -> object:
    return param.ClassSelector(class_=(Theme, str), default=bokeh_theme(tone))


class Light(DefaultTheme):
    """Panel's light theme with our Bokeh theme."""

    bokeh_theme = _bokeh_theme_of(Tone.LIGHT)


class Dark(DarkTheme):
    """Panel's dark theme with our Bokeh theme."""

    bokeh_theme = _bokeh_theme_of(Tone.DARK)


class Look(Native):
    """Panel without a design of its own; the tokens do the rest."""

    _themes = {"default": Light, "dark": Dark}  # noqa: RUF012 - Panel's own way to name them


def panel_theme(tone: Tone) -> type:
    """The class Panel wants: a template given only a name would fall back to the light Bokeh theme."""
    return Dark if tone is Tone.DARK else Light
