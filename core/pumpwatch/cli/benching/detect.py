"""Suite ``detect``: all record rules a filling, and a county's ninety days from the store.

The ninety days are judged by the rules that read records, then by those that weigh the tank; for the latter also the
step of one day when those before it are kept.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from pumpwatch.canonical import Pasts
from pumpwatch.cli.benching.county import need_proc, rss_mib
from pumpwatch.cli.keeping import kept, settings_or_none
from pumpwatch.clock import SystemClock
from pumpwatch.contracts import RecordRule, Rule
from pumpwatch.detection import Detection, LiveHistory, judge_station
from pumpwatch.engine import RuleBook, judge_folder, judges
from pumpwatch.errors import NotReachable
from pumpwatch.evaluation.scoring import PHYSICS
from pumpwatch.ledger import Ledger, Register
from pumpwatch.model import Finding
from pumpwatch.past import StationPast
from pumpwatch.plugins import Plugins

WATCH_S: Final = 0.05
"""How often the memory of the judging processes is looked at."""
ROUNDS: Final = 3
STEP: Final = timedelta(days=1)
UNSCREENED: Final = timedelta(days=2)
"""Judged for the baseline; without screens it takes minutes a month."""
REVIEWED: Final = timedelta(days=7)
"""As the server's reviews look back."""
START: Final = datetime(2026, 3, 1, 16, tzinfo=UTC)


def measure() -> tuple[dict[str, float], dict[str, float]]:
    """The figures of the suite; as a baseline the same replay without screens, every record by every rule."""
    need_proc()
    past = _honest_station()
    kinds = Plugins.discover().rules
    rules = [kind(kind.Settings()) for _, kind in sorted(kinds.items())]
    record_rules = [rule for rule in rules if isinstance(rule, RecordRule)]
    figures = {"record_rules_us": min(asyncio.run(_arrivals(past, record_rules)) for _ in range(ROUNDS))}
    baselines = {"replay_every_record_by_every_rule_x": _times_slower(past, record_rules)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _run("pumpwatch_sim", "generate", "--fleet", "county", "--out", str(folder / "set"), "--workers", "2")
        _run("pumpwatch", "import", str(folder / "set"), "--data", str(folder / "data"), "--json")
        figures |= period(folder / "data", *split(kinds))
    return figures, baselines


def split(kinds: Mapping[str, type[Rule]]) -> tuple[Sequence[str], Sequence[str]]:
    """Names of the rules that read records, and of those that weigh the tank."""
    weighing = sorted(name for name, kind in kinds.items() if kind.__module__.partition(".")[0] in PHYSICS)
    return sorted(kinds.keys() - set(weighing)), weighing


def period(data: Path, reading: Sequence[str], weighing: Sequence[str]) -> dict[str, float]:
    """What it takes to judge all that a data folder holds."""
    by_rule = (word for name in reading for word in ("--rule", name))
    seconds, peak_mib = _run("pumpwatch", "detect", "--data", str(data), "--json", "--workers", "2", *by_rule)
    return {"period_seconds": seconds, "peak_rss_mib": peak_mib} | asyncio.run(_physics(data, weighing))


def _honest_station() -> StationPast:
    from pumpwatch_sim.dataset.pasts import station_past  # noqa: PLC0415 - the simulator may not be installed
    from pumpwatch_sim.fleet import Fleet  # noqa: PLC0415
    from pumpwatch_sim.staging import stage  # noqa: PLC0415

    fleet = Fleet.model_validate({"name": "bench", "start": START.isoformat(), "days": 30})
    staging = stage(fleet, START)
    return station_past(staging, staging.county.stations[0].station_id)


async def _arrivals(past: StationPast, rules: Sequence[Rule]) -> float:
    """Microseconds a filling that arrives: remembered, then judged by all record rules."""

    async def heard(finding: Finding) -> None:
        pass

    async def standing(rule: str, keys: Collection[str]) -> None:
        pass

    async def withdrawn(finding_id: str) -> None:
        pass

    async def follows(finding: Finding, cause_id: str) -> None:
        pass

    register = Register((past.station,), past.dispensers, past.tanks, past.nozzles, past.work_orders)
    detection = Detection(rules, LiveHistory(register, {}), SystemClock(), heard, standing, withdrawn, follows)
    sales = sorted((past.sales.record(row) for row in range(len(past.sales))), key=lambda sale: sale.end)
    gc.collect()
    began = time.process_time()
    for sale in sales:
        await detection.judge((sale,))
    await detection.judge_patiently_until(time.monotonic() + 86_400)
    return (time.process_time() - began) / len(sales) * 1e6


def _times_slower(past: StationPast, rules: Sequence[RecordRule]) -> float:
    """How many times as long a replay of the last days takes when no rule screens."""

    def took(those: Sequence[Rule]) -> float:
        began = time.process_time()
        judge_station(past, those, past.end - UNSCREENED, past.end)
        return time.process_time() - began

    screening = took(rules)
    blind = [
        type(f"Every{type(rule).__name__}", (type(rule),), {"screen": RecordRule.screen})(rule.settings)
        for rule in rules
    ]
    return took(blind) / screening


async def _physics(data: Path, names: Sequence[str]) -> dict[str, float]:
    """Seconds that these rules take: the whole period with nothing kept, and a day's step when all before is kept.

    The period ends a day early, for the step; its seconds are told in proportion.
    """
    book = RuleBook(settings_or_none(data, None)).choose(names)
    async with kept(data, None, None) as (database, historian):
        ledger = Ledger(database)
        span = await (await Pasts.load(ledger, historian)).span()
        if span is None:
            raise NotReachable(f"{data} holds no records")

        async def took(since: datetime | None, until: datetime) -> float:
            began = time.monotonic()
            with judges(book, keep=data / "bench.sqlite") as bench:
                await judge_folder(bench, ledger, historian, since, until)
            return time.monotonic() - began

        period, until = span[1] - span[0], span[1] - STEP
        period_s = await took(None, until) * (period / (period - STEP))
        return {"physics_period_seconds": period_s, "physics_daily_seconds": await took(span[1] - REVIEWED, span[1])}


def _run(module: str, *arguments: str) -> tuple[float, float]:
    """Seconds and the peak of memory, MiB, of one of our programs and its processes."""
    command = [sys.executable, "-m", module, *arguments]
    began, peak = time.monotonic(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    while process.poll() is None:
        peak = max(peak, rss_mib(process.pid))
        time.sleep(WATCH_S)
    if process.returncode:
        raise NotReachable(f"{' '.join(command)} ended with code {process.returncode}; run it to see why")
    return time.monotonic() - began, peak
