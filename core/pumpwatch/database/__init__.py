"""The relational medium of the organs: one file (or one PostgreSQL), its schema and its transactions; floor 3."""

from pumpwatch.database.base import Base, NaiveTimeError, UtcDateTime, table_of
from pumpwatch.database.database import Database, ledger_url
from pumpwatch.database.upgrading import latest_revision, upgrade

__all__ = ["Base", "Database", "NaiveTimeError", "UtcDateTime", "latest_revision", "ledger_url", "table_of", "upgrade"]
