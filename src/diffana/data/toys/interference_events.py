"""Simulated events of the interference problem: components, mixtures, toys."""

from collections.abc import Sequence

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Scalar

from diffana.data._random import named_generator
from diffana.data.table import Table, close_matches
from diffana.data.toys.interference import COMPONENTS, Interference
from diffana.numerics import as_float


INTERFERENCE_POPULATIONS = (*COMPONENTS, "NI_up", "NI_down", "pool")

_FEATURES = ("x", "y", "z")
_ALPHA = {"NI_up": 1.0, "NI_down": -1.0}
# Events evaluated at a time, so that samples of any size need one program.
_CHUNK = 16_384


def sample_component(
    problem: Interference,
    component: str,
    n_events: int,
    seed: int,
    alpha: float = 0.0,
) -> Float[np.ndarray, "event feature"]:
    """Independent events of one of the `COMPONENTS`.

    Equal seeds give equal NI events, moved with `alpha`.

    Args:
        problem: the densities.
        component: S, SBI (at μ = 1), B or NI.
        n_events: how many, > 0.
        seed: any integer.
        alpha: nuisance parameter; moves NI only.

    Raises:
        ValueError: if there is no such component, or no events are wanted.

    Example:
        >>> sample_component(Interference(), "SBI", n_events=1_000, seed=1).shape
        (1000, 3)
    """
    if component not in COMPONENTS:
        known = close_matches(component, COMPONENTS)
        raise ValueError(f"there is no component {component!r}; {known}")
    _check_size(n_events)
    random = named_generator("interference component", seed, component)
    return _component(problem, component, n_events, random, alpha)


def sample_total(
    problem: Interference, mu: float, alpha: float = 0.0, seed: int = 0
) -> Float[np.ndarray, "event feature"]:
    """A pseudo-experiment: events of all processes, in random order.

    Their number is Poisson distributed about `problem.total(mu)`. They are drawn from
    the total intensity by thinning the incoherent sum of signal and background (Lewis
    and Shedler, Nav. Res. Logist. Q. 26 (1979) 403), so that coefficients of
    components may be negative: any μ >= 0 will do.

    Args:
        problem: the intensities.
        mu: signal strength, >= 0.
        alpha: nuisance parameter, which moves NI; any number.
        seed: any integer; toys of different seeds are independent.

    Raises:
        ValueError: if μ is negative, or the cosine of the phase is none.

    Example:
        >>> toy = sample_total(Interference(exposure=1.0), mu=0.3, alpha=0.5, seed=4)
        >>> toy.shape[1], 10_000 < len(toy) < 12_000
        (3, True)
    """
    if not mu >= 0:
        raise ValueError(f"the signal strength has to be at least 0, not {mu}")
    random = named_generator("interference toy", seed)
    exposure = float(problem.exposure)
    incoherent = mu * float(problem.signal_rate) + float(problem.background_rate)
    n_proposed = random.poisson(_bound(problem) * incoherent * exposure)
    n_other = random.poisson(exposure * float(problem.noninterfering_rate))
    interfering = _thinned(problem, n_proposed, random, mu)
    other = _component(problem, "NI", n_other, random, alpha)
    return random.permutation(np.concatenate([interfering, other]))


def pooled_events(problem: Interference, n_events: int, seed: int) -> Table:
    """Events that are signal, background or both at once, by their weights.

    They are drawn from the incoherent sum of signal and background at μ = 1. As with
    squared matrix elements of a generator, each weight is the intensity of a component
    over that of the drawn events: the same events stand for S, SBI and B, and what
    they have in common does not fluctuate between them.

    Args:
        problem: the intensities.
        n_events: how many, > 0.
        seed: any integer.

    Returns:
        Columns x, y, z and weight_S, weight_SBI, weight_B: events at the exposure of
        the problem per simulated event, > 0. They add up to the yields of the
        components on average; exactly only for weight_S + weight_B.

    Example:
        >>> pool = pooled_events(Interference(), n_events=1_000, seed=1)
        >>> pool.names
        ('x', 'y', 'z', 'weight_S', 'weight_SBI', 'weight_B')
        >>> round(float((pool["weight_S"] + pool["weight_B"]).sum()), 6)
        55000.0
    """
    _check_size(n_events)
    return _pool(problem, n_events, named_generator("interference pool", seed))


def interference_tables(
    n_events: int = 2_500,
    seed: int = 0,
    populations: Sequence[str] = INTERFERENCE_POPULATIONS,
) -> dict[str, Table]:
    """Independent samples of the interference problem with its default constants.

    Each population follows from (seed, name) alone.

    Args:
        n_events: simulated events in each population, > 0.
        seed: any integer.
        populations: which ones: the components S, SBI, B and NI; NI_up and NI_down at
            α = 1 and α = -1; pool as from `pooled_events`.

    Returns:
        Name of a population -> table with the columns x, y and z; the pool has weights
        besides, the events of all others count alike.

    Raises:
        ValueError: if there is no such population, or no events are wanted.

    Example:
        >>> tables = interference_tables(n_events=1_000, seed=1)
        >>> list(tables)
        ['S', 'SBI', 'B', 'NI', 'NI_up', 'NI_down', 'pool']
    """
    _check_size(n_events)
    for name in populations:
        if name not in INTERFERENCE_POPULATIONS:
            known = close_matches(name, INTERFERENCE_POPULATIONS)
            raise ValueError(f"there is no population {name!r}; {known}")
    problem = Interference()
    return {name: _population(problem, name, n_events, seed) for name in populations}


def _population(problem: Interference, name: str, n_events: int, seed: int) -> Table:
    random = named_generator("interference_tables", seed, name)
    if name == "pool":
        return _pool(problem, n_events, random)
    component, alpha = ("NI", _ALPHA[name]) if name in _ALPHA else (name, 0.0)
    events = _component(problem, component, n_events, random, alpha)
    return Table(_columns(events), origin=f"interference problem, population {name!r}")


def _pool(problem: Interference, n_events: int, random: np.random.Generator) -> Table:
    events = _incoherent(problem, n_events, random, 1.0)
    incoherent = problem.exposure * (problem.signal_rate + problem.background_rate)
    each = float(incoherent) / n_events
    fraction, share = _evaluated(problem, events, 1.0)
    weights = {
        "weight_S": each * fraction,
        "weight_SBI": each * (1 + share),
        "weight_B": each * (1 - fraction),
    }
    columns = _columns(events) | weights
    return Table(columns, origin="interference problem, population 'pool'")


def _component(
    problem: Interference,
    component: str,
    n_events: int,
    random: np.random.Generator,
    alpha: float,
) -> Float[np.ndarray, "event feature"]:
    if component == "SBI":
        return _interfering(problem, n_events, random)
    normals = {
        "S": problem.signal,
        "B": problem.background,
        "NI": problem.noninterfering.moved(alpha * problem.shift),
    }
    return normals[component].sample(random, n_events)


def _interfering(
    problem: Interference, n_events: int, random: np.random.Generator
) -> Float[np.ndarray, "event feature"]:
    """The first `n_events` of a thinned stream, at μ = 1."""
    found: list[np.ndarray] = []
    n_found = 0
    while n_found < n_events:
        # At least half of them is kept on average if |cos ϕ| <= 1/2.
        kept = _thinned(problem, 2 * (n_events - n_found), random, 1.0)
        found.append(kept)
        n_found += len(kept)
    return np.concatenate(found)[:n_events]


def _thinned(
    problem: Interference, n_proposed: int, random: np.random.Generator, mu: float
) -> Float[np.ndarray, "event feature"]:
    """Events of the incoherent sum that interference leaves."""
    proposed = _incoherent(problem, n_proposed, random, mu)
    _, share = _evaluated(problem, proposed, mu)
    drawn = random.uniform(size=n_proposed)
    return proposed[drawn * _bound(problem) < 1 + share]


def _bound(problem: Interference) -> float:
    """The most that interference makes of the incoherent sum anywhere."""
    cos_phase = float(problem.cos_phase)
    if not -1 <= cos_phase <= 1:
        raise ValueError(
            f"cos_phase {cos_phase} is no cosine: intensities are negative"
        )
    return 1 + max(cos_phase, 0.0)


def _incoherent(
    problem: Interference, n_events: int, random: np.random.Generator, mu: float
) -> Float[np.ndarray, "event feature"]:
    signal = mu * float(problem.signal_rate)
    fraction = signal / (signal + float(problem.background_rate))
    is_signal = random.uniform(size=n_events) < fraction
    n_signal = int(is_signal.sum())
    events = np.empty((n_events, problem.shift.shape[0]))
    events[is_signal] = problem.signal.sample(random, n_signal)
    events[~is_signal] = problem.background.sample(random, n_events - n_signal)
    return events


def _evaluated(
    problem: Interference, events: Float[np.ndarray, "event feature"], mu: float
) -> tuple[Float[np.ndarray, " event"], Float[np.ndarray, " event"]]:
    """Signal fraction of the incoherent sum, and share of the interference."""
    fraction, share = np.empty(len(events)), np.empty(len(events))
    for start in range(0, len(events), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        n_events = len(events[chunk])
        padded = np.pad(events[chunk], ((0, _CHUNK - n_events), (0, 0)))
        found = _fraction_and_share(problem, as_float(padded), as_float(mu))
        fraction[chunk], share[chunk] = (np.asarray(one)[:n_events] for one in found)
    return fraction, share


@eqx.filter_jit
def _fraction_and_share(
    problem: Interference, events: Float[Array, "event feature"], mu: Scalar
) -> tuple[Float[Array, " event"], Float[Array, " event"]]:
    one = lambda x: (problem.signal_fraction(x, mu), problem.share(x, mu))
    return jax.vmap(one)(events)


def _columns(events: Float[np.ndarray, "event feature"]) -> dict[str, np.ndarray]:
    return dict(zip(_FEATURES, events.T, strict=True))


def _check_size(n_events: int) -> None:
    if n_events < 1:
        raise ValueError(f"n_events has to be at least 1, not {n_events}")
