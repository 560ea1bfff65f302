import copy
import io

import numpy as np
import pytest
from rich.console import Console

from diffana.errors import RunError
from diffana.workflow.neyman import figures, tables


GUARANTEE = "coverage at the nuisance parameters fitted to the data"
TEST = {
    "poi": "mu",
    "statistic": "fts",
    "focus": "normal(1,0.5)",
    "truncate": True,
    "nuisance": "profile",
    "scheme": "plugin",
    "guarantee": GUARANTEE,
}
MU = np.linspace(0.0, 4.0, 17)
CRITICAL = np.array([1.0 + 0.01 * MU, 3.0 + 0.01 * MU])
BELT = {
    **TEST,
    "method": "empirical",
    "guard": False,
    "levels": [0.6827, 0.9545],
    "mu": MU.tolist(),
    "critical": CRITICAL.tolist(),
    "n_toys": 100_011,
    "n_failed": 3,
    "seconds": 1234.56,
    "seed": 7,
}
INTERVAL = {
    **TEST,
    "data": "observed.json",
    "poi_hat": 1.25,
    "sets": [
        {
            "level": 0.6827,
            "segments": [[0.5, 1.625], [3.0, 3.25]],
            "hull": [0.5, 3.25],
            "length": 1.375,
            "empty": False,
            "hits_edge": [False, False],
        },
        {
            "level": 0.9545,
            "segments": [[0.0, 4.0]],
            "hull": [0.0, 4.0],
            "length": 4.0,
            "empty": False,
            "hits_edge": [True, False],
        },
    ],
    "mu": MU.tolist(),
    "statistic_obs": (2 * (MU - 1.25) ** 2).tolist(),
    "critical": CRITICAL.tolist(),
}
COVERAGE = {
    "poi": "mu",
    "guarantee": GUARANTEE,
    "mu": [0.0, 1.0, 2.0],
    "n_toys": 2000,
    "n_failed": 0,
    "seed": 1,
    "confidence": 0.95,
    "levels": [
        {
            "level": 0.6827,
            "coverage": [0.68, 0.69, 0.70],
            "lower": [0.66, 0.67, 0.685],
            "upper": [0.70, 0.71, 0.72],
            "band_lower": [0.65, 0.66, 0.67],
            "band_upper": [0.71, 0.72, 0.73],
            "covers": True,
            "exact": True,
            "largest_deviation": 0.0173,
            "at": 2.0,
        }
    ],
}
COMPARISON = {
    "poi": "mu",
    "reference": "lrs",
    "belts": {
        "narrow": {key: TEST[key] for key in TEST if key != "poi"},
        "lrs": {
            "statistic": "lrs",
            "nuisance": "none",
            "scheme": "plugin",
            "guarantee": GUARANTEE,
        },
    },
    "mu": [0.0, 1.0, 2.0],
    "n_toys": 1000,
    "seed": 2,
    "levels": [
        {
            "level": 0.6827,
            "belts": {
                "narrow": {
                    "median": [1.5, 1.25, 4.0],
                    "median_error": [0.1, 0.1, 0.1],
                    "empty": [0.0, 0.032, 0.0],
                    "ratio": {
                        "mean": [0.9, 0.75, 2.5],
                        "mean_error": [0.012, 0.011, 0.021],
                        "largest": {"mu": 2.0, "value": 2.5, "error": 0.021},
                        "smallest": {"mu": 1.0, "value": 0.75, "error": 0.011},
                    },
                },
                "lrs": {
                    "median": [1.6, 1.75, 1.8],
                    "median_error": [0.1, 0.1, 0.1],
                    "empty": [0.0, 0.0, 0.0],
                },
            },
        }
    ],
}


def shown(renderable, width=100):
    stream = io.StringIO()
    Console(file=stream, width=width, highlight=False).print(renderable)
    return stream.getvalue()


def row(text, start):
    """The line that starts with a word, without the spaces between its parts."""
    (line,) = [one for one in text.splitlines() if one.strip().startswith(start)]
    return " ".join(line.split())


def changed(document, **level):
    other = copy.deepcopy(document)
    other["levels"][0].update(level)
    return other


def test_a_belt_says_how_it_was_made():
    text = shown(tables.belt(BELT))
    assert row(text, "statistic") == "statistic FTS with the focus normal(1,0.5)"
    assert row(text, "nuisance") == "nuisance parameters profiled"
    assert row(text, "scheme") == "scheme plugin"
    assert row(text, "guarantee") == f"guarantee {GUARANTEE}"
    assert row(text, "critical") == "critical values order statistics"
    assert row(text, "toys") == (
        "toys 100011, 3 without certified fit, seed 7, 1234.6 s"
    )
    assert "bound" not in text


def test_a_belt_shows_nine_values_from_end_to_end():
    text = shown(tables.belt(BELT))
    assert row(text, "mu") == "mu 68.27 % 95.45 %"
    for value in np.linspace(0.0, 4.0, 9):
        wanted = f"{value:.3f} {1 + 0.01 * value:.3f} {3 + 0.01 * value:.3f}"
        assert row(text, f"{value:.3f} ") == wanted


def test_a_belt_with_a_bound_that_toys_exceeded_and_infinite_values():
    belt = {
        **BELT,
        "critical": [[None] * 17, [np.inf] * 17],
        # -2 ln(1 - CL).
        "bound": [2.29581, 6.18008],
        "excess": 0.034,
        "method": "quantile",
        "guard": True,
    }
    text = shown(tables.belt(belt))
    assert row(text, "bound") == "bound 2.296 6.180"
    assert row(text, "0.000") == "0.000 inf inf"
    assert "above the bound by up to 0.034" in text
    assert "quantile regression, corrected with toys kept back" in text
    for harmless in (-0.2, np.nan, None, 0.0):
        assert "above" not in shown(tables.belt({**belt, "excess": harmless}))


def test_a_belt_without_toys_and_without_focus():
    belt = {**BELT, "statistic": "lrs", "method": "universal", "n_toys": 0}
    del belt["focus"], belt["truncate"]
    text = shown(tables.belt(belt))
    assert row(text, "statistic") == "statistic LRS"
    assert row(text, "toys") == "toys none, 1234.6 s"


def test_segments_of_a_set_are_joined():
    text = shown(tables.interval(INTERVAL))
    assert row(text, "68.27") == "68.27 % [0.500, 1.625] ∪ [3.000, 3.250] 1.375"
    assert row(text, "95.45") == (
        "95.45 % [0.000, 4.000] 4.000 reaches the lower end of the tested range"
    )
    assert row(text, "best fit") == "best fit mu = 1.250"
    assert row(text, "data") == "data observed.json"
    assert GUARANTEE in text


@pytest.mark.parametrize(
    ("hits_edge", "words"),
    [
        ([False, True], "reaches the upper end of the tested range"),
        ([True, True], "reaches both ends of the tested range"),
    ],
)
def test_sets_that_reach_an_end(hits_edge, words):
    one = {**INTERVAL["sets"][1], "hits_edge": hits_edge}
    assert words in shown(tables.interval({**INTERVAL, "sets": [one]}))


def test_an_empty_set_and_an_unknown_best_fit():
    one = {
        "level": 0.9,
        "segments": [],
        "hull": [None, None],
        "length": 0.0,
        "empty": True,
        "hits_edge": [False, False],
    }
    text = shown(tables.interval({**INTERVAL, "sets": [one], "poi_hat": None}))
    assert row(text, "90 %") == "90 % ∅ 0.000 empty"
    assert row(text, "best fit") == "best fit none"


def test_names_with_brackets_are_no_styles():
    for make, document in (
        (tables.belt, BELT),
        (tables.interval, INTERVAL),
        (tables.coverage, COVERAGE),
        (tables.compare, COMPARISON),
    ):
        assert "mu[b]" in shown(make({**document, "poi": "mu[b]"}))
    one = {**INTERVAL["sets"][0], "segments": [[None, 1.0]]}
    assert "[nan, 1.000]" in shown(tables.interval({**INTERVAL, "sets": [one]}))


def test_small_values_keep_their_digits():
    one = {**INTERVAL["sets"][0], "segments": [[1.5e-4, 2.5e-4]], "length": 1e-4}
    small = {**INTERVAL, "mu": [0.0, 4e-4], "sets": [one]}
    assert "[0.0001500, 0.0002500]" in shown(tables.interval(small))


def test_coverage_within_the_band():
    text = shown(tables.coverage(COVERAGE))
    assert row(text, "true mu") == "true mu 68.27 %"
    # The larger side of the interval counts.
    assert row(text, "2.000") == "2.000 0.7000 ± 0.0200"
    assert row(text, "68.27 % ") == "68.27 % 0.0173 2.000 within the band"
    assert row(text, "toys") == "toys 2000 at each value, seed 1"


def test_coverage_below_the_level_names_where():
    bad = changed(
        COVERAGE,
        coverage=[0.60, 0.69, 0.61],
        band_upper=[0.63, 0.72, 0.64],
        covers=False,
        exact=False,
    )
    assert "below the level at mu = 0, 2" in shown(tables.coverage(bad))


def test_coverage_below_the_level_by_the_one_sided_test_only():
    bad = changed(
        COVERAGE,
        coverage=[0.68, 0.65, 0.70],
        band_upper=[0.71, 0.684, 0.73],
        covers=False,
        exact=True,
    )
    text = row(shown(tables.coverage(bad)), "68.27 % ")
    assert text.endswith("below the level at mu = 1")


def test_coverage_above_the_level_is_not_blamed():
    over = changed(
        COVERAGE,
        coverage=[0.80, 0.69, 0.70],
        band_lower=[0.77, 0.66, 0.67],
        exact=False,
    )
    text = shown(tables.coverage(over))
    assert "above the level at mu = 0, nowhere below it" in text


def test_a_comparison_shows_gain_and_price():
    text = shown(tables.compare(COMPARISON))
    assert "68.27 %: median length in mu" in text
    assert "68.27 %: expected length relative to lrs" in text
    assert "1.000 1.250 1.750" in " ".join(text.split())
    assert "1.000 0.750 ± 0.011" in " ".join(text.split())
    (worst,) = [line for line in text.splitlines() if "mu = 2.000" in line]
    assert " ".join(worst.split()) == (
        "narrow 0.750 ± 0.011 mu = 1.000 2.500 ± 0.021 mu = 2.000"
    )
    assert "narrow: up to 3.2 % of the sets have no length (mu = 1)" in text
    assert row(text, "guarantee") == f"guarantee {GUARANTEE}"


def test_a_comparison_of_different_guarantees_tells_them_apart():
    other = copy.deepcopy(COMPARISON)
    other["belts"]["lrs"]["guarantee"] = "coverage on average only"
    text = " ".join(shown(tables.compare(other)).split())
    assert f"{GUARANTEE} (narrow); coverage on average only (lrs)" in text


def test_numbers_that_json_does_not_have():
    other = copy.deepcopy(COMPARISON)
    narrow = other["levels"][0]["belts"]["narrow"]
    narrow["median"][2] = None
    narrow["ratio"]["mean"][2] = narrow["ratio"]["mean_error"][2] = None
    text = shown(tables.compare(other))
    assert "nan ± nan" in text


def test_figures_of_a_belt_are_stored_in_its_folder(tmp_path):
    infinite = {**BELT, "critical": [[None, *row[1:]] for row in BELT["critical"]]}
    figures.belt(tmp_path, infinite)
    figures.interval(tmp_path, {**INTERVAL, "poi_hat": None})
    figures.coverage(tmp_path, COVERAGE)
    figures.compare(tmp_path, COMPARISON)
    found = {file.name for file in (tmp_path / "figures").iterdir()}
    names = ("belt", "interval", "coverage", "compare")
    assert found == {f"{name}.{suffix}" for name in names for suffix in ("pdf", "png")}


def test_a_comparison_is_stored_in_the_format_of_its_file(tmp_path):
    figures.compare(tmp_path / "lengths.svg", COMPARISON)
    assert b"<svg" in (tmp_path / "lengths.svg").read_bytes()
    with pytest.raises(RunError, match="cannot be written"):
        figures.compare(tmp_path / "missing" / "lengths.pdf", COMPARISON)
