"""The synthetic benchmark of INFERNO: processes, likelihood and reference rows.

Source: de Castro and Dorigo, arXiv:1806.04743, section 5.1, and its published code,
which places the signal at (0, 0) and calls background mean (2, 0) what is r = 0 here.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from diffana.data.toys import NormalExponential
from diffana.histfactory import code4p, poisson
from diffana.infer import covariance, profile_interval, sigma_mu
from diffana.likelihood import AbstractLikelihood, Parameters


NAMES = ("s", "r", "rate", "b")
NOMINAL = (50.0, 0.0, 3.0, 1000.0)
# Distance of the templates that the paper computes for r and rate from the nominal one.
STEPS = (0.2, 0.5)
# Standard deviation of the constraint of each nuisance parameter that the fit profiles;
# inf for a free one. Parameters without an entry are known.
BENCHMARKS: tuple[Mapping[str, float], ...] = (
    {},
    {"r": math.inf},
    {"r": math.inf, "rate": math.inf},
    {"r": 0.4, "rate": 1.0},
    {"r": 0.4, "rate": 1.0, "b": 100.0},
)
# Rows of the paper's table: the middle values, benchmarks 0 to 4.
PUBLISHED: Mapping[str, tuple[float, ...]] = {
    "NN classifier": (14.99, 18.94, 23.94, 21.54, 26.71),
    "INFERNO 0": (15.51, 18.34, 23.24, 21.38, 26.38),
    "INFERNO 1": (15.80, 16.79, 21.41, 20.29, 24.26),
    "INFERNO 2": (15.71, 16.87, 16.95, 16.88, 18.67),
    "INFERNO 3": (15.70, 16.91, 16.97, 16.89, 18.69),
    "INFERNO 4": (15.71, 16.89, 16.95, 16.88, 18.68),
    "Optimal classifier": (14.97, 19.12, 24.93, 22.13, 27.98),
    "Analytical likelihood": (14.71, 15.52, 15.65, 15.62, 16.89),
}

Assign = Callable[[Float[Array, "event feature"]], Int[Array, " event"]]


def signal() -> NormalExponential:
    """The signal process."""
    return NormalExponential(mean=[0.0, 0.0], scale=[1.0, 1.0], rate=2.0)


def background(r: float | Scalar = 0.0, rate: float | Scalar = 3.0):
    """The background process at values of its two shape parameters."""
    mean = jnp.stack([2.0 + jnp.asarray(r, float), jnp.zeros(())])
    return NormalExponential(mean, [math.sqrt(5.0), 3.0], rate)


def moved_backgrounds() -> tuple[NormalExponential, ...]:
    """Background with r up, rate up, r down and rate down by their steps."""
    r, rate = STEPS
    up = (background(r=r), background(rate=3.0 + rate))
    return (*up, background(r=-r), background(rate=3.0 - rate))


def background_score(x: Float[Array, "event feature"]) -> Float[Array, "event shape"]:
    """Derivative of the log density of the background with respect to r and rate."""

    def density(shape):
        return background(shape[0], shape[1]).log_density(x)

    return jax.jacfwd(density)(jnp.array(NOMINAL[1:3]))


class Shapes(NamedTuple):
    """Probability of each bin.

    Attributes:
        signal: for an event of the signal.
        background: for an event of the background with nominal shape parameters.
        up: the same with r, and then rate, one step above its nominal value.
        down: one step below.
    """

    signal: Float[Array, " bin"]
    background: Float[Array, " bin"]
    up: Float[Array, "shape bin"]
    down: Float[Array, "shape bin"]

    @classmethod
    def with_slope(cls, signal, background, slope: Float[Array, "shape bin"]):
        """Shapes whose background moves linearly with r and rate."""
        move = jnp.array(STEPS)[:, None] * slope
        centre = jnp.broadcast_to(background[None], move.shape)
        return cls(signal, background, centre + move, centre - move)


class Data(NamedTuple):
    """Counts, and the measurements that constrain the nuisance parameters."""

    counts: Float[Array, " bin"]
    measured: Float[Array, " par"]


@final
class Counts(AbstractLikelihood):
    """Poisson counts of signal and background, whose shape moves with r and rate.

    Unlike those of HistFactory, the shape parameters may be free, and the step of a
    template need not be the width of a constraint. Between the templates the shape is a
    polynomial whose slope at the centre is their central difference, beyond them it is
    linear.

    Attributes:
        shapes: probabilities of the bins.
        width: standard deviation of the measurement of each parameter; inf for none.
        known: parameters that are held.
    """

    shapes: Shapes | None
    width: Float[Array, " par"]
    known: Bool[Array, " par"]

    @classmethod
    def of(cls, shapes: Shapes | None, nuisances: Mapping[str, float]) -> "Counts":
        """The likelihood of a benchmark; its shapes may follow later."""
        width = jnp.array([nuisances.get(name, math.inf) for name in NAMES])
        known = jnp.array([name not in {"s", *nuisances} for name in NAMES])
        return cls(shapes, width, known)

    @property
    def parameters(self) -> Parameters:
        """Yields s and b, shift r and rate of the background; s is of interest."""
        return Parameters(
            inits=jnp.array(NOMINAL),
            lower=jnp.array([-200.0, -1.0, 1.0, 100.0]),
            upper=jnp.array([300.0, 1.0, 6.0, 3000.0]),
            fixed=self.known,
            names=NAMES,
            poi="s",
        )

    def rates(self, params: Float[Array, " par"]) -> Float[Array, " bin"]:
        """Expected events per bin."""
        s, _, _, b = params
        shapes = self.shapes
        steps = (params[1:3] - jnp.array(NOMINAL[1:3])) / jnp.array(STEPS)
        alpha = jnp.broadcast_to(steps[:, None], shapes.up.shape)
        centre = jnp.broadcast_to(shapes.background[None], shapes.up.shape)
        moved = code4p(alpha, shapes.down, centre, shapes.up).sum(axis=0)
        return s * shapes.signal + b * (shapes.background + moved)

    def twice_nll(self, params: Float[Array, " par"], data: Data) -> Scalar:
        """-2 ln L up to a constant."""
        pulls = (params - data.measured) / self.width
        rates = self.rates(params)
        return poisson.twice_nll(data.counts, rates).sum() + jnp.square(pulls).sum()

    def expected_data(self, params: Float[Array, " par"]) -> Data:
        """Expected counts, and measurements at the truth."""
        return Data(self.rates(params), params)

    def sample(self, params: Float[Array, " par"], key: PRNGKeyArray) -> Data:
        """Counts and measurements drawn at `params`."""
        for_counts, for_measured = jax.random.split(key)
        noise = jax.random.normal(for_measured, params.shape)
        scatter = jnp.where(jnp.isfinite(self.width), self.width, 0.0) * noise
        counts = poisson.sample(self.rates(params), for_counts)
        return Data(counts, params + scatter)

    def curvature(self, params: Float[Array, " par"], data: Data):
        """The second derivative without that of the rates."""
        slope = jax.jacfwd(self.rates)(params)
        weight = poisson.bend(data.counts, self.rates(params))
        return slope.T @ (weight[:, None] * slope) + jnp.diag(2 / self.width**2)


def hard_shapes(
    assign: Assign, n_bins: int, n_events: int, key: PRNGKeyArray, chunk: int = 50_000
) -> Shapes:
    """Hard histograms of simulated events, the same events moved for the steps.

    Args:
        assign: bin of each event; a pytree, so that its program is compiled once.
        n_bins: number of bins.
        n_events: simulated events of either process, a multiple of `chunk`.
        key: randomness.
        chunk: events at a time.
    """
    processes = (signal(), background(), *moved_backgrounds())
    keys = jax.random.split(key, (2, n_events // chunk))
    share = jnp.stack(
        [
            sum(_counted(assign, process, k, n_bins, chunk) for k in keys[min(row, 1)])
            for row, process in enumerate(processes)
        ]
    )
    # As in the published code, a bin that one of the processes does not reach is left
    # out, which can only lose information.
    share = share[:, (share[0] > 0) & (share[1] > 0)] / n_events
    return Shapes(share[0], share[1], share[2:4], share[4:6])


@eqx.filter_jit
def _counted(assign: Assign, process: NormalExponential, key, n_bins, n_events):
    index = assign(process.sample(key, n_events))
    return jnp.zeros(n_bins).at[index].add(1.0)


def uncertainties(shapes: Shapes) -> np.ndarray:
    """Uncertainty of s in each benchmark, from the information in Asimov data."""
    models = [Counts.of(shapes, nuisances) for nuisances in BENCHMARKS]
    return np.array([float(_sigma_of(model)) for model in models])


@eqx.filter_jit
def _sigma_of(model: Counts) -> Scalar:
    return sigma_mu(model, NOMINAL[0])


def profile_uncertainty(shapes: Shapes, nuisances: Mapping[str, float]) -> float:
    """Half the length of the profile-likelihood interval of s on Asimov data."""
    model = Counts.of(shapes, nuisances)
    data = model.expected_data(model.parameters.inits)
    interval = profile_interval(model, data, "s")
    return float(interval.upper - interval.lower) / 2


def analytical_uncertainties(n_points: int = 160, n_nodes: int = 48) -> np.ndarray:
    """Uncertainty of s in each benchmark from the unbinned likelihood.

    Its Fisher information is ∫ ∂_i λ ∂_j λ / λ dx, with the density of events λ(x). In
    the plane of the normal variables the midpoint rule converges exponentially, because
    the integrand vanishes smoothly towards the ends; Gauss-Laguerre nodes integrate the
    exponential variable.
    """
    x, y, area = _plane(n_points)

    def density(params, time):
        s, r, rate, b = params
        events = jnp.stack([x, y, jnp.full_like(x, time)], axis=1)
        from_signal = s * jnp.exp(signal().log_density(events))
        return from_signal + b * jnp.exp(background(r, rate).log_density(events))

    def at_node(time, weight):
        params = jnp.array(NOMINAL)
        slope = jax.jacfwd(density)(params, time)
        return weight * slope.T @ (slope / density(params, time)[:, None])

    # The nodes are those of exp(-2 t), the slower of both processes.
    node, weight = np.polynomial.laguerre.laggauss(n_nodes)
    weight = area / 2 * weight * np.exp(node)
    matrices = jax.lax.map(lambda at: at_node(*at), (node / 2, jnp.asarray(weight)))
    return np.array([_sigma(matrices.sum(axis=0), nu) for nu in BENCHMARKS])


def _sigma(information: Float[Array, "par par"], nuisances: Mapping[str, float]):
    names = [name for name in NAMES if name in {"s", *nuisances}]
    free = jnp.array([name in names for name in NAMES])
    width = jnp.array([nuisances.get(name, math.inf) for name in NAMES])
    return float(jnp.sqrt(covariance(information + jnp.diag(width**-2), free)[0, 0]))


def _plane(n_points: int):
    """Midpoints of the normal variables and their area; y and -y are one point."""
    reach = 8 * math.sqrt(5.0)
    edges = (
        jnp.linspace(2 - reach, 2 + reach, n_points + 1),
        jnp.linspace(0.0, 24.0, n_points + 1),
    )
    x, y = ((e[1:] + e[:-1]) / 2 for e in edges)
    area = 2 * math.prod(float(e[1] - e[0]) for e in edges)
    return jnp.repeat(x, n_points), jnp.tile(y, n_points), area


def optimal_shapes(n_bins: int = 10, n_points: int = 400) -> Shapes:
    """Shapes of equal bins of the true probability of signal, by integration.

    The logarithm of the likelihood ratio is linear in the exponential variable, so that
    a bin is an interval of it at each point of the plane; the midpoint rule integrates
    over the plane.
    """
    x, y, area = _plane(n_points)
    plane = jnp.stack([x, y, jnp.zeros_like(x)], axis=1)
    log_ratio = signal().log_density(plane) - background().log_density(plane)
    slope = background().rate - signal().rate
    probability = np.arange(1, n_bins) / n_bins
    logit = jnp.array([-np.inf, *np.log(probability / (1 - probability)), np.inf])

    @eqx.filter_jit
    def shape(process: NormalExponential) -> Float[Array, " bin"]:
        density = jnp.exp(process.log_density(plane)) / process.rate * area

        def below(edge):
            time = jnp.maximum((edge - log_ratio) / slope, 0.0)
            return -(density * jnp.expm1(-process.rate * time)).sum()

        return jnp.diff(jax.lax.map(below, logit))

    moved = jnp.stack([shape(process) for process in moved_backgrounds()])
    return Shapes(shape(signal()), shape(background()), moved[:2], moved[2:])
