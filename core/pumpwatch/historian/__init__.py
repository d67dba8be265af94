"""The historian: nothing acknowledged is ever lost."""

from pumpwatch.historian.bulk import BulkRecords, Difference, RecordBlock, Taken
from pumpwatch.historian.drain import BulkStore
from pumpwatch.historian.embedded import EmbeddedSettings, EmbeddedStore
from pumpwatch.historian.historian import Historian
from pumpwatch.historian.journal import Group, Journal, Overflow
from pumpwatch.historian.rows import SHAPES, Plain, Shape

__all__ = [
    "SHAPES",
    "BulkRecords",
    "BulkStore",
    "Difference",
    "EmbeddedSettings",
    "EmbeddedStore",
    "Group",
    "Historian",
    "Journal",
    "Overflow",
    "Plain",
    "RecordBlock",
    "Shape",
    "Taken",
]
