"""A picture written piece by piece: elements with escaped text, and the looks of the timeline, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from picas.reports.attempts import Fate
from picas.reports.words import plain

__all__ = ["coordinate", "document", "label", "rectangle"]

_COLOURS = {
    Fate.DONE: ("#1b9e77", "#2fbf93"),
    Fate.FAILED: ("#d1495b", "#f0707f"),
    Fate.CANCELLED: ("#7d8590", "#9aa4ae"),
    Fate.RELEASED: ("#d08a00", "#f0b429"),
    Fate.LOST: ("#9c5fb5", "#c58be0"),
    Fate.SUPERSEDED: ("#3b6fb6", "#6fa3ea"),
    Fate.RUNNING: ("#5aa9dd", "#7cc4f2"),
}
"""Light and dark; no two of them alike to the colour-blind without the pattern."""

_PATTERNS = {
    Fate.FAILED: "M-1 1l2-2M0 6l6-6M5 7l2-2",
    Fate.CANCELLED: "M1.5 0v6M4.5 0v6",
    Fate.RELEASED: "M1 1.5h1.6M4 4.5h1.6",
    Fate.LOST: "M0 0l6 6M0 6l6-6",
    Fate.SUPERSEDED: "M0 1.5h6M0 4.5h6",
    Fate.RUNNING: "M-1 5l2 2M0 0l6 6M5-1l2 2",
}

_LIGHT = {"paper": "#ffffff", "ink": "#1f2328", "soft": "#59636e", "line": "#d9dee3", "lane": "#f2f4f6"}
_DARK = {"paper": "#0f141a", "ink": "#e8edf2", "soft": "#9aa5b1", "line": "#2c343d", "lane": "#1a2129"}


Lines = Sequence[str]


def coordinate(value: float) -> str:
    """A number with two digits at most after the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def rectangle(look: str, x: float, y: float, width: float, height: float, title: Lines = ()) -> str:
    """A rectangle, with what is shown when the pointer is over it."""
    shape = (
        f'<rect class="{look}" x="{coordinate(x)}" y="{coordinate(y)}" '
        f'width="{coordinate(width)}" height="{coordinate(height)}"'
    )
    return f"{shape}>{_over(title)}</rect>" if title else f"{shape}/>"


def label(text: str, x: float, y: float, look: str = "", anchor: str = "", title: Lines = ()) -> str:
    """A line of text."""
    more = f' class="{look}"' if look else ""
    more += f' text-anchor="{anchor}"' if anchor else ""
    over = _over(title) if title else ""
    return f'<text x="{coordinate(x)}" y="{coordinate(y)}"{more}>{over}{escape(plain(text))}</text>'


def document(parts: Iterable[str], *, width: int, height: int, title: str, description: str) -> Iterator[str]:
    """The whole picture, a line for each part."""
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label={quoteattr(plain(title))}>\n'
    )
    yield f"<title>{escape(plain(title))}</title>\n<desc>{escape(plain(description))}</desc>\n"
    yield f"<style>\n{_style()}</style>\n<defs>\n{''.join(_patterns())}</defs>\n"
    yield f'<rect class="paper" width="{width}" height="{height}"/>\n'
    for part in parts:
        yield f"{part}\n"
    yield "</svg>\n"


def _over(lines: Lines) -> str:
    return "<title>" + escape("\n".join(plain(line) for line in lines)) + "</title>"


def _style() -> str:
    fixed = (
        "text{font:12px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}\n"
        ".head{font-size:17px;font-weight:600}\n.small{font-size:10.5px}\n.inside{font-size:10.5px}\n"
        ".tick,.offered{fill:none;stroke-width:1}\n.offered{stroke-dasharray:4 3}\n"
    )
    fixed += "".join(f"rect.{fate},path.{fate}{{fill:url(#{fate}-pattern)}}\n" for fate in _PATTERNS)
    return fixed + _colours(_LIGHT, 0) + f"@media (prefers-color-scheme:dark){{\n{_colours(_DARK, 1)}}}\n"


def _colours(scheme: dict[str, str], index: int) -> str:
    fates = "".join(
        f".{fate}-fill{{fill:{colours[index]}}}\n" if fate in _PATTERNS else f".{fate}{{fill:{colours[index]}}}\n"
        for fate, colours in _COLOURS.items()
    )
    return fates + (
        f".paper{{fill:{scheme['paper']}}}\ntext{{fill:{scheme['ink']}}}\n.soft{{fill:{scheme['soft']}}}\n"
        f".lane{{fill:{scheme['lane']}}}\n.tick{{stroke:{scheme['line']}}}\n.offered{{stroke:{scheme['ink']}}}\n"
        f".hatch{{fill:none;stroke:{scheme['paper']};stroke-width:1.2}}\n.inside{{fill:{scheme['paper']}}}\n"
    )


def _patterns() -> Iterator[str]:
    for fate, path in _PATTERNS.items():
        yield (
            f'<pattern id="{fate}-pattern" width="6" height="6" patternUnits="userSpaceOnUse">'
            f'<rect class="{fate}-fill" width="6" height="6"/><path class="hatch" d="{path}"/></pattern>\n'
        )
