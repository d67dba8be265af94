from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from pumpwatch import BadConfig, PluginSettings
from pumpwatch.settings import (
    ApiSettings,
    BadSettings,
    LineAddress,
    Problem,
    Settings,
    StationSettings,
    load_settings,
    parse_settings,
    problems_from,
    resolve_secret,
)

ROOT = Path(__file__).parents[3]

GOOD = """\
[server]
name = "示例县"
[api]
port = 9000
[acquisition]
fast_s = 2
[rules.pulse_ratio]
enabled = false
limit_percent = 0.3
[[stations]]
id = "S01"
[[stations.devices]]
id = "D1"
driver = "modbus"
line = "tcp://127.0.0.1:15001"
dispenser = "S01-D1"
nozzles = ["S01-N01", "S01-N02"]
settings = { brand = "generic-4", unit = 1 }
[[stations.devices]]
id = "D2"
driver = "modbus"
line = "tcp://127.0.0.1:15001"
"""


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(BadSettings) as bad:
        parse_settings(text)
    assert str(bad.value) == "\n".join(map(str, bad.value.problems))
    return list(bad.value.problems)


def only(text: str) -> Problem:
    (problem,) = problems_of(text)
    return problem


def test_good_settings() -> None:
    settings = parse_settings(GOOD)
    assert settings.server.name == "示例县"
    assert (settings.api.host, settings.api.port, settings.api.token) == ("127.0.0.1", 9000, None)
    assert (settings.acquisition.fast_s, settings.acquisition.normal_s) == (2.0, 10.0)
    assert settings.rules == {"pulse_ratio": {"enabled": False, "limit_percent": 0.3}}
    device = settings.stations[0].devices[0]
    assert device.nozzles == ("S01-N01", "S01-N02")
    assert device.settings == {"brand": "generic-4", "unit": 1}
    assert device.address == LineAddress("tcp", host="127.0.0.1", port=15001)
    assert settings.source.lines.line(("stations", 0, "devices", 0, "settings", "unit")) == 18


def test_nothing_written_is_all_defaults() -> None:
    assert parse_settings("") == Settings()
    assert Settings().acquisition.model_dump() == {
        "fast_s": 1.0,
        "normal_s": 10.0,
        "slow_s": 30.0,
        "timeout_s": 1.0,
        "heartbeat_s": 10.0,
        "backoff_max_s": 10.0,
    }


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        parse_settings(GOOD).api.port = 1


def test_all_problems_at_once_each_with_line_place_and_remedy() -> None:
    text = (
        GOOD.replace("port = 9000", "prot = 9000").replace("fast_s = 2", "fast_s = 0").replace('id = "D2"', 'id = "D1"')
    )
    text = text.replace("enabled = false", 'enabled = "no"').replace('driver = "modbus"\n', "", 1)
    assert [str(p) for p in problems_of(text)] == [
        "config.toml:4: api.prot: is not a known key — did you mean `port`?",
        "config.toml:6: acquisition.fast_s: must be more than 0, not 0 — write a number more than 0",
        "config.toml:8: rules.pulse_ratio.enabled: must be true or false — write true or false, without quotes",
        "config.toml:12: stations[0].devices[0].driver: is missing — add `driver = …`: Name of the driver that speaks "
        "with it, for example `modbus`; `pumpwatch plugins` lists them",
        'config.toml:19: stations[0].devices[1].id: "D1" is already the id of stations[0].devices[0] — '
        "give each of the devices of this station an id of its own",
    ]


@pytest.mark.parametrize(
    ("text", "line", "place", "message", "remedy"),
    [
        ("\nsation = 1", 2, "sation", "not a known key", "did you mean `stations`"),
        ("[api]\nzzz = 1", 2, "api.zzz", "not a known key", "known here: host, port, token"),
        ("[api]\nport = '8081'", 2, "api.port", 'whole number, not the text "8081"', "without quotes"),
        ("[api]\nport = true", 2, "api.port", "whole number, not true", "digits"),
        ("[api]\nport = 70000", 2, "api.port", "at most 65535, not 70000", "at most 65535"),
        ("[api]\nhost = 'http://x'", 2, "api.host", "not a host", "without http://"),
        ("[api]\nhost = '1.2.3.4:80'", 2, "api.host", "not a host", "port"),
        ("api = 3", 1, "api", "table of keys and values, not 3", "[table]"),
        ("[acquisition]\ntimeout_s = nan", 2, "acquisition.timeout_s", "nan", "digits"),
        ("[acquisition]\ntimeout_s = -1.5", 2, "acquisition.timeout_s", "more than 0, not -1.5", "more than 0"),
        ("[server]\ntime_zone = 'Asia/Shangai'", 2, "server.time_zone", "no time zone", "did you mean `Asia/Shanghai`"),
        ("[server]\ntime_zone = '../etc'", 2, "server.time_zone", "no time zone", "IANA"),
        ("[plugins]\ndisabled = 'modbus'", 2, "plugins.disabled", "a list", "square brackets"),
        ("[rules]\npulse_ratio = 1", 2, "rules.pulse_ratio", "table", "{ key = value }"),
        ("stations = {}", 1, "stations", "a list", "square brackets"),
        ("[[stations]]\nid = 'S 1'", 2, "stations[0].id", "cannot be an id", "no slash"),
        ("[[stations]]\nid='S1'\n[[stations]]\nid='S1'", 4, "stations[1].id", "the id of stations[0]", "of its own"),
        ("[[stations]]\nid = 1", 2, "stations[0].id", "must be text, not 1", "double quotes"),
    ],
)  # fmt: skip
def test_each_problem_in_plain_words(text: str, line: int, place: str, message: str, remedy: str) -> None:
    problem = only(text)
    assert (problem.line, problem.place) == (line, place)
    assert message in problem.message
    assert remedy in problem.remedy


def device(**keys: str) -> str:
    written = {"id": "'D1'", "driver": "'modbus'", "line": "'tcp://h:1'", **keys}
    return "[[stations.devices]]\n" + "".join(f"{key} = {value}\n" for key, value in written.items())


def test_a_bad_line_address() -> None:
    problem = only("[[stations]]\nid = 'S01'\n" + device(line="'udp://10.0.0.1:4001'"))
    assert (problem.line, problem.place) == (6, "stations[0].devices[0].line")
    assert "rfc2217://" in problem.message
    assert "tcp://" in problem.remedy


def test_a_nozzle_twice_in_a_device() -> None:
    assert '"N1" stands there twice' in only("[[stations]]\nid='S01'\n" + device(nozzles="['N1','N1']")).message


def test_one_serial_port_at_two_speeds() -> None:
    slow, fast = device(line="'serial:/dev/ttyS1'"), device(id="'D2'", line="'serial:/dev/ttyS1?baud=19200'")
    problem = only("[[stations]]\nid='S01'\n" + slow + "[[stations]]\nid='S02'\n" + fast)
    assert problem.place == "stations[1].devices[0].line"
    assert "opens the same port differently" in problem.message


def test_two_devices_may_name_one_dispenser() -> None:
    keys = {"dispenser": "'S01-D1'"}
    text = "[[stations]]\nid='S01'\n" + device(**keys) + device(id="'T1'", driver="'taxport'", **keys)
    assert len(parse_settings(text).stations[0].devices) == 2


def test_the_same_device_id_in_two_stations_is_fine() -> None:
    assert parse_settings("[[stations]]\nid='S01'\n" + device() + "[[stations]]\nid='S02'\n" + device())


def test_contradictions_are_refused_in_code_too() -> None:
    station = StationSettings(id="S01")
    with pytest.raises(ValidationError, match="already the id"):
        Settings(stations=(station, station))


def test_what_can_be_read_is_kept_for_further_checks_with_its_places() -> None:
    text = GOOD.replace("port = 9000", "prot = 9000").replace('driver = "modbus"', "driver = 3", 1)
    text += "nozzles = ['a b']\n[[stations]]\nid = 'S01'\n"
    with pytest.raises(BadSettings) as bad:
        parse_settings(text)
    rest = bad.value.readable
    assert rest is not None
    assert rest.api == ApiSettings()
    assert [d.driver for d in rest.stations[0].devices] == ["unreadable", "modbus"]
    assert rest.stations[0].devices[1].nozzles == ()
    assert rest.stations[0].devices[0].settings == {"brand": "generic-4", "unit": 1}
    assert rest.source.lines.line(("stations", 0, "devices", 0, "settings", "brand")) == 18


@pytest.mark.parametrize(
    "text",
    [
        "stations = 3",
        "stations = [1]",
        "api = 1",
        "[api]\nhost = '0.0.0.0'",
        "[[stations]]\nid = 'S'\ndevices = [{}, 1]",
    ],
)
def test_hardly_anything_can_be_read(text: str) -> None:
    with pytest.raises(BadSettings) as bad:
        parse_settings(text)
    assert bad.value.readable is not None


# ---------------------------------------------------------------- the API beyond this machine


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "watch.example"])
def test_an_api_beyond_this_machine_needs_a_token(host: str) -> None:
    problem = only(f"[api]\nhost = '{host}'\nport = 1")
    assert (problem.line, problem.place) == (1, "api.token")
    assert host in problem.message
    assert "env:PUMPWATCH_TOKEN" in problem.remedy
    assert parse_settings(f"[api]\nhost = '{host}'\ntoken = 'env:T'").api.token == "env:T"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert parse_settings(f"[api]\nhost = '{host}'").api.token is None


def test_a_secret_in_plain_text_is_refused_and_never_repeated() -> None:
    with pytest.raises(BadSettings) as bad:
        parse_settings("[api]\ntoken = 'hunter2'")
    assert "env:NAME" in str(bad.value)
    assert "hunter2" not in str(bad.value)
    assert "hunter2" not in str(bad.value.__cause__)


def test_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMPWATCH_TOKEN", "abc")
    assert resolve_secret("env:PUMPWATCH_TOKEN") == "abc"
    monkeypatch.delenv("PUMPWATCH_TOKEN")
    with pytest.raises(BadConfig, match="PUMPWATCH_TOKEN is not set"):
        resolve_secret("env:PUMPWATCH_TOKEN")
    kept = tmp_path / "token"
    with pytest.raises(BadConfig, match="cannot be read"):
        resolve_secret(f"file:{kept}")
    kept.write_text("\n")
    with pytest.raises(BadConfig, match="empty"):
        resolve_secret(f"file:{kept}")
    kept.write_text("def\n")
    assert resolve_secret(f"file:{kept}") == "def"
    with pytest.raises(BadConfig, match="as a reference") as refused:
        resolve_secret("hunter2")
    assert "hunter2" not in str(refused.value)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("a = yes", 1, "cannot be read", "double quotes"),
        ("[api]\nhost = “x”", 2, "cannot be read", "straight double quotes"),
        ("[api]\n\n[api]\n", 3, "stands there twice", "keep one"),
        ("[api]\nport = 1\nport = 2\n", 3, "stands there twice", "keep one"),
        ("[api]\nport 1", 2, "no = after the key", "key = value"),
        ("x = \"C:\\data\"", 1, "backslash", "'single quotes'"),
        ("x = 1 y = 2", 1, "behind the value", "a line"),
        ("= 1", 1, "neither a key nor a table", "# comment"),
        ("\n[api\nport = 1", 2, "not closed", "[table]"),
        ("x = [1\ny = 2", 2, "list is not closed", "]"),
        ("x = { a = 1\n}", 1, "braces", "one line"),
        ("x = 1\ny = '''abc\n\nz = 1\n", 2, "closing quote", "close it"),
        ("x = 1\ny = 'abc\nz = 2", 2, "closing quote", "close it"),
        ('x = 1\ny = """abc\nz = 2', 2, "closing quote", "close it"),
        ("x =", 1, "cannot be read", "double quotes"),
    ],
)  # fmt: skip
def test_what_is_not_toml(text: str, line: int, message: str, remedy: str) -> None:
    problem = only(text)
    assert (problem.line, problem.place) == (line, "")
    assert message in problem.message
    assert remedy in problem.remedy


def test_nested_without_end() -> None:
    assert "nested too deeply" in only("x = " + "[" * 100_000).message


def test_a_file_and_its_name_in_problems(tmp_path: Path) -> None:
    path = tmp_path / "county.toml"
    path.write_bytes("\ufeff[api]\r\nport = 1\r\nprot = 2\r\n".encode())
    with pytest.raises(BadSettings) as bad:
        load_settings(path)
    assert str(bad.value) == f"{path}:3: api.prot: is not a known key — did you mean `port`?"
    path.write_text("[api]\nport = 7\n")
    assert load_settings(path).source.file == str(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="no such file"):
        load_settings(tmp_path / "none.toml")
    with pytest.raises(BadSettings, match="cannot be read"):
        load_settings(tmp_path)
    path = tmp_path / "gbk.toml"
    path.write_bytes("[server]\nname = '示例'\n".encode("gbk"))
    with pytest.raises(BadSettings, match=r"gbk\.toml:2: is not UTF-8") as bad:
        load_settings(path)
    assert bad.value.problems[0].remedy == "save the file as UTF-8 (not GBK)"


# ---------------------------------------------------------------- what a plugin's model says


class Inner(PluginSettings):
    seconds: float = Field(default=1.0, description="How long, seconds")


class PumpSettings(PluginSettings):
    brand: Literal["generic-4", "generic-2"]
    unit: int = Field(ge=1, le=247)
    inner: tuple[Inner, ...] = ()
    password: int = 0
    ratio: float = 1.0

    @field_validator("ratio")
    @classmethod
    def _even(cls, value: float) -> float:
        if value == 13:
            raise ValueError("thirteen is unlucky — take twelve")
        return value


def test_a_drivers_own_keys_are_reported_like_ours() -> None:
    text = GOOD.replace('brand = "generic-4", unit = 1', 'brand = "generic-5", untt = 1, ratio = 13, password = "p4ss"')
    settings = parse_settings(text)
    with pytest.raises(ValidationError) as bad:
        PumpSettings.model_validate(settings.stations[0].devices[0].settings)
    place = ("stations", 0, "devices", 0, "settings")
    source = settings.source
    found = problems_from(bad.value, source.file, place, source.lines, PumpSettings)
    assert {p.line for p in found} == {18}
    assert {p.place.removeprefix("stations[0].devices[0].settings."): (p.message, p.remedy) for p in found} == {
        "brand": ('must be one of generic-4 or generic-2, not the text "generic-5"', "did you mean `generic-4`?"),
        "unit": ("is missing", "add `unit = …`"),
        "ratio": ("thirteen is unlucky", "take twelve"),
        "password": ("must be a whole number", "write digits without quotes"),
        "untt": ("is not a known key", "did you mean `unit`?"),
    }


def test_suggestions_reach_into_inner_tables() -> None:
    with pytest.raises(ValidationError) as bad:
        PumpSettings.model_validate(
            {"brand": "generic-4", "unit": 1, "inner": [{"seconds": "x", "second": 1}], "nested": {"a": 1}}
        )
    messages = [str(p) for p in problems_from(bad.value, "f.toml", model=PumpSettings)]
    assert any(m.startswith('f.toml: inner[0].seconds: must be a number, not the text "x" — ') for m in messages)
    assert any(m.startswith("f.toml: nested: is not a known key — known here: brand, unit, inner") for m in messages)
    assert any(m == "f.toml: inner[0].second: is not a known key — did you mean `seconds`?" for m in messages)
    untold = [str(p) for p in problems_from(bad.value, "f.toml")]
    assert "f.toml: nested: is not a known key — take it out" in untold
