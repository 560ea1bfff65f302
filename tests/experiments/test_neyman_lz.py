import json

import numpy as np
import pytest

from experiments.neyman_lz import run
from experiments.neyman_lz.model import histograms, likelihood
from experiments.neyman_lz.templates import SETTINGS, compressed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neyman_lz")
    with pytest.MonkeyPatch.context() as patch:
        # Drawing takes half of the time; it has a test of its own.
        patch.setattr(run.figures, "draw", lambda folder, found: None)
        patch.setattr(run, "SETTINGS", ["first"])
        run.main(["--quick", "--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def first(folder):
    return json.loads((folder / "numbers.json").read_text())["first"]["tests"]


@pytest.mark.parametrize("name", SETTINGS)
def test_histograms_have_the_stated_totals(name):
    accidentals, rate = SETTINGS[name]
    numbers = histograms()[name]
    # Sixteen numbers, rounded to 1e-5.
    np.testing.assert_allclose(sum(numbers["background"]), 333 + accidentals, atol=1e-4)
    np.testing.assert_allclose(sum(numbers["signal"]), rate, atol=1e-4)
    ratio = np.divide(numbers["signal"], numbers["background"])
    assert (np.diff(ratio) > 0).all()
    expected = likelihood(name).expected_data(np.array([2.0]))
    total = 333 + accidentals + 2 * rate
    np.testing.assert_allclose(float(expected.sum()), total, atol=3e-4)


def test_bins_hold_the_cells_of_their_ratio():
    signal = np.array([0.0, 1.0, 1.0, 30.0])
    background = np.array([5.0, 1e6, 10.0, 1.0])
    edges, s, b = compressed(signal, background)
    assert edges[0] == -3.5
    np.testing.assert_allclose(edges[-1], np.log10(30.0))
    # What has no signal, or a ratio below all bins, is in the first one.
    np.testing.assert_array_equal((s[0], b[0]), (1.0, 1e6 + 5.0))
    np.testing.assert_array_equal((s[-1], b[-1]), (30.0, 1.0))
    assert np.searchsorted(edges, -1.0, "right") - 1 == np.flatnonzero(b == 10.0)[0]


def test_focused_sets_are_shorter_at_the_focus(first):
    lengths = [first[name]["rows"]["length 0"]["median"] for name in first]
    likelihood_ratio, wide, narrow = np.array(lengths)
    assert (wide < likelihood_ratio).all()
    assert narrow[0] < wide[0]


def test_sets_end_at_zero_for_no_signal(first):
    for test in first.values():
        # Half of the sets begin at 0, so that length and upper edge agree in the median
        # unless sets are disconnected.
        length, upper = (
            test["rows"][one]["median"][0] for one in ("length 0", "upper 0")
        )
        assert length <= upper + 1e-9


def test_every_row_has_a_verdict(folder):
    record = json.loads((folder / "claims.json").read_text())
    rows = [claim for claim in record["claims"] if "within 5 %" in claim["expected"]]
    assert len(rows) == 4


@pytest.mark.slow
def test_figures_are_written(tmp_path):
    run.main(["--quick", "--out", str(tmp_path)])
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"histograms.png", "published.png", "coverage.png", "regret.png"}
