"""Track plots over time as SVG, by the standard library alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Track", "timeline"]

_WIDTH, _HEIGHT = 820, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 56, 64
_INK, _FAINT, _EVENT = "#24292f", "#d8dee4", "#c0362c"
_COLORS = ("#1a7f5a", "#2f6fb3", "#b3722f", "#7a52a8", "#8a94a6", "#a83f6b")
_TICKS = 5


@dataclass(frozen=True)
class Track:
    """One series; where a value is None the line is broken."""

    name: str
    values: Sequence[float | None]


def timeline(
    title: str,
    note: str,
    moments: Sequence[float],
    series: Sequence[Track],
    *,
    events: Sequence[float] = (),
    unit: str = "",
    logarithmic: bool = False,
) -> str:
    """``series`` over ``moments``, in seconds from the start; a thin red line at each of ``events``."""
    values = [value for line in series for value in line.values if value is not None]
    place_y, ticks = _logarithmic(values) if logarithmic else _linear(values)
    last = max(moments, default=0.0) or 1.0

    def x(moment: float) -> float:
        return _LEFT + moment / last * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - place_y(value) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        # A ground of its own: else the ink is not to be seen on a dark page.
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(16, 30, title, size=17, weight=600),
    ]
    for tick in ticks:
        parts.append(f'<path d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}" stroke="{_FAINT}"/>')
        parts.append(_text(_LEFT - 8, y(tick) + 4, f"{tick:,g}{unit}", anchor="end"))
    parts += [
        f'<path d="M{x(event):.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="{_EVENT}" stroke-width="0.7" '
        'stroke-opacity="0.6"/>'
        for event in events
    ]
    minutes = [tick for tick in _linear([last / 60])[1] if tick * 60 <= last]
    under = _HEIGHT - _BOTTOM + 18
    parts += [_text(x(tick * 60), under, f"{tick:g} min", anchor="middle") for tick in minutes]
    for number, line in enumerate(series):
        color = _COLORS[number % len(_COLORS)]
        path = _path(moments, line.values, x, y)
        parts.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        top = _TOP + 18 * number
        parts.append(f'<rect x="{_WIDTH - _RIGHT + 12}" y="{top}" width="12" height="4" fill="{color}"/>')
        parts.append(_text(_WIDTH - _RIGHT + 30, top + 6, line.name))
    parts.append(_text(16, _HEIGHT - 14, note, size=12))
    return "\n".join([*parts, "</svg>", ""])


def _linear(values: Sequence[float]) -> tuple[Callable[[float], float], list[float]]:
    """A scale from zero on: where a value stands between 0 and 1, and its ticks."""
    most = max(values, default=0.0) or 1.0
    rough = most / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    top = math.ceil(most / step - 1e-9) * step
    ticks = [number * step for number in range(round(top / step) + 1)]
    return (lambda value: value / top), ticks


def _logarithmic(values: Sequence[float]) -> tuple[Callable[[float], float], list[float]]:
    """The same over powers of ten; what is not positive stands at the bottom."""
    positive = [value for value in values if value > 0]
    low = math.floor(math.log10(min(positive, default=1.0)))
    high = max(low + 1, math.ceil(math.log10(max(positive, default=10.0))))

    def place(value: float) -> float:
        return (math.log10(value) - low) / (high - low) if value > 0 else 0.0

    return place, [10.0**power for power in range(low, high + 1)]


def _path(
    moments: Sequence[float],
    values: Sequence[float | None],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> str:
    parts, command = [], "M"
    for moment, value in zip(moments, values, strict=True):
        if value is None:
            command = "M"
            continue
        parts.append(f"{command}{x(moment):.1f} {y(value):.1f}")
        command = "L"
    return "".join(parts)


def _text(x: float, y: float, text: str, *, size: int = 13, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{_INK}">{escape(text)}</text>'
    )
