"""Significance of soft and hard cuts, descents, and the search by brute force."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.cut.model import PEAK, WIDTH, YIELDS, analysis, simulated


# Masses (both ends of the window), scores, isolations of the search by brute force.
GRIDS = (np.linspace(0.8, 3.2, 25), np.linspace(-1, 2, 9), np.linspace(0.4, 2.8, 9))
_BATCH = 512


def soft(loss, model, thresholds, slope, events):
    """Significance of soft cuts, in standard deviations."""
    return -loss(analysis(model, thresholds, slope)(events))


@eqx.filter_jit
def hard_yields(model, thresholds, events):
    """Signal and background that hard cuts keep, for one set of thresholds per row."""

    def kept(row):
        histograms = analysis(model, row, 1.0).hard.histograms(events)
        return jnp.stack([one.sumw[0] for one in histograms])

    return jax.vmap(kept)(thresholds).T


@eqx.filter_jit
def soft_scan(loss, model, thresholds, slope, events):
    """Significance of one soft cut at each threshold, and its derivative."""
    value = lambda c: soft(loss, model, c[None], slope, events)
    return jax.vmap(jax.value_and_grad(value))(thresholds)


def gradient_noise(loss, model, threshold, slope, *, n_events):
    """Standard deviation of the derivative over small simulations."""
    at = jnp.array([threshold])
    small = [simulated(seed, n_events) for seed in range(100, 130)]
    return np.std([soft_scan(loss, model, at, slope, few)[1][0] for few in small])


@eqx.filter_jit
def descent(loss, model, start, schedule, events, *, rate, n_updates):
    """Thresholds on the way down 1/Z with Adam, the slope following `schedule`."""
    optimiser = optax.adam(rate)

    def objective(thresholds, slope):
        return 1 / soft(loss, model, thresholds, slope, events)

    def step(state, number):
        thresholds, memory = state
        slope = schedule(number / (n_updates - 1))
        gradient = jax.grad(objective)(thresholds, slope)
        update, memory = optimiser.update(gradient, memory)
        return (thresholds + update, memory), thresholds

    start = jnp.asarray(start)
    begin = (start, optimiser.init(start))
    (end, _), path = jax.lax.scan(step, begin, jnp.arange(n_updates))
    return jnp.vstack([path, end])


def of_yields(loss, model, signal, background):
    """Significance for each pair of yields, in standard deviations."""
    # Batches of one size: the program is compiled once.
    n_batches = -(-len(signal) // _BATCH)
    pairs = np.stack([signal, background], axis=1)
    pairs = np.resize(pairs, (n_batches, _BATCH, 2))
    found = [_of_batch(loss, model, jnp.asarray(batch)) for batch in pairs]
    return np.concatenate(found)[: len(signal)]


@eqx.filter_jit
def _of_batch(loss, model, pairs):
    cells = [model.layout.cells("SR", sample).start for sample in YIELDS]

    def value(pair):
        nominal = model.templates.nominal.at[jnp.array(cells)].set(pair)
        return -loss(eqx.tree_at(lambda m: m.templates.nominal, model, nominal))

    return jax.vmap(value)(pairs)


@jax.jit
def truth(thresholds):
    """Significance of one hard cut for infinitely many events, and its derivative."""

    def value(c):
        signal = YIELDS["signal"] * jax.scipy.stats.norm.sf((c - PEAK) / WIDTH)
        background = YIELDS["background"] * jnp.exp(-c)
        return jnp.sqrt(
            2 * ((signal + background) * jnp.log1p(signal / background) - signal)
        )

    return jax.vmap(jax.value_and_grad(value))(thresholds)


def brute_force(events, grids):
    """Hard yields of signal and background for every combination of thresholds.

    Args:
        events: what `simulated` returned.
        grids: thresholds to try: masses (both sides of the window are on this grid),
            scores, isolations.

    Returns:
        Signal and background, each [lower mass, upper mass, score, isolation].
    """
    found = []
    for one in events:
        edges = [np.concatenate([[-np.inf], grid, [np.inf]]) for grid in grids]
        counts, _ = np.histogramdd(
            np.asarray(one.features), edges, weights=np.asarray(one.weight)
        )
        below_mass = np.cumsum(counts, axis=0)[:-1]
        above_score = np.cumsum(below_mass[:, ::-1], axis=1)[:, ::-1][:, 1:]
        kept = np.cumsum(above_score, axis=2)[:, :, :-1]
        found.append(kept[None] - kept[:, None])
    return found


def best_on_grid(loss, model, yields, grids):
    """The largest significance on the grid of `brute_force`, and its thresholds."""
    signal, background = (array.ravel() for array in yields)
    # Without background nothing is known of its yield.
    chosen = np.flatnonzero((signal > 0) & (background > 0))
    found = of_yields(loss, model, signal[chosen], background[chosen])
    index = np.unravel_index(chosen[np.argmax(found)], yields[0].shape)
    at = [grid[i] for grid, i in zip([grids[0], *grids], index, strict=True)]
    return float(np.max(found)), np.array(at)
