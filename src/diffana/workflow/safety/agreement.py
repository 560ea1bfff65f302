"""Whether the learned observable looks the same on events it was not trained on."""

from collections.abc import Mapping

from diffana.data.events import PopulationName
from diffana.histogram import Histogram, shape_agreement
from diffana.workflow.safety.check import Check
from diffana.workflow.safety.drawing import Drawn


FALSE_ALARM = 0.01
_NAME = "agreement of train, validation and test"


def check_agreement(
    train: Drawn, validation: Drawn, test: Drawn, *, false_alarm: float = FALSE_ALARM
) -> Check:
    """Compare the shapes of all hard histograms in the three parts of the events.

    Nominal events and variations with simulated events of their own are compared. Those
    that are made of the nominal events fluctuate with them and are left out.

    Args:
        train: histograms of the training events.
        validation: of the validation events.
        test: of the test events.
        false_alarm: probability of a warning where all three parts come from one
            distribution; at most that, as p-values are multiplied by their number
            (Bonferroni).
    """
    pairs = {"train, test": train, "validation, test": validation}
    rows = [
        {
            "region": name[0],
            "sample": name[1],
            "variation": name[2],
            "parts": parts,
            **shape_agreement(
                _histogram(other, name), _histogram(test, name)
            )._asdict(),
        }
        for parts, other in pairs.items()
        for name in _independent(test.source)
    ]
    compared = [row for row in rows if row["ndf"]]
    numbers = {"false_alarm": false_alarm, "comparisons": rows}
    if not compared:
        return Check(
            _NAME,
            "not checked",
            "no histogram has two bins of ten effective events to compare",
            numbers,
        )
    worst = min(compared, key=lambda row: row["p_value"])
    p_value = min(1.0, worst["p_value"] * len(compared))
    numbers |= {"p_value": p_value, "n_compared": len(compared)}
    summary = (
        f"{len(compared)} histograms compared; the least probable deviation is that of "
        f"region {worst['region']!r}, sample {worst['sample']!r}, variation "
        f"{worst['variation']!r} between {worst['parts'].replace(', ', ' and ')}: χ² "
        f"{worst['chi2']:.1f} for {worst['ndf']} degrees of freedom, p = {p_value:.2g} "
        f"after correction for their number; warns below {false_alarm:g}"
    )
    return Check(_NAME, "warn" if p_value < false_alarm else "pass", summary, numbers)


def _independent(source: Mapping[PopulationName, str]) -> list[PopulationName]:
    """Nominal events, and variations that were simulated on their own."""
    nominal = {
        (region, one): events
        for (region, one, variation), events in source.items()
        if variation == "nominal"
    }
    return [
        name
        for name, events in source.items()
        if name[2] == "nominal" or events != nominal.get(name[:2])
    ]


def _histogram(drawn: Drawn, name: PopulationName) -> Histogram:
    return drawn.histograms()[name]
