import json

import numpy as np
import pytest

from experiments.one_bin import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_bin")
    run.main(["--quick", "--out", str(folder)])
    return folder


def test_every_claim_is_reproduced(folder):
    record = json.loads((folder / "claims.json").read_text())
    assert record["quick"]
    verdicts = {claim["claim"]: claim["verdict"] for claim in record["claims"]}
    assert set(verdicts.values()) == {"reproduced"}, verdicts


def test_descents_end_where_pyhf_has_its_minimum(folder):
    numbers = json.loads((folder / "numbers.json").read_text())
    ends = {kind: np.array(path)[-1] for kind, path in numbers["path"].items()}
    # Four digits are known; each descent went on until it moved by less.
    np.testing.assert_allclose(ends["shapesys"], 4.6352, atol=1e-4)
    np.testing.assert_allclose(ends["histosys"], 4.8406, atol=1e-4)
    np.testing.assert_array_equal(ends["none"], 10.0)


def test_figures_are_written(folder):
    names = {path.name for path in folder.glob("*.png")}
    assert names == {"counts.png", "p0.png", "descent.png"}
