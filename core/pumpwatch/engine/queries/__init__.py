"""Every question to what is kept: last values, series, buckets, joins, fillings, gaps, completeness."""

from pumpwatch.engine.queries.fillings import FillingFilter
from pumpwatch.engine.queries.pace import Pace
from pumpwatch.engine.queries.pages import MOST_ROWS, Page
from pumpwatch.engine.queries.queries import Queries

__all__ = ["MOST_ROWS", "FillingFilter", "Pace", "Page", "Queries"]
