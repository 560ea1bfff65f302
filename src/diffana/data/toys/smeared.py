"""Signal and background smeared by a detector whose response is uncertain."""

from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Scalar

from diffana.data._random import named_generator
from diffana.data.table import Table, close_matches
from diffana.data.toys.normal import Normal
from diffana.data.toys.quadratic import Quadratic
from diffana.numerics import as_float


NUISANCES = ("response", "resolution", "theory")
SMEARED_POPULATIONS = tuple(
    component + variation
    for component in ("S", "B")
    for variation in (
        "",
        *(f"_{name}_{side}" for name in NUISANCES for side in ("up", "down")),
    )
)


def _signal() -> Normal:
    return Normal((3.1, 2.3, 1.6, 1.0, -0.5), 0.64 * _chain(0.3))


def _background() -> Normal:
    return Normal((2.0, 1.5, 1.0, 0.5, 0.0), _chain(0.5))


def _chain(correlation: float) -> Float[np.ndarray, "feature feature"]:
    """Correlations of a chain of features whose neighbours have `correlation`."""
    position = np.arange(5)
    return correlation ** np.abs(position[:, None] - position)


@final
class SmearedMixture(eqx.Module):
    """Two normal components in five dimensions, seen by an imperfect detector.

    An event z of a component is observed at x = d z + ε. The true z is normal with the
    fields as mean m and covariance Σ, the noise ε with standard deviations R, so that
    x ~ N(d m, d² Σ + R²) exactly, at any value of three nuisance parameters with
    standard normal constraints:

    - response: d = 1 + `response_step` α₀;
    - resolution: R = (1 + `resolution_step` α₁) times the nominal one;
    - theory: m moves by α₂ times the shift of the component.

    The structure, the expected events before the selection and the sizes of the steps
    of the detector are those of the LHC example of hnsbi-toolkit
    (github.com/rafaellopesdesa/hnsbi-toolkit). Its means, covariances and noise are not
    used: those here are a choice of ours, in units of the width of the background, and
    so are the shifts of the theory. Yields after the selection differ from the
    published ones, therefore.

    Attributes:
        signal: true distribution of the signal at α₂ = 0.
        background: true distribution of the background at α₂ = 0.
        resolution: R at α₁ = 0, in the unit of each feature; > 0.
        signal_shift: of the mean of the signal per α₂.
        background_shift: of the mean of the background per α₂.
        response_step: relative change of the response per α₀.
        resolution_step: relative change of the noise per α₁; above 0 and below 1.
        signal_yield: expected signal events before the selection; > 0.
        background_yield: expected background events before the selection; > 0.

    Example:
        >>> problem = SmearedMixture()
        >>> [round(float(n), 1) for n in problem.selected_yields([0.0, 0.0, 0.0])]
        [536.4, 67714.2]
    """

    signal: Normal = eqx.field(default_factory=_signal)
    background: Normal = eqx.field(default_factory=_background)
    resolution: Float[Array, " feature"] = eqx.field(
        converter=as_float, default=(0.3,) * 5
    )
    signal_shift: Float[Array, " feature"] = eqx.field(
        converter=as_float, default=(0.10, 0.05, 0.0, 0.0, 0.0)
    )
    background_shift: Float[Array, " feature"] = eqx.field(
        converter=as_float, default=(0.05, 0.05, 0.05, 0.0, 0.0)
    )
    response_step: Scalar = eqx.field(converter=as_float, default=0.10)
    resolution_step: Scalar = eqx.field(converter=as_float, default=0.25)
    signal_yield: Scalar = eqx.field(converter=as_float, default=1_100.0)
    background_yield: Scalar = eqx.field(converter=as_float, default=1e6)

    def __check_init__(self):
        shapes = {
            "signal": self.signal.mean.shape,
            "background": self.background.mean.shape,
            "resolution": self.resolution.shape,
            "signal_shift": self.signal_shift.shape,
            "background_shift": self.background_shift.shape,
        }
        if len(set(shapes.values())) > 1:
            raise ValueError(f"smeared mixture: numbers of features differ: {shapes}")

    def components(
        self, alpha: Sequence[float] | Float[ArrayLike, " nuisance"]
    ) -> tuple[Normal, Normal]:
        """Distributions of the observed signal and background.

        Args:
            alpha: nuisance parameters in the order of `NUISANCES`, in standard
                deviations of their constraints. The response is negative where
                `response_step` α₀ < -1, and so is meaningless there; only the square
                of the noise matters.
        """
        response, resolution, theory = as_float(alpha)
        factor = 1 + self.response_step * response
        noise = (1 + self.resolution_step * resolution) * self.resolution
        shifts = (self.signal_shift, self.background_shift)
        signal, background = (
            Normal(
                factor * (true.mean + theory * shift),
                factor**2 * true.covariance + jnp.diag(noise**2),
            )
            for true, shift in zip((self.signal, self.background), shifts, strict=True)
        )
        return signal, background

    def log_densities(
        self,
        features: Float[Array, " feature"],
        alpha: Sequence[float] | Float[ArrayLike, " nuisance"],
    ) -> Float[Array, " component"]:
        """Logarithms of the normalised densities of signal and background.

        Before the selection, which leaves the product of density and yield of the
        events that it keeps as it is.

        Args:
            features: of the observed event.
            alpha: nuisance parameters in the order of `NUISANCES`.
        """
        return jnp.stack([one.log_density(features) for one in self.components(alpha)])

    def yields(self) -> Float[Array, " component"]:
        """Expected events of signal and background before the selection, at any α."""
        return jnp.stack([self.signal_yield, self.background_yield])

    def background_to_signal(self, features: Float[Array, " feature"]) -> Scalar:
        """Ratio of the intensities of background and signal at one event, at α = 0."""
        return jnp.exp(self._log_background_to_signal()(features))

    def selected(
        self, features: Float[Array, " feature"], limit: float | Scalar = 250.0
    ) -> Bool[Array, ""]:
        """Whether `background_to_signal` is at most `limit`, which is > 0."""
        return self._log_background_to_signal()(features) <= jnp.log(limit)

    def selected_yields(
        self,
        alpha: Sequence[float] | Float[ArrayLike, " nuisance"],
        limit: float | Scalar = 250.0,
    ) -> Float[Array, " component"]:
        """Expected events of signal and background that are `selected`, exactly.

        Args:
            alpha: nuisance parameters in the order of `NUISANCES`.
            limit: of the selection, > 0, which does not move with the parameters.
        """
        ratio = self._log_background_to_signal()
        acceptance = [
            ratio.probability_below(one, jnp.log(limit))
            for one in self.components(alpha)
        ]
        return self.yields() * jnp.stack(acceptance)

    def _log_background_to_signal(self) -> Quadratic:
        signal, background = self.components(jnp.zeros(len(NUISANCES)))
        ratio = Quadratic.log_ratio(background, signal)
        offset = jnp.log(self.background_yield / self.signal_yield)
        return Quadratic(ratio.curvature, ratio.slope, ratio.constant + offset)


def smeared_tables(
    n_events: int = 2_500,
    seed: int = 0,
    populations: Sequence[str] = SMEARED_POPULATIONS,
) -> dict[str, Table]:
    """Independent samples of the smeared mixture with its default constants.

    Each population follows from (seed, name) alone.

    Args:
        n_events: simulated events in each population, before the selection; > 0.
        seed: any integer.
        populations: which ones: S and B, and both with _response_up, _response_down,
            _resolution_up, _resolution_down, _theory_up and _theory_down, one
            standard deviation of a nuisance parameter each.

    Returns:
        Name of a population -> table with the columns x0 to x4, and b_over_s, the
        value of `SmearedMixture.background_to_signal` on which events are selected.

    Raises:
        ValueError: if there is no such population, or no events are wanted.

    Example:
        >>> tables = smeared_tables(n_events=1_000, seed=1, populations=["S", "B"])
        >>> tables["B"].names
        ('x0', 'x1', 'x2', 'x3', 'x4', 'b_over_s')
    """
    if n_events < 1:
        raise ValueError(f"n_events has to be at least 1, not {n_events}")
    for name in populations:
        if name not in SMEARED_POPULATIONS:
            known = close_matches(name, SMEARED_POPULATIONS)
            raise ValueError(f"there is no population {name!r}; {known}")
    problem = SmearedMixture()
    return {name: _population(problem, name, n_events, seed) for name in populations}


def _population(problem: SmearedMixture, name: str, n_events: int, seed: int) -> Table:
    component, *variation = name.split("_")
    alpha = np.zeros(len(NUISANCES))
    if variation:
        nuisance, side = variation
        alpha[NUISANCES.index(nuisance)] = 1.0 if side == "up" else -1.0
    signal, background = problem.components(alpha)
    random = named_generator("smeared_tables", seed, name)
    events = (signal if component == "S" else background).sample(random, n_events)
    ratio = jax.vmap(problem.background_to_signal)(jnp.asarray(events))
    columns = {f"x{i}": feature for i, feature in enumerate(events.T)}
    columns["b_over_s"] = np.asarray(ratio)
    return Table(columns, origin=f"smeared mixture, population {name!r}")
