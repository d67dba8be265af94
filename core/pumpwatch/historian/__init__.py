"""The historian: nothing acknowledged is ever lost."""

from pumpwatch.historian.drain import BulkStore
from pumpwatch.historian.embedded import EmbeddedSettings, EmbeddedStore
from pumpwatch.historian.historian import Historian
from pumpwatch.historian.journal import Group, Journal, Overflow

__all__ = ["BulkStore", "EmbeddedSettings", "EmbeddedStore", "Group", "Historian", "Journal", "Overflow"]
