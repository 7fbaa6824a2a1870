"""Bar plots as SVG, by the standard library alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "bars"]

_WIDTH, _LEFT, _RIGHT = 820, 190, 110
_ROW, _THICK, _TOP, _BOTTOM = 34, 18, 56, 40
_OURS, _OTHERS, _INK, _FAINT = "#1a7f5a", "#8a94a6", "#24292f", "#d8dee4"


@dataclass(frozen=True)
class Bar:
    """One row: a median with the least and the most that were measured."""

    name: str
    value: float
    low: float
    high: float
    label: str
    ours: bool = False


def bars(title: str, note: str, rows: Sequence[Bar]) -> str:
    """A horizontal bar for each of ``rows``, from zero on, with a line from the least to the most."""
    height = _TOP + _ROW * len(rows) + _BOTTOM
    most = max((max(row.value, row.high) for row in rows), default=0.0) or 1.0
    room = _WIDTH - _LEFT - _RIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">',
        f"<title>{escape(title)}</title>",
        # A ground of its own: else the ink is not to be seen on a dark page.
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 30, title, size=17, weight=600),
    ]
    for number, row in enumerate(rows):
        lines += _row(row, _TOP + _ROW * number, room / most)
    lines.append(f'<path d="M{_LEFT} {_TOP - 6}V{height - _BOTTOM}" stroke="{_FAINT}"/>')
    lines.append(_text(16, height - 14, note, size=12))
    return "\n".join([*lines, "</svg>", ""])


def _row(row: Bar, top: int, scale: float) -> list[str]:
    middle = top + _THICK / 2
    low, high, end = (_LEFT + value * scale for value in (row.low, row.high, row.value))
    color = _OURS if row.ours else _OTHERS
    return [
        _text(_LEFT - 10, middle + 5, row.name, anchor="end", weight=600 if row.ours else 400),
        f'<rect x="{_LEFT}" y="{top}" width="{end - _LEFT:.1f}" height="{_THICK}" rx="2" fill="{color}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {top + 4}v{_THICK - 8}'
        f'M{high:.1f} {top + 4}v{_THICK - 8}" stroke="{_INK}" stroke-width="1.2"/>',
        _text(max(end, high) + 8, middle + 5, row.label),
    ]


def _text(x: float, y: float, text: str, *, size: int = 14, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{_INK}">{escape(text)}</text>'
    )
