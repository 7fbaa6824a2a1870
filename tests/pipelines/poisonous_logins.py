"""The login pipeline in a worker that crashes, as a C extension may, as soon as it touches a poisoned event.

The plain pipeline rejects such an event, so that to the audit it is a dead letter.
"""

import ctypes

from workers.logins import DIMENSIONS, Event
from workers.logins import enrich as plain

__all__ = ["DIMENSIONS", "POISON", "Event", "enrich"]

POISON = b'{"user_id":"poison","timestamp":"never"}'


def enrich(event):
    if event.user_id == "poison":
        ctypes.string_at(0)
    return plain(event)
