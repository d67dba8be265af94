"""tax_memory, tax_serial: the first sale that tax control lacks is told, and another memory; honest days are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
import worlds

from pumpwatch import (
    CHANNEL_ABSENT,
    CHANNEL_UNHEARD,
    DeviceEvent,
    DeviceIdentity,
    EventKind,
    Severity,
    Subject,
    WorkOrder,
    to_us,
)
from pumpwatch.detection import arbitrate
from pumpwatch.past import Channel
from pumpwatch.testing.rules import order_free, screened, without
from pumpwatch_tax.tax_memory import TaxMemory, TaxMemorySettings
from pumpwatch_tax.tax_serial import TaxSerial, TaxSerialSettings


def rule(**keys):
    return TaxMemory(TaxMemorySettings(**keys))


def taxed(kit, seq, **more):
    tax = more.pop("tax_l", 20.0)
    return kit.sale(seq, 20.0, tax_l=tax, payment=more.pop("payment", "card"), **more)


def a_day(kit, last, before=5):
    """Some sales with their tax record, then one more."""
    return [*(taxed(kit, seq) for seq in range(1, before + 1)), last]


def said(kit, sales, history=None, **keys):
    return kit.judge(rule(**keys), sales, history or kit.county())


@pytest.mark.parametrize("tax", [20.0, 20.01, 19.98])
def test_a_sale_in_tax_control_is_quiet(kit, tax):
    assert said(kit, a_day(kit, taxed(kit, 6, tax_l=tax))) == []


@pytest.mark.parametrize("tax", [None, 0.0, 19.9, 20.03])
def test_a_sale_that_tax_control_lacks_is_told_at_once(kit, tax):
    last = taxed(kit, 6, tax_l=tax)
    (finding,) = said(kit, a_day(kit, last))
    assert (finding.cause, finding.severity) == ("tax_memory_gap", Severity.HIGH)
    assert finding.subject.key == "S01"
    assert (finding.onset, finding.detected_at) == (last.start, last.end)
    assert (finding.estimate.low, finding.estimate.high) == (0.0, 100.0)


def unheard(sale, code=CHANNEL_UNHEARD):
    told = {"code": code, "channel": "tax", "seq": sale.seq}
    return DeviceEvent(sale.end, "S01", sale.nozzle_id, EventKind.ALARM, told)


def test_a_sale_whose_tax_port_was_not_heard_is_not_judged(kit):
    """Nor does it count against the next one that tax control surely lacks."""
    history = kit.county()
    silent = [taxed(kit, seq, tax_l=None) for seq in (6, 7, 8)]
    for sale in silent:
        history.take(unheard(sale))
    assert said(kit, [*a_day(kit, silent[0]), *silent[1:]], history) == []
    (finding,) = said(kit, [*a_day(kit, silent[0]), *silent[1:], taxed(kit, 9, tax_l=None)], history)
    assert finding.evidence[1].data["without_tax_record"] == 1


def test_what_was_not_heard_and_is_absent_after_all_is_told(kit):
    history = kit.county()
    last = taxed(kit, 6, tax_l=None)
    history.take(unheard(last))
    history.take(unheard(last, CHANNEL_ABSENT))
    assert len(said(kit, a_day(kit, last), history)) == 1


def test_own_use_is_no_sale(kit):
    assert said(kit, a_day(kit, taxed(kit, 6, tax_l=None, payment="own_use"))) == []


def test_a_nozzle_without_tax_control_is_quiet(kit):
    assert said(kit, [taxed(kit, seq, tax_l=None) for seq in range(1, 80)]) == []


def test_without_payments_three_must_be_missing(kit):
    sales = [*(taxed(kit, seq, payment=None) for seq in range(1, 6))]
    sales += [taxed(kit, seq, payment=None, tax_l=None) for seq in range(6, 10)]
    found = said(kit, sales)
    assert [f.detected_at for f in found] == [sale.end for sale in sales[7:]]


def test_a_power_cut_in_the_sale_makes_it_a_note(kit):
    history = kit.county()
    last = taxed(kit, 6, tax_l=None)
    history.take(DeviceEvent(last.end, "S01", "S01-D2", EventKind.POWER, {"up": True}))
    (finding,) = said(kit, a_day(kit, last), history)
    assert finding.severity is Severity.INFO
    elsewhere = kit.county()
    elsewhere.take(DeviceEvent(last.end, "S01", "S01-D1", EventKind.POWER, {"up": True}))
    (finding,) = said(kit, a_day(kit, last), elsewhere)
    assert finding.severity is Severity.HIGH


def test_one_a_nozzle_and_day_and_a_note_hides_nothing(kit):
    history = kit.county()
    sales = a_day(kit, taxed(kit, 6, tax_l=None))
    history.take(DeviceEvent(sales[-1].end, "S01", "S01-D2", EventKind.POWER, {"up": True}))
    sales += [taxed(kit, seq, tax_l=None) for seq in range(12, 16)]
    found = said(kit, sales, history)
    assert [f.severity for f in found] == [Severity.INFO, Severity.HIGH]
    tomorrow = taxed(kit, 16, tax_l=None, start=kit.NOON + timedelta(days=1))
    assert [f.detected_at for f in said(kit, [tomorrow], history)] == [tomorrow.end]


def replaced(kit, at=None, serial="TAX-NEW", dispenser="S01-D2"):
    return DeviceEvent(at or kit.NOON, "S01", dispenser, EventKind.IDENTITY, {"tax_serial": serial})


class TestBlankHours:
    def test_they_belong_to_the_replaced_memory(self, kit):
        history = kit.county()
        history.take(replaced(kit, kit.NOON + timedelta(minutes=55)))
        assert said(kit, a_day(kit, taxed(kit, 6, tax_l=None)), history) == []
        late = taxed(kit, 7, tax_l=None, start=kit.NOON + timedelta(days=9))
        assert len(said(kit, [late], history)) == 1

    def test_the_registered_serial_excuses_nothing(self, kit):
        history = kit.county()
        history.take(replaced(kit, serial=" tax-2"))
        assert len(said(kit, a_day(kit, taxed(kit, 6, tax_l=None)), history)) == 1

    def test_saying_it_again_makes_them_no_longer(self, kit):
        history = kit.county()
        for days in (-12, -6, 0):
            history.take(replaced(kit, kit.NOON + timedelta(days=days)))
        assert len(said(kit, a_day(kit, taxed(kit, 6, tax_l=None)), history)) == 1


class TestPowerCutsWithoutEnd:
    def test_they_excuse_two_sales_of_a_nozzle_a_day(self, kit):
        history = kit.county()
        sales = [*(taxed(kit, seq) for seq in range(1, 6)), *(taxed(kit, seq, tax_l=None) for seq in range(6, 12))]
        for sale in sales:
            history.take(DeviceEvent(sale.end, "S01", "S01-D2", EventKind.POWER, {"up": True}))
        severities = [f.severity for f in said(kit, sales, history)]
        assert severities == [Severity.INFO, Severity.INFO, Severity.HIGH]

    def test_a_cut_every_few_days_excuses_nothing(self, kit):
        history = kit.county()
        sale = taxed(kit, 6, tax_l=None)
        for days in range(0, 15, 3):
            history.take(DeviceEvent(sale.end - timedelta(days=days), "S01", "S01", EventKind.POWER, {"up": True}))
        assert [f.severity for f in said(kit, a_day(kit, sale), history)] == [Severity.HIGH]


class TestReplacedMemory:
    def told(self, kit, *records, history=None):
        return kit.judge(TaxSerial(TaxSerialSettings()), list(records), history or kit.county())

    def test_another_serial_is_told_at_its_dispenser(self, kit):
        (finding,) = self.told(kit, replaced(kit))
        assert (finding.cause, finding.severity) == ("tax_memory_gap", Severity.CRITICAL)
        assert (finding.subject.dispenser_id, finding.subject.nozzle_id) == ("S01-D2", None)

    @pytest.mark.parametrize("serial", ["TAX-2", " tax-2\0"])
    def test_the_registered_serial_is_quiet(self, kit, serial):
        assert self.told(kit, replaced(kit, serial=serial)) == []

    def test_nothing_registered_nothing_said(self, kit):
        history = kit.county()
        history.dispensers["S01-D2"] = replace(history.dispensers["S01-D2"], tax_serial=None)
        assert self.told(kit, replaced(kit), history=history) == []

    def test_said_each_minute_it_is_one_finding(self, kit):
        told = [DeviceIdentity("S01", "S01-D2", kit.NOON + timedelta(minutes=m), tax_serial="TAX-NEW") for m in (1, 2)]
        found = self.told(kit, replaced(kit), *told)
        assert len({f.id for f in found}) == 1
        assert {f.onset for f in found} == {kit.NOON}

    @pytest.mark.parametrize(("institute", "severity"), [("I", Severity.INFO), (None, Severity.CRITICAL)])
    def test_a_repair_signed_by_all_three_makes_it_a_note(self, kit, institute, severity):
        history = kit.county()
        history.orders.append(WorkOrder("S01", "S01-D2", kit.NOON - timedelta(hours=3), "repair", "R", institute, "S"))
        (finding,) = self.told(kit, replaced(kit), history=history)
        assert finding.severity is severity


def test_sales_without_record_swallow_no_changed_identity(kit):
    """They are the station's, each day anew: what a dispenser says of itself is another affair."""
    (sale,) = said(kit, a_day(kit, taxed(kit, 6, tax_l=None)))
    other = replace(sale, id="other", rule="identity_change", cause="identity_change", subject=Subject("S01", "S01-D1"))
    assert {claim.root.rule for claim in arbitrate([sale, other], [TaxMemory, TaxSerial])} == {
        "tax_memory",
        "identity_change",
    }


@pytest.mark.parametrize("percent", [5.0, 98.99])
def test_t01_is_found_on_the_first_record(percent):
    past, (item,) = worlds.world("T01", days=28, percent=percent)
    found = worlds.judged(past, TaxMemory)
    onset = to_us(datetime.fromisoformat(item["onset"]))
    missing = past.sales.end_us[np.isnan(past.sales.tax_l) & (past.sales.start_us >= onset)]
    assert to_us(found[0].detected_at) == missing.min()
    assert {(f.cause, f.subject.key, f.severity) for f in found} == {("tax_memory_gap", "S01", Severity.HIGH)}
    assert found[-1].estimate.low <= percent <= found[-1].estimate.high
    assert len(found) <= len(past.nozzles) * 9


def test_t02_is_one_finding_at_the_dispenser():
    past, (item,) = worlds.world("T02", days=28)
    (finding,) = worlds.judged(past, TaxMemory, TaxSerial)
    assert finding.subject.key == item["subject"]["dispenser_id"]
    assert finding.detected_at == datetime.fromisoformat(item["onset"])
    assert np.isnan(past.sales.tax_l).any()
    assert {"identity_change", "sequence_gap"} <= TaxSerial.explains


@pytest.mark.parametrize("name", ["H05", "H10", "H11"])
def test_honest_days_are_quiet(name):
    past, _ = worlds.world(name, days=28)
    assert worlds.judged(past, TaxMemory) == []


def test_order_and_screen_do_not_matter():
    past, _ = worlds.world("T01", days=28, percent=30.0)
    cut = past.between(past.start + timedelta(days=19), past.start + timedelta(days=22))
    assert order_free(TaxMemory(TaxMemorySettings()), cut)
    assert screened(TaxMemory(TaxMemorySettings()), cut)
    other, _ = worlds.world("T02", days=28)
    days = other.between(other.start + timedelta(days=19), other.end)
    order_free(TaxMemory(TaxMemorySettings()), days)
    assert order_free(TaxSerial(TaxSerialSettings()), days)


def test_without_the_channel_it_is_off():
    past, _ = worlds.world("T01", days=28, percent=30.0)
    assert worlds.judged(without(past, Channel.TAX), TaxMemory) == []
