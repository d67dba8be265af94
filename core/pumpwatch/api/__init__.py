"""The HTTP API and the live feed: what dashboards, the command line and other programs speak with."""

from pumpwatch.api.app import create_app

__all__ = ["create_app"]
