"""Figures of findings, drawn: for the browser, for paper and for notebooks alike; beside the organs.

HoloViews and Matplotlib are asked for at the first drawing only: a server that nobody asks for a figure needs neither.
"""

from pumpwatch.figures.ink import Ink, ink
from pumpwatch.figures.paper import WIDTHS, Look, draw, to_png, to_svg

__all__ = ["WIDTHS", "Ink", "Look", "draw", "ink", "to_png", "to_svg"]
