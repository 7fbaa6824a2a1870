"""Kinds of values that several commands take."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

__all__ = ["Moment", "Rate", "Share"]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """A time in the past: ``10m`` ago, or ISO 8601, local unless it says otherwise. It becomes UTC."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            if ago := re.fullmatch(r"([0-9]{1,6})([smhd])", value):
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither an age, as 90s, 10m, 2h or 1d, nor a time", param, ctx)


class Rate(click.ParamType[float]):
    """Events a second: a number, or ``max``, which is infinity."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value == "max":
            return math.inf
        try:
            rate = float(str(value).replace(",", "").replace("_", ""))
        except ValueError:
            rate = math.nan
        if not 0 < rate < math.inf:
            self.fail(f"{value!r} is neither a number of events a second nor 'max'", param, ctx)
        return rate


class Share(click.ParamType[float]):
    """A share from 0 to 1, as ``0.01`` or ``1%``."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is no share: give 1% or 0.01", param, ctx)
        return share
