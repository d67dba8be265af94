"""``python -m pumpwatch.settings FOLDER`` writes the generated schema and reference below the project's folder."""

from __future__ import annotations

import sys
from pathlib import Path

from pumpwatch.settings.reference import settings_reference, settings_schema_text

GENERATED = {
    "config/pumpwatch.schema.json": settings_schema_text,
    "docs/reference/settings.md": settings_reference,
}


def main() -> None:
    """Write each generated file."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for name, text in GENERATED.items():
        (root / name).write_text(text(), encoding="utf-8")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
