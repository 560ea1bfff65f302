"""Belts from toys: which are made, and how critical values follow from them."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, final

import numpy as np
from jaxtyping import Float, Int

from diffana.errors import ToyError
from diffana.infer.toys import TOLERATED_FAILURES
from diffana.neyman.baseline import gaussian_baseline
from diffana.neyman.belt import Belt
from diffana.neyman.construction import Construction
from diffana.neyman.leaf_guard import guarded
from diffana.neyman.nuisance import Known, Mixed
from diffana.neyman.order_statistic import (
    AbstractCriticalValues,
    Capped,
    Universal,
    checked_levels,
    empirical,
    excess,
    order_statistic,
    ville_bound,
)
from diffana.neyman.p_value_regression import fit_p_values
from diffana.neyman.quantile_regression import fit_quantiles
from diffana.neyman.schemes import AbstractScheme, Conditional
from diffana.neyman.statistics import FTS
from diffana.neyman.toys import Batch, batch_size, batches, here
from diffana.neyman.worst_case import worst_case


Method = Literal["empirical", "quantile", "p-value", "universal"]

Evaluate = Callable[[Construction, list[Batch]], Iterable[Float[np.ndarray, " toy"]]]
"""Computes `toys.own_statistics` of batches, in their order."""

CALIBRATION, EDGE, COVERAGE, LENGTHS = range(4)
"""Streams of random numbers of toys of different purposes."""

_GUARD_FRACTION = 0.2
_TOYS_PER_LEAF = 500
# Of all toys: those of the lowest value, where a bounded parameter has a point mass.
_EDGE_FRACTION = 0.05


@final
class Settings(NamedTuple):
    """How critical values are obtained.

    Attributes:
        levels: confidence levels, increasing.
        method: `empirical`: order statistics at separate values, the reference.
            `quantile`: quantile regression on toys of all values. `p-value`: regression
            of p-values. `universal`: the bound -2 ln(1 - CL), without toys.
        n_toys: toys in all.
        n_points: values with toys of their own, for `empirical`.
        guard: whether regressions are corrected with toys kept back, so that they
            cover on average in each part of the range.
        seed: of the random numbers.
    """

    levels: tuple[float, ...] = (0.6827, 0.9545)
    method: Method = "empirical"
    n_toys: int = 100_000
    n_points: int = 51
    guard: bool = True
    seed: int = 0


@final
class Calibration(NamedTuple):
    """A belt and the toys behind it.

    Attributes:
        belt: the belt.
        at: tested value, as a position on the grid, of each toy.
        statistic: its statistic; inf for toys without a certified fit, which makes
            critical values larger rather than smaller.
        n_failed: how many toys these are.
        excess: by how much critical values from toys exceeded the bound
            -2 ln(1 - CL), where that holds; nan where it does not.
    """

    belt: Belt
    at: Int[np.ndarray, " toy"]
    statistic: Float[np.ndarray, " toy"]
    n_failed: int
    excess: float


def bounded_by_ville(construction: Construction) -> bool:
    """Whether critical values cannot exceed -2 ln(1 - CL).

    That is so for the focused statistic without nuisance parameters, or if they are
    averaged over a proper prior below and maximised above. With `Marginal` it is only
    so on average over the prior.
    """
    focused = isinstance(construction.statistic, FTS)
    return focused and isinstance(construction.nuisance, Known | Mixed)


def check(
    construction: Construction, scheme: AbstractScheme, settings: Settings
) -> None:
    """Refuse settings that do not fit the statistic or the scheme.

    Raises:
        ValueError: naming what does not fit.
    """
    construction.check()
    levels = checked_levels(np.array(settings.levels))
    if settings.method == "universal" and not bounded_by_ville(construction):
        raise ValueError(
            "critical values without toys need the focused statistic, and no nuisance "
            "parameters or the treatment `mixed` of them"
        )
    if isinstance(scheme, Conditional):
        if settings.method != "quantile":
            raise ValueError(
                "the worst case over nuisance parameters needs the method `quantile`"
            )
        if not levels.max() + scheme.beta < 1:
            raise ValueError(
                f"beta = {scheme.beta:g} is too large for the level {levels.max():g}"
            )


def planned(
    construction: Construction,
    scheme: AbstractScheme,
    tested: tuple[int, int],
    settings: Settings,
) -> list[Batch]:
    """The toys that a calibration needs.

    Args:
        construction: the test.
        scheme: where the nuisance parameters of toys come from.
        tested: positions on the grid of the lowest and the highest tested value.
        settings: how critical values are obtained.
    """
    points = calibrated_points(tested, settings)
    if settings.method == "universal":
        return []
    n_toys = max(settings.n_toys // points.size, 1)
    size = batch_size(construction.likelihood, n_toys * points.size)
    seed = settings.seed
    plan = batches(scheme, points, n_toys, seed, stream=CALIBRATION, size=size)
    if settings.method == "quantile" and not isinstance(scheme, Conditional):
        # A batch at least, since a smaller one would be compiled anew.
        n_edge = max(round(_EDGE_FRACTION * settings.n_toys), size)
        plan += batches(scheme, points[:1], n_edge, seed, stream=EDGE, size=size)
    return plan


def calibrated_points(
    tested: tuple[int, int], settings: Settings
) -> Int[np.ndarray, " point"]:
    """Positions on the grid of the values that have toys."""
    every = np.arange(tested[0], tested[1] + 1)
    if settings.method != "empirical":
        return every
    n_points = min(settings.n_points, every.size)
    return every[np.linspace(0, every.size - 1, n_points).round().astype(int)]


def calibrate(
    construction: Construction,
    scheme: AbstractScheme,
    tested: tuple[int, int],
    settings: Settings | None = None,
    *,
    evaluate: Evaluate = here,
    on_toys: Callable[[int], None] = lambda n_done: None,
) -> Calibration:
    """Make toys and a belt from them.

    Args:
        construction: the test.
        scheme: where the nuisance parameters of toys come from.
        tested: positions on the grid of the lowest and the highest tested value.
        settings: how critical values are obtained.
        evaluate: computes the toys elsewhere.
        on_toys: called with the number of toys done.

    Raises:
        ToyError: if more than 1 % of the toys have no certified fit.
        ValueError: if the method does not fit the statistic or the scheme.

    Source: Neyman, Phil. Trans. R. Soc. A 236 (1937) 333.

    Example:
        >>> last = grid.points.shape[0] - 1
        >>> calibrate(construction, Plugin(fitted), (0, last)).belt.invert(data)
    """
    settings = Settings() if settings is None else settings
    check(construction, scheme, settings)
    levels = checked_levels(np.array(settings.levels))
    plan = planned(construction, scheme, tested, settings)
    parts, n_done = [], 0
    for part in evaluate(construction, plan):
        parts.append(np.asarray(part))
        n_done += parts[-1].size
        on_toys(n_done)
    statistic = np.concatenate([np.zeros(0), *parts])
    at = np.concatenate([np.zeros(0, int), *(batch.at for batch in plan)])
    failed = np.isnan(statistic)
    if failed.sum() > TOLERATED_FAILURES * statistic.size:
        raise ToyError(
            f"{failed.sum()} of {statistic.size} pseudo-experiments have no certified "
            "fit"
        )
    statistic = np.where(failed, np.inf, statistic)
    is_bounded = bounded_by_ville(construction)
    critical = _critical(
        construction, scheme, plan, at, statistic, levels, tested, settings
    )
    over = np.nan
    if is_bounded:
        grid = np.asarray(construction.grid.points)[tested[0] : tested[1] + 1]
        bound = ville_bound(levels)
        over = excess(critical(grid), bound)
        critical = Capped(critical, bound)
    belt = Belt(construction, critical, tested[0], tested[1], scheme.guarantee)
    return Calibration(belt, at, statistic, int(failed.sum()), over)


def _critical(
    construction: Construction,
    scheme: AbstractScheme,
    plan: list[Batch],
    at: Int[np.ndarray, " toy"],
    statistic: Float[np.ndarray, " toy"],
    levels: Float[np.ndarray, " level"],
    tested: tuple[int, int],
    settings: Settings,
) -> AbstractCriticalValues:
    if settings.method == "universal":
        return Universal(levels)
    grid = np.asarray(construction.grid.points)
    if settings.method == "empirical":
        points = calibrated_points(tested, settings)
        return empirical(grid[points], statistic.reshape(points.size, -1), levels)
    finite = np.isfinite(statistic)
    usable = np.where(finite, statistic, statistic[finite].max(initial=0.0) + 1.0)
    mu = grid[at]
    # Every so many toys, so that all values are among those kept back.
    every = round(1 / _GUARD_FRACTION)
    kept = (np.arange(at.size) % every == every - 1) & settings.guard
    if isinstance(scheme, Conditional):
        return worst_case(scheme, grid, tested, plan, usable, levels, settings.seed)
    approximate = gaussian_baseline(construction, plan, tested, levels)
    if settings.method == "quantile":
        # Toys of the edge alone would pull the splines beside it towards its value.
        n_spread = calibrated_points(tested, settings).size
        n_spread *= max(settings.n_toys // n_spread, 1)
        kept[n_spread:] = False
        used = ~kept & (np.arange(at.size) < n_spread)
        first = at == tested[0]
        edge = None
        if np.count_nonzero(first) * (1 - levels.max()) >= 1:
            edge = order_statistic(usable[first], levels)
        critical = fit_quantiles(
            mu[used],
            usable[used],
            levels,
            bounds=(grid[tested[0]], grid[tested[1]]),
            baseline=approximate,
            edge_values=edge,
        )
    else:
        critical = fit_p_values(
            mu[~kept],
            usable[~kept],
            bounds=(grid[tested[0]], grid[tested[1]]),
            baseline=approximate,
            seed=settings.seed,
        ).critical_values(levels)
    if not settings.guard:
        return critical
    n_leaves = max(1, min(20, int(kept.sum()) // _TOYS_PER_LEAF))
    return guarded(critical, mu[kept], usable[kept], n_leaves)
