"""One cause, one alarm, whatever order the findings came in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

from by_hand import day, finding, nozzle
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.contracts import Review
from pumpwatch.detection.arbitration import PIECES_KEPT, arbitrate, contains, episodes
from pumpwatch.model import Evidence, Finding, Severity, Subject


def rule(name: str, *causes: str) -> type[Review]:
    return type(name, (Review,), {"rule": name, "explains": frozenset(causes)})


IDENTITY = rule("identity", "sequence_gap", "totalizer_rollback", "short_delivery")
SEQUENCE = rule("sequence", "totalizer_rollback")
PULSES = rule("pulse_ratio")
TOTALIZER = rule("totalizer")
RULES = (IDENTITY, SEQUENCE, PULSES, TOTALIZER)
DISPENSER = Subject("S01", "S01-D1")


def shape(claims: Any) -> list[tuple[str, tuple[str, ...]]]:
    return [(claim.root.rule, tuple(each.root.rule for each in claim.consequences)) for claim in claims]


def test_an_episode_ends_after_seven_days_of_quiet() -> None:
    told = [finding(at=at) for at in (0.0, 1.0, 7.9, 14.9, 21.91)]
    claims = episodes(told)
    assert [1 + len(claim.later) for claim in claims] == [4, 1]
    assert claims[0].root is told[0]
    assert [1 + len(claim.later) for claim in episodes(told, timedelta(hours=23))] == [1] * 5


def test_episodes_are_of_one_rule_cause_and_subject() -> None:
    told = [finding(), finding("other"), finding(cause="leak"), finding(subject=nozzle(2)), finding(at=0.5)]
    assert len(episodes(told)) == 4


@given(st.permutations([finding(at=at, subject=nozzle(n)) for n in (1, 2) for at in (0.0, 3.0, 12.0, 20.0)]))
def test_order_and_repeats_change_nothing(told: list[Finding]) -> None:
    assert episodes([*told, *told]) == episodes(sorted(told, key=lambda each: each.id))


def test_a_replaced_board_explains_what_it_breaks() -> None:
    told = [
        finding("identity", "identity_change", DISPENSER, at=10.0),
        finding("sequence", "sequence_gap", at=10.2),
        finding("totalizer", "totalizer_rollback", at=10.2),
        finding("pulse_ratio", "short_delivery", at=10.2),
        finding("pulse_ratio", "short_delivery", at=12.0),
    ]
    expected = arbitrate(told, RULES)
    assert shape(expected) == [("identity", ("pulse_ratio", "sequence", "totalizer"))]
    assert len(expected[0].findings) == 5
    for order in permutations(told):
        assert arbitrate(order, RULES) == expected
    pieces = expected[0].finding.evidence
    assert [piece.kind for piece in pieces] == ["finding"] * 3
    assert pieces[0].reference == told[3].id
    assert pieces[0].data["findings"] == 2
    assert expected[0].finding.id == told[0].id


def test_what_is_elsewhere_or_at_another_time_is_an_alarm_of_its_own() -> None:
    board = finding("identity", "identity_change", DISPENSER, at=10.0)
    for other in (
        finding("sequence", "sequence_gap", nozzle(5, dispenser=2), at=10.2),
        finding("sequence", "sequence_gap", Subject("S01"), at=10.2),
        finding("sequence", "sequence_gap", nozzle(station="S02"), at=10.2),
        finding("sequence", "sequence_gap", at=11.1),
        finding("sequence", "sequence_gap", at=8.9),
        finding("sequence", "leak", at=10.2),
    ):
        assert len(arbitrate([board, other], RULES)) == 2, other
    assert len(arbitrate([board, finding("sequence", "sequence_gap", at=11.0)], RULES)) == 1
    assert len(arbitrate([board, finding("sequence", "sequence_gap", at=30.0, onset=9.0)], RULES)) == 1


def test_a_rule_does_not_explain_its_own() -> None:
    told = [finding("sequence", "totalizer_rollback"), finding("sequence", "sequence_gap")]
    assert len(arbitrate(told, RULES)) == 2


def test_what_is_told_more_exactly_is_one_alarm_however_far_apart() -> None:
    tank = finding(subject=Subject("S01", tank_id="S01-T1"), at=10.0, onset=3.0)
    sharper = replace(finding(subject=nozzle(), at=11.0, onset=9.0, severity=Severity.MEDIUM), sharpens=tank.id)
    for order in permutations([tank, sharper]):
        (claim,) = arbitrate(order, RULES)
        assert (claim.root, claim.findings) == (sharper, (sharper, tank))
    told = [tank, sharper, finding("identity", "identity_change", DISPENSER, at=9.0)]
    assert shape(arbitrate(told, RULES)) == [("identity", ("pulse_ratio", "pulse_ratio"))]
    assert len(arbitrate([tank, replace(sharper, sharpens="another")], RULES)) == 2


def test_what_only_informs_takes_no_alarm_over() -> None:
    tank = finding(subject=Subject("S01", tank_id="S01-T1"), at=10.0)
    note = replace(finding(at=11.0, severity=Severity.INFO), sharpens=tank.id)
    assert [claim.root for claim in arbitrate([tank, note], RULES)] == [tank, note]


def test_of_two_explanations_the_nearer_counts() -> None:
    told = [
        finding("identity", "identity_change", at=9.5),
        finding("identity", "identity_change", DISPENSER, at=10.1),
        finding("totalizer", "totalizer_rollback", at=10.2),
    ]
    assert shape(arbitrate(told, RULES)) == [("identity", ()), ("identity", ("totalizer",))]


def test_what_follows_from_a_consequence_follows_from_its_cause() -> None:
    told = [
        finding("identity", "identity_change", at=10.0),
        finding("sequence", "sequence_gap", at=10.9),
        finding("totalizer", "totalizer_rollback", at=11.8),
    ]
    assert shape(arbitrate(told, RULES)) == [("identity", ("sequence", "totalizer"))]


def test_rules_that_explain_each_other_do_not_swallow_both() -> None:
    one, two = rule("one", "b"), rule("two", "a")
    told = [finding("one", "a", at=1.0), finding("two", "b", at=1.2)]
    for order in (told, told[::-1]):
        assert shape(arbitrate(order, (one, two))) == [("one", ("two",))]


def test_information_does_not_hide_an_alarm() -> None:
    note = finding("identity", "identity_change", severity=Severity.INFO)
    assert len(arbitrate([note, finding("sequence", "sequence_gap")], RULES)) == 2
    assert len(arbitrate([note, finding("sequence", "sequence_gap", severity=Severity.INFO)], RULES)) == 1


def test_the_claim_is_as_severe_as_its_episode() -> None:
    told = [finding(severity=Severity.INFO), finding(at=1.0, severity=Severity.MEDIUM)]
    (claim,) = arbitrate(told, RULES)
    assert claim.severity is Severity.MEDIUM
    assert claim.root.severity is Severity.INFO


def test_evidence_stays_short() -> None:
    board = finding("identity", "identity_change", DISPENSER)
    board = Finding(**{
        name: getattr(board, name) for name in board.__slots__ if name != "evidence"
    }, evidence=tuple(Evidence("record", str(n)) for n in range(18)))  # fmt: skip
    told = [board, *(finding("sequence", "sequence_gap", nozzle(n), at=0.1) for n in range(4))]
    (claim,) = arbitrate(told, RULES)
    assert len(claim.consequences) == 4
    assert len(claim.finding.evidence) == PIECES_KEPT


def test_contains() -> None:
    station, tank = Subject("S01"), Subject("S01", tank_id="S01-T1")
    assert contains(station, nozzle()) and contains(DISPENSER, nozzle()) and contains(nozzle(), nozzle())
    assert contains(station, tank)
    assert not contains(nozzle(), DISPENSER)
    assert not contains(tank, nozzle())
    assert not contains(station, nozzle(station="S02"))
    assert day(0) == finding().detected_at


@given(st.permutations([finding(at=10.0 + n / 10, subject=nozzle(n)) for n in (1, 2, 3, 4)]))
def test_what_happens_to_many_nozzles_at_once_is_one_alarm(told: list[Finding]) -> None:
    (claim,) = arbitrate(told, RULES)
    assert claim.root.subject == nozzle(1)
    assert [each.root.subject for each in claim.consequences] == [nozzle(2), nozzle(3), nozzle(4)]
    assert len(arbitrate(told[:2], RULES)) == 2


def test_many_nozzles_on_many_days_are_many_alarms() -> None:
    assert len(arbitrate([finding(at=2.0 * n, subject=nozzle(n)) for n in (1, 2, 3, 4)], RULES)) == 4
