"""Finds the fleet files that come with the simulator by their names."""

from __future__ import annotations

import difflib
from pathlib import Path

from pumpwatch.errors import BadConfig


def fleets_folder() -> Path:
    """Where the fleet files are: in the installed package, else in the source tree."""
    package = Path(__file__).parent
    installed = package / "fleet_files"
    return installed if installed.is_dir() else package.parents[1] / "config" / "fleets"


def fleet_names() -> tuple[str, ...]:
    """The names of the fleets that come with the simulator."""
    return tuple(sorted(path.stem for path in fleets_folder().glob("*.toml")))


def fleet_path(name: str) -> Path:
    """The file meant by ``name``: a path, or the bare name of a fleet that comes along, for example ``county``.

    Raises ``BadConfig`` listing the fleets there are; whether a path exists is for the reader of it to say.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.name != name or path.is_file():
        return path
    names = fleet_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else "give one of these, or the path of a file"
        raise BadConfig(f"no fleet {name!r}; there are {', '.join(names)}; {hint}")
    return fleets_folder() / f"{name}.toml"
