"""The checks of a run as a terminal shows them."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from diffana.workflow.safety.check import Check


_STYLE = {"pass": "green", "warn": "bold yellow", "not checked": "dim"}


def table(checks: Sequence[Check]) -> RenderableType:
    """One row for each question, with its verdict and the numbers behind it."""
    rows = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("check", "verdict", "why"):
        rows.add_column(heading)
    for check in checks:
        verdict = Text(check.verdict, style=_STYLE[check.verdict])
        # Text, since a summary may hold brackets that rich would take for a style.
        rows.add_row(check.name, verdict, Text(check.summary))
    return rows
