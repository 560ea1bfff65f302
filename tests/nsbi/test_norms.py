"""Normalisation in advance against the pass over the reference events."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from diffana import nsbi
from nsbi import small


# Inside, at and beyond the ends of the polynomial.
@pytest.mark.parametrize("tilt", [0.0, 0.37, -0.99, 1.0, -1.6])
def test_polynomial_of_means_is_the_mean_of_polynomials(tilt):
    (channel,) = small.likelihood(small.rows(*small.nodes(60))).channels
    names, params = ("mu", "tilt", "width"), jnp.array([1.0, tilt, 0.3])
    program = eqx.filter_jit(lambda one: one.log_norms(names, params, order=2))
    found, wanted = program(channel.settled()), program(channel)
    assert channel.settled().norms.moments[0] is not None
    assert channel.settled().norms.moments[1] is None
    for part in ("value", "first", "second"):
        # Sums of 60 numbers of order one in another order.
        np.testing.assert_allclose(
            getattr(found, part), getattr(wanted, part), rtol=1e-11, atol=1e-12
        )


def test_gaussian_shift_in_closed_form():
    # Of the interference problem: a shift by 0.2026 of the width along its direction.
    # Outside ±1 it is E[u^α] = exp((α² - α) s² / 2); inside the value is published.
    x = np.linspace(-9.0, 9.0, 2001)
    shift = 0.2026
    ends = np.stack([shift * x - shift**2 / 2, -shift * x - shift**2 / 2], 1)
    component = nsbi.Component(1.0, shape_morphs=(nsbi.PolyExp(("a",)),), name="NI")
    bank = nsbi.held(np.exp(-(x**2) / 2), np.zeros((len(x), 1)), [(ends[:, :, None],)])
    channel = nsbi.Channel((component,), nsbi.Products(((),)), bank, "all").settled()
    for alpha, wanted in ((0.5, 0.9970), (1.0, 1.0), (1.5, 1.0155), (2.0, 1.0419)):
        norm = jnp.exp(channel.log_norms(("a",), jnp.array([alpha]), order=0).value[0])
        np.testing.assert_allclose(norm, wanted, atol=1e-4)
