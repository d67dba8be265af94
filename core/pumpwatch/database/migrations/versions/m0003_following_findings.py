"""Findings know from which other they follow, and since when they no longer hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0003"
down_revision = "0002"


def upgrade(op: Operations) -> None:
    """Add the columns. A finding filed with an alarm of another rule or subject follows from that alarm's finding."""
    op.add_column("findings", sa.Column("cause_id", sa.Text))
    op.add_column("findings", sa.Column("withdrawn_at", sa.DateTime(timezone=True)))
    op.create_index("ix_findings_cause_id", "findings", ["cause_id"])
    op.execute(
        "UPDATE findings SET cause_id = ("
        "SELECT finding_id FROM alarms WHERE number = findings.alarm_number AND finding_id <> findings.id"
        " AND (alarms.rule <> findings.rule OR alarms.subject_key <> findings.subject_key)"
        ") WHERE alarm_number IS NOT NULL"
    )
