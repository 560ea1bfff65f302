"""Densities with known truth that the study draws its events from."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats


class Density(NamedTuple):
    """A density that can be sampled.

    Attributes:
        pdf: probability density as a function of the observable.
        sample: events, given a generator and a shape.
        support: where the density begins and ends, or has all but vanished.
    """

    pdf: Callable
    sample: Callable
    support: tuple[float, float]

    def scales(self):
        """Standard deviation, and the width of the normal density of equal roughness.

        Roughness is the integral of the squared third derivative, which the bias of
        the gradient of a narrow bin depends on.
        """
        x = np.linspace(*self.support, 4001)
        step = x[1] - x[0]
        f = self.pdf(x)
        mean = np.sum(x * f) / np.sum(f)
        deviation = np.sqrt(np.sum((x - mean) ** 2 * f) / np.sum(f))
        third = np.gradient(np.gradient(np.gradient(f, step), step), step)
        roughness = np.sum(third**2) * step
        return deviation, (15 / (16 * np.sqrt(np.pi) * roughness)) ** (1 / 7)


def mixture(*parts):
    """Sum of densities of scipy, each with its share."""

    def sample(random, shape):
        shares = [share for share, _ in parts]
        drawn = np.stack([part.rvs(shape, random_state=random) for _, part in parts])
        which = random.choice(len(parts), size=shape, p=shares)
        return np.take_along_axis(drawn, which[None], axis=0)[0]

    def pdf(x):
        return sum(share * part.pdf(x) for share, part in parts)

    return Density(pdf, sample, (-8.0, 8.0))


def squashed(density):
    """Density of the logistic function of the events: the output of a network."""

    def pdf(y):
        inside = np.clip(y, 1e-12, 1 - 1e-12)
        z = np.log(inside / (1 - inside))
        return np.where((y > 0) & (y < 1), density.pdf(z) / (inside * (1 - inside)), 0)

    def sample(random, shape):
        return 1 / (1 + np.exp(-density.sample(random, shape)))

    return Density(pdf, sample, (0.0, 1.0))


def normal(mean, deviation):
    """One normal density."""
    return mixture((1.0, stats.norm(mean, deviation)))


# The law is fitted to these, tested on the next ones; the last density has a jump.
FITTED = {
    "normal": normal(0.0, 1.0),
    "narrow": normal(0.0, 0.4),
    "bimodal": mixture((0.5, stats.norm(-1.5, 0.5)), (0.5, stats.norm(1.5, 0.5))),
}
TESTED = {
    "logistic": mixture((1.0, stats.logistic(0.0, 0.6))),
    "skewed": mixture((1.0, stats.gumbel_r(-0.5, 0.8))),
    "two widths": mixture((0.7, stats.norm(-1.0, 0.5)), (0.3, stats.norm(1.5, 0.8))),
}
JUMP = {"exponential": mixture((1.0, stats.expon(-1.0, 1.0)))}
OUTPUTS = {
    "untrained": squashed(normal(0.0, 0.5)),
    "broad": squashed(normal(0.0, 1.5)),
    "one-sided": squashed(normal(2.0, 1.0)),
    "separated": squashed(
        mixture((0.5, stats.norm(-2.0, 0.7)), (0.5, stats.norm(2.0, 0.7)))
    ),
}
