import dataclasses
import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from diffana.data import dealing as dealing_module
from diffana.data.dealing import UNUSED, Dealing
from diffana.data.events import Events
from diffana.data.layout import Layout
from diffana.data.splitting import split
from diffana.data.store import Store
from diffana.data.writer import Ingredient, Writer
from diffana.errors import DataError


FRACTIONS = {"train": 0.5, "validation": 0.2, "test": 0.2, "unused": 0.1}
N_PORTIONS = {"train": 3, "validation": 1, "test": 2}


def deal(n_events, source="signal/nominal", seed=4):
    return Dealing(source, n_events, FRACTIONS, N_PORTIONS, seed)


def source(name="signal", n_events=101, dtype=np.float32):
    """A source in two regions, with a variation of weights and one of features."""
    random = np.random.default_rng(len(name))
    features = random.normal(size=(n_events, 2)).astype(dtype)
    features[:, 0] = np.arange(n_events)
    weight = random.choice([-0.4, 1.3], p=[0.1, 0.9], size=n_events)
    columns = {"columns": ("row", "x"), "sample": name, "source": f"{name}/nominal"}
    return (
        Events(features=features, weight=weight, region="SR", **columns),
        Events(features=features, weight=weight * 0.5, region="CR", **columns),
        Events(
            features=features,
            weight=1.1 * weight,
            region="SR",
            variation="norm/up",
            **columns,
        ),
        Events(
            features=features * dtype(1.5),
            weight=weight,
            region="SR",
            variation="scale/up",
            **columns,
        ),
    )


def rows_of(events, rows):
    features = {id(one.features): one.features[rows] for one in events}
    return tuple(
        dataclasses.replace(
            one, features=features[id(one.features)], weight=one.weight[rows]
        )
        for one in events
    )


def written(folder, sources, chunk=1000):
    folder.mkdir()
    writer = Writer(
        folder,
        [
            Ingredient(deal(len(one[0]), one[0].source), Layout.of(one))
            for one in sources
        ],
    )
    for one in sources:
        for start in range(0, len(one[0]), chunk):
            writer.add(rows_of(one, slice(start, start + chunk)))
    writer.finish("everything")
    return Store.read(folder)


@pytest.mark.parametrize("block", [7, 64, 2**20])
@hypothesis.given(n_events=st.integers(1, 200), cut=st.integers(1, 200))
def test_where_an_event_goes_does_not_depend_on_the_chunk(block, n_events, cut):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dealing_module, "BLOCK", block)
        dealing = deal(n_events)
        whole = dealing.slots(0, n_events)
        cut = min(cut, n_events)
        parts = [dealing.slots(0, cut)]
        parts += [dealing.slots(cut, n_events)] if cut < n_events else []
        for i in (0, 1):
            together = np.concatenate([part[i] for part in parts])
            np.testing.assert_array_equal(together, whole[i])
        for number, part in enumerate(dealing.parts):
            portion = whole.portion[whole.part == number]
            assert len(portion) == dealing.count(part)
            counts = np.bincount(portion, minlength=N_PORTIONS[part])
            assert counts.max() - counts.min() <= 1
            assert dealing.rows(part) == max(1, counts.max())
    assert np.all((whole.part >= UNUSED) & (whole.part < 3))


@hypothesis.given(n_events=st.integers(20, 300), seed=st.integers(0, 2**32))
def test_parts_are_those_of_a_split_in_memory(n_events, seed):
    one = Events(
        features=np.arange(n_events, dtype=float)[:, None],
        weight=np.ones(n_events),
        columns=("row",),
        region="SR",
        sample="signal",
    )
    parts = split((one,), FRACTIONS, seed)
    slots = deal(n_events, seed=seed).slots(0, n_events)
    for number, part in enumerate(N_PORTIONS):
        rows = np.sort(parts[part][0].features[:, 0])
        np.testing.assert_array_equal(np.flatnonzero(slots.part == number), rows)


def test_parts_do_not_depend_on_the_portions():
    other = dataclasses.replace(deal(50), n_portions={"train": 7, "test": 1})
    np.testing.assert_array_equal(
        other.slots(0, 50).part == 0, deal(50).slots(0, 50).part == 0
    )


@pytest.mark.parametrize("chunk", [13, 1000])
def test_portions_hold_the_events_of_the_split(tmp_path, chunk):
    sources = [source(), source("background", 83)]
    store = written(tmp_path / "store", sources, chunk)
    assert store.parts == ("train", "validation", "test")
    parts = split((*sources[0], *sources[1]), FRACTIONS, seed=4)
    for part, n_portions in N_PORTIONS.items():
        portions = store.portions(part)
        assert len(portions) == n_portions
        assert len({tuple(one.features.shape for one in p) for p in portions}) == 1
        for i, want in enumerate(parts[part]):
            found = [portion[i] for portion in portions]
            assert {one.name for one in found} == {want.name}
            assert found[0].source == want.source
            assert found[0].features.dtype == np.float32
            assert found[0].weight.dtype == np.float64
            weight = np.concatenate([one.weight for one in found])
            features = np.concatenate([one.features for one in found])[weight != 0]
            order, wanted = np.argsort(features[:, 0]), np.argsort(want.features[:, 0])
            np.testing.assert_array_equal(features[order], want.features[wanted])
            # 1e-14: the factor of the part comes from sums in another order.
            np.testing.assert_allclose(
                weight[weight != 0][order], want.weight[wanted], rtol=1e-14
            )


def test_the_files_do_not_depend_on_the_chunk(tmp_path):
    first, second = (
        written(tmp_path / str(chunk), [source()], chunk) for chunk in (7, 1000)
    )
    for path in sorted(first.folder.glob("*.events")):
        assert path.read_bytes() == (second.folder / path.name).read_bytes()


def test_a_source_with_fewer_events_than_portions_is_filled_up(tmp_path):
    few = rows_of(source(), slice(0, 10))
    store = written(tmp_path / "store", [few, source("background", 83)])
    portions = [portion[:2] for portion in store.portions("test")]
    assert [len(one) for one, _ in portions] == [1, 1]
    assert sum(np.count_nonzero(one.weight) for one, _ in portions) == 2
    total = sum(one.weight.sum() + other.weight.sum() for one, other in portions)
    np.testing.assert_allclose(
        total, few[0].weight.sum() + few[1].weight.sum(), rtol=1e-12
    )


def test_chunks_of_wider_type_fit_if_that_was_announced(tmp_path):
    narrow, wide = source(), source(dtype=np.float64)
    layout = Layout.of(narrow) | Layout.of(wide)
    assert layout.dtype == "float64"
    assert layout.holds(Layout.of(narrow))
    assert not Layout.of(narrow).holds(Layout.of(wide))
    writer = Writer(tmp_path, [Ingredient(deal(101), Layout.of(narrow))])
    with pytest.raises(DataError, match="'signal/nominal': the files changed"):
        writer.add(wide)


def test_other_events_than_those_counted(tmp_path):
    writer = Writer(tmp_path, [Ingredient(deal(100), Layout.of(source()))])
    with pytest.raises(DataError, match="'signal/nominal': the files changed"):
        writer.add(source())
    (tmp_path / "more").mkdir()
    writer = Writer(tmp_path / "more", [Ingredient(deal(102), Layout.of(source()))])
    writer.add(source())
    with pytest.raises(DataError, match="'signal/nominal': the files changed"):
        writer.finish("everything")
    assert not Store.is_of(tmp_path / "more", "everything")


def test_too_few_events_and_negative_yields(tmp_path):
    with pytest.raises(DataError, match="1 events are too few for a part 'train'"):
        Writer(tmp_path, [Ingredient(deal(1), Layout.of(source()))])
    negative = tuple(
        dataclasses.replace(one, weight=-np.abs(one.weight)) for one in source()
    )
    with pytest.raises(DataError, match=r"part 'train', sample 'signal'.*add up to -"):
        written(tmp_path / "store", [negative])


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="cannot be written: No such file"):
        Writer(tmp_path / "absent", [Ingredient(deal(101), Layout.of(source()))])


def test_a_store_is_of_one_thing_and_can_be_moved(tmp_path):
    store = written(tmp_path / "store", [source()])
    assert Store.is_of(store.folder, "everything")
    assert not Store.is_of(store.folder, "something else")
    assert not Store.is_of(tmp_path / "absent", "everything")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "garbage").touch()
    portions = store.portions("train")
    store.move(tmp_path / "there")
    assert len(portions[2]) == 4
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "there" / "garbage").exists()
    with pytest.raises(DataError, match="cannot be moved"):
        store.move(tmp_path / "absent" / "there")


REPAIR = "remove the folder .*, and the events are read again"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"fingerprint": 1, "parts": 3']
)
def test_a_damaged_manifest(tmp_path, content):
    store = written(tmp_path / "store", [source()])
    (store.folder / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=f"manifest.json is damaged; {REPAIR}"):
        Store.is_of(store.folder, "everything")


def test_damaged_and_missing_portions(tmp_path):
    store = written(tmp_path / "store", [source()])
    path = store.folder / "test-00001.events"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=f"test-00001.events is damaged; {REPAIR}"):
        Store.read(store.folder)
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match=f"test-00001.events is damaged; {REPAIR}"):
        store.portions("test")[1]
    path.unlink()
    for read in (lambda: Store.read(store.folder), lambda: store.portions("test")[1]):
        with pytest.raises(DataError, match=f"test-00001.events is missing; {REPAIR}"):
            read()


def test_the_manifest_is_plain(tmp_path):
    """Nothing that is read can run: JSON and numbers of known types."""
    store = written(tmp_path / "store", [source()])
    manifest = json.loads((store.folder / "manifest.json").read_text())
    assert set(manifest) == {"fingerprint", "parts"}
    (stretch,) = manifest["parts"]["train"]["stretches"]
    assert stretch["layout"]["features_of"] == [0, 0, 0, 1]
