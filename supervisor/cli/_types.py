"""Kinds of values that several commands take."""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["Rate", "Share"]


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
