import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffana.data.toys import BLOB_MEANS, NormalExponential, gaussian_blobs


@pytest.mark.parametrize("name", BLOB_MEANS)
def test_blobs_are_independent_unit_normals(name):
    table = gaussian_blobs(n_events=20_000, seed=3)[name]
    noise = table.matrix(["x", "y"]) - BLOB_MEANS[name]
    for component in noise.T:
        # One in 10^4 seeds would fail; this one does not.
        assert scipy.stats.kstest(component, "norm").pvalue > 1e-4
    # Sample correlation of independent normals: 1/sqrt(n) = 0.007, four sigma.
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.028


def test_each_blob_depends_on_seed_and_name_alone():
    blobs = gaussian_blobs(n_events=10, seed=3)
    alone = gaussian_blobs({"signal": (-1.0, 1.0)}, n_events=10, seed=3)
    np.testing.assert_array_equal(blobs["signal"]["x"], alone["signal"]["x"])
    noise = {name: table["x"] - BLOB_MEANS[name][0] for name, table in blobs.items()}
    assert not np.allclose(noise["signal"], noise["background"])
    other = gaussian_blobs(n_events=10, seed=4)
    assert not np.allclose(blobs["signal"]["x"], other["signal"]["x"])


def test_means_and_number_of_events_are_free():
    blobs = gaussian_blobs({"far": (100.0, -100.0)}, n_events=7)
    assert list(blobs) == ["far"]
    assert len(blobs["far"]) == 7
    assert np.all(blobs["far"]["x"] > 90)
    assert np.all(blobs["far"]["y"] < -90)
    with pytest.raises(ValueError, match="n_events has to be at least 1"):
        gaussian_blobs(n_events=0)


PROCESS = NormalExponential(mean=[2.0, -1.0], scale=[0.5, 3.0], rate=4.0)


def test_normal_and_exponential_variables_follow_their_distributions():
    x = np.array(PROCESS.sample(jax.random.key(1), 20_000))
    assert x.shape == (20_000, 3)
    assert x.dtype == np.float64
    wanted = (
        scipy.stats.norm(2.0, 0.5),
        scipy.stats.norm(-1.0, 3.0),
        scipy.stats.expon(scale=1 / 4.0),
    )
    for column, distribution in zip(x.T, wanted, strict=True):
        # One in 10^4 seeds would fail; this one does not.
        assert scipy.stats.kstest(column, distribution.cdf).pvalue > 1e-4
    # Sample correlation of independent variables: 1/sqrt(n) = 0.007, four sigma.
    assert np.abs(np.corrcoef(x.T) - np.eye(3)).max() < 0.028
    log_density = sum(d.logpdf(c) for c, d in zip(x.T, wanted, strict=True))
    # Sums of three terms of order 10 each.
    np.testing.assert_allclose(
        PROCESS.log_density(jnp.asarray(x)), log_density, atol=1e-12
    )


def test_density_is_zero_below_the_exponential_threshold():
    x = jnp.array([[2.0, -1.0, -0.1], [2.0, -1.0, 0.0]])
    found = PROCESS.log_density(x)
    assert found[0] == -jnp.inf
    assert jnp.isfinite(found[1])


def test_events_move_with_the_fields_and_the_score_tells_how_much():
    key, n_events = jax.random.key(2), 100_000

    def process(shift, rate):
        return NormalExponential(jnp.stack([shift, -1.0]), [0.5, 3.0], rate)

    at = (jnp.array(2.0), jnp.array(4.0))
    x = process(*at).sample(key, n_events)
    moved = process(at[0] + 0.3, at[1] / 2).sample(key, n_events)
    np.testing.assert_allclose(moved[:, 0], x[:, 0] + 0.3, rtol=1e-12)
    np.testing.assert_allclose(moved[:, 2], 2 * x[:, 2], rtol=1e-12)
    score = jax.jacfwd(lambda p: process(p[0], p[1]).log_density(x))(jnp.stack(at))
    closed = np.stack([(x[:, 0] - 2.0) / 0.25, 1 / 4.0 - x[:, 2]], axis=1)
    np.testing.assert_allclose(score, closed, atol=1e-12)


def test_means_and_scales_have_to_go_together():
    with pytest.raises(ValueError, match=r"shape \(2,\), the scales \(1,\)"):
        NormalExponential(mean=[0.0, 1.0], scale=[1.0], rate=1.0)
