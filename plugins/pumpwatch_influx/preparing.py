"""Sets up a server: database, buckets and how long each keeps what it has. Doing it again changes what is different."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from pumpwatch import BadConfig, NotReachable, Refused
from pumpwatch_influx.influxql import identifier

if TYPE_CHECKING:
    from pumpwatch_influx.server import Server
    from pumpwatch_influx.settings import InfluxSettings

_DAY_S: Final = 86_400
_FOR_EVER: Final = 0
_DONE: Final = 300
_EXISTS: Final = 409


async def prepare(server: Server, settings: InfluxSettings) -> list[str]:
    """Make what is missing; what was done, as sentences. Raises ``NotReachable`` and ``Refused``."""
    policies = {"samples": settings.samples_days, "readings": settings.tank_readings_days, "records": _FOR_EVER}
    version = settings.version or await _version(server)
    if version == 1:
        return await _with_statements(server, settings, policies)
    if version == 2:
        return await asyncio.to_thread(_with_buckets, settings, policies)
    return await _with_databases(server, settings, policies)


async def _version(server: Server) -> int:
    answer = await server.send("GET", "/ping")
    told = answer.headers.get("x-influxdb-version", "")
    digit = next((c for c in told if c.isdigit()), "")
    if digit not in set("123") or not digit:
        raise Refused(
            f"the server does not tell its version ({told!r}); set version = 1, 2 or 3 in the store's settings"
        )
    return int(digit)


def _kept(days: int) -> str:
    return "for ever" if days == _FOR_EVER else f"{days} days"


# ---------------------------------------------------------------- 1.x: InfluxQL


async def _with_statements(server: Server, settings: InfluxSettings, policies: dict[str, int]) -> list[str]:
    database = identifier(settings.database)
    await server.query([f"CREATE DATABASE {database}"])
    (answer,) = await server.query([f"SHOW RETENTION POLICIES ON {database}"])
    known = {str(row["name"]) for rows in answer for row in rows.named()}
    done = [f"database {settings.database}"]
    for name, days in policies.items():
        verb = "ALTER" if name in known else "CREATE"
        length = "INF" if days == _FOR_EVER else f"{days}d"
        replication = "" if name in known else " REPLICATION 1"
        await server.query([f"{verb} RETENTION POLICY {identifier(name)} ON {database} DURATION {length}{replication}"])
        done.append(f"retention policy {settings.database}/{name}: {_kept(days)}")
    return done


# ---------------------------------------------------------------- 2.x: organisation, buckets and their DBRP mapping


def _with_buckets(settings: InfluxSettings, policies: dict[str, int]) -> list[str]:
    try:
        import influxdb_client  # noqa: PLC0415 - slow, and only wanted here
        from influxdb_client.rest import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415
    except ImportError as error:
        raise BadConfig(f"influxdb-client is missing ({error}); pip install 'pumpwatch[influx]'") from error
    library: Any = influxdb_client  # it has no types
    done: list[str] = []
    client = library.InfluxDBClient(
        url=settings.url,
        token=settings.token.get_secret_value() if settings.token else "",
        org=settings.org,
        timeout=round(1_000 * settings.timeout_s),
        verify_ssl=True,
        ssl_ca_cert=str(settings.ca) if settings.ca else None,
    )
    try:
        organisations = client.organizations_api().find_organizations(org=settings.org)
        if not organisations:
            raise Refused(f"there is no organisation {settings.org} on {settings.url}; make it, or correct `org`")
        org_id = organisations[0].id
        buckets, mappings = client.buckets_api(), library.DBRPsService(client.api_client)
        for name, days in policies.items():
            full = f"{settings.database}/{name}"
            rules = library.BucketRetentionRules(type="expire", every_seconds=days * _DAY_S)
            found = buckets.find_buckets(name=full, org_id=org_id).buckets
            if found:
                bucket = found[0]
                bucket.retention_rules = [rules]
                buckets.update_bucket(bucket)
            else:
                wanted = library.PostBucketRequest(org_id=org_id, name=full, retention_rules=[rules])
                bucket = buckets.create_bucket(bucket=wanted)
            known = mappings.get_dbr_ps(org_id=org_id, db=settings.database, rp=name, bucket_id=bucket.id).content
            if not any(not getattr(one, "virtual", False) for one in known or ()):
                mapping = library.DBRPCreate(
                    org_id=org_id,
                    bucket_id=bucket.id,
                    database=settings.database,
                    retention_policy=name,
                    default=name == "samples",
                )
                mappings.post_dbrp(mapping)
            done.append(f"bucket {full}: {_kept(days)}; mapped for InfluxQL")
    except ApiException as error:
        raise Refused(
            f"{settings.url}: InfluxDB answers {error.status} ({error.reason}); the token must be allowed to write "
            f"buckets and mappings of the organisation {settings.org}"
        ) from None  # the exception's text has headers
    except (HTTPError, OSError) as error:
        raise NotReachable(f"{settings.url}: {type(error).__name__}; is InfluxDB running?") from error
    finally:
        client.close()
    return done


# ---------------------------------------------------------------- 3.x: databases named as buckets


async def _with_databases(server: Server, settings: InfluxSettings, policies: dict[str, int]) -> list[str]:
    done: list[str] = []
    for name, days in policies.items():
        full = f"{settings.database}/{name}"
        wanted = {"db": full} | ({} if days == _FOR_EVER else {"retention_period": f"{days}d"})
        answer = await server.send("POST", "/api/v3/configure/database", json=wanted)
        if answer.status_code == _EXISTS:
            done.append(f"database {full} was there; InfluxDB 3 Core cannot change how long it keeps")
            continue
        if answer.status_code >= _DONE:
            raise Refused(f"{settings.url}: InfluxDB answers {answer.status_code} to making the database {full}")
        done.append(f"database {full}: {_kept(days)}")
    return done
