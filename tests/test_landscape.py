import json
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffana.errors import RESULTS
from diffana.histfactory import HistFactory, from_workspace
from diffana.landscape import Landscape, filter_normalised, landscape
from diffana.losses import (
    P0,
    AsimovSignificance,
    BinaryCrossEntropy,
    Cls,
    Scores,
    SigmaMu,
)
from diffana.observable import MLP


ROOT = pathlib.Path(__file__).parents[1]
WORKSPACE = ROOT / "experiments" / "two_bin_landscape" / "workspace.json"
LOSSES = {"p0": P0(log=False), "CLs": Cls(log=False), "sigma": SigmaMu()}
# Without fits a program compiles faster.
SIGMA = {"sigma": SigmaMu()}
# Not in alphabetical order, and of different lengths, so that none can be mistaken.
AXES = {"u": np.linspace(-5.0, 5.0, 3), "d": np.linspace(0.0, 5.0, 2)}


class TwoBins(eqx.Module):
    """Simpson, PhD thesis (2023), section 7.5.1; counts how often it is traced."""

    model: HistFactory
    traces: list = eqx.field(static=True)

    def __call__(self, point):
        self.traces.append("traced")
        step = jnp.array([1.0, -1.0])
        templates = self.model.templates
        moved = (
            templates.histosys_hi + point["u"] * step,
            templates.histosys_lo - point["d"] * step,
        )
        return eqx.tree_at(
            lambda m: (m.templates.histosys_hi, m.templates.histosys_lo),
            self.model,
            moved,
        ), ()


def two_bins(signal=(5.0, 11.0)):
    workspace = json.loads(WORKSPACE.read_text())
    workspace["channels"][0]["samples"][0]["data"] = list(signal)
    return TwoBins(from_workspace(workspace)[0], [])


@pytest.fixture(scope="module")
def build():
    return two_bins()


@pytest.fixture(scope="module")
def scanned(build):
    return landscape(LOSSES, build, AXES, chunk=4)


def with_pyhf(u, d):
    """CLs and p0 of pyhf, from several starts; the lowest fits decide."""
    spec = json.loads(WORKSPACE.read_text())
    shape = spec["channels"][0]["samples"][1]["modifiers"][0]["data"]
    shape["hi_data"], shape["lo_data"] = [50 + u, 50 - u], [50 - d, 50 + d]
    model = pyhf.Workspace(spec).model()

    def point(mu, alpha):
        params = np.full(2, alpha)
        params[model.config.poi_index] = mu
        return params.tolist()

    def q(mu_true, mu_test):
        data = model.expected_data(point(mu_true, 0.0))
        values = []
        for alpha in (-1.0, 0.0, 1.0):
            _, value = pyhf.infer.mle.fixed_poi_fit(
                mu_test,
                data,
                model,
                init_pars=point(mu_test, alpha),
                return_fitted_val=True,
            )
            values.append(float(value))
        # Asimov data are generated at the minimum of their free fit.
        return min(values) + 2 * float(model.logpdf(point(mu_true, 0.0), data)[0])

    normal = pyhf.tensorlib.normal_cdf
    return (
        2 * float(normal(-np.sqrt(q(0.0, 1.0)))),
        float(normal(-np.sqrt(q(1.0, 0.0)))),
    )


def test_values_are_those_of_pyhf(scanned):
    for i, u in enumerate(AXES["u"]):
        for j, d in enumerate(AXES["d"]):
            CLs, p0 = with_pyhf(u, d)
            # What scipy's SLSQP leaves of the minima, 1e-7 in q.
            np.testing.assert_allclose(scanned.values["CLs"][i, j], CLs, rtol=2e-6)
            np.testing.assert_allclose(scanned.values["p0"][i, j], p0, rtol=2e-6)


def test_axes_and_losses_keep_their_order(scanned):
    assert scanned.axis_names == ("u", "d")
    assert list(scanned.axes) == ["u", "d"]
    assert scanned.loss_names == ("p0", "CLs", "sigma")
    assert scanned.values["p0"].shape == (3, 2)
    # A tree map sorts the keys of a dict, which must not exchange the axes.
    mapped = jax.tree.map(lambda leaf: leaf, scanned)
    assert list(mapped.axes) == ["u", "d"]


def test_chunks_change_nothing(build, scanned):
    # Six points at once, where the chunks of the other do not fill up.
    whole = landscape(SIGMA, build, AXES, chunk=100)
    # The same sums in another order.
    np.testing.assert_allclose(
        whole.values["sigma"], scanned.values["sigma"], rtol=1e-12
    )


def test_nothing_is_compiled_again():
    build = two_bins()
    done = []
    landscape(SIGMA, build, AXES, chunk=4, on_chunk=done.append)
    assert done == [4, 6]
    n_traces = len(build.traces)
    # Other templates, another grid, a last chunk of another length.
    other = TwoBins(two_bins((3.0, 12.0)).model, build.traces)
    axes = {"u": np.linspace(0, 1, 5), "d": np.linspace(0, 3, 3)}
    found = landscape(SIGMA, other, axes, chunk=4)
    assert len(build.traces) == n_traces
    assert found.values["sigma"].shape == (5, 3)


def test_a_point_without_a_value_is_nan_with_its_reason():
    model = two_bins().model
    signal, background = (
        model.layout.cells("two_bins", name) for name in ("signal", "background")
    )

    def build(point):
        # Without signal the strength is not measured; without background in a bin the
        # significance is infinite.
        yields = model.templates.nominal.at[signal].mul(point["signal"])
        yields = yields.at[background.start].mul(point["background"])
        return eqx.tree_at(lambda m: m.templates.nominal, model, yields), ()

    losses = {"sigma": SigmaMu(), "Z": AsimovSignificance()}
    axes = {"signal": [0.0, 1.0], "background": [0.0, 1.0]}
    found = landscape(losses, build, axes)
    failed = {name: np.isnan(found.values[name]).tolist() for name in losses}
    assert failed["sigma"] == [[True, True], [False, False]]
    assert failed["Z"] == [[False, False], [True, False]]
    why = RESULTS[RESULTS.undefined_loss]
    assert found.reasons("Z").tolist() == [["", ""], [why, ""]]
    assert found.failures("sigma") == {why: 2}
    assert found.failures("Z") == {why: 1}
    assert found.minimum("sigma").places.tolist() == [[1.0, 0.0]]
    assert np.isnan(found.normalised("Z")[1, 0])


def made(values):
    values = np.asarray(values, float)
    axes = [np.arange(n, dtype=float) for n in values.shape]
    good = jax.tree.map(lambda code: jnp.full(values.shape, code), RESULTS.successful)
    return Landscape(
        axis_names=tuple("abc"[: len(axes)]),
        axis_values=tuple(map(jnp.asarray, axes)),
        loss_names=("f",),
        values={"f": jnp.asarray(values)},
        result={"f": good},
    )


def test_minimum_and_normalised_view():
    found = made([[3.0, 1.0, np.nan], [2.0, 5.0, 1.0]])
    minimum = found.minimum("f")
    assert minimum.value == 1.0
    assert minimum.places.tolist() == [[0.0, 1.0], [1.0, 2.0]]
    want = [[0.5, 0.0, np.nan], [0.25, 1.0, 0.0]]
    np.testing.assert_array_equal(found.normalised("f"), want)


def test_constant_and_undefined_losses():
    constant = made([2.0, 2.0])
    assert constant.minimum("f").places.tolist() == [[0.0], [1.0]]
    assert constant.normalised("f").tolist() == [0.0, 0.0]
    rounded = made([0.1 + 0.2, 0.3])
    assert rounded.minimum("f").places.tolist() == [[0.0], [1.0]]
    assert rounded.normalised("f").tolist() == [0.0, 0.0]
    undefined = made([np.nan, np.nan])
    assert undefined.minimum("f") is None
    assert np.isnan(undefined.normalised("f")).all()


def test_losses_of_classification_see_the_scores():
    model = two_bins().model
    weight = jnp.ones(3)

    def build(point):
        logit = jnp.full(3, point["t"])
        return model, tuple(
            Scores.of(logit, weight, is_signal=signal, is_nominal=True)
            for signal in (True, False)
        )

    at = np.array([-1.0, 0.0, 2.0])
    losses = {"bce": BinaryCrossEntropy(), "Z": AsimovSignificance()}
    found = landscape(losses, build, {"t": at})
    want = 0.5 * (np.log1p(np.exp(-at)) + np.log1p(np.exp(at)))
    np.testing.assert_allclose(found.values["bce"], want, rtol=1e-12)
    assert np.ptp(found.values["Z"]) == 0


@pytest.mark.parametrize(
    ("losses", "axes", "message"),
    [
        ({}, AXES, "one loss and one axis"),
        (LOSSES, {}, "one loss and one axis"),
        (LOSSES, {"u": np.zeros((2, 2))}, "axis 'u' have shape"),
        (LOSSES, {"u": []}, "axis 'u' have shape"),
    ],
)
def test_nothing_to_scan_is_refused(build, losses, axes, message):
    with pytest.raises(ValueError, match=message):
        landscape(losses, build, axes)


def test_a_direction_is_as_long_as_the_weights_of_each_neuron():
    network = MLP(3, hidden=(5, 4), key=jax.random.key(0), dtype="float64")
    network = eqx.tree_at(
        lambda n: n.layers[0].weight, network, network.layers[0].weight.at[2].set(0.0)
    )
    first, again, other = (
        filter_normalised(network, jax.random.key(seed)) for seed in (1, 1, 2)
    )
    for layer, moved in zip(network.layers, first.layers, strict=True):
        lengths = [np.linalg.norm(one.weight, axis=1) for one in (layer, moved)]
        np.testing.assert_allclose(*lengths, rtol=1e-12)
        assert not np.any(moved.bias)
    # What is fitted and not trained stays.
    assert first.standardisation.mean is None
    assert eqx.tree_equal(first, again)
    cosine = np.sum(first.layers[1].weight * other.layers[1].weight) / np.sum(
        first.layers[1].weight ** 2
    )
    assert abs(cosine) < 0.9
