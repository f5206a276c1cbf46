"""Markdown tables between two marks of a page, and numbers as the tables show them. Pure.

<!-- table: services -->
(the table)
<!-- end -->
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """The page with its tables replaced. Raises KeyError for a mark without a table."""
    return _BLOCK.sub(lambda block: block[1] + tables[block[2]]() + block[3], text)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


def size(value: float) -> str:
    """Bytes, in decimal units."""
    for unit, factor in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if value >= factor:
            return f"{number(value / factor)} {unit}"
    return f"{number(value)} bytes"


def seconds(value: float) -> str:
    """A duration in the largest unit that it reaches."""
    for unit, factor in (("years", 31_557_600.0), ("days", 86_400.0), ("h", 3_600.0), ("s", 1.0)):
        if value >= factor:
            return f"{number(value / factor)} {unit}"
    return f"{number(value * 1000)} ms"
