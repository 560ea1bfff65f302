import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import given, strategies as st

from diffana.data.readers import CsvReader, open_reader
from diffana.errors import DataError


N_EVENTS = 37
RANDOM = np.random.default_rng(5)
COLUMNS = {
    "pt": np.where(RANDOM.random(N_EVENTS) < 0.2, -999.0, RANDOM.normal(size=N_EVENTS)),
    "eta": RANDOM.normal(size=N_EVENTS).astype(np.float32),
    "n_jets": RANDOM.integers(0, 4, N_EVENTS, dtype=np.int32),
    "label": np.array(["s", "b", "long label, quoted", "two\nlines"])[
        RANDOM.integers(0, 4, N_EVENTS)
    ],
}
NAMES = ("e.npz", "packed.npz", "e.csv", "e.csv.gz", "e.parquet", "e.root")


def csv_text():
    rows = zip(*COLUMNS.values(), strict=True)
    # float64 spells float32 without loss.
    lines = [f'{pt},{float(eta)},{n},"{label}"' for pt, eta, n, label in rows]
    return "\n".join([",".join(COLUMNS), *lines, "", ""])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same events in every format, with text where the format has it."""
    folder = tmp_path_factory.mktemp("chunks")
    np.savez(folder / "e.npz", **COLUMNS)
    np.savez_compressed(folder / "packed.npz", **COLUMNS)
    text = csv_text()
    (folder / "e.csv").write_text(text)
    (folder / "e.csv.gz").write_bytes(gzip.compress(text.encode()))
    pq.write_table(pa.table(COLUMNS), folder / "e.parquet", row_group_size=10)
    with uproot.recreate(folder / "e.root") as file:
        kinds = {name: column.dtype for name, column in COLUMNS.items()}
        file.mkrntuple("t", kinds | {"label": "string"})
        for start in (0, 11):
            stop = 11 if start == 0 else N_EVENTS
            part = {name: column[start:stop] for name, column in COLUMNS.items()}
            file["t"].extend(part | {"label": part["label"].tolist()})
    return folder


@pytest.mark.parametrize("name", NAMES)
@given(
    size=st.integers(1, N_EVENTS + 3),
    names=st.one_of(
        st.none(),
        st.lists(st.sampled_from([*COLUMNS]), min_size=1, unique=True),
    ),
    missing=st.sampled_from([None, -999.0, 2.0]),
)
def test_chunks_one_after_the_other_are_the_whole(files, name, size, names, missing):
    reader = open_reader(files / name, missing=missing)
    whole = reader.read(names)
    chunks = list(reader.chunks(names, size))
    assert all(1 <= len(chunk) <= size for chunk in chunks)
    assert {chunk.names for chunk in chunks} == {whole.names}
    for column in whole.names:
        joined = np.concatenate([chunk[column] for chunk in chunks])
        np.testing.assert_array_equal(joined, whole[column])
        kinds = {chunk[column].dtype for chunk in chunks}
        if whole[column].dtype.kind != "U":
            assert kinds == {whole[column].dtype}


@pytest.mark.parametrize("name", NAMES)
def test_every_format_holds_the_same_events(files, name):
    table = open_reader(files / name).read()
    for column, expected in COLUMNS.items():
        np.testing.assert_array_equal(table[column], expected)


def test_integers_with_nulls_have_one_type(tmp_path):
    """The nulls are in one row group, the first chunk has none."""
    path = tmp_path / "e.parquet"
    entries = [*range(10), None, 11]
    pq.write_table(pa.table({"n": entries}), path, row_group_size=5)
    chunks = list(open_reader(path).chunks(None, 5))
    assert [chunk["n"].dtype for chunk in chunks] == [np.float64] * len(chunks)
    joined = np.concatenate([chunk["n"] for chunk in chunks])
    np.testing.assert_array_equal(joined, [*range(10), np.nan, 11])


@pytest.mark.parametrize("name", NAMES)
def test_mistakes_are_those_of_read(files, name):
    reader = open_reader(files / name)
    with pytest.raises(DataError, match="no column 'njets'; close: n_jets"):
        next(reader.chunks(["njets"], 5))
    with pytest.raises(ValueError, match="at least 1 event, not 0"):
        next(reader.chunks(None, 0))


@pytest.mark.parametrize("name", NAMES)
def test_the_end_of_a_cut_file_is_missed(files, tmp_path, name):
    content = (files / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(0.8 * len(content))])
    with pytest.raises(DataError) as error:
        list(open_reader(path).chunks(None, 5))
    assert str(error.value).startswith(f"{path}: ")


def test_a_mistake_far_down_a_csv_file_is_found_in_its_turn(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("a,b\n" + "1,2\n" * 9 + "1,x\n")
    chunks = CsvReader(path).chunks(["a", "b"], 4)
    assert len(next(chunks)) == 4
    assert len(next(chunks)) == 4
    with pytest.raises(DataError, match="could not convert string 'x'"):
        next(chunks)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no events"),
        ({"a": []}, "no events"),
        ({"a": np.ones((2, 2))}, r"column 'a' has shape \(2, 2\)"),
        ({"a": np.ones(2), "b": np.ones(3)}, "columns differ in length"),
        ({"a": np.array([None, {}])}, "Object arrays cannot be loaded"),
        ({"a": np.ones(2, complex)}, "column 'a' holds complex128, neither numbers"),
    ],
)
def test_malformed_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "events.npz", **arrays)
    with pytest.raises(DataError, match=message):
        list(open_reader(tmp_path / "events.npz").chunks(None, 1))


def test_a_changed_byte_of_an_npz_archive_changes_no_number(files, tmp_path):
    """It is noticed, unless it is one of those that say nothing about the arrays."""
    for name in ("e.npz", "packed.npz"):
        content, noticed = (files / name).read_bytes(), 0
        places = range(0, len(content), max(1, len(content) // 60))
        for place in places:
            damaged = bytearray(content)
            damaged[place] ^= 0xFF
            path = tmp_path / name
            path.write_bytes(damaged)
            try:
                chunks = list(open_reader(path).chunks([*COLUMNS], 10))
            except DataError:
                noticed += 1
                continue
            for column, expected in COLUMNS.items():
                joined = np.concatenate([chunk[column] for chunk in chunks])
                np.testing.assert_array_equal(joined, expected)
        assert noticed > len(places) / 2


def test_only_the_current_chunk_is_unpacked(tmp_path):
    """A column that would not fit into memory costs what a chunk of it does."""
    import tracemalloc

    path = tmp_path / "e.npz"
    np.savez_compressed(path, a=np.zeros(2_000_000), b=np.zeros(2_000_000))
    tracemalloc.start()
    for chunk in open_reader(path).chunks(None, 10_000):
        assert len(chunk) == 10_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 16 bytes per event of a chunk, a few times over, against 32 MB for the columns.
    assert peak < 2_000_000
