import numpy as np
import pytest

from diffana.data.events import PopulationName
from diffana.workflow.safety.drawing import Drawn
from diffana.workflow.safety.statistics import check_statistics


def counted(**samples):
    """Histograms of one region from counts of simulated events and their weight."""
    sumw, sumw2, source = {}, {}, {}
    for sample, (counts, weight) in samples.items():
        name = PopulationName("SR", sample, "nominal")
        counts = np.array([counts], float)
        sumw[name], sumw2[name] = counts * weight, np.abs(counts) * weight**2
        source[name] = sample
    edges = np.arange(len(next(iter(samples.values()))[0]) + 1.0)
    return Drawn({"SR": edges}, sumw, sumw2, source)


def test_bins_of_many_events_pass():
    test = counted(signal=([40, 60], 0.1), ttbar=([400, 100], 0.5), wz=([50, 30], 0.2))
    found = check_statistics(test, ["signal"])
    assert found.verdict == "pass"
    (region,) = found.numbers["regions"]
    # sqrt(Σ n w²)/Σ n w
    relative = [
        np.sqrt(n * 0.25 + m * 0.04) / (n * 0.5 + m * 0.2)
        for n, m in ((400, 50), (100, 30))
    ]
    assert region["background"]["relative"] == pytest.approx(relative, rel=1e-12)
    assert f"at most {100 * max(relative):.1f} %" in found.summary
    signal, *_ = region["samples"]
    assert signal["effective_events"] == pytest.approx([40, 60], rel=1e-12)


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        (
            {"signal": ([40, 60], 0.1), "ttbar": ([400, 3], 0.5)},
            "region 'SR', sample 'ttbar', bin 1: uncertain by 58 %",
        ),
        (
            {"signal": ([40, 60], 0.1), "ttbar": ([24, 400], 0.5)},
            "region 'SR', background, bin 0: uncertain by 20 %",
        ),
        (
            {"signal": ([40, 60], 0.1), "ttbar": ([0, 400], 0.5)},
            "region 'SR', background, bin 0: no yield",
        ),
        (
            {"signal": ([40, 60], 0.1), "a": ([-2, 90], 0.1), "b": ([90, 90], 1.0)},
            "region 'SR', sample 'a', bin 0: negative yield",
        ),
        (
            {"signal": ([3, 60], 1.0), "ttbar": ([90, 90], 0.1)},
            "region 'SR', sample 'signal', bin 0: uncertain by 58 %",
        ),
    ],
)
def test_bins_of_few_events_are_named(samples, problem):
    found = check_statistics(counted(**samples), ["signal"])
    assert found.verdict == "warn"
    assert problem in found.numbers["problems"]
    assert problem in found.summary


def test_a_sample_of_few_events_may_be_small():
    """Three of its events are a hundredth of the bin: the total is what counts."""
    test = counted(signal=([50, 50], 0.1), ttbar=([400, 400], 1.0), wz=([3, 40], 1.0))
    assert check_statistics(test, ["signal"]).verdict == "pass"


def test_a_sample_may_be_absent_from_a_bin():
    test = counted(signal=([50, 50], 0.1), ttbar=([400, 400], 1.0), wz=([0, 40], 1.0))
    found = check_statistics(test, ["signal"])
    assert found.verdict == "pass"
    samples = found.numbers["regions"][0]["samples"]
    assert [one["not_positive"] for one in samples] == [0, 0, 1]


def test_a_region_of_signal_alone_has_no_background_to_judge():
    found = check_statistics(counted(signal=([50, 50], 0.1)), ["signal"])
    assert (found.verdict, found.numbers["regions"][0]["background"]) == ("pass", None)
