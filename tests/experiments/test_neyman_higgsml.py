import csv
import gzip
import json

import numpy as np
import pytest

from experiments.neyman_higgsml import run
from experiments.neyman_higgsml.model import (
    BACKGROUND,
    COLUMNS,
    EDGES,
    SIGNAL,
    TOTALS,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neyman_higgsml")
    with pytest.MonkeyPatch.context() as patch:
        # Drawing takes half of the time; it has a test of its own.
        patch.setattr(run.figures, "draw", lambda folder, found: None)
        patch.setattr(run, "COLUMNS", ["mass"])
        run.main(["--quick", "--out", str(folder)])
    return folder


@pytest.fixture(scope="module")
def mass(folder):
    return json.loads((folder / "numbers.json").read_text())["1.2"]["mass"]


def test_every_published_number_has_a_verdict(folder):
    record = json.loads((folder / "claims.json").read_text())
    assert record["quick"]
    sources = [claim["source"] for claim in record["claims"]]
    # Six numbers with the fitted luminosity, and one claim without.
    assert sum("2507.17831" in source for source in sources) == 7


def test_likelihood_ratio_has_the_length_of_a_bounded_gaussian(mass):
    # The Asimov width is 0.588 / sqrt(1.2) = 0.537; for 0.54 the bounded Gaussian has
    # median lengths 1.08 and 1.99. Belts of 500 toys per value know lengths to 5 %.
    lengths = mass["tests"]["LRS"]["median"]
    np.testing.assert_allclose(lengths, (1.08, 1.99), rtol=0.15)


def test_a_narrow_focus_is_shorter_at_its_centre_and_longer_far_from_it(mass):
    narrow, ratio = mass["tests"]["narrow"], mass["tests"]["LRS"]
    assert narrow["median"][0] < 0.95 * ratio["median"][0]
    assert mass["mu"][-1] == 5.0
    assert narrow["regret"][0][-1] > 1.3


def test_critical_values_of_focused_tests_are_below_their_bound(mass):
    for name, test in mass["tests"].items():
        if name != "LRS":
            assert test["excess over the bound"] < 0, name


@pytest.mark.slow
def test_figures_are_written(tmp_path):
    run.main(["--quick", "--out", str(tmp_path)])
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {"histograms.png", "published.png", "coverage.png", "regret.png"}


@pytest.mark.shared
@pytest.mark.parametrize("observable", COLUMNS)
def test_histograms_are_those_of_the_simulation(shared, observable):
    path = shared / "data" / "higgsml" / "higgsml_fragment_22889.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 22_889
    label = np.array([row["Label"] for row in rows])
    weight = np.array([float(row["Weight"]) for row in rows])
    values = np.array([float(row[COLUMNS[observable]]) for row in rows])
    # Numbers are given to 0.01 and to 1 event.
    for kind, known, rounding in (("s", SIGNAL, 0.006), ("b", BACKGROUND, 0.6)):
        chosen = label == kind
        scaled = weight[chosen] * TOTALS[kind] / weight[chosen].sum()
        counts, _ = np.histogram(values[chosen], EDGES[observable], weights=scaled)
        np.testing.assert_allclose(counts, known[observable], atol=rounding)
