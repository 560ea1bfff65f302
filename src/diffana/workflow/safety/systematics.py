"""Whether systematic variations are what they are taken for."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from diffana.analysis import NOMINAL, Analysis, Shape
from diffana.data.events import PopulationName
from diffana.histfactory import HistFactory
from diffana.histogram import yield_agreement
from diffana.workflow.safety.check import Check
from diffana.workflow.safety.drawing import Drawn


FALSE_ALARM = 0.01
SMALLEST_EFFECT = 0.01
NOISE = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Effect:
    """What one nuisance parameter at ±1 makes of one sample in one region.

    Attributes:
        region: the region.
        sample: the sample.
        parameter: the nuisance parameter.
        nominal: yield per bin.
        up: yield per bin with the parameter at +1.
        down: yield per bin with the parameter at -1.
        sigma_up: Monte-Carlo uncertainty of up - nominal per bin, and of the whole
            yield as the last entry; None if the variation is not simulated.
        sigma_down: likewise.
        symmetrised: whether the downward variation is the mirror image of the other.
    """

    region: str
    sample: str
    parameter: str
    nominal: Float[np.ndarray, " bin"]
    up: Float[np.ndarray, " bin"]
    down: Float[np.ndarray, " bin"]
    sigma_up: Float[np.ndarray, " bin+1"] | None = None
    sigma_down: Float[np.ndarray, " bin+1"] | None = None
    symmetrised: bool = False

    def __str__(self) -> str:
        return (
            f"region {self.region!r}, sample {self.sample!r}, parameter "
            f"{self.parameter!r}"
        )


def effects(
    analysis: Analysis, likelihood: HistFactory, test: Drawn
) -> tuple[Effect, ...]:
    """The effects of all nuisance parameters in the regions that events fill.

    Args:
        analysis: which variations are simulated.
        likelihood: with the templates of the test events.
        test: histograms of the test events, then of test events drawn with replacement,
            which know how far a variation and the nominal events it is made of
            fluctuate together.
    """
    shapes = {(one.region, one.sample, one.parameter): one for one in analysis.shapes}
    regions = {region.name for region in analysis.regions}
    layout, templates = likelihood.layout, likelihood.templates
    nominal = np.asarray(templates.nominal)
    found = []
    for row in layout.rows:
        if row.channel not in regions:
            continue
        cells = nominal[row.start : row.stop]
        morphed = [one for one in row.modifiers if one.type in ("normsys", "histosys")]
        for parameter in dict.fromkeys(one.name for one in morphed):
            up, down = cells, cells
            for one in sorted(morphed, key=lambda one: one.type):
                entries = slice(one.start, one.stop)
                if one.name == parameter and one.type == "histosys":
                    up = np.asarray(templates.histosys_hi)[entries]
                    down = np.asarray(templates.histosys_lo)[entries]
                elif one.name == parameter:
                    up = up * np.asarray(templates.normsys_hi)[entries]
                    down = down * np.asarray(templates.normsys_lo)[entries]
            shape = shapes.get((row.channel, row.sample, parameter))
            simulated = shape is not None
            found.append(
                Effect(
                    region=row.channel,
                    sample=row.sample,
                    parameter=parameter,
                    nominal=cells,
                    up=up,
                    down=down,
                    sigma_up=_sigma(shape, "up", test) if simulated else None,
                    sigma_down=_sigma(shape, "down", test)
                    if simulated and not shape.symmetrize
                    else None,
                    symmetrised=simulated and shape.symmetrize,
                )
            )
    return tuple(found)


def check_one_sided(
    found: Sequence[Effect],
    *,
    false_alarm: float = FALSE_ALARM,
    smallest: float = SMALLEST_EFFECT,
) -> Check:
    """Look for parameters whose two variations lie on the same side of the nominal.

    Args:
        found: the effects; symmetrised ones are listed.
        false_alarm: probability of a warning if no simulated variation is one-sided; at
            most that, by Bonferroni over all bins and yields.
        smallest: where the variations are not simulated, what both have to exceed,
            relative to the nominal yield.
    """
    name = "one-sided variations"
    symmetrised = [str(one) for one in found if one.symmetrised]
    two_sided = [one for one in found if not one.symmetrised]
    n_tests = sum(len(one.nominal) + 1 for one in two_sided)
    threshold = float(-ndtri(false_alarm / max(n_tests, 1)))
    rows = [row for one in two_sided for row in _same_side(one, threshold, smallest)]
    numbers = {
        "false_alarm": false_alarm,
        "threshold": threshold,
        "smallest": smallest,
        "one_sided": rows,
        "symmetrised": symmetrised,
    }
    mirrored = f"; {len(symmetrised)} are symmetrised" if symmetrised else ""
    if not two_sided:
        reason = f"no parameter has two variations of its own{mirrored}"
        return Check(name, "not checked", reason, numbers)
    if rows:
        shown = "; ".join(f"{row['where']}: {row['what']}" for row in rows[:3])
        more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
        beyond = f"beyond {threshold:.1f} σ of the simulated statistics"
        return Check(name, "warn", f"{shown}{more}; {beyond}{mirrored}", numbers)
    summary = (
        f"none of {len(two_sided)} pairs of variations is one-sided beyond "
        f"{threshold:.1f} σ of the simulated statistics{mirrored}"
    )
    return Check(name, "pass", summary, numbers)


def check_size(found: Sequence[Effect]) -> Check:
    """Look for variations that change a bin by more than its nominal yield.

    Such templates turn negative, or are mostly noise: a threshold, not a test.
    """
    name = "size of variations"
    if not found:
        return Check(name, "not checked", "there are no systematic variations", {})
    rows, largest, where = [], 0.0, ""
    for one in found:
        positive = one.nominal > 0
        for direction in ("up", "down"):
            change = np.abs(getattr(one, direction) - one.nominal)
            relative = np.divide(
                change, one.nominal, out=np.zeros_like(change), where=positive
            )
            if relative.max() >= largest:
                largest, where = float(relative.max()), f"{one}, {direction}"
            rows += [
                {
                    "where": f"{one}, {direction}, bin {b}",
                    "relative": float(relative[b]),
                }
                for b in np.flatnonzero(relative > 1)
            ]
    numbers = {"largest": largest, "threshold": 1.0, "too_large": rows}
    summary = (
        f"the largest change of a bin is {100 * largest:.0f} % of its nominal yield "
        f"({where}); warns above 100 %"
    )
    return Check(name, "warn" if rows else "pass", summary, numbers)


def check_noise(
    shapes: Iterable[Shape], test: Drawn, *, largest: float = NOISE
) -> Check:
    """Look for simulated variations that are no more than statistical noise.

    Args:
        shapes: the simulated variations.
        test: histograms of the test events. Variations that are made of the nominal
            events fluctuate with them and are not tested.
        largest: a variation is noise if the p-value of no effect, with all regions
            together, exceeds this in each of its directions. One that has no effect is
            found with a probability of 1 - largest or more.
    """
    name = "variations above noise"
    histograms = test.histograms()
    tests: dict[tuple[str, str], dict[str, Any]] = {}
    dependent: list[str] = []
    for shape in shapes:
        nominal = PopulationName(shape.region, shape.sample, NOMINAL)
        for direction in ("up",) if shape.symmetrize else ("up", "down"):
            varied = nominal._replace(variation=f"{shape.systematic}/{direction}")
            key = shape.sample, shape.systematic
            if test.source[varied] == test.source[nominal]:
                dependent += [f"{shape.sample}, {shape.systematic}"]
                continue
            here = yield_agreement(histograms[varied], histograms[nominal])
            mine = tests.setdefault(key, {})
            mine[direction] = mine[direction] + here if direction in mine else here
    rows = [
        {
            "sample": sample,
            "systematic": systematic,
            **{direction: one._asdict() for direction, one in directions.items()},
            "noise": all(not one.p_value <= largest for one in directions.values()),
        }
        for (sample, systematic), directions in tests.items()
    ]
    numbers = {
        "largest": largest,
        "variations": rows,
        "of_the_nominal_events": list(dict.fromkeys(dependent)),
    }
    if not rows:
        reason = "no variation was simulated with events of its own"
        return Check(name, "not checked", reason, numbers)
    noise = [row for row in rows if row["noise"]]
    if noise:
        shown = "; ".join(
            f"sample {row['sample']!r}, systematic {row['systematic']!r}"
            for row in noise[:5]
        )
        more = f"; and {len(noise) - 5} more" if len(noise) > 5 else ""
        summary = (
            f"{len(noise)} of {len(rows)} variations are compatible with statistical "
            f"noise (p > {largest:g} for no effect): {shown}{more}; smooth or prune "
            "them"
        )
        return Check(name, "warn", summary, numbers)
    summary = (
        f"each of {len(rows)} variations with events of its own has an effect beyond "
        f"statistical noise (p <= {largest:g} for none)"
    )
    return Check(name, "pass", summary, numbers)


def _sigma(shape: Shape, direction: str, test: Drawn) -> Float[np.ndarray, " bin+1"]:
    """Monte-Carlo uncertainty of a variation minus the nominal."""
    nominal = PopulationName(shape.region, shape.sample, NOMINAL)
    varied = nominal._replace(variation=f"{shape.systematic}/{direction}")
    if test.source[varied] == test.source[nominal]:
        difference = (test.sumw[varied] - test.sumw[nominal])[1:]
        whole = difference.sum(axis=1, keepdims=True)
        return np.nanstd(np.hstack([difference, whole]), axis=0, ddof=1)
    variance = test.sumw2[varied][0] + test.sumw2[nominal][0]
    return np.sqrt(np.append(variance, variance.sum()))


def _same_side(
    one: Effect, threshold: float, smallest: float
) -> Iterator[dict[str, Any]]:
    nominal, up, down = (
        np.append(yields, yields.sum()) for yields in (one.nominal, one.up, one.down)
    )
    changes = up - nominal, down - nominal
    limits = [
        smallest * np.abs(nominal) if sigma is None else threshold * sigma
        for sigma in (one.sigma_up, one.sigma_down)
    ]
    same = (changes[0] * changes[1] > 0) & np.all(
        [np.abs(c) > limit for c, limit in zip(changes, limits, strict=True)], axis=0
    )
    for place in np.flatnonzero(same):
        relative = [float(change[place] / nominal[place]) for change in changes]
        where = "yield" if place == len(one.nominal) else f"bin {place}"
        yield {
            "where": f"{one}, {where}",
            "what": " and ".join(
                f"{100 * one:+.4g} % {direction}"
                for one, direction in zip(relative, ("up", "down"), strict=True)
            ),
            "relative": relative,
        }
