"""The login pipeline: cleans and enriches logins, and counts them by region and period of the day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from workers.pipeline import Result

__all__ = ["DIMENSIONS", "Event", "enrich"]

DIMENSIONS = ("region", "time_flg")

_STATES: Final = {
    "East": "NY NJ PA MA CT RI VT NH ME DE MD VA WV NC SC GA FL",
    "South": "AL MS LA TX AR TN KY OK",
    "Midwest": "OH IN IL MI WI MN IA MO KS NE SD ND",
    "West": "CA OR WA NV AZ UT CO WY MT ID NM AK HI",
}
_REGION: Final = {state: region for region, states in _STATES.items() for state in states.split()}

# Period of the day by UTC hour: 1 morning, 2 afternoon, 3 evening, 4 night.
_PERIOD: Final = tuple(
    1 if 6 <= hour < 12 else 2 if 12 <= hour < 18 else 3 if 18 <= hour < 22 else 4 for hour in range(24)
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND: Final = -62_135_596_800  # 0001-01-01 00:00:00
_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31 23:59:59


class Event(msgspec.Struct, gc=False):
    """A login, before and after: enriched in place, which saves a second object per event.

    An input may carry fields named ``region`` and ``time_flg``; they are overwritten whatever they hold.
    """

    user_id: str | None = None
    app_version: str | None = None
    device_type: str | None = None
    ip: str | None = None
    locale: str | None = None
    device_id: str | None = None
    timestamp: int | float | str | None = None
    region: Any = None
    time_flg: Any = None


class _Moment(dict[int, tuple[str, int, int]]):
    """Epoch second → (text, period of the day, epoch minute).

    Logins of one second stand together, so that remembering a second pays; the memory is bounded.
    """

    LIMIT = 8192

    def __missing__(self, second: int) -> tuple[str, int, int]:
        if not _FIRST_SECOND <= second <= _LAST_SECOND:
            raise ValueError(f"timestamp {second} is outside the years 1 to 9999")
        moment = _EPOCH + timedelta(seconds=second)
        # Not strftime: it writes the years before 1000 with fewer than four digits.
        text = moment.isoformat(" ", "seconds")[:19]
        if len(self) >= self.LIMIT:
            self.clear()
        found = self[second] = (text, _PERIOD[moment.hour], second // 60)
        return found


_moments: Final = _Moment()


def _second(timestamp: float | str) -> int:
    """The epoch second of a timestamp that is not an ``int``: digits in a string, or a fraction cut off."""
    if isinstance(timestamp, str):
        text = timestamp.strip()
        digits = text[1:] if text[:1] in ("-", "+") else text
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
            raise ValueError(f"timestamp {timestamp[:40]!r} is not a number of seconds")
        return int(text)
    if not _FIRST_SECOND <= timestamp <= _LAST_SECOND:
        raise ValueError(f"timestamp {timestamp} is outside the years 1 to 9999")
    return int(timestamp // 1)


def enrich(event: Event) -> Result:
    """Fill what is absent, write the time out, add region and period of the day.

    Raises ``ValueError`` for a timestamp that is no time.
    """
    timestamp = event.timestamp
    if timestamp is None:
        minute = period = None
        event.timestamp = "missing_timestamp"
    else:
        if type(timestamp) is not int:
            timestamp = _second(timestamp)
        event.timestamp, period, minute = _moments[timestamp]
    event.time_flg = period

    locale = event.locale
    if locale is None:
        event.locale = "missing_locale"
        region = "Unknown"
    else:
        region = _REGION.get(locale, "Unknown")
    event.region = region

    if event.user_id is None:
        event.user_id = "missing_user_id"
    if event.app_version is None:
        event.app_version = "x.x"
    if event.device_type is None:
        event.device_type = "missing_device_type"
    if event.ip is None:
        event.ip = "missing_ip"
    if event.device_id is None:
        event.device_id = "missing_device_id"
    return event, (minute, region, period)
