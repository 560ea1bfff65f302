import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from diffana import assemble
from diffana.errors import SpecificationError
from diffana.histogram import (
    BinnedKDE,
    FixedEdges,
    HardHistogram,
    HeldCut,
    KeepAbove,
    KeepBelow,
    SoftmaxHistogram,
    TrainableEdges,
)
from diffana.losses import Cls, SigmaMu, WeightedSum


def built(**sections):
    config = tiny.parsed(tiny.document(**sections))
    return assemble.analysis(config, assemble.simulated_events(config))


REGIONS = [
    {
        "Name": "SR",
        "Observable": "summary",
        "Binning": [0.0, 0.3, 1.0],
        "TrainableBinning": True,
        "Cuts": [
            {"Variable": "x", "Above": 0.5, "Slope": 2.0},
            {"Variable": "y", "Below": 1.5, "Trainable": False},
        ],
    },
    {"Name": "CR", "Variable": "y", "Binning": [-1.0, 0.0, 1.0, 2.0], "Flow": True},
    {
        "Name": "VR",
        "Variable": "x",
        "Binning": [0.0, 1.0, 2.0],
        "TrainableBinning": True,
    },
]


def test_regions_of_a_configuration():
    signal, control, validation = built(Regions=REGIONS).regions
    assert (signal.name, signal.summary) == ("SR", "summary")
    assert isinstance(signal.edges, TrainableEdges)
    np.testing.assert_allclose(signal.edges(), [-np.inf, 0.3, np.inf])
    assert isinstance(signal.histogrammer, BinnedKDE)
    above, below = signal.cuts.cuts
    assert isinstance(above, KeepAbove)
    assert (above.threshold, above.slope, above.column) == (0.5, 2.0, 0)
    assert isinstance(below, HeldCut)
    assert isinstance(below.cut, KeepBelow)
    assert (below.cut.threshold, below.cut.slope, below.cut.column) == (1.5, 10.0, 1)
    # Neither values nor edges move, so no kernel is needed.
    assert control.summary == "y"
    assert isinstance(control.edges, FixedEdges)
    np.testing.assert_array_equal(control.edges(), [-np.inf, 0.0, 1.0, np.inf])
    assert isinstance(control.histogrammer, HardHistogram)
    # Without flow the outer edges stay where they are.
    np.testing.assert_allclose(validation.edges(), [0.0, 1.0, 2.0])
    assert isinstance(validation.histogrammer, BinnedKDE)


def test_a_network_depends_on_its_name_and_the_seed_alone():
    def weights(**sections):
        network = built(**sections).summaries["summary"].observable
        return np.asarray(network.layers[0].weight)

    first = weights()
    observables = tiny.document()["Observables"]
    other = {**observables[0], "Name": "other", "Inputs": ["y"]}
    regions = [*tiny.document()["Regions"], {**REGIONS[0], "Observable": "other"}]
    regions[1]["Name"] = "CR"
    np.testing.assert_array_equal(
        weights(Observables=[other, *observables], Regions=regions), first
    )
    general = tiny.document()["General"] | {"Seed": 4}
    assert np.all(weights(General=general) != first)


def test_inputs_are_standardised_by_the_training_events_of_their_regions():
    config = tiny.parsed(tiny.document())
    events = assemble.simulated_events(config)
    network = assemble.analysis(config, events).summaries["summary"].observable
    nominal = [one for one in events if one.variation == "nominal"]
    features = np.concatenate([one.features for one in nominal])
    weight = np.concatenate([one.weight for one in nominal])
    mean = np.average(features, axis=0, weights=weight)
    np.testing.assert_allclose(network.standardisation.mean, mean, rtol=1e-12)
    width = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(network.standardisation.scale, width, rtol=1e-12)
    assert network.layers[0].weight.dtype == jnp.float32

    observables = tiny.document()["Observables"]
    observables[0] |= {"Standardize": False, "Precision": "float64"}
    plain = built(Observables=observables).summaries["summary"].observable
    np.testing.assert_array_equal(plain.standardisation.mean, 0.0)
    np.testing.assert_array_equal(plain.standardisation.scale, 1.0)
    assert plain.layers[0].weight.dtype == jnp.float64


def test_structure_of_the_likelihood():
    document = tiny.document()
    document["Samples"][0]["DisableStaterror"] = True
    document["Samples"].append(
        {"Name": "data", "SamplePath": "background", "Data": True}
    )
    document["NormFactors"] += [
        {"Name": "k", "Samples": "background", "Bounds": [0.5, 2.0], "Nominal": 1.5}
    ]
    document["Systematics"] += [
        {
            "Name": "lumi",
            "Type": "Normalization",
            "Up": {"Normalization": 0.02},
            "Down": {"Normalization": -0.03},
            "ModifierName": "luminosity",
        }
    ]
    document["General"]["Fixed"] = [
        {"Name": "k", "Value": 1.2},
        {"Name": "luminosity", "Value": 0.5},
    ]
    config = tiny.parsed(document)
    spec = assemble.specification(config)
    (channel,) = spec["channels"]
    modifiers = {
        sample["name"]: [(m["type"], m["name"]) for m in sample["modifiers"]]
        for sample in channel["samples"]
    }
    assert modifiers == {
        "signal": [("normfactor", "mu"), ("normsys", "luminosity")],
        "background": [
            ("normfactor", "k"),
            ("normsys", "mean"),
            ("histosys", "mean"),
            ("normsys", "luminosity"),
            ("staterror", "staterror_SR"),
        ],
    }
    (lumi,) = (
        m["data"] for m in channel["samples"][0]["modifiers"] if m["type"] == "normsys"
    )
    assert lumi == {"hi": 1.02, "lo": 0.97}
    parameters = built(**document).model.parameters
    at = parameters.names.index
    assert parameters.poi == "mu"
    assert parameters.inits[at("k")] == 1.2
    assert parameters.fixed[at("k")]
    assert (parameters.lower[at("k")], parameters.upper[at("k")]) == (0.5, 2.0)
    assert parameters.inits[at("luminosity")] == 0.5
    assert parameters.fixed[at("luminosity")]
    assert not parameters.fixed[at("mean")]
    assert assemble.signal_samples(config) == ("signal",)


def test_a_systematic_acts_where_it_is_told_to():
    document = tiny.document(Regions=REGIONS)
    document["Systematics"][0] |= {
        "Regions": ["CR", "VR"],
        "Down": {"Symmetrize": True},
        "ModifierName": "shift",
    }
    shapes = built(**document).shapes
    assert [(s.region, s.sample, s.systematic, s.parameter) for s in shapes] == [
        ("CR", "background", "mean", "shift"),
        ("VR", "background", "mean", "shift"),
    ]
    assert all(shape.symmetrize for shape in shapes)


def test_a_softmax_histogram_has_one_output_per_bin():
    document = tiny.document(Histogram={"Type": "softmax", "Temperature": 0.4})
    document["Regions"][0]["Binning"] = [0.0, 1.0, 2.0, 3.0]
    analysis = built(**document)
    assert analysis.summaries["summary"].observable.n_outputs == 3
    (region,) = analysis.regions
    assert isinstance(region.histogrammer, SoftmaxHistogram)
    assert region.histogrammer.temperature == 0.4
    np.testing.assert_array_equal(region.edges(), [0.0, 1.0, 2.0, 3.0])


def test_two_systematics_of_one_parameter_on_one_sample_are_refused():
    document = tiny.document()
    document["Systematics"].append(
        {
            "Name": "rate",
            "Type": "Normalization",
            "Up": {"Normalization": 0.1},
            "Down": {"Normalization": -0.1},
            "ModifierName": "mean",
            "Samples": "background",
        }
    )
    with pytest.raises(SpecificationError, match="'mean' and 'rate' change it by the"):
        assemble.specification(tiny.parsed(document))
    document["Systematics"][1]["Samples"] = "signal"
    assemble.specification(tiny.parsed(document))


def trainer(n_steps=5, **sections):
    document = tiny.document(**sections)
    config = tiny.parsed(document)
    analysis = assemble.analysis(config, assemble.simulated_events(config))
    return assemble.trainer(config, analysis, n_steps), analysis


def test_losses_of_a_configuration():
    assert assemble.loss(tiny.parsed(tiny.document())) == Cls()
    mixed = tiny.document(
        Loss=[
            {"Type": "cls", "PoiTest": 2.0, "Log": False},
            {"Type": "sigma_mu", "Weight": 0.5, "Log": True},
        ]
    )
    assert assemble.loss(tiny.parsed(mixed)) == WeightedSum(
        (Cls(poi_test=2.0, log=False), SigmaMu(log=True)), (1.0, 0.5)
    )


def test_every_metric_that_can_be_selected_is_computed():
    from diffana.config import TrainSection

    choices = TrainSection.model_fields["selection"].annotation.__args__
    assert set(choices) == set(assemble.hard_metrics(tiny.parsed(tiny.document())))


def test_schedules_of_a_configuration_reach_both_ends():
    regions = [dict(REGIONS[0])]
    regions[0]["Cuts"] = [
        {
            "Variable": "x",
            "Above": 0.5,
            "Slope": {"Type": "linear", "Start": 1.0, "End": 9.0},
        },
        {
            "Variable": "y",
            "Below": 1.5,
            "Trainable": False,
            "Slope": {"Type": "exponential", "Start": 2.0, "End": 32.0},
        },
        {"Variable": "x", "Below": 2.5, "Slope": 5.0},
    ]
    plan, analysis = trainer(
        Regions=regions,
        Histogram={
            "Type": "bKDE",
            "Bandwidth": {"Type": "exponential", "Start": 0.4, "End": 0.1},
        },
    )
    assert len(plan.annealings) == 3
    found = []
    for step in (0, 2, 4):
        (region,) = plan.annealed(analysis, step).regions
        linear, held, constant = region.cuts.cuts
        found.append(
            [
                float(value)
                for value in (
                    region.histogrammer.bandwidth,
                    linear.slope,
                    held.cut.slope,
                    constant.slope,
                )
            ]
        )
    np.testing.assert_allclose(
        found, [[0.4, 1, 2, 5], [0.2, 5, 8, 5], [0.1, 9, 32, 5]], rtol=1e-12
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        {"Type": "sgd", "LearningRate": {"Type": "linear", "Start": 0.4, "End": 0.2}},
        {"Type": "sgd", "LearningRate": 0.4, "Momentum": 0.5},
        {"Type": "adam", "LearningRate": 0.4},
        {"Type": "adamw", "LearningRate": 0.4, "WeightDecay": 0.25},
    ],
)
def test_optimisers_of_a_configuration(optimizer):
    """Two steps along a constant gradient of 1, from weight 8."""
    train = tiny.document()["Train"] | {"Optimizer": optimizer}
    plan, _ = trainer(n_steps=2, Train=train)
    weight, state, moves = jnp.asarray(8.0), plan.optimiser.init(jnp.asarray(8.0)), []
    for _ in range(2):
        update, state = plan.optimiser.update(jnp.asarray(1.0), state, weight)
        weight = weight + update
        moves.append(float(update))
    want = {
        "sgd": [-0.4, -0.2] if "Momentum" not in optimizer else [-0.4, -0.6],
        # Adam divides the gradient by its own size.
        "adam": [-0.4, -0.4],
        "adamw": [-0.4 - 0.4 * 0.25 * 8, -0.4 - 0.4 * 0.25 * 6.8],
    }[optimizer["Type"]]
    np.testing.assert_allclose(moves, want, rtol=1e-6)  # epsilon of Adam is 1e-8


@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw"])
def test_long_gradients_are_shortened(rule):
    """To the direction they have, before anything else is done with them."""
    section = {"Type": rule, "LearningRate": 1.0, "ClipNorm": 0.5}
    if rule == "adamw":
        section["WeightDecay"] = 0.0
    plan, _ = trainer(
        n_steps=2, Train=tiny.document()["Train"] | {"Optimizer": section}
    )
    weight = jnp.zeros(2)
    state = plan.optimiser.init(weight)
    update, state = plan.optimiser.update(jnp.array([30.0, 40.0]), state, weight)
    if rule == "sgd":
        np.testing.assert_allclose(update, [-0.3, -0.4], rtol=1e-12)
    # Adam forgets the length of the first gradient; the second one tells what it was.
    update, _ = plan.optimiser.update(jnp.array([0.3, 0.4]), state, weight)
    want = {"sgd": [-0.3, -0.4]}.get(rule, [-1.0, -1.0])
    np.testing.assert_allclose(update, want, rtol=1e-6)  # epsilon of Adam is 1e-8


def test_trainings_that_differ_in_their_seed_share_their_optimiser():
    """It is static in a compiled step, where only the same object is the same."""
    rules = [
        trainer(
            n_steps=2,
            General={**tiny.document()["General"], "Seed": seed},
        )[0].optimiser
        for seed in (1, 2)
    ]
    assert rules[0] is rules[1]
    assert trainer(n_steps=3)[0].optimiser is not rules[0]


def test_trainer_knows_its_signal():
    plan, _ = trainer(NormFactors=[{"Name": "mu"}])
    assert plan.signal == ("signal", "background")
    plan, _ = trainer()
    assert plan.signal == ("signal",)
    assert plan.minimiser.max_steps == 200
