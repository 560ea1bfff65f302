"""From the sections of a configuration to losses."""

import pytest

import tiny
from diffana import assemble
from diffana.config import ConfigError
from diffana.losses import (
    P0,
    Constraint,
    Gaussianity,
    GeneralisedVariance,
    IntervalLength,
    LogGeneralisedVariance,
    Pulls,
    SigmaMu,
    Significance,
    TotalVariance,
    UpperLimit,
)


@pytest.mark.parametrize(
    ("section", "loss"),
    [
        ({"Type": "p0", "PoiSignal": 2}, P0(poi_signal=2.0)),
        ({"Type": "significance", "PoiSignal": 2}, Significance(poi_signal=2.0)),
        ({"Type": "sigma_mu", "Poi": 0}, SigmaMu(poi=0.0, log=True)),
        ({"Type": "fisher"}, LogGeneralisedVariance()),
        (
            {"Type": "fisher", "Form": "generalised_variance", "Poi": 0.5},
            GeneralisedVariance(poi=0.5),
        ),
        (
            {"Type": "fisher", "Form": "trace", "Parameters": ["mu", "mean"]},
            TotalVariance(parameters=("mu", "mean")),
        ),
        ({"Type": "upper_limit"}, UpperLimit()),
        (
            {"Type": "upper_limit", "Level": 0.1, "NSigma": -2, "Log": True},
            UpperLimit(level=0.1, n_sigma=-2.0, log=True),
        ),
        (
            {"Type": "interval_length", "Poi": 2, "Level": 3.84, "Log": True},
            IntervalLength(poi=2.0, level=3.84, log=True),
        ),
        ({"Type": "gaussianity"}, Gaussianity()),
        (
            {"Type": "gaussianity", "Points": 32, "Seed": 4, "Of": "log_likelihood"},
            Gaussianity(n_points=32, seed=4, of="log_likelihood"),
        ),
        ({"Type": "constraint"}, Constraint()),
        ({"Type": "constraint", "Parameters": "mean"}, Constraint(1.0, ("mean",))),
        ({"Type": "pulls"}, Pulls()),
        (
            {"Type": "pulls", "PoiTrue": 0, "PoiTest": 2, "Parameters": "mean"},
            Pulls(0.0, 2.0, ("mean",)),
        ),
    ],
    ids=lambda item: item["Type"] if isinstance(item, dict) else "",
)
def test_losses_by_name(section, loss):
    assert assemble.loss(tiny.parsed(tiny.document(Loss=section))) == loss


@pytest.mark.parametrize(
    ("section", "path", "fragment"),
    [
        ({"Type": "upper_limit", "Level": 5}, "Loss.Level", "less than 1"),
        (
            {"Type": "upper_limit", "NSigma": 9},
            "Loss.NSigma",
            "less than or equal to 5",
        ),
        ({"Type": "interval_length", "Poi": 11}, "Loss.Poi", "outside the Bounds"),
        ({"Type": "p0", "PoiSignal": 11}, "Loss.PoiSignal", "outside the Bounds"),
        ({"Type": "gaussianity", "Points": 7}, "Loss.Points", "7 is odd"),
        ({"Type": "gaussianity", "Of": "nll"}, "Loss.Of", "'likelihood'"),
        ({"Type": "fisher", "Form": "sum"}, "Loss.Form", "'trace'"),
        ({"Type": "pulls", "PoiTrue": -1}, "Loss.PoiTrue", "outside the Bounds"),
        ({"Type": "pulls", "PoiTest": 1}, "Loss", "PoiTrue and PoiTest to differ"),
        ({"Type": "pulls", "Parameters": "mu"}, "Loss.Parameters", "no constraint"),
        ({"Type": "constraint", "Parameters": "men"}, "Loss.Parameters", "mean"),
        ({"Type": "uper_limit"}, "Loss.Type", "did you mean upper_limit?"),
    ],
)
def test_mistakes_are_named(section, path, fragment):
    with pytest.raises(ConfigError) as caught:
        tiny.parsed(tiny.document(Loss=section))
    ((found, message),) = caught.value.mistakes
    assert found == path
    assert fragment in message
