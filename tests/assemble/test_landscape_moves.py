"""What moves in a workspace, against pyhf on a workspace with the moved numbers."""

import copy
import json

import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
import yaml

from diffana import assemble, config


SIGNAL, BACKGROUND = (
    {
        "name": "signal",
        "data": [5.0, 11.0],
        "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
    },
    {
        "name": "background",
        "data": [50.0, 40.0],
        "modifiers": [
            {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.8}},
            {
                "name": "shape",
                "type": "histosys",
                "data": {"hi_data": [55.0, 38.0], "lo_data": [47.0, 43.0]},
            },
            {"name": "bins", "type": "shapesys", "data": [5.0, 6.0]},
            {"name": "mc", "type": "staterror", "data": [3.0, 4.0]},
        ],
    },
)
WORKSPACE = {
    "version": "1.0.0",
    "channels": [{"name": "SR", "samples": [SIGNAL, BACKGROUND]}],
    "observations": [{"name": "SR", "data": [55.0, 48.0]}],
    "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
}


def nominal(sample):
    sample["data"] = [51.0, 38.0]


def normsys_lo(sample):
    sample["modifiers"][0]["data"]["lo"] = 0.85


def histosys_hi(sample):
    sample["modifiers"][1]["data"]["hi_data"] = [56.0, 36.0]


def shapesys(sample):
    sample["modifiers"][2]["data"] = [5.5, 5.0]


def staterror(sample):
    sample["modifiers"][3]["data"] = [3.5, 3.0]


MOVES = [
    (nominal, {"Type": "nominal", "Direction": [1, -2]}),
    (
        normsys_lo,
        {"Type": "normsys", "Modifier": "norm", "Side": "Lo", "Direction": [0.05]},
    ),
    (
        histosys_hi,
        {"Type": "histosys", "Modifier": "shape", "Side": "Hi", "Direction": [1, -2]},
    ),
    (shapesys, {"Type": "shapesys", "Modifier": "bins", "Direction": [0.5, -1]}),
    (staterror, {"Type": "staterror", "Modifier": "mc", "Direction": [0.5, -1]}),
]


@pytest.mark.parametrize(
    ("edit", "move"), MOVES, ids=lambda x: getattr(x, "__name__", "")
)
def test_a_moved_template_is_that_of_the_edited_workspace(edit, move, tmp_path):
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(WORKSPACE))
    move = {"Channel": "SR", "Sample": "background", **move}
    document = {
        "Workspace": {"Path": str(path)},
        "Losses": [{"Type": "cls"}],
        "Axes": [{"Name": "t", "Range": [0, 1], "Points": 2, "Moves": move}],
    }
    build = assemble.of_workspace(config.parse_landscape(yaml.safe_dump(document)))
    edited = copy.deepcopy(WORKSPACE)
    edit(edited["channels"][0]["samples"][1])
    model = pyhf.Workspace(edited).model()
    rng = np.random.default_rng(1)
    params = np.array(model.config.suggested_init()) + rng.uniform(
        -0.3, 0.3, model.config.npars
    )
    data = [55.0, 48.0, *model.config.auxdata]
    want = -2 * float(model.logpdf(params, data)[0])
    found = [
        float(
            build({"t": jnp.array(t)})[0].twice_nll(jnp.array(params), jnp.array(data))
        )
        for t in (0.0, 1.0)
    ]
    # Sums of a dozen terms of order ten: rounding.
    np.testing.assert_allclose(found[1], want, rtol=1e-12)
    assert abs(found[0] - want) > 1e-4
