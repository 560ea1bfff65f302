import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads

from diffana.histogram import Constant, FixedEdges, Geometric, Linear, TrainableEdges
from diffana.trainable import trainable


@pytest.mark.parametrize(
    "edges", [[0.0, 1.0], [0.0, 0.1, 0.15, 0.9, 1.0], [-3.0, 40.0, 41.0, 1e3]]
)
@pytest.mark.parametrize("minimum_width", [0.0, 0.01])
def test_trainable_edges_start_where_told(edges, minimum_width):
    trained = TrainableEdges.from_edges(edges, minimum_width=minimum_width)()
    # Widths go through a logarithm and an exponential, then are summed up.
    np.testing.assert_allclose(trained, edges, rtol=1e-13, atol=1e-13)
    assert trained[0] == edges[0]
    assert trained[-1] == edges[-1]


def test_open_outer_bins_start_where_told():
    edges = [-np.inf, 0.2, 0.7, np.inf]
    trained = TrainableEdges.from_edges(edges, low=0.0, high=1.0)
    np.testing.assert_allclose(trained(), edges, rtol=1e-14)
    half = TrainableEdges.from_edges([0.0, 0.2, np.inf], high=1.0)
    np.testing.assert_allclose(half(), [0.0, 0.2, np.inf], rtol=1e-14)


@given(
    logits=arrays(float, 6, elements=st.floats(-20, 20)),
    minimum_width=st.floats(0, 0.1),
)
def test_trained_edges_stay_in_order(logits, minimum_width):
    edges = TrainableEdges(logits, low=-1.0, high=2.0, minimum_width=minimum_width)
    widths = jnp.diff(edges())
    assert (widths > 0).all()
    assert widths.min() >= minimum_width - 1e-15  # differences of rounded edges


@pytest.mark.parametrize("flow", [False, True])
def test_gradient_of_the_edges(flow):
    def inner(logits):
        edges = TrainableEdges(logits, 0.0, 1.0, 0.05, underflow=flow, overflow=flow)
        return edges()[1:-1]

    logits = jnp.array([0.1, -0.4, 0.9])
    check_grads(jax.jit(inner), (logits,), order=2, modes=("fwd", "rev"))


def test_only_the_logits_train():
    mask = trainable(TrainableEdges.from_edges([0.0, 0.5, 1.0]))
    assert mask.logits is True
    assert [mask.low, mask.high, mask.minimum_width] == [False] * 3
    assert trainable(FixedEdges([0.0, 1.0])).edges is False


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([0.0, 0.5, 0.5, 1.0], r"edge 2 \(0\.5\) is not above edge 1 \(0\.5\)"),
        ([0.0, 0.5, 0.2], r"edge 2 \(0\.2\) is not above edge 1 \(0\.5\)"),
        ([0.0, np.nan, 1.0], r"edge 1 \(nan\) is not above edge 0"),
        ([0.0], "needs two"),
    ],
)
@pytest.mark.parametrize("make", [FixedEdges, TrainableEdges.from_edges])
def test_edges_out_of_order_are_named(make, edges, message):
    with pytest.raises(ValueError, match=message):
        make(edges)


def test_infinite_edges_want_the_finite_end():
    with pytest.raises(ValueError, match="'low' is None"):
        TrainableEdges.from_edges([-np.inf, 0.5, 1.0])
    with pytest.raises(ValueError, match=r"'high' is 2\.0"):
        TrainableEdges.from_edges([0.0, 0.5, 1.0], high=2.0)
    with pytest.raises(ValueError, match=r"edge 1 \(0\.5\) is not above edge 0"):
        TrainableEdges.from_edges([-np.inf, 0.5, 1.0], low=0.6)


def test_ends_and_minimum_width_are_checked():
    with pytest.raises(ValueError, match="not wider than the minimum width"):
        TrainableEdges.from_edges([0.0, 0.1, 1.0], minimum_width=0.1)
    with pytest.raises(ValueError, match="do not fit"):
        TrainableEdges(np.zeros(3), 0.0, 1.0, minimum_width=0.4)
    with pytest.raises(ValueError, match=r"end 1\.0 is not above the lower end 1\.0"):
        TrainableEdges(np.zeros(3), 1.0, 1.0)
    with pytest.raises(ValueError, match="must be finite"):
        TrainableEdges(np.zeros(3), -np.inf, 1.0)


@pytest.mark.parametrize(
    ("schedule", "halfway"),
    [(Linear(8.0, 2.0), 5.0), (Geometric(8.0, 2.0), 4.0), (Geometric(0.1, 10.0), 1.0)],
)
def test_schedules_meet_their_ends_and_mean(schedule, halfway):
    assert schedule(0) == schedule.start
    assert schedule(1) == schedule.end
    np.testing.assert_allclose(schedule(0.5), halfway, rtol=1e-14)  # two powers
    values = jax.jit(jax.vmap(schedule))(jnp.linspace(0.0, 1.0, 11))
    steps = jnp.diff(values)
    assert (steps > 0).all() or (steps < 0).all()


def test_constant_schedule():
    assert Constant(0.3)(0) == Constant(0.3)(1.0) == 0.3


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (-1.0, -2.0)])
def test_geometric_schedule_wants_positive_ends(start, end):
    with pytest.raises(ValueError, match=f"from {start} to {end}"):
        Geometric(start, end)
