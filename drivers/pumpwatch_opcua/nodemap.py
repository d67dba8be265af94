"""Node maps: the TOML format that says which node gives which tag, checked whole and explained when it is wrong.

The format is described key by key in README.md.
"""

from __future__ import annotations

import difflib
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pumpwatch import BadConfig, EventKind, ScanClass, Site, Tag, TagKind
from pumpwatch_opcua.addresses import Address, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

NOZZLE = "{n}"
"""Stands in names for the device's own number of the nozzle, from 1."""
TANK = "{t}"
"""The same for tanks."""
_ONE = Site("station", "device", "dispenser", ("nozzle",), ("tank",))


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TagEntry(_Table):
    """One ``[[tags]]``; with ``{n}`` in its name one for each nozzle, with ``{t}`` one for each tank."""

    name: str = Field(min_length=1)
    node: str = Field(min_length=1)
    unit: str = ""
    scan: ScanClass = ScanClass.NORMAL
    kind: TagKind = TagKind.MEASUREMENT
    description: str = ""
    index: int | None = Field(None, ge=0)
    """Which element, if the node holds an array."""
    scale: float = Field(1.0, gt=0)
    low: float | None = None
    high: float | None = None
    words: dict[str, int] = Field(default_factory=dict)
    """What the node says, as text, to the number of the tag: ``{"Idle" = 0}``."""


class Point(_Table):
    """A tag and where its value comes from."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    tag: Tag
    address: Address
    entry: TagEntry


class IdentityEntry(_Table):
    """``[identity]``: which tags make up the dispenser's identity."""

    serial: str | None = None
    mainboard_serial: str | None = None
    firmware_version: str | None = None
    firmware_digest: str | None = None
    tax_serial: str | None = None
    encoder_serials: str | None = None
    """A tag name with ``{n}``."""


class SaleFields(_Table):
    """``[sale.fields]``: tags with ``{n}`` that hold the last filling when its number has appeared."""

    volume_l: str
    amount_cny: str
    unit_price: str
    start: str | None = None
    end: str | None = None
    totalizer_l: str | None = None
    totalizer_cny: str | None = None
    encoder_l: str | None = None
    encoder_pulses: str | None = None
    tax_l: str | None = None
    tax_cny: str | None = None
    payment: str | None = None
    preset_kind: str | None = None
    preset_value: str | None = None

    def present(self) -> dict[str, str]:
        """The fields this device has."""
        return {name: tag for name, tag in self if tag is not None}


class SaleEntry(_Table):
    """``[sale]``: a filling is complete when ``sequence`` has moved."""

    sequence: str
    """A tag with ``{n}``: the number of the last filling."""
    state: str | None = None
    """A tag with ``{n}``. While it says LIFTED or FUELLING the fields belong to the next filling."""
    fields_: SaleFields = Field(alias="fields")


class TankEntry(_Table):
    """``[tank]``: tags with ``{t}`` that make a tank reading."""

    height_mm: str
    volume_l: str | None = None
    volume_20c_l: str | None = None
    water_mm: str | None = None
    temperature_c: str | None = None
    density_kg_m3: str | None = None

    def present(self) -> dict[str, str]:
        """The values this gauge has."""
        return {name: tag for name, tag in self if tag is not None}


class EventEntry(_Table):
    """One ``[[events]]``: a tag whose change is an event of the device."""

    tag: str
    kind: EventKind
    key: str
    """Name of the value in the event's detail."""


class NodeMap(_Table):
    """A whole node map."""

    title: str
    namespaces: dict[str, str] = Field(default_factory=dict)
    """Alias to URI."""
    tags: tuple[TagEntry, ...] = Field(min_length=1)
    identity: IdentityEntry | None = None
    sale: SaleEntry | None = None
    tank: TankEntry | None = None
    events: tuple[EventEntry, ...] = ()

    def points(self, site: Site, root: str) -> tuple[Point, ...]:
        """Every tag of a device. Raises ``BadConfig`` when a node cannot be named for it."""
        return tuple(point for entry in self.tags for point in self._points_of(entry, site, root))

    def _points_of(self, entry: TagEntry, site: Site, root: str) -> Iterator[Point]:
        if "{dispenser}" in entry.node and site.dispenser_id is None:
            return
        ids: tuple[str | None, ...] = (None,)
        if NOZZLE in entry.name:
            ids = site.nozzle_ids
        elif TANK in entry.name:
            ids = site.tank_ids
        for number, own in enumerate(ids, 1):
            known = {"{root}": root, "{station}": site.station_id, "{device}": site.device_id}
            known |= {"{dispenser}": site.dispenser_id or "", NOZZLE: str(number), TANK: str(number)}
            known |= {"{nozzle}": own or "", "{tank}": own or ""}
            node = entry.node
            for placeholder, value in known.items():
                if placeholder in node and not value:
                    what = placeholder.strip("{}")
                    raise BadConfig(f"{what}: {entry.name!r} of {self.title!r} stands at {node!r}; add {what!r}")
                node = node.replace(placeholder, value)
            name = entry.name.replace(NOZZLE, str(number)).replace(TANK, str(number))
            text = entry.description.replace(NOZZLE, str(number)).replace(TANK, str(number))
            try:
                address = parse(node)
            except ValueError as error:
                raise BadConfig(f"{name}: {error}") from error
            yield Point(tag=Tag(name, entry.unit, entry.scan, entry.kind, text), address=address, entry=entry)

    @model_validator(mode="after")
    def _fits_together(self) -> NodeMap:
        names = [entry.name for entry in self.tags]
        if double := [name for name, times in Counter(names).items() if times > 1]:
            raise ValueError(f"tags: {double[0]!r} is there twice; rename one")
        try:
            self.points(_ONE, "root")
        except BadConfig as error:
            raise ValueError(f"tags: {error}") from error
        for place, tag, placeholder in self._references():
            if placeholder not in tag:
                raise ValueError(f"{place}: {tag!r} must name the tag of each; write {placeholder} for its number")
            if tag not in names:
                near = difflib.get_close_matches(tag, names, 1)
                raise ValueError(f"{place}: no tag {tag!r}" + (f"; did you mean {near[0]!r}?" if near else "; add it"))
        return self

    def _references(self) -> Iterator[tuple[str, str, str]]:
        """Where a tag is named, its name, and the placeholder it must have."""
        for key, tag in self.identity or ():
            if tag is not None:
                yield f"identity.{key}", tag, NOZZLE if key == "encoder_serials" else ""
        if self.sale:
            yield "sale.sequence", self.sale.sequence, NOZZLE
            if self.sale.state is not None:
                yield "sale.state", self.sale.state, NOZZLE
            for key, tag in self.sale.fields_.present().items():
                yield f"sale.fields.{key}", tag, NOZZLE
        for key, tag in self.tank.present().items() if self.tank else ():
            yield f"tank.{key}", tag, TANK
        for i, event in enumerate(self.events):
            yield f"events.{i}.tag", event.tag, ""


def load_map(path: Path) -> NodeMap:
    """Read a node map. Raises ``BadConfig`` naming the file, each wrong key and the remedy."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}; check the path and who may read it") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path}: not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{path}: not TOML: {error}; correct it there") from error
    try:
        return NodeMap.model_validate(data)
    except ValidationError as error:
        raise BadConfig("\n".join(f"{path}: {_explain(problem)}" for problem in error.errors())) from error


def brand_path(brand: str) -> Path:
    """The file of a map that comes with pumpwatch. Raises ``BadConfig`` listing those there are."""
    folder = Path(__file__).parent / "maps"
    brands = {path.stem: path for path in folder.glob("*.toml")}
    if brand not in brands:
        near = difflib.get_close_matches(brand, brands, 1)
        hint = f"did you mean {near[0]!r}?" if near else "give one of these, or the path of your own map as 'map'"
        raise BadConfig(f"brand: no map for {brand!r}; there are {', '.join(sorted(brands))}; {hint}")
    return brands[brand]


def _explain(problem: ErrorDetails) -> str:
    """One complaint of pydantic as key, what is wrong, and the remedy."""
    key = ".".join(str(part) for part in problem["loc"]) or "the map"
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: no such key; remove it or correct its spelling (pumpwatch_opcua/README.md lists the keys)"
        case "missing":
            return f"{key}: missing; add it"
        case "value_error":
            return f"{key}: {problem['ctx']['error']}"
        case _:
            return f"{key}: {problem['msg']}, not {problem['input']!r}; correct it"
