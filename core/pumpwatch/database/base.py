"""What every table stands on: the common metadata and the column types that SQLAlchemy does not bring."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from sqlalchemy import DateTime, MetaData, Table
from sqlalchemy.exc import DontWrapMixin
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy import Dialect


class NaiveTimeError(DontWrapMixin, ValueError):
    """A time without a zone was about to be stored; use aware UTC datetimes."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime: refuses a naive one, returns an aware one whatever the database keeps.

    SQLite keeps text of fixed width in UTC, which sorts as time does; PostgreSQL keeps ``timestamp with time zone``.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise NaiveTimeError(f"a time without zone: {value!r}; use aware UTC datetimes")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Ancestor of every table class; constraints are named by rule, so that a later migration can name them too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def table_of(row: type[Base]) -> Table:
    """The table of a table class, for statements without sessions."""
    return cast("Table", row.__table__)
