"""What all rules say: titles that fit, signs that stand, no verdict in any word."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pumpwatch_integrity
import pumpwatch_metering
from pumpwatch import DeviceEvent, DeviceIdentity, EventKind, PluginSettings, Text, wording
from pumpwatch.contracts import Rule
from pumpwatch.wording import litres, percent, signed_litres, yuan
from pumpwatch_integrity import IdentityChange, LinkLost
from pumpwatch_metering import Amount, Flow, Price, PulseRatio, TotalizerContinuity

PLUGINS = [pumpwatch_metering, pumpwatch_integrity]


def findings(kit, nozzle="S01-N03", dispenser="S01-D1"):
    """A finding of every kind."""
    history = kit.county()
    history.nozzles[nozzle] = replace(history.nozzles["S01-N03"], nozzle_id=nozzle)
    history.dispensers[dispenser] = replace(history.dispensers["S01-D1"], dispenser_id=dispenser)
    found = []
    for i, displayed in enumerate([20.04, 20.1, 20.14, 25.6, 19.95, 19.0, 10.0]):
        sale = kit.sale(i, displayed, 2000, nozzle=nozzle)
        found += kit.judge(PulseRatio(PulseRatio.Settings()), [sale], history)
    found += kit.judge(PulseRatio(PulseRatio.Settings()), [kit.sale(50, 5.0, 0, nozzle=nozzle)], history)
    for i, (total, cny) in enumerate([(100.0, 750.0), (110.1, 825.0), (150.0, 1000.0), (60.0, None), (9.0, None)]):
        sale = kit.sale(100 + i, 10.0, nozzle=nozzle, totalizer_l=total, totalizer_cny=cny)
        found += kit.judge(TotalizerContinuity(TotalizerContinuity.Settings()), [sale], history)
    dear = replace(kit.sale(200, 20.0, nozzle=nozzle, tax_l=20.0, tax_cny=140.0), amount_cny=151.0)
    fast = [kit.sale(200 + i, 2_500.0 + i, nozzle=nozzle) for i in (1, 2)]
    for rule in (Amount(Amount.Settings()), Price(Price.Settings(ceiling_cny_l={"92#": 7.0})), Flow(Flow.Settings())):
        found += kit.judge(rule, [dear, *fast], history)
    changed = DeviceIdentity("S01", dispenser, kit.NOON, firmware_version="X" * 16, encoder_serials={nozzle: "ENC-1"})
    many = replace(changed, serial="X", tax_serial="Y", mainboard_serial="Z", firmware_digest="cd" * 32)
    found += kit.judge(IdentityChange(IdentityChange.Settings()), [changed, many], history)
    for device in ("D1", "D2", "TLS"):
        history.take(DeviceEvent(kit.NOON, "S01", device, EventKind.LINK, {"up": False, "reason": "timeout"}))
        found += LinkLost(LinkLost.Settings()).look(history, kit.NOON + timedelta(seconds=9))
    return found


def texts(finding):
    said = finding.explanation
    return [said.title, said.what, said.why, said.otherwise, said.on_site]


LONG = [("S01-N03", "S01-D1"), ("PUMP-WEST-SIDE-NOZZLE-0000017", "DISPENSER-AT-THE-WESTERN-GATE-0001")]


@pytest.mark.parametrize(("nozzle", "dispenser"), LONG)
def test_titles_fit_lists(kit, nozzle, dispenser):
    found = findings(kit, nozzle, dispenser)
    assert {f.cause for f in found} == {
        "short_delivery",
        "out_of_tolerance",
        "offline_sale",
        "totalizer_rollback",
        "overcharging",
        "under_declared_sales",
        "synthetic_data",
        "identity_change",
        "collector_outage",
    }
    for finding in found:
        title = finding.explanation.title
        assert sum(1 if ord(c) >= 0x2E80 else 0.5 for c in title.zh) <= 20
        assert len(title.en) <= 40


def test_no_verdict_and_no_loose_sign(kit):
    for finding in findings(kit):
        for text in texts(finding):
            assert text.zh.strip()
            assert text.en.strip()
            assert not re.search(r"作弊|欺诈|诈骗", text.zh)
            assert not re.search(r"fraud|cheat|steal|theft", text.en, re.IGNORECASE)
            for said in (text.zh, text.en):
                assert not re.search(r"(?<![\w])-\d", said), said
                assert not re.search(r"\{|\}|None|nan", said), said
            for value in re.findall(r"(?<![\d.±+−])\d[\d.,]*%", text.zh.replace("95% 区间", "")):
                pytest.fail(f"an error without its sign: {value} in {text.zh}")
        assert not re.search(r"[\u4e00-\u9fff]", "".join(t.en for t in texts(finding)).replace("示例", ""))


def test_findings_are_plain_json_and_in_order(kit):
    for finding in findings(kit):
        for evidence in finding.evidence:
            json.dumps(dict(evidence.data), allow_nan=False)
        assert finding.onset <= finding.detected_at
        if finding.estimate is not None and finding.estimate.high is not None:
            assert finding.estimate.low <= finding.estimate.value <= finding.estimate.high


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_register_rules_with_settings_of_their_own(plugin):
    rules = plugin.pumpwatch_detectors()
    assert rules
    for rule in rules:
        assert issubclass(rule, Rule)
        assert rule.Settings is not PluginSettings
        rule(rule.Settings())
        assert all(f.description for f in rule.Settings.model_fields.values())


def test_rules_have_names_of_their_own():
    names = [rule.rule for plugin in PLUGINS for rule in plugin.pumpwatch_detectors()]
    assert len(set(names)) == len(names)
    assert {"identity_change", "pulse_ratio", "totalizer_continuity", "amount", "price", "flow"} <= set(names)


def test_the_hooks_are_found_by_a_plugin_manager():
    import pluggy

    from pumpwatch.contracts import Hooks

    manager = pluggy.PluginManager("pumpwatch")
    manager.add_hookspecs(Hooks)
    for plugin in PLUGINS:
        manager.register(plugin)
    manager.check_pending()
    found = [rule for rules in manager.hook.pumpwatch_detectors() for rule in rules]
    assert set(found) == {rule for plugin in PLUGINS for rule in plugin.pumpwatch_detectors()}


class TestFigures:
    @pytest.mark.parametrize(
        ("value", "said"), [(3.0149, "+3.01%"), (-0.42, "−0.42%"), (0.0, "+0.00%"), (1234.5, "+1,234.50%")]
    )
    def test_percent(self, value, said):
        assert percent(value) == said

    def test_litres_and_yuan(self):
        assert litres(20.6) == "20.60 L"
        assert signed_litres(-1500) == "−1,500.00 L"
        assert (yuan(31.5), yuan(-4.5), yuan(-0.001)) == ("¥31.50", "−¥4.50", "¥0.00")


class TestLabels:
    @pytest.mark.parametrize(
        ("nozzle_id", "zh", "en"),
        [
            ("S01-N03", "3号枪", "Nozzle 3"),
            ("S01-N10", "10号枪", "Nozzle 10"),
            ("A-B-N007", "7号枪", "Nozzle 7"),
            ("S01-N", "加油枪S01-N", "Nozzle S01-N"),
            ("N03", "加油枪N03", "Nozzle N03"),
            ("S01-N3x", "加油枪S01-N3x", "Nozzle S01-N3x"),
        ],
    )
    def test_nozzle(self, nozzle_id, zh, en):
        assert wording.nozzle_label(nozzle_id) == Text(zh, en)

    @given(name=st.text(max_size=80))
    def test_a_title_always_fits_and_keeps_its_figure(self, name):
        title = wording.title(Text(name, name), "少付 +3.01%", "short +3.01%")
        assert title.zh.endswith("少付 +3.01%")
        assert title.en.endswith("short +3.01%")
        assert sum(1 if ord(c) >= 0x2E80 else 0.5 for c in title.zh) <= 20
        assert len(title.en) <= 40
