"""`diffana neyman coverage` and `compare`: fresh toys of finished belts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from diffana.errors import RunError, SpecificationError, ToyError
from diffana.infer.toys import TOLERATED_FAILURES
from diffana.neyman import Belt
from diffana.neyman.calibration import COVERAGE, LENGTHS
from diffana.neyman.coverage import binomial_coverage
from diffana.neyman.regions import bounds, lengths
from diffana.neyman.regret import regret, set_lengths
from diffana.neyman.schemes import AbstractScheme
from diffana.neyman.toys import Batch, batch_size, batches, statistics
from diffana.workflow.neyman import records
from diffana.workflow.neyman.records import Record


_N_KNOTS = 14


def coverage(
    folder: Path,
    *,
    n_points: int = 21,
    n_toys: int = 2000,
    seed: int = 1,
    confidence: float = 0.95,
    on_toys: Callable[[int], None] = lambda n_done: None,
) -> dict[str, Any]:
    """How often the sets of a belt contain the true value, at several true values.

    Toys are made as those of the belt were, and are none of them. The band, and whether
    the belt covers, take into account that its critical values come from toys, too.

    Args:
        folder: the belt.
        n_points: true values.
        n_toys: toys at each of them.
        seed: of the toys.
        confidence: of the bands.
        on_toys: called with the number of toys done.

    Raises:
        RunError: if there is no belt.
        ToyError: if more than 1 % of the toys have no certified fit.
    """
    record = records.read(folder)
    belt = record.belt()
    made = records.constructed(record.source, record.description)
    points = _spread(belt, n_points)
    plan = _plan(belt, made.scheme, points, n_toys, seed, COVERAGE)
    critical = belt.critical_values
    covered = np.zeros((len(critical), points.size), int)
    n_done = n_failed = 0
    for batch in plan:
        found = statistics(belt.construction, batch)
        own = found[np.arange(batch.at.size), batch.at]
        # A toy without a certified fit has no set that could contain anything.
        accepted = own[None] <= critical[:, batch.at - belt.first]
        for level, row in enumerate(accepted):
            place = np.searchsorted(points, batch.at[row])
            covered[level] += np.bincount(place, minlength=points.size)
        n_failed += int(np.isnan(own).sum())
        n_done += batch.at.size
        on_toys(n_done)
    _check(n_failed, n_done)
    mu = np.asarray(belt.construction.grid.points)[points]
    return {
        "poi": record.document["poi"],
        "guarantee": record.document["guarantee"],
        "mu": mu.tolist(),
        "n_toys": n_toys,
        "n_failed": n_failed,
        "seed": seed,
        "n_toys_effective": _effective(record, n_toys),
        "confidence": confidence,
        "levels": [
            _covered(row, n_toys, _effective(record, n_toys), level, confidence, mu)
            for row, level in zip(covered, record.document["levels"], strict=True)
        ],
    }


def compare(
    folders: Sequence[Path],
    *,
    n_points: int = 11,
    n_toys: int = 1000,
    seed: int = 2,
    on_toys: Callable[[int], None] = lambda n_done: None,
) -> dict[str, Any]:
    """Lengths of the sets of several belts on the same toys, at several true values.

    Ratios are to the last belt.

    Args:
        folders: the belts, of one likelihood.
        n_points: true values, in the range that all belts test.
        n_toys: toys at each of them.
        seed: of the toys.
        on_toys: called with the number of toys done, over all belts.

    Raises:
        RunError: if a folder holds no belt, or one of another likelihood.
        SpecificationError: if the belts have no tested values or levels in common.
        ToyError: if more than 1 % of the toys have no certified fit.
    """
    several = [records.read(folder) for folder in folders]
    for record in several[1:]:
        if record.source.digest != several[0].source.digest:
            raise RunError(
                f"{record.folder} is a belt of another likelihood than "
                f"{several[0].folder}"
            )
    levels = [
        level
        for level in several[0].document["levels"]
        if all(level in record.document["levels"] for record in several)
    ]
    if not levels:
        raise SpecificationError("the belts have no confidence level in common")
    names = _names(folders)
    low = max(record.document["mu"][0] for record in several)
    high = min(record.document["mu"][-1] for record in several)
    if not low < high:
        raise SpecificationError("the belts have no tested values in common")
    wanted = np.linspace(low, high, n_points)
    found, n_before = [], 0
    reference = several[-1]
    scheme = records.constructed(reference.source, reference.description).scheme
    own = reference.belt()
    points = _nearest(own, wanted)
    mu = np.asarray(own.construction.grid.points)[points]
    plan = _plan(own, scheme, points, n_toys, seed, LENGTHS)
    for record in several:
        before = n_before
        found.append(
            _lengths(
                record.belt(),
                plan,
                levels,
                lambda n, before=before: on_toys(before + n),
            )
        )
        n_before += n_toys * points.size
    shape = (points.size, n_toys)
    document: dict[str, Any] = {
        "poi": reference.document["poi"],
        "reference": names[-1],
        "belts": {
            name: {
                key: record.document[key]
                for key in ("statistic", "focus", "nuisance", "scheme", "guarantee")
                if key in record.document
            }
            for name, record in zip(names, several, strict=True)
        },
        "mu": mu.tolist(),
        "n_toys": n_toys,
        "seed": seed,
        "levels": [],
    }
    for i, level in enumerate(levels):
        rows = {}
        base = found[-1][0][i].reshape(shape)
        for name, (length, lower, upper) in zip(names, found, strict=True):
            values = length[i].reshape(shape)
            rows[name] = {
                **_length_row(set_lengths(mu, values)),
                "median_lower": _medians(lower[i].reshape(shape)),
                "median_upper": _medians(upper[i].reshape(shape)),
                "empty": np.mean(values == 0, axis=1).tolist(),
            }
            if name != names[-1]:
                rows[name]["ratio"] = _ratio(regret(mu, values, base))
        document["levels"].append({"level": level, "belts": rows})
    return document


def _spread(belt: Belt, n_points: int) -> Int[np.ndarray, " point"]:
    n_points = min(n_points, belt.last - belt.first + 1)
    return np.unique(np.linspace(belt.first, belt.last, n_points).round().astype(int))


def _nearest(
    belt: Belt, wanted: Float[np.ndarray, " point"]
) -> Int[np.ndarray, " point"]:
    distance = np.abs(belt.tested[None] - wanted[:, None])
    return belt.first + np.unique(distance.argmin(axis=1))


def _plan(
    belt: Belt,
    scheme: AbstractScheme,
    points: Int[np.ndarray, " point"],
    n_toys: int,
    seed: int,
    stream: int,
) -> list[Batch]:
    size = batch_size(belt.construction.likelihood, n_toys * points.size)
    return batches(scheme, points, n_toys, seed, stream=stream, size=size)


def _check(n_failed: int, n_toys: int) -> None:
    if n_failed > TOLERATED_FAILURES * n_toys:
        raise ToyError(
            f"{n_failed} of {n_toys} pseudo-experiments have no certified fit"
        )


def _effective(record: Record, n_toys: int) -> int:
    """Toys that would fluctuate as these and the critical values do together.

    An order statistic of n toys covers with a probability that fluctuates as the
    fraction of n toys does; a spline at one value knows of the toys around a knot.
    """
    settings = record.settings
    if settings.method == "universal":
        return n_toys
    every = record.document["n_toys"]
    around = settings.n_points if settings.method == "empirical" else _N_KNOTS
    behind = max(every // min(around, len(record.document["mu"])), 1)
    return max(round(1 / (1 / n_toys + 1 / behind)), 1)


def _covered(
    n_covered: Int[np.ndarray, " point"],
    n_toys: int,
    n_effective: int,
    level: float,
    confidence: float,
    mu: Float[np.ndarray, " point"],
) -> dict[str, Any]:
    """Coverage, its own errors, and whether it is what a belt of so many toys has."""
    own = binomial_coverage(n_covered, n_toys, level, confidence=confidence)
    scaled = np.round(own.coverage * n_effective).astype(int)
    found = binomial_coverage(scaled, n_effective, level, confidence=confidence)
    return {
        "level": level,
        "coverage": own.coverage.tolist(),
        "lower": own.pointwise.lower.tolist(),
        "upper": own.pointwise.upper.tolist(),
        "band_lower": found.simultaneous.lower.tolist(),
        "band_upper": found.simultaneous.upper.tolist(),
        "covers": found.covers,
        "exact": found.exact,
        "largest_deviation": own.largest.value,
        "at": float(mu[own.largest.point]),
    }


def _lengths(
    belt: Belt,
    plan: list[Batch],
    levels: Sequence[float],
    on_toys: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Length, lower and upper end of the set of each toy, at each level."""
    critical = belt.critical_values[
        [belt.critical.levels.tolist().index(level) for level in levels]
    ]
    parts = []
    n_done = n_failed = 0
    for batch in plan:
        found = statistics(belt.construction, batch)[:, belt.first : belt.last + 1]
        failed = np.asarray(np.isnan(found).any(axis=1))
        n_failed += int(failed.sum())
        # Nothing is known of them: the set is everything.
        found = np.where(failed[:, None], -np.inf, found)
        parts.append(
            [
                (lengths(belt.tested, found, one), *bounds(belt.tested, found, one))
                for one in critical
            ]
        )
        n_done += batch.at.size
        on_toys(n_done)
    _check(n_failed, n_done)
    length, lower, upper = np.moveaxis(np.concatenate(parts, axis=2), 1, 0)
    return length, lower, upper


def _length_row(found: Any) -> dict[str, Any]:
    return {
        "mean": found.mean.tolist(),
        "mean_error": found.mean_error.tolist(),
        "median": found.median.tolist(),
        "median_error": found.median_error.tolist(),
    }


def _ratio(found: Any) -> dict[str, Any]:
    return {
        "mean": found.mean.value.tolist(),
        "mean_error": found.mean.error.tolist(),
        "median": found.median.value.tolist(),
        "median_error": found.median.error.tolist(),
        "largest": found.mean.largest._asdict(),
        "smallest": found.mean.smallest._asdict(),
    }


def _medians(ends: Float[np.ndarray, "point toy"]) -> list[float]:
    """Median over the sets that are not empty; nan where all are."""
    rows = [row[~np.isnan(row)] for row in ends]
    return [float(np.median(row)) if row.size else np.nan for row in rows]


def _names(folders: Sequence[Path]) -> list[str]:
    """Shortest names that tell the folders apart."""
    short = [folder.name for folder in folders]
    return short if len(set(short)) == len(short) else [str(one) for one in folders]
