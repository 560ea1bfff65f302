"""The objective, the optimiser and the schedules of a configuration."""

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
    EmptyBinsLoss,
    FisherLoss,
    P0Loss,
    SgdOptimizer,
    SigmaMuLoss,
    SignificanceLoss,
)
from diffana.fit import Minimiser
from diffana.histogram import HeldCut
from diffana.losses import (
    P0,
    AbstractLoss,
    AsimovSignificance,
    BinaryCrossEntropy,
    Cls,
    EmptyBins,
    LogGeneralisedVariance,
    SigmaMu,
    Significance,
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
        optimiser=_optimiser(config, n_steps),
        minimiser=Minimiser(max_steps=config.fit.max_steps),
    )


def loss(config: Config) -> AbstractLoss:
    """The weighted sum of the losses of the configuration."""
    terms = tuple(_loss(section) for section in config.loss)
    factors = tuple(section.weight for section in config.loss)
    if factors == (1.0,):
        return terms[0]
    return WeightedSum(terms, factors)


def _loss(section) -> AbstractLoss:
    match section:
        case ClsLoss():
            return Cls(poi_test=section.poi_test, log=section.log)
        case P0Loss():
            return P0(log=section.log)
        case SignificanceLoss():
            return Significance()
        case SigmaMuLoss():
            return SigmaMu(log=section.log)
        case FisherLoss():
            return LogGeneralisedVariance(parameters=section.parameters or ())
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


def _optimiser(config: Config, n_steps: int) -> optax.GradientTransformation:
    section = config.train.optimizer
    follow = schedule(section.learning_rate)

    def rate(step):
        return follow(step / max(n_steps - 1, 1))

    match section:
        case AdamOptimizer():
            return optax.adam(rate)
        case AdamWOptimizer():
            return optax.adamw(rate, weight_decay=section.weight_decay)
        case SgdOptimizer():
            return optax.sgd(rate, momentum=section.momentum or None)
        case _:
            raise TypeError(f"no optimiser belongs to {type(section).__name__}")


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


def _width(region: int, name: str) -> Callable:
    return lambda analysis: getattr(analysis.regions[region].histogrammer, name)


def _slope(region: int, cut: int, *, is_held: bool) -> Callable:
    def where(analysis):
        chosen = analysis.regions[region].cuts.cuts[cut]
        return chosen.cut.slope if is_held else chosen.slope

    return where
