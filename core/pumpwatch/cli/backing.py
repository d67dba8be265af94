"""``pumpwatch backup`` and ``restore``: a data folder as files with checksums, while a server works on it or not."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from pumpwatch.canonical import hold
from pumpwatch.canonical.archive import Archive, ArchiveProgress, read_archive, restore, verify, write_archive
from pumpwatch.cli.keeping import held, kept
from pumpwatch.cli.output import DEFAULT_DATA, AsJson, Config, Data, PluginsDir, show_json, stderr, stdout
from pumpwatch.cli.sending import see, served
from pumpwatch.clock import SystemClock
from pumpwatch.engine.backing import Snapshot, clear, snapshot
from pumpwatch.errors import BadConfig, NotReachable
from pumpwatch.ledger.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TOUCH_BYTES: Final = 8 * 1024**2


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(backup)
    app.command("restore")(restore_)


def backup(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.", metavar="TO")],
    data: Data = DEFAULT_DATA,
    config: Config = None,
    plugins_dir: PluginsDir = None,
    as_json: AsJson = False,
) -> None:
    """Back a data folder up, while a server works on it or not: all that was acknowledged, with checksums."""
    if not data.is_dir():
        raise BadConfig(f"{data}: no such folder; name the one that holds the data with --data DIR")
    if folder.resolve().is_relative_to(data.resolve()):
        raise BadConfig(f"{folder} lies in the data folder itself; choose one elsewhere, best on another disk")
    archive = asyncio.run(_backup(folder, data, config, plugins_dir, quiet=as_json))
    _told(archive, f"Backed up {data} to {folder}", as_json=as_json)
    for sentence in archive.left_out:
        stderr.print(sentence, style="yellow", markup=False)


def restore_(
    folder: Annotated[Path, typer.Argument(help="Folder of a backup.", metavar="FROM")],
    data: Data = DEFAULT_DATA,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also into a folder with data; that is kept in a folder beside it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore a data folder from a backup; every file is checked before anything is touched."""
    archive = read_archive(folder)
    with _bytes(quiet=as_json) as tell:
        verify(folder, archive, tell)
        with hold(data):
            aside = restore(folder, archive, data, SystemClock().now().astimezone(UTC), tell, replace=replace)
    _told(archive, f"Restored {data} from {folder}, made {archive.made}", as_json=as_json, replaced=aside)
    if aside is not None and not as_json:
        stdout.print(f"What was there is kept in {aside}.", markup=False)


async def _backup(folder: Path, data: Path, config: Path | None, plugins_dir: Path | None, *, quiet: bool) -> Archive:
    with _bytes(quiet=quiet) as tell, held(data) as server:
        now = SystemClock().now()
        if server is None:
            async with kept(data, config, plugins_dir) as (_, historian):
                try:
                    taken = await snapshot(historian, data)
                    return await in_thread(write_archive, taken.files(data), folder, now, taken.left_out, tell)
                finally:
                    await in_thread(clear, data)
        async with served(server) as client:
            try:
                answer = await client.post("/backup")
            except asyncio.CancelledError:  # broken off by the keyboard: the server would keep it for nobody
                await client.delete("/backup")
                raise
            see(answer)
            try:
                told: dict[str, Any] = answer.json()
                taken = Snapshot(data / str(told["folder"]), tuple(map(str, told["left_out"])))
                files = taken.files(data)
                if not files:
                    raise NotReachable(f"the server's snapshot is not in {data}; is that another machine's folder?")
                return await in_thread(write_archive, files, folder, now, taken.left_out, _touching(taken, tell))
            except (ValueError, KeyError, TypeError) as error:
                raise NotReachable(f"what answers at {server} is no pumpwatch of today ({error!r})") from error
            finally:
                see(await client.delete("/backup"))


def _touching(taken: Snapshot, tell: Callable[[ArchiveProgress], None]) -> Callable[[ArchiveProgress], None]:
    """Tell how far it is, and the server every few megabytes that somebody fetches it."""

    def told(now: ArchiveProgress) -> None:
        if now.done // _TOUCH_BYTES != told_of[0]:
            told_of[0] = now.done // _TOUCH_BYTES
            taken.touch()
        tell(now)

    told_of = [-1]
    return told


def _told(archive: Archive, words: str, *, as_json: bool, replaced: Path | None = None) -> None:
    if as_json:
        facts = {"made": archive.made, "files": len(archive.files), "bytes": archive.size}
        show_json(facts | {"left_out": archive.left_out, "replaced": None if replaced is None else str(replaced)})
    else:
        stdout.print(
            f"{words}: {len(archive.files):,} files, {archive.size / 1024**2:,.1f} MB, all checked.", markup=False
        )


@contextmanager
def _bytes(*, quiet: bool) -> Iterator[Callable[[ArchiveProgress], None]]:
    """A bar that counts bytes."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, disable=quiet, transient=True) as progress:
        task = progress.add_task("waiting for the store", total=None)

        def tell(now: ArchiveProgress) -> None:
            progress.update(task, description=now.doing, completed=now.done, total=now.total)

        yield tell
