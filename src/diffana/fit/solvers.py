"""Minimisers of other packages, as solvers that a fit can be handed to.

The packages are optional and imported when a solver runs. Solvers run on the host and
are not trusted: whoever calls them certifies where they stop.
"""

import abc
import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Scalar

from diffana.errors import PackageError
from diffana.fit.problem import Problem


if TYPE_CHECKING:
    import optimistix as optx


# Above every value of twice_nll met in practice, and small enough that interpolation
# between it and such a value still leads somewhere.
_WALL = 1e10


class Objective(eqx.Module):
    """twice_nll as a function of the parameters that a solver may move.

    Attributes:
        problem: what is minimised.
        moving: positions of these parameters among all.
        start: where to begin, within the bounds.
        lower: smallest value of each; -inf where there is none.
        upper: largest value of each; +inf where there is none.
        width: standard deviation of each with all others held, by the curvature at the
            start, and at most the distance of the bounds: a scale, > 0.
    """

    problem: Problem
    moving: Int[Array, " moving"]
    start: Float[Array, " moving"]
    lower: Float[Array, " moving"]
    upper: Float[Array, " moving"]
    width: Float[Array, " moving"]

    def params(self, x: Float[Array, " moving"]) -> Float[Array, " par"]:
        """All parameters, where those that move are `x`."""
        return self.problem.held.at[self.moving].set(x)

    def twice_nll(self, x: Float[Array, " moving"]) -> Scalar:
        """-2 ln L; inf where it is not a number."""
        value = self.problem.likelihood.twice_nll(self.params(x), self.problem.data)
        return jnp.where(jnp.isfinite(value), value, jnp.inf)

    def gradient(self, x: Float[Array, " moving"]) -> Float[Array, " moving"]:
        """First derivative of twice_nll; zero where that is not a number."""
        likelihood, data = self.problem.likelihood, self.problem.data
        slope = likelihood.gradient(self.params(x), data)[self.moving]
        return jnp.where(jnp.isfinite(self.twice_nll(x)), slope, 0.0)


class End(NamedTuple):
    """Where a solver stopped.

    Attributes:
        x: the parameters that moved; bounds and finiteness are still to be checked.
        n_steps: trial points.
        exhausted: whether its limit of steps stopped it.
    """

    x: Float[Array, " moving"] | Float[np.ndarray, " moving"]
    n_steps: int
    exhausted: bool


class AbstractSolver(eqx.Module):
    """A minimiser that a fit can be handed to; configured by its fields.

    Attributes:
        certified_edm: largest estimated distance to the minimum, in units of twice_nll,
            at which the fit counts as converged, > 0. At 1e-5 the parameters are within
            0.003 standard deviations of the minimum. Quasi-Newton methods reach that
            with room to spare; MINUIT at its default settings stops at 2e-4.
    """

    certified_edm: eqx.AbstractVar[float]

    @abc.abstractmethod
    def minimise(self, objective: Objective) -> End:
        """Run once from the start of `objective`.

        Raises:
            PackageError: if the package is not installed.
        """


@final
class Minuit(AbstractSolver):
    """MIGRAD of MINUIT, from iminuit, with our gradient.

    Attributes:
        strategy: MINUIT's trade of calls for reliability: 0, 1 or 2. The higher ones
            spend calls, quadratic in the number of parameters, on a matrix that a
            certified fit does not need.
        tolerance: MINUIT stops at an estimated distance to the minimum of 0.002 times
            this, > 0. Its estimate has been seen 700 times too small where parameters
            are strongly correlated, hence the distance to `certified_edm`.
        max_calls: about the largest number of values of twice_nll; MINUIT's own choice
            if None.
        certified_edm: see `AbstractSolver`.

    Source: James, Roos, Comput. Phys. Commun. 10 (1975) 343.

    Example:
        >>> fit_with(Minuit(strategy=1), model, data)
    """

    strategy: int = eqx.field(static=True, default=0)
    tolerance: float = eqx.field(static=True, default=1e-6)
    max_calls: int | None = eqx.field(static=True, default=None)
    certified_edm: float = eqx.field(static=True, default=1e-5)

    def minimise(self, objective: Objective) -> End:
        """Run MIGRAD, which is repeated while its result is invalid."""
        with _package("iminuit"):
            import iminuit

        def value(x: Float[np.ndarray, " moving"]) -> float:
            return min(float(_value(objective, jnp.asarray(x))), _WALL)

        def gradient(x: Float[np.ndarray, " moving"]) -> Float[np.ndarray, " moving"]:
            return np.asarray(_gradient(objective, jnp.asarray(x)))

        # The annotations know only functions of separate numbers.
        migrad = iminuit.Minuit(
            value,  # pyright: ignore[reportArgumentType]
            np.asarray(objective.start),
            grad=gradient,  # pyright: ignore[reportArgumentType]
        )
        migrad.errordef = iminuit.Minuit.LEAST_SQUARES
        migrad.limits = list(
            zip(objective.lower.tolist(), objective.upper.tolist(), strict=True)
        )
        migrad.errors = objective.width.tolist()
        migrad.strategy = self.strategy
        migrad.tol = self.tolerance
        migrad.migrad(ncall=self.max_calls)
        exhausted = migrad.fmin is not None and migrad.fmin.has_reached_call_limit
        return End(np.array(migrad.values), migrad.nfcn, exhausted)


@final
class Jaxopt(AbstractSolver):
    """L-BFGS-B of SciPy through jaxopt's `ScipyBoundedMinimize`, with our gradient.

    Parameters are given to it in units of `Objective.width`.

    Attributes:
        tolerance: stops where no parameter has a larger slope of twice_nll per standard
            deviation, > 0.
        memory: how many steps its matrix remembers, > 0. Fits of a hundred parameters
            need more than SciPy's 10.
        max_steps: largest number of steps, > 0.
        certified_edm: see `AbstractSolver`.

    Source: Byrd, Lu, Nocedal, Zhu, SIAM J. Sci. Comput. 16 (1995) 1190.

    Example:
        >>> fit_with(Jaxopt(max_steps=500), model, data)
    """

    tolerance: float = eqx.field(static=True, default=1e-5)
    memory: int = eqx.field(static=True, default=30)
    max_steps: int = eqx.field(static=True, default=5000)
    certified_edm: float = eqx.field(static=True, default=1e-5)

    def minimise(self, objective: Objective) -> End:
        """Run L-BFGS-B."""
        with _package("jaxopt"), warnings.catch_warnings():
            # Importing jaxopt warns that nobody maintains it.
            warnings.simplefilter("ignore", DeprecationWarning)
            import jaxopt

        start, width = objective.start, objective.width

        def scaled(
            u: Float[Array, " moving"],
        ) -> tuple[Scalar, Float[Array, " moving"]]:
            x = start + u * width
            value = jnp.minimum(_value(objective, x), _WALL)
            return value, width * _gradient(objective, x)

        lbfgsb = jaxopt.ScipyBoundedMinimize(
            fun=scaled,
            method="L-BFGS-B",
            value_and_grad=True,
            jit=False,
            maxiter=self.max_steps,
            options={
                # The smallest relative decrease of a step; values end at 2e-16.
                "ftol": 1e-15,
                "gtol": self.tolerance,
                "maxcor": self.memory,
                "maxfun": 20 * self.max_steps,
            },
        )
        bounds = (objective.lower - start) / width, (objective.upper - start) / width
        # The instance's own `run` is wrapped for derivatives of its kind, and returns
        # tracers in a jacfwd of the fit.
        run = jaxopt.ScipyBoundedMinimize.run
        u, state = run(lbfgsb, jnp.zeros_like(start), bounds)
        # The code with which SciPy says that a limit was reached.
        exhausted = int(state.status) == 1
        return End(start + u * width, int(state.num_fun_eval), exhausted)


@final
class Optimistix(AbstractSolver):
    """A minimiser of optimistix, on coordinates without bounds.

    The coordinates are in units that correspond to `Objective.width` at the start.

    Attributes:
        tolerance: BFGS stops where a step moves no coordinate by more than this, and
            twice_nll by no more, > 0.
        max_steps: largest number of steps, > 0.
        minimiser: what to run instead of BFGS. `tolerance` is then of no effect.
        certified_edm: see `AbstractSolver`.

    Example:
        >>> fit_with(Optimistix(minimiser=optimistix.LBFGS(1e-7, 1e-7)), model, data)
    """

    tolerance: float = eqx.field(static=True, default=1e-6)
    max_steps: int = eqx.field(static=True, default=5000)
    minimiser: "optx.AbstractMinimiser | None" = None
    certified_edm: float = eqx.field(static=True, default=1e-5)

    def minimise(self, objective: Objective) -> End:
        """Run the minimiser."""
        with _package("optimistix"):
            import optimistix as optx

        minimiser = self.minimiser
        if minimiser is None:
            minimiser = optx.BFGS(rtol=0.0, atol=self.tolerance)
        solution = _unbounded_minimum(objective, minimiser, self.max_steps)
        exhausted = solution.result == optx.RESULTS.nonlinear_max_steps_reached
        n_steps = int(solution.stats["num_steps"])
        return End(solution.value, n_steps, bool(exhausted))


class Unbounding(eqx.Module):
    """Coordinates u without bounds for parameters x within theirs.

    With two bounds x = lower + (upper - lower) (1 + sin u) / 2, with one of them
    x = lower - 1 + sqrt(1 + u²) or x = upper + 1 - sqrt(1 + u²), with none x = u. On a
    bound dx/du = 0, so that a parameter pushed against it comes to rest there.

    Attributes:
        lower: smallest value of each parameter; -inf where there is none.
        upper: largest value of each parameter; +inf where there is none.

    Source: the internal parameters of MINUIT: James, MINUIT Reference Manual, CERN
    Program Library D506; with one bound as in Minuit2.
    """

    lower: Float[Array, " moving"]
    upper: Float[Array, " moving"]

    @property
    def _has_lower(self) -> Bool[Array, " moving"]:
        return jnp.isfinite(self.lower)

    @property
    def _has_upper(self) -> Bool[Array, " moving"]:
        return jnp.isfinite(self.upper)

    @property
    def _finite(self) -> tuple[Float[Array, " moving"], Float[Array, " moving"]]:
        """The bounds, with numbers in place of the infinite ones."""
        lower = jnp.where(self._has_lower, self.lower, 0.0)
        return lower, jnp.where(self._has_upper, self.upper, lower + 1.0)

    def bounded(self, u: Float[Array, " moving"]) -> Float[Array, " moving"]:
        """The parameters at the coordinates `u`."""
        lower, upper = self._finite
        away = jnp.sqrt(1.0 + u**2) - 1.0
        between = lower + (upper - lower) * (1.0 + jnp.sin(u)) / 2
        one_sided = jnp.where(self._has_lower, lower + away, upper - away)
        any_bound = self._has_lower | self._has_upper
        both = self._has_lower & self._has_upper
        return jnp.where(both, between, jnp.where(any_bound, one_sided, u))

    def unbounded(self, x: Float[Array, " moving"]) -> Float[Array, " moving"]:
        """The coordinates of parameters within the bounds."""
        lower, upper = self._finite
        part = jnp.clip(2 * (x - lower) / (upper - lower) - 1.0, -1.0, 1.0)
        away = jnp.where(self._has_lower, x - lower, upper - x)
        away = jnp.maximum(away, 0.0)
        one_sided = jnp.sqrt(away * (away + 2.0))
        any_bound = self._has_lower | self._has_upper
        both = self._has_lower & self._has_upper
        return jnp.where(both, jnp.arcsin(part), jnp.where(any_bound, one_sided, x))


@eqx.filter_jit
def _unbounded_minimum(
    objective: Objective, minimiser: "optx.AbstractMinimiser", max_steps: int
) -> "optx.Solution":
    """Result of the minimiser; its value is in terms of the parameters."""
    import optimistix as optx

    unbounding = Unbounding(objective.lower, objective.upper)
    # On a bound the coordinates are flat, and a descent would never leave it.
    gap = objective.upper - objective.lower
    margin = 0.5 * jnp.minimum(objective.width, gap / 4)
    start = jnp.clip(
        objective.start, objective.lower + margin, objective.upper - margin
    )
    origin = unbounding.unbounded(start)
    _, slope = jax.jvp(unbounding.bounded, (origin,), (jnp.ones_like(origin),))
    unit = objective.width / jnp.abs(slope)

    def twice_nll(v: Float[Array, " moving"], _: None) -> Scalar:
        return objective.twice_nll(unbounding.bounded(origin + v * unit))

    solution = optx.minimise(
        twice_nll, minimiser, jnp.zeros_like(origin), max_steps=max_steps, throw=False
    )
    x = unbounding.bounded(origin + solution.value * unit)
    return eqx.tree_at(lambda found: found.value, solution, x)


@eqx.filter_jit
def _value(objective: Objective, x: Float[Array, " moving"]) -> Scalar:
    return objective.twice_nll(x)


@eqx.filter_jit
def _gradient(
    objective: Objective, x: Float[Array, " moving"]
) -> Float[Array, " moving"]:
    return objective.gradient(x)


@contextlib.contextmanager
def _package(name: str) -> Iterator[None]:
    """One line that says what to install where an import inside fails."""
    try:
        yield
    except ImportError as error:
        raise PackageError(
            f"this solver needs {name}: pip install 'diffana[solvers]'"
        ) from error
