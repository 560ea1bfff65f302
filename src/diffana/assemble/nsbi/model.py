"""Learned ratios of an unbinned measurement -> its likelihood and data."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from diffana import nsbi
from diffana.assemble.nsbi.coefficients import coefficients
from diffana.assemble.nsbi.events import Piece, Simulation, Weighted
from diffana.assemble.nsbi.networks import Learned
from diffana.assemble.nsbi.parameters import parameters
from diffana.assemble.nsbi.plan import (
    ComponentPlan,
    Ends,
    Member,
    Plan,
    systematics,
)
from diffana.config import NormalizationSystematic, NsbiConfig, Symmetrized
from diffana.errors import DataError, SpecificationError, TrainingError
from diffana.nsbi.parametric import AbstractParametricRatio, coefficients as expanded
from diffana.nsbi.ratios import AbstractRatio, log_ratios


class Evaluated(NamedTuple):
    """What the likelihood needs of events.

    Attributes:
        terms: log ratios of all components, and those of their variations.
        n_lifted: for each component and parameter the number of events at which the
            interpolation between the variations was lifted to stay positive.
    """

    terms: nsbi.Terms
    n_lifted: Mapping[tuple[str, str], int]


def likelihood(
    config: NsbiConfig, plan: Plan, simulated: Simulation, bank: nsbi.Rows
) -> nsbi.Unbinned:
    """The likelihood.

    Args:
        config: the configuration.
        plan: what was learned.
        simulated: the simulated events, whose sums are the yields.
        bank: reference events with what the ratios are there.

    Raises:
        SpecificationError: naming the sample or parameter that does not fit.
    """
    components = tuple(
        nsbi.Component(
            simulated.expected(one.piece),
            _yield_morph(config, simulated, one.piece),
            morphs(one),
            name=one.name,
        )
        for one in plan.components
    )
    channel = nsbi.Channel(
        components,
        coefficients(config, [one.piece for one in plan.components]),
        bank,
        config.region.name,
    )
    acting = {
        one.parameter
        for sample in config.simulated
        for one in systematics(config, sample.name)
    }
    ordered = dict.fromkeys(one.parameter for one in config.systematics or ())
    constrained = tuple(name for name in ordered if name in acting)
    return nsbi.Unbinned(
        parameters=parameters(config, constrained),
        channels=(channel,),
        constraints=nsbi.GaussianConstraints.unit(constrained),
    )


def check_model(config: NsbiConfig, plan: Plan, simulated: Simulation) -> None:
    """Refuse a likelihood that could not be built, before anything is learned.

    Raises:
        SpecificationError: as `likelihood`.
    """
    n_components = len(plan.components)
    likelihood(
        config, plan, simulated, nsbi.held(np.ones(1), np.zeros((1, n_components)))
    )


def morphs(component: ComponentPlan) -> tuple[nsbi.AbstractMorph, ...]:
    """How the shape of a component follows nuisance parameters."""
    found: list[nsbi.AbstractMorph] = []
    if component.polyexp:
        names = tuple(one.parameter for one in component.polyexp)
        found.append(nsbi.PolyExp(names))
    if component.logquadratic:
        names = tuple(one.parameter for one in component.logquadratic)
        found.append(nsbi.LogPolynomial.quadratic(names))
    if component.parametric is not None:
        job = component.parametric
        found.append(nsbi.LogPolynomial(job.parameters, job.powers))
    return tuple(found)


def evaluated(
    plan: Plan, ratios: Mapping[str, Learned], features: Float[np.ndarray, "event _"]
) -> Evaluated:
    """What the likelihood needs of events.

    Args:
        plan: what was learned.
        ratios: by name.
        features: of the events.

    Raises:
        DataError: naming the ratio that is not finite and the event, or the variations
            that are too far apart to interpolate between them.
    """
    values = _Values(ratios, features)
    n_events = len(features)
    logs = np.zeros((n_events, len(plan.components)))
    shapes, n_lifted = [], {}
    for column, one in enumerate(plan.components):
        if one.base is not None:
            logs[:, column] = values.to_reference(plan.reference, one.base)
        for name in one.chain:
            logs[:, column] += values.log(name)
        own = []
        if one.polyexp:
            up, down = values.ends(one.polyexp)
            lift = _lifts(one, up, down)
            n_lifted |= {
                (one.name, ends.parameter): int(np.count_nonzero(row))
                for ends, row in zip(one.polyexp, lift.T, strict=True)
            }
            rows = (up, down, lift) if lift.any() else (up, down)
            own.append(np.stack(rows, axis=1))
        if one.logquadratic:
            up, down = values.ends(one.logquadratic)
            own.append(
                np.asarray(nsbi.log_quadratic_terms(jnp.asarray(up), jnp.asarray(down)))
            )
        if one.parametric is not None:
            own.append(values.coefficients(one.parametric.name))
        shapes.append(tuple(own))
    return Evaluated(nsbi.Terms(logs, tuple(shapes)), n_lifted)


def rows(events: Weighted, terms: nsbi.Terms) -> nsbi.Rows:
    """Events as the likelihood reads them."""
    return nsbi.held(events.weight, terms.log_ratio, terms.shapes)


def observed_data(model: nsbi.Unbinned, events: nsbi.Rows) -> nsbi.UnbinnedData:
    """Events as data, with nuisance parameters measured to be nominal."""
    return nsbi.UnbinnedData((events,), jnp.zeros(len(model.constraints.parameters)))


class _Values:
    """Ratios at some events, each evaluated once."""

    def __init__(self, ratios: Mapping[str, Learned], features: np.ndarray):
        self._ratios = ratios
        self._features = features
        self._logs: dict[str, np.ndarray] = {}

    def log(self, name: str) -> Float[np.ndarray, " event"]:
        ratio = self._ratios[name]
        if not isinstance(ratio, AbstractRatio):
            raise TypeError(f"{name!r} depends on nuisance parameters")
        if name not in self._logs:
            with naming(name):
                self._logs[name] = log_ratios(ratio, self._features)
        return self._logs[name]

    def to_reference(
        self, reference: Sequence[Member], base: Piece
    ) -> Float[np.ndarray, " event"]:
        """Log ratio of a piece of the reference to all of it."""
        to_first = {
            one.piece: np.zeros(len(self._features))
            if one.ratio is None
            else self.log(one.ratio)
            for one in reference
        }
        fractions = np.array([one.fraction for one in reference])
        logs = np.stack([*to_first.values()], axis=1)
        return to_first[base] - np.asarray(logsumexp(logs, axis=1, b=fractions))

    def coefficients(self, name: str) -> Float[np.ndarray, "event monomial"]:
        ratio = self._ratios[name]
        if not isinstance(ratio, AbstractParametricRatio):
            raise TypeError(f"{name!r} depends on no nuisance parameters")
        with naming(name):
            return expanded(ratio, self._features)

    def ends(
        self, variations: Sequence[Ends]
    ) -> tuple[
        Float[np.ndarray, "event nuisance"], Float[np.ndarray, "event nuisance"]
    ]:
        """Log ratios at +1 and at -1."""
        nothing = np.zeros(len(self._features))
        up, down = [], []
        for one in variations:
            up.append(nothing if one.up is None else self.log(one.up))
            lower = nothing if one.down is None else self.log(one.down)
            down.append(-up[-1] if one.is_mirrored else lower)
        return np.stack(up, axis=1), np.stack(down, axis=1)


@contextlib.contextmanager
def naming(ratio: str) -> Iterator[None]:
    """Errors inside tell which ratio they are about."""
    try:
        yield
    except (DataError, TrainingError) as error:
        reason = str(error).removeprefix("ratio: ")
        raise type(error)(f"ratio {ratio!r}: {reason}") from error


def _lifts(
    component: ComponentPlan,
    up: Float[np.ndarray, "event nuisance"],
    down: Float[np.ndarray, "event nuisance"],
) -> Float[np.ndarray, "event nuisance"]:
    columns = []
    for column, ends in enumerate(component.polyexp):
        try:
            columns.append(nsbi.lifts(up[:, column], down[:, column]))
        except DataError as error:
            raise DataError(
                f"component {component.name!r}, parameter {ends.parameter!r}: {error} "
                "(Morph: logquadratic)"
            ) from error
    return np.stack(columns, axis=1)


def _yield_morph(
    config: NsbiConfig, simulated: Simulation, piece: Piece
) -> nsbi.YieldMorph:
    """How the yield of a piece follows nuisance parameters."""
    factors = {}
    for one in systematics(config, piece.sample):
        if isinstance(one, NormalizationSystematic):
            up, down = 1 + one.up.normalization, 1 + one.down.normalization
        else:
            nominal = simulated.expected(piece)
            up = simulated.expected(piece.varied(f"{one.name}/up")) / nominal
            if isinstance(one.down, Symmetrized):
                down = 2 - up
            else:
                down = simulated.expected(piece.varied(f"{one.name}/down")) / nominal
        for side, factor in (("up", up), ("down", down)):
            if not factor > 0:
                raise SpecificationError(
                    f"{piece.varied(f'{one.name}/{side}')}: the yield is {factor:g} "
                    "times the nominal one"
                )
        if (up, down) != (1.0, 1.0):
            factors[one.parameter] = (up, down)
    return nsbi.YieldMorph(
        tuple(factors),
        np.array([up for up, _ in factors.values()]),  # pyright: ignore[reportArgumentType]
        np.array([down for _, down in factors.values()]),  # pyright: ignore[reportArgumentType]
    )
