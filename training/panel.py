"""A panel of lines as SVG by hand: axes with round ticks, a legend, a mark on the x axis.

Colours are named by class and set once for the whole picture (`STYLE`), so that it is right on
light and dark pages and on paper.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]

STYLE = """
.wc{--bg:#fff;--ink:#1f2328;--soft:#59636e;--grid:#dfe4ea;--one:#0550ae;--two:#bc4c00;--three:#116329}
@media screen and (prefers-color-scheme:dark){.wc{--bg:#0d1117;--ink:#e6edf3;--soft:#9ea7b3;
--grid:#2b323b;--one:#79c0ff;--two:#ffa657;--three:#56d364}}
.wc text{font:12px system-ui,"PingFang SC","Noto Sans CJK SC",sans-serif;fill:var(--soft)}
.wc .title{font-weight:600;font-size:13px;fill:var(--ink)}
.wc .ground{fill:var(--bg)}.wc .grid{stroke:var(--grid)}
.wc .line{fill:none;stroke-width:2;stroke-linejoin:round}.wc .pale{stroke-width:1;opacity:.4}
.wc .one{stroke:var(--one)}.wc .two{stroke:var(--two)}
.wc .three{stroke:var(--three);stroke-dasharray:6 3}
.wc .mark{stroke:var(--ink);stroke-dasharray:2 3}
.wc circle.two{fill:var(--two)}.wc circle.three{fill:var(--three);stroke-dasharray:none}
""".replace("\n", "")
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 30, 26  # room around the lines for what is written
MOST_POINTS = 500


@dataclass(frozen=True)
class Line:
    """Points in order of x; `style` is `one`, `two` or `three`, with ` pale` for a background.

    With `dots` each point is marked. A line without a name is not in the legend.
    """

    name: str
    points: Sequence[Point]
    style: str = "one"
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """Lines over one x axis; `mark` is an x with what is written beside it."""

    title: str
    lines: Sequence[Line]
    mark: tuple[float, str] | None = None

    def draw(self, x: float, y: float, width: float, height: float) -> str:
        """The panel as SVG elements in the box that is given."""
        points = [point for line in self.lines for point in line.points]
        across = _spread([p[0] for p in points])
        up = ticks(*_spread([p[1] for p in points]))
        box = x + LEFT, y + TOP, width - LEFT - RIGHT, height - TOP - BOTTOM
        place = _Place(box, across, (up[0], up[-1]))
        parts = [_text(x + LEFT, y + 16, self.title, kind="title")]
        parts += _legend(self.lines, x + LEFT + text_width(self.title) + 24, y + 12)
        parts += _grid(place, up)
        parts += _mark(place, *self.mark) if self.mark else []
        parts += [part for line in self.lines for part in _line(place, line)]
        return "".join(parts)


@dataclass(frozen=True)
class _Place:
    """Where a point lies in the picture: `box` is x, y, width and height of the lines."""

    box: tuple[float, float, float, float]
    across: tuple[float, float]
    up: tuple[float, float]

    def at(self, point: Point) -> Point:
        x, y, width, height = self.box
        share = (point[0] - self.across[0]) / (self.across[1] - self.across[0])
        rise = (point[1] - self.up[0]) / (self.up[1] - self.up[0])
        return round(x + share * width, 1), round(y + (1 - rise) * height, 1)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` steps of 1, 2 or 5 times a power of ten that hold `low` and `high`."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [n * step for n in range(first, last + 1)]


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most about `most` points: of each stretch the lowest and the highest, so no peak goes."""
    if len(points) <= most:
        return [*points]
    length = math.ceil(2 * len(points) / most)
    kept: list[Point] = []
    for start in range(0, len(points), length):
        stretch = points[start : start + length]
        ends = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def say_number(value: float) -> str:
    """A tick as people write it: 2k, 0.25, 2e-4."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:  # noqa: PLR2004
        return f"{value / 1000:,.6g}k"
    if abs(value) < 0.001:  # noqa: PLR2004
        number, power = f"{value:.1e}".split("e")
        return f"{float(number):g}e{int(power)}"
    return f"{value:.4g}"


def text_width(text: str) -> float:
    """About how wide a text of 12 pixels is; Han characters are square."""
    return sum(12.5 if ord(c) > 0x2E80 else 7 for c in text)  # noqa: PLR2004


def _spread(values: Iterable[float]) -> tuple[float, float]:
    """Lowest and highest, and a little around one that stands alone."""
    low, high = min(values := [*values]), max(values)
    around = abs(low) * 0.1 or 1.0
    return (low, high) if high > low else (low - around, low + around)


def _grid(place: _Place, up: Sequence[float]) -> list[str]:
    x, y, width, height = place.box
    parts = []
    for value in up:
        at = place.at((place.across[0], value))[1]
        parts.append(f'<line class="grid" x1="{x}" y1="{at}" x2="{x + width}" y2="{at}"/>')
        parts.append(_text(x - 6, at + 4, say_number(value), anchor="end"))
    inside = [v for v in ticks(*place.across) if place.across[0] <= v <= place.across[1]]
    for value in inside:
        at = place.at((value, up[0]))[0]
        parts.append(_text(at, y + height + 17, say_number(value), anchor="middle"))
    return parts


def _line(place: _Place, line: Line) -> list[str]:
    placed = [place.at(point) for point in thin(line.points)]
    path = " ".join(f"{x},{y}" for x, y in placed)
    dots = [f'<circle class="{line.style}" cx="{x}" cy="{y}" r="3"/>' for x, y in placed]
    drawn = [f'<polyline class="line {line.style}" points="{path}"/>']
    return drawn + (dots if line.dots or len(placed) == 1 else [])


def _mark(place: _Place, at: float, said: str) -> list[str]:
    _, y, _, height = place.box
    x = place.at((at, place.up[0]))[0]
    before = x + text_width(said) + 8 > place.box[0] + place.box[2]
    words = _text(x - 5 if before else x + 5, y + 12, said, anchor="end" if before else "start")
    return [f'<line class="mark" x1="{x}" y1="{y}" x2="{x}" y2="{y + height}"/>', words]


def _legend(lines: Sequence[Line], x: float, y: float) -> list[str]:
    parts = []
    for line in lines:
        if line.name:
            parts.append(
                f'<line class="line {line.style}" x1="{x}" y1="{y}" x2="{x + 20}" y2="{y}"/>'
            )
            parts.append(_text(x + 26, y + 4, line.name))
            x += 46 + text_width(line.name)
    return parts


def _text(x: float, y: float, said: str, *, anchor: str = "start", kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    return f'<text{css} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(said)}</text>'
