"""Debian's InfluxDB 1.6 and nginx before it, as processes on free ports in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

import pumpwatch_influx
from pumpwatch_influx.settings import InfluxSettings
from pumpwatch_influx.store import InfluxStore

MAPPING = Path(str(files(pumpwatch_influx))) / "nginx-influxdb-1.6.conf"
PATIENCE_S = 60


class InfluxServer:
    """One server that can be stopped and started again with what it had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.door = _free_port(), _free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        text = MAPPING.read_text().replace("127.0.0.1:8086", f"127.0.0.1:{self.port}")
        (folder / "mapping.conf").write_text(text.replace("127.0.0.1:8087", f"127.0.0.1:{self.door}"))
        temporary = " ".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{user} daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary} include {folder}/mapping.conf; }}\n"
        )

    @property
    def url(self) -> str:
        """Of nginx, where pumpwatch asks."""
        return f"http://127.0.0.1:{self.door}"

    def store(self, **more: object) -> InfluxStore:
        """A store on this server."""
        settings = {"url": self.url, "samples_days": 0, "tank_readings_days": 0} | more
        return InfluxStore(InfluxSettings.model_validate(settings), self.folder / "store")

    def start(self) -> None:
        """Start what does not run, and wait until it answers."""
        if "influxd" not in self._processes:
            self._run("influxd", ["influxd"])
        if "nginx" not in self._processes:
            self._run("nginx", ["nginx", "-c", f"{self.folder}/nginx.conf", "-p", str(self.folder)])
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                if httpx.get(f"{self.url}/ping", trust_env=False).status_code == 204:
                    return
            except httpx.HTTPError:
                pass
            dead = [name for name, process in self._processes.items() if process.poll() is not None]
            assert not dead, f"{dead} ended: {(self.folder / f'{dead[0]}.out').read_text()[-2000:]}"
            assert time.monotonic() < until, "InfluxDB does not answer"
            time.sleep(0.05)

    def stop(self, name: str = "influxd", how: int = signal.SIGTERM) -> None:
        """Stop one of the two; nothing of what it acknowledged is lost."""
        process = self._processes.pop(name)
        process.send_signal(how)
        process.wait(PATIENCE_S)

    def close(self) -> None:
        """Stop what runs."""
        for name in list(self._processes):
            self.stop(name, signal.SIGKILL)

    def _run(self, name: str, command: list[str]) -> None:
        own = {
            "META_DIR": self.folder / "meta",
            "DATA_DIR": self.folder / "data",
            "DATA_WAL_DIR": self.folder / "wal",
            "DATA_INDEX_VERSION": "tsi1",
            "HTTP_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "BIND_ADDRESS": "127.0.0.1:0",
            "HTTP_LOG_ENABLED": "false",
            "REPORTING_DISABLED": "true",
            "MONITOR_STORE_ENABLED": "false",
        }
        environment = os.environ | {f"INFLUXDB_{key}": str(value) for key, value in own.items()}
        with (self.folder / f"{name}.out").open("ab") as out:
            self._processes[name] = subprocess.Popen(command, stdout=out, stderr=out, env=environment)


def needed() -> None:
    """Skip where the two are not installed."""
    missing = [name for name in ("influxd", "nginx") if shutil.which(name, path=_path()) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed; apt install influxdb nginx-light")


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
