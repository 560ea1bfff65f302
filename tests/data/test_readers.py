import gzip
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diffana.data.readers import CsvReader, NpzReader, ParquetReader, open_reader
from diffana.errors import DataError


COLUMNS = {
    "pt": np.array([25.5, -999.0, 60.25]),
    "n_jets": np.array([0, 2, 1]),
    "label": np.array(["s", "b", "long label, quoted"]),
}


def csv_text():
    lines = [",".join(COLUMNS)]
    for pt, n_jets, label in zip(*COLUMNS.values(), strict=True):
        lines.append(f'{pt},{n_jets},"{label}"')
    return "\n".join(lines) + "\n"


def write(path):
    """The columns above in the format that the name of `path` asks for."""
    if path.suffix == ".npz":
        np.savez(path, **COLUMNS)
    elif path.suffix.lower() == ".csv":
        path.write_text(csv_text())
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(csv_text().encode()))
    else:
        pq.write_table(pa.table(COLUMNS), path)
    return path


NAMES = ("events.npz", "events.csv", "EVENTS.CSV", "events.csv.gz", "events.parquet")


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_table(tmp_path, name):
    path = write(tmp_path / name)
    reader = open_reader(path)
    assert reader.names() == tuple(COLUMNS)
    table = reader.read()
    assert table.origin == str(path)
    for column, expected in COLUMNS.items():
        np.testing.assert_array_equal(table[column], expected)
    assert open_reader(path).read(["label", "pt"]).names == ("label", "pt")


@pytest.mark.parametrize("name", NAMES)
def test_the_code_for_missing_becomes_nan(tmp_path, name):
    path = write(tmp_path / name)
    table = open_reader(path, missing=-999.0).read()
    np.testing.assert_array_equal(table["pt"], [25.5, np.nan, 60.25])
    np.testing.assert_array_equal(table["n_jets"], [0, 2, 1])
    coded = open_reader(path, missing=2).read(["n_jets"])
    np.testing.assert_array_equal(coded["n_jets"], [0, np.nan, 1])


@pytest.mark.parametrize("name", NAMES)
def test_unknown_columns_are_named_with_close_matches(tmp_path, name):
    path = write(tmp_path / name)
    with pytest.raises(DataError, match=r"no column 'njets'; close: n_jets") as error:
        open_reader(path).read(["pt", "njets"])
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"\xff\xfe no such format " * 40, id="foreign"),
        pytest.param(lambda content: content[: int(0.66 * len(content))], id="cut"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, damage):
    path = write(tmp_path / name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError) as error:
        open_reader(path).read()
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", NAMES)
def test_absent_files_and_folders_are_named(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(DataError, match="no such file"):
        open_reader(path).read()
    path.mkdir()
    with pytest.raises(DataError, match="not a readable"):
        open_reader(path).read()


def test_flipped_bits_are_noticed(tmp_path):
    for name in ("events.npz", "events.csv.gz"):
        path = write(tmp_path / name)
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(DataError, match="events"):
            open_reader(path).read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "no events"),
        ("a,b,a\n1,2,3\n", "column 'a' appears twice"),
        ("a,b\n1\n", "2 columns, but the first event has 1 entries"),
        ("a,b\n1,2\n3\n", "not a readable CSV file"),
        ("a,b\n1,2\n3,4,5\n", "not a readable CSV file"),
        ("a,b\n1,2\n3,x\n", "could not convert string 'x'"),
        ("a,b\n1,2\n3,\n", "could not convert string ''"),
    ],
)
def test_malformed_csv(tmp_path, text, message):
    path = tmp_path / "events.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        CsvReader(path).read()


def test_csv_of_spreadsheets_and_data_frames(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes("\ufeff,pt, label\r\n0,nan,#1\r\n1,2.5,#2\r\n".encode())
    table = CsvReader(path).read()
    assert table.names == ("", "pt", "label")
    np.testing.assert_array_equal(table["pt"], [np.nan, 2.5])
    assert table["label"].tolist() == ["#1", "#2"]


def test_a_truncated_line_is_noticed_when_other_columns_are_read(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("a,b,c\n1,2,long text\n3,4")
    with pytest.raises(DataError, match="not a readable CSV file"):
        CsvReader(path).read(["a"])
    path.write_text("a,b,c\n1,2,long text\n3,4,x\n")
    np.testing.assert_array_equal(CsvReader(path).read(["a"])["a"], [1, 3])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "no columns"),
        ({"a": []}, "no events"),
        ({"a": np.ones((2, 2))}, r"column 'a' has shape \(2, 2\)"),
        ({"a": np.ones(2), "b": np.ones(3)}, "columns differ in length"),
        ({"a": np.array([None, {}])}, "Object arrays cannot be loaded"),
    ],
)
def test_malformed_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "events.npz", **arrays)
    with pytest.raises(DataError, match=message):
        NpzReader(tmp_path / "events.npz").read()


def test_a_bare_array_is_no_archive(tmp_path):
    np.save(tmp_path / "array.npy", np.ones(3))
    path = (tmp_path / "array.npy").rename(tmp_path / "events.npz")
    with pytest.raises(DataError, match="not an npz archive"):
        NpzReader(path).read()


def test_null_numbers_in_parquet_become_nan(tmp_path):
    path = tmp_path / "events.parquet"
    columns = {"a": [1, None], "t": pa.array([1.5, None], pa.float32())}
    pq.write_table(pa.table(columns), path)
    table = ParquetReader(path).read()
    np.testing.assert_array_equal(table["a"], [1, np.nan])
    np.testing.assert_array_equal(table["t"], [1.5, np.nan])
    assert table["t"].dtype == np.float32


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["s", None], "column 'a' has 1 entries without a value"),
        ([True, None], "column 'a' has 1 entries without a value"),
        ([[1.0], [2.0, 3.0]], "column 'a' holds list<.*neither numbers nor text"),
        (pa.array([], pa.float64()), "no events"),
        (pa.array([0, 1], pa.timestamp("s")), "'a' holds datetime64.*neither numbers"),
    ],
)
def test_unusable_parquet(tmp_path, column, message):
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"a": column}), path)
    with pytest.raises(DataError, match=message):
        ParquetReader(path).read()


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    path = write(tmp_path / "events.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"need pyarrow: pip install 'diffana\[parquet"):
        open_reader(path).read()


def test_readers_are_chosen_by_the_end_of_the_name():
    with pytest.raises(DataError, match=r"events.txt: no reader.*\.npz, \.csv, "):
        open_reader("events.txt")
    with pytest.raises(DataError, match=r"tree 'nominal' asked for, but a \.csv file"):
        open_reader("events.csv", tree="nominal")


@pytest.mark.shared
def test_recorded_events(shared):
    path = shared / "data/higgsml/higgsml_fragment_22889.csv.gz"
    table = open_reader(path, missing=-999.0).read(["Label", "PRI_jet_num", "Weight"])
    assert len(table) == 22889
    assert np.count_nonzero(table["Label"] == "s") == 7817
    assert set(np.unique(table["PRI_jet_num"])) == {0, 1, 2, 3}
