"""Errors with meaning: each of the four is tied to one reaction of the core; floor 1."""

from __future__ import annotations


class PumpwatchError(Exception):
    """Anything pumpwatch raises on purpose; its text names the place and the remedy."""


class NotReachable(PumpwatchError):  # noqa: N818 - the field's word, not a suffix
    """Nothing answers. The core marks the tags ``not_connected``, backs off and tries again."""


class BadReply(PumpwatchError):  # noqa: N818
    """Something answered, but not what the protocol says. The tags become ``bad_reply``; the next scan tries again."""


class Refused(PumpwatchError):  # noqa: N818
    """The device understood and said no. The tags become ``refused``; the core backs off."""


class BadConfig(PumpwatchError):  # noqa: N818
    """What was asked for can never work. The core does not start what it concerns, and says so."""
