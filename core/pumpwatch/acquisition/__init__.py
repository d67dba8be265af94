"""Runs drivers: when to read, under which deadline, what a failure means, and what is worth passing on; floor 4."""

from pumpwatch.acquisition.displays import Displays
from pumpwatch.acquisition.scanning import Acquisition, Device

__all__ = ["Acquisition", "Device", "Displays"]
