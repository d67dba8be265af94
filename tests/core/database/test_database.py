"""Real SQLite files: opening, upgrading, refusing, writing in turns, surviving."""

from __future__ import annotations

import asyncio
import io
import logging
import sqlite3
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, create_engine, insert, make_url, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from pumpwatch import alarms, ledger
from pumpwatch.alarms.tables import AlarmLogRow, AlarmRow, FindingRow
from pumpwatch.database import Base, Database, NaiveTimeError, latest_revision, ledger_url, table_of
from pumpwatch.database.migrations.versions import m0001_ledger_and_alarms, m0002_papers, m0003_following_findings
from pumpwatch.errors import BadConfig, NotReachable
from pumpwatch.ledger.tables import StationRow, WorkOrderRow

TABLES = {
    *("stations", "dispensers", "tanks", "tank_charts", "nozzles", "work_orders"),
    *("declarations", "reports_12315", "covert_tests", "alarms", "findings", "alarm_log"),
}
STATION = {
    **dict.fromkeys(("short_name", "region", "town", "address", "credit_code"), ""),
    "station_id": "S01",
    "name": "示例",
    "ownership": "private",
    "attributes": {"name_en": "Demo"},
}
ORDERS = table_of(WorkOrderRow)


def order(at: datetime) -> dict[str, object]:
    return {"station_id": "S01", "device_id": "S01-D1", "at": at, "kind": "repair", "attributes": {}}


async def names(database: Database) -> set[str]:
    async with database.reading() as connection:
        rows = await connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))
        return set(rows.scalars())


async def test_a_new_file_gets_every_table_and_its_folder(tmp_path):
    url = ledger_url(tmp_path / "var" / "数据 50%?#")
    async with Database.open(url) as database:
        assert await names(database) == TABLES | {"alembic_version"}
    assert (tmp_path / "var" / "数据 50%?#" / "ledger.sqlite").is_file()
    async with Database.open(url) as database:  # a second time nothing is left to do
        assert await names(database) == TABLES | {"alembic_version"}


async def test_migrations_and_metadata_agree(tmp_path):
    assert alarms
    assert ledger
    assert set(Base.metadata.tables) == TABLES

    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))

    async with Database.open(ledger_url(tmp_path)) as database, database.reading() as connection:
        assert await connection.run_sync(compare) == []


def test_migrations_make_the_same_tables_in_postgresql():
    out = io.StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": out})
    for revision in (m0001_ledger_and_alarms, m0002_papers, m0003_following_findings):
        revision.upgrade(Operations(context))
    made = _made(out.getvalue())
    dialect = postgresql.dialect()
    wanted = set()
    for table in Base.metadata.sorted_tables:
        wanted.add(_words(str(CreateTable(table).compile(dialect=dialect))))
        wanted |= {_words(str(CreateIndex(index).compile(dialect=dialect))) for index in table.indexes}
    assert made == wanted


def _made(script: str) -> set[frozenset[str]]:
    """The statements of all migrations, with the columns that later ones add put where the first ones make tables."""
    statements = [" ".join(s.split()) if "ALTER TABLE" in s else s for s in script.split(";") if s.strip()]
    made = {_words(s) for s in statements if not s.strip().startswith(("ALTER TABLE", "UPDATE"))}
    for table, column in (s.removeprefix("ALTER TABLE ").split(" ADD COLUMN ") for s in statements if "ALTER" in s):
        (whole,) = (words for words in made if f"CREATE TABLE {table}" in words)
        made = made - {whole} | {whole | {column}}
    return made


def _words(statement: str) -> frozenset[str]:
    """Columns and constraints in whatever order."""
    head, _, body = statement.strip().partition("(")
    return frozenset([" ".join(head.split()), *(" ".join(line.strip(" ,").split()) for line in body.split("\n"))])


async def test_connections_are_set_up(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database, database.reading() as connection:
        pragmas = {}
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout"):
            pragmas[name] = (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


async def test_a_newer_database_is_refused_and_left_alone(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database, database.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
    with pytest.raises(BadConfig, match=f"revision 0099.*up to {latest_revision()}.*newer pumpwatch"):
        async with Database.open(ledger_url(tmp_path)):
            pytest.fail("opened")
    with sqlite3.connect(tmp_path / "ledger.sqlite") as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("0099",)]
    raw.close()


async def test_an_upgrade_happens_whole_or_not_at_all(tmp_path):
    raw = sqlite3.connect(tmp_path / "ledger.sqlite")
    raw.execute("CREATE TABLE alarms (something_else)")  # half-way through 0001 there is no going on
    raw.close()
    with pytest.raises(BadConfig, match="alarms already exists"):
        async with Database.open(ledger_url(tmp_path)):
            pytest.fail("opened")
    raw = sqlite3.connect(tmp_path / "ledger.sqlite")
    assert raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("alarms",)]
    raw.close()


async def test_a_database_of_the_first_revision_keeps_what_it_has(tmp_path):
    raw = create_engine(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with raw.begin() as connection:
        m0001_ledger_and_alarms.upgrade(Operations(MigrationContext.configure(connection)))
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0001')"))
        connection.execute(insert(table_of(StationRow)).values(STATION))
    raw.dispose()
    async with Database.open(ledger_url(tmp_path)) as database:
        assert await names(database) == TABLES | {"alembic_version"}
        async with database.reading() as connection:
            assert (await connection.execute(select(StationRow.station_id))).scalars().all() == ["S01"]


async def test_what_went_to_another_findings_alarm_before_0003_follows_from_that_finding(tmp_path):
    at = "2026-11-22 04:00:00.000000"
    alarm = {
        "number": 1, "rule": "tax_memory", "subject_key": "S01-N03", "cause": "tampering", "station_id": "S01",
        "severity": "high", "departments": "[]", "state": "active", "raised_at": at, "onset": at, "count": 1,
        "finding_id": "F1", "acts": 1,
    }  # fmt: skip
    finding = {"alarm_number": 1, "subject_key": "S01-N03", "severity": "high", "received_at": at, "body": "{}"}
    rows = [
        finding | {"id": "F0", "rule": "tax_memory"},
        finding | {"id": "F1", "rule": "tax_memory"},
        finding | {"id": "F2", "rule": "sequence"},
        finding | {"id": "F3", "rule": "tax_memory", "subject_key": "S01-N04"},
        finding | {"id": "E1", "rule": "sequence", "alarm_number": None},
    ]
    raw = create_engine(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with raw.begin() as connection:
        for revision in (m0001_ledger_and_alarms, m0002_papers):
            revision.upgrade(Operations(MigrationContext.configure(connection)))
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0002')"))
        for table, row in (("alarms", alarm), *(("findings", row) for row in rows)):
            names_, values = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({names_}) VALUES ({values})"), row)
    raw.dispose()
    columns = table_of(FindingRow).c
    async with Database.open(ledger_url(tmp_path)) as database, database.reading() as connection:
        kept = await connection.execute(select(columns.id, columns.cause_id, columns.withdrawn_at))
        assert {tuple(row) for row in kept} == {
            ("F0", None, None), ("F1", None, None), ("F2", "F1", None), ("F3", "F1", None), ("E1", None, None),
        }  # fmt: skip


async def test_many_databases_are_opened_at_once_in_one_loop(tmp_path):
    async def open_one(number: int) -> set[str]:
        async with Database.open(ledger_url(tmp_path / str(number % 3))) as database:
            return await names(database)

    assert await asyncio.gather(*map(open_one, range(6))) == [TABLES | {"alembic_version"}] * 6


async def test_opening_leaves_logging_alone(tmp_path):
    def state() -> tuple[object, ...]:
        root, own = logging.getLogger(), logging.getLogger("pumpwatch.test_database")
        return (root.level, list(root.handlers), own.disabled, logging.getLogger("alembic").handlers)

    before = state()
    async with Database.open(ledger_url(tmp_path)):
        assert state() == before


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "not a database URL"),
        ("sqlite:///x/ledger.sqlite", r"only sqlite\+aiosqlite://"),
        ("mysql+aiomysql://u:secret@h/d", r"mysql\+aiomysql://u:\*\*\*@h/d"),
        ("sqlite+aiosqlite://", "not a plain file"),
        ("sqlite+aiosqlite:///:memory:", "not a plain file"),
        ("postgresql+asyncpg://u:secret@localhost/d", "needs the package asyncpg: pip install asyncpg"),
    ],
)
async def test_urls_that_can_never_work(url, says):
    with pytest.raises(BadConfig, match=says) as caught:
        async with Database.open(url):
            pytest.fail("opened")
    assert "secret" not in str(caught.value)


async def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"station_id,name\n" * 1000)
    with pytest.raises(BadConfig, match=r"not a database.*restore a backup"):
        async with Database.open(ledger_url(tmp_path)):
            pytest.fail("opened")


async def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "var").write_text("a file stands here")
    with pytest.raises(BadConfig, match="cannot make the folder"):
        async with Database.open(ledger_url(tmp_path / "var")):
            pytest.fail("opened")
    (tmp_path / "dir" / "ledger.sqlite").mkdir(parents=True)
    with pytest.raises(BadConfig, match="cannot open the database"):
        async with Database.open(ledger_url(tmp_path / "dir")):
            pytest.fail("opened")


async def test_a_database_that_another_program_holds(tmp_path, monkeypatch):
    async with Database.open(ledger_url(tmp_path)):
        pass
    holder = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("pumpwatch.database.database.BUSY_MS", 50)
    with pytest.raises(NotReachable, match=r"locked.*no other program holds it"):
        async with Database.open(ledger_url(tmp_path)):
            pytest.fail("opened")
    holder.close()


async def test_a_transaction_is_all_or_nothing(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database:
        with pytest.raises(ZeroDivisionError):
            async with database.writing() as connection:
                await connection.execute(insert(StationRow).values(STATION))
                raise ZeroDivisionError
        async with database.reading() as connection:
            assert (await connection.execute(select(StationRow))).all() == []


async def test_writers_take_turns_and_readers_see_one_state(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database:
        async with database.writing() as connection:
            await connection.execute(insert(StationRow).values({**STATION, "credit_code": "0"}))

        async def add_one() -> None:
            async with database.writing() as connection:
                code = (await connection.execute(select(StationRow.credit_code))).scalar_one()
                await asyncio.sleep(0)
                await connection.execute(text("UPDATE stations SET credit_code = :c"), {"c": str(int(code) + 1)})

        async with database.reading() as connection:
            before = (await connection.execute(select(StationRow.credit_code))).scalar_one()
            await asyncio.gather(*(add_one() for _ in range(20)))
            assert (await connection.execute(select(StationRow.credit_code))).scalar_one() == before
        async with database.reading() as connection:
            assert (await connection.execute(select(StationRow.credit_code))).scalar_one() == "20"


async def test_writers_are_served_in_the_order_they_came(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database:
        served: list[int] = []

        async def write(number: int) -> None:
            async with database.writing() as connection:
                served.append(number)
                await connection.execute(insert(StationRow).values({**STATION, "station_id": f"S{number}"}))

        await asyncio.gather(*map(write, range(8)))
    assert served == list(range(8))


async def test_a_cancelled_writer_leaves_nothing_and_blocks_nobody(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database:
        inside = asyncio.Event()

        async def write() -> None:
            async with database.writing() as connection:
                await connection.execute(insert(StationRow).values(STATION))
                inside.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(write())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with database.writing() as connection:
            assert (await connection.execute(select(StationRow))).all() == []


async def test_a_database_that_fails_later_is_not_reachable(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database:
        with pytest.raises(NotReachable, match=r"does not answer.*full.*room"):
            async with database.writing() as connection:
                await connection.execute(text("PRAGMA max_page_count = 1"))
                for number in range(500):
                    await connection.execute(insert(StationRow).values({**STATION, "station_id": f"S{number}"}))


async def test_times_are_aware_utc_and_sort_as_time(tmp_path):
    east = timezone(timedelta(hours=8))
    times = [
        datetime(2026, 1, 1, 8, tzinfo=east),  # midnight UTC
        datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2025, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    async with Database.open(ledger_url(tmp_path)) as database:
        async with database.writing() as connection:
            await connection.execute(insert(StationRow).values(STATION))
            await connection.execute(insert(ORDERS), [order(at) for at in times])
        async with database.reading() as connection:
            kept = list((await connection.execute(select(ORDERS.c.at).order_by(ORDERS.c.at))).scalars())
            later = select(ORDERS.c.at).where(ORDERS.c.at > times[0])
            assert list((await connection.execute(later)).scalars()) == [times[1]]
        assert kept == sorted(times)
        assert {at.tzinfo for at in kept} == {UTC}
        with pytest.raises(NaiveTimeError, match="without zone"):
            async with database.writing() as connection:
                await connection.execute(insert(ORDERS), [order(datetime(2026, 1, 1))])  # noqa: DTZ001 - the point


async def test_json_is_kept_as_people_read_it(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database:
        async with database.writing() as connection:
            await connection.execute(insert(StationRow).values({**STATION, "attributes": {"town": "示例镇"}}))
        async with database.reading() as connection:
            raw = (await connection.execute(text("SELECT attributes FROM stations"))).scalar_one()
            kept = (await connection.execute(select(StationRow.attributes))).scalar_one()
    assert raw == '{"town": "示例镇"}'
    assert kept == {"town": "示例镇"}


async def test_the_name_of_a_database_hides_its_password(tmp_path):
    async with Database.open(ledger_url(tmp_path)) as database:
        assert make_url(database.name).database == str(tmp_path / "ledger.sqlite")
    assert {table_of(row).name for row in (AlarmRow, FindingRow, AlarmLogRow)} == {"alarms", "findings", "alarm_log"}
