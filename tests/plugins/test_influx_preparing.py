"""``pumpwatch store init``: what is asked of a server of each generation. InfluxDB 1 is real, 2 and 3 are played."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from influx_server import InfluxServer, needed

from pumpwatch import NotReachable, Refused
from pumpwatch_influx.settings import InfluxSettings
from pumpwatch_influx.store import InfluxStore

TOKEN = "not-a-real-token"
Answer = tuple[int, object]


@contextmanager
def played(answer: Callable[[str, str, dict[str, str], Any], Answer], version: str) -> Iterator[str]:
    """A server that answers method, route, query and JSON body; its address."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            parts = urlsplit(self.path)
            if parts.path == "/ping":
                status, told = 204, None
            else:
                assert self.headers["authorization"] == f"Token {TOKEN}"
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                status, told = answer(self.command, parts.path, query, body)
            content = b"" if told is None else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("X-Influxdb-Version", version)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815 - so the base class calls them

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def store_on(url: str, **more: object) -> InfluxStore:
    return InfluxStore(InfluxSettings.model_validate({"url": url, "token": TOKEN} | more), Path("unused"))


class Second:
    """What InfluxDB 2 knows of buckets and mappings."""

    def __init__(self) -> None:
        self.buckets: list[dict[str, Any]] = []
        self.mappings: list[dict[str, Any]] = []

    def __call__(self, method: str, route: str, query: dict[str, str], body: Any) -> Answer:
        if route == "/api/v2/orgs":
            known = query.get("org") == "pumpwatch"
            return (200, {"orgs": [{"id": "0a", "name": "pumpwatch"}]}) if known else (404, {"code": "not found"})
        if route == "/api/v2/buckets" and method == "GET":
            return 200, {"buckets": [b for b in self.buckets if b["name"] == query["name"]]}
        if route == "/api/v2/buckets":
            self.buckets.append(body | {"id": f"b{len(self.buckets)}"})
            return 201, self.buckets[-1]
        if route.startswith("/api/v2/buckets/") and method == "PATCH":
            bucket = next(b for b in self.buckets if b["id"] == route.rpartition("/")[2])
            bucket |= {"retentionRules": body["retentionRules"]}
            return 200, bucket
        if route == "/api/v2/dbrps" and method == "GET":
            return 200, {"content": [m for m in self.mappings if m["bucketID"] == query["bucketID"]]}
        if route == "/api/v2/dbrps":
            self.mappings.append(body | {"id": f"m{len(self.mappings)}"})
            return 201, self.mappings[-1]
        return 404, {"code": "not found"}


async def test_version_2_gets_buckets_and_mappings_once() -> None:
    second = Second()
    with played(second, "v2.7.11") as url:
        await store_on(url).prepare()
        done = await store_on(url, samples_days=30).prepare()
    kept = {b["name"]: b["retentionRules"][0]["everySeconds"] for b in second.buckets}
    assert kept == {
        "pumpwatch/samples": 30 * 86_400,
        "pumpwatch/readings": 1_100 * 86_400,
        "pumpwatch/records": 0,
    }
    mapped = {(m["database"], m["retention_policy"], m["default"]) for m in second.mappings}
    assert mapped == {("pumpwatch", "samples", True), ("pumpwatch", "readings", False), ("pumpwatch", "records", False)}
    assert len(second.mappings) == 3
    assert done[0] == "bucket pumpwatch/samples: 30 days; mapped for InfluxQL"


async def test_version_2_without_the_organisation_or_the_right_is_refused() -> None:
    with played(Second(), "v2.7.11") as url, pytest.raises(Refused, match=r"404|no organisation"):
        await store_on(url, org="nobody").prepare()
    with (
        played(lambda *_: (403, {"code": "forbidden", "message": TOKEN}), "v2.7.11") as url,
        pytest.raises(Refused, match=r"403.*must be allowed to write buckets") as told,
    ):
        await store_on(url).prepare()
    assert TOKEN not in str(told.value)


async def test_version_3_gets_databases_named_as_buckets() -> None:
    asked: list[Any] = []

    def third(method: str, route: str, query: dict[str, str], body: Any) -> Answer:
        asked.append((method, route, body))
        return (409, {"error": "exists"}) if body["db"].endswith("records") else (200, None)

    with played(third, "3.2.1") as url:
        done = await store_on(url).prepare()
    assert [body for _, _, body in asked] == [
        {"db": "pumpwatch/samples", "retention_period": "92d"},
        {"db": "pumpwatch/readings", "retention_period": "1100d"},
        {"db": "pumpwatch/records"},
    ]
    assert "was there" in done[2]


async def test_a_server_that_does_not_tell_its_version_is_asked_for_in_the_settings() -> None:
    with played(lambda *_: (200, None), "unknown") as url:
        with pytest.raises(Refused, match="set version"):
            await store_on(url).prepare()
        assert len(await store_on(url, version=3).prepare()) == 3


async def test_nobody_there() -> None:
    with played(lambda *_: (200, None), "x") as url:
        pass
    for version in (None, 1, 2, 3):
        with pytest.raises(NotReachable, match="is InfluxDB running"):
            await store_on(url, version=version, timeout_s=2).prepare()


@pytest.mark.integration
async def test_version_1_gets_retention_policies_and_changes_them(tmp_path: Path) -> None:
    needed()
    server = InfluxServer(tmp_path)
    try:
        server.start()
        store = server.store(samples_days=30)
        await store.prepare()
        await server.store(samples_days=60, tank_readings_days=0).prepare()
        await store.open()
        ((rows,),) = await store._server.query(['SHOW RETENTION POLICIES ON "pumpwatch"'])
        kept = {row["name"]: row["duration"] for row in rows.named()}
        await store.close()
    finally:
        server.close()
    assert kept == {"autogen": "0s", "samples": "1440h0m0s", "readings": "0s", "records": "0s"}
