"""Regions that join a published workspace."""

import copy
import json

import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from click.testing import CliRunner

import tiny
from diffana import assemble
from diffana.cli import main
from diffana.errors import SpecificationError
from diffana.histfactory import from_workspace


def modifier(kind, name, data=None):
    return {"name": name, "type": kind, "data": data}


VARIED = {"hi_data": [24.0, 16.0, 8.0]}

PUBLISHED = {
    "version": "1.0.0",
    "channels": [
        {
            "name": "CR",
            "samples": [
                {
                    "name": "top",
                    "data": [310.5, 205.25],
                    "modifiers": [
                        modifier("normfactor", "mu_top"),
                        modifier("normsys", "jes", {"lo": 0.9, "hi": 1.15}),
                        modifier(
                            "histosys",
                            "scale",
                            {"lo_data": [300.0, 200.0], "hi_data": [330.0, 208.0]},
                        ),
                        modifier("shapesys", "tagging", [11.0, 9.0]),
                        modifier("lumi", "lumi"),
                    ],
                }
            ],
        },
        {
            "name": "SR",
            "samples": [
                {
                    "name": "signal",
                    "data": [4.0, 6.0, 9.0],
                    "modifiers": [modifier("normfactor", "mu")],
                },
                {
                    "name": "background",
                    "data": [20.0, 15.0, 5.0],
                    "modifiers": [
                        modifier("normfactor", "mu_top"),
                        modifier("lumi", "lumi"),
                        modifier("normsys", "jes", {"lo": 0.8, "hi": 1.1}),
                        modifier(
                            "histosys",
                            "jes",
                            {
                                "lo_data": [18.0, 14.0, 4.0],
                                "hi_data": [24.0, 16.0, 8.0],
                            },
                        ),
                        modifier(
                            "histosys",
                            "mean",
                            {
                                "lo_data": [19.0, 14.0, 4.0],
                                "hi_data": [24.0, 16.0, 8.0],
                            },
                        ),
                        modifier("staterror", "staterror_SR", [2.0, 1.5, 1.0]),
                    ],
                },
            ],
        },
    ],
    "observations": [
        {"name": "CR", "data": [305.0, 210.0]},
        {"name": "SR", "data": [21.0, 18.0, 9.0]},
    ],
    "measurements": [
        {
            "name": "published",
            "config": {
                "poi": "mu",
                "parameters": [
                    {"name": "mu", "bounds": [[0.0, 7.0]], "inits": [1.0]},
                    {
                        "name": "lumi",
                        "auxdata": [1.0],
                        "sigmas": [0.02],
                        "bounds": [[0.9, 1.1]],
                        "inits": [1.0],
                    },
                ],
            },
        }
    ],
}


@pytest.fixture
def joined(tmp_path):
    """A configuration that joins a workspace, changed by `spoil`."""

    def parsed(spoil=lambda spec: None, region="SR", **sections):
        spec = copy.deepcopy(PUBLISHED)
        spoil(spec)
        path = tmp_path / "workspace.json"
        path.write_text(json.dumps(spec))
        regions = [
            {"Name": region, "Observable": "summary", "Binning": [0.0, 0.5, 1.0]}
        ]
        document = tiny.document(
            **{"Workspace": {"Path": str(path)}, "Regions": regions, **sections}
        )
        return tiny.parsed(document)

    return parsed


def names_of(layout, channel, sample):
    return sorted((m.type, m.name) for m in layout.row(channel, sample).modifiers)


def test_a_new_region_leaves_the_published_likelihood_alone(joined):
    """Without events -2 ln L is pyhf's of the workspace and of the region, summed."""
    model, data, channels = assemble.structure(joined(region="plane"))
    assert channels == ("CR", "SR")
    published = pyhf.Workspace(PUBLISHED).model()
    both = pyhf.Workspace(assemble.specification(joined(region="plane"))).model()
    region = {"plane"}
    rng = np.random.default_rng(2)
    point = dict(
        zip(model.parameters.names, model.parameters.inits.tolist(), strict=True)
    )
    for name in point:
        point[name] *= 1 + 0.02 * rng.normal()
    params = jnp.array([point[name] for name in model.parameters.names])
    alone = published.expected_actualdata(
        [point[name] for name in published.config.par_names]
    )
    together = np.asarray(model.expected_actualdata(params))
    assert {c.name for c in model.layout.channels} - set(channels) == region
    for channel, bins in published.config.channel_slices.items():
        np.testing.assert_allclose(
            together[model.layout.bins(channel)], alone[bins], rtol=1e-14
        )
    np.testing.assert_allclose(
        model.twice_nll(params, data),
        -2 * both.logpdf(np.asarray(params), np.asarray(data))[0],
        rtol=1e-12,  # same arithmetic
    )
    counts = np.asarray(data)
    for one in PUBLISHED["observations"]:
        assert counts[model.layout.bins(one["name"])].tolist() == one["data"]
    lumi = model.parameters.index("lumi")
    assert (model.parameters.lower[lumi], model.parameters.upper[lumi]) == (0.9, 1.1)
    assert model.parameters.upper[model.parameters.poi_index] == 7.0


def test_a_replaced_region_keeps_the_effects_on_the_yield(joined):
    model, _, channels = assemble.structure(joined())
    layout, templates = model.layout, model.templates
    assert channels == ("CR",)
    assert names_of(layout, "SR", "background") == [
        ("histosys", "mean"),  # described by events
        ("lumi", "lumi"),
        ("normfactor", "mu_top"),
        ("normsys", "jes"),
        ("normsys", "mean"),
        ("staterror", "staterror_SR"),
    ]
    at = layout.normsys("SR", "background", "jes")
    # The published factor times the published change of the yield of 40 events.
    np.testing.assert_allclose(templates.normsys_lo[at], 0.8 * 36 / 40, rtol=1e-15)
    np.testing.assert_allclose(templates.normsys_hi[at], 1.1 * 48 / 40, rtol=1e-15)
    assert names_of(layout, "SR", "signal") == [
        ("normfactor", "mu"),
        ("staterror", "staterror_SR"),
    ]
    original, _ = from_workspace(PUBLISHED)
    for kind in ("nominal", "shapesys"):
        slices = [
            one.layout.cells("CR", "top")
            if kind == "nominal"
            else one.layout.shapesys("CR", "top", "tagging")
            for one in (model, original)
        ]
        np.testing.assert_array_equal(
            getattr(templates, kind)[slices[0]],
            getattr(original.templates, kind)[slices[1]],
        )


def add_shapefactor(spec):
    background = spec["channels"][1]["samples"][1]
    background["modifiers"].append(modifier("shapefactor", "free"))


def add_sample(spec):
    spec["channels"][1]["samples"].append(
        {"name": "fakes", "data": [1.0, 1.0, 1.0], "modifiers": []}
    )


def rename_poi(spec):
    spec["measurements"][0]["config"]["poi"] = "mu_top"


def take_the_name(spec):
    spec["channels"][0]["samples"][0]["modifiers"].append(
        modifier("staterror", "staterror_plane", [1.0, 1.0])
    )


def empty_background(spec):
    background = spec["channels"][1]["samples"][1]
    background["data"] = [0.0, 0.0, 0.0]
    background["modifiers"].pop()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (add_shapefactor, "region 'SR', sample 'background': .*shapefactor 'free'"),
        (add_sample, "region 'SR': the published sample 'fakes' needs events"),
        (rename_poi, "General.POI is 'mu', but .* is 'mu_top'"),
        (empty_background, "sample 'background': the published yield is 0"),
    ],
)
def test_a_workspace_that_does_not_fit_is_refused(joined, spoil, message):
    with pytest.raises(SpecificationError, match=message):
        assemble.structure(joined(spoil))


def test_two_statistical_uncertainties_of_one_name_are_refused(joined):
    with pytest.raises(SpecificationError, match="'top': staterror 'staterror_plane'"):
        assemble.structure(joined(take_the_name, region="plane"))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"NormFactors": [{"Name": "mu", "Samples": "signal", "Bounds": [0, 5]}]},
            r"norm factor 'mu': .* Bounds \[0, 7\]",
        ),
        (
            {
                "General": {
                    "Measurement": "tiny",
                    "POI": "mu",
                    "Fixed": [{"Name": "jess", "Value": 0}],
                }
            },
            "General.Fixed: the model has no parameter 'jess'",
        ),
        ({"Workspace": {"Path": "nowhere.json"}}, "Workspace: nowhere.json: cannot be"),
    ],
)
def test_a_configuration_that_contradicts_the_workspace_is_refused(
    joined, sections, message
):
    with pytest.raises(SpecificationError, match=message):
        assemble.structure(joined(**sections))


def test_published_parameters_can_be_held(joined):
    general = {"Measurement": "tiny", "POI": "mu"}
    general["Fixed"] = [{"Name": "jes", "Value": 0.5}]
    model, _, _ = assemble.structure(joined(General=general))
    at = model.parameters.index("jes")
    assert model.parameters.fixed[at]
    assert model.parameters.inits[at] == 0.5


def test_files_of_the_workspace_are_inputs(joined):
    (path,) = assemble.input_files(joined())
    assert path.name == "workspace.json"


@pytest.mark.slow
def test_a_joined_region_is_trained_and_judged_by_pyhf(joined, tmp_path):
    from diffana import config as configuration

    path, out = tmp_path / "config.yaml", tmp_path / "run"
    path.write_text(configuration.dump(joined()))
    result = CliRunner().invoke(main, ["train", str(path), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "1 channels of" in result.output
    summary = json.loads((out / "results.json").read_text())
    np.testing.assert_allclose(
        summary["diffana"]["CLs_exp"], summary["pyhf"]["CLs_exp"], rtol=1e-4
    )
    workspace = pyhf.Workspace(json.loads((out / "workspace.json").read_text()))
    assert workspace.observations["CR"] == [305.0, 210.0]
