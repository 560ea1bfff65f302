import re
import sys

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import given, settings, strategies as st

from diffana.data.readers import RootReader, open_reader
from diffana.errors import DataError


COLUMNS = {
    "pt": np.array([25.5, -999.0, 60.25]),
    "n_jets": np.array([0, 2, 1], np.int32),
    "passed": np.array([True, False, True]),
    "eta": np.array([0.5, -1.25, 2.0], np.float32),
}


def plant(file, name, columns=COLUMNS):
    file.mktree(name, {key: column.dtype for key, column in columns.items()})
    file[name].extend(columns)


@pytest.fixture
def path(tmp_path):
    """A file with two trees, one of which has two cycles, and a histogram."""
    path = tmp_path / "events: v1.root"
    with uproot.recreate(path) as file:
        plant(file, "nominal")
        plant(file, "folder/varied", {"pt": np.array([1.0])})
        plant(file, "folder/varied", {"pt": np.array([2.0, 3.0])})
        file["spectrum"] = np.histogram(COLUMNS["pt"])
    return path


def test_columns_of_a_tree(path):
    reader = open_reader(path, "nominal")
    assert reader.names() == tuple(COLUMNS)
    table = reader.read()
    assert table.origin == str(path)
    for name, column in COLUMNS.items():
        np.testing.assert_array_equal(table[name], column)
        assert table[name].dtype == column.dtype
    assert reader.read(["eta", "pt"]).names == ("eta", "pt")
    coded = open_reader(path, "nominal", missing=-999.0).read(["pt"])
    np.testing.assert_array_equal(coded["pt"], [25.5, np.nan, 60.25])


def test_columns_of_an_rntuple(tmp_path):
    path = tmp_path / "events.root"
    lists = ak.Array([[1.0], [], [2.0, 3.0]])
    kinds = {name: column.dtype for name, column in COLUMNS.items()}
    with uproot.recreate(path) as file:
        file.mkrntuple("t", kinds | {"kind": "string", "lists": "var * float64"})
        file["t"].extend(COLUMNS | {"kind": ["s", "b", "long"], "lists": lists})
    table = open_reader(path, "t").read()
    assert set(table.names) == {*COLUMNS, "kind"}
    assert table["kind"].tolist() == ["s", "b", "long"]
    for name, column in COLUMNS.items():
        np.testing.assert_array_equal(table[name], column)
    pieces = list(open_reader(path, "t").chunks(["kind", "pt"], 2))
    assert [len(piece) for piece in pieces] == [2, 1]
    assert pieces[1]["kind"].tolist() == ["long"]
    with pytest.raises(DataError, match="column 'lists': the branch holds std::vector"):
        table["lists"]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ("folder/varied", [2.0, 3.0]),
        ("/folder/varied", [2.0, 3.0]),
        ("folder/varied;2", [2.0, 3.0]),
        ("folder/varied;1", [1.0]),
    ],
)
def test_folders_and_cycles(path, tree, expected):
    np.testing.assert_array_equal(open_reader(path, tree).read()["pt"], expected)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (None, "the tree has to be named; trees are: nominal, folder/varied"),
        ("nominol", "no tree 'nominol'; close: nominal"),
        ("varied", "no tree 'varied'; close: folder/varied"),
        (
            "folder/varied;7",
            r"no tree 'folder/varied;7'; cycles are: folder/varied;1, ",
        ),
        ("folder", "'folder' is a TDirectory and no tree; trees are: nominal, "),
        ("spectrum", "'spectrum' is a TH1D and no tree; trees are: nominal, "),
    ],
)
def test_trees_that_are_not_there(path, tree, message):
    with pytest.raises(DataError, match=message) as error:
        open_reader(path, tree).read()
    assert str(error.value).startswith(f"{path}: ")


def test_the_only_tree_needs_no_name(tmp_path):
    path = tmp_path / "one.root"
    with uproot.recreate(path) as file:
        plant(file, "folder/only")
    assert open_reader(path).names() == tuple(COLUMNS)
    with uproot.recreate(path) as file:
        file["spectrum"] = np.histogram(COLUMNS["pt"])
    with pytest.raises(DataError, match="the tree has to be named; trees are: none"):
        open_reader(path).names()
    with pytest.raises(DataError, match="no tree 't'; trees are: none"):
        open_reader(path, "t").names()


def test_branches_without_one_number_per_event_are_withheld(tmp_path):
    path = tmp_path / "events.root"
    lists = ak.Array([[1.0], [], [2.0, 3.0]])
    with uproot.recreate(path) as file:
        file.mktree(
            "t", {"pt": np.float64, "jet": "var * float64", "p4": (np.float64, (4,))}
        )
        file["t"].extend({"pt": COLUMNS["pt"], "jet": lists, "p4": np.ones((3, 4))})
    reader = open_reader(path, "t")
    assert {"pt"} <= set(reader.names()) <= {"pt", "njet"}
    np.testing.assert_array_equal(reader.read()["pt"], COLUMNS["pt"])
    for name, held in (("jet", r"double\[\]"), ("p4", r"double\[4\]")):
        message = f"no column '{name}': the branch holds {held}, not one number or text"
        with pytest.raises(DataError, match=message):
            reader.read([name])
        with pytest.raises(DataError, match=message):
            reader.read()[name]


def test_names_are_no_expressions(tmp_path):
    """uproot would evaluate them."""
    path = tmp_path / "events.root"
    with uproot.recreate(path) as file:
        plant(file, "t", {"a": np.ones(2), "b": np.ones(2), "a-b": np.full(2, 7.0)})
    np.testing.assert_array_equal(open_reader(path).read(["a-b"])["a-b"], [7.0, 7.0])
    with pytest.raises(DataError, match=r"no column 'a\+b'"):
        open_reader(path).read(["a+b"])


def test_trees_without_events(tmp_path):
    path = tmp_path / "events.root"
    with uproot.recreate(path) as file:
        file.mktree("t", {"pt": np.float64})
    for act in (lambda r: r.read(), lambda r: list(r.chunks(["pt"], 3))):
        with pytest.raises(DataError, match="no events"):
            act(open_reader(path))


def test_root_without_uproot(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uproot", None)
    with pytest.raises(DataError, match=r"need uproot: pip install 'diffana\[root\]'"):
        open_reader(path).read()


def test_files_that_are_none(tmp_path):
    path = tmp_path / "events.root"
    with pytest.raises(DataError, match=re.escape(f"{path}: no such file")):
        open_reader(path).read()
    path.mkdir()
    with pytest.raises(DataError, match="not a readable ROOT file: it is a folder"):
        open_reader(path).read()
    path.rmdir()
    for content in (b"", b"root", b"\xff\xfe no such format " * 40):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a readable ROOT file: "):
            open_reader(path).read()


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """Where to put damaged files, and the content of an intact one with two trees."""
    path = tmp_path_factory.mktemp("root") / "events.root"
    random = np.random.default_rng(0)
    columns = {"x": random.normal(size=400), "n": np.arange(400, dtype=np.int32)}
    with uproot.recreate(path) as file:
        plant(file, "folder/t", columns)
        plant(file, "u", columns)
    return path.with_name("damaged.root"), path.read_bytes()


def attempt(path, content):
    """A table, None for one clear error, or the text of an unclear one."""
    path.write_bytes(content)
    reader = RootReader(path, None, "folder/t")
    try:
        table = reader.read()
        pieces = list(reader.chunks(None, 150))
    except DataError as error:
        message = str(error)
        is_clear = message.startswith(f"{path}: ") and "\n" not in message
        return None if is_clear else message
    assert sum(map(len, pieces)) == len(table)
    assert table.names == reader.names()
    return table


def test_a_truncated_file_is_refused_wherever_it_ends(intact):
    path, content = intact
    assert attempt(path, content) is not None
    lengths = np.unique(np.linspace(0, len(content) - 1, 40).astype(int))
    assert [n for n in lengths if attempt(path, content[:n]) is not None] == []


@settings(max_examples=60)
@given(data=st.data())
def test_a_changed_byte_never_escapes_as_another_error(intact, data):
    """Structure is what uproot stumbles over: the first and the last kilobytes."""
    path, content = intact
    place = data.draw(
        st.one_of(
            st.integers(0, 1200),
            st.integers(len(content) - 3000, len(content) - 1),
            st.integers(0, len(content) - 1),
        )
    )
    damaged = bytearray(content)
    damaged[place] ^= data.draw(st.integers(1, 255))
    assert not isinstance(attempt(path, bytes(damaged)), str)


def test_changed_entries_of_a_compressed_branch_are_noticed(intact):
    path, content = intact
    packed = content.index(b"ZL\x08")  # where a compressed basket begins
    refused = 0
    for place in range(packed + 20, packed + 420, 40):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        refused += attempt(path, bytes(damaged)) is None
    assert refused == 10
