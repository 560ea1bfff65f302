"""The objective, the optimiser and the schedules of a configuration."""

import functools
from collections.abc import Callable

import optax

from diffana.analysis import Analysis
from diffana.assemble.analysis import schedule
from diffana.config import (
    AdamOptimizer,
    AdamWOptimizer,
    AsimovSignificanceLoss,
    BceAugmentedLoss,
    BceLoss,
    BkdeHistogram,
    ClsLoss,
    Config,
    ConstraintLoss,
    EmptyBinsLoss,
    FisherLoss,
    GaussianityLoss,
    IntervalLengthLoss,
    NamedLoss,
    OptimizerSection,
    P0Loss,
    PullsLoss,
    SgdOptimizer,
    SigmaMuLoss,
    SignificanceLoss,
    UpperLimitLoss,
)
from diffana.fit import Minimiser
from diffana.histogram import HeldCut
from diffana.losses import (
    P0,
    AbstractLoss,
    AsimovSignificance,
    BinaryCrossEntropy,
    Cls,
    Constraint,
    EmptyBins,
    Gaussianity,
    GeneralisedVariance,
    IntervalLength,
    LogGeneralisedVariance,
    Pulls,
    SigmaMu,
    Significance,
    TotalVariance,
    UpperLimit,
    WeightedSum,
)
from diffana.train import Annealing, Trainer


def trainer(config: Config, analysis: Analysis, n_steps: int) -> Trainer:
    """What a training of `n_steps` updates minimises, and how."""
    return Trainer(
        loss=loss(config),
        annealings=_annealings(config, analysis),
        n_steps=n_steps,
        signal=signal_samples(config),
        # Frozen sections are hashable, which their type does not say.
        optimiser=_optimiser(config.train.optimizer, n_steps),  # pyright: ignore[reportArgumentType]
        minimiser=Minimiser(max_steps=config.fit.max_steps),
    )


def loss(config: Config | NamedLoss) -> AbstractLoss:
    """The weighted sum of the losses of the configuration."""
    terms = tuple(_loss(section) for section in config.loss)
    factors = tuple(section.weight for section in config.loss)
    if factors == (1.0,):
        return terms[0]
    return WeightedSum(terms, factors)


_FISHER_FORMS = {
    "log_generalised_variance": LogGeneralisedVariance,
    "generalised_variance": GeneralisedVariance,
    "trace": TotalVariance,
}


def _loss(section) -> AbstractLoss:
    match section:
        case ClsLoss():
            return Cls(poi_test=section.poi_test, log=section.log)
        case P0Loss():
            return P0(poi_signal=section.poi_signal, log=section.log)
        case SignificanceLoss():
            return Significance(poi_signal=section.poi_signal)
        case SigmaMuLoss():
            return SigmaMu(poi=section.poi, log=section.log)
        case FisherLoss():
            return _FISHER_FORMS[section.form](section.poi, section.parameters or ())
        case UpperLimitLoss():
            return UpperLimit(section.level, section.n_sigma, section.log)
        case IntervalLengthLoss():
            return IntervalLength(section.poi, section.level, section.log)
        case GaussianityLoss():
            return Gaussianity(section.poi, section.points, section.seed, section.of)
        case ConstraintLoss():
            return Constraint(section.poi, section.parameters or ())
        case PullsLoss():
            return Pulls(section.poi_true, section.poi_test, section.parameters or ())
        case AsimovSignificanceLoss():
            return AsimovSignificance()
        case EmptyBinsLoss():
            return EmptyBins(threshold=section.threshold)
        case BceLoss() | BceAugmentedLoss():
            return BinaryCrossEntropy(augmented=isinstance(section, BceAugmentedLoss))
        case _:
            raise TypeError(f"no loss belongs to {type(section).__name__}")


def tested_strength(config: Config) -> float:
    """Signal strength that results try to exclude: that of the `cls` loss, or 1."""
    tested = [term.poi_test for term in config.loss if isinstance(term, ClsLoss)]
    return tested[0] if tested else 1.0


def hard_metrics(config: Config) -> dict[str, AbstractLoss]:
    """Metrics of every validation; lower is better.

    `loss` is the loss itself. The others are on the scale on which they are quoted,
    except `asimov_significance`, which is negative.
    """
    return {
        "loss": loss(config),
        "cls": Cls(poi_test=tested_strength(config), log=False),
        "p0": P0(log=False),
        "sigma_mu": SigmaMu(),
        "fisher": LogGeneralisedVariance(),
        "asimov_significance": AsimovSignificance(),
    }


def signal_samples(config: Config) -> tuple[str, ...]:
    """Samples that the parameter of interest scales."""
    (poi,) = (f for f in config.norm_factors if f.name == config.general.poi)
    simulated = tuple(sample.name for sample in config.samples if not sample.data)
    return simulated if poi.samples is None else poi.samples


# Kept, so that equal settings give the same object: a compiled step then serves every
# training that differs only in its seed.
@functools.cache
def _optimiser(section: OptimizerSection, n_steps: int) -> optax.GradientTransformation:
    follow = schedule(section.learning_rate)

    def rate(step):
        return follow(step / max(n_steps - 1, 1))

    match section:
        case AdamOptimizer():
            built = optax.adam(rate)
        case AdamWOptimizer():
            built = optax.adamw(rate, weight_decay=section.weight_decay)
        case SgdOptimizer():
            built = optax.sgd(rate, momentum=section.momentum or None)
        case _:
            raise TypeError(f"no optimiser belongs to {type(section).__name__}")
    if section.clip_norm is None:
        return built
    return optax.chain(optax.clip_by_global_norm(section.clip_norm), built)


def _annealings(config: Config, analysis: Analysis) -> tuple[Annealing, ...]:
    section, found = config.histogram, []
    is_kernel = isinstance(section, BkdeHistogram)
    width = section.bandwidth if is_kernel else section.temperature
    name = "bandwidth" if is_kernel else "temperature"
    for i, region in enumerate(analysis.regions):
        if hasattr(region.histogrammer, name) and not isinstance(width, float):
            found.append(Annealing(schedule(width), _width(i, name)))
        cuts = config.regions[i].cuts or ()
        for j, (built, cut) in enumerate(zip(region.cuts.cuts, cuts, strict=True)):
            if not isinstance(cut.slope, float):
                where = _slope(i, j, is_held=isinstance(built, HeldCut))
                found.append(Annealing(schedule(cut.slope), where))
    return tuple(found)


@functools.cache
def _width(region: int, name: str) -> Callable:
    return lambda analysis: getattr(analysis.regions[region].histogrammer, name)


@functools.cache
def _slope(region: int, cut: int, *, is_held: bool) -> Callable:
    def where(analysis):
        chosen = analysis.regions[region].cuts.cuts[cut]
        return chosen.cut.slope if is_held else chosen.slope

    return where
