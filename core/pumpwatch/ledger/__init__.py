"""The ledger: which stations, dispensers, tanks and nozzles there are, and what is registered of them; floor 4."""

from pumpwatch.ledger.canonical import LEDGER_TABLES, Entry
from pumpwatch.ledger.importing import ImportProgress, ImportReport, RowProblem, TableReport
from pumpwatch.ledger.ledger import Ledger
from pumpwatch.ledger.register import Register, id_order
from pumpwatch.ledger.upserts import Fate

__all__ = [
    "LEDGER_TABLES",
    "Entry",
    "Fate",
    "ImportProgress",
    "ImportReport",
    "Ledger",
    "Register",
    "RowProblem",
    "TableReport",
    "id_order",
]
