"""Whether a second classifier tells the reweighted denominator from the numerator."""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float
from scipy.special import ndtr, ndtri

from diffana.data._random import named_generator
from diffana.nsbi.diagnostics._events import Sample, closure
from diffana.nsbi.diagnostics.gate import Gate, verdict


NAME = "classifier closure"
_LEAST_SIZE = 100.0
_BATCH = 2**14


def classifier_gate(
    numerator_features: Float[ArrayLike, "event feature"],
    numerator_weight: Float[ArrayLike, " event"],
    denominator_features: Float[ArrayLike, "other feature"],
    denominator_weight: Float[ArrayLike, " other"],
    log_ratio: Float[ArrayLike, " other"],
    *,
    numerator_log_ratio: Float[ArrayLike, " event"] | None = None,
    seed: int = 0,
    n_waves: int = 64,
    ridge: float = 1.0,
    threshold: float = 0.05,
) -> Gate:
    """Whether a classifier finds no difference to the weighted denominator.

    Both samples are weighted as in `feature_closure_gate`. A classifier is trained on
    half of the events and tested on the other half, then the other way round. Its area
    under the ROC curve is 1/2 if both samples come from one distribution, with a
    standard error that follows from the weights. The two halves do not give independent
    answers (both look for the one difference that the two halves happen to share),
    hence twice the smaller of the two one-sided p-values has to be at least
    `threshold`. A right ratio fails in at most this fraction of all cases, and in about
    half of it at least. Without the log ratios of the numerator this holds only if the
    standard deviation of the log ratio is below about 1.

    The classifier is linear in the normal scores of the features, their products, and
    plane waves of random direction. Its coefficients are a single Newton step of the
    logistic regression from zero, that is Fisher's discriminant with a ridge: what a
    closed ratio leaves is small, so further steps would gain nothing, and what is
    large is found anyway. Nothing in it can fail to converge, and it shares neither
    architecture nor training with the ratio.

    Args:
        numerator_features: of events of the numerator, any units; finite.
        numerator_weight: of these events, any unit and sign.
        denominator_features: the same for the denominator, from independent events.
        denominator_weight: likewise.
        log_ratio: of the events of the denominator.
        numerator_log_ratio: of the events of the numerator; best given.
        seed: decides the halves and the waves; any integer.
        n_waves: number of plane waves.
        ridge: added to the diagonal of the correlation matrix of the terms, > 0.
        threshold: least p-value, which is the rate of false alarms at most.

    Raises:
        DataError: if a sample has no event, a weight or a feature is not finite, the
            sum of the weights of a sample is not positive, or the columns differ.

    Source: Lopez-Paz and Oquab, arXiv:1610.06545, for the test; Rahimi and Recht, NIPS
    (2007), for the waves.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> x, y = rng.normal(size=(2, 1000, 2)) + np.array([[[0.5]], [[0.0]]])
        >>> ones, zeros = np.ones(1000), np.zeros(1000)
        >>> classifier_gate(x, ones, y, ones, zeros).verdict
        'fail'
    """
    found = closure(
        NAME,
        threshold,
        (numerator_features, numerator_weight),
        (denominator_features, denominator_weight),
        log_ratio,
        numerator_log_ratio,
    )
    if isinstance(found, Gate):
        return found
    generator = named_generator("classifier closure", seed)
    terms = _Terms.drawn(found.numerator.values.shape[1], n_waves, generator)
    classes = _normal_scores(*found)
    halves = [_halves(one, generator) for one in classes]
    least = min(one.effective_size for half in halves for one in half)
    if not least * 2 >= _LEAST_SIZE:
        reason = f"{2 * least:.1f} effective events of a class are too few"
        return Gate(NAME, "not checked", reason, {"size": 2 * least}, threshold)
    areas = []
    for train, test in ((0, 1), (1, 0)):
        direction = _direction(halves[0][train], halves[1][train], terms, ridge)
        areas.append(
            area_under_curve(
                *(_projected(half[test], terms, direction) for half in halves)
            )
        )
    return _gate(areas, threshold)


class Area(NamedTuple):
    """Area under a ROC curve.

    Attributes:
        value: probability that an event of the first sample has the larger score.
        error: its standard error.
    """

    value: float
    error: float

    @property
    def pull(self) -> float:
        """Standard errors above 1/2; infinite for separated classes, 0 for ties."""
        distance = self.value - 0.5
        if self.error == 0:
            return float(np.copysign(np.inf, distance)) if distance else 0.0
        return distance / self.error


def area_under_curve(first: Sample, second: Sample) -> Area:
    """Area under the ROC curve of two independent weighted samples of scores.

    Args:
        first: scores and shares of the class that should have the larger scores.
        second: of the other class.

    Returns:
        The area, ties counting half, with the standard error of DeLong et al.,
        Biometrics 44 (1988) 837, for weighted events.

    Example:
        >>> first = Sample(np.array([1.0, 2.0]), np.array([0.5, 0.5]))
        >>> second = Sample(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
        >>> area_under_curve(first, second).value
        0.875
    """
    below = _cumulative(first.values, second)
    above = 1 - _cumulative(second.values, first)
    value = float(first.share @ below)
    variance = np.sum((first.share * (below - value)) ** 2)
    variance += np.sum((second.share * (above - value)) ** 2)
    return Area(value, float(np.sqrt(variance)))


def _gate(areas: list[Area], threshold: float) -> Gate:
    pulls = np.array([area.pull for area in areas])
    p_value = float(min(2 * ndtr(-pulls.max()), 1.0))
    mean = float(np.mean([area.value for area in areas]))
    error = float(np.mean([area.error for area in areas]))
    return Gate(
        NAME,
        verdict(p_value >= threshold),
        f"area under the curve {mean:.4f} ± {error:.2g} in each half: p = "
        f"{p_value:.2g}, at least {threshold:g} needed",
        {
            "p_value": p_value,
            "area": mean,
            "areas": [area.value for area in areas],
            "errors": [area.error for area in areas],
        },
        threshold,
    )


class _Terms(NamedTuple):
    """The functions of the features that the classifier is linear in.

    Attributes:
        frequencies: of the waves, per unit of the normal scores.
        phases: of the waves.
    """

    frequencies: Float[np.ndarray, "wave feature"]
    phases: Float[np.ndarray, " wave"]

    @classmethod
    def drawn(
        cls, n_features: int, n_waves: int, generator: np.random.Generator
    ) -> "_Terms":
        # Lengths around the distance of two events, √(2 n_features).
        length = np.sqrt(n_features) * np.resize([0.5, 1.0, 2.0], n_waves)
        frequencies = generator.normal(size=(n_waves, n_features)) / length[:, None]
        return cls(frequencies, generator.uniform(0, 2 * np.pi, n_waves))

    def __call__(
        self, scores: Float[np.ndarray, "event feature"]
    ) -> Float[np.ndarray, "event term"]:
        first, second = np.triu_indices(scores.shape[1])
        products = scores[:, first] * scores[:, second]
        waves = np.cos(scores @ self.frequencies.T + self.phases)
        return np.concatenate([scores, products, waves], axis=1)


def _normal_scores(numerator: Sample, weighted: Sample) -> tuple[Sample, Sample]:
    """Features as normal quantiles of their rank among the events of both samples."""
    values = np.concatenate([numerator.values, weighted.values])
    equal = np.full(len(values), 1 / len(values))
    scores = [ndtri(_cumulative(one, Sample(one, equal))) for one in values.T]
    first, second = np.split(np.stack(scores, axis=1), [len(numerator.values)])
    return Sample(first, numerator.share), Sample(second, weighted.share)


def _cumulative(
    at: Float[np.ndarray, " value"], one: Sample
) -> Float[np.ndarray, " value"]:
    """Share of a sample below each value, and half of that at the value."""
    order = np.argsort(one.values, kind="stable")
    ordered = one.values[order]
    total = np.concatenate([[0.0], np.cumsum(one.share[order])])
    below = np.searchsorted(ordered, at, side="left")
    through = np.searchsorted(ordered, at, side="right")
    return (total[below] + total[through]) / 2


def _halves(one: Sample, generator: np.random.Generator) -> tuple[Sample, Sample]:
    is_first: Bool[np.ndarray, " event"] = np.zeros(len(one.share), bool)
    is_first[: len(one.share) // 2] = True
    is_first = generator.permutation(is_first)
    return tuple(  # pyright: ignore[reportReturnType]
        Sample(one.values[half], one.share[half] / one.share[half].sum())
        for half in (is_first, ~is_first)
    )


def _direction(
    numerator: Sample, weighted: Sample, terms: _Terms, ridge: float
) -> Float[np.ndarray, " term"]:
    """Coefficients of the classifier: (V + ridge)⁻¹ times the difference of means."""
    (first, second), (first_square, second_square) = zip(
        *(_moments(one, terms) for one in (numerator, weighted)), strict=True
    )
    middle = (first + second) / 2
    covariance = (first_square + second_square) / 2 - np.outer(middle, middle)
    variance = np.diagonal(covariance)
    # A feature that is the same in all events has no variance but of rounding.
    varies = variance > 1e-12
    scale = np.sqrt(np.where(varies, variance, 1.0))
    correlation = covariance / np.outer(scale, scale)
    difference = np.where(varies, (first - second) / scale, 0.0)
    step = np.linalg.solve(correlation + ridge * np.eye(len(scale)), difference)
    return step / scale


def _moments(
    one: Sample, terms: _Terms
) -> tuple[Float[np.ndarray, " term"], Float[np.ndarray, "term term"]]:
    """Means of the terms, and of their products with |weight|."""
    mass = np.abs(one.share) / np.sum(np.abs(one.share))
    mean, square = 0.0, 0.0
    for start in range(0, len(mass), _BATCH):
        batch = slice(start, start + _BATCH)
        values = terms(one.values[batch])
        mean = mean + one.share[batch] @ values
        square = square + (mass[batch] * values.T) @ values
    return mean, square  # pyright: ignore[reportReturnType]


def _projected(
    one: Sample, terms: _Terms, direction: Float[np.ndarray, " term"]
) -> Sample:
    scores = [
        terms(one.values[start : start + _BATCH]) @ direction
        for start in range(0, len(one.share), _BATCH)
    ]
    return Sample(np.concatenate(scores), one.share)
