"""A filling that is passed on without a channel and completed later is no edited record, anywhere it is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pumpwatch import DeviceEvent, DeviceIdentity, Transaction
from pumpwatch.detection import LiveHistory
from pumpwatch.historian.answers import newest_records
from pumpwatch.historian.records import Records
from pumpwatch.historian.rows import SHAPES
from pumpwatch.ledger import Register
from pumpwatch.past import resubmission
from pumpwatch_integrity.edited import EditedRecord, EditedSettings
from pumpwatch_tax.tax_memory import TaxMemory, TaxMemorySettings

NOON = datetime(2026, 11, 22, 4, 0, tzinfo=UTC)
FAR = 2**62


def filling(seq: int, **more: object) -> Transaction:
    end = NOON + timedelta(minutes=5 * seq)
    return Transaction("S01-N01", seq, end - timedelta(minutes=1), end, 30.0, 240.0, 8.0, payment="card", **more)  # type: ignore[arg-type]


BARE = filling(7)
TAXED = replace(BARE, tax_l=30.0, tax_cny=240.0)
WHOLE = replace(TAXED, encoder_l=29.98, encoder_pulses=2998)
EDITED = replace(WHOLE, tax_l=28.0)


@pytest.fixture
def history() -> LiveHistory:
    return LiveHistory(Register(), {})


def test_a_completed_filling_is_judged_whole_and_not_as_edited(history: LiveHistory) -> None:
    assert history.take([BARE]) == [BARE]
    assert history.take([TAXED]) == [TAXED]
    assert history.take([WHOLE]) == [WHOLE]
    assert history.take([WHOLE, TAXED, BARE]) == [], "nothing new"
    assert history.known(BARE) == WHOLE
    (event,) = history.take([EDITED])
    assert isinstance(event, DeviceEvent)
    assert list(EditedRecord(EditedSettings()).check(event, history))


def test_a_late_tax_record_takes_the_finding_back(history: LiveHistory) -> None:
    rule = TaxMemory(TaxMemorySettings())
    history.take([filling(seq, tax_l=30.0, tax_cny=240.0) for seq in range(1, 7)])
    history.take([BARE])
    assert len(list(rule.check(history.known(BARE), history))) == 1
    (whole,) = history.take([TAXED])
    assert list(rule.check(whole, history)) == []


@pytest.mark.parametrize("told", [[BARE, TAXED, WHOLE], [WHOLE, BARE, TAXED], [TAXED, WHOLE, WHOLE, BARE]])
def test_the_store_has_one_whole_filling_and_no_event(tmp_path: Path, told: list[Transaction]) -> None:
    store = Records(tmp_path / "records.sqlite")
    store.open()
    try:
        for sale in told:
            store.write([("S01", sale)], [])
        assert store.find(Transaction, limit=10) == [WHOLE]
        assert store.find(DeviceEvent, limit=10) == []
        store.write([("S01", EDITED)], [])
        assert store.find(Transaction, limit=10) == [WHOLE], "what was told first stands"
        (event,) = store.find(DeviceEvent, limit=10)
        assert isinstance(event, DeviceEvent)
        assert event.detail["field"] == "tax_l"
    finally:
        store.close()


def test_several_tellings_in_one_batch_are_one(tmp_path: Path) -> None:
    store = Records(tmp_path / "records.sqlite")
    store.open()
    try:
        store.write([("S01", BARE), ("S01", TAXED), ("S01", WHOLE)], [])
        assert store.find(Transaction, limit=10) == [WHOLE]
        assert store.find(DeviceEvent, limit=10) == []
    finally:
        store.close()


def test_an_answer_from_journal_and_store_is_whole() -> None:
    assert newest_records(SHAPES[Transaction], [BARE], [TAXED, WHOLE], 10) == [WHOLE]


@pytest.mark.parametrize("later", [TAXED, WHOLE, BARE])
def test_completing_is_no_resubmission(later: Transaction) -> None:
    assert resubmission(BARE, later, "S01") is None
    assert resubmission(later, BARE, "S01") is None
    assert resubmission(EDITED, WHOLE, "S01") is not None


def test_pump_and_tax_port_tell_parts_of_one_identity(history: LiveHistory) -> None:
    pump = DeviceIdentity(
        "S01", "S01-D1", NOON, serial="D-1", mainboard_serial="MB-1", encoder_serials={"S01-N01": "E-1"}
    )
    board = DeviceIdentity("S01", "S01-D1", NOON + timedelta(minutes=1), tax_serial="1234567890")
    for order in ([pump, board], [board, pump]):
        history.take(order)
        known = history.latest_identity("S01-D1")
        assert known is not None
        assert (known.at, known.mainboard_serial, known.tax_serial) == (board.at, "MB-1", "1234567890")
        assert known.encoder_serials == {"S01-N01": "E-1"}
