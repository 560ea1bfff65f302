from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffana.errors import DataError, SpecificationError
from diffana.nsbi.classifier import draw_members
from diffana.nsbi.morphs import LogPolynomial
from diffana.nsbi.parametric import (
    AtNuisance,
    ParametricEnsemble,
    ParametricRatio,
    VariedClassifier,
    coefficients,
)
from diffana.nsbi.pool import Pool
from diffana.nsbi.ratio_losses import BinaryCrossEntropy
from diffana.nsbi.ratio_training import RatioTrainer, train_ratio
from diffana.nsbi.ratios import log_ratios
from diffana.observable import MLP
from diffana.trainable import trainable


SQUARE = LogPolynomial(("alpha",), powers=((1,), (2,)))
CROSSED = LogPolynomial(("a", "b"), powers=((1, 0), (0, 1), (1, 1)))
SHIFT = 0.3
POINTS = np.array([[-2.0], [-1.0], [1.0], [2.0]])


@partial(jax.jit, static_argnames=("morph", "n_features"))
def network(morph, n_features=1, key=None, standardisation=None):
    return MLP(
        n_features,
        hidden=(16, 16),
        n_outputs=len(morph.powers),
        activation=jax.nn.silu,
        standardisation=standardisation,
        key=jax.random.key(0) if key is None else key,
    )


def test_log_ratio_is_a_polynomial_in_the_nuisance_parameters():
    ratio = ParametricRatio(network(CROSSED, n_features=2), CROSSED)
    event = jnp.array([0.3, -1.2])
    first, second, both = np.asarray(ratio.coefficients(event))
    for a, b in ((0.0, 0.0), (1.0, 0.0), (-0.5, 2.0)):
        want = a * first + b * second + a * b * both
        found = ratio.log_ratio(event, jnp.array([a, b]))
        np.testing.assert_allclose(found, want, atol=1e-15)
        fixed = AtNuisance(ratio, [a, b])
        np.testing.assert_allclose(log_ratios(fixed, event[None]), [want], atol=1e-6)
    assert ratio.log_ratio(event, jnp.zeros(2)) == 0.0
    assert not trainable(AtNuisance(ratio, [1.0, 0.0])).alpha


def test_logits_of_the_classifier_are_log_ratios_at_its_points():
    ratio = ParametricRatio(network(CROSSED, n_features=2), CROSSED)
    points = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 2.0], [0.5, 0.5]])
    classifier = VariedClassifier.of(ratio, points)
    event = jnp.array([0.3, -1.2])
    want = [ratio.log_ratio(event, jnp.asarray(point)) for point in points]
    np.testing.assert_allclose(classifier.logits(event), want, rtol=1e-12)
    assert not trainable(classifier).monomials


def test_loss_is_that_of_pairs_of_a_varied_and_the_nominal_sample():
    # arXiv:2505.05544: a sum over points of Σ_nominal w softplus(t) and
    # Σ_varied w softplus(-t), every sample normalised.
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(20, 1)) for _ in range(5)]
    weights = [rng.uniform(0.5, 2.0, 20) for _ in range(5)]
    ratio = ParametricRatio(network(SQUARE), SQUARE)
    classifier = VariedClassifier.of(ratio, POINTS)
    pool = Pool.of_samples(*zip(samples, weights, strict=True))
    found = BinaryCrossEntropy()(
        jax.vmap(classifier.logits)(jnp.asarray(pool.features)),
        jnp.asarray(pool.weight / pool.weight.sum(axis=0)),
    )
    softplus = lambda t: np.log1p(np.exp(t))
    want = 0.0
    for point, sample, weight in zip(POINTS, samples[1:], weights[1:], strict=True):
        fixed = AtNuisance(ratio, point)
        nominal = softplus(log_ratios(fixed, samples[0])) @ weights[0]
        varied = softplus(-log_ratios(fixed, sample)) @ weight
        want += nominal / weights[0].sum() + varied / weight.sum()
    # The mean over the points and the two samples of each; a network in float32.
    np.testing.assert_allclose(found, want / 8, rtol=1e-6)


def shifted_gaussians(n_events, seed):
    """A nominal sample at 0 and four at multiples of the shift."""
    rng = np.random.default_rng(seed)
    means = [0.0, *(SHIFT * POINTS[:, 0])]
    return Pool.of_samples(*((rng.normal(m, 1.0, (n_events, 1)), None) for m in means))


def test_coefficients_of_a_shifted_gaussian_are_learned():
    pool, validation = shifted_gaussians(10_000, 0), shifted_gaussians(4000, 1)
    scaling = pool.standardisation()

    def draw(key):
        drawn = network(SQUARE, key=key, standardisation=scaling)
        return VariedClassifier.of(ParametricRatio(drawn, SQUARE), POINTS)

    trainer = RatioTrainer(
        n_epochs=6,
        batch_size=512,
        schedule=optax.cosine_decay_schedule(1e-2, 6, alpha=1e-3),
    )
    begin = trainer.start(draw_members(draw, 2, key=jax.random.key(0)))
    *_, last = train_ratio(trainer, begin, pool, validation, key=jax.random.key(1))
    ensemble = ParametricEnsemble(last.state.best.ratio)

    test = np.random.default_rng(2).normal(size=(2000, 1))
    found = coefficients(ensemble, test)
    error = found - np.stack([SHIFT * test[:, 0], np.full(2000, -0.5 * SHIFT**2)], 1)
    # As many effective parameters per coefficient as nine times the two of a line.
    allowed = 3 * statistical_errors(10_000, test)
    assert (allowed < [0.05, 0.025]).all()
    assert (np.sqrt(np.mean(error**2, axis=0)) < allowed).all()

    each = jax.vmap(ensemble.member_coefficients)(jnp.asarray(test))
    np.testing.assert_allclose(each.mean(axis=1), found, atol=1e-6)
    assert np.abs(each[:, 0] - each[:, 1]).max() > 0


def statistical_errors(n_events, test):
    """Errors of both coefficients, if each is a line in x, from the sandwich.

    H is the curvature and V the covariance of the gradient of the loss: each varied
    sample contributes on its own, and the nominal one to all points at once.
    """
    rng = np.random.default_rng(3)
    curvature, covariance = np.zeros((4, 4)), np.zeros((4, 4))
    nominal = rng.normal(size=100_000)
    pulls = np.zeros((len(nominal), 4))
    for (alpha,) in POINTS:
        varied = rng.normal(alpha * SHIFT, 1.0, len(nominal))
        for x, is_varied in ((nominal, False), (varied, True)):
            lines = np.stack([np.ones_like(x), x], axis=1)
            terms = np.concatenate([alpha * lines, alpha**2 * lines], axis=1)
            score = 1 / (1 + np.exp(-(alpha * SHIFT * x - 0.5 * (alpha * SHIFT) ** 2)))
            curvature += (terms.T * (score * (1 - score))) @ terms / len(x)
            pull = terms * (score - is_varied)[:, None]
            if is_varied:
                covariance += np.cov(pull.T)
            else:
                pulls += pull
    covariance += np.cov(pulls.T)
    inverse = np.linalg.inv(curvature)
    found = inverse @ covariance @ inverse / n_events
    lines = np.concatenate([np.ones((len(test), 1)), test], axis=1)
    blocks = (found[:2, :2], found[2:, 2:])
    variances = [np.mean(np.sum(lines @ block * lines, axis=1)) for block in blocks]
    return np.sqrt(variances)


def test_points_that_leave_a_coefficient_open_are_refused():
    ratio = ParametricRatio(network(SQUARE), SQUARE)
    with pytest.raises(SpecificationError, match="1 of the 2 coefficients of alpha"):
        VariedClassifier.of(ratio, [[1.0]])
    crossed = ParametricRatio(network(CROSSED, n_features=2), CROSSED)
    with pytest.raises(SpecificationError, match="2 of the 3 coefficients of a, b"):
        VariedClassifier.of(crossed, [[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    with pytest.raises(SpecificationError, match="values of a, b"):
        VariedClassifier.of(crossed, [[1.0], [2.0]])


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="n_outputs=3 of the network for 2 monomials"):
        ParametricRatio(network(CROSSED), SQUARE)
    with pytest.raises(ValueError, match="alpha has shape"):
        AtNuisance(ParametricRatio(network(SQUARE), SQUARE), [1.0, 2.0])
    with pytest.raises(DataError, match="event 1"):
        coefficients(ParametricRatio(network(SQUARE), SQUARE), [[0.0], [np.nan]])
