"""What the study varies: bandwidths of a histogram, slopes of two cuts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


HERE = Path(__file__).parent


class Part(NamedTuple):
    """One thing that is varied.

    Attributes:
        file: configuration with everything else.
        widths: name -> schedule; those of schedules that change have an arrow.
        places: paths in the configuration that take the schedule.
        losses: what is trained on, each judged by itself.
    """

    file: Path
    widths: Mapping[str, Mapping[str, Any]]
    places: tuple[str, ...]
    losses: tuple[str, ...]

    def settings(self, width: str) -> dict[str, Any]:
        """Changes of the file for one of `widths`."""
        return dict.fromkeys(self.places, self.widths[width])


def between(start: float, end: float, kind: str = "exponential") -> dict[str, Any]:
    """Section of a schedule."""
    return {"Type": kind, "Start": start, "End": end}


# A fixed width is a schedule with equal ends: both then share one compiled program.
BANDWIDTHS = {f"{h:g}": between(h, h) for h in (0.02, 0.05, 0.09, 0.15, 0.3)} | {
    "0.3 → 0.02": between(0.3, 0.02),
    "0.15 → 0.03": between(0.15, 0.03),
    "0.3 → 0.02 linear": between(0.3, 0.02, "linear"),
}
SLOPES = {f"{s:g}": between(s, s) for s in (1.0, 3.0, 10.0, 30.0, 100.0)} | {
    "1 → 30": between(1.0, 30.0),
    "3 → 100": between(3.0, 100.0),
}
PARTS: Mapping[str, Part] = {
    "bandwidth": Part(
        HERE.parents[1] / "configs" / "blobs.yaml",
        BANDWIDTHS,
        ("Histogram.Bandwidth",),
        ("cls", "p0", "sigma_mu"),
    ),
    "slope": Part(
        HERE / "cuts.yaml",
        SLOPES,
        ("Regions.plane.Cuts.0.Slope", "Regions.plane.Cuts.1.Slope"),
        ("p0",),
    ),
}
