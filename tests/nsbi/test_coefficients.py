"""Coefficients of components against the polynomials they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffana import nsbi
from diffana.errors import SpecificationError


def test_interference_is_exact_at_every_strength():
    amplitude_s, amplitude_b, cosine = 1.7, 3.1, -0.24
    both = amplitude_s**2 + amplitude_b**2 + 2 * cosine * amplitude_s * amplitude_b
    for mu in (0.0, 0.3, 1.0, 2.5):
        scale = np.sqrt(mu)
        found = nsbi.Interference("s")({"s": jnp.array(scale)}) @ jnp.array(
            [amplitude_s**2, both, amplitude_b**2]
        )
        wanted = (
            mu * amplitude_s**2
            + amplitude_b**2
            + 2 * cosine * scale * amplitude_s * amplitude_b
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_interference_has_a_slope_without_signal():
    slope = jax.jacfwd(lambda s: nsbi.Interference("s")({"s": s}))(jnp.array(0.0))
    np.testing.assert_array_equal(slope, [-1.0, 1.0, -1.0])


@pytest.mark.parametrize("points", [[0.0, 1.0, 20.0], [0.0, 1.0, 5.0, 10.0, 20.0]])
def test_morphing_reproduces_the_pair_production_of_a_self_coupling(points):
    # |T|² + 2 κ Re T*S + κ² |S|² in arbitrary units, negative interference.
    rate = lambda kappa: 70.4 - 50.1 * kappa + 11.0 * kappa**2
    morphing = nsbi.Morphing.through(
        ("kappa",), powers=[[0], [1], [2]], points=np.array(points)[:, None]
    )
    simulated = jnp.array([rate(k) for k in points])
    for kappa in (-5.0, 0.0, 0.7, 2.4, 20.0):
        found = morphing({"kappa": jnp.array(kappa)}) @ simulated
        np.testing.assert_allclose(found, rate(kappa), rtol=1e-10)


def test_morphing_in_two_couplings():
    powers = [[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    random = np.random.default_rng(2)
    points = random.normal(size=(6, 2))
    truth = random.normal(size=6)
    polynomial = lambda a, b: truth @ [1, a, b, a * a, a * b, b * b]
    morphing = nsbi.Morphing.through(("a", "b"), powers=powers, points=points)
    simulated = jnp.array([polynomial(*point) for point in points])
    found = morphing({"a": jnp.array(0.3), "b": jnp.array(-1.2)}) @ simulated
    # The condition number of random points is a few hundred.
    np.testing.assert_allclose(found, polynomial(0.3, -1.2), rtol=1e-11)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[0.0], [1.0]], "need as many points"),
        ([[0.0], [1.0], [1.0]], "do not determine"),
        ([[0.0, 1.0]], "couplings"),
    ],
)
def test_points_that_do_not_determine_the_polynomial(points, message):
    with pytest.raises(SpecificationError, match=message):
        nsbi.Morphing.through(("kappa",), powers=[[0], [1], [2]], points=points)


def test_products_and_stacks():
    stacked = nsbi.Stacked(
        (nsbi.Interference("s"), nsbi.Products((("k", "s"), (), ("k", "k"))))
    )
    found = stacked({"s": jnp.array(2.0), "k": jnp.array(3.0)})
    np.testing.assert_allclose(found, [2.0, 2.0, -1.0, 6.0, 1.0, 9.0])
    assert stacked.parameters == ("s", "k")
    assert stacked.n_components == 6
