"""From a fleet file to scenarios with places and times: chosen by seed, spread out, or refused with the reason."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import numpy as np
import pytest

from pumpwatch.errors import BadConfig
from pumpwatch.model import from_us, to_us
from pumpwatch_sim.fleet import Fleet
from pumpwatch_sim.scenarios.base import Scope
from pumpwatch_sim.scenarios.catalogue import SCENARIOS
from pumpwatch_sim.scenarios.occasions import DAY_US, HOUR_US, STRETCH_US, fitted, midnight_us, occasions
from pumpwatch_sim.staging import Staging, stage

START = datetime(2026, 9, 1, 16, tzinfo=UTC)  # midnight of the county's wall clock
START_US = to_us(START)


def staged(*scenarios: dict[str, object], count: int = 46, seed: int = 1, days: int = 90) -> Staging:
    return stage(
        Fleet.model_validate(
            {
                "name": "test",
                "seed": seed,
                "start": START.isoformat(),
                "days": days,
                "stations": {"count": count},
                "scenario": scenarios,
            }
        ),
        START,
    )


def test_the_period() -> None:
    staging = staged()
    assert (staging.start_us, staging.end_us) == (START_US, START_US + 90 * DAY_US)
    assert staging.origin_us == START_US - DAY_US
    assert staging.scenarios == ()


def test_now_is_the_start_when_served_live() -> None:
    now = datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
    staging = stage(Fleet(name="live"), now)
    assert staging.start_us == to_us(now)


def test_every_scenario_finds_a_place_of_its_own() -> None:
    staging = staged(*({"name": kind.name} for kind in SCENARIOS), count=150)
    stations = {station.station_id: station for station in staging.county.stations}
    assert len({each.target.station_id for each in staging.scenarios}) == len(SCENARIOS)
    assert [each.id for each in staging.scenarios] == [kind.id for kind in SCENARIOS]
    for each in staging.scenarios:
        part = {"nozzle": each.target.nozzle, "dispenser": each.target.dispenser, "tank": each.target.tank}
        given = {name for name, index in part.items() if index is not None}
        assert given == ({each.scope.value} & set(part))
        assert each.subject(stations[each.target.station_id]).station_id == each.target.station_id
        assert each.honest == (not each.truth(stations))


def test_the_same_seed_chooses_the_same() -> None:
    wanted: list[dict[str, object]] = [{"name": "leak", "times": 5}, {"name": "tax_skips_sales", "times": 3}]
    once, again, other = staged(*wanted), staged(*wanted), staged(*wanted, seed=2)
    assert [each.target for each in once.scenarios] == [each.target for each in again.scenarios]
    assert [each.target for each in once.scenarios] != [each.target for each in other.scenarios]


def test_times_gives_each_a_station_and_a_seed() -> None:
    staging = staged({"name": "night_theft", "times": 9})
    towns = {staging.station(each.target.station_id).registered.town for each in staging.scenarios}
    assert len(towns) == 9, "towns with the fewest first"
    draws = {float(each.chance("x").random()) for each in staging.scenarios}
    assert len(draws) == 9


def test_an_entry_more_does_not_move_the_seeds_of_others() -> None:
    alone = staged({"name": "leak", "station": "S01"})
    more = staged({"name": "night_theft", "station": "S02"}, {"name": "leak", "station": "S01"})
    assert alone.scenarios[0].target == more.scenarios[1].target
    assert alone.scenarios[0].chance("x").random() == more.scenarios[1].chance("x").random()


def test_named_targets() -> None:
    staging = staged(
        {"name": "F01", "nozzle": "S07-N03"},
        {"name": "C06", "dispenser": "S08-D2"},
        {"name": "W01", "tank": "S09-T2"},
        {"name": "T07", "station": "S10"},
    )
    targets = [each.target for each in staging.scenarios]
    assert [(each.station_id, each.nozzle, each.dispenser, each.tank) for each in targets] == [
        ("S07", 2, None, None),
        ("S08", None, 1, None),
        ("S09", None, None, 1),
        ("S10", None, None, None),
    ]
    assert staging.of("S08") == (staging.scenarios[1],)
    assert staging.of("S01") == ()


def test_named_stations_are_not_given_to_others() -> None:
    staging = staged({"name": "leak", "times": 2}, {"name": "T07", "station": "S01"}, count=3)
    assert len({each.target.station_id for each in staging.scenarios}) == 3


@pytest.mark.parametrize("scope", [Scope.FLEET])
def test_a_jammer_reaches_the_town(scope: Scope) -> None:
    staging = staged({"name": "jamming", "station": "S30"})
    (jamming,) = staging.scenarios
    assert jamming.scope is scope
    towns = {staging.station(each).registered.town for each in jamming.stations}
    assert towns == {staging.station("S30").registered.town}
    assert len(jamming.stations) >= 4
    assert all(jamming in staging.of(each) for each in jamming.stations)


def test_times() -> None:
    staging = staged(
        {"name": "leak", "onset": "P10D", "lasts": "P7D"},
        {"name": "leak", "onset": "2026-09-20T08:00:00+08:00"},
    )
    first, second = staging.scenarios
    assert (first.onset_us, first.end_us) == (START_US + 10 * DAY_US, START_US + 17 * DAY_US)
    assert (second.onset_us, second.end_us) == (to_us(datetime(2026, 9, 20, tzinfo=UTC)), None)


def test_onsets_that_have_to_move() -> None:
    staging = staged(
        {"name": "chart_wrong"}, {"name": "nozzle_remapped"}, {"name": "replayed_day", "onset": "P5DT20H"},
        {"name": "licence_expired", "onset": "P30DT5H"}, {"name": "certificate_expired", "days": 11},
        {"name": "F14", "onset": "P8DT3H", "lasts": "P2D"},
    )  # fmt: skip
    chart, remapped, replayed, licence, certificate, swapped = staging.scenarios
    assert (chart.onset_us - staging.origin_us) % STRETCH_US == 0
    assert 0 <= chart.onset_us - (START_US + 30 * DAY_US) < STRETCH_US
    assert remapped.onset_us == START_US
    assert replayed.onset_us == staging.origin_us + STRETCH_US + DAY_US
    assert licence.onset_us == START_US + 30 * DAY_US
    assert certificate.onset_us == START_US + 20 * DAY_US
    assert swapped.end_us == swapped.onset_us + 2 * DAY_US


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "leek"}, r"scenario 1 \(leek\): no scenario 'leek'; did you mean 'leak'"),
        ({"name": "leak", "gallons": 1.0}, "leak has no such parameter"),
        ({"name": "leak", "station": "S99"}, "no station 'S99'; the 46 stations go from S01 to S46"),
        ({"name": "leak", "tank": "S01-T9"}, "no tank 'S01-T9' at S01; it has S01-T1, "),
        ({"name": "leak", "nozzle": "S01-N01"}, "it happens to a tank; leave nozzle out"),
        ({"name": "leak", "station": "S01", "times": 2}, "times 2 with a station"),
        ({"name": "leak", "onset": "P90D"}, "the period has 90 days"),
        ({"name": "C10", "station": "S01"}, "S01: it cannot happen there"),
        ({"name": "leak", "times": 47}, "all 46 stations have one already"),
    ],
)
def test_what_cannot_be_is_refused(entry: dict[str, object], words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        staged(entry)


def test_plan_hooks_change_the_county() -> None:
    staging = staged({"name": "C10"}, {"name": "P02", "licence": "hazmat", "station": "S02"})
    remapped, _ = staging.scenarios
    station = staging.station(remapped.target.station_id)
    nozzle = station.nozzles[remapped.target.nozzle or 0]
    assert nozzle.registered.tank_id != nozzle.tank.registered.tank_id
    assert nozzle.registered.grade == nozzle.tank.registered.grade
    assert all(each.tank in station.tanks for each in station.nozzles)
    expires = staging.station("S02").registered.hazmat_licence_expires
    assert expires is not None
    assert expires.isoformat() == "2026-10-01"


def test_licences_are_renewed_before_they_run_out() -> None:
    """After so many days some of each kind have run out."""
    staging = staged(days=366)
    for station in staging.county.stations:
        held = station.registered
        for day in (held.business_licence_expires, held.retail_licence_expires, held.hazmat_licence_expires):
            assert day is not None
            assert day > from_us(staging.end_us).date()


@pytest.mark.parametrize("every_days", [1, 3, 7])
@pytest.mark.parametrize("hours", [(1.0, 4.0), (23.0, 28.0)])
def test_occasions_are_the_same_whichever_stretch_asks(every_days: int, hours: tuple[float, float]) -> None:
    (theft,) = staged({"name": "night_theft", "onset": "P2DT3H", "lasts": "P40D"}).scenarios
    whole = list(occasions(theft, (START_US, START_US + 60 * DAY_US), every_days, hours))
    parts = [
        each
        for day in range(60)
        for each in occasions(theft, (START_US + day * DAY_US, START_US + (day + 1) * DAY_US), every_days, hours)
    ]
    assert parts == whole
    assert [number for number, _ in whole] == list(range(len(whole)))
    assert abs(len(whole) - 40 / every_days) <= 1
    begins = np.array([begin for _, begin in whole])
    assert (begins >= theft.onset_us).all()
    into = (begins - midnight_us(START_US)) % DAY_US / HOUR_US
    assert (((into >= hours[0]) & (into < hours[1])) | ((into + 24 >= hours[0]) & (into + 24 < hours[1]))).all()


def test_an_occasion_that_crosses_a_border_is_seen_from_both_sides() -> None:
    (theft,) = staged({"name": "night_theft"}).scenarios
    ((_, begin),) = islice(occasions(theft, (theft.onset_us, theft.onset_us + 2 * DAY_US), 7, (1.0, 4.0)), 1)
    middle = begin + HOUR_US
    for span in ((middle - DAY_US, middle), (middle, middle + DAY_US)):
        assert begin in [each for _, each in occasions(theft, span, 7, (1.0, 4.0), 2 * HOUR_US)]


@pytest.mark.parametrize("into_h", range(0, 24 * 7, 5))
def test_fitted_spans_lie_in_one_stretch(into_h: int) -> None:
    onset = START_US + into_h * HOUR_US
    settled = fitted(onset, START_US, DAY_US, 2 * DAY_US)
    into = (settled - START_US) % STRETCH_US
    assert DAY_US <= into <= STRETCH_US - 2 * DAY_US
    assert 0 <= settled - onset <= 3 * DAY_US
