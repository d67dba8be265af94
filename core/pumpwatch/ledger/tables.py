"""The ledger's tables; columns bear the names of the model's fields."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import JSON, Date, Float, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from pumpwatch.database import Base, UtcDateTime

ID_LENGTH = 64
"""Characters an id may have."""


class StationRow(Base):
    """``stations``."""

    __tablename__ = "stations"

    station_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    short_name: Mapped[str] = mapped_column(Text)
    ownership: Mapped[str] = mapped_column(String(16))
    region: Mapped[str] = mapped_column(Text)
    town: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    credit_code: Mapped[str] = mapped_column(Text)
    latitude: Mapped[float | None] = mapped_column(Float(53))
    longitude: Mapped[float | None] = mapped_column(Float(53))
    business_licence_expires: Mapped[date | None] = mapped_column(Date)
    retail_licence_expires: Mapped[date | None] = mapped_column(Date)
    hazmat_licence_expires: Mapped[date | None] = mapped_column(Date)
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)


class DispenserRow(Base):
    """``dispensers``."""

    __tablename__ = "dispensers"

    dispenser_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    station_id: Mapped[str] = mapped_column(ForeignKey("stations.station_id"), index=True)
    brand: Mapped[str | None] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(Text)
    serial: Mapped[str | None] = mapped_column(Text)
    mainboard_serial: Mapped[str | None] = mapped_column(Text)
    firmware_version: Mapped[str | None] = mapped_column(Text)
    firmware_digest: Mapped[str | None] = mapped_column(Text)
    tax_serial: Mapped[str | None] = mapped_column(Text)
    installed_on: Mapped[date | None] = mapped_column(Date)
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)


class TankRow(Base):
    """``tanks``."""

    __tablename__ = "tanks"

    tank_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    station_id: Mapped[str] = mapped_column(ForeignKey("stations.station_id"), index=True)
    grade: Mapped[str] = mapped_column(Text)
    capacity_l: Mapped[float] = mapped_column(Float(53))
    diameter_mm: Mapped[float | None] = mapped_column(Float(53))
    length_mm: Mapped[float | None] = mapped_column(Float(53))
    manifold: Mapped[str | None] = mapped_column(Text)
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)


class NozzleRow(Base):
    """``nozzles``."""

    __tablename__ = "nozzles"

    nozzle_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    dispenser_id: Mapped[str] = mapped_column(ForeignKey("dispensers.dispenser_id"), index=True)
    tank_id: Mapped[str] = mapped_column(ForeignKey("tanks.tank_id"), index=True)
    grade: Mapped[str] = mapped_column(Text)
    encoder_serial: Mapped[str | None] = mapped_column(Text)
    pulse_l: Mapped[float | None] = mapped_column(Float(53))
    certificate_no: Mapped[str | None] = mapped_column(Text)
    certificate_expires: Mapped[date | None] = mapped_column(Date)
    seal_meter: Mapped[str | None] = mapped_column(Text)
    seal_encoder: Mapped[str | None] = mapped_column(Text)
    seal_mainboard: Mapped[str | None] = mapped_column(Text)
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)


class WorkOrderRow(Base):
    """``work_orders``: its key is what it is about, when and why, for the paper has no number of its own."""

    __tablename__ = "work_orders"

    station_id: Mapped[str] = mapped_column(ForeignKey("stations.station_id"), primary_key=True)
    device_id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    signed_by_repairer: Mapped[str | None] = mapped_column(Text)
    signed_by_institute: Mapped[str | None] = mapped_column(Text)
    signed_by_station: Mapped[str | None] = mapped_column(Text)
    certificate_no: Mapped[str | None] = mapped_column(Text)
    error_percent: Mapped[float | None] = mapped_column(Float(53))
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)


class ChartPointRow(Base):
    """``tank_charts``."""

    __tablename__ = "tank_charts"

    tank_id: Mapped[str] = mapped_column(ForeignKey("tanks.tank_id"), primary_key=True)
    height_mm: Mapped[float] = mapped_column(Float(53), primary_key=True)
    volume_l: Mapped[float] = mapped_column(Float(53))
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)


class DeclarationRow(Base):
    """``declarations``."""

    __tablename__ = "declarations"

    station_id: Mapped[str] = mapped_column(ForeignKey("stations.station_id"), primary_key=True)
    period: Mapped[str] = mapped_column(String(7), primary_key=True)
    grade: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    declared_purchase_l: Mapped[float | None] = mapped_column(Float(53))
    declared_sale_l: Mapped[float | None] = mapped_column(Float(53))
    declared_revenue_cny: Mapped[float | None] = mapped_column(Float(53))
    tax_paid_cny: Mapped[float | None] = mapped_column(Float(53))
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)


class HotlineReportRow(Base):
    """``reports_12315``: a call has no number of its own, so a digest of what was said is part of its key."""

    __tablename__ = "reports_12315"

    station_id: Mapped[str] = mapped_column(ForeignKey("stations.station_id"), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    digest: Mapped[str] = mapped_column(String(32), primary_key=True)
    nozzle_id: Mapped[str | None] = mapped_column(ForeignKey("nozzles.nozzle_id"), index=True)
    channel: Mapped[str | None] = mapped_column(String(16))
    text: Mapped[str | None] = mapped_column(Text)
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)


class CovertTestRow(Base):
    """``covert_tests``."""

    __tablename__ = "covert_tests"

    nozzle_id: Mapped[str] = mapped_column(ForeignKey("nozzles.nozzle_id"), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, primary_key=True)
    displayed_l: Mapped[float] = mapped_column(Float(53))
    measured_l: Mapped[float] = mapped_column(Float(53))
    reference_uncertainty_percent: Mapped[float | None] = mapped_column(Float(53))
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)
