"""A driver without fault is Gold; fifteen that were spoilt, each in one way, are told so with the remedy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pumpwatch import BadConfig
from pumpwatch.cli.driving.new import new
from pumpwatch.testing.certifying import RULES, Grade, Subject, certify

DRIVER, CODEC = "driver.py", "codec.py"
ASK = "            reply = await self.line.ask(codec.request(address), codec.complete)\n"
LAST = "        return Reading(samples, records)\n"
CONNECT = "    async def connect(self) -> None:\n"
TAGS = "    def tags(self)"
TRY, EXCEPT = "            try:\n", "            except BaseException:\n"
OPENS = f"{CONNECT}        self._kept = os.open('/dev/null', 0)\n\n"
STARTS = f"{CONNECT}        asyncio.ensure_future(asyncio.sleep(60))\n\n"
BUSY = "        began = time.thread_time()\n        while time.thread_time() < began + 1:\n            pass\n"
IGNORED = "    model_config = {'extra': 'ignore'}\n"
FAULTS = {
    "ignores the check": (CODEC, "if _framed(body) != reply:", "if False:", "checksum"),
    "takes whatever answers": (CODEC, 'if text[:3] != f"{address:02d}S":', "if False:", "whose_answer"),
    "takes part for the whole": (CODEC, "        return 0\n", "        return len(received)\n", "testcases"),
    "raises what it likes": (CODEC, 'raise BadReply(f"a reply', 'raise ValueError(f"a reply', "noise"),
    "cannot be broken off": (
        DRIVER,
        ASK,
        f"            try:\n    {ASK}            except BaseException:\n    {ASK}",
        "silence",
    ),
    "waits by itself": (DRIVER, ASK, f"            await asyncio.sleep(0)\n{ASK}", "own_work_only"),
    "numbers sales by our clock": (DRIVER, "nozzle_id, said.sale,", "nozzle_id, int(now.timestamp()),", "clock_step"),
    "leaks a file": (
        DRIVER,
        TAGS,
        OPENS + TAGS,
        "leaves_nothing",
    ),
    "leaks a task": (
        DRIVER,
        TAGS,
        STARTS + TAGS,
        "leaves_nothing",
    ),
    "works too long": (DRIVER, LAST, BUSY + LAST, "short_work"),
    "stops the pump": (DRIVER, ASK, f"{ASK}            await self.line.ask(b'X', len)\n", "asks_what_is_shown"),
    "describes nothing": (DRIVER, '"0 hung up, 1 lifted, 2 filling"', '""', "tags"),
    "lets unknown keys pass": (DRIVER, "    address: int =", f"{IGNORED}    address: int =", "settings"),
}
"""The file, what is right there, what is put in its place, and the rule that must see it."""


def made(folder: Path, name: str) -> Path:
    new(name, folder)
    return folder / f"pumpwatch-{name}" / f"pumpwatch_{name}"


async def test_a_new_driver_is_gold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.syspath_prepend(str(tmp_path / "pumpwatch-flawless"))
    (subject,) = Subject.load(made(tmp_path, "flawless"))
    certificate = await certify(subject, said.append)
    assert [
        (verdict.rule, verdict.broken) for verdict in certificate.verdicts if verdict.broken or verdict.skipped
    ] == []
    assert certificate.grade is Grade.GOLD
    assert said == [rule.title for rule in RULES]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_found_and_its_remedy_named(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, right, wrong, name = FAULTS[fault]
    package = made(tmp_path, f"spoilt{list(FAULTS).index(fault)}")
    source = (package / file).read_text(encoding="utf-8")
    assert right in source
    imports = "import asyncio\nimport os\nimport time\n" if file == DRIVER else ""
    spoilt = source.replace(right, wrong).replace("from collections.abc", imports + "from collections.abc", 1)
    (package / file).write_text(spoilt, encoding="utf-8")
    monkeypatch.syspath_prepend(str(package.parent))
    (subject,) = Subject.load(package)
    (rule,) = [each for each in RULES if each.name == name]
    certificate = await certify(subject, rules=[rule])
    (verdict,) = certificate.verdicts
    assert verdict.broken
    assert verdict.remedy == rule.remedy
    assert certificate.grade == rule.grade - 1
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()  # what it leaked


CALLER = """
import json
from datetime import datetime

from pumpwatch import Answer, BadReply, Driver, Reading, Refused, Tag, Transaction, hookimpl


class Caller(Driver):
    name = "caller"

    def tags(self):
        return [Tag("state", "", description="Of the caller")]

    async def read(self, tags, now):
        return Reading()

    def called(self, call, now):
        if call.headers.get("key") != "SECRET":
            raise Refused("show your key")
        try:
            told = json.loads(call.body)
            at = datetime.fromisoformat(told["at"])
            sale = Transaction("S01-N01", told["seq"], at, at, told["volume"], told["amount"], 7.5)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise BadReply(f"no sale: {error}") from error
        return Answer(), Reading((), [sale])


@hookimpl
def pumpwatch_drivers():
    return [Caller]
"""
CALL = """POST /call/S01/D1 HTTP/1.1
Key: SECRET

{"seq": 7, "volume": 10.0, "amount": 75.0, "at": "2026-11-22T04:00:00+00:00"}"""
CALLED = """now = 2026-11-22T04:00:00Z
checksum = false
[site]
nozzles = ["S01-N01"]
[[records]]
kind = "Transaction"
seq = 7
"""
CALL_FAULTS = {
    "without fault": ("", "", ""),
    "takes other figures": ('told["seq"], at', 'told["seq"] + 1, at', "testcases"),
    "believes strangers": ('!= "SECRET"', '== "nobody"', "whose_answer"),
    "raises what it likes": ("KeyError, TypeError", "KeyError", "noise"),
    "numbers sales by our clock": ('told["seq"], at', "int(now.timestamp()) - 1795319993, at", "repeated"),
    "takes ends for the whole": ("json.loads(call.body)", "json.loads(call.body + b'}')", "testcases"),
}


@pytest.mark.parametrize("fault", CALL_FAULTS)
async def test_a_device_that_calls_is_put_to_the_same_rules(fault: str, tmp_path: Path) -> None:
    right, wrong, name = CALL_FAULTS[fault]
    assert right in CALLER
    file = tmp_path / "caller.py"
    file.write_text(CALLER.replace(right, wrong) if right else CALLER)
    case = tmp_path / "testcases" / "a-sale"
    case.mkdir(parents=True)
    (case / "call.http").write_text(CALL)
    (case / "expected.toml").write_text(CALLED)
    (subject,) = Subject.load(file)
    certificate = await certify(subject)
    broken = [verdict.rule for verdict in certificate.verdicts if verdict.broken]
    assert broken == [] if not name else name in broken
    skipped = {verdict.rule: verdict.skipped for verdict in certificate.verdicts if verdict.skipped}
    assert skipped["cancellation"] == "the device calls; nothing is asked of it"


def test_what_is_no_driver_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    for name, says in (
        ("empty.py", "implements no hook"),
        ("broken.py", "cannot be imported"),
        ("none", "no driver is there"),
    ):
        with pytest.raises(BadConfig, match=says):
            list(Subject.load(tmp_path / name))
