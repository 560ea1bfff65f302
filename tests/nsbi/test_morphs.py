"""Shape morphs against code4, closed forms and automatic derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from diffana import nsbi
from diffana.errors import DataError
from diffana.histfactory.interpolation import code4


ALPHAS = (-2.3, -1.0, -0.4, 0.0, 0.7, 1.0, 1.8)


def terms_of(morph, n_events=5, seed=0):
    random = np.random.default_rng(seed)
    n_nuisances = len(morph.parameters)
    match morph:
        case nsbi.PolyExp():
            shape = (n_events, 2, n_nuisances)
        case nsbi.LogPolynomial():
            shape = (n_events, len(morph.powers))
        case _:
            shape = (n_events, 2)
    return jnp.asarray(random.normal(0.0, 0.5, shape))


MORPHS = {
    "polyexp": nsbi.PolyExp(("a", "b", "c")),
    "mixed polynomial": nsbi.LogPolynomial(
        ("a", "b"), powers=((1, 0), (0, 1), (2, 0), (1, 1), (0, 3))
    ),
    "from features": nsbi.FromFeatures(
        lambda a, x: jnp.tanh(a[0] * x[0]) + a[0] * a[1] ** 2 * x[1], ("a", "b")
    ),
}


@pytest.mark.parametrize("alpha", ALPHAS)
def test_polyexp_is_code4_of_every_event(alpha):
    terms = terms_of(nsbi.PolyExp(("a", "b")))
    at = jnp.array([alpha, 0.3 - alpha])
    up, down = jnp.exp(terms[:, 0]), jnp.exp(terms[:, 1])
    wanted = jnp.prod(jax.vmap(lambda d, u: code4(at, d, u))(down, up), axis=1)
    found = jnp.exp(nsbi.PolyExp(("a", "b")).log_factor(at, terms))
    # Both are short sums of numbers of order one.
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.parametrize("name", MORPHS)
@pytest.mark.parametrize("shift", [0.0, 0.6, -1.4])
def test_closed_form_derivatives(name, shift):
    morph = MORPHS[name]
    terms = terms_of(morph)
    alpha = shift + 0.1 * jnp.arange(len(morph.parameters))
    weight = jnp.linspace(-0.5, 1.5, len(terms))
    slopes = morph.slopes(alpha, terms)
    first = jax.jacfwd(lambda at: morph.log_factor(at, terms))(alpha)
    second = jax.hessian(lambda at: weight @ morph.log_factor(at, terms))(alpha)
    np.testing.assert_allclose(slopes.value, morph.log_factor(alpha, terms), rtol=1e-13)
    np.testing.assert_allclose(slopes.first, first, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(
        morph.bend(alpha, terms, weight), second, rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("name", MORPHS)
def test_nothing_changes_at_nominal(name):
    morph = MORPHS[name]
    at = jnp.zeros(len(morph.parameters))
    found = morph.log_factor(at, terms_of(morph))
    np.testing.assert_allclose(found, 0.0, atol=1e-15)


def test_log_quadratic_passes_through_both_ends():
    log_up, log_down = jnp.array([[0.3, -0.2]]), jnp.array([[-0.1, 0.4]])
    morph = nsbi.LogPolynomial.quadratic(("a", "b"))
    terms = nsbi.log_quadratic_terms(log_up, log_down)
    for alpha, wanted in (
        ((1, 0), 0.3),
        ((-1, 0), -0.1),
        ((0, 1), -0.2),
        ((0, -1), 0.4),
    ):
        found = morph.log_factor(jnp.array(alpha, float), terms)
        np.testing.assert_allclose(found, wanted, rtol=1e-14)


# Where the polynomial first touches zero, found by bisection: u = R with d = 1/R above
# 25.2, one-sided above 41.1, never for u = d.
@pytest.mark.parametrize(
    ("log_down_per_up", "last_positive", "first_negative"),
    [(-1.0, 25.1, 25.4), (0.0, 41.0, 41.3)],
)
def test_where_the_polynomial_becomes_negative(
    log_down_per_up, last_positive, first_negative
):
    grid = jnp.linspace(-1.0, 1.0, 4001)

    def lowest(ratio):
        ends = jnp.log(ratio) * jnp.array([1.0, log_down_per_up])
        return scanned(grid, ends[None, :, None])

    assert jnp.all(jnp.isfinite(lowest(last_positive)))
    assert jnp.any(jnp.isnan(lowest(first_negative)))


@settings(max_examples=60, deadline=None)
@given(log_up=st.floats(-8.0, 8.0), log_down=st.floats(-8.0, 8.0))
def test_lifted_polynomials_are_positive_and_keep_their_ends(log_up, log_down):
    lift = nsbi.lifts(np.array([[log_up]]), np.array([[log_down]]))
    plain = jnp.array([[[log_up], [log_down]]])
    terms = jnp.concatenate([plain, jnp.asarray(lift)[:, None]], axis=1)
    # Denser near 0, where steep polynomials dive.
    half = np.geomspace(1e-7, 1.0, 400)
    inside = jnp.asarray(np.concatenate([-half, [0.0], half]))
    assert jnp.all(jnp.isfinite(scanned(inside, terms)))
    ends = jnp.array([-1.0, 1.0, -0.999999, 0.999999, 0.0])
    # At ±1 minus 1e-6 the lift is of order (1e-6)³.
    np.testing.assert_allclose(
        scanned(ends, terms), scanned(ends, plain), rtol=1e-6, atol=1e-9
    )


@jax.jit
def scanned(alphas, terms):
    """Values of ln g of one event at many values of one nuisance parameter."""
    one = lambda alpha: nsbi.PolyExp(("a",)).log_factor(alpha[None], terms)[0]
    return jax.vmap(one)(alphas)


def test_ordinary_variations_need_no_lift():
    random = np.random.default_rng(1)
    log_up, log_down = random.normal(0.0, 0.4, (2, 1000, 3))
    assert np.all(nsbi.lifts(log_up, log_down) == 0.0)


def test_variations_beyond_rounding_are_refused():
    with pytest.raises(DataError, match="too far apart"):
        nsbi.lifts(np.array([[25.0]]), np.array([[-25.0]]))


def test_lifts_move_with_neither_value_nor_slope_at_nominal():
    ends = np.log(np.array([[60.0]])), np.log(np.array([[1 / 60]]))
    lift = nsbi.lifts(*ends)
    assert lift[0, 0] > 0
    morph = nsbi.PolyExp(("a",))
    plain = jnp.stack([jnp.asarray(e) for e in ends], axis=1)
    terms = jnp.concatenate([plain, jnp.asarray(lift)[:, None]], axis=1)
    zero = jnp.zeros(1)
    np.testing.assert_allclose(
        morph.slopes(zero, terms).first, morph.slopes(zero, plain).first, rtol=1e-13
    )
