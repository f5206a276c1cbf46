"""Plots and bars as SVG, from series of figures. Pure.

Own code, and no plotting library: the pictures of the documents are a few lines each, and a
library brings some hundred megabytes to a development environment, or is not kept up.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
#: Left, right, top, bottom of the field of the points; the names stand at the right.
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 560, 62, 380
#: Told apart by those who see no colours, too: each with a dash of its own (Okabe and Ito, 2008).
_STYLES = (
    ("#d55e00", ""), ("#0072b2", "7 4"), ("#009e73", "2 3"), ("#555555", "10 3 2 3"),
    ("#cc79a7", "12 5"), ("#b58900", "1 5"),
)  # fmt: skip
#: Of a digit above a bar.
_DIGIT_WIDTH = 5.2
#: Between two names, which are as wide as this at most.
_NAME_HEIGHT, _NAME_WIDTH = 14, 150
#: Steps of a linear axis, at most.
_STEPS_MAX = 6


@dataclass(frozen=True, slots=True)
class Axis:
    """Where a value stands between the ends of an axis, from 0 to 1; values that get a line."""

    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def log_axis(values: Sequence[float]) -> Axis:
    """Whole decades around the values, two at least. Raises ValueError for one not above 0."""
    if min(values) <= 0:
        raise ValueError("on a logarithmic axis, values are above 0")
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    ticks = [(10.0**decade, _power(decade)) for decade in range(low, high + 1)]
    return Axis(lambda value: (math.log10(value) - low) / (high - low), ticks)


def linear_axis(values: Sequence[float]) -> Axis:
    """From 0 to the first whole step at or above the largest. Raises ValueError for one below."""
    if min(values) < 0:
        raise ValueError("a linear axis begins at 0")
    largest = max(values) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(largest / _STEPS_MAX))
    step = next(m * magnitude for m in (1, 2, 5, 10) if largest / (m * magnitude) <= _STEPS_MAX)
    steps = math.ceil(largest / step - 1e-9)
    ticks = [(n * step, f"{round(n * step, 9):,g}") for n in range(steps + 1)]
    return Axis(lambda value: value / (steps * step), ticks)


@dataclass(frozen=True, slots=True)
class Series:
    """name: written at its last point. points: (x, y), by growing x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Bars:
    """name: what they have in common. values: one per group, 0 or above; None draws none."""

    name: str
    values: Sequence[float | None]


def plot(
    title: str,
    x_title: str,
    y_title: str,
    series: Sequence[Series],
    *,
    x_axis: Callable[[Sequence[float]], Axis] = log_axis,
    y_axis: Callable[[Sequence[float]], Axis] = log_axis,
) -> str:
    """Lines through points, as SVG. Raises ValueError where there is nothing to draw."""
    points = [point for one in series for point in one.points]
    if not points:
        raise ValueError("there is no point to draw")
    across, up = x_axis([x for x, _ in points]), y_axis([y for _, y in points])
    parts = [*_frame(title, x_title, y_title, len(series)), *_lines_across(up)]
    names: list[_Name] = []
    for value, label in across.ticks:
        x = _x(across, value)
        parts += [_line(x, _TOP, x, _BOTTOM), _text(x, _BOTTOM + 20, label, anchor="middle")]
    for one, (colour, dash) in zip(series, _STYLES, strict=False):
        places = [(_x(across, x), _y(up, y)) for x, y in one.points]
        drawn = " ".join(f"{x:g},{y:g}" for x, y in places)
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2.5"'
            f' stroke-dasharray="{dash}"/>'
        )
        parts += [f'<circle cx="{x:g}" cy="{y:g}" r="4" fill="{colour}"/>' for x, y in places]
        x, y = places[-1]
        names.append(_Name(y + 4, x + 10, one.name, colour))
    return "\n".join([*parts, *_names(names), "</svg>\n"])


class _Name(NamedTuple):
    y: float
    x: float
    name: str
    colour: str


def _names(names: Sequence[_Name]) -> Iterator[str]:
    """Over the lines, one below the other where two would cover each other."""
    written: list[_Name] = []
    for one in sorted(names):
        beside = [other.y for other in written if abs(other.x - one.x) < _NAME_WIDTH]
        written.append(one._replace(y=max([one.y, *(y + _NAME_HEIGHT for y in beside)])))
    for y, x, name, colour in written:
        yield _text(x, y, name, colour=colour, over=True)


def bars(title: str, y_title: str, groups: Sequence[str], series: Sequence[Bars]) -> str:
    """Bars side by side in each group, from 0, as SVG; their names stand at the right. Raises
    ValueError where there is nothing to draw, or not a value for each group."""
    values = [value for one in series for value in one.values if value is not None]
    if not values:
        raise ValueError("there is no bar to draw")
    up = linear_axis(values)
    parts = [*_frame(title, "", y_title, len(series)), *_lines_across(up)]
    room = (_RIGHT - _LEFT) / len(groups)
    width = room * 0.8 / len(series)
    # Upright where the widest does not fit above its bar.
    turned = max(len(_three(value)) for value in values) * _DIGIT_WIDTH > width
    for n, group in enumerate(groups):
        parts.append(_text(_LEFT + room * (n + 0.5), _BOTTOM + 20, group, anchor="middle", size=12))
    for m, (one, (colour, _)) in enumerate(zip(series, _STYLES, strict=False)):
        for n, (_, value) in enumerate(zip(groups, one.values, strict=True)):
            if value is None:
                continue
            x, y = _LEFT + room * (n + 0.1) + width * m, _y(up, value)
            parts.append(
                f'<rect x="{x:.1f}" y="{y:g}" width="{width * 0.92:.1f}"'
                f' height="{_BOTTOM - y:g}" fill="{colour}"/>'
            )
            parts.append(_head(x + width / 2, y - 4, _three(value), turned=turned))
        parts.append(_text(_RIGHT + 14, _TOP + 14 + 20 * m, f"\u25a0 {one.name}", colour=colour))
    return "\n".join([*parts, "</svg>\n"])


def _head(x: float, y: float, text: str, *, turned: bool) -> str:
    """What stands above a bar."""
    if not turned:
        return _text(x, y, text, anchor="middle", size=9)
    return f'<g transform="rotate(-90 {x:g} {y:g})">{_text(x, y + 3, text, size=9)}</g>'


def _frame(title: str, x_title: str, y_title: str, series: int) -> list[str]:
    if series > len(_STYLES):
        raise ValueError(f"more than {len(_STYLES)} series are not told apart")
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(_LEFT, 26, title, size=16),
        _text((_LEFT + _RIGHT) / 2, HEIGHT - 14, x_title, anchor="middle"),
        _text(_LEFT - 62, _TOP - 12, y_title, size=12),
    ]


def _lines_across(up: Axis) -> Iterator[str]:
    for value, label in up.ticks:
        y = _y(up, value)
        yield _line(_LEFT, y, _RIGHT, y)
        yield _text(_LEFT - 8, y + 4, label, anchor="end")


def _x(axis: Axis, value: float) -> float:
    return round(_LEFT + (_RIGHT - _LEFT) * axis.place(value), 1)


def _y(axis: Axis, value: float) -> float:
    return round(_BOTTOM - (_BOTTOM - _TOP) * axis.place(value), 1)


def _three(value: float) -> str:
    """Three figures: what a bar's head has room for."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _power(exponent: int) -> str:
    """1,000 or 0.01: read sooner than a power, while it is short."""
    return f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:.{-exponent}f}"


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="#dddddd"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 13,
    colour: str = "#222222",
    over: bool = False,
) -> str:
    """over: lines that pass behind it are broken off around it."""
    ground = ' stroke="white" stroke-width="4" paint-order="stroke"' if over else ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
        f' font-family="sans-serif"{ground}>'
        f"{escape(text)}</text>"
    )
