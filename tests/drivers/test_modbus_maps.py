"""Register maps: those that come along are sound, and a wrong one says which file, which key and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch import BadConfig, ScanClass, Site, TagKind
from pumpwatch.testing import ScriptedLine
from pumpwatch_modbus import ModbusDriver, ModbusSettings
from pumpwatch_modbus.brandmap import brand_path, brands_folder, load_map

BRANDS = sorted(path.stem for path in brands_folder().glob("*.toml"))
SMALL = """
title = "Small"
nozzles = 2
[[blocks]]
first = 0
last = 99
[[tags]]
name = "nozzle-{n}.volume"
address = 10
type = "u32"
scale = 0.01
repeat = 2
stride = 20
[[tags]]
name = "nozzle-{n}.sequence"
address = 12
type = "u32"
repeat = 2
stride = 20
[[tags]]
name = "identity.serial"
address = 0
type = "ascii"
length = 8
"""
SALE = """
[sale]
sequence = "nozzle-{n}.sequence"
address = 50
slots = 2
registers = 10
slot_stride = 10
nozzle_stride = 20
[sale.fields]
seq = { offset = 0, type = "u16" }
start = { offset = 1, type = "u32" }
end = { offset = 3, type = "u32" }
volume_l = { offset = 5, type = "u32", scale = 0.01 }
amount_cny = { offset = 7, type = "u32", scale = 0.01 }
unit_price = { offset = 9, type = "u16", scale = 0.01 }
"""


def driver_of(nozzles: int = 2, **settings: object) -> ModbusDriver:
    ids = tuple(f"S01-N{n:02d}" for n in range(1, nozzles + 1))
    return ModbusDriver(ModbusSettings(unit=1, **settings), Site("S01", "D1", "S01-D1", ids), ScriptedLine({}))


def test_the_brands_that_come_along() -> None:
    assert BRANDS == ["compac-c5000", "generic-4"]


@pytest.mark.parametrize("brand", BRANDS)
def test_every_brand_loads_and_explains_its_tags(brand: str) -> None:
    driver = driver_of(1, brand=brand)
    tags = driver.tags()
    assert len({tag.name for tag in tags}) == len(tags) > 10
    assert all(tag.description for tag in tags)
    assert {"nozzle-1.volume", "nozzle-1.amount", "nozzle-1.flow", "nozzle-1.totalizer"} <= {tag.name for tag in tags}


def test_the_generic_map_has_the_standard_tags() -> None:
    tags = {tag.name: tag for tag in driver_of(4, brand="generic-4").tags()}
    units = {
        "state": "",
        "volume": "L",
        "amount": "CNY",
        "flow": "L/min",
        "price": "CNY/L",
        "totalizer": "L",
        "totalizer_amount": "CNY",
        "sequence": "",
        "encoder_serial": "",
    }
    for n in range(1, 5):
        assert {name: tags[f"nozzle-{n}.{name}"].unit for name in units} == units
    identity = {"serial", "mainboard_serial", "firmware_version", "firmware_digest", "tax_serial"}
    assert {tags[f"identity.{name}"].kind for name in identity} == {TagKind.IDENTITY}
    assert {tags[f"identity.{name}"].scan for name in identity} == {ScanClass.SLOW}
    assert "clock" in tags
    assert all(tag.scan is ScanClass.FAST for name, tag in tags.items() if name.endswith((".state", ".volume")))


def test_only_configured_nozzles_have_tags() -> None:
    names = {tag.name for tag in driver_of(2, brand="generic-4").tags()}
    assert "nozzle-2.volume" in names
    assert not any(name.startswith(("nozzle-3", "nozzle-4")) for name in names)


def test_a_map_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(SMALL + SALE)
    assert [tag.name for tag in driver_of(2, map=path).tags()][:2] == ["nozzle-1.volume", "nozzle-2.volume"]


WRONG = [
    ('title = "Small"', "", "title: missing; add it"),
    ("nozzles = 2", "nozzles = -1", "nozzles: Input should be greater than or equal to 0, not -1"),
    ("address = 10", "adress = 10", r"tags\.0\.adress \(nozzle-\{n\}.volume\): no such key"),
    ("address = 10", "address = 70000", r"tags\.0\.address \(nozzle-\{n\}.volume\): .*less than 65536, not 70000"),
    ('type = "u32"', 'type = "u31"', r"tags\.0\.type .*'u16', 'i16'.* not 'u31'"),
    ("scale = 0.01", "scale = 0", r"tags\.0\.scale .*greater than 0"),
    ("length = 8", "", r"tags\.2 \(identity\.serial\): how many registers is this ascii\? add the key 'length'"),
    ("scale = 0.01", "length = 2", r"tags\.0 .*a u32 has no length of its own; remove"),
    ("stride = 20", "", r"tags\.0 .*a stride of 1 or more"),
    ("repeat = 2", "repeat = 3", r"'nozzle-\{n\}.volume' needs repeat = 2"),
    ('name = "nozzle-{n}.sequence"', 'name = "nozzle-{n}.volume"', r"'nozzle-1.volume' is there twice; rename"),
    ("address = 12", "address = 120", r"'nozzle-1.sequence' at 120–121 lies in no block; .*add it to \[\[blocks\]\]"),
    ("last = 99", "last = -1", r"blocks\.0\.last"),
    ("first = 0\nlast = 99", "first = 9\nlast = 8", r"blocks\.0: last is before first"),
    ("offset = 9", "offset = 10", r"sale: fields\.unit_price ends behind the slot"),
    ("slots = 2", "slots = 0", r"sale\.slots"),
    ("[sale.fields]", "[sale.fields]\nvolume = { offset = 0, type = 'u16' }", r"sale\.fields\.volume: no such key"),
    ('sequence = "nozzle-{n}.sequence"', 'sequence = "nozzle-{n}.seqence"', r"sale\.sequence: .*did you mean"),
    ('sequence = "nozzle-{n}.sequence"', 'sequence = "nozzle-1.sequence"', r"sale\.sequence: .*write \{n\}"),
    ("address = 50", "address = 90", r"sale at 100–109 lies in no block"),
    ('title = "Small"', 'title = "Small"\nmax_registers = 9', "takes 10 registers at once, but max_registers is less"),
    ("[sale]", '[identity]\nserial = "identity.serail"\n[sale]', r"identity\.serial: no tag .*did you mean"),
    ("[sale]", '[[events]]\ntag = "cover"\nkind = "cover"\nkey = "open"\n[sale]', r"events\.0\.tag: no tag 'cover'"),
    (
        "[sale]",
        '[[events]]\ntag = "x"\nkind = "party"\nkey = "open"\n[sale]',
        r"events\.0\.kind.*'identity'.*not 'party'",
    ),
    ("[sale]", "[sale", "not TOML: .*line"),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG, ids=[said[:40] for _, _, said in WRONG])
def test_a_wrong_map_is_explained(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    assert old in SMALL + SALE
    path.write_text((SMALL + SALE).replace(old, new, 1))
    with pytest.raises(BadConfig, match=said) as caught:
        load_map(path)
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(SMALL.replace("address = 10", "address = -1").replace("length = 8", "length = 0"))
    with pytest.raises(BadConfig) as caught:
        load_map(path)
    assert len(str(caught.value).splitlines()) == 2


def test_a_map_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"no-such.toml: No such file"):
        load_map(tmp_path / "no-such.toml")
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    with pytest.raises(BadConfig, match="save it as UTF-8"):
        load_map(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"brand": "generic-5"}, "no map for 'generic-5'.*compac-c5000, generic-4; did you mean 'generic-4'"),
        ({"brand": "../../etc"}, "there are compac-c5000, generic-4"),
        ({"brand": "generic-4", "max_registers": 31}, "max_registers: registers 200–231 .*more than 31; raise it"),
        ({"brand": "generic-4", "base_offset": -1}, "base_offset: -1 moves addresses to -1"),
        ({"brand": "generic-4", "base_offset": 65300}, "base_offset: 65300 moves"),
    ],
)
def test_settings_that_can_never_work(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        driver_of(2, **settings)


def test_more_nozzles_than_the_map_knows() -> None:
    with pytest.raises(BadConfig, match="2 given, but 'Compac C5000' has 1"):
        driver_of(2, brand="compac-c5000")


@pytest.mark.parametrize(
    "settings",
    [
        {"unit": 0},
        {"unit": 248},
        {"unit": 1, "brand": None},
        {"unit": 1, "map": "x.toml"},
        {"unit": 1, "max_registers": 126},
        {"unit": 1, "framing": "ascii"},
        {"unit": 1, "word_order": "little"},
        {"unit": 1, "uint": 1},
        {},
    ],
)
def test_settings_are_checked(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="ModbusSettings"):
        ModbusSettings.model_validate({"brand": "generic-4"} | settings)


def test_brand_files_are_found_by_name() -> None:
    assert brand_path("generic-4") == brands_folder() / "generic-4.toml"
