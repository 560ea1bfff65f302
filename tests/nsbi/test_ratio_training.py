import io
from functools import partial
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from diffana.errors import DataError, TrainingError
from diffana.nsbi.classifier import NetworkClassifier, draw_members
from diffana.nsbi.pool import Pool
from diffana.nsbi.ratio_losses import (
    AbstractRatioLoss,
    BinaryCrossEntropy,
    ModifiedCarl,
    Multiclass,
)
from diffana.nsbi.ratio_pass import RatioStep
from diffana.nsbi.ratio_training import RatioTrainer, train_ratio
from diffana.nsbi.ratios import ClassRatio, Ensemble, NetworkRatio, log_ratios
from diffana.nsbi.resampling import Bootstrap, Partition


TRACES = []


@final
class Counted(AbstractRatioLoss):
    """The cross-entropy, which tells how often it was traced."""

    def penalties(self, log_ratio):
        TRACES.append(None)
        return BinaryCrossEntropy().penalties(log_ratio)


def line_pool(n_events, seed, means=(-0.1, 0.1)):
    """Unit Gaussians: ln r = 0.2 x for those at -0.1 and 0.1."""
    rng = np.random.default_rng(seed)
    return Pool.of_samples(*((rng.normal(m, 1.0, (n_events, 1)), None) for m in means))


def members(pool, n_members=1, hidden=(16, 16), n_numerators=1, seed=0):
    draw = partial(
        NetworkClassifier.drawn,
        standardisation=pool.standardisation(),
        hidden=hidden,
        n_numerators=n_numerators,
    )
    return draw_members(draw, n_members, key=jax.random.key(seed))


def cosine(rate, n_epochs):
    return optax.cosine_decay_schedule(rate, n_epochs, alpha=1e-3)


def quick(n_epochs=8, **options):
    """A trainer for small networks, which need larger steps than the default one."""
    options = {"schedule": cosine(1e-2, n_epochs), "batch_size": 512} | options
    return RatioTrainer(n_epochs=n_epochs, **options)


def trained(trainer, pool, validation, start=None, seed=1):
    start = members(pool) if start is None else start
    key = jax.random.key(seed)
    return list(train_ratio(trainer, trainer.start(start), pool, validation, key=key))


def first(stacked):
    return jax.tree.map(lambda x: x[0] if eqx.is_array(x) else x, stacked)


def rms_error(epoch, features, truth):
    ratio = Ensemble(epoch.state.best.ratio())
    return np.sqrt(np.mean((log_ratios(ratio, features) - truth) ** 2))


def design_of_lines(features):
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)


def design_of_parabolas(features):
    n_features = features.shape[1]
    pairs = [features[:, i] * features[:, i:].T for i in range(n_features)]
    return np.concatenate([design_of_lines(features), np.concatenate(pairs).T], axis=1)


def statistical_error(pool, truth, design, test):
    """Expected error of a logistic regression with the true model on such a pool.

    The sandwich of weighted maximum likelihood, as a root mean square over events.
    """
    share = np.asarray(pool.weight) / np.asarray(pool.weight).sum(axis=0)
    score = 1 / (1 + np.exp(-truth(pool.features)))
    terms = design(pool.features)
    curvature = (terms.T * (share.sum(axis=1) * score * (1 - score))) @ terms
    pull = share[:, 0] * score - share[:, 1] * (1 - score)
    inverse = np.linalg.inv(curvature)
    covariance = inverse @ ((terms.T * pull**2) @ terms) @ inverse
    terms = design(test)
    return np.sqrt(np.mean(np.sum(terms @ covariance * terms, axis=1)))


LINE = lambda features: 0.2 * np.asarray(features)[:, 0]
TEST = np.random.default_rng(99).normal(size=(4000, 1))


LINES = line_pool(20_000, seed=0), line_pool(10_000, seed=1)


@pytest.fixture(scope="module")
def independent():
    found = trained(quick(), *LINES)[-1]
    return found, rms_error(found, TEST, LINE(TEST))


def test_line_is_learned_to_the_precision_of_the_sample(independent):
    _, found = independent
    expected = statistical_error(LINES[0], LINE, design_of_lines, TEST)
    # 2/√N for two parameters; the network has a few more effective ones. A network
    # that learned nothing is off by 0.2.
    assert expected == pytest.approx(2 / np.sqrt(20_000), rel=0.05)
    assert found < 3 * expected


def test_validation_loss_is_that_of_all_events(independent):
    epoch, _ = independent
    one, validation = first(epoch.state.members), LINES[1]
    logits = eqx.filter_jit(lambda features: jax.vmap(one.logits)(features))
    share = jnp.asarray(validation.weight / validation.weight.sum(axis=0))
    want = BinaryCrossEntropy()(logits(validation.features), share)
    # More of them than are in memory at a time; logits in float32 are rounded by 1e-7.
    np.testing.assert_allclose(epoch.validation_loss, [want], rtol=1e-7)


def test_same_events_in_both_classes_have_a_much_smaller_error(independent):
    _, error_of_independent = independent
    rng = np.random.default_rng(0)

    def reweighted(n_events):
        features = rng.normal(-0.1, 1.0, (n_events, 1))
        return Pool(features, np.stack([np.ones(n_events), np.exp(LINE(features))], 1))

    pool, validation = reweighted(40_000), reweighted(20_000)
    # For the true model no event pulls at all: what is left is of the optimiser.
    assert statistical_error(pool, LINE, design_of_lines, TEST) < 1e-3
    found = rms_error(trained(quick(), pool, validation)[-1], TEST, LINE(TEST))
    assert found < 0.3 * error_of_independent


def test_weighted_events_stand_for_their_density():
    rng = np.random.default_rng(0)

    def weighted(n_events):
        # Both classes from the same wide and wrong density, with a common factor each.
        features = rng.normal(0.3, 1.3, (n_events, 1))
        x, is_signal = features[:, 0], rng.uniform(size=n_events) < 0.5
        generated = stats.norm(0.3, 1.3).pdf(x)
        return Pool(
            features,
            np.stack(
                [
                    ~is_signal * 7.0 * stats.norm(-0.1).pdf(x) / generated,
                    is_signal * 0.1 * stats.norm(0.1).pdf(x) / generated,
                ],
                axis=1,
            ),
        )

    pool, validation = weighted(40_000), weighted(20_000)
    expected = statistical_error(pool, LINE, design_of_lines, TEST)
    found = rms_error(trained(quick(), pool, validation)[-1], TEST, LINE(TEST))
    assert found < 3 * expected


COVARIANCE = np.array([[1.2, 0.3, 0.1], [0.3, 0.9, -0.2], [0.1, -0.2, 1.1]])


@pytest.mark.slow
def test_gaussians_of_different_covariance_are_told_apart():
    numerator = stats.multivariate_normal([0.2, -0.1, 0.3], COVARIANCE)
    denominator = stats.multivariate_normal(np.zeros(3))
    truth = lambda x: numerator.logpdf(x) - denominator.logpdf(x)
    rng = np.random.default_rng(0)

    def sample(n_events):
        both = (denominator, numerator)
        return Pool.of_samples(*((d.rvs(n_events, rng), None) for d in both))

    pool, validation, test = sample(50_000), sample(25_000), sample(5000).features
    epochs = trained(
        RatioTrainer(n_epochs=15), pool, validation, members(pool, 4, (64, 64, 64))
    )
    expected = statistical_error(pool, truth, design_of_parabolas, test)
    found = rms_error(epochs[-1], test, truth(test))
    # Nine times as many effective parameters as the ten of a parabola would be triple
    # the error; the log ratio itself varies by 0.6.
    assert expected == pytest.approx(0.022, abs=0.002)
    assert found < 3.5 * expected


def test_several_numerators_are_learned_at_once():
    pool = line_pool(20_000, seed=0, means=(-0.1, 0.1, 0.5))
    validation = line_pool(5000, seed=1, means=(-0.1, 0.1, 0.5))
    start = members(pool, n_numerators=2)
    last = trained(quick(loss=Multiclass()), pool, validation, start)[-1]
    # Twice the two parameters of each line share three samples; as above.
    for numerator, truth in ((1, LINE(TEST)), (2, 0.6 * TEST[:, 0] - 0.12)):
        ratio = last.state.best.ratio(numerator)
        assert isinstance(ratio, ClassRatio)
        found = log_ratios(Ensemble(ratio), TEST)
        error = np.sqrt(np.mean((found - truth) ** 2))
        assert error < 3 * 2 / np.sqrt(20_000)


SMALL = line_pool(500, seed=2)
HELD_OUT = line_pool(300, seed=3)
STILL = optax.constant_schedule(0.0)


@pytest.fixture(scope="module")
def pair():
    """Two members; the tests that train them on such pools share one program."""
    return members(SMALL, 2)


def small(n_epochs, **options):
    """A trainer for what is not about accuracy; 96 does not divide 1000."""
    settings = {"loss": Counted(), "batch_size": 96, "max_excess": 10.0}
    return quick(n_epochs, **(settings | options))


def test_resumed_training_is_the_same_bit_for_bit(pair):
    trainer = small(4, resampling=Bootstrap())
    whole = trained(trainer, SMALL, HELD_OUT, pair)
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, whole[1].state)
    file.seek(0)
    other = jax.tree.map(lambda x: x + 1 if eqx.is_array(x) else x, pair)
    read = eqx.tree_deserialise_leaves(file, trainer.start(other).state)
    halfway = whole[1]._replace(state=read)
    rest = list(train_ratio(trainer, halfway, SMALL, HELD_OUT, key=jax.random.key(1)))
    assert [epoch.epoch for epoch in rest] == [3, 4]
    assert eqx.tree_equal(rest[-1].state, whole[-1].state)
    np.testing.assert_array_equal(rest[-1].train_loss, whole[-1].train_loss)
    # Order and bootstrap follow from the key.
    other = trained(trainer, SMALL, HELD_OUT, pair, seed=2)
    assert not np.array_equal(other[-1].train_loss, whole[-1].train_loss)


def test_one_program_serves_all_epochs_schedules_and_pools_of_a_shape(pair):
    trained(small(1), SMALL, HELD_OUT, pair)
    TRACES.clear()
    trainer = small(3, schedule=STILL, clip_norm=0.1)
    trained(trainer, line_pool(500, seed=8), line_pool(300, seed=9), pair, seed=2)
    # Outside of the program, to compare with ln r = 0.
    assert len(TRACES) == 1


@pytest.mark.parametrize("resampling", [Bootstrap(), Partition()])
def test_members_see_all_events_of_their_own(resampling, pair):
    # Members that begin alike and stay as they are.
    start = jax.tree.map(lambda x: x[jnp.zeros(2, int)] if eqx.is_array(x) else x, pair)
    trainer, key = small(1, schedule=STILL, resampling=resampling), jax.random.key(4)
    (epoch,) = train_ratio(trainer, trainer.start(start), SMALL, HELD_OUT, key=key)

    one = first(start)
    logits = eqx.filter_jit(lambda features: jax.vmap(one.logits)(features))
    shares = resampling.deal(jax.random.split(key)[1], 2, SMALL.n_events)
    for member in range(2):
        rows = np.asarray(shares.rows[member])
        weight = SMALL.weight[rows] * np.asarray(shares.factor[member])[:, None]
        share = jnp.asarray(weight / weight.sum(axis=0))
        # The mean over the batches of a pass is the loss of all events of the member,
        # each of them once, though the batches do not divide them evenly. Logits in
        # float32 are rounded by 1e-7 each.
        want = trainer.loss(logits(SMALL.features[rows]), share)
        np.testing.assert_allclose(epoch.train_loss[member], want, rtol=1e-7)
    assert abs(epoch.train_loss[0] - epoch.train_loss[1]) > 1e-5


def test_order_of_the_events_is_new_for_every_member_and_epoch(pair):
    start = jax.tree.map(lambda x: x[jnp.zeros(2, int)] if eqx.is_array(x) else x, pair)
    trainer = small(2, schedule=optax.constant_schedule(1e-2))
    begin = trainer.start(start)
    one_pass = lambda begin: next(
        train_ratio(trainer, begin, SMALL, HELD_OUT, key=jax.random.key(0))
    )
    # From the same weights; only the order can differ.
    losses = np.concatenate(
        [one_pass(begin).train_loss, one_pass(begin._replace(epoch=1)).train_loss]
    )
    assert len(np.unique(losses)) == 4


def test_every_member_keeps_its_own_best_weights(pair):
    # Steps so large that the validation loss goes up and down.
    trainer = small(8, schedule=optax.constant_schedule(0.1))
    epochs = trained(trainer, SMALL, HELD_OUT, pair)
    losses = np.array([epoch.validation_loss for epoch in epochs])
    state = epochs[-1].state
    np.testing.assert_array_equal(state.best_loss, losses.min(axis=0))
    np.testing.assert_array_equal(state.best_epoch, losses.argmin(axis=0) + 1)
    assert len(set(state.best_epoch.tolist())) == 2
    for member, number in enumerate(state.best_epoch.tolist()):
        pick = lambda tree, member=member: [x[member] for x in jax.tree.leaves(tree)]
        then = epochs[number - 1].state.members
        assert eqx.tree_equal(pick(state.best), pick(then))


def test_only_what_is_trainable_moves(pair):
    after = trained(small(2), SMALL, HELD_OUT, pair)[-1].state.members.network
    before = pair.network
    assert eqx.tree_equal(before.standardisation, after.standardisation)
    for old, new in zip(before.layers, after.layers, strict=True):
        assert not np.array_equal(old.weight, new.weight)


def test_step_is_minus_the_rate_times_the_shortened_gradient():
    one = first(members(SMALL, hidden=(4,)))
    features, weight = jnp.asarray(SMALL.features), jnp.asarray(SMALL.weight / 500)

    @jax.value_and_grad
    def loss(layers):
        moved = eqx.tree_at(lambda c: c.network.layers, one, layers)
        return BinaryCrossEntropy()(jax.vmap(moved.logits)(features), weight)

    want, gradient = eqx.filter_jit(loss)(one.network.layers)
    norm = optax.tree.norm(gradient)
    assert 0.02 < norm < 1e3
    for clip_norm, factor in ((1e3, 1.0), (0.01, 0.01 / norm)):
        step = RatioStep(BinaryCrossEntropy(), jnp.asarray(clip_norm), optax.identity)
        memory = step.optimiser.init(one)
        moved, _, value = eqx.filter_jit(step)(
            one, memory, features, weight, jnp.array(0.5)
        )
        np.testing.assert_allclose(value, want, rtol=1e-12)
        for new, old, slope in zip(
            *map(jax.tree.leaves, (moved.network.layers, one.network.layers, gradient)),
            strict=True,
        ):
            # Weights of order one in float32 are rounded by 6e-8.
            np.testing.assert_allclose(new - old, -0.5 * factor * slope, atol=2e-7)


def test_rates_follow_the_schedule_in_epochs():
    trainer = RatioTrainer(n_epochs=10)
    found = trainer.rates(jnp.array([0.0, 5.0, 10.0]))
    np.testing.assert_allclose(found, [1e-3, 0.5 * (1e-3 + 1e-6), 1e-6], rtol=1e-6)
    warm = optax.linear_schedule(0.0, 1.0, transition_steps=4)
    rates = RatioTrainer(n_epochs=10, schedule=warm).rates(jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(rates, [0.125, 0.5], rtol=1e-6)


def test_patience_ends_a_training_that_stands_still(pair):
    trainer = small(50, schedule=STILL, patience=3)
    epochs = trained(trainer, SMALL, HELD_OUT, pair)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert trainer.finished(epochs[-1])
    again = train_ratio(trainer, epochs[-1], SMALL, HELD_OUT, key=jax.random.key(1))
    assert list(again) == []


def test_new_events_may_come_with_every_epoch(pair):
    asked = []

    def simulate(passed):
        asked.append(passed)
        return line_pool(500, seed=100 + passed)

    fresh = trained(small(3), simulate, HELD_OUT, pair)
    assert asked == [0, 1, 2]
    fixed = trained(small(3), simulate(0), HELD_OUT, pair)
    # The first pass is over the same events, the second is not.
    np.testing.assert_array_equal(fresh[0].train_loss, fixed[0].train_loss)
    assert (fresh[1].train_loss != fixed[1].train_loss).all()

    growing = lambda passed: line_pool(500 + passed, seed=0)
    with pytest.raises(DataError, match=r"pool of pass 2: 1002 events .* over 1000"):
        trained(small(3), growing, HELD_OUT, pair)


def test_equal_densities_are_no_failure():
    pool = line_pool(20_000, seed=0, means=(0.0, 0.0))
    validation = line_pool(10_000, seed=1, means=(0.0, 0.0))
    last = trained(quick(2), pool, validation)[-1]
    # An error e of ln r raises the loss by e²/8.
    assert rms_error(last, TEST, 0.0) < np.sqrt(8 * 0.01)


def test_diverged_training_is_an_error_that_names_member_and_epoch(pair):
    wild = small(2, schedule=optax.constant_schedule(1e6), max_excess=0.01)
    begin, seen = wild.start(pair), []
    training = train_ratio(wild, begin, SMALL, HELD_OUT, key=jax.random.key(0))
    message = r"member \d: the lowest validation loss in 2 epochs is that of epoch \d"
    with pytest.raises(TrainingError, match=message):
        seen.extend(training)
    # With exponentials it is not even finite.
    wild = small(2, schedule=optax.constant_schedule(1e6), loss=ModifiedCarl())
    with pytest.raises(TrainingError, match=r"member 0: .* is (inf|nan) in epoch 1"):
        trained(wild, SMALL, HELD_OUT, pair)


def test_pools_that_do_not_fit_are_refused(pair):
    three = line_pool(50, seed=0, means=(0.0, 0.1, 0.2))
    wide = Pool(np.random.default_rng(0).normal(size=(50, 2)), np.ones((50, 2)))
    with pytest.raises(DataError, match="1 features and 3 classes, but the training"):
        trained(small(1), SMALL, three, pair)
    with pytest.raises(DataError, match="validation: 2 features"):
        trained(small(1), SMALL, wide, pair)
    with pytest.raises(DataError, match="3 classes, but the classifiers have 1"):
        trained(small(1), three, three, pair)
    lonely = Pool.of_samples((np.zeros((50, 1)), None), (np.ones((1, 1)), None))
    with pytest.raises(DataError, match=r"member \d: .* in class 1 add up to 0"):
        trained(small(1, resampling=Partition()), lonely, HELD_OUT, pair)


@pytest.mark.parametrize(
    "options",
    [{"n_epochs": 0}, {"batch_size": 0}, {"clip_norm": 0.0}, {"patience": 0}],
)
def test_settings_without_meaning_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} has to be > 0"):
        RatioTrainer(**({"n_epochs": 1} | options))


def test_ratio_of_a_classifier_is_one_of_its_outputs(pair):
    assert isinstance(pair.ratio(), NetworkRatio)
    with pytest.raises(ValueError, match="no class 2"):
        pair.ratio(2)
