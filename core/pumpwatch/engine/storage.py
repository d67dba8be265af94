"""Alarms about what everything rests on: a journal that fills, a disk that is full or nearly so."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from pumpwatch.clock import Clock
from pumpwatch.historian import Historian
from pumpwatch.model import Department, Evidence, Explanation, Finding, Severity, Subject, Text, finding_id
from pumpwatch.settings import HistorianSettings

JOURNAL: Final = "journal"
DISK: Final = "disk"
EVERY_S: Final = 5.0
log = logging.getLogger(__name__)


class StorageWatch:
    """Raises the alarms ``journal`` and ``disk`` long before anything is full, and lets them return by themselves."""

    def __init__(
        self,
        historian: Historian,
        data: Path,
        settings: HistorianSettings,
        server: str,
        clock: Clock,
        on_finding: Callable[[Finding], Awaitable[object]],
        on_standing: Callable[[str, Collection[str]], Awaitable[object]],
    ) -> None:
        self._historian = historian
        self._data = data
        self._settings = settings
        self._subject = Subject(station_id=server)
        self._clock = clock
        self._told: dict[str, Finding] = {}
        self._on_finding = on_finding
        self._on_standing = on_standing

    async def run(self) -> None:
        """Look until cancelled. An alarm that a full disk does not let in is tried again."""
        failing = False
        while True:
            try:
                await self.look()
                failing = False
            except Exception:  # watching must not stop supervision
                if not failing:
                    log.exception("alarms about storage cannot be kept; it is tried again every %g s", EVERY_S)
                failing = True
            await self._clock.sleep(EVERY_S)

    async def look(self) -> None:
        """Raise what is so now, and let return what is no longer."""
        findings = list(self._findings())
        self._told = {f.rule: f for f in findings}
        for finding in findings:
            await self._on_finding(finding)
        for rule in (JOURNAL, DISK):
            await self._on_standing(rule, {f.subject.key for f in findings if f.rule == rule})

    def _findings(self) -> Iterator[Finding]:
        fill, trouble = self._historian.fill, self._historian.refusal
        if trouble is not None or fill >= self._settings.journal_alarm_at:
            yield self._finding(
                JOURNAL,
                Severity.HIGH if trouble is not None else Severity.MEDIUM,
                Text("数据无法写入磁盘", "Nothing is written")
                if trouble
                else Text("待存数据积压", "Data wait for the store"),
                Text(
                    f"日志缓存已用 {fill:.0%}。{trouble or self._historian.trouble or ''}",
                    f"The journal is {fill:.0%} full. {trouble or self._historian.trouble or ''}".strip(),
                ),
                Text(
                    "恢复数据库或释放磁盘空间；已确认的数据不会丢失，日志写满后设备轮询变慢。",
                    "Bring the store back or free disk space. Nothing acknowledged is lost; when the journal is full, "
                    "devices are read more slowly.",
                ),
                {"fill": round(fill, 3), "trouble": trouble or self._historian.trouble},
            )
        free = shutil.disk_usage(self._data).free
        if free < self._settings.disk_alarm_bytes:
            yield self._finding(
                DISK,
                Severity.HIGH,
                Text("磁盘空间不足", "The disk is nearly full"),
                Text(f"数据磁盘剩余 {free:,} 字节。", f"{free:,} bytes are free on the disk of the data."),
                Text(
                    "释放空间，或缩短数据保留期限。",
                    "Free space, or keep data for a shorter time.",
                ),
                {"free_bytes": free},
            )

    def _finding(
        self,
        rule: str,
        severity: Severity,
        title: Text,
        what: Text,
        remedy: Text,
        figures: dict[str, str | float | int | bool | None],
    ) -> Finding:
        told = self._told.get(rule)
        if told is not None and told.severity is severity:
            return told  # the same thing still: one finding, however often it is looked at
        now = self._clock.now()
        why = Text("服务器每五秒检查一次存储。", "The server looks at its storage every five seconds.")
        otherwise = Text("无其他解释。", "Nothing else looks like this.")
        return Finding(
            id=finding_id(rule, self._subject, now.isoformat()),
            rule=rule,
            cause=rule,
            subject=self._subject,
            severity=severity,
            departments=(Department.OPERATIONS,),
            onset=now,
            detected_at=now,
            explanation=Explanation(title=title, what=what, why=why, otherwise=otherwise, on_site=remedy),
            evidence=(Evidence("storage", str(self._data), figures),),
        )
