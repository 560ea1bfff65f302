import numpy as np
import pytest
import scipy.stats

from diffana.data.toys import BLOB_MEANS, gaussian_blobs


@pytest.mark.parametrize("name", BLOB_MEANS)
def test_blobs_are_independent_unit_normals(name):
    table = gaussian_blobs(n_events=20_000, seed=3)[name]
    noise = table.matrix(["x", "y"]) - BLOB_MEANS[name]
    for component in noise.T:
        # One in 10^4 seeds would fail; this one does not.
        assert scipy.stats.kstest(component, "norm").pvalue > 1e-4
    # Sample correlation of independent normals: 1/sqrt(n) = 0.007, four sigma.
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.028


def test_each_blob_depends_on_seed_and_name_alone():
    blobs = gaussian_blobs(n_events=10, seed=3)
    alone = gaussian_blobs({"signal": (-1.0, 1.0)}, n_events=10, seed=3)
    np.testing.assert_array_equal(blobs["signal"]["x"], alone["signal"]["x"])
    noise = {name: table["x"] - BLOB_MEANS[name][0] for name, table in blobs.items()}
    assert not np.allclose(noise["signal"], noise["background"])
    other = gaussian_blobs(n_events=10, seed=4)
    assert not np.allclose(blobs["signal"]["x"], other["signal"]["x"])


def test_means_and_number_of_events_are_free():
    blobs = gaussian_blobs({"far": (100.0, -100.0)}, n_events=7)
    assert list(blobs) == ["far"]
    assert len(blobs["far"]) == 7
    assert np.all(blobs["far"]["x"] > 90)
    assert np.all(blobs["far"]["y"] < -90)
    with pytest.raises(ValueError, match="n_events has to be at least 1"):
        gaussian_blobs(n_events=0)
