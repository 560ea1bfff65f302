"""The fit of a calibration to events of both classes."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Scalar

from diffana.errors import RESULTS, DataError, TrainingError
from diffana.nsbi.calibration._events import (
    Batches,
    Class,
    batches,
    checked,
    quantile_knots,
)
from diffana.nsbi.calibration.line import fit_line
from diffana.nsbi.calibration.spline import Calibration
from diffana.numerics import as_float


# Twice the log likelihood still to be gained, below which a fit has converged: a
# thousandth of a standard deviation, squared.
_TOLERANCE = 1e-6


class CalibrationResult(NamedTuple):
    """A fitted calibration.

    Attributes:
        calibration: the map of log ratios.
        cross_entropy: of the calibrated log ratios on the events of the fit, per unit
            of weight; each class has half of the weight.
        identity_cross_entropy: of the log ratios as they were; never smaller, but for
            rounding.
        n_steps: trial points of the fit.
        result: why the fit stopped.
    """

    calibration: Calibration
    cross_entropy: float
    identity_cross_entropy: float
    n_steps: int
    result: RESULTS


def fit_calibration(
    log_ratio_numerator: Float[ArrayLike, " event"],
    weight_numerator: Float[ArrayLike, " event"],
    log_ratio_denominator: Float[ArrayLike, " other"],
    weight_denominator: Float[ArrayLike, " other"],
    *,
    n_knots: int = 8,
    prior_width: float = 1.0,
    max_steps: int = 200,
    batch: int = 2**13,
    throw: bool = True,
) -> CalibrationResult:
    """Calibration that minimises the binary cross-entropy of two samples of events.

    Over all functions of the log ratio the cross-entropy is least for the logarithm of
    the ratio of its own densities in the two classes, which is the log ratio itself if
    that is right. The knots are quantiles between 1 % and 99 % of the log ratio, both
    classes weighing the same.

    The fit starts from the straight line of least cross-entropy, to which the identity
    belongs, and only goes down. The logarithms of slopes and stretches have a normal
    prior around that line, which counts as it would beside the effective number of
    events: without it the slope of a tail in which only one class has events would be
    infinite. The minimiser is that of Levenberg and Marquardt with the information of
    the events as curvature. Equal input gives equal results.

    Args:
        log_ratio_numerator: estimated log ratios of events of the numerator that took
            no part in the training; finite.
        weight_numerator: of these events, any unit, >= 0.
        log_ratio_denominator: the same for the denominator.
        weight_denominator: likewise; each class is normalised on its own.
        n_knots: number of knots, >= 2; there are fewer if quantiles coincide.
        prior_width: standard deviation of the logarithms of slopes and stretches, > 0.
        max_steps: trial points after which the fit has failed.
        batch: events in memory at a time, with their derivatives.
        throw: whether a fit that has not converged raises. Otherwise `result` tells.

    Raises:
        DataError: if a class has no weight, a weight is negative, a weight or a log
            ratio is not finite, the log ratio is the same in almost all events or not
            larger in the numerator, or it separates the classes completely.
        TrainingError: if `throw` and the fit did not converge.
        ValueError: if JAX runs in single precision, or an option is out of range.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> exact = 2 * (rng.normal(size=(2, 10_000)) + [[1.0], [-1.0]])
        >>> weight = np.ones(10_000)
        >>> found = fit_calibration(1.5 * exact[0], weight, 1.5 * exact[1], weight)
        >>> bool(abs(found.calibration(1.5) - 1.0) < 0.2)
        True
    """
    _check_options(n_knots, prior_width, max_steps, batch)
    numerator = checked(log_ratio_numerator, weight_numerator, "numerator")
    denominator = checked(log_ratio_denominator, weight_denominator, "denominator")
    knots = quantile_knots(numerator, denominator, n_knots)
    found = _minimise(
        _start(knots, numerator, denominator),
        batches(numerator, denominator, batch),
        as_float(prior_width),
        jnp.asarray(max_steps),
    )
    result = CalibrationResult(
        found.calibration,
        float(found.cross_entropy),
        float(found.identity_cross_entropy),
        int(found.n_steps),
        found.result,
    )
    if throw and bool(found.result != RESULTS.successful):
        raise TrainingError(
            f"calibration: the fit has not converged after {result.n_steps} steps"
        )
    return result


class _Model(NamedTuple):
    """Twice the negative log likelihood around one point, or its prior added."""

    loss: Scalar
    gradient: Float[Array, " par"]
    curvature: Float[Array, "par par"]


class _Search(NamedTuple):
    """State of the minimiser."""

    point: Float[Array, " par"]
    model: _Model
    damping: Scalar
    n_steps: Int[Array, ""]


class _Found(NamedTuple):
    calibration: Calibration
    cross_entropy: Scalar
    identity_cross_entropy: Scalar
    n_steps: Int[Array, ""]
    result: RESULTS


def _check_options(n_knots: int, width: float, max_steps: int, batch: int) -> None:
    if jnp.zeros(()).dtype != jnp.float64:
        raise ValueError(
            "calibration needs double precision: call jax.config.update("
            "'jax_enable_x64', True)"
        )
    if n_knots < 2 or not width > 0 or max_steps < 1 or batch < 1:
        raise ValueError(
            "calibration: n_knots has to be at least 2, max_steps and batch at least "
            f"1, prior_width positive, not {n_knots}, {max_steps}, {batch}, {width}"
        )


def _start(
    knots: Float[np.ndarray, " knot"], numerator: Class, denominator: Class
) -> Calibration:
    line = fit_line(*numerator, *denominator)
    if not line.found:
        raise DataError(
            "calibration: the log ratio separates the classes completely, so that "
            "nothing limits its slope"
        )
    if line.slope <= 0:
        raise DataError(
            "calibration: the log ratio is not larger in the numerator than in the "
            f"denominator, the slope of the log odds is {line.slope:.3g}"
        )
    return Calibration.line(knots, line.intercept, line.slope)


@eqx.filter_jit
def _minimise(
    start: Calibration, sample: Batches, width: Scalar, max_steps: Int[Array, ""]
) -> _Found:
    parameters = (start.offset, start.log_stretches, start.log_slopes)
    centre, unravel = ravel_pytree(parameters)

    def calibration(point: Float[Array, " par"]) -> Calibration:
        return Calibration(start.knots, *unravel(point))

    # The first parameter is the offset, of which nothing is known beforehand.
    precision = jnp.full_like(centre, 2 / width**2).at[0].set(0.0)

    def model(point: Float[Array, " par"]) -> _Model:
        events = _events_model(calibration, point, sample)
        distance = point - centre
        return _Model(
            events.loss + 0.5 * jnp.sum(precision * distance**2),
            events.gradient + precision * distance,
            events.curvature + jnp.diag(precision),
        )

    def cross_entropy(point: Float[Array, " par"]) -> Scalar:
        return _events_model(calibration, point, sample).loss / (2 * sample.size)

    first = _Search(centre, model(centre), as_float(1e-3), jnp.asarray(0))
    last = jax.lax.while_loop(
        lambda now: ~_converged(now.model) & (now.n_steps < max_steps),
        lambda now: _step(now, model),
        first,
    )
    return _Found(
        calibration(last.point),
        cross_entropy(last.point),
        cross_entropy(jnp.zeros_like(centre)),
        last.n_steps,
        RESULTS.where(
            _converged(last.model), RESULTS.successful, RESULTS.iteration_limit
        ),
    )


def _converged(model: _Model) -> Bool[Array, ""]:
    """Whether a Newton step would gain less than the tolerance."""
    step = jnp.linalg.solve(model.curvature, model.gradient)
    return model.gradient @ step < _TOLERANCE


def _step(now: _Search, model: Callable[[Float[Array, " par"]], _Model]) -> _Search:
    """One trial point; the damping follows the gain as in Nielsen, IMM-REP-1999-05."""
    loss, gradient, curvature = now.model
    scale = jnp.diagonal(curvature)
    step = -jnp.linalg.solve(curvature + now.damping * jnp.diag(scale), gradient)
    found = model(now.point + step)
    promised = -(gradient @ step + 0.5 * step @ curvature @ step)
    gain = (loss - found.loss) / promised
    # False for nan, which an overflow of a slope leaves.
    better = gain > 0
    point, kept = jax.tree.map(
        lambda new, old: jnp.where(better, new, old),
        (now.point + step, found),
        (now.point, now.model),
    )
    factor = jnp.where(better, jnp.clip(1 - (2 * gain - 1) ** 3, 0.1, 2.0), 10.0)
    return _Search(point, kept, now.damping * factor, now.n_steps + 1)


def _events_model(
    calibration: Callable[[Float[Array, " par"]], Calibration],
    point: Float[Array, " par"],
    sample: Batches,
) -> _Model:
    """Likelihood of the classes of the events, batch by batch."""

    def logit(point: Float[Array, " par"], log_ratio: Scalar) -> Scalar:
        return calibration(point)(log_ratio)

    def add(total: _Model, batch: tuple[Array, Array, Array]) -> tuple[_Model, None]:
        log_ratio, share, is_numerator = batch
        logits = jax.vmap(logit, (None, 0))(point, log_ratio)
        slopes = jax.vmap(jax.jacfwd(logit), (None, 0))(point, log_ratio)
        score = jax.nn.sigmoid(logits)
        part = _Model(
            share @ (jax.nn.softplus(logits) - is_numerator * logits),
            (share * (score - is_numerator)) @ slopes,
            slopes.T @ ((share * score * (1 - score))[:, None] * slopes),
        )
        return jax.tree.map(jnp.add, total, part), None

    n = point.shape[0]
    zero = _Model(jnp.zeros(()), jnp.zeros(n), jnp.zeros((n, n)))
    events = (sample.log_ratio, sample.share, sample.is_numerator)
    total, _ = jax.lax.scan(add, zero, events)
    return jax.tree.map(lambda one: 2 * sample.size * one, total)
