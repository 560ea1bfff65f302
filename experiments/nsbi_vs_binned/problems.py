"""Two problems with known densities, and the expectation all methods are judged on.

Each method is evaluated on the same weighted points: a quasi-random sample, drawn from
a proposal of known density and weighted to the reference. What differs between methods
is the model or the bins, never the data.
"""

import math
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.stats import norm, qmc

from diffana import nsbi
from diffana.data.toys import (
    NUISANCES,
    Interference,
    Normal,
    SmearedMixture,
)
from diffana.likelihood import Parameters


# Points at a time: few chunks, since each computes the coefficients of densities anew.
CHUNK = 2**14


@final
class QuadraticForm(nsbi.AbstractMorph):
    """The ratio of two normal densities, the first of which moves in any way.

    Its logarithm is a quadratic form in the features, the terms of an event are 1, the
    features and their products; only the coefficients depend on the nuisance
    parameters.

    Attributes:
        problem: the densities.
        component: which of them: 0 for signal, 1 for background.
        parameters: names of the nuisance parameters.
    """

    problem: SmearedMixture
    component: int = eqx.field(static=True)
    parameters: tuple[str, ...] = eqx.field(static=True, default=NUISANCES)

    def coefficients(self, alpha: Float[Array, " nuisance"]) -> Float[Array, " term"]:
        """What the terms are multiplied with; 0 at α = 0."""
        return self._density(alpha) - self._density(jnp.zeros_like(alpha))

    def log_factor(self, alpha, terms):
        """Value of ln g for each event."""
        return terms @ self.coefficients(alpha)

    def slopes(self, alpha, terms):
        """Value of ln g for each event with its first derivatives."""
        first = jax.jacfwd(self.coefficients)(alpha)
        return nsbi.morphs.Slopes(self.log_factor(alpha, terms), terms @ first)

    def bend(self, alpha, terms, weight):
        """Second derivative of Σ weight · ln g."""
        second = jax.jacfwd(jax.jacfwd(self.coefficients))(alpha)
        return jnp.tensordot(weight @ terms, second, axes=1)

    def _density(self, alpha):
        normal = self.problem.components(alpha)[self.component]
        inverse = jnp.linalg.inv(normal.covariance)
        slope = inverse @ normal.mean
        constant = -0.5 * (
            normal.mean @ slope + jnp.linalg.slogdet(normal.covariance)[1]
        )
        return jnp.concatenate([constant[None], slope, -0.5 * inverse.ravel()])


def quadratic_terms(x: Float[np.ndarray, "event feature"]):
    """Terms of `QuadraticForm`."""
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), -1)
    return np.concatenate([np.ones((len(x), 1)), x, products], axis=1)


class Problem(NamedTuple):
    """A problem as the study sees it.

    Attributes:
        name: short name.
        exact: the likelihood of the true densities; its bank are the points.
        features: of the points.
        columns: names of the features.
        power: μ is the parameter of interest to this power.
        largest: up to which μ is tested.
        n_tested: values of μ on which t is looked at first.
    """

    name: str
    exact: nsbi.Unbinned
    features: Float[np.ndarray, "event feature"]
    columns: tuple[str, ...]
    power: int
    largest: float
    n_tested: int = 41

    @property
    def nuisances(self) -> tuple[str, ...]:
        """Nuisance parameters."""
        return self.exact.constraints.parameters

    def truth(self, mu: float) -> Float[Array, " par"]:
        """Parameters that generate the data."""
        parameters = self.exact.parameters
        return parameters.inits.at[parameters.poi_index].set(mu ** (1 / self.power))

    def with_ratios(self, log_ratio, shapes, morphs) -> nsbi.Unbinned:
        """The likelihood with other ratios and morphs, on the same points.

        Args:
            log_ratio: ln of the density of each component over the reference.
            shapes: terms of the morphs of each component.
            morphs: morphs of each component.
        """
        (channel,) = self.exact.channels
        weight = np.ravel(channel.bank.weight)[: len(self.features)]
        components = tuple(
            eqx.tree_at(lambda c: c.shape_morphs, one, own)
            for one, own in zip(channel.components, morphs, strict=True)
        )
        bank = nsbi.held(weight, log_ratio, shapes, chunk=CHUNK)
        moved = nsbi.Channel(components, channel.coefficients, bank, channel.name)
        return eqx.tree_at(lambda m: m.channels, self.exact, (moved,))


def _normal_points(normals: list[Normal], shares, n_points: int, seed: int):
    """Quasi-random points of a mixture, and the logarithm of its density."""
    dimension = normals[0].mean.shape[0]
    sobol = qmc.Sobol(dimension + 1, scramble=True, rng=np.random.default_rng(seed))
    uniform = sobol.random_base2(round(math.log2(n_points)))
    which = np.searchsorted(np.cumsum(shares)[:-1], uniform[:, 0], side="right")
    standard = norm.ppf(uniform[:, 1:])
    points = np.empty_like(standard)
    for number, one in enumerate(normals):
        root = np.linalg.cholesky(np.asarray(one.covariance))
        mine = which == number
        points[mine] = np.asarray(one.mean) + standard[mine] @ root.T
    logs = np.stack([_log_density(one, points) for one in normals], axis=1)
    return points, np.log(np.exp(logs) @ np.asarray(shares))


@eqx.filter_jit
def _log_densities(normal, points):
    return jax.vmap(normal.log_density)(points)


def _log_density(normal: Normal, points):
    return np.asarray(_log_densities(normal, jnp.asarray(points)))


def interference(n_points: int, seed: int = 0) -> Problem:
    """Interference; the reference are B and NI, α moves NI."""
    problem = Interference()
    normals = [problem.signal, problem.background, problem.noninterfering]
    points, proposed = _normal_points(normals, [0.2, 0.3, 0.5], n_points, seed)
    logs = np.asarray(_interference_logs(problem, jnp.asarray(points)))
    yields = np.asarray(problem.yields())
    share = yields[2:] / yields[2:].sum()
    reference = np.logaddexp(*(np.log(share) + logs[:, 2:4]).T)
    # Two normal densities of one width: the logarithm is quadratic in the shift.
    moves = nsbi.LogPolynomial.quadratic(("alpha",))
    terms = nsbi.log_quadratic_terms(
        logs[:, 4:5] - logs[:, 3:4], logs[:, 5:] - logs[:, 3:4]
    )
    components = [
        nsbi.Component(expected, name=name)
        for name, expected in zip(("S", "SBI", "B", "NI"), yields, strict=True)
    ]
    components[3] = nsbi.Component(yields[3], shape_morphs=(moves,), name="NI")
    bank = nsbi.held(
        np.exp(reference - proposed) / len(points),
        logs[:, :4] - reference[:, None],
        [(), (), (), (np.asarray(terms),)],
        chunk=CHUNK,
    )
    coefficients = nsbi.Stacked((nsbi.Interference("sqrt_mu"), nsbi.Products(((),))))
    exact = nsbi.Unbinned(
        Parameters(
            inits=jnp.array([1.0, 0.0]),
            lower=jnp.array([0.0, -5.0]),
            upper=jnp.array([3.0, 5.0]),
            fixed=jnp.zeros(2, bool),
            names=("sqrt_mu", "alpha"),
            poi="sqrt_mu",
            interpolated=("sqrt_mu",),
        ),
        (nsbi.Channel(tuple(components), coefficients, bank, "all"),),
        nsbi.GaussianConstraints.unit(("alpha",)),
    )
    return Problem("interference", exact, points, ("x", "y", "z"), 2, 4.0)


@eqx.filter_jit
def _interference_logs(problem, points):
    def logs(x):
        up, down = (problem.log_densities(x, alpha)[3] for alpha in (1.0, -1.0))
        return jnp.concatenate([problem.log_densities(x), jnp.stack([up, down])])

    return jax.vmap(logs)(points)


def smeared(n_points: int, seed: int = 0) -> Problem:
    """The smeared mixture after its selection; the reference is the background."""
    problem = SmearedMixture()
    zero = jnp.zeros(len(NUISANCES))
    signal, background = problem.components(zero)
    between = Normal(0.5 * (signal.mean + background.mean), background.covariance)
    normals = [Normal(signal.mean, 1.5 * signal.covariance), between]
    points, proposed = _normal_points(normals, [0.5, 0.5], n_points, seed)
    kept = np.asarray(jax.vmap(problem.selected)(jnp.asarray(points)))
    points, proposed = points[kept], proposed[kept]
    yields = np.asarray(problem.selected_yields(zero))
    acceptance = yields / np.asarray(problem.yields())
    logs = np.stack(
        [_log_density(one, points) for one in (signal, background)], axis=1
    ) - np.log(acceptance)
    moved = {
        side: np.asarray(
            [problem.selected_yields(side * row) for row in np.eye(len(NUISANCES))]
        )
        / yields
        for side in (1.0, -1.0)
    }
    terms = quadratic_terms(points)
    components = tuple(
        nsbi.Component(
            expected,
            yield_morph=nsbi.YieldMorph(NUISANCES, moved[1.0][:, j], moved[-1.0][:, j]),
            shape_morphs=(QuadraticForm(problem, j),),
            name=name,
        )
        for j, (name, expected) in enumerate(zip("SB", yields, strict=True))
    )
    bank = nsbi.held(
        np.exp(logs[:, 1] - proposed) / n_points,
        logs - logs[:, 1:],
        [(terms,), (terms,)],
        chunk=CHUNK,
    )
    coefficients = nsbi.Products((("mu",), ()))
    exact = nsbi.Unbinned(
        Parameters(
            inits=jnp.array([1.0, 0.0, 0.0, 0.0]),
            lower=jnp.array([0.0, -5.0, -3.5, -5.0]),
            upper=jnp.array([10.0, 5.0, 5.0, 5.0]),
            fixed=jnp.zeros(4, bool),
            names=("mu", *NUISANCES),
            poi="mu",
        ),
        (nsbi.Channel(components, coefficients, bank, "selected"),),
        nsbi.GaussianConstraints.unit(NUISANCES),
    )
    columns = tuple(f"x{i}" for i in range(points.shape[1]))
    return Problem("smeared", exact, points, columns, 1, 10.0)
