"""Pictures stand where their figures are, and what cannot be drawn is refused."""

import xml.etree.ElementTree as ET

import pytest

from benchmarks.picture import Bars, Series, bars, linear_axis, log_axis, plot


def _drawn(svg: str, tag: str) -> list[ET.Element]:
    return ET.fromstring(svg).findall(f".//{{http://www.w3.org/2000/svg}}{tag}")


def test_points_stand_where_their_logarithms_are() -> None:
    """A power law is a straight line; a larger value is higher and further right."""
    svg = plot("t", "x", "y", [Series("a & b", [(10, 0.1), (100, 1), (1_000, 10)])])
    places = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in _drawn(svg, "circle")]
    (x0, y0), (x1, y1), (x2, y2) = places

    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert x0 < x1 < x2
    assert y0 > y1 > y2
    texts = [text.text for text in _drawn(svg, "text")]
    assert {"a & b", "0.1", "1", "10", "1,000"} <= set(texts)


def test_names_do_not_cover_each_other() -> None:
    """Lines that end close together are still told apart; lines that do not keep their height."""
    close = [Series(name, [(1, 10.0), (10, last)]) for name, last in (("a", 100), ("b", 99.0))]
    svg = plot("t", "x", "y", [*close, Series("c", [(1, 10.0), (10, 10.0)])])
    at = {text.text: float(text.attrib["y"]) for text in _drawn(svg, "text")}
    ends = [float(c.attrib["cy"]) for c in _drawn(svg, "circle")][1::2]

    assert at["b"] - at["a"] >= 14
    assert (at["a"], at["c"]) == pytest.approx((ends[0] + 4, ends[2] + 4))


def test_a_linear_axis_begins_at_nothing_and_ends_at_a_whole_step() -> None:
    """Half of the largest is half as high."""
    axis = linear_axis([0, 30, 55])

    assert [label for _, label in axis.ticks] == ["0", "10", "20", "30", "40", "50", "60"]
    assert (axis.place(0), axis.place(30), axis.place(60)) == (0, 0.5, 1)
    assert [label for _, label in linear_axis([0.07]).ticks][:3] == ["0", "0.02", "0.04"]
    assert linear_axis([0]).place(0) == 0


def test_bars_are_as_high_as_their_values() -> None:
    """From the same ground; a missing one leaves its place empty."""
    svg = bars("t", "y", ["a", "b"], [Bars("ours", [1, 4]), Bars("theirs", [2, None])])
    drawn = _drawn(svg, "rect")[1:]  # the first is the ground
    heights = [float(bar.attrib["height"]) for bar in drawn]

    assert len(drawn) == 3
    assert heights[1] == pytest.approx(4 * heights[0], abs=0.5)
    assert heights[2] == pytest.approx(2 * heights[0], abs=0.5)
    assert len({float(b.attrib["y"]) + float(b.attrib["height"]) for b in drawn}) == 1
    xs = [float(bar.attrib["x"]) for bar in drawn]
    assert xs[0] < xs[2] < xs[1]
    assert {"a", "b", "1", "4", "2"} <= {text.text for text in _drawn(svg, "text")}


def test_what_stands_above_narrow_bars_is_turned() -> None:
    """Or one figure covers the next."""
    wide = bars("t", "y", ["a"], [Bars("ours", [2_000]), Bars("theirs", [2_000])])
    narrow = bars("t", "y", list("abcdef"), [Bars(n, [2_000] * 6) for n in ("1", "2", "3", "4")])

    assert "rotate" not in wide
    assert narrow.count("rotate(-90") == 24


@pytest.mark.parametrize(
    "series",
    [[], [Series("none", [])], [Series("zero", [(1, 0)])], [Series("s", [(1, 1)])] * 7],
)
def test_what_cannot_be_drawn_is_refused(series: list[Series]) -> None:
    """Rather than drawn wrong."""
    with pytest.raises(ValueError, match=r"point|series|above 0"):
        plot("t", "x", "y", series)


def test_an_axis_refuses_what_it_cannot_place() -> None:
    """A logarithm of nothing, less than nothing."""
    with pytest.raises(ValueError, match="above 0"):
        log_axis([0, 1])
    with pytest.raises(ValueError, match="begins at 0"):
        linear_axis([-1])
    with pytest.raises(ValueError, match="no bar"):
        bars("t", "y", ["a"], [Bars("none", [None])])
    with pytest.raises(ValueError, match="shorter"):
        bars("t", "y", ["a", "b"], [Bars("short", [1])])
