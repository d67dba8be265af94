"""The first tables: the ledger, and alarms with their findings and log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0001"
down_revision = None


def upgrade(op: Operations) -> None:
    """Make them."""
    _ledger(op)
    _alarms(op)


def _ledger(op: Operations) -> None:
    op.create_table(
        "stations",
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("short_name", sa.Text, nullable=False),
        sa.Column("ownership", sa.String(16), nullable=False),
        sa.Column("region", sa.Text, nullable=False),
        sa.Column("town", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("credit_code", sa.Text, nullable=False),
        sa.Column("latitude", sa.Float(53)),
        sa.Column("longitude", sa.Float(53)),
        sa.Column("business_licence_expires", sa.Date),
        sa.Column("retail_licence_expires", sa.Date),
        sa.Column("hazmat_licence_expires", sa.Date),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("station_id", name="pk_stations"),
    )
    op.create_table(
        "dispensers",
        sa.Column("dispenser_id", sa.String(64), nullable=False),
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("brand", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("serial", sa.Text),
        sa.Column("mainboard_serial", sa.Text),
        sa.Column("firmware_version", sa.Text),
        sa.Column("firmware_digest", sa.Text),
        sa.Column("tax_serial", sa.Text),
        sa.Column("installed_on", sa.Date),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("dispenser_id", name="pk_dispensers"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.station_id"], name="fk_dispensers_station_id_stations"),
    )
    op.create_index("ix_dispensers_station_id", "dispensers", ["station_id"])
    op.create_table(
        "tanks",
        sa.Column("tank_id", sa.String(64), nullable=False),
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("grade", sa.Text, nullable=False),
        sa.Column("capacity_l", sa.Float(53), nullable=False),
        sa.Column("diameter_mm", sa.Float(53)),
        sa.Column("length_mm", sa.Float(53)),
        sa.Column("manifold", sa.Text),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("tank_id", name="pk_tanks"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.station_id"], name="fk_tanks_station_id_stations"),
    )
    op.create_index("ix_tanks_station_id", "tanks", ["station_id"])
    op.create_table(
        "nozzles",
        sa.Column("nozzle_id", sa.String(64), nullable=False),
        sa.Column("dispenser_id", sa.String(64), nullable=False),
        sa.Column("tank_id", sa.String(64), nullable=False),
        sa.Column("grade", sa.Text, nullable=False),
        sa.Column("encoder_serial", sa.Text),
        sa.Column("pulse_l", sa.Float(53)),
        sa.Column("certificate_no", sa.Text),
        sa.Column("certificate_expires", sa.Date),
        sa.Column("seal_meter", sa.Text),
        sa.Column("seal_encoder", sa.Text),
        sa.Column("seal_mainboard", sa.Text),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("nozzle_id", name="pk_nozzles"),
        sa.ForeignKeyConstraint(
            ["dispenser_id"], ["dispensers.dispenser_id"], name="fk_nozzles_dispenser_id_dispensers"
        ),
        sa.ForeignKeyConstraint(["tank_id"], ["tanks.tank_id"], name="fk_nozzles_tank_id_tanks"),
    )
    op.create_index("ix_nozzles_dispenser_id", "nozzles", ["dispenser_id"])
    op.create_index("ix_nozzles_tank_id", "nozzles", ["tank_id"])
    op.create_table(
        "work_orders",
        sa.Column("station_id", sa.String(64), nullable=False),
        sa.Column("device_id", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("signed_by_repairer", sa.Text),
        sa.Column("signed_by_institute", sa.Text),
        sa.Column("signed_by_station", sa.Text),
        sa.Column("certificate_no", sa.Text),
        sa.Column("error_percent", sa.Float(53)),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("station_id", "device_id", "at", "kind", name="pk_work_orders"),
        sa.ForeignKeyConstraint(["station_id"], ["stations.station_id"], name="fk_work_orders_station_id_stations"),
    )


def _alarms(op: Operations) -> None:
    op.create_table(
        "alarms",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("subject_key", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("station_id", sa.Text, nullable=False),
        sa.Column("dispenser_id", sa.Text),
        sa.Column("nozzle_id", sa.Text),
        sa.Column("tank_id", sa.Text),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("departments", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("onset", sa.DateTime(timezone=True), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True)),
        sa.Column("acknowledged_by", sa.Text),
        sa.Column("returned_at", sa.DateTime(timezone=True)),
        sa.Column("cleared_at", sa.DateTime(timezone=True)),
        sa.Column("cleared_by", sa.Text),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("finding_id", sa.Text, nullable=False),
        sa.Column("acts", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_alarms"),
    )
    open_only = sa.text("state != 'cleared'")
    op.create_index(
        "uq_alarms_open",
        "alarms",
        ["rule", "subject_key"],
        unique=True,
        sqlite_where=open_only,
        postgresql_where=open_only,
    )
    op.create_index("ix_alarms_raised_at", "alarms", ["raised_at"])
    op.create_index("ix_alarms_cleared_at", "alarms", ["cleared_at"])
    op.create_table(
        "findings",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("alarm_number", sa.Integer),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("subject_key", sa.Text, nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_findings"),
        sa.ForeignKeyConstraint(["alarm_number"], ["alarms.number"], name="fk_findings_alarm_number_alarms"),
    )
    op.create_index("ix_findings_alarm_number", "findings", ["alarm_number"])
    op.create_index("ix_findings_received_at", "findings", ["received_at"])
    op.create_table(
        "alarm_log",
        sa.Column("alarm_number", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("act", sa.String(16), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("alarm_number", "seq", name="pk_alarm_log"),
        sa.ForeignKeyConstraint(["alarm_number"], ["alarms.number"], name="fk_alarm_log_alarm_number_alarms"),
    )
