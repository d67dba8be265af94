"""Register maps: the TOML format that describes a brand, checked whole and explained when it is wrong.

The format is described key by key in docs/reference/brand-maps.md.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pumpwatch import BadConfig, EventKind, ScanClass, Tag, TagKind
from pumpwatch_modbus.reads import REGISTERS, Span, gaps_between
from pumpwatch_modbus.values import WIDTHS, Encoding, Point, RegisterType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

WordOrder: TypeAlias = Literal["high_first", "low_first"]
Address: TypeAlias = Annotated[int, Field(ge=0, lt=REGISTERS)]
NUMBER = "{n}"
"""Stands in a tag's name for the device's own number of the nozzle, from 1."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Readable(_Table):
    """One ``[[blocks]]``: registers that the device lets one read."""

    first: Address
    last: Address

    @property
    def span(self) -> Span:
        """As a span."""
        return Span(self.first, self.last - self.first + 1)

    @model_validator(mode="after")
    def _ordered(self) -> Readable:
        if self.last < self.first:
            raise ValueError("last is before first; give the block's lowest register first")
        return self


class _Value(_Table):
    type: RegisterType
    length: int | None = Field(None, ge=1, le=125)
    """Registers of an ascii or hex value."""
    scale: float = Field(1.0, gt=0)
    bit: int = Field(0, ge=0, le=15)
    bits: int = Field(1, ge=1, le=16)
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _has_its_length(self) -> _Value:
        if self.type in WIDTHS and self.length is not None:
            raise ValueError(f"a {self.type} has no length of its own; remove the key 'length'")
        if self.type not in WIDTHS and self.length is None:
            raise ValueError(f"how many registers is this {self.type}? add the key 'length'")
        return self

    @property
    def encoding(self) -> Encoding:
        """The same, as what reads registers."""
        registers = self.length or WIDTHS[self.type]
        return Encoding(self.type, registers, self.scale, self.bit, self.bits, self.low, self.high)


class TagEntry(_Value):
    """One ``[[tags]]``; with ``repeat`` one for each nozzle, ``stride`` registers apart."""

    name: str = Field(min_length=1)
    address: Address
    unit: str = ""
    scan: ScanClass = ScanClass.NORMAL
    kind: TagKind = TagKind.MEASUREMENT
    description: str = ""
    repeat: int = Field(1, ge=1)
    stride: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _repeats_rightly(self) -> TagEntry:
        if self.repeat > 1 and (NUMBER not in self.name or not self.stride):
            raise ValueError(f"a repeated tag needs {NUMBER} in its name and a stride of 1 or more")
        return self

    def points(self, nozzles: int) -> Iterator[Point]:
        """The tag, or the tag of each of the first ``nozzles`` nozzles."""
        encoding = self.encoding
        for i in range(min(self.repeat, nozzles) if NUMBER in self.name else 1):
            tag = Tag(
                self.name.replace(NUMBER, str(i + 1)),
                self.unit,
                self.scan,
                self.kind,
                self.description.replace(NUMBER, str(i + 1)),
            )
            yield Point(tag, Span(self.address + i * self.stride, encoding.registers), encoding)


class IdentityEntry(_Table):
    """``[identity]``: which tags make up the dispenser's identity."""

    serial: str | None = None
    mainboard_serial: str | None = None
    firmware_version: str | None = None
    firmware_digest: str | None = None
    tax_serial: str | None = None
    encoder_serials: str | None = None
    """A tag name with ``{n}``."""


class SaleValue(_Value):
    """One field of a sale: where in the slot it stands."""

    offset: int = Field(ge=0)
    none: int | None = None
    """The raw number that means there is no such value."""
    words: dict[int, str] = Field(default_factory=dict)
    """Raw number to word."""


class SaleFields(_Table):
    """``[sale.fields]``: the six that make a filling, and what else the device remembers."""

    seq: SaleValue
    start: SaleValue
    end: SaleValue
    volume_l: SaleValue
    amount_cny: SaleValue
    unit_price: SaleValue
    totalizer_l: SaleValue | None = None
    totalizer_cny: SaleValue | None = None
    encoder_pulses: SaleValue | None = None
    pulse_l: SaleValue | None = None
    tax_l: SaleValue | None = None
    tax_cny: SaleValue | None = None
    payment: SaleValue | None = None
    preset_kind: SaleValue | None = None
    preset_value: SaleValue | None = None

    def present(self) -> dict[str, SaleValue]:
        """The fields this device has."""
        every = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: entry for name, entry in every.items() if entry is not None}


class SaleEntry(_Table):
    """``[sale]``: the device's memory of sales; sale number q of a nozzle stands in slot q modulo ``slots``."""

    sequence: str
    address: Address
    slots: int = Field(ge=1, le=1024)
    registers: int = Field(ge=1, le=125)
    slot_stride: int = Field(ge=1)
    nozzle_stride: int = Field(ge=1)
    fields_: SaleFields = Field(alias="fields")

    @model_validator(mode="after")
    def _holds_its_fields(self) -> SaleEntry:
        for name, entry in self.fields_.present().items():
            if entry.offset + entry.encoding.registers > self.registers:
                raise ValueError(f"fields.{name} ends behind the slot; lower its offset or raise registers")
        return self

    def slot(self, nozzle: int, seq: int) -> Span:
        """Where sale ``seq`` of the device's nozzle number ``nozzle`` stands."""
        index = (nozzle - 1) * self.nozzle_stride + seq % self.slots * self.slot_stride
        return Span(self.address + index, self.registers)


class EventEntry(_Table):
    """One ``[[events]]``: a tag whose change is an event of the device."""

    tag: str
    kind: EventKind
    key: str
    """Name of the value in the event's detail."""


class BrandMap(_Table):
    """A whole register map."""

    title: str
    function: Literal[3, 4] = 3
    word_order: WordOrder = "high_first"
    byte_order: WordOrder = "high_first"
    base_offset: int = 0
    max_registers: int = Field(125, ge=1, le=125)
    nozzles: int = Field(ge=0)
    blocks: tuple[Readable, ...] = ()
    tags: tuple[TagEntry, ...] = Field(min_length=1)
    identity: IdentityEntry | None = None
    sale: SaleEntry | None = None
    events: tuple[EventEntry, ...] = ()

    @property
    def gaps(self) -> tuple[Span, ...]:
        """What no read may touch."""
        return gaps_between([block.span for block in self.blocks])

    def points(self, nozzles: int) -> tuple[Point, ...]:
        """Every tag of a device with this many nozzles."""
        return tuple(point for entry in self.tags for point in entry.points(nozzles))

    @model_validator(mode="after")
    def _fits_together(self) -> BrandMap:
        points = self.points(self.nozzles)
        names = [point.tag.name for point in points]
        if double := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"tags: {sorted(double)[0]!r} is there twice; rename one")
        for entry in self.tags:
            if NUMBER in entry.name and entry.repeat != self.nozzles:
                raise ValueError(f"tags: {entry.name!r} needs repeat = {self.nozzles}, the number of nozzles")
        self._refer_to_tags(set(names))
        self._stay_in_blocks(points)
        return self

    def _refer_to_tags(self, names: set[str]) -> None:
        wanted = [("identity." + key, tag) for key, tag in (self.identity or IdentityEntry()) if tag is not None]
        wanted += [("sale.sequence", self.sale.sequence)] if self.sale else []
        wanted += [(f"events.{i}.tag", event.tag) for i, event in enumerate(self.events)]
        for key, tag in wanted:
            numbered = key in {"identity.encoder_serials", "sale.sequence"}
            if numbered and NUMBER not in tag:
                raise ValueError(f"{key}: {tag!r} must name the tag of each nozzle; write {NUMBER} for its number")
            if (tag.replace(NUMBER, "1") if numbered else tag) not in names:
                near = difflib.get_close_matches(tag, [entry.name for entry in self.tags], 1)
                raise ValueError(f"{key}: no tag {tag!r}" + (f"; did you mean {near[0]!r}?" if near else "; add it"))

    def _stay_in_blocks(self, points: tuple[Point, ...]) -> None:
        places = [(f"tags: {point.tag.name!r}", point.at) for point in points]
        if self.sale:
            nozzles = range(1, self.nozzles + 1)
            places += [("sale", self.sale.slot(n, seq)) for n in nozzles for seq in range(self.sale.slots)]
        for what, place in places:
            if place.size > self.max_registers:
                raise ValueError(f"{what} takes {place.size} registers at once, but max_registers is less; raise it")
            if self.blocks and not any(block.span.holds(place) for block in self.blocks):
                raise ValueError(f"{what} at {place} lies in no block; correct its address or add it to [[blocks]]")
            if place.end > REGISTERS:
                raise ValueError(f"{what} at {place} is beyond the last address, 65535; correct its address")


def load_map(path: Path) -> BrandMap:
    """Read a register map. Raises ``BadConfig`` naming the file, each wrong key and the remedy."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}; check the path and who may read it") from error
    except UnicodeDecodeError as error:
        raise BadConfig(f"{path}: not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{path}: not TOML: {error}; correct it there") from error
    try:
        return BrandMap.model_validate(data)
    except ValidationError as error:
        problems = "\n".join(f"{path}: {_explain(problem, data)}" for problem in error.errors())
        raise BadConfig(problems) from error


def brands_folder() -> Path:
    """Where brand maps are: in the installed package, else in the source tree."""
    package = Path(__file__).parent
    installed = package / "brands"
    return installed if installed.is_dir() else package.parents[1] / "config" / "brands"


def brand_path(brand: str) -> Path:
    """The file of a brand's map. Raises ``BadConfig`` listing the brands there are."""
    folder = brands_folder()
    brands = {path.stem: path for path in folder.glob("*.toml")}
    if brand not in brands:
        near = difflib.get_close_matches(brand, brands, 1)
        hint = f"did you mean {near[0]!r}?" if near else "give one of these, or the path of your own map as 'map'"
        raise BadConfig(f"brand: no map for {brand!r} in {folder}; there are {', '.join(sorted(brands))}; {hint}")
    return brands[brand]


def _explain(problem: ErrorDetails, data: dict[str, Any]) -> str:
    """One complaint of pydantic as key, what is wrong, and the remedy."""
    location = problem["loc"]
    key = ".".join(str(part) for part in location) or "the map"
    if isinstance(name := _named(location, data), str):
        key += f" ({name})"
    match problem["type"]:
        case "extra_forbidden":
            return (
                f"{key}: no such key; remove it or correct its spelling (docs/reference/brand-maps.md lists the keys)"
            )
        case "missing":
            return f"{key}: missing; add it"
        case "value_error":
            return f"{key}: {problem['ctx']['error']}"
        case _:
            return f"{key}: {problem['msg']}, not {problem['input']!r}; correct it"


def _named(location: tuple[str | int, ...], data: dict[str, Any]) -> object:
    """The name of the tag that a complaint is about, because nobody counts to tags.17."""
    if len(location) < 2 or location[0] != "tags" or not isinstance(location[1], int):
        return None
    try:
        return data["tags"][location[1]].get("name")
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
