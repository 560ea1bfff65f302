"""How often the checks warn of healthy events: as often as they say."""

import numpy as np
import pytest

import tiny
from diffana.data import split
from diffana.workflow.safety.agreement import check_agreement
from diffana.workflow.safety.drawing import drawn, everything, resampled
from diffana.workflow.safety.precision import check_generalisation, check_halves
from diffana.workflow.safety.sensitivity import expected


N_TOYS = 100
N_RESAMPLES = 40


def results(config, analysis, events, how, seed):
    return expected(config, analysis, drawn(analysis, [events], how, seed))


@pytest.mark.slow
def test_healthy_events_are_rarely_warned_of():
    """An analysis that was not trained, on parts of one sample."""
    config, analysis = tiny.parsed(tiny.document()), tiny.analysis()
    whole = resampled(N_RESAMPLES)
    half = resampled(N_RESAMPLES, share=0.5)
    halves = resampled(N_RESAMPLES, n_subsets=2)
    checks = {"agreement": [], "generalisation": [], "halves": []}
    for toy in range(N_TOYS):
        events = tiny.populations(n_events=800, seed=1000 + toy)
        fractions = {"train": 0.5, "validation": 0.25, "test": 0.25}
        parts = split(events, fractions, toy)
        checks["agreement"].append(
            check_agreement(
                *(drawn(analysis, [one], everything, toy) for one in parts.values())
            )
        )
        train, *of_train = results(config, analysis, parts["train"], half, toy)
        test, *of_test = results(config, analysis, parts["test"], whole, toy)
        checks["generalisation"].append(
            check_generalisation((train, test), (of_train, of_test))
        )
        first, second, *rest = results(config, analysis, parts["test"], halves, toy)
        checks["halves"].append(
            check_halves((first, second), (rest[:N_RESAMPLES], rest[N_RESAMPLES:]))
        )
    for found in checks.values():
        # 1 % of them is 1; four standard deviations above.
        assert [one.verdict for one in found].count("warn") <= 5
    for name in ("generalisation", "halves"):
        pulls = np.array(
            [
                [row["pull"] for row in one.numbers["metrics"].values()]
                for one in checks[name]
            ]
        )
        # The width is known to 7 %, the mean to 0.1; four standard deviations.
        np.testing.assert_allclose(pulls.std(axis=0), 1.0, atol=0.28)
        np.testing.assert_allclose(pulls.mean(axis=0), 0.0, atol=0.4)
