"""Strapping charts, declarations, hotline reports and covert tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations) -> None:
    """Make their tables."""
    op.create_table(
        "tank_charts",
        sa.Column("tank_id", sa.String(64), nullable=False),
        sa.Column("height_mm", sa.Float(53), nullable=False),
        sa.Column("volume_l", sa.Float(53), nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("tank_id", "height_mm", name="pk_tank_charts"),
        sa.ForeignKeyConstraint(["tank_id"], ["tanks.tank_id"], name="fk_tank_charts_tank_id_tanks"),
    )
    op.create_table(
        "declarations",
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("period", sa.String(7), nullable=False),
        sa.Column("grade", sa.String(64), nullable=False),
        sa.Column("declared_purchase_l", sa.Float(53)),
        sa.Column("declared_sale_l", sa.Float(53)),
        sa.Column("declared_revenue_cny", sa.Float(53)),
        sa.Column("tax_paid_cny", sa.Float(53)),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("station_id", "period", "grade", name="pk_declarations"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.station_id"], name="fk_declarations_station_id_stations"),
    )
    op.create_table(
        "reports_12315",
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("nozzle_id", sa.String(64)),
        sa.Column("channel", sa.String(16)),
        sa.Column("text", sa.Text),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("station_id", "at", "digest", name="pk_reports_12315"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.station_id"], name="fk_reports_12315_station_id_stations"),
        sa.ForeignKeyConstraint(["nozzle_id"], ["nozzles.nozzle_id"], name="fk_reports_12315_nozzle_id_nozzles"),
    )
    op.create_index("ix_reports_12315_nozzle_id", "reports_12315", ["nozzle_id"])
    op.create_table(
        "covert_tests",
        sa.Column("nozzle_id", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("displayed_l", sa.Float(53), nullable=False),
        sa.Column("measured_l", sa.Float(53), nullable=False),
        sa.Column("reference_uncertainty_percent", sa.Float(53)),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("nozzle_id", "at", name="pk_covert_tests"),
        sa.ForeignKeyConstraint(["nozzle_id"], ["nozzles.nozzle_id"], name="fk_covert_tests_nozzle_id_nozzles"),
    )
