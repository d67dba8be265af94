"""The world on the clock: its ports and ptys, their faults, and the control port."""
