import json

import pytest

from experiments.bandwidth_schedule import run
from experiments.bandwidth_schedule.findings import claims


def runs(*values, soft=1.1):
    """Trainings whose hard metric is `values`, and the soft one `soft` times it."""
    kept = {"epoch": 1, "refused": 0, "stopped": ""}
    return [kept | {"hard": v, "soft": soft * v} for v in values]


def verdicts(annealed, *, refused=0):
    """Of a made-up study: fixed widths 0.02, 0.09, 0.3 with medians 3, 2 and 4."""
    settings = {
        "0.02": runs(2.5, 3.0, 3.5, soft=1.01),
        "0.09": runs(1.9, 2.0, 2.1),
        "0.3": runs(4.0, 4.0, 4.1, soft=0.5),
        "0.3 → 0.02": runs(*annealed, soft=1.02),
    }
    settings["0.3"][0]["refused"] = refused
    metrics = dict.fromkeys(("cls", "p0", "sigma_mu"), settings)
    made = claims({"bandwidth": metrics, "slope": {"p0": settings}})
    return [claim.verdict for claim in made]


def test_verdicts_follow_from_the_numbers():
    good = verdicts([1.8, 1.9, 2.2])
    assert set(good) == {"reproduced"}
    worse = verdicts([3.1, 3.2, 3.3], refused=2)
    # Worse than the best fixed width and than the second best, and a lone schedule has
    # no spread; neither the optimum nor the gaps know of its hard values.
    one = ["reproduced", "not reproduced", "differs"]
    assert worse == [*one * 3, *one[:2], "reproduced", "reproduced", "differs"]


def test_undefined_metric_counts_as_the_worst():
    found = verdicts([float("nan"), float("nan"), 1.0])
    assert found[1] == "not reproduced"


@pytest.mark.slow
def test_quick_run_decides_every_claim(tmp_path):
    run.main(["--quick", "--out", str(tmp_path)])
    record = json.loads((tmp_path / "claims.json").read_text())
    assert len(record["claims"]) == 14
    *_, refused = record["claims"]
    # The untrained network of seed 0 leaves a bin without any yield at this bandwidth.
    assert "bandwidth 0.02, CLs: 11 refused, 1 of 2" in refused["measured"], refused
    assert (tmp_path / "bandwidth.png").exists()
