"""Rules that watch whether a dispenser is still the registered one, and whether what is told of it can be true."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_integrity.campaign import FirmwareCampaign
from pumpwatch_integrity.clean import TooClean
from pumpwatch_integrity.clock import ClockBackwards, ClockFault
from pumpwatch_integrity.clones import ClonedSerial
from pumpwatch_integrity.edited import EditedRecord
from pumpwatch_integrity.frozen import FrozenGauge
from pumpwatch_integrity.identity import IdentityChange
from pumpwatch_integrity.jamming import Jamming
from pumpwatch_integrity.link import LinkLost
from pumpwatch_integrity.locks import SelfLock
from pumpwatch_integrity.outage import OutageSales
from pumpwatch_integrity.replayed import ReplayedData
from pumpwatch_integrity.signatures import KnownSignature
from pumpwatch_integrity.twins import StationTwins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch.contracts import Rule

__all__ = [
    "ClockBackwards",
    "ClockFault",
    "ClonedSerial",
    "EditedRecord",
    "FirmwareCampaign",
    "FrozenGauge",
    "IdentityChange",
    "Jamming",
    "KnownSignature",
    "LinkLost",
    "OutageSales",
    "ReplayedData",
    "SelfLock",
    "StationTwins",
    "TooClean",
    "pumpwatch_detectors",
]


@hookimpl
def pumpwatch_detectors() -> Sequence[type[Rule]]:
    """Name the rules of this plugin."""
    return [
        IdentityChange,
        ClonedSerial,
        FirmwareCampaign,
        KnownSignature,
        SelfLock,
        EditedRecord,
        ClockFault,
        ClockBackwards,
        OutageSales,
        Jamming,
        FrozenGauge,
        TooClean,
        ReplayedData,
        StationTwins,
        LinkLost,
    ]
