import dataclasses

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from diffana.data.batches import batches
from diffana.data.events import Events, Population
from diffana.data.portions import Portions, in_portions, pieces
from diffana.errors import DataError


def sample(name="signal", n_events=12, first=0, **changes):
    """Events whose only feature is the number of their row."""
    fields = {
        "features": np.arange(first, first + n_events, dtype=float)[:, None],
        "weight": np.linspace(0.5, 1.5, n_events),
        "columns": ("row",),
        "region": "SR",
        "sample": name,
    }
    return Events(**fields | changes)


def portioned(n_portions, n_events=24, seed=0):
    """Two regions with the same events, of which some weights are negative."""
    random = np.random.default_rng(seed)
    sets = []
    for first in range(0, n_portions * n_events, n_events):
        weight = random.choice([-0.3, 1.0], p=[0.1, 0.9], size=n_events)
        weight[:6] = 2.0
        aligned = {"n_events": n_events, "first": first, "source": "background"}
        sets.append(
            (
                sample("background", weight=weight, **aligned),
                sample("background", weight=0.5 * weight, region="CR", **aligned),
                sample(n_events=n_events + 5, first=first),
            )
        )
    return sets


def rows(one):
    return one.features[:, 0].astype(int)


def dealt(portions, n_batches, **key):
    return list(portions.batches(n_batches, **({"seed": 1, "epoch": 0} | key)))


def test_populations_are_those_of_the_whole():
    sets = portioned(3)
    portions = Portions(sets)
    assert len(portions) == 3
    for i, population in enumerate(portions.populations):
        weight = np.concatenate([one[i].weight for one in sets])
        assert population.name == sets[0][i].name
        assert population.n_events == len(weight)
        assert population.n_selected == np.count_nonzero(weight)
        # 1e-14: the sums are in another order.
        np.testing.assert_allclose(population.sumw, weight.sum(), rtol=1e-14)


def test_one_portion_is_dealt_as_events_in_memory_are():
    """Bit for bit, so that nothing depends on which function deals."""
    (events,) = portioned(1)
    for ours, theirs in zip(
        dealt(in_portions(events), 4, epoch=2),
        batches(events, 4, seed=1, epoch=2),
        strict=True,
    ):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.features, other.features)
            np.testing.assert_array_equal(one.weight, other.weight)
            assert one.sumw2_scale == other.sumw2_scale


@hypothesis.given(n_portions=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_batches_have_the_yields_and_variances_of_the_whole(n_portions, seed):
    sets = portioned(n_portions, seed=seed)
    shapes, seen = set(), []
    for batch in dealt(Portions(sets), 2 * n_portions, seed=seed):
        shapes.add(tuple(one.features.shape for one in batch))
        seen += rows(batch[0])[batch[0].weight != 0].tolist()
        np.testing.assert_array_equal(rows(batch[0]), rows(batch[1]))
        for members in ((0, 1), (2,)):
            for power in (1, 2):
                whole = sum(
                    np.sum(one[i].weight ** power) for one in sets for i in members
                )
                found = sum(
                    np.sum(batch[i].weight ** power)
                    * (batch[i].sumw2_scale if power == 2 else 1)
                    for i in members
                )
                np.testing.assert_allclose(found, whole, rtol=1e-12)
    assert len(shapes) == 1
    assert sorted(seen) == list(range(n_portions * 24))


def test_the_order_of_portions_follows_from_seed_and_epoch():
    portions = Portions(portioned(5))

    def order(**key):
        return [rows(batch[0]).min() // 24 for batch in dealt(portions, 5, **key)]

    assert sorted(order()) == [0, 1, 2, 3, 4]
    assert order() == order()
    assert len({tuple(order(epoch=epoch)) for epoch in range(6)}) > 1
    assert len({tuple(order(seed=seed)) for seed in range(6)}) > 1


def test_only_one_portion_is_read_at_a_time():
    sets, asked = portioned(3), []

    class Files:
        def __len__(self):
            return len(sets)

        def __getitem__(self, index):
            asked.append(index)
            return sets[index]

    portions = Portions(Files())
    assert asked == [0, 1, 2]
    first = portions.batches(6, seed=1, epoch=0)
    assert len(asked) == 3
    next(first)
    next(first)
    assert len(asked) == 4
    next(first)
    assert len(asked) == 5
    with pytest.raises(DataError, match=r"in 3 portions .* leave out Input.ChunkSize"):
        portions.whole()


def test_what_cannot_be_dealt():
    portions = Portions(portioned(2))
    for n_batches in (0, 3):
        with pytest.raises(ValueError, match="batches cannot be dealt from 2 portions"):
            portions.batches(n_batches, seed=1, epoch=0)
    unequal = Portions([*portioned(1), *portioned(1, n_events=25)])
    with pytest.raises(ValueError, match="unequal shapes"):
        unequal.batches(2, seed=1, epoch=0)
    with pytest.raises(DataError, match=r"'background'.*24 events cannot fill 25"):
        portions.check_batches(50, seed=1, epoch=0)


def test_portions_have_the_same_populations():
    (first, second), other = portioned(2), sample("ttbar", 24)
    with pytest.raises(DataError, match=r"'ttbar'.*not the same population as.*'back"):
        Portions([first, (other, *second[1:])])
    with pytest.raises(DataError, match="holds 2 populations, another one 3"):
        Portions([first, second[:2]])


def test_a_batch_without_yield_is_refused_wherever_it_is():
    (first, second) = portioned(2)
    signal = second[2]
    weight = np.r_[-5.0, np.full(len(signal) - 1, 0.1)]
    bad = dataclasses.replace(signal, weight=weight)
    portions = Portions([first, (*second[:2], bad)])
    with pytest.raises(DataError, match=r"'signal'.*add up to -"):
        portions.check_batches(4, seed=1, epoch=0)


@hypothesis.given(size=st.integers(1, 100), n_events=st.integers(1, 40))
def test_pieces_are_the_whole(size, n_events):
    events = (sample(n_events=n_events), sample("background", n_events=3 * n_events))
    cut = list(pieces(events, size))
    assert len({tuple(one.features.shape for one in piece) for piece in cut}) == 1
    for i, whole in enumerate(events):
        weight = np.concatenate([piece[i].weight for piece in cut])
        real = weight != 0
        np.testing.assert_array_equal(weight[real], whole.weight)
        taken = np.concatenate([rows(piece[i]) for piece in cut])[real]
        np.testing.assert_array_equal(taken, rows(whole))
    # A piece holds one event of every population at least, and is rounded up.
    assert sum(len(one) for one in cut[0]) <= max(size, len(events)) + len(events)


def test_a_small_data_set_is_one_piece():
    (events,) = portioned(1)
    (piece,) = pieces(events, 1000)
    assert all(one is other for one, other in zip(piece, events, strict=True))


def test_a_population_tells_what_it_is():
    population = Population.of(sample(weight=[0.0] * 2 + [1.0] * 10))
    assert str(population) == "region 'SR', sample 'signal', variation 'nominal'"
    assert (population.n_events, population.n_selected) == (12, 10)
