"""The tables of alarms: findings whole, alarms as they stand, and every act upon them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from pumpwatch.database import Base, UtcDateTime


class AlarmRow(Base):
    """``alarms``: one row an alarm, as it stands now."""

    __tablename__ = "alarms"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rule: Mapped[str] = mapped_column(Text)
    subject_key: Mapped[str] = mapped_column(Text)
    cause: Mapped[str] = mapped_column(Text)
    station_id: Mapped[str] = mapped_column(Text)
    dispenser_id: Mapped[str | None] = mapped_column(Text)
    nozzle_id: Mapped[str | None] = mapped_column(Text)
    tank_id: Mapped[str | None] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(String(16))
    departments: Mapped[list[str]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    raised_at: Mapped[datetime] = mapped_column(UtcDateTime)
    onset: Mapped[datetime] = mapped_column(UtcDateTime)
    acknowledged_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    acknowledged_by: Mapped[str | None] = mapped_column(Text)
    returned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cleared_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cleared_by: Mapped[str | None] = mapped_column(Text)
    count: Mapped[int] = mapped_column(Integer)
    finding_id: Mapped[str] = mapped_column(Text)
    """The newest finding. No foreign key: ``findings`` refers to this table, and one direction is enough."""
    acts: Mapped[int] = mapped_column(Integer)
    """How many rows of ``alarm_log`` it has."""

    __table_args__ = (
        Index(
            "uq_alarms_open",
            "rule",
            "subject_key",
            unique=True,
            sqlite_where=text("state != 'cleared'"),
            postgresql_where=text("state != 'cleared'"),
        ),
        Index("ix_alarms_raised_at", "raised_at"),
        Index("ix_alarms_cleared_at", "cleared_at"),
    )


class FindingRow(Base):
    """``findings``: every finding ever, whole. Its id says whether it has been seen; one withdrawn may come anew."""

    __tablename__ = "findings"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    alarm_number: Mapped[int | None] = mapped_column(ForeignKey("alarms.number"), index=True)
    """The alarm it was raised for or went to. None: an event without alarm (severity info)."""
    cause_id: Mapped[str | None] = mapped_column(Text, index=True)
    """The finding from which it follows, so that its alarm does not count it. It is a row of this table."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Since when it no longer holds."""
    rule: Mapped[str] = mapped_column(Text)
    subject_key: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(String(16))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    """``finding_to_json``."""


class AlarmLogRow(Base):
    """``alarm_log``: every act, numbered within its alarm; rows are only ever added."""

    __tablename__ = "alarm_log"

    alarm_number: Mapped[int] = mapped_column(ForeignKey("alarms.number"), primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    act: Mapped[str] = mapped_column(String(16))
    by: Mapped[str] = mapped_column(Text)
    """The person; empty when pumpwatch itself did it."""
    note: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    """After the act."""
