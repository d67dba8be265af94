"""known_signature: what a list may say, what is wrong with it by line, and which devices fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pumpwatch import BadConfig, DeviceEvent, DeviceIdentity, EventKind, Severity
from pumpwatch_integrity.signatures import COLUMNS, KnownSignature, SignatureSettings, read_signatures

EXAMPLE = Path(__file__).parents[2] / "config" / "signatures.csv"
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "import-a-signature-list.md"
HEADER = "kind,serial,version,digest,code,name,name_en,severity,source\n"


@pytest.fixture
def listed(tmp_path):
    def make(*lines, header=HEADER):
        file = tmp_path / "list.csv"
        file.write_text(header + "".join(f"{line}\n" for line in lines), encoding="utf-8")
        return file

    return make


@pytest.fixture
def judged(kit, listed):
    def judge(record, *lines):
        rule = KnownSignature(SignatureSettings(list=listed(*lines)))
        return kit.judge(rule, [record], kit.county())

    return judge


@pytest.fixture
def told(kit):
    return DeviceIdentity(
        "S01", "S01-D1", kit.NOON, serial="SER-1", mainboard_serial="MB-FAKE-7", firmware_version="9.9.1-x",
        firmware_digest="ab" * 32, tax_serial="TAX-1", encoder_serials={"S01-N02": "EN-PLUS-3"},
    )  # fmt: skip


class TestFits:
    @pytest.mark.parametrize(
        ("line", "subject", "severity"),
        [
            ("mainboard,mb-fake-*,,,,n,,,s", "S01-D1", Severity.CRITICAL),
            ("mainboard,MB-FAKE-?,9.9.*,,,n,,high,s", "S01-D1", Severity.HIGH),
            ("software,,9.9.1-X,,,n,,medium,s", "S01-D1", Severity.MEDIUM),
            (f"software,,,{'ab' * 32},,n,,,s", "S01-D1", Severity.CRITICAL),
            ("encoder,EN-PLUS-*,,,,n,,,s", "S01-N02", Severity.CRITICAL),
            ("tax,TAX-[01],,,,n,,low,s", "S01-D1", Severity.LOW),
            ("dispenser,SER-1,,,,n,,,s", "S01-D1", Severity.CRITICAL),
        ],
    )
    def test_what_fits(self, judged, told, line, subject, severity):
        (finding,) = judged(told, line)
        assert (finding.subject.key, finding.severity, finding.cause) == (subject, severity, "identity_change")

    @pytest.mark.parametrize(
        "line",
        [
            "encoder,MB-FAKE-*,,,,n,,,s",
            "mainboard,MB-FAKE-,,,,n,,,s",
            "mainboard,MB-FAKE-*,1.*,,,n,,,s",
            "software,,9.9,,,n,,,s",
            "software,,,,61,n,,,s",
        ],
    )
    def test_what_does_not(self, judged, told, line):
        assert judged(told, line) == []

    def test_a_work_order_is_no_excuse_and_a_repeat_is_one(self, kit, judged, told):
        line = "mainboard,MB-FAKE-*,,,,虚构主板,Invented board,,示例所"
        (one,) = judged(told, line)
        (two,) = judged(replace(told, at=kit.NOON.replace(hour=9)), line)
        assert one.id == two.id
        assert "Invented board" in one.explanation.what.en
        assert "虚构主板" in one.explanation.what.zh
        assert "Line 2" in one.explanation.why.en

    def test_events_and_codes(self, kit, judged):
        board = DeviceEvent(kit.NOON, "S01", "S01-D1", EventKind.IDENTITY, {"mainboard_serial": "MB-FAKE-7"})
        assert len(judged(board, "mainboard,MB-FAKE-*,,,,n,,,s")) == 1
        code = DeviceEvent(kit.NOON, "S01", "S01-D1", EventKind.ALARM, {"code": "E999", "nozzle_id": "S01-N02"})
        (finding,) = judged(code, "software,,,,e99?,n,,medium,s")
        assert finding.subject.key == "S01-N02"
        assert judged(replace(code, device_id="TLS", detail={"code": "E999"}), "software,,,,E999,n,,,s") == []
        assert judged(replace(code, kind=EventKind.POWER), "software,,,,E999,n,,,s") == []

    def test_without_a_list_it_says_nothing(self, kit, told):
        assert kit.judge(KnownSignature(SignatureSettings()), [told], kit.county()) == []


class TestErrors:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("board,MB-1,,,,n,,,s", "kind: 'board' is none of mainboard"),
            ("mainboard,MB-1,,,,,,,s", "name: is empty"),
            ("mainboard,MB-1,,,,n,,urgent,s", "severity: 'urgent' is none of info"),
            ("mainboard,,,,,n,,,s", "has no pattern; fill one of serial"),
            ("mainboard,*,,,,n,,,s", "'*' would match every device"),
            ("mainboard,MB-1,,,E1,n,,,s", "code: is told without serial"),
            ("mainboard,MB-1,,,,n,,,s,more", "has 10 cells, the header 9"),
        ],
    )
    def test_a_line_names_itself_and_the_remedy(self, listed, line, said):
        file = listed("# a remark", "mainboard,MB-2,,,,n,,,s", line)
        with pytest.raises(BadConfig) as error:
            read_signatures(file)
        assert str(error.value).startswith(f"{file}:4: ")
        assert said in str(error.value)

    def test_all_lines_at_once(self, listed):
        with pytest.raises(BadConfig) as error:
            read_signatures(listed("x,MB-1,,,,n,,,s", "y,MB-1,,,,n,,,s"))
        assert [line.split(": ")[0].rsplit(":", 1)[1] for line in str(error.value).splitlines()] == ["2", "3"]

    @pytest.mark.parametrize(
        ("header", "said"),
        [
            ("kind,seriall,name\n", "column 'seriall' is not known; did you mean 'serial'?"),
            ("serial,name\n", "column 'kind' is missing"),
            ("kind,name,serial,serial\n", "column 'serial' is there twice"),
            ("kind,name,source\n", "there is nothing to compare"),
            ("", "there is no header"),
        ],
    )
    def test_the_header(self, listed, header, said):
        with pytest.raises(BadConfig, match=":1: ") as error:
            read_signatures(listed(header=header))
        assert said in str(error.value)

    def test_a_file_that_is_not_there_or_no_text(self, tmp_path):
        with pytest.raises(BadConfig, match=r"cannot be read .*\[rules.known_signature\] list"):
            KnownSignature(SignatureSettings(list=tmp_path / "none.csv"))
        (tmp_path / "gbk.csv").write_bytes((HEADER + "mainboard,MB-1,,,,示例,,,s\n").encode("gb18030"))
        with pytest.raises(BadConfig, match="CSV UTF-8"):
            read_signatures(tmp_path / "gbk.csv")


def test_the_example_is_a_list_and_says_that_it_is_invented():
    entries = read_signatures(EXAMPLE)
    assert len(entries) >= 5
    assert {entry.kind for entry in entries} >= {"mainboard", "encoder", "software", "tax"}
    assert all("虚构" in entry.name.zh and "Invented" in entry.name.en for entry in entries)


def test_the_page_names_every_column():
    page = HOW_TO.read_text(encoding="utf-8")
    assert all(f"| `{column}` |" in page for column in COLUMNS)
