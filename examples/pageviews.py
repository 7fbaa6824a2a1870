"""A pipeline of one's own: page views, cleaned and counted by country and device.

docs/pipelines.md goes through it; ``pageviews.toml`` beside it is its configuration.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import msgspec

__all__ = ["DIMENSIONS", "Event", "PageView", "enrich"]

DIMENSIONS = ("country", "device")


class Event(msgspec.Struct, gc=False):
    """A page view as the web server sends it. Fields that are not named here are ignored."""

    url: str
    at_ms: int
    visitor: str = "unknown"
    country: str | None = None
    agent: str = ""


class PageView(msgspec.Struct, gc=False):
    """A page view as it is written to the output topic."""

    path: str
    time: str
    visitor: str
    country: str
    device: str


_BOTS: Final = ("bot", "crawler", "spider")
_LAST_MS: Final = 253_402_300_799_999  # 9999-12-31 23:59:59.999


def enrich(event: Event) -> tuple[PageView | None, tuple[int, str, str] | None]:
    """The output and what it counts as; raises ``ValueError`` for a time that is none."""
    agent = event.agent.lower()
    if any(bot in agent for bot in _BOTS):
        return None, None  # dropped on purpose: neither written nor counted
    if not 0 <= event.at_ms <= _LAST_MS:
        raise ValueError(f"at_ms {event.at_ms} is not a time between 1970 and 9999")
    country = (event.country or "unknown").upper()
    device = "phone" if "mobile" in agent else "desktop"
    view = PageView(
        path=urlsplit(event.url).path or "/",
        time=datetime.fromtimestamp(event.at_ms // 1000, UTC).isoformat(" ", "seconds")[:19],
        visitor=event.visitor,
        country=country,
        device=device,
    )
    return view, (event.at_ms // 60_000, country, device)
