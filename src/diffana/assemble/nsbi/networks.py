"""Networks, trainer and ratios of an unbinned measurement."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PRNGKeyArray

from diffana.assemble.analysis import ACTIVATIONS, network_key, schedule
from diffana.assemble.nsbi.plan import Job
from diffana.config import (
    AdamOptimizer,
    AdamWOptimizer,
    NsbiConfig,
    OptimizerSection,
    SgdOptimizer,
)
from diffana.nsbi.calibration import Calibrated, Calibration
from diffana.nsbi.classifier import AbstractClassifier, NetworkClassifier, draw_members
from diffana.nsbi.morphs import LogPolynomial
from diffana.nsbi.parametric import (
    AbstractParametricRatio,
    ParametricEnsemble,
    ParametricRatio,
    VariedClassifier,
)
from diffana.nsbi.pool import Pool
from diffana.nsbi.ratio_losses import (
    AbstractRatioLoss,
    BinaryCrossEntropy,
    ModifiedCarl,
    Multiclass,
    SymmetrisedMlc,
)
from diffana.nsbi.ratio_training import RatioTrainer
from diffana.nsbi.ratios import AbstractRatio, Ensemble
from diffana.nsbi.resampling import (
    AbstractResampling,
    AllEvents,
    Bootstrap,
    Partition,
)
from diffana.observable import MLP, Standardisation
from diffana.trainable import trainable


Learned = AbstractRatio | AbstractParametricRatio

_LOSSES: Mapping[str, Callable[[], AbstractRatioLoss]] = {
    "bce": BinaryCrossEntropy,
    "carl": ModifiedCarl,
    "mlc": SymmetrisedMlc,
    "multiclass": Multiclass,
}
_RESAMPLING: Mapping[str, Callable[[], AbstractResampling]] = {
    "none": AllEvents,
    "bootstrap": Bootstrap,
    "partition": Partition,
}


class Keys(NamedTuple):
    """Randomness of a job.

    Attributes:
        draw: of the initial weights.
        train: of the order of events.
    """

    draw: PRNGKeyArray
    train: PRNGKeyArray


def keys(config: NsbiConfig, job: Job) -> Keys:
    """Randomness of a job, whatever other jobs there are."""
    seed = config.general.seed
    return Keys(
        network_key(seed, f"weights of {job.name}"),
        network_key(seed, f"order of {job.name}"),
    )


def trainer(config: NsbiConfig) -> RatioTrainer:
    """What is minimised, and how."""
    section = config.ratios
    rate = schedule(section.optimizer.learning_rate)
    clip_norm = section.optimizer.clip_norm
    return RatioTrainer(
        n_epochs=section.epochs,
        loss=_LOSSES[section.loss](),
        schedule=lambda epochs: jnp.asarray(rate(epochs / section.epochs)),
        batch_size=section.batch_size,
        clip_norm=np.inf if clip_norm is None else clip_norm,
        # Frozen sections are hashable, which their type does not say.
        update_rule=_update_rule(section.optimizer),  # pyright: ignore[reportArgumentType]
        resampling=_RESAMPLING[section.resampling](),
        patience=section.patience,
    )


# Kept, so that equal settings are the same program.
@functools.cache
def _update_rule(
    section: OptimizerSection,
) -> Callable[[], optax.GradientTransformation]:
    match section:
        case AdamOptimizer():
            return optax.scale_by_adam
        case AdamWOptimizer(weight_decay=decay):
            return lambda: optax.chain(
                optax.scale_by_adam(), optax.add_decayed_weights(decay)
            )
        case SgdOptimizer(momentum=momentum):
            return lambda: optax.trace(momentum) if momentum else optax.identity()
        case _:
            raise TypeError(f"no optimiser belongs to {type(section).__name__}")


def untrained(
    config: NsbiConfig, job: Job, standardisation: Standardisation
) -> AbstractClassifier:
    """The classifiers of an ensemble as a training begins with them, stacked."""
    section = config.ratios
    # A single ratio is that of a network with a scalar output.
    n_outputs = None if len(job.ratios) == 1 else len(job.ratios)

    def draw(key: PRNGKeyArray) -> AbstractClassifier:
        network = MLP(
            len(config.features),
            key=key,
            hidden=section.hidden,
            n_outputs=n_outputs if job.points is None else len(job.powers),
            standardisation=standardisation,
            activation=ACTIVATIONS[section.activation],
            dtype=section.precision,
        )
        if job.points is None:
            return NetworkClassifier(network)
        morph = LogPolynomial(job.parameters, job.powers)
        return VariedClassifier.of(
            ParametricRatio(network=network, morph=morph), np.array(job.points)
        )

    return draw_members(draw, section.members, key=keys(config, job).draw)


def like(config: NsbiConfig, job: Job) -> AbstractClassifier:
    """The classifiers of a job with numbers of no meaning, to read others into."""
    n_features = len(config.features)
    nothing = Standardisation(np.zeros(n_features), np.ones(n_features))
    return untrained(config, job, nothing)


def standardisation(config: NsbiConfig, pool: Pool) -> Standardisation:
    """Scale of the features of training events.

    Raises:
        DataError: if a feature is the same everywhere.
    """
    return pool.standardisation(config.features)


def ratio_of(
    classifiers: AbstractClassifier, numerator: int, calibration: Calibration | None
) -> Learned:
    """The ratio that trained classifiers give.

    Args:
        classifiers: of an ensemble, stacked.
        numerator: the class whose ratio to class 0 it is.
        calibration: of a ratio that does not depend on nuisance parameters.
    """
    match classifiers:
        case VariedClassifier(ratio=ratio):
            return ParametricEnsemble(members=ratio)  # pyright: ignore[reportCallIssue]
        case NetworkClassifier():
            ensemble = Ensemble(classifiers.ratio(numerator))
            return (
                ensemble if calibration is None else Calibrated(ensemble, calibration)
            )
        case _:
            raise TypeError(f"no ratio belongs to {type(classifiers).__name__}")


def n_weights(classifiers: AbstractClassifier) -> int:
    """Numbers in all members of an ensemble that are trained."""
    arrays = eqx.filter(classifiers, trainable(classifiers))
    return sum(leaf.size for leaf in jax.tree.leaves(arrays))
