"""p-values from pseudo-experiments, where asymptotic formulae cannot be trusted.

Pseudo-experiments are drawn in blocks with a seed each, so that blocks can be computed
anywhere and in any order.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, Scalar

from diffana.errors import ToyError
from diffana.fit import Minimiser, fit_many, fit_together
from diffana.infer.asymptotics import BANDS
from diffana.infer.statistics import Minima, ProfileScan, profile
from diffana.likelihood import AbstractLikelihood
from diffana.numerics import normal_sf


Statistic = Literal["qmu_tilde", "qmu", "q0"]

TOLERATED_FAILURES = 0.01
"""Largest fraction of pseudo-experiments without a certified fit."""


_BLOCK = 1000
# Fits that others do not wait for. XLA's pool of threads can come to a standstill in
# the linear algebra of a thousand of them.
_BY_THEMSELVES = 16
# Data that are equal may differ by this in their statistic.
_TIE = 1e-6
# Difference of twice_nll that rounding and the distance to the minimum cannot explain.
_MISSED = 1e-5


@final
class ToyBlock(NamedTuple):
    """Pseudo-experiments that are drawn together.

    Attributes:
        params: parameters that generate them.
        poi_test: tested value of the parameter of interest.
        statistic: what is computed from each.
        n_toys: how many.
        seed: of their random numbers.
    """

    params: tuple[float, ...]
    poi_test: float
    statistic: Statistic
    n_toys: int
    seed: int


Evaluate = Callable[[Sequence[ToyBlock]], Iterable[Float[np.ndarray, " toy"]]]
"""Computes the statistics of blocks, in their order; see `toy_statistics`."""


class PValue(NamedTuple):
    """A fraction of pseudo-experiments.

    Attributes:
        value: the fraction.
        error: its binomial standard deviation.
    """

    value: float
    error: float


@final
class ToyTest(NamedTuple):
    """Exclusion test of one signal strength with pseudo-experiments.

    Attributes:
        CLs_obs: observed CLs.
        CLs_exp: CLs of the quantiles of the background-only pseudo-experiments at -2,
            -1, 0, 1, 2 standard deviations.
        CLsb: observed p-value of signal plus background.
        CLb: observed p-value of background only.
        q: observed value of the test statistic.
        q_signal: its values under signal plus background, certified ones only.
        q_background: its values under background only, certified ones only.
        n_failed: pseudo-experiments that were left out because a fit is not certified.
    """

    CLs_obs: PValue
    CLs_exp: Float[np.ndarray, " band"]
    CLsb: PValue
    CLb: PValue
    q: float
    q_signal: Float[np.ndarray, " toy"]
    q_background: Float[np.ndarray, " toy"]
    n_failed: int


@final
class ToyDiscovery(NamedTuple):
    """Test of the background-only hypothesis with pseudo-experiments.

    Attributes:
        p0: observed p-value of background only.
        q0: observed value of the test statistic.
        q0_background: its values under background only, certified ones only.
        n_failed: pseudo-experiments that were left out because a fit is not certified.
    """

    p0: PValue
    q0: float
    q0_background: Float[np.ndarray, " toy"]
    n_failed: int


def toy_hypotest(
    likelihood: AbstractLikelihood,
    data: PyTree,
    poi_test: float = 1.0,
    *,
    n_toys: int = 2000,
    seed: int = 0,
    bounded: bool = True,
    chunk: int = 1000,
    minimiser: Minimiser | None = None,
    on_chunk: Callable[[int], None] = lambda n_done: None,
    evaluate: Evaluate | None = None,
) -> ToyTest:
    """CLs test of `poi_test` with pseudo-experiments.

    The nuisance parameters that generate them are those fitted to the observed data at
    the tested strength and at zero, and every auxiliary measurement varies.

    Args:
        likelihood: a statistical model with a parameter of interest.
        data: the observed data set, constraint measurements included.
        poi_test: tested value of the parameter of interest, > 0.
        n_toys: pseudo-experiments under each of the two hypotheses.
        seed: of the pseudo-experiments.
        bounded: whether to use q~_mu, for a parameter that cannot be negative, rather
            than q_mu.
        chunk: pseudo-experiments fitted in one compiled call, at most 1000; memory
            grows with it.
        minimiser: settings of those fits to pseudo-experiments that do not succeed when
            all are made together; by default each starts only at the nominal
            parameters and where the other fits ended.
        on_chunk: called with the number of pseudo-experiments done.
        evaluate: computes the pseudo-experiments elsewhere; the three arguments before
            are of no use then.

    Raises:
        EquinoxRuntimeError: if a fit to the observed data is not certified.
        ToyError: if more than 1 % of the pseudo-experiments have no certified fit.

    Source: Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, sections 2.5 and 3.

    Example:
        >>> model, data = from_workspace(workspace)
        >>> toy_hypotest(model, data, 1.0, n_toys=10_000).CLs_obs
    """
    statistic = "qmu_tilde" if bounded else "qmu"
    observed = profile(likelihood, data, poi_test)
    q = float(_statistic_of(observed, statistic))
    hypotheses = observed.conditional.bestfit, observed.background.bestfit
    here = _Here(likelihood, chunk, minimiser, on_chunk)
    blocks = [
        block
        for i, params in enumerate(hypotheses)
        for block in _blocks(params, poi_test, statistic, n_toys, (seed, i))
    ]
    every = np.concatenate([*(evaluate or here)(blocks)])
    signal, background = (_certified(part) for part in np.split(every, 2))
    CLsb, CLb = _p_value(signal, q), _p_value(background, q)
    ratio = CLsb.value / CLb.value if CLb.value > 0 else np.nan
    relative = np.hypot(
        CLsb.error / max(CLsb.value, 1 / n_toys), CLb.error / max(CLb.value, 1 / n_toys)
    )
    # The n-sigma band of the background: q is large where data look like background.
    quantiles = np.quantile(background, np.asarray(normal_sf(np.array(BANDS, float))))
    expected = [
        _p_value(signal, at).value / _p_value(background, at).value for at in quantiles
    ]
    return ToyTest(
        CLs_obs=PValue(ratio, ratio * float(relative)),
        CLs_exp=np.array(expected),
        CLsb=CLsb,
        CLb=CLb,
        q=q,
        q_signal=signal,
        q_background=background,
        n_failed=2 * n_toys - signal.size - background.size,
    )


def toy_discovery(
    likelihood: AbstractLikelihood,
    data: PyTree,
    *,
    n_toys: int = 2000,
    seed: int = 0,
    chunk: int = 1000,
    minimiser: Minimiser | None = None,
    on_chunk: Callable[[int], None] = lambda n_done: None,
    evaluate: Evaluate | None = None,
) -> ToyDiscovery:
    """Test of the background-only hypothesis with pseudo-experiments.

    Arguments and errors are those of `toy_hypotest`.
    """
    observed = profile(likelihood, data, 0.0)
    q0 = float(observed.q0)
    here = _Here(likelihood, chunk, minimiser, on_chunk)
    blocks = _blocks(observed.background.bestfit, 0.0, "q0", n_toys, (seed, 0))
    values = _certified(np.concatenate([*(evaluate or here)(blocks)]))
    return ToyDiscovery(
        p0=_p_value(values, q0),
        q0=q0,
        q0_background=values,
        n_failed=n_toys - values.size,
    )


def toy_statistics(
    likelihood: AbstractLikelihood,
    block: ToyBlock,
    *,
    chunk: int = 1000,
    minimiser: Minimiser | None = None,
    on_chunk: Callable[[int], None] = lambda n_done: None,
) -> Float[np.ndarray, " toy"]:
    """The statistic in each pseudo-experiment of a block; nan without certified fits.

    Arguments are those of `toy_hypotest`.
    """
    lower = likelihood.parameters.lower[likelihood.parameters.poi_index]
    # q~_mu needs a fit without signal only where the best fit can be negative.
    negative = block.statistic == "qmu_tilde" and bool(lower < 0)
    chunk = min(chunk, _BLOCK)
    start = jnp.asarray(block.params)
    toys = likelihood.samples(start, block.n_toys, block.seed)
    poi_test = jnp.asarray(block.poi_test)
    values = []
    for first in range(0, block.n_toys, chunk):
        rows = jax.tree.map(lambda leaf, at=first: leaf[at : at + chunk], toys)
        n_rows = min(chunk, block.n_toys - first)
        # The last chunk is filled up: another shape would be compiled anew.
        found = _together(
            likelihood,
            _filled(rows, chunk),
            start,
            poi_test,
            block.statistic,
            negative,
        )
        found = np.array(found)[:n_rows]
        again = np.flatnonzero(np.isnan(found))
        for at in range(0, again.size, _BY_THEMSELVES):
            some = again[at : at + _BY_THEMSELVES]
            few = jax.tree.map(lambda leaf, some=some: leaf[some], rows)
            one_by_one = _one_by_one(
                likelihood,
                _filled(few, _BY_THEMSELVES),
                poi_test,
                # A single hard fit would make all others of its group wait.
                minimiser or Minimiser(n_directions=0, last_steps=0),
                block.statistic,
                negative,
            )
            found[some] = np.asarray(one_by_one)[: some.size]
        values.append(found)
        on_chunk(min(first + chunk, block.n_toys))
    return np.concatenate(values)


def _filled(toys: PyTree[Array], n_toys: int) -> PyTree[Array]:
    """Toys, and repetitions of the first one up to a number of them."""
    missing = n_toys - jax.tree.leaves(toys)[0].shape[0]
    return jax.tree.map(
        lambda leaf: jnp.concatenate([leaf, leaf[:1].repeat(missing, 0)]), toys
    )


class _Here(NamedTuple):
    """Computes blocks in this process."""

    likelihood: AbstractLikelihood
    chunk: int
    minimiser: Minimiser | None
    on_chunk: Callable[[int], None]

    def __call__(
        self, blocks: Sequence[ToyBlock]
    ) -> Iterable[Float[np.ndarray, " toy"]]:
        n_done = 0
        for block in blocks:
            yield toy_statistics(
                self.likelihood,
                block,
                chunk=self.chunk,
                minimiser=self.minimiser,
                on_chunk=lambda n, before=n_done: self.on_chunk(before + n),
            )
            n_done += block.n_toys


def _blocks(
    params: Float[Array, " par"],
    poi_test: float,
    statistic: Statistic,
    n_toys: int,
    seed: tuple[int, int],
) -> list[ToyBlock]:
    """All pseudo-experiments of a hypothesis; `seed` is the user's and its own."""
    return [
        ToyBlock(
            params=tuple(np.asarray(params).tolist()),
            poi_test=float(poi_test),
            statistic=statistic,
            n_toys=min(_BLOCK, n_toys - start),
            seed=block_seed(*seed, i),
        )
        for i, start in enumerate(range(0, n_toys, _BLOCK))
    ]


def block_seed(*entropy: int) -> int:
    """Seed of toys that are drawn together, from the user's seed and what they are."""
    # JAX takes seeds of 63 bits.
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def _certified(values: Float[np.ndarray, " toy"]) -> Float[np.ndarray, " toy"]:
    """The values that are numbers.

    Raises:
        ToyError: if too many are not.
    """
    certified = values[~np.isnan(values)]
    if certified.size < (1 - TOLERATED_FAILURES) * values.size:
        raise ToyError(
            f"{values.size - certified.size} of {values.size} pseudo-experiments have "
            "no certified fit"
        )
    return certified


@eqx.filter_jit
def _together(
    likelihood: AbstractLikelihood,
    toys: PyTree[Array],
    start: Float[Array, " par"],
    poi_test: Scalar,
    statistic: Statistic,
    negative: bool,
) -> Float[Array, " toy"]:
    """The statistic from fits made together; nan where they need more care."""
    settled = likelihood.settled()
    index = settled.parameters.poi_index
    n_toys = jax.tree.leaves(toys)[0].shape[0]
    starts = jnp.broadcast_to(start, (n_toys, start.shape[0]))
    free = fit_many(settled, toys, starts, along=index)

    def held(value: Scalar) -> Float[Array, " toy"]:
        ahead = (value - free.params[:, index])[:, None] * free.tangent
        parameters = settled.parameters
        begin = free.params + ahead
        begin = jnp.clip(begin, parameters.lower[None], parameters.upper[None])
        begin = begin.at[:, index].set(value)
        fits = fit_many(settled, toys, begin, along=index, is_held=True)
        return fits.twice_nll

    conditional = held(poi_test)
    background = held(jnp.zeros(())) if negative else conditional
    # A conditional fit below the free one has seen another minimum.
    missed = jnp.minimum(conditional, background) < free.twice_nll - _MISSED
    found = Minima(
        poi_test=poi_test,
        poi_hat=free.params[:, index],
        free=jnp.where(missed, jnp.nan, free.twice_nll),
        conditional=conditional,
        background=background,
    )
    is_known = free.is_certified & ~missed
    return jnp.where(is_known, _statistic_of(found, statistic), jnp.nan)


@eqx.filter_jit
def _one_by_one(
    likelihood: AbstractLikelihood,
    toys: PyTree[Array],
    poi_test: Scalar,
    minimiser: Minimiser,
    statistic: Statistic,
    negative: bool,
) -> Float[Array, " toy"]:
    """The statistic from fits that start again from one another's ends."""
    settled = likelihood.settled()
    parameters = settled.parameters
    poi, index = parameters.names[parameters.poi_index], parameters.poi_index
    held = [{}, {poi: poi_test}, *([{poi: 0.0}] if negative else [])]

    def one(toy: PyTree) -> Scalar:
        fits = fit_together(settled, toy, held, minimiser=minimiser, throw=False)
        heights = fits.best_twice_nll
        found = Minima(
            poi_test, fits.bestfit[0, index], heights[0], heights[1], heights[-1]
        )
        return _statistic_of(found, statistic)

    return jax.vmap(one)(toys)


def _statistic_of(
    found: Minima | ProfileScan, statistic: Statistic
) -> Float[Array, "..."]:
    # Minima that are equal up to rounding must not rank below a statistic of 0.
    return jnp.maximum(getattr(found, statistic), 0.0)


def _p_value(values: Float[np.ndarray, " toy"], observed: float) -> PValue:
    fraction = float(np.mean(values >= observed - _TIE))
    return PValue(fraction, float(np.sqrt(fraction * (1 - fraction) / values.size)))
