"""The login pipeline in a worker that ends as soon as it has its first event."""

import os

from workers.logins import DIMENSIONS, Event

__all__ = ["DIMENSIONS", "Event", "enrich"]


def enrich(event):
    os._exit(9)
