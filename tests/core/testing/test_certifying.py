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
    "works too long": (DRIVER, LAST, f"        sum(range(10_000_000))\n{LAST}", "short_work"),
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
    imports = "import asyncio\nimport os\n" if file == DRIVER else ""
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
