"""Figures of matplotlib as parts of an HTML page."""

import base64
import html
import io
import re
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.figure import Figure

from diffana import plot
from diffana.workflow.report.document import Picture


LARGEST_DRAWING = 600_000
"""Characters beyond which a drawing is stored as an image of pixels."""

_RESOLUTION = 220
# Inches on a screen for an inch in a journal.
_ENLARGED = 1.7
# None of it is shown, and without dates the same run gives the same page.
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def picture(
    key: str,
    draw: Callable[[Figure], None],
    *,
    alternative: str,
    caption: str,
    size: tuple[float, float] | None = None,
) -> Picture:
    """A figure in the house style.

    Args:
        key: letters, digits and hyphens; unique in the page.
        draw: fills an empty figure.
        alternative: what it shows, for those who cannot see it.
        caption: text below.
        size: width and height in inches; one column of a journal without it.
    """
    with (
        plot.style(),
        mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": key}),
    ):
        figure = Figure(size or mpl.rcParams["figure.figsize"], layout="constrained")
        draw(figure)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata=_NO_METADATA)
        text = drawing.getvalue()
        label = html.escape(alternative)
        widest = f"max-width: {_ENLARGED * figure.get_size_inches()[0]:.2f}in"
        if len(text) <= LARGEST_DRAWING:
            attributes = f'role="img" aria-label="{label}" style="{widest}"'
            return Picture(_inline(text, key, attributes), caption)
        pixels = io.BytesIO()
        figure.savefig(pixels, format="png", dpi=_RESOLUTION)
    data = base64.b64encode(pixels.getvalue()).decode()
    source = f"data:image/png;base64,{data}"
    return Picture(f'<img src="{source}" alt="{label}" style="{widest}">', caption)


def _inline(text: str, key: str, attributes: str) -> str:
    """An `<svg>` element that shares no identifier and no style with its page."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'\bxlink:href="#', f'href="#{key}-', text)
    text = text.replace("url(#", f"url(#{key}-")
    return text.replace("<svg", f"<svg {attributes}", 1).strip()
