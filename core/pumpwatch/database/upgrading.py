"""Brings a database to the schema this program knows, with Alembic but without its globals and logging set-up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory

from pumpwatch.errors import BadConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alembic.runtime.migration import RevisionStep
    from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Run what is missing, inside the caller's transaction: all of it happens or nothing.

    Each script in ``migrations/versions`` has ``upgrade(op)``. It is handed its operations instead of importing
    Alembic's process-wide ``op``, so that many databases can be opened at once in one loop. Raises ``BadConfig`` when
    the database was written by a newer program.
    """
    scripts = _scripts()

    def missing(heads: tuple[str, ...], _: MigrationContext) -> Iterable[RevisionStep]:
        since = heads[0] if heads else "base"
        steps = reversed(list(scripts.iterate_revisions("head", since)))
        return [MigrationStep.upgrade_from_script(scripts.revision_map, script) for script in steps]

    context = MigrationContext.configure(connection, opts={"fn": missing, "script": scripts, "transactional_ddl": True})
    _refuse_newer(context.get_current_heads(), scripts)
    context.run_migrations(op=Operations(context))


def latest_revision() -> str:
    """The newest schema revision this program knows."""
    return _scripts().get_current_head() or "base"


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent / "migrations"))


def _refuse_newer(heads: tuple[str, ...], scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    unknown = sorted(set(heads) - known)
    if unknown:
        raise BadConfig(
            f"this database has schema revision {', '.join(unknown)}, this program knows revisions up to "
            f"{scripts.get_current_head()}: it was last opened by a newer pumpwatch. Install that version or a newer "
            "one, or restore a backup made before the upgrade"
        )
