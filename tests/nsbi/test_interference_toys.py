"""Coverage with interference; toys are thinned from the total intensity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffana import fit, nsbi
from diffana.data.toys import Interference, sample_total
from diffana.likelihood import Parameters


def problem():
    """Less background than in the benchmark, so that a toy takes no time to fit."""
    return Interference(noninterfering_rate=200.0, exposure=2.0)


def rows(generator, x, chunk):
    logs = np.asarray(jax.vmap(generator.log_densities)(jnp.asarray(x)))
    return nsbi.held(np.ones(len(x)), logs - logs[:, 3:], chunk=chunk)


def likelihood(generator):
    x, volume = generator.grid(15)
    logs = np.asarray(jax.vmap(generator.log_densities)(jnp.asarray(x)))
    # Densities are exact, so that nothing has to be normalised.
    bank = nsbi.held(volume * np.exp(logs[:, 3]), logs - logs[:, 3:])
    components = tuple(
        nsbi.Component(expected, name=name, normalised=False)
        for name, expected in zip(
            ("S", "SBI", "B", "NI"), generator.yields(), strict=True
        )
    )
    channel = nsbi.Channel(
        components,
        nsbi.Stacked((nsbi.Interference("sqrt_mu"), nsbi.Products(((),)))),
        bank,
        "plane",
    )
    return nsbi.Unbinned(
        parameters=Parameters(
            inits=jnp.array([0.7]),
            lower=jnp.array([0.0]),
            upper=jnp.array([4.0]),
            fixed=jnp.array([False]),
            names=("sqrt_mu",),
            poi="sqrt_mu",
            interpolated=("sqrt_mu",),
        ),
        channels=(channel,),
        constraints=nsbi.GaussianConstraints.unit(()),
    )


def statistics(mu, n_toys, seed):
    """The test statistic of the truth in toys, and how many fits were certified."""
    generator = problem()
    model = likelihood(generator)
    size = 2**13
    test = jax.jit(
        lambda data: (
            fit.fit_together(
                model, data, [{}, {"sqrt_mu": jnp.sqrt(mu)}], throw=False
            ).best_twice_nll
        )
    )
    found = []
    for toy in range(n_toys):
        x = sample_total(generator, mu, seed=seed + toy)
        # One shape for all toys: a single program.
        filled = np.zeros((size, 3))
        filled[: len(x)] = x
        held = rows(generator, filled, size)
        weight = jnp.asarray(np.arange(size) < len(x), float)[None]
        data = nsbi.UnbinnedData((held.with_weight(weight),), jnp.zeros(0))
        free, conditional = test(data)
        found.append(float(conditional - free))
    return np.array(found)


def covered(found, level):
    """Fraction of toys whose interval holds the truth, and its binomial error."""
    fraction = float(np.mean(found <= level))
    return fraction, np.sqrt(fraction * (1 - fraction) / len(found))


@pytest.mark.slow
@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_coverage(mu):
    found = statistics(mu, 400, seed=100)
    assert np.all(np.isfinite(found))
    for level, wanted in ((1.0, 0.6827), (3.8415, 0.95)):
        fraction, error = covered(found, level)
        # Three binomial errors. At μ = 0.5 the two minima are not far apart: then the
        # free fit has less freedom than one parameter, and intervals cover more often.
        assert fraction > wanted - 3 * error, (level, fraction)
        if mu > 1:
            assert fraction < wanted + 3 * error, (level, fraction)


def test_a_few_toys_are_fitted():
    found = statistics(0.5, 6, seed=7)
    assert np.all(np.isfinite(found))
    assert np.all(found > -1e-8)
