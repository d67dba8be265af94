"""``python -m pumpwatch`` is the command ``pumpwatch``."""

from pumpwatch.cli import main

main()
