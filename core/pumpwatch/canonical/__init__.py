"""The canonical data set: a whole county's tables as files, in and out; stands on ledger and historian."""

from pumpwatch.canonical.exporting import ExportedTable, ExportProgress, Format, Span, export_folder
from pumpwatch.canonical.folder import hold, holder
from pumpwatch.canonical.importing import import_each, import_file, import_folder
from pumpwatch.canonical.measured import MEASURED_TABLES, TABLES
from pumpwatch.canonical.partitioning import (
    PARTITIONED,
    SAMPLES,
    SAMPLES_SCHEMA,
    check_tables,
    export_partitioned,
    samples_table,
    write_partitioned,
)
from pumpwatch.canonical.pasts import FarPast, Pasts

__all__ = [
    "MEASURED_TABLES",
    "PARTITIONED",
    "SAMPLES",
    "SAMPLES_SCHEMA",
    "TABLES",
    "ExportProgress",
    "ExportedTable",
    "FarPast",
    "Format",
    "Pasts",
    "Span",
    "check_tables",
    "export_folder",
    "export_partitioned",
    "hold",
    "holder",
    "import_each",
    "import_file",
    "import_folder",
    "samples_table",
    "write_partitioned",
]
