"""Results do not depend on how a workspace is written down."""

import numpy as np
import pytest

from diffana.histfactory import from_workspace
from diffana.infer import hypotest
from rearranged import reordered, shuffled, split
from regions import EVERYTHING, workspace


# Between the background and the signal: all best fits are off the bounds.
OBSERVED = [61.0, 50.0, 124.0]


def exclusion(spec):
    model, data = from_workspace(spec)
    return model.parameters.names, hypotest(model, data, 1.0)


@pytest.fixture(scope="module")
def original():
    return exclusion(workspace(OBSERVED, **EVERYTHING))


@pytest.mark.parametrize(
    "rearrange",
    [
        lambda spec: shuffled(spec, seed=4),
        lambda spec: split(spec, "SR", "top", 0.3),
        lambda spec: split(spec, "SR", "signal", 0.5),
    ],
    ids=["shuffled", "split background", "split signal"],
)
def test_fits_and_CLs_stay(original, rearrange):
    names, want = original
    found_names, found = exclusion(rearrange(workspace(OBSERVED, **EVERYTHING)))
    # Values near 30 are good to rounding, and their place to the root of an edm of
    # 1e-18, or of rounding where that is larger.
    np.testing.assert_allclose(
        [found.CLs_obs, *found.CLs_exp], [want.CLs_obs, *want.CLs_exp], rtol=1e-10
    )
    free, wanted = found.observed.free, want.observed.free
    np.testing.assert_allclose(free.best_twice_nll, wanted.best_twice_nll, rtol=1e-13)
    np.testing.assert_allclose(
        reordered(free.bestfit, found_names, names), wanted.bestfit, atol=1e-7
    )
    assert np.all(reordered(free.free, found_names, names) == wanted.free)
