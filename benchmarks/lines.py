"""Line plots as SVG, by the standard library alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Axis", "Series", "lines", "ticks"]

_WIDTH, _HEIGHT = 820, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 30, 84, 76
_INK, _FAINT = "#24292f", "#d8dee4"
_STYLES = (("#1a7f5a", ""), ("#2f6db5", "8 3"), ("#c2571a", "2 3"), ("#8a94a6", "8 3 2 3"))
"""Colour and dashes: lines are told apart without colours, too."""
_LEGEND = 180


@dataclass(frozen=True)
class Series:
    """One line."""

    name: str
    points: Sequence[tuple[float, float]]
    spreads: Sequence[tuple[float, float]] = ()
    """The least and the most that were measured, of each point; a mark stands where they do."""


@dataclass(frozen=True)
class Axis:
    """From the first of ``ticks`` to the last one; what lies beyond is drawn at its end."""

    title: str
    ticks: Sequence[float]
    log: bool = False
    form: str = "{:,g}"

    def share(self, value: float) -> float:
        """Where ``value`` is, from 0 to 1."""
        low, high, at = (self._scaled(one) for one in (self.ticks[0], self.ticks[-1], value))
        return min(1.0, max(0.0, (at - low) / (high - low)))

    def _scaled(self, value: float) -> float:
        return math.log(max(value, 1e-9)) if self.log else value


def ticks(most: float, count: int = 5) -> list[float]:
    """Round numbers from zero to ``most`` or a little more, some ``count`` of them."""
    raw = (most or 1.0) / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * times for times in (1, 2, 2.5, 5, 10) if size * times >= raw * (1 - 1e-9))
    return [
        round(number * step, 12) for number in range(math.ceil(most / step - 1e-9) + 1 if most > 0 else 2)
    ]


def lines(title: str, note: str, series: Sequence[Series], x: Axis, y: Axis) -> str:
    """Lines through the points of each of ``series``, in the order of their points."""

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across, up = x.share(point[0]), y.share(point[1])
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">',
        f"<title>{escape(title)}</title>",
        # A ground of its own: else the ink is not to be seen on a dark page.
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(16, 30, title, size=17, weight=600),
        *_grid(x, y, place),
    ]
    for number, one in enumerate(series):
        drawn += _line(one, place, *_STYLES[number % len(_STYLES)])
        drawn += _legend(one.name, _LEFT + number * _LEGEND, *_STYLES[number % len(_STYLES)])
    drawn.append(_text(16, _HEIGHT - 14, note, size=12))
    return "\n".join([*drawn, "</svg>", ""])


_Place = Callable[[tuple[float, float]], tuple[float, float]]


def _grid(x: Axis, y: Axis, place: _Place) -> list[str]:
    bottom, top, left, right = y.ticks[0], y.ticks[-1], x.ticks[0], x.ticks[-1]
    drawn = []
    for tick in x.ticks:
        (across, low), (_, high) = place((tick, bottom)), place((tick, top))
        drawn.append(f'<path d="M{across:.1f} {low:.1f}V{high:.1f}" stroke="{_FAINT}"/>')
        drawn.append(_text(across, low + 18, x.form.format(tick), size=12, anchor="middle"))
    for tick in y.ticks:
        (first, up), (last, _) = place((left, tick)), place((right, tick))
        drawn.append(f'<path d="M{first:.1f} {up:.1f}H{last:.1f}" stroke="{_FAINT}"/>')
        drawn.append(_text(first - 8, up + 4, y.form.format(tick), size=12, anchor="end"))
    drawn.append(
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - _BOTTOM + 38, x.title, size=13, anchor="middle")
    )
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    drawn.append(
        f'<g transform="rotate(-90 20 {middle})">{_text(20, middle, y.title, size=13, anchor="middle")}</g>'
    )
    return drawn


def _line(one: Series, place: _Place, color: str, dashes: str) -> list[str]:
    path = " ".join(f"{across:.1f},{up:.1f}" for across, up in map(place, one.points))
    pen = f'stroke="{color}" stroke-width="2" stroke-dasharray="{dashes}"'
    drawn = [f'<polyline points="{path}" fill="none" {pen}/>']
    for (across, value), (low, high) in zip(one.points, one.spreads, strict=False):
        (at, up), (_, least), (_, most) = (place((across, where)) for where in (value, low, high))
        drawn.append(f'<path d="M{at:.1f} {least:.1f}V{most:.1f}" stroke="{color}" stroke-width="1.2"/>')
        drawn.append(f'<circle cx="{at:.1f}" cy="{up:.1f}" r="4" fill="{color}"/>')
    return drawn


def _legend(name: str, left: float, color: str, dashes: str) -> list[str]:
    height = _TOP - 26
    return [
        f'<path d="M{left:.1f} {height}h26" stroke="{color}" stroke-width="2" stroke-dasharray="{dashes}"/>',
        _text(left + 32, height + 5, name, size=13),
    ]


def _text(x: float, y: float, text: str, *, size: int = 14, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{_INK}">{escape(text)}</text>'
    )
