"""Shared wires, over TCP, TLS, RFC 2217 and serial ports; floor 3."""

from __future__ import annotations

from pumpwatch.line.shared import SILENCES_BEFORE_REOPEN, WireLine
from pumpwatch.line.wire import LONGEST_REPLY, MOST_HEARD, Wire, WireEar

__all__ = ["LONGEST_REPLY", "MOST_HEARD", "SILENCES_BEFORE_REOPEN", "Wire", "WireEar", "WireLine"]
