import dataclasses

import equinox as eqx
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffana.data.batches import batches
from diffana.data.events import Events, check_events
from diffana.data.splitting import split
from diffana.errors import DataError


def sample(name="signal", n_events=12, **changes):
    """Events whose only feature is the number of their row."""
    fields = {
        "features": np.arange(n_events, dtype=float)[:, None],
        "weight": np.linspace(0.5, 1.5, n_events),
        "columns": ("row",),
        "region": "SR",
        "sample": name,
    }
    return Events(**fields | changes)


def data_set(n_events, seed):
    """Two regions that share events, an aligned variation and an independent sample.

    A tenth of the weights is negative, as of a next-to-leading-order generator.
    """
    random = np.random.default_rng(seed)
    weight = random.choice([-0.5, 1.0], p=[0.1, 0.9], size=n_events)
    weight[:2] = 1.0
    in_signal_region = np.arange(n_events) % 3 > 0
    up = weight * random.uniform(1.0, 1.4, size=n_events)
    aligned = {"n_events": n_events, "source": "background"}
    n_signal = n_events + 5
    return (
        sample("background", weight=weight * in_signal_region, **aligned),
        sample("background", weight=weight * ~in_signal_region, region="CR", **aligned),
        sample("background", weight=up, variation="norm/up", **aligned),
        sample("signal", n_signal, weight=random.uniform(0, 1, n_signal)),
    )


sizes = st.integers(60, 200)
seeds = st.integers(0, 2**64)


def nominal_sum(events, name, power=1):
    """Over regions; with the scale that makes squared weights a variance."""
    return sum(
        np.sum(one.weight**power) * (one.sumw2_scale if power == 2 else 1)
        for one in events
        if (one.sample, one.variation) == (name, "nominal")
    )


def rows(one):
    """The rows that `one` really holds, in order; features number them."""
    return one.features[:, 0].astype(int)


def test_defaults_and_conversion():
    one = sample(weight=[1] * 12)
    assert (one.variation, one.source) == ("nominal", "signal/nominal")
    assert one.weight.dtype == np.float64
    assert sample(features=np.zeros((12, 1), np.float32)).features.dtype == np.float32
    assert len(one) == 12
    assert str(one) == "region 'SR', sample 'signal', variation 'nominal'"


def test_everything_numeric_is_a_leaf_and_every_name_static():
    leaves, structure = jax.tree.flatten(sample())
    assert [np.shape(leaf) for leaf in leaves] == [(12, 1), (12,), ()]
    assert structure != jax.tree.structure(sample(region="CR"))


def test_construction_under_jit():
    @eqx.filter_jit
    def scaled(one):
        return dataclasses.replace(one, weight=2 * one.weight)

    np.testing.assert_array_equal(scaled(sample()).weight, 2 * sample().weight)


def test_a_new_sumw2_scale_compiles_nothing():
    traces = []

    @eqx.filter_jit
    def variance(one):
        traces.append(one)
        return one.sumw2_scale * jnp.sum(one.weight**2)

    for batch in batches((sample(n_events=13),), 5, seed=0, epoch=0):
        variance(*batch)
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros(12)}, r"have shape \(12,\), but there are 1 columns"),
        ({"columns": ("x", "y")}, r"have shape \(12, 1\), but there are 2 columns"),
        (
            {"features": np.zeros((12, 2)), "columns": ("x", "x")},
            "a column appears twice",
        ),
        ({"weight": np.ones(11)}, "12 rows of features, but weights of shape"),
        ({"sumw2_scale": np.ones(2)}, "sumw2_scale is not a single number"),
        ({"features": np.zeros((0, 1)), "weight": np.zeros(0)}, "the sample is empty"),
        (
            {"features": np.array([[np.nan]] * 2 + [[0.0]] * 10)},
            "feature 'row' is NaN or infinite for 2 of 12 events",
        ),
        (
            {"features": jnp.full((12, 1), -jnp.inf)},
            "feature 'row' is NaN or infinite for 12 of 12 events",
        ),
        (
            {"weight": np.array([np.inf] + [1.0] * 11)},
            "weight is NaN or infinite for 1 of 12 events",
        ),
    ],
)
def test_unusable_events_are_refused_by_name(changes, message):
    with pytest.raises(DataError, match=message) as error:
        sample("ttbar", variation="JES/up", **changes)
    assert "region 'SR', sample 'ttbar', variation 'JES/up'" in str(error.value)


UNUSABLE = {
    "no events": ((), "the data set holds no events"),
    "duplicate": (
        (sample(), sample()),
        "region 'SR', sample 'signal', variation 'nominal': appears twice",
    ),
    "columns": (
        (sample(), sample("ttbar", columns=("mass",))),
        r"sample 'ttbar'.*columns \('mass',\) differ from \('row',\) of.*'signal'",
    ),
    "alignment": (
        (sample(), sample(n_events=11, region="CR")),
        "region 'CR'.*11 events, but 12 in region 'SR'.*source 'signal/nominal'",
    ),
    "no yield": (
        (sample(weight=np.zeros(12)),),
        "sample 'signal'.*weights of 12 events add up to 0",
    ),
    "negative yield": (
        (sample(weight=np.full(12, -1.0)),),
        "sample 'signal'.*weights of 12 events add up to -12",
    ),
}


@pytest.mark.parametrize(("events", "message"), UNUSABLE.values(), ids=UNUSABLE.keys())
@pytest.mark.parametrize(
    "use",
    [
        lambda events: check_events(events, n_bins=1),
        lambda events: split(events, {"all": 1.0}, seed=0),
        lambda events: batches(events, 1, seed=0, epoch=0),
    ],
    ids=["check_events", "split", "batches"],
)
def test_unusable_data_sets_are_refused(use, events, message):
    with pytest.raises(DataError, match=message):
        use(events)


def test_fewer_events_than_bins():
    one = sample(weight=np.r_[np.ones(4), np.zeros(8)])
    check_events((one,), n_bins=4)
    with pytest.raises(DataError, match=r"'signal'.*4 events of non-zero weight for 5"):
        check_events((one,), n_bins=5)


FRACTIONS = {"train": 0.5, "validation": 0.2, "test": 0.3}


@hypothesis.given(n_events=sizes, seed=seeds)
def test_split_is_disjoint_complete_and_aligned(n_events, seed):
    events = data_set(n_events, seed)
    parts = split(events, FRACTIONS, seed)
    assert list(parts) == list(FRACTIONS)
    for i, one in enumerate(events):
        together = np.concatenate([rows(parts[part][i]) for part in parts])
        np.testing.assert_array_equal(np.sort(together), rows(one))
    for part, share in FRACTIONS.items():
        background, control, up, _ = parts[part]
        np.testing.assert_array_equal(rows(background), rows(control))
        np.testing.assert_array_equal(rows(background), rows(up))
        assert abs(len(background) - share * n_events) <= 1


@hypothesis.given(n_events=sizes, seed=seeds)
def test_split_keeps_yields_and_the_effect_of_variations(n_events, seed):
    events = data_set(n_events, seed)
    for part in split(events, FRACTIONS, seed).values():
        for name in ("signal", "background"):
            np.testing.assert_allclose(
                nominal_sum(part, name), nominal_sum(events, name), rtol=1e-12
            )
        background, control, up, _ = part
        taken = rows(up)
        nominal = background.weight + control.weight  # the regions cover all events
        before = events[0].weight + events[1].weight
        np.testing.assert_allclose(
            up.weight / nominal, (events[2].weight / before)[taken], rtol=1e-12
        )
        assert part[0].sumw2_scale == 1.0


@hypothesis.given(n_events=sizes, seed=seeds)
def test_split_knows_no_order_and_repeats(n_events, seed):
    events = data_set(n_events, seed)
    forwards = split(events, FRACTIONS, seed)
    backwards = split(events[::-1], FRACTIONS, seed)
    for part in FRACTIONS:
        for one, other in zip(forwards[part], backwards[part][::-1], strict=True):
            np.testing.assert_array_equal(one.features, other.features)
            np.testing.assert_array_equal(one.weight, other.weight)
    alone = split(events[3:], FRACTIONS, seed)["test"][0]
    np.testing.assert_array_equal(alone.features, forwards["test"][3].features)


def test_splits_differ_between_seeds_and_sources():
    def taken(name, seed):
        parts = split((sample(name, n_events=50),), {"a": 0.5, "b": 0.5}, seed)
        return rows(parts["a"][0]).tolist()

    assert taken("signal", 0) != taken("signal", 1)
    assert taken("signal", 0) != taken("ttbar", 0)


def test_rows_are_the_same_on_every_machine():
    # Written down once: a checkpoint may only go on with the batches it left off at.
    parts = split((sample(n_events=8),), {"a": 0.5, "b": 0.5}, seed=7)
    (batch,) = next(batches((sample(n_events=8),), 2, seed=7, epoch=3))
    assert rows(parts["a"][0]).tolist() == [2, 0, 7, 6]
    assert rows(batch).tolist() == [0, 6, 5, 7]


def test_a_source_without_nominal_events_keeps_its_own_yield():
    both = tuple(
        sample(variation=f"generator/{x}", source="other", weight=np.full(12, weight))
        for x, weight in (("up", 1.0), ("down", 3.0))
    )
    for part in split(both, FRACTIONS, seed=1).values():
        np.testing.assert_allclose([one.weight.sum() for one in part], [12, 36])


def test_samples_of_one_source_keep_their_own_yields():
    weights = np.random.default_rng(0).uniform(size=(2, 40))
    both = tuple(
        sample(name, 40, source="matrix element", weight=weight)
        for name, weight in zip(("signal", "interference"), weights, strict=True)
    )
    for part in split(both, FRACTIONS, seed=1).values():
        sums = [one.weight.sum() for one in part]
        np.testing.assert_allclose(sums, weights.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("fractions", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}])
def test_fractions_have_to_be_shares(fractions):
    with pytest.raises(ValueError, match="add up to 1"):
        split((sample(),), fractions, seed=0)


def test_a_part_without_events_is_refused():
    with pytest.raises(
        DataError, match=r"12 events are too few for a part 'b' of 0.01"
    ):
        split((sample(),), {"a": 0.99, "b": 0.01}, seed=0)


# One event of weight -10 makes the yield of its part negative.
NEGATIVE = np.r_[-10.0, np.ones(19)]


def test_a_part_of_negative_yield_is_refused():
    with pytest.raises(DataError, match=r"part '.', sample 'signal', .* take larger"):
        split((sample(n_events=20, weight=NEGATIVE),), {"a": 0.5, "b": 0.5}, seed=0)


@hypothesis.given(n_events=sizes, seed=seeds, n_batches=st.integers(1, 6))
def test_batches_drop_no_event_and_have_one_shape(n_events, seed, n_batches):
    events = data_set(n_events, seed)
    dealt = list(batches(events, n_batches, seed, epoch=1))
    assert len(dealt) == n_batches
    shapes = {str(jax.tree.map(np.shape, batch)) for batch in dealt}
    assert len(shapes) == 1
    for i, one in enumerate(events):
        present = np.concatenate([rows(batch[i]) for batch in dealt])
        counts = np.bincount(present, minlength=len(one))
        assert counts.min() == 1  # padding repeats rows, and only where needed
        assert counts.sum() - len(one) == -len(one) % n_batches
        unpadded = np.concatenate([rows(b[i])[b[i].weight != 0] for b in dealt])
        np.testing.assert_array_equal(np.sort(unpadded), rows(one)[one.weight != 0])


@hypothesis.given(n_events=sizes, seed=seeds, n_batches=st.integers(1, 6))
def test_batches_keep_yields_variances_and_alignment(n_events, seed, n_batches):
    events = data_set(n_events, seed)
    for batch in batches(events, n_batches, seed, epoch=0):
        for name in ("signal", "background"):
            for power in (1, 2):
                np.testing.assert_allclose(
                    nominal_sum(batch, name, power),
                    nominal_sum(events, name, power),
                    rtol=1e-12,
                )
        background, control, up, _ = batch
        np.testing.assert_array_equal(rows(background), rows(control))
        np.testing.assert_array_equal(rows(background), rows(up))
        before = events[0].weight + events[1].weight
        nominal = background.weight + control.weight
        real = nominal != 0
        np.testing.assert_allclose(
            up.weight[real] / nominal[real],
            (events[2].weight / before)[rows(up)[real]],
            rtol=1e-12,
        )


def test_scales_of_successive_steps_multiply():
    events = (sample(n_events=40, sumw2_scale=0.5),)
    train = split(events, {"train": 0.5, "test": 0.5}, seed=0)["train"]
    for (batch,) in batches(train, 4, seed=0, epoch=0):
        np.testing.assert_allclose(
            batch.sumw2_scale * np.sum(batch.weight**2),
            0.5 * np.sum(train[0].weight ** 2),
            rtol=1e-12,
        )


@hypothesis.given(n_events=sizes, seed=seeds)
def test_batches_repeat_bit_for_bit_and_differ_between_epochs(n_events, seed):
    events = data_set(n_events, seed)
    first, again = (list(batches(events, 3, seed, epoch=4)) for _ in range(2))
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(one, other)
    backwards = next(batches(events[::-1], 3, seed, epoch=4))
    np.testing.assert_array_equal(backwards[-1].features, first[0][0].features)
    later = next(batches(events, 3, seed, epoch=5))
    assert not np.array_equal(later[0].features, first[0][0].features)


def test_batches_keep_the_precision_of_the_arrays():
    one = sample(features=np.zeros((12, 1), np.float32), weight=np.ones(12, np.float32))
    (batch,) = next(batches((one,), 5, seed=0, epoch=0))
    assert batch.features.dtype == batch.weight.dtype == np.float32


def test_jax_arrays_are_dealt_like_numpy_arrays():
    plain = sample()
    (batch,) = next(batches((jax.tree.map(jnp.asarray, plain),), 3, seed=0, epoch=0))
    (expected,) = next(batches((plain,), 3, seed=0, epoch=0))
    assert isinstance(batch.features, np.ndarray)
    np.testing.assert_array_equal(batch.weight, expected.weight)


def test_fewer_events_than_batches():
    with pytest.raises(DataError, match=r"'signal'.*12 events cannot fill 13 batches"):
        batches((sample(),), 13, seed=0, epoch=0)
    with pytest.raises(ValueError, match="n_batches has to be at least 1"):
        batches((sample(),), 0, seed=0, epoch=0)


def test_a_batch_of_negative_yield_is_refused_before_the_first_is_handed_out():
    one = sample(n_events=20, weight=NEGATIVE)
    with pytest.raises(
        DataError, match=r"batch . of 4, sample 'signal'.*larger parts or"
    ):
        batches((one,), 4, seed=0, epoch=0)
