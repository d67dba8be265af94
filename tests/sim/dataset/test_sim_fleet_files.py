"""The fleet files that come along."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pumpwatch.errors import BadConfig
from pumpwatch_sim.fleet import load_fleet
from pumpwatch_sim.fleets import fleet_names, fleet_path
from pumpwatch_sim.scenarios.catalogue import CATALOGUE, SCENARIOS, find
from pumpwatch_sim.staging import stage

NOW = datetime(2026, 11, 22, 4, tzinfo=UTC)


@pytest.mark.parametrize("name", fleet_names())
def test_every_fleet_can_be_staged(name: str) -> None:
    fleet = load_fleet(fleet_path(name))
    assert fleet.name == name
    staging = stage(fleet, NOW)
    assert len(staging.county.stations) == fleet.stations.count
    assert len(staging.scenarios) == sum(entry.times for entry in fleet.scenario)
    taken = [scenario.target.station_id for scenario in staging.scenarios]
    assert len(set(taken)) == len(taken)


def test_the_county_is_mostly_honest() -> None:
    fleet = load_fleet(fleet_path("county"))
    kinds = [find(entry.name) for entry in fleet.scenario]
    cheating = [kind for kind in kinds if kind.cause]
    assert 12 <= len(cheating) <= 16
    assert {department for kind in cheating for department in kind.departments} == {
        department for kind in CATALOGUE.values() for department in kind.departments
    }
    assert not {"C05", "C07"} & {kind.id for kind in kinds}
    assert not any(find(entry.name).cause for entry in load_fleet(fleet_path("honest")).scenario)


def test_the_catalogue_fleet_has_every_scenario() -> None:
    fleet = load_fleet(fleet_path("catalogue"))
    wanted = {kind.id for kind in SCENARIOS if not kind.name.startswith("demo_")}
    assert {find(entry.name).id for entry in fleet.scenario} == wanted


def test_every_protocol_has_a_wire() -> None:
    lines = load_fleet(fleet_path("wires")).line
    wires = {(line.protocol, line.wire) for line in lines}
    assert {protocol for protocol, _ in wires} == {
        "modbus", "modbus-rtu", "opcua", "dart", "twowire", "lanfeng", "taxport", "ifsf", "tls350",
    }  # fmt: skip
    serial = {"modbus-rtu", "dart", "twowire", "lanfeng", "taxport", "tls350"}
    assert {(protocol, wire) for protocol in serial for wire in ("tcp", "pty")} <= wires


def test_a_name_or_a_path() -> None:
    assert fleet_path("county").is_file()
    assert fleet_path("my/own.toml") == Path("my/own.toml")
    with pytest.raises(BadConfig, match="did you mean 'county'"):
        fleet_path("countey")
