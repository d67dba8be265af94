"""Who may bring something: Basic and Digest against httpx's own client side, stale and used nonces, signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch import Call
from pumpwatch_ptsjson import credentials
from pumpwatch_ptsjson.credentials import Gate

USER, PASSWORD, PATH = "s01", "not-a-real-one", "/call/S01/PTS"
NOW = datetime(2026, 9, 1, 4, 0, tzinfo=UTC)
PARAMETERS = ("username", "realm", "nonce", "uri", "qop", "nc", "cnonce", "response")


def gate(scheme: str = "digest", key: str | None = None) -> Gate:
    return Gate(scheme, USER, PASSWORD, key)  # type: ignore[arg-type]


def call(authorization: str | None, body: bytes = b"{}", path: str = PATH, **headers: str) -> Call:
    told = {"authorization": authorization} if authorization is not None else {}
    return Call("POST", told | headers, body, path)


def shown(auth: httpx.Auth, challenge: str | None, path: str = PATH) -> str | None:
    """What a client shows after this challenge; None: it gives up."""
    request = httpx.Request("POST", "http://127.0.0.1" + path, content=b"{}")
    flow = auth.auth_flow(request)
    next(flow)
    if challenge is None:
        return request.headers.get("authorization")
    try:
        flow.send(httpx.Response(401, headers={"www-authenticate": challenge}, request=request))
    except StopIteration:
        return None
    return request.headers.get("authorization")


def digest(asked: Gate, user: str = USER, password: str = PASSWORD, path: str = PATH) -> str | None:
    challenge = asked.challenge(call(None), NOW)
    assert challenge is not None
    return shown(httpx.DigestAuth(user, password), challenge, path)


def test_basic() -> None:
    right = shown(httpx.BasicAuth(USER, PASSWORD), None)
    assert gate("basic").challenge(call(right), NOW) is None
    for wrong in (
        None,
        "",
        "Basic",
        "Basic ????",
        "Bearer x",
        shown(httpx.BasicAuth(USER, "x"), None),
        shown(httpx.BasicAuth("x", PASSWORD), None),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
    ):
        assert gate("basic").challenge(call(wrong), NOW) == 'Basic realm="pumpwatch", charset="UTF-8"'
    assert gate("digest").challenge(call(right), NOW) is not None, "a weaker scheme than asked for is none"


def test_digest() -> None:
    asked = gate()
    assert asked.challenge(call(digest(asked)), NOW) is None
    assert asked.challenge(call(digest(asked, path=PATH + "?a=1"), path=PATH + "?a=1"), NOW) is None
    for wrong in (
        call(digest(asked, password="x")),
        call(digest(asked, user="x")),
        call(digest(asked), path="/call/S02/PTS"),
        call((digest(asked) or "").replace("auth", "auth-int")),
    ):
        refusal = asked.challenge(wrong, NOW)
        assert refusal is not None and refusal.startswith("Digest ")
        assert "stale=true" not in refusal


def test_the_example_of_the_standard() -> None:
    """RFC 7616, 3.9.1, with our realm and nonce: the response is computed as written there."""
    asked = gate()
    challenge = asked.challenge(call(None), NOW) or ""
    nonce = challenge.partition('nonce="')[2].partition('"')[0]
    who = hashlib.md5(f"{USER}:pumpwatch:{PASSWORD}".encode()).hexdigest()
    what = hashlib.md5(f"POST:{PATH}".encode()).hexdigest()
    response = hashlib.md5(f"{who}:{nonce}:0000000a:own:auth:{what}".encode()).hexdigest()
    told = f'Digest username="{USER}", realm="pumpwatch", nonce="{nonce}", uri="{PATH}", qop=auth, nc=0000000a, '
    assert asked.challenge(call(told + f'cnonce="own", response="{response}"'), NOW) is None


def test_what_was_overheard_opens_nothing() -> None:
    asked = gate()
    overheard = digest(asked)
    assert asked.challenge(call(overheard), NOW) is None
    assert "stale=true" in (asked.challenge(call(overheard), NOW) or "")


def test_a_nonce_is_used_up_by_counting() -> None:
    asked = gate()
    auth = httpx.DigestAuth(USER, PASSWORD)
    first = shown(auth, asked.challenge(call(None), NOW))
    second = shown(auth, None)
    assert first != second
    assert asked.challenge(call(first), NOW) is None
    assert asked.challenge(call(second), NOW + timedelta(seconds=300)) is None
    assert "stale=true" in (asked.challenge(call(shown(auth, None)), NOW + timedelta(seconds=301)) or "")


def test_a_nonce_from_before_the_restart_is_stale_and_not_wrong() -> None:
    assert "stale=true" in (gate().challenge(call(digest(gate())), NOW) or "")


def test_nonces_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "MOST_NONCES", 2)
    asked = gate()
    told = [call(digest(asked)) for _ in range(3)]
    assert [asked.challenge(each, NOW) is None for each in told] == [True, True, False]
    later = NOW + timedelta(seconds=301)
    challenge = asked.challenge(call(None), later) or ""
    assert asked.challenge(call(shown(httpx.DigestAuth(USER, PASSWORD), challenge)), later) is None


def test_signatures() -> None:
    asked = gate(key="a-signing-key")
    right = hmac.digest(b"a-signing-key", b"{}", "sha256")
    for given_ in (right.hex(), right.hex().upper(), base64.b64encode(right).decode()):
        assert asked.is_signed(call(None, **{"x-data-signature": given_}))
    assert not asked.is_signed(call(None))
    assert not asked.is_signed(call(None, b"{ }", **{"x-data-signature": right.hex()}))
    assert not asked.is_signed(call(None, **{"x-data-signature": "\u00e9" * 64}))
    assert gate().is_signed(call(None))


@given(st.text(max_size=200) | st.builds(lambda text: "Digest " + text, st.text(max_size=200)))
def test_any_header_is_refused(told: str) -> None:
    for scheme in ("digest", "basic"):
        assert gate(scheme).challenge(call(told), NOW) is not None


@given(st.dictionaries(st.sampled_from(PARAMETERS), st.text(max_size=70)))
def test_any_parameters_are_refused(told: dict[str, str]) -> None:
    asked = gate()
    header = "Digest " + ", ".join(f'{name}="{value}"' for name, value in told.items())
    assert asked.challenge(call(header), NOW) is not None
