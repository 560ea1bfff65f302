import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from experiments.bkde import errors, law, run
from experiments.bkde.densities import FITTED


def test_gradient_of_every_bin_is_that_of_the_closed_form():
    """Quantiles in place of random events leave the bias of the kernels only."""
    bandwidth, edges = 0.3, np.linspace(-2.5, 2.5, 11)
    x = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    found = errors.gradients(jnp.array(x), jnp.array(edges), bandwidth)
    # A normal sample under normal kernels is a normal density, only wider.
    density = stats.norm.pdf(edges, scale=np.hypot(1.0, bandwidth))
    # The sum over quantiles is an integral by midpoints, of step 5e-5.
    np.testing.assert_allclose(found, density[:-1] - density[1:], atol=1e-6)


@pytest.mark.parametrize("width", [0.1, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("size", [50, 1000, 50_000])
def test_rule_is_nearly_the_minimum_of_the_exact_error(width, size):
    """For a normal density the mean integrated squared error has a closed form."""

    def power(s):
        # Of a difference over `width` of functions whose product is normal, width s.
        return 2 * (stats.norm.pdf(0, scale=s) - stats.norm.pdf(width, scale=s))

    def error(bandwidth):
        both = power(np.sqrt(2 * bandwidth**2 + 2))
        variance = (power(np.sqrt(2) * bandwidth) - both) / size
        bias = both - 2 * power(np.sqrt(bandwidth**2 + 2)) + power(np.sqrt(2))
        return np.sqrt(variance + bias)

    lowest = optimize.minimize_scalar(
        lambda h: error(np.exp(h)), bounds=(-5, 1), method="bounded"
    ).fun
    # What the rule leaves out is the change from one of its three regimes to another.
    assert error(law.rule(size, width, 1.0)) < 1.06 * lowest


def test_measured_optimum_is_that_of_the_rule():
    bandwidths = np.geomspace(0.1, 1.0, 10)
    edges = np.arange(-5.05, 5.06, 0.1)
    arguments = (FITTED["normal"], edges, (500,), bandwidths, (10,))
    (wrong,), _ = errors.table(*arguments, budget=20_000, seed=4)
    # Forty samples know the flat minimum to several per cent.
    found = law.optimum(bandwidths, wrong[0])
    assert abs(found / law.rule(500, 1.0, 1.0) - 1) < 0.2
    # A step too large or too small would not pass.
    assert law.cost(bandwidths, wrong[0], 2 * found) > 1.3


@pytest.mark.slow
def test_verdicts_of_a_quick_run(tmp_path):
    run.main(["--quick", "--out", str(tmp_path)])
    claims = json.loads((tmp_path / "claims.json").read_text())["claims"]
    verdicts = [claim["verdict"] for claim in claims]
    good, bad = "reproduced", "not reproduced"
    assert verdicts == [good, good, bad, good, good, bad, bad], claims
    assert len(list(tmp_path.glob("*.png"))) == 5
