"""-2 ln L of many data sets at many points; the truth is one at a time."""

import equinox as eqx
import jax
import numpy as np

from nsbi import small


def test_table_of_pseudo_data_is_that_of_single_values():
    model = small.likelihood()
    params = model.parameters.inits
    toys = model.samples(params, 5, seed=3)
    rng = np.random.default_rng(0)
    points = params[None] * (1 + 0.1 * rng.standard_normal((4, params.size)))
    table = eqx.filter_jit(type(model).twice_nll_table)(model, points, toys)
    one = eqx.filter_jit(type(model).twice_nll)
    for i in range(5):
        toy = jax.tree.map(lambda leaf, i=i: leaf[i], toys)
        expected = [one(model, point, toy) for point in points]
        # Sums over events in another order.
        np.testing.assert_allclose(table[i], expected, rtol=1e-11)
    # Different parameters give different rows of pseudo-data.
    params_of = np.tile(np.asarray(params), (2, 1))
    params_of[1, model.parameters.poi_index] *= 3
    again = model.samples(jax.numpy.asarray(params_of), 2, seed=3)
    totals = [np.sum(again.rows[0].weight[i]) for i in range(2)]
    expected = [model.expected_yield(p) for p in jax.numpy.asarray(params_of)]
    # Poisson fluctuations of five standard deviations.
    for total, mean in zip(totals, expected, strict=True):
        assert abs(total - mean) < 5 * np.sqrt(mean)
