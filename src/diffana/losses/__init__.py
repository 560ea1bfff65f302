"""Scalar objectives of training, as values that add and scale.

A loss of the physics result is a function of the likelihood that the analysis built; a
classification loss is a function of the observable's output on the events. Both are
evaluated by `evaluate(likelihood, scores)`, so that they mix. A loss says what it needs
to have computed first, fits and matrices, and a sum computes each of those once.
"""

from diffana.losses.bins import (
    AsimovSignificance as AsimovSignificance,
    EmptyBins as EmptyBins,
)
from diffana.losses.classification import BinaryCrossEntropy as BinaryCrossEntropy
from diffana.losses.gaussianity import Gaussianity as Gaussianity
from diffana.losses.information import (
    GeneralisedVariance as GeneralisedVariance,
    LogGeneralisedVariance as LogGeneralisedVariance,
    SigmaMu as SigmaMu,
    TotalVariance as TotalVariance,
)
from diffana.losses.ingredients import (
    Fisher as Fisher,
    Hypotheses as Hypotheses,
    Ingredients as Ingredients,
    Interval as Interval,
    Needs as Needs,
    asimov_tests as asimov_tests,
    gather as gather,
)
from diffana.losses.loss import (
    AbstractLoss as AbstractLoss,
    LossValue as LossValue,
    WeightedSum as WeightedSum,
    evaluate_all as evaluate_all,
)
from diffana.losses.nuisance import Constraint as Constraint, Pulls as Pulls
from diffana.losses.p_values import (
    P0 as P0,
    Cls as Cls,
    Significance as Significance,
)
from diffana.losses.range import (
    IntervalLength as IntervalLength,
    UpperLimit as UpperLimit,
)
from diffana.losses.scores import Scores as Scores
