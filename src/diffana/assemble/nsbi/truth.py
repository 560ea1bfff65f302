"""The likelihood with exact densities, for generators whose densities are known."""

from collections.abc import Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from diffana import nsbi
from diffana.assemble.nsbi.events import Simulation
from diffana.assemble.nsbi.plan import Plan, systematics
from diffana.config import (
    InterferenceGenerator,
    NormalizationSystematic,
    NsbiConfig,
    NsbiNormPlusShapeSystematic,
    NsbiSampleSection,
    SmearedGenerator,
    Symmetrized,
    Variation,
)
from diffana.data._random import named_generator
from diffana.data.expressions import evaluate
from diffana.data.table import Table
from diffana.data.toys import (
    COMPONENTS,
    NUISANCES,
    Interference,
    SmearedMixture,
    smeared_tables,
)


# Nodes per axis: the likelihood of the interference problem is then right to 1e-7.
_N_NODES = 41
# Simulated events of each component, where there are too many axes for a grid.
_N_EVENTS = 400_000


class Unknown(Exception):
    """The exact densities are not known; the message says why."""


class Exact(NamedTuple):
    """The exact likelihood, and points of an integral over all events of the region.

    Attributes:
        model: the likelihood; its bank are the points.
        features: of the points, as networks see them.
    """

    model: nsbi.Unbinned
    features: Float[np.ndarray, "event feature"]


def exact(
    config: NsbiConfig, plan: Plan, simulated: Simulation, learned: nsbi.Unbinned
) -> Exact:
    """The exact likelihood that a learned one is an estimate of.

    Args:
        config: the configuration.
        plan: what was learned.
        simulated: the simulated events.
        learned: the learned likelihood.

    Raises:
        Unknown: if the densities are not known, with the reason.
    """
    problem = _problem(config)
    members = [_member(config, problem, one.piece.sample) for one in plan.components]
    points = _points(config, problem)
    totals = [_total(config, simulated, one.piece.sample) for one in plan.components]
    at = {one.piece.sample: i for i, one in enumerate(plan.components)}
    logs = np.stack([points.log_density(one) for one in members], axis=1)
    reference = sum(
        totals[at[name]] * np.exp(logs[:, at[name]]) for name in config.reference
    )
    bank = nsbi.held(
        points.volume * reference,
        logs - np.log(reference)[:, None],
        [(points.coordinates,) * len(_shape(one)) for one in members],
    )
    (channel,) = learned.channels
    components = tuple(
        nsbi.Component(
            total * points.accepted(member),
            _yield_morph(config, points, member, one.name),
            _shape(member),
            name=one.name,
        )
        for one, member, total in zip(channel.components, members, totals, strict=True)
    )
    replaced = nsbi.Channel(components, channel.coefficients, bank, channel.name)
    model = nsbi.Unbinned(learned.parameters, (replaced,), learned.constraints)
    return Exact(model, points.features)


def _shape(member: "_Member") -> tuple[nsbi.FromFeatures, ...]:
    return (
        (nsbi.FromFeatures(log_ratio=member, parameters=member.parameters),)
        if member.parameters
        else ()
    )


class _Problem(NamedTuple):
    """A generator with known densities.

    Attributes:
        densities: of its components, a module with `log_densities`.
        components: their names.
        nuisances: names of its nuisance parameters.
        columns: of the coordinates.
    """

    densities: Interference | SmearedMixture
    components: tuple[str, ...]
    nuisances: tuple[str, ...]
    columns: tuple[str, ...]


@final
class _Member(eqx.Module):
    """A component, and which of its nuisance parameters are parameters of a fit.

    Called with the latter and an event, it is ln p(x|α)/p(x|0).
    """

    densities: Interference | SmearedMixture
    index: int = eqx.field(static=True)
    n_nuisances: int = eqx.field(static=True)
    parameters: tuple[str, ...] = eqx.field(static=True)
    nuisances: tuple[int, ...] = eqx.field(static=True)

    def log_density(
        self, event: Float[Array, " feature"], alpha: Float[Array, " nuisance"]
    ) -> Scalar:
        """At values of the parameters."""
        every = jnp.zeros(self.n_nuisances)
        every = every.at[np.array(self.nuisances, int)].set(alpha)
        if isinstance(self.densities, Interference):
            return self.densities.log_densities(event, every[0])[self.index]
        return self.densities.log_densities(event, every)[self.index]

    def __call__(
        self, alpha: Float[Array, " nuisance"], event: Float[Array, " feature"]
    ) -> Scalar:
        nominal = self.log_density(event, jnp.zeros(len(self.parameters)))
        return self.log_density(event, alpha) - nominal


class _Points(NamedTuple):
    """Points of an integral over the selected events.

    Attributes:
        coordinates: of each point.
        volume: weight of each point in the integral.
        features: as networks see them.
        is_cut: whether there are other points, which the region rejects.
    """

    coordinates: Float[np.ndarray, "event feature"]
    volume: Float[np.ndarray, " event"]
    features: Float[np.ndarray, "event feature"]
    is_cut: bool

    def log_density(
        self, member: _Member, alpha: Sequence[float] | None = None
    ) -> Float[np.ndarray, " event"]:
        """Logarithm of the density of a component at all points."""
        at = np.zeros(len(member.parameters)) if alpha is None else np.asarray(alpha)
        return np.asarray(
            _log_densities(member, jnp.asarray(self.coordinates), jnp.asarray(at))
        )

    def accepted(self, member: _Member, alpha: Sequence[float] | None = None) -> float:
        """Fraction of a component that the region selects."""
        if not self.is_cut:
            return 1.0
        return float(self.volume @ np.exp(self.log_density(member, alpha)))


@eqx.filter_jit
def _log_densities(
    member: _Member,
    events: Float[Array, "event feature"],
    alpha: Float[Array, " nuisance"],
) -> Float[Array, " event"]:
    return jax.lax.map(
        lambda event: member.log_density(event, alpha), events, batch_size=8192
    )


def _problem(config: NsbiConfig) -> _Problem:
    match config.generator:
        case InterferenceGenerator():
            problem = _Problem(Interference(), COMPONENTS, ("",), ("x", "y", "z"))
        case SmearedGenerator():
            columns = tuple(f"x{i}" for i in range(5))
            problem = _Problem(SmearedMixture(), ("S", "B"), NUISANCES, columns)
        case _:
            raise Unknown("the densities of the events are not known")
    missing = [name for name in problem.columns if name not in config.features]
    if missing:
        raise Unknown(f"the Features leave out {', '.join(missing)}")
    return problem


def _member(config: NsbiConfig, problem: _Problem, name: str) -> _Member:
    """The component that a sample consists of."""
    (sample,) = (one for one in config.simulated if one.name == name)
    component = _component(sample, problem)
    parameters, nuisances = [], []
    for one in systematics(config, name):
        if isinstance(one, NsbiNormPlusShapeSystematic):
            parameters.append(one.parameter)
            nuisances.append(_nuisance(one, problem, component))
    return _Member(
        problem.densities,
        problem.components.index(component),
        len(problem.nuisances),
        tuple(parameters),
        tuple(nuisances),
    )


def _component(sample: NsbiSampleSection, problem: _Problem) -> str:
    if sample.filter is not None or sample.preselection is not None:
        raise Unknown(f"sample {sample.name!r} has a selection of its own")
    paths = sample.sample_path or (sample.name,)
    if paths == ("pool",) and sample.weight is not None:
        component = sample.weight.removeprefix("weight_")
    elif len(paths) == 1 and sample.weight is None:
        component = paths[0]
    else:
        component = ""
    if component not in problem.components:
        raise Unknown(f"sample {sample.name!r} is no component of the generator")
    return component


def _nuisance(
    systematic: NsbiNormPlusShapeSystematic, problem: _Problem, component: str
) -> int:
    """Number of the nuisance parameter that a systematic varies."""
    for index, name in enumerate(problem.nuisances):
        middle = f"_{name}" if name else ""
        up, down = (
            Variation.model_validate({"SamplePath": [f"{component}{middle}_{side}"]})
            for side in ("up", "down")
        )
        is_down = isinstance(systematic.down, Symmetrized) or systematic.down == down
        if systematic.up == up and is_down:
            return index
    raise Unknown(
        f"systematic {systematic.name!r} varies no parameter of the generator"
    )


def _total(config: NsbiConfig, simulated: Simulation, name: str) -> float:
    """Expected events of a sample before the selection of the region."""
    (sample,) = (one for one in config.simulated if one.name == name)
    if sample.yield_ is not None:
        return sample.yield_
    if config.region.filter is not None:
        raise Unknown(f"sample {name!r} has no Yield, but the region has a Filter")
    return sum(simulated.expected(piece) for piece in simulated.pieces(name))


def _yield_morph(
    config: NsbiConfig, points: _Points, member: _Member, name: str
) -> nsbi.YieldMorph:
    """Exact factors on the yield at ±1, given by the selection alone."""
    nominal = points.accepted(member)
    factors = {}
    for one in systematics(config, name):
        if isinstance(one, NormalizationSystematic):
            up, down = 1 + one.up.normalization, 1 + one.down.normalization
            factors[one.parameter] = (up, down)
        elif points.is_cut:
            unit = np.eye(len(member.parameters))[
                member.parameters.index(one.parameter)
            ]
            factors[one.parameter] = tuple(
                points.accepted(member, side * unit) / nominal for side in (1.0, -1.0)
            )
    return nsbi.YieldMorph(
        tuple(factors),
        np.array([up for up, _ in factors.values()]),  # pyright: ignore[reportArgumentType]
        np.array([down for _, down in factors.values()]),  # pyright: ignore[reportArgumentType]
    )


def _points(config: NsbiConfig, problem: _Problem) -> _Points:
    """All points, then those that the region selects."""
    if isinstance(problem.densities, Interference):
        nodes, volume = problem.densities.grid(_N_NODES)
        table = Table(dict(zip(problem.columns, nodes.T, strict=True)), "the grid")
    else:
        table, volume = _simulated_points(config, problem.densities)
    kept = np.ones(len(table), bool)
    if config.region.filter is not None:
        kept = np.asarray(evaluate(config.region.filter, table), bool)
    table = table.rows(kept)
    return _Points(
        coordinates=table.matrix(problem.columns),
        volume=volume[kept],
        features=np.stack(
            [np.asarray(evaluate(name, table), float) for name in config.features],
            axis=1,
        ),
        is_cut=config.region.filter is not None,
    )


def _simulated_points(
    config: NsbiConfig, densities: SmearedMixture
) -> tuple[Table, Float[np.ndarray, " event"]]:
    """Events of both components, none of which was trained on."""
    random = named_generator("points of an integral", config.general.seed)
    tables = smeared_tables(_N_EVENTS, int(random.integers(2**62)), ["S", "B"])
    columns = {
        name: np.concatenate([table[name] for table in tables.values()])
        for name in tables["S"].names
    }
    both = Table(columns, "the simulated points")
    events = jnp.asarray(both.matrix([f"x{i}" for i in range(5)]))
    logs = _all_densities(densities, events)
    # Each event stands for the volume in which one is expected.
    return both, 1 / (_N_EVENTS * np.exp(np.asarray(logs)).sum(axis=1))


@eqx.filter_jit
def _all_densities(
    densities: SmearedMixture, events: Float[Array, "event feature"]
) -> Float[Array, "event component"]:
    nominal = jnp.zeros(len(NUISANCES))
    return jax.lax.map(
        lambda event: densities.log_densities(event, nominal), events, batch_size=8192
    )
