"""What follows from what, while findings come one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pumpwatch import Explanation, Finding, PluginSettings, RecordRule, Severity, Subject, Text
from pumpwatch.detection.affairs import KEPT, Affairs

NOON = datetime(2026, 3, 2, 4, tzinfo=UTC)


class Replaced(RecordRule):
    """Explains a gap and a changed identity."""

    rule = "replaced"
    watches = ()
    explains = frozenset({"sequence_gap", "identity_change"})

    def check(self, record, history):
        """Nothing."""
        return ()


def finding(name, rule="sequence", cause="sequence_gap", onset=NOON, severity=Severity.HIGH, **subject):
    text = Text("示例", "demo")
    said = Explanation(text, text, text, text, text)
    where = Subject("S01", **({"dispenser_id": "S01-D1"} | subject))
    return Finding(name, rule, cause, where, severity, (), onset, onset, said)


def root(**more):
    return finding("root", "replaced", "tax_memory_gap", **more)


@pytest.fixture
def affairs():
    return Affairs([Replaced(PluginSettings())])


def test_a_consequence_after_its_cause(affairs):
    assert affairs.take(root()) == (None, [])
    assert affairs.take(finding("a", nozzle_id="S01-N01")) == (root(), [])


def test_a_cause_after_its_consequence(affairs):
    affairs.take(finding("a", onset=NOON - timedelta(hours=3)))
    assert affairs.take(root()) == (None, [finding("a", onset=NOON - timedelta(hours=3))])


@pytest.mark.parametrize(
    "other",
    [
        finding("a", cause="offline_sale"),
        finding("a", onset=NOON + timedelta(days=1, seconds=1)),
        finding("a", dispenser_id="S01-D2"),
        finding("a", rule="replaced"),
    ],
)
def test_what_is_of_another_kind_time_thing_or_the_rule_itself_stands_alone(affairs, other):
    affairs.take(root())
    assert affairs.take(other) == (None, [])


def test_what_is_told_more_exactly_goes_to_what_tells_it(affairs):
    vague = finding("vague", onset=NOON - timedelta(days=9), dispenser_id=None, tank_id="S01-T1")
    sharper = replace(finding("sharper", nozzle_id="S01-N01"), sharpens="vague")
    assert affairs.take(vague) == (None, [])
    assert affairs.take(sharper) == (None, [vague])
    assert affairs.take(vague) == (sharper, [])


def test_what_is_told_more_exactly_goes_to_the_cause_of_what_tells_it(affairs):
    vague = finding("vague", onset=NOON - timedelta(days=9), dispenser_id=None, tank_id="S01-T1")
    affairs.take(vague)
    affairs.take(root())
    assert affairs.take(replace(finding("sharper"), sharpens="vague")) == (root(), [vague])


def test_what_only_informs_takes_no_alarm_over(affairs):
    affairs.take(finding("vague", tank_id="S01-T1"))
    assert affairs.take(replace(finding("note", severity=Severity.INFO), sharpens="vague")) == (None, [])


def test_what_only_informs_explains_no_alarm(affairs):
    affairs.take(root(severity=Severity.INFO))
    assert affairs.take(finding("a")) == (None, [])
    told = finding("b", severity=Severity.INFO, onset=NOON + timedelta(hours=1))
    assert affairs.take(told)[0] == root(severity=Severity.INFO)


def test_many_nozzles_at_once_are_the_stations_affair(affairs):
    def at(nozzle, minutes):
        name = f"n{nozzle}-{minutes}"
        return finding(name, nozzle_id=f"S01-N0{nozzle}", onset=NOON + timedelta(minutes=minutes))

    assert affairs.take(at(1, 0)) == (None, [])
    assert affairs.take(at(2, 5)) == (None, [])
    assert affairs.take(at(3, 9)) == (at(1, 0), [at(2, 5)]), "the second alarm goes to the first, too"
    assert affairs.take(at(1, 30)) == (None, []), "the first goes on in its own alarm"
    assert affairs.take(at(4, 31)) == (at(1, 0), []), "they have been told"
    assert affairs.take(at(5, 26 * 60)) == (None, []), "another day is another affair"


def test_what_was_withdrawn_is_forgotten(affairs):
    affairs.take(finding("a"))
    affairs.forget("a")
    assert affairs.take(root()) == (None, [])
    affairs.forget("root")
    assert affairs.take(finding("b")) == (None, [])


def test_a_rule_that_repeats_itself_pushes_nothing_out(affairs):
    affairs.take(root())
    for n in range(KEPT + 5):
        affairs.take(finding(f"a{n}", rule="other", cause="offline_sale"))
    assert affairs.take(finding("b"))[0] == root()


def test_what_is_recalled_explains_and_follows_as_if_there_had_been_no_stop(affairs):
    vague, other = finding("vague"), finding("other", cause="offline_sale")
    affairs.recall([vague, other, vague])
    sharper = replace(finding("sharper", nozzle_id="S01-N01"), sharpens="vague")
    assert affairs.take(sharper) == (None, [vague])


def test_a_cause_that_is_recalled_explains_what_comes(affairs):
    affairs.recall([root()])
    assert affairs.take(finding("a", nozzle_id="S01-N01")) == (root(), [])
