"""The rule ``known_signature``: what devices tell of themselves against a list of known boards and software.

The list is a CSV file that an institute can hand on; ``docs/how-to/import-a-signature-list.md`` describes it.
"""

from __future__ import annotations

import csv
import difflib
import fnmatch
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from pumpwatch import (
    About,
    BadConfig,
    Department,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Evidence,
    Explanation,
    Finding,
    History,
    PluginSettings,
    Record,
    RecordRule,
    Severity,
    Subject,
    Text,
    finding_id,
)
from pumpwatch.wording import dispenser_label, local, nozzle_label, title
from pumpwatch_integrity.parts import identity_told, told
from pumpwatch_integrity.timelines import parts_timeline, work_before

KINDS: Final[Mapping[str, Text]] = {
    "mainboard": Text("计控主板", "mainboard"),
    "encoder": Text("编码器", "encoder"),
    "tax": Text("税控存储器", "tax memory"),
    "dispenser": Text("加油机", "dispenser"),
    "software": Text("程序", "software"),
}
"""What an entry is about, which says whose ``serial`` is meant."""
COLUMNS: Final = ("kind", "serial", "version", "digest", "code", "name", "name_en", "severity", "source")
PATTERNS: Final = ("serial", "version", "digest", "code")
_NEEDED: Final = ("kind", "name")
_LARGEST: Final = 5_000_000
_SERIALS: Final = {"mainboard": "mainboard_serial", "tax": "tax_serial", "dispenser": "serial"}


class SignatureSettings(PluginSettings):
    """Keys of ``[rules.known_signature]``."""

    list: Path | None = Field(None, description="CSV file of known boards and software; absent: the rule says nothing.")
    utc_offset_h: float = Field(8.0, ge=-12.0, le=14.0, description="Local time of the stations, hours from UTC.")


@dataclass(frozen=True, slots=True)
class Signature:
    """One line of the list. A device must match every pattern that is filled in."""

    line: int
    kind: str
    patterns: Mapping[str, re.Pattern[str]]
    written: Mapping[str, str]
    """The patterns as they stand in the file."""
    name: Text
    severity: Severity
    source: str

    def matches(self, seen: Mapping[str, str]) -> bool:
        """Whether what a device tells (``serial``, ``version``, ``digest``, ``code``) fits every pattern."""
        return all(
            (value := seen.get(column)) is not None and pattern.fullmatch(value.casefold())
            for column, pattern in self.patterns.items()
        )


def read_signatures(file: Path) -> tuple[Signature, ...]:
    """The entries of a list, in its order. Raises ``BadConfig`` naming file, line and remedy, all errors at once."""
    try:
        if file.stat().st_size > _LARGEST:
            raise BadConfig(f"{file}: is larger than {_LARGEST // 1_000_000} MB; a list has a line for each signature")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        why = error.strerror or str(error)
        raise BadConfig(
            f"{file}: cannot be read ({why}); give the path of the CSV file in [rules.known_signature] list"
        ) from None
    except UnicodeDecodeError:
        raise BadConfig(f"{file}: is not UTF-8; in Excel, save it as CSV UTF-8") from None
    rows = csv.reader(io.StringIO(text, newline=""))
    found: list[Signature] = []
    errors: list[str] = []
    header: list[str] = []
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if not header:
                header = cells
                errors += [f"{file}:{rows.line_num}: {problem}" for problem in _header_errors(header)]
                if errors:
                    break
                continue
            entry, problems = _entry(rows.line_num, header, cells)
            errors += [f"{file}:{rows.line_num}: {problem}" for problem in problems]
            found += [entry] if entry is not None else []
    except csv.Error as error:
        errors.append(f"{file}:{rows.line_num}: {error}; put texts with commas or quotes into double quotes")
    if not header:
        errors.append(f"{file}:1: there is no header; write {','.join(COLUMNS)}")
    if errors:
        raise BadConfig("\n".join(errors))
    return tuple(found)


def _header_errors(header: Iterable[str]) -> Iterator[str]:
    names = list(header)
    for name in names:
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"the columns are {', '.join(COLUMNS)}"
            yield f"column {name!r} is not known; {hint}"
    for name in _NEEDED:
        if name not in names:
            yield f"column {name!r} is missing; add it"
    for name in sorted({each for each in names if names.count(each) > 1}):
        yield f"column {name!r} is there twice; remove one"
    if not set(PATTERNS) & set(names):
        yield f"there is nothing to compare; add one of the columns {', '.join(PATTERNS)}"


def _entry(line: int, header: list[str], cells: list[str]) -> tuple[Signature | None, list[str]]:
    if len(cells) > len(header):
        return None, [f"has {len(cells)} cells, the header {len(header)}; quote texts with commas, or remove the rest"]
    row = dict(zip(header, cells, strict=False))
    problems = []
    kind, severity = row.get("kind", ""), row.get("severity") or "critical"
    if kind not in KINDS:
        problems.append(f"kind: {kind!r} is none of {', '.join(KINDS)}; write one of them")
    if not row.get("name"):
        problems.append("name: is empty; say what it is")
    if severity not in set(Severity):
        problems.append(f"severity: {severity!r} is none of {', '.join(Severity)}; write one of them")
    written = {column: row[column] for column in PATTERNS if row.get(column)}
    if not written:
        problems.append(f"has no pattern; fill one of {', '.join(PATTERNS)}")
    if "code" in written and len(written) > 1:
        problems.append("code: is told without serial, version or digest; make two lines of it")
    for column, pattern in written.items():
        if not pattern.strip("*?"):
            problems.append(f"{column}: {pattern!r} would match every device; write at least one character of it")
    if problems:
        return None, problems
    compiled = {column: re.compile(fnmatch.translate(pattern.casefold())) for column, pattern in written.items()}
    name = Text(row["name"], row.get("name_en") or row["name"])
    return Signature(line, kind, compiled, written, name, Severity(severity), row.get("source", "")), []


class KnownSignature(RecordRule):
    """One finding for each entry of the list and device that fits it; a work order does not explain it."""

    rule: ClassVar[str] = "known_signature"
    Settings: ClassVar[type[PluginSettings]] = SignatureSettings
    watches: ClassVar[tuple[type, ...]] = (DeviceIdentity, DeviceEvent)
    explains: ClassVar[frozenset[str]] = frozenset({"identity_change"})
    about: ClassVar[About] = About(
        title=Text("已知异常主板或程序", "Known board or software"),
        catches=("F02", "F05", "F14", "F17"),
        inputs="Identities and events of kind `identity`; codes of `lock` and `alarm` events of dispensers and "
        "nozzles; the list named by `list`.",
        statistic="Each filled pattern (`serial`, `version`, `digest`, `code`; `*` and `?` stand for any text and any "
        "character; capitals do not count) must fit what the device tells in one record. `kind` says whose serial.",
        threshold="A fit. The severity stands in the list.",
        power="Deterministic: found at the first record that fits. With the example list no false alarm over 1,218 "
        "honest nozzle-years with the honest scenarios in them; 30 µs an identity with seven entries.",
        pitfalls="It knows only what is in the list. A pattern that is too wide accuses honest devices: prefer whole "
        "digests and serials. A code means another thing with another brand: list only codes no honest one uses.",
        source="Boards and programs that institutes have published or taken into custody; the example is invented.",
    )
    settings: SignatureSettings

    def __init__(self, settings: PluginSettings) -> None:
        """Read the list; raises ``BadConfig``."""
        super().__init__(settings)
        self._signatures = () if self.settings.list is None else read_signatures(self.settings.list)

    def check(self, record: Record, history: History) -> Iterator[Finding]:
        """Compare what one record tells with every entry."""
        if not self._signatures or not isinstance(record, DeviceIdentity | DeviceEvent):
            return
        for subject, kind, seen in _seen(record, history):
            for signature in self._signatures:
                if (kind is None or signature.kind in kind) and signature.matches(seen):
                    yield self._finding(record, subject, signature, seen, history)

    def _finding(
        self,
        record: DeviceIdentity | DeviceEvent,
        subject: Subject,
        signature: Signature,
        seen: Mapping[str, str],
        history: History,
    ) -> Finding:
        label = nozzle_label(subject.nozzle_id) if subject.nozzle_id else dispenser_label(subject.key)
        kind, at = KINDS[signature.kind], local(record.at, self.settings.utc_offset_h)
        fits = {column: seen[column] for column in signature.written}
        shown = "，".join(f"{column} {value}" for column, value in fits.items())
        source = signature.source or "?"
        return Finding(
            id=finding_id(
                self.rule,
                subject,
                signature.kind,
                *(f"{c}={v.casefold()}" for c, v in sorted(fits.items())),
                *(f"{c}~{p.casefold()}" for c, p in sorted(signature.written.items())),
            ),
            rule=self.rule,
            cause="identity_change",
            subject=subject,
            severity=signature.severity,
            departments=(Department.MARKET_REGULATION, Department.POLICE),
            onset=record.at,
            detected_at=record.at,
            explanation=Explanation(
                title=title(label, "与已知特征相符", "fits a known signature"),
                what=Text(
                    zh=f"{label.zh}在 {at} 报告的{kind.zh}特征（{shown}）与清单中的“{signature.name.zh}”相符。",
                    en=f"{label.en} told at {at} what fits the entry “{signature.name.en}” of the list: {kind.en}, "
                    f"{shown.replace('，', ', ')}.",
                ),
                why=Text(
                    zh=f"清单第 {signature.line} 行，来源：{source}。清单所列主板和程序不在型式批准之内。",
                    en=f"Line {signature.line} of the list, source: {source}. What is listed there has no type "
                    "approval.",
                ),
                otherwise=Text(
                    zh="清单条目的范围过宽，或编号被合法部件沿用。",
                    en="The entry is too wide, or a lawful part has a number of the same form.",
                ),
                on_site=Text(
                    zh="先保全证据：拍照、封存主板和站级计算机；读出程序摘要与型式批准对照；核验每把枪。",
                    en="Secure evidence first: photographs, seal the mainboard and the station's computer; compare the "
                    "digest with the type approval; verify every nozzle.",
                ),
            ),
            evidence=(
                Evidence(
                    kind="signature",
                    reference=f"{subject.key}/{signature.kind}",
                    data={
                        "entry": signature.name.zh,
                        "line": signature.line,
                        "source": source,
                        **{f"{column}_told": value for column, value in fits.items()},
                        **{f"{column}_pattern": value for column, value in signature.written.items()},
                        "at": record.at.astimezone(UTC).isoformat(),
                    },
                ),
            ),
            figures=(
                parts_timeline(
                    label,
                    [kind],
                    record.at,
                    work_before(
                        (subject.nozzle_id, subject.dispenser_id, subject.station_id),
                        subject.station_id,
                        record.at,
                        history,
                    ),
                ),
            ),
        )


def _seen(
    record: DeviceIdentity | DeviceEvent, history: History
) -> Iterator[tuple[Subject, frozenset[str] | None, Mapping[str, str]]]:
    """Subject, kinds it may be compared with (None: any), and what it tells by column."""
    if isinstance(record, DeviceEvent) and record.kind in {EventKind.LOCK, EventKind.ALARM}:
        code = record.detail.get("code")
        subject = place_of(record, history)
        if code is not None and subject is not None:
            yield subject, None, {"code": str(code).strip()}
        return
    if isinstance(record, DeviceEvent):
        identity = identity_told(record, lambda name: n.dispenser_id if (n := history.nozzle(name)) else None)
    else:
        identity = record
    if identity is None:
        return
    own = Subject(identity.station_id, identity.dispenser_id)
    columns = {"version": told(identity.firmware_version), "digest": told(identity.firmware_digest)}
    program = {column: value for column, value in columns.items() if value is not None}
    if program:
        yield own, frozenset({"software"}), program
    for kind, field in _SERIALS.items():
        if serial := told(getattr(identity, field)):
            yield own, frozenset({kind}), {"serial": serial, **program}
    for nozzle_id, encoder in sorted(identity.encoder_serials.items()):
        if serial := told(encoder):
            yield Subject(own.station_id, own.dispenser_id, nozzle_id), frozenset({"encoder"}), {"serial": serial}


def place_of(event: DeviceEvent, history: History) -> Subject | None:
    """The registered nozzle or dispenser an event is about; None when it is another device's."""
    named = event.detail.get("nozzle_id")
    for name in (str(named) if named else "", event.device_id):
        nozzle = history.nozzle(name)
        if nozzle is not None:
            return Subject(event.station_id, nozzle.dispenser_id, nozzle.nozzle_id)
    if history.dispenser(event.device_id) is not None:
        return Subject(event.station_id, event.device_id)
    return None
