import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffana.errors import SpecificationError
from diffana.histfactory import (
    from_model,
    from_workspace,
    modifier_settings,
    to_spec,
    to_workspace,
)


NAMES = ["everything", "overrides", "vanishing", "joint staterror", "free"]
CODES = {"histosys": {"interpcode": "code0"}, "normsys": {"interpcode": "code1"}}


@pytest.mark.parametrize("name", NAMES)
def test_round_trip_is_the_identity(workspaces, name):
    model, data = from_workspace(workspaces[name], modifier_settings=CODES)
    exported = to_workspace(model, data)
    again, data_again = from_workspace(
        exported, modifier_settings=modifier_settings(model)
    )
    assert eqx.tree_equal(model, again)
    np.testing.assert_array_equal(data, data_again)


@pytest.mark.parametrize("name", NAMES)
def test_export_of_changed_templates_is_evaluated_alike_by_pyhf(
    workspaces, name, twice_nll
):
    model, _ = from_workspace(workspaces[name])
    rng = np.random.default_rng(5)
    changed = jax.tree.map(
        lambda x: x * rng.uniform(0.9, 1.1, x.shape), model.templates
    )
    fields = ("nominal", "histosys_lo", "histosys_hi", "normsys_lo", "normsys_hi")
    for field in (*fields, "shapesys", "staterror"):
        model = eqx.tree_at(
            lambda m, field=field: getattr(m.templates, field),
            model,
            getattr(changed, field),
        )
    parameters = model.parameters
    params = parameters.inits + 0.1 * rng.normal(size=len(parameters))
    # Data of another point than the nominal one, auxiliary measurements included.
    data = model.expected_data(params + 0.05)

    workspace = pyhf.Workspace(to_workspace(model, data))
    oracle = workspace.model(modifier_settings=modifier_settings(model))
    np.testing.assert_allclose(workspace.data(oracle), data, rtol=1e-15)
    want = oracle.logpdf(np.asarray(params), np.asarray(data))[0]
    np.testing.assert_allclose(twice_nll(model, params, data), -2 * want, rtol=1e-12)
    spec = pyhf.Model(to_spec(model), poi_name=parameters.poi)
    assert spec.config.par_names == list(parameters.names)


def test_a_width_that_pyhf_cannot_hold_is_not_exported(everything):
    model, _ = from_workspace(everything)
    wide = eqx.tree_at(lambda m: m.templates.sigma, model, 2 * model.templates.sigma)
    with pytest.raises(SpecificationError, match="no other width than 1"):
        to_spec(wide)


def test_names_lead_to_templates(everything):
    model, _ = from_workspace(everything)
    layout, templates = model.layout, model.templates
    assert layout.bins("SR") == slice(2, 5)
    assert templates.nominal[layout.cells("SR", "top")].tolist() == [50.0, 52.0, 31.5]
    entries = layout.histosys("SR", "top", "tagging")
    assert templates.histosys_hi[entries].tolist() == [60.0, 52.0 * 1.1, 31.5]
    entry = layout.normsys("CR", "top", "energy scale")
    assert (templates.normsys_lo[entry], templates.normsys_hi[entry]) == (0.99, 1.02)
    entries = layout.shapesys("CR", "fake", "fake rate CR")
    assert templates.shapesys[entries].tolist() == [5.0, 4.0]
    entries = layout.staterror("SR", "top")
    assert templates.staterror[entries].tolist() == [2.5, 1.7, 2.4]
    assert entries == layout.staterror("SR", "top", "staterror_SR")


def test_expected_samples_add_up(everything):
    model, _ = from_workspace(everything)
    params = model.parameters.inits
    samples = model.expected_samples(params)
    total = sum(samples[model.layout.cells("CR", name)] for name in ("top", "fake"))
    rates = model.expected_actualdata(params)[model.layout.bins("CR")]
    np.testing.assert_allclose(total, rates, rtol=1e-15)


@pytest.mark.parametrize(
    ("lookup", "message"),
    [
        (lambda layout: layout.bins("XR"), "no channel 'XR'; there are CR, SR, VR"),
        (
            lambda layout: layout.cells("CR", "signal"),
            "channel 'CR': no sample 'signal'",
        ),
        (
            lambda layout: layout.normsys("SR", "top", "tagging"),
            "channel 'SR', sample 'top': 0 modifiers of type 'normsys' named 'tagging'",
        ),
        (
            lambda layout: layout.staterror("SR", "fake"),
            "channel 'SR', sample 'fake': 0 modifiers of type 'staterror'",
        ),
    ],
)
def test_wrong_names_are_reported(everything, lookup, message):
    model, _ = from_workspace(everything)
    with pytest.raises(SpecificationError, match=message):
        lookup(model.layout)


def test_interpolated_parameters_are_those_of_histosys(everything):
    model, _ = from_workspace(everything)
    assert set(model.parameters.interpolated) == {"energy scale", "tagging"}


def test_measurement_is_chosen_by_name(everything):
    (first,) = everything["measurements"]
    second = {"name": "other", "config": {**first["config"], "poi": "mu_top"}}
    both = {**everything, "measurements": [first, second]}
    assert from_workspace(both, "other")[0].parameters.poi == "mu_top"
    assert from_workspace(both)[0].parameters.poi == "mu"
    with pytest.raises(SpecificationError, match="no measurement by name 'third'"):
        from_workspace(both, "third")


def test_patches_are_applied_in_order(everything):
    path = "/channels/0/samples/0/data/0"
    patches = [
        [{"op": "replace", "path": path, "value": 6.0}],
        [{"op": "test", "path": path, "value": 6.0}],
        [{"op": "remove", "path": "/channels/0/samples/3"}],
    ]
    model, _ = from_workspace(everything, patches=patches)
    assert model.templates.nominal[model.layout.cells("SR", "signal")][0] == 6.0
    assert [row.sample for row in model.layout.rows if row.channel == "SR"] == [
        "fake",
        "signal",
        "top",
    ]
    with pytest.raises(SpecificationError, match="pyhf refuses the workspace"):
        from_workspace(everything, patches=patches[1:])


def sample_of(workspace, channel, sample):
    return workspace["channels"][channel]["samples"][sample]


def repeat_sample(workspace):
    samples = workspace["channels"][0]["samples"]
    samples.append(samples[0])


def repeat_modifier(workspace):
    modifiers = sample_of(workspace, 0, 1)["modifiers"]
    modifiers.append(modifiers[0])


def lengthen_shapefactor(workspace):
    # The first channel by name, two bins wide, decides on the number of components.
    modifier = {"type": "shapefactor", "name": "fake shape", "data": None}
    sample_of(workspace, 1, 1)["modifiers"].append(modifier)


def negate_normsys(workspace):
    sample_of(workspace, 0, 0)["modifiers"][2]["data"]["lo"] = 0.0


def omit_observation(workspace):
    del workspace["observations"][1]


def omit_lumi(workspace):
    workspace["measurements"][0]["config"]["parameters"] = []


def misspell(workspace):
    sample_of(workspace, 0, 0)["modifiers"][0]["type"] = "normfaktor"


def shorten(workspace):
    sample_of(workspace, 0, 1)["data"].pop()


def lose_poi(workspace):
    workspace["measurements"][0]["config"]["poi"] = "nu"


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (repeat_sample, "channel 'SR': sample 'signal' occurs 2 times"),
        (repeat_modifier, "sample 'top': modifier 'lumi lumi' occurs 2 times"),
        (
            lengthen_shapefactor,
            "'SR': shapefactor 'fake shape' has 3 bins here, but only 2 components",
        ),
        (negate_normsys, "normsys 'energy scale' has a factor 0.0, which code4 cannot"),
        (omit_observation, "channel 'CR': no observation"),
        (omit_lumi, "pyhf refuses the workspace"),
        (misspell, "pyhf refuses the workspace: .*normfaktor"),
        (shorten, "pyhf refuses the workspace"),
        (lose_poi, "pyhf refuses the workspace: .*'nu'"),
    ],
)
def test_what_cannot_be_represented_is_named(everything, spoil, message):
    spoil(everything)
    with pytest.raises(SpecificationError, match=message):
        from_workspace(everything)


def test_unknown_interpolation_is_refused(everything):
    codes = {"histosys": {"interpcode": "code1"}, "normsys": {"interpcode": "code4"}}
    with pytest.raises(SpecificationError, match="pyhf refuses the workspace"):
        from_workspace(everything, modifier_settings=codes)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"batch_size": 2}, "batched"),
        ({"clip_bin_data": 0.0}, "clipping"),
        ({"clip_sample_data": 0.0}, "clipping"),
    ],
)
def test_options_of_pyhf_without_counterpart_are_refused(option, message):
    channels = [
        {
            "name": "SR",
            "samples": [
                {
                    "name": "signal",
                    "data": [1.0],
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                }
            ],
        }
    ]
    with pytest.raises(SpecificationError, match=message):
        from_model(pyhf.Model({"channels": channels}, **option))


def test_undefined_templates_are_not_exported(everything):
    model, data = from_workspace(everything)
    cells = model.layout.cells("SR", "top")
    broken = eqx.tree_at(
        lambda m: m.templates.nominal,
        model,
        model.templates.nominal.at[cells.start + 1].set(jnp.nan),
    )
    with pytest.raises(
        SpecificationError, match="'SR', sample 'top': yield: entry 1 is"
    ):
        to_workspace(broken, data)
