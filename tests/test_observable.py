import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from diffana.errors import DataError
from diffana.observable import (
    MLP,
    Moments,
    Standardisation,
    Variable,
    fit_standardisation,
)
from diffana.trainable import trainable


EVENTS = jnp.asarray(
    np.random.default_rng(0).normal([0.0, 100.0], [1.0, 15.0], size=(50, 2))
)


def small_network(**options):
    options = {
        "hidden": (7, 5),
        "dtype": jnp.float64,
        "key": jax.random.key(1),
    } | options
    return MLP(2, **options)


def test_network_is_a_chain_of_matrix_products():
    standardisation = Standardisation([0.1, 100.0], [1.0, 15.0])
    network = small_network(standardisation=standardisation)
    values = (np.array(EVENTS) - [0.1, 100.0]) / [1.0, 15.0]
    *inner, (weight, bias) = (jax.tree.leaves(layer) for layer in network.layers)
    for inner_weight, inner_bias in inner:
        values = np.maximum(values @ np.array(inner_weight).T + np.array(inner_bias), 0)
    logit = (values @ np.array(weight).T + np.array(bias))[:, 0]
    # Sums of seven terms in another order.
    np.testing.assert_allclose(jax.vmap(network.logit)(EVENTS), logit, rtol=1e-12)
    np.testing.assert_allclose(
        jax.vmap(network)(EVENTS), 1 / (1 + np.exp(-logit)), rtol=1e-12
    )


def test_mapped_network_compiles_to_one_matrix_product_per_layer():
    network = small_network()
    program = jax.jit(jax.vmap(network)).lower(EVENTS).as_text()
    assert program.count("dot_general") == 3
    assert "tensor<50x7x2" not in program  # no weights repeated per event


def test_several_outputs_come_without_the_logistic_function():
    network = small_network(n_outputs=4, activation=jnp.tanh)
    outputs = network(EVENTS[0])
    assert outputs.shape == (4,)
    np.testing.assert_array_equal(outputs, network.logit(EVENTS[0]))


def test_no_hidden_layer_is_a_linear_observable():
    network = small_network(hidden=())
    (layer,) = network.layers
    x = EVENTS[0]
    np.testing.assert_allclose(network.logit(x), (layer.weight @ x)[0], rtol=1e-14)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("event_dtype", [np.float32, np.float64])
def test_arithmetic_is_in_the_type_of_the_weights(dtype, event_dtype):
    network = small_network(dtype=dtype)
    assert network(EVENTS[0].astype(event_dtype)).dtype == dtype


def test_standardisation_happens_before_digits_are_dropped():
    # A time stamp in float64, of which float32 keeps no digit of interest.
    standardisation = Standardisation([1e9, 0.0], [1e-2, 1.0])
    network = small_network(standardisation=standardisation, dtype=jnp.float32)
    reference = eqx.tree_at(
        lambda net: net.standardisation,
        network,
        Standardisation([0.0, 0.0], [1.0, 1.0]),
    )
    got = network.logit(jnp.array([1e9 + 0.005, 0.3]))
    # 1e9 + 0.005 itself is rounded by 1e-7, which is 1e-5 of the scale.
    np.testing.assert_allclose(got, reference.logit(jnp.array([0.5, 0.3])), rtol=1e-4)


def test_initial_weights_have_the_variance_that_keeps_the_signal():
    network = MLP(50, hidden=(400, 300), key=jax.random.key(2))
    for layer, gain in zip(network.layers, (2.0, 2.0, 1.0), strict=True):
        n_weights = layer.weight.size
        variance = jnp.mean(layer.weight**2) * layer.weight.shape[1] / gain
        # A variance of n normal numbers scatters by √(2/n); four of them.
        assert abs(variance - 1) < 4 * np.sqrt(2 / n_weights)
        assert not np.any(layer.bias)


def test_networks_of_different_keys_differ():
    first, again, other = (small_network(key=jax.random.key(k)) for k in (1, 1, 2))
    assert eqx.tree_equal(first, again)
    for one, two in zip(first.layers, other.layers, strict=True):
        assert not np.any(one.weight == two.weight)


def test_gradient_matches_finite_differences():
    # A smooth activation: finite differences cannot step over a kink.
    network = small_network(hidden=(3,), activation=jnp.tanh)

    def values(weights, bias):
        network_ = eqx.tree_at(
            lambda net: (net.layers[0].weight, net.layers[0].bias),
            network,
            (weights, bias),
        )
        return jax.vmap(network_)(EVENTS[:3] / 100)

    args = (network.layers[0].weight, network.layers[0].bias)
    check_grads(jax.jit(values), args, order=2, modes=("fwd", "rev"))


def test_logit_survives_where_the_logistic_function_saturates():
    network = small_network(hidden=(), dtype=jnp.float32)
    network = eqx.tree_at(
        lambda net: net.layers[0].weight, network, jnp.array([[1.0, 0.0]], jnp.float32)
    )
    event = jnp.array([40.0, 0.0])
    assert network(event) == 1.0
    assert network.logit(event) == 40.0


def test_standardisation_is_held_and_weights_train():
    network = small_network()
    mask = trainable(network)
    assert jax.tree.leaves(mask.layers) == [True] * 6
    assert jax.tree.leaves(mask.standardisation) == [False] * 2
    gradient = eqx.filter_grad(lambda net: net(jnp.array([0.3, -0.2])))(network)
    assert not np.any(gradient.standardisation.mean)
    assert not np.any(gradient.standardisation.scale)
    assert np.any(gradient.layers[-1].bias)


def test_trainable_walks_through_containers():
    tree = {
        "a": [small_network(), None],
        "n": jnp.arange(3),
        "x": jnp.ones(2),
        "s": "t",
    }
    mask = trainable(tree)
    assert jax.tree.structure(mask) == jax.tree.structure(tree)
    assert (mask["n"], mask["x"], mask["s"]) == (False, True, False)
    assert mask["a"][0].standardisation.mean is False
    trained, held = eqx.partition(tree, mask)
    assert eqx.tree_equal(eqx.combine(trained, held), tree)


def test_fitted_standardisation_gives_unit_moments():
    rng = np.random.default_rng(3)
    weight = rng.normal(0.3, 1.0, size=50)
    standardisation = fit_standardisation(EVENTS, weight)
    values = jax.vmap(standardisation)(EVENTS)
    size = np.abs(weight)
    # Sums of 50 terms, the mean of 100 over a scale of 15.
    np.testing.assert_allclose(np.average(values, axis=0, weights=size), 0, atol=1e-13)
    np.testing.assert_allclose(
        np.average(values**2, axis=0, weights=size), 1, rtol=1e-12
    )


def test_events_without_weight_do_not_count():
    padded = np.concatenate([EVENTS, [[np.nan, np.inf]]])
    weight = np.append(np.ones(50), 0.0)
    got, want = (
        fit_standardisation(EVENTS, np.ones(50)),
        fit_standardisation(padded, weight),
    )
    assert eqx.tree_equal(got, want)


def test_float32_features_are_averaged_in_float64():
    # float32 sums of 2·10⁵ times 1000.1 are off in the fifth digit.
    features = np.full((200_000, 1), 1000.1, np.float32)
    features[::2] += np.float32(0.5)
    got = fit_standardisation(features, np.ones(200_000))
    np.testing.assert_allclose(got.mean, np.float64(features).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got.scale, np.float64(features).std(axis=0), rtol=1e-9)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.full(50, 0.1), r"'mass' is 0\.1 in every event"),
        (np.nan, "'mass' is not fin"),
    ],
)
def test_useless_features_are_named(column, message):
    features = np.array(EVENTS)
    features[:, 1] = column
    with pytest.raises(DataError, match=message):
        fit_standardisation(features, np.ones(50), ("pt", "mass"))
    with pytest.raises(DataError, match="'column 1'"):
        fit_standardisation(features, np.ones(50))


def test_sample_without_weight_has_no_standardisation():
    with pytest.raises(DataError, match="none of the events has weight"):
        fit_standardisation(EVENTS, np.zeros(50))


def test_variable_is_the_feature():
    assert Variable(1)(EVENTS[3]) == EVENTS[3, 1]
    assert jax.tree.leaves(Variable(1)) == []


def test_mistakes_name_both_offenders():
    with pytest.raises(ValueError, match="no column 2 among the 2 features"):
        Variable(2)(EVENTS[0])
    with pytest.raises(ValueError, match="column -1 is negative"):
        Variable(-1)
    with pytest.raises(ValueError, match=r"mean has shape \(2,\), the scale \(1,\)"):
        Standardisation([0.0, 1.0], [1.0])
    with pytest.raises(ValueError, match=r"takes 2 features, but .* is of 1"):
        small_network(standardisation=Standardisation([0.0], [1.0]))


@hypothesis.given(
    cuts=st.lists(st.integers(0, 50), max_size=4), shift=st.sampled_from([0.0, 1e7])
)
def test_moments_of_parts_add_up_to_those_of_the_whole(cuts, shift):
    """With an offset, too, at which squares alone would have lost the variance."""
    weight = np.linspace(-1.0, 1.5, 50)
    features = EVENTS + shift
    whole = Moments.of(features, weight)
    parts = [
        Moments.of(features[rows], weight[rows])
        for rows in np.split(np.arange(50), sorted(cuts))
    ]
    together = sum(parts[1:], start=parts[0])
    np.testing.assert_allclose(together.size, whole.size, rtol=1e-12)
    np.testing.assert_allclose(together.mean, whole.mean, rtol=1e-12)
    # The rounding of the means, squared over the variance, adds to that of the sums.
    np.testing.assert_allclose(
        together.variance, whole.variance, rtol=1e-12 if shift == 0.0 else 1e-8
    )
    np.testing.assert_array_equal(together.low, whole.low)
    np.testing.assert_array_equal(together.high, whole.high)


def test_a_part_without_weight_adds_nothing():
    nothing, something = (
        Moments.of(EVENTS, weight) for weight in (np.zeros(50), np.ones(50))
    )
    for both in (nothing + something, something + nothing):
        np.testing.assert_array_equal(both.mean, something.mean)
        np.testing.assert_array_equal(both.variance, something.variance)
    assert (nothing + nothing).size == 0
    with pytest.raises(DataError, match="none of the events has weight"):
        (nothing + nothing).standardisation()


def test_a_constant_feature_is_found_over_all_parts():
    ones = np.ones((5, 1))
    parts = [Moments.of(value * ones, np.ones(5)) for value in (2.0, 2.0, 3.0)]
    with pytest.raises(DataError, match=r"'mass' is 2.0 in every event"):
        (parts[0] + parts[1]).standardisation(("mass",))
    assert (parts[0] + parts[2]).standardisation(("mass",)).mean == 2.5
