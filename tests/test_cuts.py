import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from diffana.histogram import HeldCut, KeepAbove, KeepBelow, Selection
from diffana.trainable import trainable


EVENTS = jnp.array([[0.2, 30.0], [0.7, 10.0], [0.5, 25.0], [0.9, 60.0]])


def test_soft_cut_is_the_logistic_function():
    cut = KeepAbove(threshold=0.5, slope=4.0, column=0)
    weight = jax.vmap(cut.soft)(EVENTS)
    expected = 1 / (1 + np.exp(-4.0 * (EVENTS[:, 0] - 0.5)))
    np.testing.assert_allclose(weight, expected, rtol=1e-14)  # arithmetic


def test_hard_cut_contains_its_threshold():
    above = jax.vmap(KeepAbove(threshold=25.0, slope=1.0, column=1).hard)(EVENTS)
    np.testing.assert_array_equal(above, [True, False, True, True])


def test_above_and_below_share_the_events():
    above = KeepAbove(threshold=25.0, slope=0.3, column=1)
    below = KeepBelow(threshold=25.0, slope=0.3, column=1)
    soft = jax.vmap(above.soft)(EVENTS) + jax.vmap(below.soft)(EVENTS)
    np.testing.assert_allclose(soft, np.ones(4), rtol=1e-15)  # two roundings
    hard = jax.vmap(above.hard)(EVENTS) ^ jax.vmap(below.hard)(EVENTS)
    assert hard.all()


def test_steep_cut_is_the_hard_cut_off_the_threshold():
    events = EVENTS[EVENTS[:, 1] != 25.0]
    for cut in (KeepAbove(25.0, 1e3, 1), KeepBelow(25.0, 1e3, 1)):
        soft, hard = jax.vmap(cut.soft)(events), jax.vmap(cut.hard)(events)
        np.testing.assert_allclose(soft, hard.astype(float), atol=1e-300)


def test_selection_multiplies():
    cuts = (KeepAbove(0.4, 5.0, 0), KeepBelow(40.0, 0.2, 1))
    selection = Selection(cuts)
    weight = jax.vmap(selection.soft)(EVENTS)
    product = jax.vmap(cuts[0].soft)(EVENTS) * jax.vmap(cuts[1].soft)(EVENTS)
    np.testing.assert_allclose(weight, product, rtol=1e-15)  # arithmetic
    np.testing.assert_array_equal(
        jax.vmap(selection.hard)(EVENTS), [False, True, True, False]
    )


def test_no_cut_keeps_everything():
    assert Selection(()).soft(EVENTS[0]) == 1.0
    assert Selection(()).hard(EVENTS[0])


def test_gradient_matches_finite_differences():
    def weight(x, threshold, slope):
        cuts = (KeepAbove(threshold, slope, 0), KeepBelow(1.5, slope, 1))
        return Selection(cuts).soft(x)

    args = (jnp.array([0.3, 1.2]), 0.5, 2.0)
    check_grads(jax.jit(weight), args, order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("x", [-1e6, 1e6])
def test_gradient_is_zero_and_not_nan_far_from_the_threshold(x, dtype):
    for kind in (KeepAbove, KeepBelow):
        cut = kind(0.0, 100.0, 0)
        assert jax.grad(cut.soft)(jnp.array([x], dtype)) == jnp.zeros(1)
        assert jax.grad(lambda c, x=x: c.soft(jnp.array([x])))(cut).threshold == 0.0


def test_float32_features_are_weighted_in_float64():
    cut = KeepAbove(0.0, 1.0, 0)
    assert cut.soft(jnp.ones(1, jnp.float32)).dtype == jnp.float64


def test_threshold_trains_and_slope_does_not():
    mask = trainable(Selection((KeepAbove(0.4, 5.0, 0),)))
    assert mask.cuts[0].threshold is True
    assert mask.cuts[0].slope is False


@pytest.mark.parametrize("slope", [0.0, -2.0, np.nan])
def test_slope_must_be_positive(slope):
    with pytest.raises(ValueError, match="slope is"):
        KeepBelow(1.0, slope, 0)


def test_held_cut_selects_alike_and_does_not_train():
    cut = KeepAbove(25.0, 0.3, 1)
    held = HeldCut(cut)
    assert jax.tree.leaves(trainable(held)) == [False, False]
    for event in EVENTS:
        assert held.soft(event) == cut.soft(event)
        assert held.hard(event) == cut.hard(event)
