"""From a configuration to pools, ratios and a likelihood."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffana import nsbi
from diffana.assemble import nsbi as assembly
from diffana.data.toys import SmearedMixture
from diffana.errors import DataError, SpecificationError
from diffana.nsbi.ratios import Exact
from nsbi import small_config as small


def assembled(config):
    simulated = assembly.simulation(config)
    return simulated, assembly.plan(config, simulated)


def shifted(amount):
    """A ratio whose logarithm is an amount times the first feature."""
    return Exact(lambda x: amount * x[0], lambda x: 0.0)


def built(config, ratios=()):
    """The likelihood with known functions in place of learned ratios."""
    simulated, plan = assembled(config)
    ratios = {name: shifted(0.0) for name in plan.ratios} | dict(ratios)
    bank = assembly.mixture(simulated.parts["test"], plan.reference_pieces)
    found = assembly.evaluated(plan, ratios, bank.features)
    rows = assembly.rows(bank, found.terms)
    model = assembly.likelihood(config, plan, simulated, rows)
    return model, found


def component(model, name):
    (channel,) = model.channels
    return next(one for one in channel.components if one.name == name)


def coefficients(model, **values):
    (channel,) = model.channels
    names = model.parameters.names
    at = {name: model.parameters.inits[i] for i, name in enumerate(names)}
    return np.asarray(channel.coefficients(at | values)).round(12).tolist()


# The same simulated events


def test_samples_that_differ_by_weights_share_rows():
    simulated, plan = assembled(small.parsed(small.document()))
    jobs = {job.name: job for job in plan.jobs}
    assert list(jobs) == ["B", "S", "SBI", "NI.shift.up", "NI.shift.down"]
    for part, n_events in (("train", 300), ("validation", 150), ("test", 150)):
        for name, n_rows in (("S", 1), ("SBI", 1), ("B", 2), ("NI.shift.up", 2)):
            pool = assembly.pool(simulated.parts[part], jobs[name].classes)
            assert pool.n_events == n_rows * n_events
    pool = assembly.pool(simulated.parts["train"], jobs["S"].classes)
    # Each part has the yields of the whole.
    np.testing.assert_allclose(pool.weight.sum(axis=0), [80, 20])


def test_no_event_is_in_two_parts():
    simulated, plan = assembled(small.parsed(small.document()))
    seen = [
        {tuple(row) for row in assembly.mixture(events, plan.reference_pieces).features}
        for events in simulated.parts.values()
    ]
    assert not (seen[0] | seen[1]) & seen[2]
    assert not seen[0] & seen[1]
    # NI and the pool.
    assert sum(map(len, seen)) == 2 * 600


def test_fresh_events_are_new_and_as_many_each_time():
    document = small.document(Region={"Name": "right", "Filter": "x > 0.5"})
    config = small.parsed(document)
    simulated, plan = assembled(config)
    classes = plan.jobs[0].classes
    one, two, again = (
        assembly.fresh_pool(config, simulated, classes, purpose)
        for purpose in (0, 1, 0)
    )
    assert one.features.shape == two.features.shape
    assert len(one.features) < 2 * 600
    np.testing.assert_array_equal(one.features, again.features)
    assert not np.intersect1d(one.features[:, 0], two.features[:, 0]).size
    for pool in (one, two):
        used = (pool.weight > 0).any(axis=1)
        assert (pool.features[used, 0] > 0.5).all()
        # The yields are those of the simulated events, not those of the new ones.
        want = [simulated.expected(piece) for (piece,) in classes]
        np.testing.assert_allclose(pool.weight.sum(axis=0), want)


# The reference


def test_the_only_reference_has_no_ratio(tmp_path):
    files = small.Files(tmp_path)
    model, _ = built(files.parsed(), {"signal": shifted(1.0)})
    (channel,) = model.channels
    logs = np.asarray(channel.bank.source.terms.log_ratio)
    assert np.all(logs[..., 1] == 0)
    assert np.any(logs[..., 0] != 0)


def test_densities_of_the_reference_add_up_to_it():
    config = small.parsed(small.document())
    model, found = built(config, {"B": shifted(1.7)})
    (channel,) = model.channels
    names = [one.name for one in channel.components]
    logs = np.asarray(found.terms.log_ratio)
    background, other = (np.exp(logs[:, names.index(name)]) for name in ("B", "NI"))
    # By construction, whatever was learned: rounding alone.
    np.testing.assert_allclose(80 / 130 * background + 50 / 130 * other, 1, rtol=1e-12)
    # Learned through B, a ratio is that to B times that of B.
    np.testing.assert_allclose(
        logs[:, names.index("S")], logs[:, names.index("B")], rtol=1e-12
    )


# Yields, coefficients, parameters


def test_yields_are_those_of_the_region(tmp_path):
    files = small.Files(tmp_path)
    files.config["Region"]["Filter"] = "x > 0"
    model, _ = built(files.parsed())
    x = files.columns(0, mean=1.0)["x"]
    np.testing.assert_allclose(
        component(model, "signal").expected, 30 * np.mean(x > 0), rtol=1e-12
    )
    # Without a Yield, weights count as they are.
    x = files.columns(1)["x"]
    np.testing.assert_allclose(
        component(model, "background").expected, 0.5 * np.sum(x > 0), rtol=1e-12
    )


def test_interference():
    model, _ = built(small.parsed(small.document()))
    # μ - √μ, √μ, 1 - √μ and 1.
    assert coefficients(model, sqrt_mu=jnp.array(0.5)) == [-0.25, 0.5, 0.5, 1.0]
    parameters = model.parameters
    assert parameters.names == ("sqrt_mu", "shift")
    assert (parameters.poi, parameters.interpolated) == ("sqrt_mu", ("sqrt_mu",))
    assert parameters.inits.tolist() == [1.0, 0.0]
    assert parameters.lower.tolist() == [0.0, -5.0]
    assert model.constraints.parameters == ("shift",)


def test_interference_with_a_norm_factor_on_one_of_its_samples():
    factors = [{"Name": "k", "Samples": ["B", "NI"], "Nominal": 1}]
    model, _ = built(small.parsed(small.document(NormFactors=factors)))
    found = coefficients(model, sqrt_mu=jnp.array(0.5), k=jnp.array(3.0))
    assert found == [-0.25, 0.5, 1.5, 3.0]
    assert model.parameters.names == ("sqrt_mu", "k", "shift")


def test_morphing():
    section = {
        "Couplings": [{"Name": "kappa", "Nominal": 1}],
        "Powers": [[0], [1], [2]],
        "Points": {"S": [0], "SBI": [1], "B": [5]},
    }
    general = {"Measurement": "m", "POI": "kappa"}
    document = small.document(Interference=None, Morphing=section, General=general)
    model, _ = built(small.parsed(document))
    # At each point the process is the sample of that point.
    for kappa, want in ((0.0, [1, 0, 0, 1]), (1.0, [0, 1, 0, 1]), (5.0, [0, 0, 1, 1])):
        assert coefficients(model, kappa=jnp.array(kappa)) == want


def test_points_that_do_not_determine_the_intensity():
    section = {
        "Couplings": [{"Name": "kappa"}],
        "Powers": [[0], [1], [2]],
        "Points": {"S": [0], "SBI": [1], "B": [1]},
    }
    general = {"Measurement": "m", "POI": "kappa"}
    config = small.parsed(
        small.document(Interference=None, Morphing=section, General=general)
    )
    simulated, plan = assembled(config)
    with pytest.raises(SpecificationError, match="do not determine the polynomial"):
        assembly.check_model(config, plan, simulated)


def test_fixed_parameters():
    general = {
        "Measurement": "m",
        "POI": "sqrt_mu",
        "Fixed": [{"Name": "shift", "Value": 0.5}],
    }
    model, _ = built(small.parsed(small.document(General=general)))
    assert model.parameters.fixed.tolist() == [False, True]
    assert model.parameters.inits.tolist() == [1.0, 0.5]


# Systematic uncertainties


def test_factors_on_the_yield_are_those_of_the_varied_events(tmp_path):
    files = small.Files(tmp_path)
    random = np.random.default_rng(5)
    columns = files.columns(1)
    columns["w_up"] = columns["w"] * random.uniform(0.8, 1.6, files.n_events)
    files.write("background", columns)
    files.config["Systematics"] = [
        {
            "Name": "scale",
            "Type": "NormPlusShape",
            "Samples": "background",
            "Up": {"Weight": "w_up"},
            "Down": {"Symmetrize": True},
        },
        {
            "Name": "lumi",
            "Type": "Normalization",
            "Up": {"Normalization": 0.1},
            "Down": {"Normalization": -0.05},
        },
    ]
    model, found = built(files.parsed(), {"background.scale.up": shifted(0.5)})
    morph = component(model, "background").yield_morph
    up = columns["w_up"].sum() / columns["w"].sum()
    assert morph.parameters == ("scale", "lumi")
    np.testing.assert_allclose(morph.up, [up, 1.1], rtol=1e-12)
    np.testing.assert_allclose(morph.down, [2 - up, 0.95], rtol=1e-12)
    assert component(model, "signal").yield_morph.parameters == ("lumi",)
    # The logarithm of the shape is mirrored.
    (terms,) = found.terms.shapes[1]
    np.testing.assert_array_equal(terms[:, 1], -terms[:, 0])
    assert model.constraints.parameters == ("scale", "lumi")
    simulated, plan = assembled(files.parsed())
    (job,) = [job for job in plan.jobs if job.name == "background.scale.up"]
    # The same events under other weights.
    pool = assembly.pool(simulated.parts["train"], job.classes)
    assert pool.n_events == files.n_events / 2
    assert (pool.weight > 0).all()


def test_a_side_that_changes_nothing_needs_no_ratio(tmp_path):
    files = small.Files(tmp_path)
    files.shape(Down={})
    model, found = built(files.parsed(), {"background.scale.up": shifted(0.5)})
    _, plan = assembled(files.parsed())
    assert plan.ratios == ("signal", "background.scale.up")
    (terms,) = found.terms.shapes[1]
    assert np.all(terms[:, 1] == 0)
    # As many events of the same weight as there are nominal ones.
    assert component(model, "background").yield_morph.parameters == ()


@pytest.mark.parametrize("morph", ["polyexp", "logquadratic", "parametric"])
def test_morphs(tmp_path, morph):
    files = small.Files(tmp_path)
    files.shape(Morph=morph)
    config = files.parsed()
    _, plan = assembled(config)
    (shape,) = component(built_with_morph(config, plan), "background").shape_morphs
    assert shape.parameters == ("scale",)
    expected = nsbi.PolyExp if morph == "polyexp" else nsbi.LogPolynomial
    assert isinstance(shape, expected)
    if morph == "parametric":
        job = plan.jobs[-1]
        assert job.name == "background.parametric"
        assert (job.points, job.powers) == (((1.0,), (-1.0,)), ((1,), (2,)))
    else:
        assert plan.ratios[1:] == ("background.scale.up", "background.scale.down")


def built_with_morph(config, plan):
    simulated = assembly.simulation(config)
    bank = nsbi.held(np.ones(1), np.zeros((1, len(plan.components))))
    return assembly.likelihood(config, plan, simulated, bank)


def test_a_mirrored_parametric_variation_is_linear(tmp_path):
    files = small.Files(tmp_path)
    files.shape(Morph="parametric", Down={"Symmetrize": True})
    _, plan = assembled(files.parsed())
    job = plan.jobs[-1]
    assert (job.points, job.powers) == (((1.0,),), ((1,),))


def test_interpolation_is_lifted_where_it_would_be_negative(tmp_path):
    files = small.Files(tmp_path)
    files.shape()
    ratios = {
        "background.scale.up": shifted(2.0),
        "background.scale.down": shifted(-2.0),
    }
    _, found = built(files.parsed(), ratios)
    (terms,) = found.terms.shapes[1]
    # Documented limit: with d = 1/u the polynomial is negative for u > 25.2; it is
    # lifted a little before that, and not below 20.
    ratio = np.exp(np.abs(terms[:, 0, 0]))
    lifted = terms[:, 2, 0] > 0
    assert lifted[ratio > 25.2].all()
    assert not lifted[ratio < 10].any()
    n_lifted = found.n_lifted["background", "scale"]
    assert n_lifted == np.count_nonzero(lifted) > 0


def test_variations_that_are_too_far_apart(tmp_path):
    files = small.Files(tmp_path)
    files.shape()
    ratios = {
        "background.scale.up": shifted(20.0),
        "background.scale.down": shifted(-20.0),
    }
    with pytest.raises(DataError) as caught:
        built(files.parsed(), ratios)
    text = str(caught.value)
    assert text.startswith("component 'background', parameter 'scale': density ratios")
    assert text.endswith("(Morph: logquadratic)")


def test_two_systematics_with_one_parameter(tmp_path):
    files = small.Files(tmp_path)
    files.shape("one", ModifierName="shared")
    files.shape("two", ModifierName="shared")
    config = files.parsed()
    with pytest.raises(SpecificationError, match="by the same parameter 'shared'"):
        assembly.plan(config, assembly.simulation(config))


def test_a_factor_that_is_not_positive(tmp_path):
    files = small.Files(tmp_path)
    columns = files.columns(1)
    files.write("background", columns | {"w_up": 3 * columns["w"]})
    files.shape(Up={"Weight": "w_up"}, Down={"Symmetrize": True})
    config = files.parsed()
    simulated, plan = assembled(config)
    with pytest.raises(SpecificationError, match="variation 'scale/down': the yield"):
        assembly.check_model(config, plan, simulated)


# Negative weights


def signed(files):
    columns = files.columns(1)
    columns["w"] = np.where(np.arange(files.n_events) % 4 == 0, -0.5, 0.5)
    return columns


def test_a_sample_with_negative_weights_is_two_components(tmp_path):
    files = small.Files(tmp_path)
    files.write("background", signed(files))
    model, _ = built(files.parsed())
    (channel,) = model.channels
    names = [one.name for one in channel.components]
    assert names == ["signal", "background", "background.negative"]
    assert coefficients(model, mu=jnp.array(2.0)) == [2.0, 1.0, -1.0]
    # 300 events of +0.5 and 100 of -0.5.
    expected = [float(one.expected) for one in channel.components[1:]]
    np.testing.assert_allclose(expected, [150, 50], rtol=1e-12)
    np.testing.assert_allclose(
        model.expected_yield(model.parameters.inits), 30 + 100, rtol=1e-12
    )
    # The reference counts absolute weights, and both signs are learned.
    assert assembled(files.parsed())[1].ratios == ("background.negative", "signal")


def test_a_signed_signal_that_interferes():
    document = small.document()
    # Its weights become negative on one side, its sum stays positive.
    document["Samples"][0]["Weight"] = "where(x > 0, weight_S, -0.1 * weight_S)"
    model, _ = built(small.parsed(document))
    found = coefficients(model, sqrt_mu=jnp.array(0.5))
    assert found == [-0.25, 0.25, 0.5, 0.5, 1.0]
    expected = [float(one.expected) for one in model.channels[0].components]
    np.testing.assert_allclose(expected[0] - expected[1], 20, rtol=1e-12)


def test_variations_have_the_signs_of_the_nominal_sample(tmp_path):
    files = small.Files(tmp_path)
    files.shape()
    files.write("up", signed(files))
    config = files.parsed()
    with pytest.raises(DataError) as caught:
        assembly.plan(config, assembly.simulation(config))
    assert str(caught.value) == (
        "sample 'background', variation 'scale/up': only the variation has negative "
        "weights, so that there is no ratio between them"
    )


def test_nothing_is_learned_through_a_signed_sample(tmp_path):
    files = small.Files(tmp_path)
    files.write("background", signed(files))
    files.write("other", files.columns(7))
    files.config["Samples"].append({"Name": "other", "SamplePath": "other"})
    files.config["Samples"][0]["Through"] = "background"
    files.config["Reference"] = ["other"]
    config = files.parsed()
    with pytest.raises(DataError, match="'background', which has negative weights"):
        assembly.plan(config, assembly.simulation(config))


# Data


def test_observed_events(tmp_path):
    files = small.Files(tmp_path)
    files.write("data", files.columns(9))
    files.config["Samples"].append({"Name": "data", "SamplePath": "data", "Data": True})
    files.config["Region"]["Filter"] = "x > 0"
    events = assembly.observed(files.parsed())
    x = files.columns(9)["x"]
    np.testing.assert_allclose(np.sort(events.features[:, 0]), np.sort(x[x > 0]))
    assert np.all(events.weight == 1)
    assert assembly.observed(small.parsed(small.document())) is None


def test_a_sample_with_too_few_events(tmp_path):
    files = small.Files(tmp_path)
    # As many events pass as there are parts.
    files.config["Region"]["Filter"] = f"x > {np.sort(files.columns(1)['x'])[-4]}"
    with pytest.raises(DataError) as caught:
        assembly.simulation(files.parsed())
    assert "'background'" in str(caught.value)


# Exact densities


def test_the_exact_likelihood_is_that_of_the_published_problem():
    document = small.document()
    yields = {"S": 5000, "SBI": 47594.142762, "B": 50000, "NI": 500000}
    for sample in document["Samples"]:
        sample["Yield"] = yields[sample["Name"]]
    config = small.parsed(document)
    simulated, plan = assembled(config)
    learned, _ = built(config)
    model = assembly.exact(config, plan, simulated, learned).model
    truth = model.parameters.inits
    data = model.expected_data(truth)
    t = model.twice_nll(jnp.sqrt(jnp.array([0.5, 0.0])), data) - model.twice_nll(
        truth, data
    )
    # Quadrature of poodemo with the nuisance parameter held; 41 nodes: 7e-8.
    np.testing.assert_allclose(t, 6.652340, rtol=1e-6)


@pytest.mark.slow
def test_the_exact_likelihood_knows_what_a_selection_does():
    document = small.document(
        General={"Measurement": "m", "POI": "mu"},
        Generator={"Type": "smeared", "EventsPerSample": 2000},
        Features=[f"x{i}" for i in range(5)],
        Region={"Name": "selected", "Filter": "b_over_s <= 250"},
        Samples=[
            {"Name": "S", "SamplePath": "S", "Yield": 1100},
            {"Name": "B", "SamplePath": "B", "Yield": 1_000_000},
        ],
        Reference=["B", "S"],
        NormFactors=[{"Name": "mu", "Samples": "S"}],
        Interference=None,
        Systematics=[
            {
                "Name": "alpha",
                "Type": "NormPlusShape",
                "Samples": "B",
                "Up": {"SamplePath": "B_response_up"},
                "Down": {"SamplePath": "B_response_down"},
            }
        ],
    )
    config = small.parsed(document)
    simulated, plan = assembled(config)
    learned, _ = built(config)
    model = assembly.exact(config, plan, simulated, learned).model
    problem = SmearedMixture()
    nominal, up = (problem.selected_yields([a, 0.0, 0.0]) for a in (0.0, 1.0))
    found = [float(component(model, name).expected) for name in ("S", "B")]
    # 800 000 simulated points, of which 200 000 and 30 000 are selected: 0.2 and 0.6 %.
    np.testing.assert_allclose(found, nominal, rtol=0.01)
    factor = component(model, "B").yield_morph.up
    np.testing.assert_allclose(factor, up[1:] / nominal[1:], rtol=0.02)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Features": ["x", "y"]}, "the Features leave out z"),
        (
            {"Region": {"Name": "SR", "Filter": "x > 0"}, "Samples": "without yields"},
            "sample 'S' has no Yield, but the region has a Filter",
        ),
        ({"Generator": {"Type": "blobs"}}, "the densities of the events are not known"),
    ],
)
def test_exact_densities_that_are_not_known(change, reason):
    document = small.document()
    config = small.parsed(document)
    simulated, plan = assembled(config)
    learned, _ = built(config)
    if change.pop("Samples", None):
        samples = document["Samples"]
        change["Samples"] = [
            {key: value for key, value in one.items() if key != "Yield"}
            for one in samples
        ]
    if "Generator" in change:
        other = config.model_copy(update={"generator": None})
    else:
        other = small.parsed(small.document(**change))
    with pytest.raises(assembly.Unknown) as caught:
        assembly.exact(other, plan, simulated, learned)
    assert str(caught.value) == reason
