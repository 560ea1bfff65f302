"""A count with a background that is measured: closed forms and enumeration."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from diffana.neyman.focus import Normal
from diffana.neyman.grid import Grid
from diffana.neyman.nuisance import Profile
from diffana.neyman.profiles import ProfileNodes, interpolation_error
from diffana.neyman.statistics import FTS, LRS
from neyman.counting import critical_values, on_off


GRID = Grid.between(0.0, 40.0, 2001)
MU = np.asarray(GRID.points)
FOCUS = FTS(Normal(0.0, 2.0, lower=0.0, upper=40.0))
MODELS = {1.0: on_off(1.0)}
# The rate of the control region is the yield of its sample.
MODELS[2.0], MODELS[5.0] = (
    eqx.tree_at(
        lambda m: m.templates.nominal,
        MODELS[1.0],
        MODELS[1.0]
        .templates.nominal.at[MODELS[1.0].layout.cells("CR", "background")]
        .set(tau),
    )
    for tau in (2.0, 5.0)
)


def profile(n, m, tau, mu):
    """ln L without constants, maximised over nu in closed form."""
    b = n + m - (1 + tau) * mu
    root = np.sqrt(b**2 + 4 * (1 + tau) * m * mu)
    nu = np.maximum((b + root) / (2 * (1 + tau)), 0.0)
    on = special.xlogy(n, mu + nu) - mu - nu
    return on + special.xlogy(m, tau * nu) - tau * nu


def closed_form(n, m, tau, mu):
    """Both statistics, the integral over the focus by adaptive quadrature."""
    best = profile(n, m, tau, max(n - m / tau, 0.0))

    def weighted(x):
        # Twice the normal density, but for 1e-88 beyond 40.
        density = 2 * stats.norm.pdf(x, 0.0, 2.0)
        return density * np.exp(profile(n, m, tau, x) - best)

    average = integrate.quad(weighted, 0.0, 40.0, points=[1.0, 3.0, 6.0, 12.0])[0]
    ratio = -2 * (profile(n, m, tau, mu) - best)
    return ratio, ratio + 2 * np.log(average)


@eqx.filter_jit
def curves(model, data, n_nodes):
    return Profile(n_nodes).curves(model, data, GRID, model.parameters.inits)


def of_counts(tau, counts, n_nodes, n_rows=96):
    """Both statistics: [count, tested]."""
    # Data of the model have the control region first. One shape compiles one program.
    data = np.resize(np.asarray(counts, float)[:, ::-1], (n_rows, 2))
    found = curves(MODELS[tau], jnp.asarray(data), n_nodes)
    return [np.asarray(one(found, GRID))[: len(counts)] for one in (LRS(), FOCUS)]


PUBLISHED = {
    # n, m, tau: LRS(0), LRS(2), FTS(0), FTS(2)
    (8, 3, 1.0): (2.358280, 0.859386, 1.23062, -0.26828),
    (4, 5, 5.0): (3.791983, 0.280226, 2.83547, -0.67629),
    (10, 0, 1.0): (13.862944, 9.862944, 5.16912, 1.16912),
}


@pytest.mark.parametrize("counts", PUBLISHED)
def test_closed_forms_agree_with_independent_numbers(counts):
    n, m, tau = counts
    at_0, at_2 = (closed_form(n, m, tau, mu) for mu in (0.0, 2.0))
    # Six digits; the trapezoidal rule behind the last two numbers is off by 1e-5.
    want = PUBLISHED[counts]
    np.testing.assert_allclose((at_0[0], at_2[0]), want[:2], atol=1e-6)
    np.testing.assert_allclose((at_0[1], at_2[1]), want[2:], atol=2e-5)


@pytest.mark.parametrize("counts", [(8, 3, 1.0), (4, 5, 5.0), (2, 7, 1.0), (0, 4, 1.0)])
def test_profiles_give_both_statistics(counts):
    n, m, tau = counts
    (ratio,), (focused,) = of_counts(tau, [[n, m]], 25)
    for mu in (0.0, 0.5, 2.0, 5.0):
        at = round(mu / 0.02)
        want = closed_form(n, m, tau, mu)
        # With 25 nodes the profile is interpolated to 1e-5 if counts are above 2.
        np.testing.assert_allclose((ratio[at], focused[at]), want, atol=2e-5)


def test_every_small_count_has_certified_fits():
    """Zero counts too, where parameters sit on bounds and rates lack curvature."""
    counts = np.stack(np.meshgrid(np.arange(12), np.arange(8)), -1).reshape(-1, 2)
    found, _ = of_counts(1.0, counts, 9)
    assert np.isfinite(found).all()
    want = np.stack(
        [
            [closed_form(n, m, 1.0, mu)[0] for mu in (0.0, 4.0)]
            for n, m in counts.tolist()
        ]
    )
    # At 0, where a node is, the profile is fitted. Elsewhere nine nodes are coarse for
    # counts of a few, and very coarse for none, where the profile has a kink.
    np.testing.assert_allclose(found[:, 0], want[:, 0], atol=1e-5)
    near = (want[:, 1] < 9) & (counts[:, 1] > 0)
    np.testing.assert_allclose(found[near, 200], want[near, 1], atol=0.05)


def test_the_error_of_interpolation_is_found():
    """Against the closed form between the nodes."""
    counts = np.array([[8, 3], [14, 3], [12, 1], [12, 0]])
    data = jnp.asarray(counts, float)[:, ::-1]
    model = MODELS[1.0]
    settings = ProfileNodes(9, 5.0)
    found = eqx.filter_jit(interpolation_error)(
        model, data, GRID, model.parameters.inits, settings, highest=9.0
    )
    seen, _ = of_counts(1.0, counts, 9)
    want = np.array(
        [-2 * (profile(n, m, 1.0, MU) - profile(n, m, 1.0, n - m)) for n, m in counts]
    )
    error = np.where(want < 9, np.abs(seen - want), 0.0).max(1)
    # The largest error lies close to the middle between two nodes, not exactly there;
    # what interpolation by a polynomial of even order adds to the supremum is small.
    np.testing.assert_allclose(found, error, rtol=0.5)
    assert (np.diff(found) > 0).all()


ROWS = [
    # tau, mu, nu, critical values of both statistics at one and two standard deviations
    (1.0, 0.0, 3.0, (0.2014, 2.9419), (-0.0528, 2.0074)),
    (1.0, 2.0, 3.0, (1.0797, 3.3128), (0.0591, 0.8608)),
    (2.0, 5.0, 3.0, (1.0228, 4.1263), (-0.3632, 2.5777)),
    (1.0, 5.0, 10.0, (1.0203, 3.4146), (0.0315, 1.8871)),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_critical_values_by_enumeration_of_all_counts(row):
    tau, mu, nu, ratio, focused = row
    # Beyond 45 there is less than 1e-9 of probability.
    counts = np.stack(np.meshgrid(np.arange(46), np.arange(46)), -1).reshape(-1, 2)
    on, off = counts.T
    probability = stats.poisson.pmf(on, mu + nu) * stats.poisson.pmf(off, tau * nu)
    at = round(mu / 0.02)
    both = of_counts(tau, counts, 33, len(counts))
    for found, want in zip(both, (ratio, focused), strict=True):
        for level, value in zip((0.6826894921, 0.9544997361), want, strict=True):
            critical = critical_values(found[:, at, None], probability[:, None], level)
            # 33 nodes are good for 1e-4, but where no event is seen in the control
            # region the profile has a kink.
            np.testing.assert_allclose(critical, value, atol=2e-3)
