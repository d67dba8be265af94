"""P01 to P04: what each leaves in the register, the events and the work orders."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from evidence_records import Pool, expired, honest, identities, world

from pumpwatch.model import EventKind, from_us
from pumpwatch_sim.dataset.offices import Books
from pumpwatch_sim.scenarios.occasions import DAY_US
from pumpwatch_sim.world.work import Papers

STATION = "S15"


def papers_of(pool: Pool) -> Papers:
    """As the offices have them after half a year, in which every certificate runs out."""
    start_us = pool.timelines[0].start_us + DAY_US
    books = Books(pool.station, 1, start_us, start_us + 180 * DAY_US)
    for timeline in pool.timelines:
        books.add(timeline)
    papers = books.papers()
    for scenario in pool.scenarios:
        scenario.papers(papers)
    return papers


def verified(papers: Papers) -> set[str]:
    """Nozzles with a new certificate."""
    return {order.device_id for order in papers.work_orders if order.kind == "verification"}


def test_an_honest_station_is_in_order() -> None:
    pool = honest(STATION)
    assert expired(pool) == []
    assert identities(pool) == []


@pytest.mark.parametrize("days", [1, 5])
def test_p01_a_certificate_has_run_out(days: int) -> None:
    pool = world("P01", STATION, nozzle=f"{STATION}-N03", onset="P8D", days=days)
    assert expired(pool) == [f"{STATION}-N03"]
    (scenario,) = pool.scenarios
    assert pool.station.nozzles[2].registered.certificate_expires == date(2026, 3, 10 - days)
    assert from_us(scenario.onset_us) == datetime(2026, 3, 10 - days, 16, tzinfo=UTC)
    papers = papers_of(pool)
    everyone = {nozzle.registered.nozzle_id for nozzle in pool.station.nozzles}
    assert verified(papers_of(honest(STATION))) == everyone
    assert verified(papers) == everyone - {f"{STATION}-N03"}
    assert papers.ledger[f"{STATION}-N03"]["certificate_expires"] == date(2026, 3, 10 - days)
    assert papers.ledger[f"{STATION}-N03"]["certificate_no"] == pool.station.nozzles[2].registered.certificate_no
    assert expired(pool, {key: dict(row) for key, row in papers.ledger.items()}) == [f"{STATION}-N03"]


@pytest.mark.parametrize("licence", ["business", "retail", "hazmat"])
def test_p02_a_licence_has_run_out(licence: str) -> None:
    pool = world("P02", STATION, licence=licence)
    assert expired(pool) == [licence]
    assert pool.transactions["end"].max() > pool.onset_us


@pytest.mark.parametrize("seal", ["meter", "encoder", "mainboard"])
def test_p03_a_seal_has_another_number(seal: str) -> None:
    pool = world("P03", STATION, nozzle=f"{STATION}-N02", seal=seal)
    (event,) = identities(pool)
    nozzle = pool.station.nozzles[1].registered
    assert event.kind is EventKind.SEAL
    assert event.detail["nozzle_id"] == nozzle.nozzle_id
    assert event.detail["number"] not in {nozzle.seal_meter, nozzle.seal_encoder, nozzle.seal_mainboard}
    assert event.detail["seal"] == f"seal_{seal}"
    assert event.station_id == STATION
    assert papers_of(pool).work_orders == papers_of(honest(STATION)).work_orders


def test_p04_a_repair_without_a_verification() -> None:
    pool = world("P04", STATION, nozzle=f"{STATION}-N04")
    (event,) = identities(pool)
    nozzle = pool.station.nozzles[3].registered
    assert event.kind is EventKind.IDENTITY
    assert event.device_id == nozzle.nozzle_id
    assert event.detail["encoder_serial"] != nozzle.encoder_serial
    papers = papers_of(pool)
    (repair,) = (order for order in papers.work_orders if order.device_id == nozzle.nozzle_id)
    assert nozzle.nozzle_id in verified(papers_of(honest(STATION)))
    assert repair.kind == "repair"
    assert papers.ledger[nozzle.nozzle_id]["certificate_no"] == nozzle.certificate_no
    assert repair.signed_by_repairer
    assert repair.signed_by_institute is None
    assert repair.at == from_us(pool.onset_us)
