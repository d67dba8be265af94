"""Rules about papers: certificates, licences, seals, repairs and covert tests, against what the station sells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumpwatch import hookimpl
from pumpwatch_papers.covert import CovertTests
from pumpwatch_papers.expiry import CertificateExpired
from pumpwatch_papers.licences import LicenceExpired
from pumpwatch_papers.repairs import UnverifiedRepair
from pumpwatch_papers.seals import Seals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumpwatch.contracts import Rule

__all__ = ["CertificateExpired", "CovertTests", "LicenceExpired", "Seals", "UnverifiedRepair", "pumpwatch_detectors"]


@hookimpl
def pumpwatch_detectors() -> Sequence[type[Rule]]:
    """Name the rules of this plugin."""
    return [CertificateExpired, CovertTests, LicenceExpired, Seals, UnverifiedRepair]
