"""A log-log plot as SVG, from series of points. Pure.

Own code, and no plotting library: the pictures of the documents are a few lines each, and a
library brings some hundred megabytes to a development environment, or is not kept up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
#: Left, right, top, bottom of the field of the points; the names stand at the right.
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 560, 50, 380
#: Told apart by those who see no colours, too: each with a dash of its own (Okabe and Ito, 2008).
_STYLES = (("#d55e00", ""), ("#0072b2", "7 4"), ("#009e73", "2 3"), ("#555555", "10 3 2 3"))


@dataclass(frozen=True, slots=True)
class Series:
    """name: written at its last point. points: (x, y), both above 0, by growing x."""

    name: str
    points: Sequence[tuple[float, float]]


def log_log(title: str, x_title: str, y_title: str, series: Sequence[Series]) -> str:
    """The SVG. Raises ValueError where there is nothing to draw, or a value not above 0."""
    points = [point for one in series for point in one.points]
    if not points or min(map(min, points)) <= 0:
        raise ValueError("points above 0 are drawn, and at least one")
    if len(series) > len(_STYLES):
        raise ValueError(f"more than {len(_STYLES)} series are not told apart")
    xs, ys = _decades([x for x, _ in points]), _decades([y for _, y in points])

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            round(_LEFT + (_RIGHT - _LEFT) * (math.log10(x) - xs[0]) / (xs[-1] - xs[0]), 1),
            round(_BOTTOM - (_BOTTOM - _TOP) * (math.log10(y) - ys[0]) / (ys[-1] - ys[0]), 1),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(_LEFT, 28, title, size=16),
        _text((_LEFT + _RIGHT) / 2, HEIGHT - 14, x_title, anchor="middle"),
        _text(_LEFT - 62, _TOP - 12, y_title, size=12),
    ]
    for decade in xs:
        place, _ = at(10.0**decade, 10.0 ** ys[0])
        parts += [_line(place, _TOP, place, _BOTTOM),
                  _text(place, _BOTTOM + 20, _power(decade), anchor="middle")]  # fmt: skip
    for decade in ys:
        _, place = at(10.0 ** xs[0], 10.0**decade)
        parts += [_line(_LEFT, place, _RIGHT, place),
                  _text(_LEFT - 8, place + 4, _power(decade), anchor="end")]  # fmt: skip
    for one, (colour, dash) in zip(series, _STYLES, strict=False):
        places = [at(x, y) for x, y in one.points]
        drawn = " ".join(f"{x:g},{y:g}" for x, y in places)
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2.5"'
            f' stroke-dasharray="{dash}"/>'
        )
        parts += [f'<circle cx="{x:g}" cy="{y:g}" r="4" fill="{colour}"/>' for x, y in places]
        x, y = places[-1]
        parts.append(_text(x + 10, y + 4, one.name, colour=colour))
    return "\n".join([*parts, "</svg>\n"])


def _decades(values: Sequence[float]) -> range:
    """The powers of ten around them, two at least."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return range(low, max(high, low + 1) + 1)


def _power(exponent: int) -> str:
    """1,000 or 0.01: read sooner than a power, while it is short."""
    return f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:.{-exponent}f}"


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="#dddddd"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, colour: str = "#222222"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
        f' font-family="sans-serif">'
        f"{escape(text)}</text>"
    )
