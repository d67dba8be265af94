"""Suite ``alarm``: how long after the first record that shows it an alarm is there, for each scenario one record shows.

A county is simulated as in the demo, with one scenario at each station. Controllers call meanwhile and bring what was
altered on the way (C05, C07, C09) and fen rounded up (F22). Then the declarations of a past month are imported into the
running server (T07), and what no dispenser tells by itself: a seal (P03) and a comparison of clocks (C06).
"""

from __future__ import annotations

import asyncio
import csv
import json
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx

from pumpwatch.cli.benching.calling import ALTERED, CAUSES, bring_known, controllers
from pumpwatch.cli.benching.county import START_S, simulated
from pumpwatch.cli.demo import configuration
from pumpwatch.cli.keeping import import_ledger
from pumpwatch.cli.places import DEFAULT_CONFIG, RUNNING
from pumpwatch.errors import BadConfig, NotReachable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pumpwatch.cli.benching.calling import Controller

AFTER_S: Final = 480.0
"""So long scenarios are waited for; what is not there then counts as never."""
IMPORTED_S: Final = 300.0
"""The same after an import."""
ONSET_S: Final = 60
SCENARIOS: Final[Mapping[str, tuple[str, Mapping[str, object]]]] = {
    "F01": ("short_by_mainboard", {"nozzle": "S12-N16"}),
    "F14": ("demo_mainboard_swap", {}),
    "F15": ("cloned_serial", {}),
    "F17": ("encoder_swapped", {}),
    "F18": ("jump_on_key", {"nozzle": "S39-N10", "share": 50.0, "from_l": 1.0}),
    "F19": ("no_return_to_zero", {"nozzle": "S30-N05", "share": 50.0}),
    "T01": ("tax_skips_sales", {"percent": 90.0}),
    "T02": ("tax_memory_replaced", {}),
    "T03": ("totalizer_rollback", {"nozzle": "S11-N13"}),
    "T04": ("records_deleted", {"nozzle": "S07-N01", "records": 2.0}),
    "T10": ("price_under_reported", {}),
    "P01": ("certificate_expired", {"nozzle": "S34-N06"}),
    "P02": ("licence_expired", {}),
    "P04": ("unverified_after_repair", {"nozzle": "S35-N04"}),
}
"""Those that one record shows, by name, at busy nozzles and so large that it comes soon; F14 by day, as in the demo."""
STATIONS: Final = 19
_IN_TRUTH: Final = {"demo_mainboard_swap": "mainboard_swapped"}
"""The demonstration's scenarios have the names of those they show."""
PAST: Final = "S01"
"""The station of what is imported; nobody reads its devices."""
TOO_LITTLE: Final = ("T07", "under_declared_sales")
TOLD: Final[Mapping[str, str]] = {"P03": "seal_changed", "C06": "clock_fault"}
"""What events of other devices show, and its cause."""
_LOOK_S: Final = 0.5
_PORT: Final = 18_431
_LOCAL: Final = timedelta(hours=8)


class Wanted(NamedTuple):
    """An alarm that is waited for."""

    station_id: str
    cause: str
    arrived: datetime
    """When the record that shows it was sent, or its import was over."""


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds from record to alarm by scenario, the worst, and how many never came; there is no peer.

    ``alarms_C05`` counts alarms where a batch came twice: there ought to be none.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found, needless = seconds_to_alarm(Path(scratch))
    told = {name: seconds for name, seconds in found.items() if seconds is not None}
    figures = {f"alarm_seconds_{name}": seconds for name, seconds in told.items()}
    figures["alarm_seconds_worst"] = max(told.values(), default=float("nan"))
    return figures | {"alarms_missing": float(len(found) - len(told)), "alarms_C05": float(needless)}, {}


def seconds_to_alarm(folder: Path) -> tuple[dict[str, float | None], int]:
    """By scenario, None where no alarm came; and the alarms about a batch that came twice."""
    fleet, sim, data = folder / "fleet.toml", folder / "sim", folder / "data"
    month = _past_month(folder)
    _run("pumpwatch", "import", str(month), "--data", str(data))
    scenarios = [*SCENARIOS.values(), (TOO_LITTLE[1], {"station": PAST})]
    text = _fleet("live", "now", STATIONS, scenarios, f"PT{ONSET_S}S", demand=20.0)
    fleet.write_text(text, encoding="utf-8")
    with simulated(sim, "--fleet", str(fleet)) as county:
        truth = json.loads((sim / "truth.json").read_text(encoding="utf-8"))["items"]
        named = {item["scenario"]: item for item in reversed(truth)}
        items = {key: named[_IN_TRUTH.get(name, name)] for key, (name, _) in SCENARIOS.items()}
        (sim / "ledger" / "work_orders.csv").write_text(_repair(items["P04"]), encoding="utf-8")
        report = asyncio.run(import_ledger(sim / "ledger", data, quiet=True))
        if report.problems:
            raise BadConfig("\n".join(map(str, report.problems)))
        stations = {station["station_id"]: station for station in county.address_book["stations"]}
        busy = {PAST, *(item["subject"]["station_id"] for item in truth)}
        callers = controllers({each: _nozzle_of(stations[each])[1] for each in stations if each not in busy})
        polled = [station for name, station in stations.items() if name in busy and name != PAST]
        lines = [each.lines(data / f"{name}.secret") for name, each in callers.items()]
        config = configuration({"stations": polled}, _PORT) + "".join(lines)
        (data / DEFAULT_CONFIG).write_text(config, encoding="utf-8")
        with _served(data) as http:
            called = _called(callers)
            found = _watched(http, items) | _awaited(http, called, AFTER_S)
            needless = sum(a["subject"]["station_id"] == callers["C05"].station_id for a in http.get("/alarms").json())
            arrived = _imported(http, "declarations", (folder / "declarations.csv").read_text(encoding="utf-8"))
            found |= _awaited(http, {TOO_LITTLE[0]: Wanted(PAST, TOO_LITTLE[1], arrived)}, IMPORTED_S)
            arrived = _imported(http, "device_events", _events(stations[PAST], datetime.now(UTC)))
            wanted = {name: Wanted(PAST, cause, arrived) for name, cause in TOLD.items()}
            found |= _awaited(http, wanted, IMPORTED_S)
    return found, needless


def _fleet(
    name: str,
    start: str,
    count: int,
    scenarios: Iterable[tuple[str, Mapping[str, object]]],
    onset: str,
    *,
    days: int = 30,
    demand: float = 1.0,
) -> str:
    lines = [
        f'name = "{name}"', "seed = 1", f"start = {json.dumps(start)}", f"days = {days}",
        "[stations]", f"count = {count}", "outages = false", f"demand = {demand}", 'hours = "flat"',
    ]  # fmt: skip
    for scenario, parameters in scenarios:
        lines += ["[[scenario]]", f'name = "{scenario}"', f'onset = "{onset}"']
        lines += [f"{key} = {json.dumps(value)}" for key, value in parameters.items()]
    return "\n".join(lines) + "\n"


def _past_month(folder: Path) -> Path:
    """A data set of one station with the last whole month; what it declared of it lies beside."""
    last = (datetime.now(UTC) + _LOCAL).date().replace(day=1) - timedelta(days=1)
    start = last.replace(day=1) - timedelta(days=2)
    fleet, month = folder / "month.toml", folder / "month"
    text = _fleet("month", f"{start}T00:00:00+08:00", 1, [(TOO_LITTLE[1], {})], "P0D", days=(last - start).days + 3)
    fleet.write_text(text, encoding="utf-8")
    _run("pumpwatch_sim", "generate", "--fleet", str(fleet), "--out", str(month), "--format", "csv")
    (month / "declarations.csv").rename(folder / "declarations.csv")
    return month


def _repair(item: Mapping[str, Any]) -> str:
    """A piece of work on an encoder that nobody has verified, as a work order."""
    where = item["subject"]
    at = datetime.fromisoformat(item["onset"]).isoformat()
    row = f"{where['station_id']},{where['nozzle_id']},{at},repair,R. Fitter,S. Master,更换编码器"
    return f"station_id,device_id,time,kind,signed_by_repairer,signed_by_station,detail\n{row}\n"


def _run(module: str, *words: str) -> None:
    told = subprocess.run(  # noqa: S603 - our own programs
        [sys.executable, "-m", module, *words], capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise NotReachable(f"{module} {words[0]} ended with code {told.returncode}: {told.stderr[-500:]}")


@contextmanager
def _served(data: Path) -> Iterator[httpx.Client]:
    """The server on this data folder until the body ends."""
    command = [sys.executable, "-m", "pumpwatch", "serve", "--data", str(data), "--config", str(data / DEFAULT_CONFIG)]
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*command, "--until-stdin-closes"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + START_S
        while not (data / RUNNING).is_file():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotReachable("the server did not start")
            time.sleep(0.1)
        with httpx.Client(base_url=f"http://127.0.0.1:{_PORT}/api/v1", timeout=60, trust_env=False) as http:
            yield http
    finally:
        process.terminate()
        process.wait(30)
        if process.stdin:
            process.stdin.close()


def _watched(http: httpx.Client, items: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Wait until each scenario has its alarm, or the time is over."""
    found: dict[str, float | None] = dict.fromkeys(items)
    started = http.get("/status").json()["started"]
    deadline = time.monotonic() + AFTER_S
    while None in found.values() and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        alarms = http.get("/alarms").json()
        for name in [name for name, seconds in found.items() if seconds is None]:
            told = [_told(a, items[name]) for a in alarms] if name != "F15" else map(_twin_told, alarms)
            found[name] = min((_after(*each, started) for each in told if each), default=None)
    return found


def _told(alarm: Mapping[str, Any], item: Mapping[str, Any]) -> tuple[str, str] | None:
    """When the alarm told of it, and when the record was that shows it; None when it is about something else."""
    if alarm["subject"]["station_id"] != item["subject"]["station_id"] or alarm["cause"] != item["cause"]:
        return None
    return alarm["raised_at"], alarm["finding"]["detected_at"]


def _twin_told(alarm: Mapping[str, Any]) -> tuple[str, str] | None:
    """As ``_told`` for a serial that is there twice; that a new serial is not the ledger's is told before."""
    at: str = alarm["finding"]["detected_at"]
    if alarm["rule"] == "cloned_serial":
        return alarm["raised_at"], at
    return next(((e["at"], at) for e in alarm["log"] if e["note"].startswith("explains cloned_serial")), None)


def _called(callers: Mapping[str, Controller]) -> dict[str, Wanted]:
    """Have the controllers bring what they know and then what was altered; what is to be told of it."""
    server, wanted = f"http://127.0.0.1:{_PORT}", {}
    known = {name: bring_known(server, caller, datetime.now(UTC)) for name, caller in callers.items()}
    for name, caller in callers.items():
        arrived = caller.bring(server, ALTERED[name](known[name], datetime.now(UTC)))
        if name in CAUSES:
            wanted[name] = Wanted(caller.station_id, CAUSES[name], arrived)
    return wanted


def _imported(http: httpx.Client, table: str, text: str) -> datetime:
    """When a table was in."""
    http.post(f"/import/{table}", params={"format": "csv"}, content=text.encode()).raise_for_status()
    return datetime.now(UTC)


def _events(station: Mapping[str, Any], now: datetime) -> str:
    """A seal with a number that the ledger does not have, and a clock that is an hour behind."""
    dispenser, nozzle = _nozzle_of(station)
    seal = {"nozzle_id": nozzle, "seal": "seal_mainboard", "number": "SM-0BE4C4", "state": "intact"}
    told = {"seal": seal, "clock": {"ahead_s": -3600.0, "source": "collector"}}
    with StringIO(newline="") as text:
        rows = csv.writer(text)
        rows.writerow(("time", "station_id", "device_id", "kind", "detail"))
        for kind, detail in told.items():
            rows.writerow((now.isoformat(), station["station_id"], dispenser, kind, json.dumps(detail)))
        return text.getvalue()


def _nozzle_of(station: Mapping[str, Any]) -> tuple[str, str]:
    """A station's first dispenser and its first nozzle."""
    first = station["dispensers"][0]
    return first["dispenser_id"], first["nozzle_ids"][0]


def _awaited(http: httpx.Client, wanted: Mapping[str, Wanted], seconds: float) -> dict[str, float | None]:
    """Wait until each has its alarm, or the time is over: seconds from the record's arrival."""
    found: dict[str, float | None] = dict.fromkeys(wanted)
    deadline = time.monotonic() + seconds
    while None in found.values() and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        for alarm in http.get("/alarms").json():
            for name, each in wanted.items():
                about = (alarm["subject"]["station_id"], alarm["cause"])
                if about == (each.station_id, each.cause) and found[name] is None:
                    found[name] = _after(alarm["raised_at"], each.arrived.isoformat())
    return found


def _after(late: str, *early: str) -> float:
    """Seconds from the last of these: what a device told of before the server's start arrived with the start."""
    return (datetime.fromisoformat(late) - max(map(datetime.fromisoformat, early))).total_seconds()
