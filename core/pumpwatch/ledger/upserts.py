"""Writes entries so that writing them again changes nothing, and says of each what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Update, and_, bindparam, insert, select, tuple_, update

from pumpwatch.ledger.canonical import DISPENSERS, LEDGER_TABLES, NOZZLES, REPORTS, CanonicalTable, Scalar

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Key: TypeAlias = tuple[Any, ...]
_MISSING = "{value} stands neither in the ledger nor, as a good row, in {table}; add it there first"

_SEVERAL = "the column is missing, and {count} known entries fit what the others say; add it"


class Fate(StrEnum):
    """What became of a row."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Incoming:
    """One row to be written: the fields that are said; the others stay as they are, or null in a new row."""

    values: Mapping[str, Scalar]
    """By field of the dataclass; the key and the required fields are always there."""
    attributes: Mapping[str, str | None]
    """None takes an attribute away."""
    whole: bool = False
    """True: what is not said is null, and attributes that are not said are gone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one row; column and reason when it was rejected."""

    fate: Fate
    column: str = ""
    reason: str = ""


async def write_rows(connection: AsyncConnection, table: CanonicalTable, rows: Sequence[Incoming]) -> list[Outcome]:
    """Write a few hundred rows of one table inside the caller's transaction; one outcome a row, in their order."""
    rows, unsure = await _recalled(connection, table, rows) if table.derived else (rows, {})
    keys = [table.identity(_said(table, row)) for row in rows]
    before = await _stored(connection, table, keys)
    homes = await _homes(connection, table, rows)
    after = dict(before)
    outcomes: list[Outcome] = []
    for number, (key, row) in enumerate(zip(keys, rows, strict=True)):
        if wrong := unsure.get(number) or _unreferenced(table, row, homes):
            outcomes.append(wrong)
            continue
        merged = _merge(table, after.get(key), row)
        fate = Fate.ADDED if key not in after else Fate.UNCHANGED if merged == after[key] else Fate.CHANGED
        after[key] = merged
        outcomes.append(Outcome(fate))
    added = [row for key, row in after.items() if key not in before]
    changed = [row for key, row in after.items() if key in before and row != before[key]]
    if added:
        await connection.execute(insert(table.stored), added)
    if changed:
        await connection.execute(_update(table), [_as_parameters(table, row) for row in changed])
    return outcomes


def _merge(table: CanonicalTable, before: Mapping[str, Any] | None, row: Incoming) -> dict[str, Any]:
    base: Mapping[str, Any] = {**table.defaults, "attributes": {}} if before is None or row.whole else before
    attributes = {**base["attributes"], **row.attributes}
    merged = {**base, **row.values, "attributes": {k: v for k, v in attributes.items() if v is not None}}
    return merged | {name: made(merged) for name, made in table.derived.items()}


def _said(table: CanonicalTable, row: Incoming) -> Mapping[str, Scalar]:
    return {**table.defaults, **row.values} if table.derived else row.values


async def _recalled(
    connection: AsyncConnection, table: CanonicalTable, rows: Sequence[Incoming]
) -> tuple[list[Incoming], dict[int, Outcome]]:
    """The rows, and the places of those that fit several known entries.

    All fields may be part of a derived key: what a file has no column for is taken from the known entry a row fits.
    """
    names = [column.target for column in table.columns]
    plain = [name for name in table.key if name not in table.derived]
    vague = {tuple(row.values[n] for n in plain) for row in rows if not row.values.keys() >= set(names)}
    known: dict[Key, list[Mapping[str, Any]]] = {}
    if vague:
        wanted = tuple_(*(table.stored.c[name] for name in plain)).in_(list(vague))
        for entry in (await connection.execute(select(table.stored).where(wanted))).mappings():
            known.setdefault(tuple(entry[name] for name in plain), []).append(dict(entry))
    recalled: list[Incoming] = []
    unsure: dict[int, Outcome] = {}
    for number, row in enumerate(rows):
        unsaid = [name for name in names if name not in row.values]
        fits = [
            entry
            for entry in (known.get(tuple(row.values[name] for name in plain), ()) if unsaid else ())
            if all((entry[name] or None) == (value or None) for name, value in row.values.items())
        ]
        fits = [entry for entry in fits if not any(entry[name] for name in unsaid)] or fits  # known as vaguely as this
        if len(fits) > 1:
            unsure[number] = Outcome(Fate.REJECTED, unsaid[0], _SEVERAL.format(count=len(fits)))
        recalled.append(
            replace(row, values={**row.values, **{n: fits[0][n] for n in unsaid}}) if len(fits) == 1 else row
        )
    return recalled, unsure


async def _stored(connection: AsyncConnection, table: CanonicalTable, keys: Sequence[Key]) -> dict[Key, dict[str, Any]]:
    columns = [table.stored.c[name] for name in table.key]
    if len(columns) == 1:
        wanted = columns[0].in_({key[0] for key in keys})
    else:
        wanted = tuple_(*columns).in_(list(dict.fromkeys(keys)))
    found = await connection.execute(select(table.stored).where(wanted))
    return {tuple(row[name] for name in table.key): dict(row) for row in found.mappings()}


async def _homes(
    connection: AsyncConnection, table: CanonicalTable, rows: Sequence[Incoming]
) -> dict[str, dict[str, str]]:
    """Of each table referred to: id of a thing that stands there → id of its station."""
    homes: dict[str, dict[str, str]] = {}
    for field, name in table.references:
        other = next(t for t in LEDGER_TABLES if t.name == name)
        own = other.stored.c[other.key[0]]
        wanted = own.in_({row.values[field] for row in rows if row.values.get(field) is not None})
        if other is NOZZLES:
            at = DISPENSERS.stored.c
            found = await connection.execute(
                select(own, at.station_id)
                .join(DISPENSERS.stored, at.dispenser_id == other.stored.c.dispenser_id)
                .where(wanted)
            )
        else:
            found = await connection.execute(select(own, other.stored.c.station_id).where(wanted))
        homes[name] = {row[0]: row[1] for row in found}
    return homes


def _unreferenced(table: CanonicalTable, row: Incoming, homes: Mapping[str, Mapping[str, str]]) -> Outcome | None:
    named = {name: row.values.get(field) for field, name in table.references}
    for field, name in table.references:
        value = row.values.get(field)
        if value is not None and value not in homes[name]:
            return Outcome(Fate.REJECTED, field, _MISSING.format(value=value, table=name))
    if table is NOZZLES:
        at = homes["dispensers"][str(named["dispensers"])]
        tank_at = homes["tanks"][str(named["tanks"])]
        if at != tank_at:
            return Outcome(
                Fate.REJECTED,
                "tank_id",
                f"{named['tanks']} is a tank of {tank_at}, but {named['dispensers']} stands at {at}",
            )
    if table is REPORTS and named["nozzles"] is not None:
        home = homes["nozzles"][str(named["nozzles"])]
        if home != named["stations"]:
            return Outcome(Fate.REJECTED, "nozzle_id", f"{named['nozzles']} is a nozzle of {home}")
    return None


def _update(table: CanonicalTable) -> Update:
    same = and_(*(table.stored.c[name] == bindparam(f"key_{name}") for name in table.key))
    others = {c.name: bindparam(f"set_{c.name}", type_=c.type) for c in table.stored.c if c.name not in table.key}
    return update(table.stored).where(same).values(others)


def _as_parameters(table: CanonicalTable, row: Mapping[str, Any]) -> dict[str, Any]:
    return {f"key_{name}" if name in table.key else f"set_{name}": value for name, value in row.items()}
