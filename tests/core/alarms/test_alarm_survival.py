"""What was told survives kill -9, and any sequence of acts is on disk as it is in memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.alarms import Alarms, State, finding_to_json
from pumpwatch.database import Database, ledger_url
from pumpwatch.errors import PumpwatchError
from pumpwatch.model import Severity, Subject
from pumpwatch.testing.clock import FakeClock

RAISES_UNTIL_KILLED = """
import asyncio, itertools, json, sys
from dataclasses import replace
from pathlib import Path
from pumpwatch.alarms import Alarms, finding_from_json
from pumpwatch.clock import SystemClock
from pumpwatch.database import Database, ledger_url
from pumpwatch.model import Subject

async def main():
    pattern = finding_from_json(json.loads(sys.argv[2]))
    async with Database.open(ledger_url(Path(sys.argv[1]))) as database:
        alarms = Alarms(database, SystemClock())
        await alarms.load()
        for number in itertools.count(1):
            alarm = await alarms.raise_(replace(pattern, id=f"F{number}", subject=Subject(f"S{number % 7}")))
            print(alarm.id, alarm.count, flush=True)
            if number % 5 == 0:
                alarm = await alarms.clear(alarm.id, "Demo", "x")
                print(alarm.id, "cleared", flush=True)

asyncio.run(main())
"""


async def test_kill_9(tmp_path, finding):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RAISES_UNTIL_KILLED, str(tmp_path), json.dumps(finding_to_json(finding())),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    told: list[list[str]] = []
    while len(told) < 40:
        told.append((await process.stdout.readline()).decode().split())
    process.kill()
    rest, _ = await process.communicate()
    told += [line.split() for line in rest.decode().splitlines() if line.endswith(("cleared", *"0123456789"))]
    async with Database.open(ledger_url(tmp_path)) as database:
        alarms = Alarms(database, FakeClock())
        await alarms.load()
        kept = {alarm.id: alarm for alarm in await alarms.history()}
        for alarm_id, what in told:
            if what == "cleared":
                assert kept[alarm_id].state is State.CLEARED
            else:
                assert kept[alarm_id].count >= int(what)
        still_open = {name: alarm for name, alarm in kept.items() if alarm.state.is_open}
        assert {alarm.id: alarm for alarm in alarms.current()} == still_open


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["raise", "raise", "settle", "acknowledge", "clear", "again"]),
        st.integers(0, 2),
        st.sampled_from(["Demo A", "Demo B"]),
        st.sampled_from([Severity.LOW, Severity.HIGH]),
    ),
    max_size=25,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTS)
def test_memory_and_disk_agree_after_anything(tmp_path_factory, finding, acts):
    asyncio.run(_play(tmp_path_factory.mktemp("play"), finding, acts))


async def _play(folder: Path, finding, acts) -> None:
    async with Database.open(ledger_url(folder)) as database:
        alarms = Alarms(database, FakeClock())
        await alarms.load()
        findings = 0
        for act, number, by, severity in acts:
            subject = Subject(f"S{number}")
            target = next((a.id for a in alarms.current() if a.subject == subject), "A-000001")
            before = {a.id: a for a in await alarms.history()}
            try:
                if act == "raise":
                    findings += 1
                    await alarms.raise_(finding(f"F{findings}", subject=subject, severity=severity))
                elif act == "again":
                    await alarms.raise_(finding("F1", subject=subject, severity=severity))
                    findings = max(findings, 1)
                elif act == "settle":
                    await alarms.settle("pulse_ratio", {f"S{number}"})
                elif act == "acknowledge":
                    await alarms.acknowledge(target, by)
                else:
                    await alarms.clear(target, by, "x")
            except PumpwatchError:
                assert {a.id: a for a in await alarms.history()} == before
            reread = Alarms(database, FakeClock())
            await reread.load()
            assert reread.current() == alarms.current()
            everything = await alarms.history()
            assert sum(a.count for a in everything) == findings
            assert max(Counter((a.rule, a.subject.key) for a in everything if a.state.is_open).values(), default=0) <= 1
            assert [a.id for a in everything] == [f"A-{n:06d}" for n in range(len(everything), 0, -1)]
            for alarm in everything:
                assert before.get(alarm.id, alarm).severity.rank <= alarm.severity.rank
                assert before.get(alarm.id, alarm).state.is_open or alarm == before[alarm.id]
        for alarm in await alarms.history():
            assert await alarms.log(alarm.id) == alarm.log
            assert len(alarm.log) == alarm.acts
