"""Pseudo-experiments of a counting experiment, whose p-values are Poisson sums."""

import numpy as np
import pytest
from scipy import stats

from diffana.errors import ToyError
from diffana.histfactory import from_workspace
from diffana.infer import ToyBlock, toy_discovery, toy_hypotest, toy_statistics


SIGNAL, BACKGROUND = 8.0, 12.0
N_TOYS = 4000


@pytest.fixture(scope="module")
def counting():
    def model(observed, uncertainty=None):
        modifiers = [{"name": "mu", "type": "normfactor", "data": None}]
        shape = [{"name": "unc", "type": "shapesys", "data": [uncertainty]}]
        samples = [
            {"name": "signal", "data": [SIGNAL], "modifiers": modifiers},
            {
                "name": "background",
                "data": [BACKGROUND],
                "modifiers": shape if uncertainty else [],
            },
        ]
        config = {"poi": "mu", "parameters": []}
        return from_workspace(
            {
                "version": "1.0.0",
                "channels": [{"name": "SR", "samples": samples}],
                "observations": [{"name": "SR", "data": [observed]}],
                "measurements": [{"name": "m", "config": config}],
            }
        )

    return model


def assert_fraction(found, exact):
    # Four binomial standard deviations for a fixed seed.
    error = np.sqrt(exact * (1 - exact) / N_TOYS)
    np.testing.assert_allclose(found.value, exact, atol=4 * error)
    np.testing.assert_allclose(found.error, error, rtol=0.2)


def test_exclusion_of_a_count_is_a_ratio_of_poisson_sums(counting):
    observed = 13.0
    test = toy_hypotest(*counting(observed), n_toys=N_TOYS, seed=3)
    # The statistic falls with the count up to the tested expectation of 20.
    exact_sb = stats.poisson.cdf(observed, SIGNAL + BACKGROUND)
    exact_b = stats.poisson.cdf(observed, BACKGROUND)
    assert_fraction(test.CLsb, exact_sb)
    assert_fraction(test.CLb, exact_b)
    assert abs(test.CLs_obs.value - exact_sb / exact_b) < 4 * test.CLs_obs.error
    assert test.n_failed == 0
    median = stats.poisson.median(BACKGROUND)
    sb, b = stats.poisson.cdf(median, [SIGNAL + BACKGROUND, BACKGROUND])
    # Four standard deviations of the ratio of two binomial fractions.
    error = np.sqrt(((1 - sb) / sb + (1 - b) / b) / N_TOYS)
    np.testing.assert_allclose(test.CLs_exp[2], sb / b, rtol=4 * error)
    assert np.all(np.diff(test.CLs_exp) >= 0)


def test_discovery_of_a_count_is_a_poisson_sum(counting):
    observed = 19.0
    found = toy_discovery(*counting(observed), n_toys=N_TOYS, seed=5)
    assert_fraction(found.p0, stats.poisson.sf(observed - 1, BACKGROUND))


def test_auxiliary_measurements_vary_too(counting):
    model, _ = counting(13.0, uncertainty=3.0)
    toys = np.asarray(model.samples(model.parameters.inits, N_TOYS, 1))
    # The auxiliary count is (12 / 3)^2 = 16 on average, and Poisson distributed.
    np.testing.assert_allclose(toys.mean(0), [20.0, 16.0], atol=4 * np.sqrt(20 / 4000))
    np.testing.assert_allclose(toys.var(0), [20.0, 16.0], rtol=0.1)
    assert np.all(toys == np.round(toys))


def test_numbers_do_not_depend_on_the_chunks(counting):
    seen = []
    whole = toy_hypotest(*counting(13.0), n_toys=500, chunk=500)
    parts = toy_hypotest(*counting(13.0), n_toys=500, chunk=200, on_chunk=seen.append)
    np.testing.assert_allclose(parts.q_signal, whole.q_signal, atol=1e-9)
    np.testing.assert_allclose(parts.q_background, whole.q_background, atol=1e-9)
    assert seen == [200, 400, 500, 700, 900, 1000]


def test_blocks_can_be_computed_elsewhere_and_in_any_order(counting):
    model, data = counting(13.0)
    computed = []

    def elsewhere(blocks):
        found = {block: toy_statistics(model, block) for block in reversed(blocks)}
        computed.extend(blocks)
        return [found[block] for block in blocks]

    here = toy_hypotest(model, data, n_toys=1200, seed=2)
    there = toy_hypotest(model, data, n_toys=1200, seed=2, evaluate=elsewhere)
    assert [block.n_toys for block in computed] == [1000, 200, 1000, 200]
    # One stream of random numbers each, or pseudo-experiments would be repeated.
    assert len({block.seed for block in computed}) == 4
    np.testing.assert_array_equal(there.q_signal, here.q_signal)
    np.testing.assert_array_equal(there.q_background, here.q_background)
    assert there.CLs_obs == here.CLs_obs


def test_uncertified_pseudo_experiments_are_refused(counting):
    def one_in_fifty(blocks):
        for block in blocks:
            values = np.ones(block.n_toys)
            values[::50] = np.nan
            yield values

    with pytest.raises(ToyError, match="10 of 500 pseudo-experiments"):
        toy_hypotest(*counting(13.0), n_toys=500, evaluate=one_in_fifty)


def test_impossible_pseudo_experiments_are_not_numbers(counting):
    model, _ = counting(13.0)
    # 8 mu + 12 < 0: no counts can be drawn.
    block = ToyBlock((-2.0,), 1.0, "qmu_tilde", 5, seed=1)
    assert np.isnan(toy_statistics(model, block)).all()
