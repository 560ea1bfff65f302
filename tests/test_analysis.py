import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

import tiny
from diffana.analysis import Analysis, Region, Shape, Summary
from diffana.data.events import Events
from diffana.errors import DataError, SpecificationError
from diffana.histfactory import from_workspace, modifier_settings, to_workspace
from diffana.histogram import (
    BinnedKDE,
    FixedEdges,
    HardHistogram,
    HeldCut,
    KeepAbove,
    KeepBelow,
    Selection,
    TrainableEdges,
)
from diffana.observable import MLP, Variable
from diffana.trainable import trainable


EDGES = [-np.inf, 0.4, 0.6, np.inf]


@eqx.filter_jit
def soft(analysis, events):
    return analysis(events)


@eqx.filter_jit
def hard(analysis, events):
    return analysis.hard(events)


def network():
    key = jax.random.key(0)
    return MLP(2, key=key, hidden=(4,), activation=jnp.tanh, dtype=float)


def region(name="SR", summary="summary", edges=EDGES, cuts=(), histogrammer=None):
    return Region(
        edges=FixedEdges(edges),
        histogrammer=BinnedKDE(0.1) if histogrammer is None else histogrammer,
        cuts=Selection(tuple(cuts)),
        name=name,
        summary=summary,
    )


def analysis(regions, summaries=None, shapes=None, staterror=True, model=None):
    bins = {one.name: len(one.edges()) - 1 for one in regions}
    if model is None:
        model, _ = from_workspace(tiny.workspace(bins, staterror=staterror))
    if summaries is None:
        summaries = {"summary": Summary(network(), (0, 1))}
    if shapes is None:
        shapes = tuple(Shape(name, "background", "shape", "shape") for name in bins)
    return Analysis(summaries, tuple(regions), model, shapes)


def histogram(summary, events, edges, keep=None):
    """Sum of weights and of their squares per bin, by NumPy."""
    values = np.asarray(summary(events.features))
    weight = np.asarray(events.weight)
    if keep is not None:
        weight = weight * keep(np.asarray(events.features))
    # NumPy does not take infinite edges.
    edges = np.clip(edges, -1e9, 1e9)
    sumw, _ = np.histogram(values, edges, weights=weight)
    sumw2, _ = np.histogram(values, edges, weights=weight**2)
    return sumw, sumw2


def by_name(events):
    return {(one.region, one.sample, one.variation): one for one in events}


def templates_of(likelihood, channel, sample):
    """What a sample contributes, read back from the specification that pyhf sees."""
    data = likelihood.expected_data(likelihood.parameters.inits)
    document = to_workspace(likelihood, data)
    (channel,) = (c for c in document["channels"] if c["name"] == channel)
    (found,) = (s for s in channel["samples"] if s["name"] == sample)
    return found["data"], {
        (m["type"], m["name"]): m["data"] for m in found["modifiers"]
    }


def check_templates(likelihood, summary, events, name, edges, keep=None):
    """All templates of one region against sums over events."""
    found = by_name(events)
    for sample in ("signal", "background"):
        nominal = found[name, sample, "nominal"]
        sumw, sumw2 = histogram(summary, nominal, edges, keep)
        yields, modifiers = templates_of(likelihood, name, sample)
        # 1e-13: sums of some ten numbers in another order.
        np.testing.assert_allclose(yields, sumw, rtol=1e-13)
        np.testing.assert_allclose(
            modifiers["staterror", f"staterror_{name}"],
            np.sqrt(sumw2 * np.asarray(nominal.sumw2_scale)),
            rtol=1e-13,
        )
    up, _ = histogram(summary, found[name, "background", "shape/up"], edges, keep)
    down, _ = histogram(summary, found[name, "background", "shape/down"], edges, keep)
    norm, shape = modifiers["normsys", "shape"], modifiers["histosys", "shape"]
    np.testing.assert_allclose(norm["hi"], up.sum() / sumw.sum(), rtol=1e-13)
    np.testing.assert_allclose(norm["lo"], down.sum() / sumw.sum(), rtol=1e-13)
    np.testing.assert_allclose(shape["hi_data"], up / norm["hi"], rtol=1e-13)
    np.testing.assert_allclose(shape["lo_data"], down / norm["lo"], rtol=1e-13)
    # The part that no event fills stays as it was given.
    assert modifiers["normsys", "rate"] == {"hi": 1.1, "lo": 0.92}


def test_hard_templates_are_histograms():
    built, events = analysis([region()]), tiny.populations()
    check_templates(
        hard(built, events), built.summaries["summary"], events, "SR", EDGES
    )


def test_the_parts_of_a_variation_multiply_to_it():
    """At one standard deviation the expected yield is the varied histogram."""
    built, events = analysis([region()]), tiny.populations()
    likelihood, found = hard(built, events), by_name(events)
    summary = built.summaries["summary"]
    names = likelihood.parameters.names
    signal, _ = histogram(summary, found["SR", "signal", "nominal"], EDGES)
    for alpha, variation in ((1.0, "shape/up"), (-1.0, "shape/down")):
        varied, _ = histogram(summary, found["SR", "background", variation], EDGES)
        params = likelihood.parameters.inits.at[names.index("shape")].set(alpha)
        yields = likelihood.expected_actualdata(params)
        # 1e-12: code4 and code4p end at the templates to rounding.
        np.testing.assert_allclose(yields, signal + varied, rtol=1e-12)


def test_a_symmetrised_variation_is_mirrored():
    events = tuple(e for e in tiny.populations() if e.variation != "shape/down")
    shape = Shape("SR", "background", "shape", "shape", symmetrize=True)
    built = analysis([region()], shapes=(shape,))
    found, summary = by_name(events), built.summaries["summary"]
    nominal, _ = histogram(summary, found["SR", "background", "nominal"], EDGES)
    up, _ = histogram(summary, found["SR", "background", "shape/up"], EDGES)
    _, modifiers = templates_of(hard(built, events), "SR", "background")
    ratio = up.sum() / nominal.sum()
    norm, shape = modifiers["normsys", "shape"], modifiers["histosys", "shape"]
    np.testing.assert_allclose([norm["hi"], norm["lo"]], [ratio, 2 - ratio], 1e-13)
    np.testing.assert_allclose(shape["hi_data"], up / ratio, rtol=1e-13)
    np.testing.assert_allclose(shape["lo_data"], 2 * nominal - up / ratio, rtol=1e-13)


def test_soft_templates_sum_kernels():
    built, events = analysis([region()]), tiny.populations()
    signal = by_name(events)["SR", "signal", "nominal"]
    values = np.asarray(built.summaries["summary"](signal.features))
    likelihood = soft(built, events)
    yields, _ = templates_of(likelihood, "SR", "signal")
    random = np.random.default_rng(5)
    smeared = values[:, None] + 0.1 * random.normal(size=(len(values), 40_000))
    counts = [
        np.sum(np.asarray(signal.weight)[:, None] * ((smeared >= a) & (smeared < b)))
        for a, b in itertools.pairwise(EDGES)
    ]
    # Smearing 40 events 40 000 times has an error of 20 events / sqrt(1.6e6), 0.016.
    np.testing.assert_allclose(yields, np.array(counts) / 40_000, atol=0.06)


def test_regions_have_own_events_edges_and_cuts():
    edges = {"SR": EDGES, "CR": [-np.inf, 0.0, np.inf]}
    cut = KeepAbove(threshold=0.5, slope=3.0, column=0)
    regions = (
        region("SR", cuts=(KeepBelow(threshold=0.3, slope=3.0, column=0),)),
        region("CR", "y", edges["CR"], (cut,), HardHistogram()),
    )
    summaries = {
        "summary": Summary(network(), (0, 1)),
        "y": Summary(Variable(0), (1,)),
    }
    built, events = analysis(regions, summaries), tiny.populations(("SR", "CR"))
    likelihood = hard(built, events)
    for name, summary, keep in (
        ("SR", "summary", lambda features: features[:, 0] < 0.3),
        ("CR", "y", lambda features: features[:, 0] >= 0.5),
    ):
        check_templates(likelihood, summaries[summary], events, name, edges[name], keep)
    # A soft cut keeps part of each event, in a fixed variable's hard bins as well.
    signal = by_name(events)["CR", "signal", "nominal"]
    yields, _ = templates_of(soft(built, events), "CR", "signal")
    x, y = np.asarray(signal.features).T
    part = np.asarray(signal.weight) / (1 + np.exp(-3.0 * (x - 0.5)))
    np.testing.assert_allclose(yields, [part[y < 0].sum(), part[y >= 0].sum()], 1e-12)


def test_regions_may_share_an_observable():
    regions = (region("SR"), region("CR", edges=[-np.inf, 0.5, np.inf]))
    built, events = analysis(regions), tiny.populations(("SR", "CR"))
    likelihood = hard(built, events)
    summary = built.summaries["summary"]
    check_templates(likelihood, summary, events, "SR", EDGES)
    check_templates(likelihood, summary, events, "CR", [-np.inf, 0.5, np.inf])
    outputs = eqx.filter_jit(Analysis.forward)(built, events)
    for one, logit, histogram_ in zip(
        events, outputs.logits, outputs.histograms, strict=True
    ):
        want = jax.vmap(summary.observable.logit)(jnp.asarray(one.features))
        # 1e-12: matrix products of other sizes round differently.
        np.testing.assert_allclose(logit, want, rtol=1e-12, atol=1e-14)
        assert len(histogram_.sumw) == (3 if one.region == "SR" else 2)


def test_the_order_of_populations_does_not_matter():
    built, events = analysis([region()]), tiny.populations()
    first, second = hard(built, events), hard(built, events[::-1])
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def bigger_workspace():
    """A published likelihood: one more region, sample, and uncertainty."""
    workspace = tiny.workspace({"SR": 3})
    workspace["channels"].append(
        {
            "name": "top control",
            "samples": [
                {
                    "name": "top",
                    "data": [310.5, 205.25],
                    "modifiers": [
                        {"name": "mu_top", "type": "normfactor", "data": None},
                        {
                            "name": "tagging",
                            "type": "shapesys",
                            "data": [11.0, 9.0],
                        },
                    ],
                }
            ],
        }
    )
    workspace["channels"][0]["samples"].append(
        {
            "name": "top",
            "data": [7.0, 5.0, 3.0],
            "modifiers": [
                {"name": "mu_top", "type": "normfactor", "data": None},
                {
                    "name": "staterror_SR",
                    "type": "staterror",
                    "data": [0.7, 0.5, 0.3],
                },
            ],
        }
    )
    workspace["observations"].append({"name": "top control", "data": [305.0, 210.0]})
    return workspace


def test_the_rest_of_a_workspace_is_left_alone():
    model, data = from_workspace(bigger_workspace())
    shape = Shape("SR", "background", "shape", "shape")
    built = analysis([region()], shapes=(shape,), model=model)
    events = tiny.populations()
    likelihood = hard(built, events)
    check_templates(likelihood, built.summaries["summary"], events, "SR", EDGES)
    for channel, sample in (("top control", "top"), ("SR", "top")):
        assert templates_of(likelihood, channel, sample) == templates_of(
            model, channel, sample
        )
    # pyhf gives the filled workspace the same likelihood, at some point off nominal.
    params = likelihood.parameters.inits * 1.05 + 0.1
    document = to_workspace(likelihood, data)
    judge = pyhf.Workspace(document).model(
        modifier_settings=modifier_settings(likelihood)
    )
    counts = likelihood.expected_data(likelihood.parameters.inits)
    np.testing.assert_allclose(
        likelihood.twice_nll(params, counts),
        -2 * judge.logpdf(np.asarray(params), np.asarray(counts))[0],
        rtol=1e-12,  # same arithmetic
    )


def test_a_batch_has_the_statistical_uncertainty_of_its_sample():
    built, events = analysis([region()]), tiny.populations()
    half = tuple(
        Events(
            features=one.features[::2],
            weight=2 * one.weight[::2],
            sumw2_scale=0.5,
            columns=one.columns,
            region=one.region,
            sample=one.sample,
            variation=one.variation,
        )
        for one in events
    )
    check_templates(hard(built, half), built.summaries["summary"], half, "SR", EDGES)


def test_signed_weights():
    random = np.random.default_rng(2)
    weight = random.choice([-0.5, 1.0], size=60, p=[0.2, 0.8])
    events = tiny.populations(n_events=60, weight=weight)
    built = analysis([region()])
    likelihood = hard(built, events)
    check_templates(likelihood, built.summaries["summary"], events, "SR", EDGES)


def test_an_empty_bin_is_empty_and_keeps_every_derivative_finite():
    built, events = analysis([region(edges=[-5.0, -4.0, 0.5, 6.0])]), tiny.populations()
    yields, modifiers = templates_of(hard(built, events), "SR", "background")
    assert yields[0] == 0
    assert modifiers["staterror", "staterror_SR"][0] == 0
    assert modifiers["histosys", "shape"]["hi_data"][0] == 0

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(built):
        templates = built(events).templates
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(templates))

    # The kernel of every event underflows in the first bin.
    for leaf in jax.tree.leaves(gradient(built)):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("shape/up", "no events of the variation 'shape/up'"),
        ("shape/down", "no events of the variation 'shape/down'"),
        ("nominal", "no events of the variation 'nominal'"),
    ],
)
def test_a_missing_variation_is_named(missing, message):
    events = tuple(
        one
        for one in tiny.populations()
        if (one.sample, one.variation) != ("background", missing)
    )
    with pytest.raises(DataError) as caught:
        analysis([region()])(events)
    assert str(caught.value) == f"region 'SR', sample 'background': {message}"


def test_what_does_not_fit_the_likelihood_is_named():
    with pytest.raises(DataError, match=r"region 'VR'.*no such region"):
        analysis([region()])(tiny.populations(("VR",)))
    with pytest.raises(ValueError, match="'SR' histograms 'other', but there are summ"):
        analysis([region(summary="other")])
    model, _ = from_workspace(tiny.workspace({"CR": 3}))
    with pytest.raises(SpecificationError, match="no channel 'SR'; there are CR"):
        analysis([region()], model=model)
    model, _ = from_workspace(tiny.workspace({"SR": 2}))
    with pytest.raises(ValueError, match=r"'SR' has 3 bins, but .* 2"):
        analysis([region()], model=model)


def test_only_a_network_with_one_output_has_odds():
    assert Summary(network(), (0, 1)).has_logit
    fixed = Summary(Variable(0), (1,))
    assert not fixed.has_logit
    with pytest.raises(ValueError, match="only a network with one output"):
        fixed.logit(jnp.ones((3, 2)))
    softmax = Summary(MLP(2, key=jax.random.key(0), hidden=(4,), n_outputs=3), (0, 1))
    assert not softmax.has_logit


def test_templates_and_bandwidths_are_not_trained():
    regions = (
        Region(
            edges=TrainableEdges.from_edges([0.0, 0.5, 1.0]),
            histogrammer=BinnedKDE(0.1),
            cuts=Selection(
                (
                    KeepAbove(threshold=0.0, slope=1.0, column=0),
                    HeldCut(KeepBelow(threshold=2.0, slope=1.0, column=1)),
                )
            ),
            name="SR",
            summary="summary",
        ),
    )
    built = analysis(regions)
    moving = eqx.filter(built, trainable(built))
    layers = moving.summaries["summary"].observable.layers
    first = moving.regions[0]
    expected = [leaf for layer in layers for leaf in (layer.weight, layer.bias)]
    expected += [first.edges.logits, first.cuts.cuts[0].threshold]
    leaves = jax.tree.leaves(moving)
    assert len(leaves) == len(expected) == 6
    assert {id(leaf) for leaf in leaves} == {id(leaf) for leaf in expected}
    assert not any(jax.tree.leaves(trainable(built).model))


def test_hard_is_sharp_and_stays_so():
    built = tiny.analysis()
    sharp = built.hard
    assert sharp.regions[0].is_hard
    assert isinstance(sharp.regions[0].histogrammer, HardHistogram)
    assert not built.regions[0].is_hard
    assert eqx.tree_equal(sharp, sharp.hard)


def test_templates_follow_the_weights_of_the_network():
    """The derivative of a yield is that of the sum over kernels."""
    built, events = tiny.analysis(), tiny.populations()

    @jax.jit
    def yields(shift):
        moved = eqx.tree_at(
            lambda a: a.summaries["summary"].observable.layers[-1].bias,
            built,
            replace_fn=lambda bias: bias + shift,
        )
        return moved(events).templates.nominal

    step = 1e-5
    want = (yields(step) - yields(-step)) / (2 * step)
    # 1e-7: a step of 1e-5 leaves 1e-10, rounding 1e-10.
    np.testing.assert_allclose(jax.jacfwd(yields)(0.0), want, rtol=1e-7, atol=1e-7)
