"""Checkpoints that were damaged, or made to do harm: refused, and nothing unpickled."""

import hashlib
import io
import json
import os
import pickle
import random
import struct

import jax
import numpy as np
import pytest

import tiny
from diffana import runs
from diffana.errors import CheckpointError


TREE = tiny.analysis()


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "best.eqx"
    runs.save_checkpoint(path, TREE, {"epoch": 12})
    return path


def parts(path):
    line, _, content = path.read_bytes().partition(b"\n")
    return json.loads(line), content


def sealed(path, content, **changed):
    """A checkpoint whose checksums fit: made on purpose, not by accident."""
    header, _ = parts(path)
    header |= {"sha256": hashlib.sha256(content).hexdigest(), **changed}
    header.pop("header_sha256")
    text = json.dumps(header, sort_keys=True).encode()
    header["header_sha256"] = hashlib.sha256(text).hexdigest()
    return json.dumps(header).encode() + b"\n" + content


def refused(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.eqx"):
        runs.load_checkpoint(path, TREE)


def test_an_intact_checkpoint_is_read(saved):
    tree, meta = runs.load_checkpoint(saved, TREE)
    assert meta == {"epoch": 12}
    for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(TREE), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_never_changes_what_is_read(seed, saved):
    drawn = random.Random(seed)
    content = bytearray(saved.read_bytes())
    # Half of them in the first line, which is short.
    length = len(content) if seed % 2 else content.index(b"\n")
    content[drawn.randrange(length)] ^= 1 << drawn.randrange(8)
    saved.write_bytes(content)
    try:
        tree, meta = runs.load_checkpoint(saved, TREE)
    except CheckpointError:
        return
    # A space between two keys may have become another one.
    assert meta == {"epoch": 12}
    for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(TREE), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_epoch_is_noticed(saved):
    content = saved.read_bytes()
    assert content.count(b'{"epoch": 12}') == 1
    refused(saved, content.replace(b'{"epoch": 12}', b'{"epoch": 13}'))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(share, saved):
    content = saved.read_bytes()
    refused(saved, content[: int(share * len(content))])


class Harm:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def pickled():
    file = io.BytesIO()
    np.save(file, np.array([Harm()], dtype=object), allow_pickle=True)
    return file.getvalue()


def array(shape, kind):
    header = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64)


CRAFTED = {
    "a pickle": pickle.dumps(Harm()),
    "a pickle in an array": pickled(),
    "an array of objects": array("(1,)", "|O"),
    "an array larger than memory": array("(99999999999999,)", "<f8"),
    "a negative shape": array("(-1,)", "<f8"),
    "a shape that is none": array("((1,),)", "<f8"),
    "nothing": b"",
    "noise": random.Random(1).randbytes(3000),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_what_is_no_array_of_numbers_is_refused(what, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(saved, sealed(saved, CRAFTED[what]))
    assert not (tmp_path / "pwned").exists()


def test_more_than_the_leaves_is_refused(saved):
    _, content = parts(saved)
    refused(saved, sealed(saved, content + b"x"))


def test_swapped_leaves_are_refused(saved):
    header, content = parts(saved)
    leaves = header["leaves"]
    swapped = [leaves[1], leaves[0], *leaves[2:]]
    assert leaves != swapped
    refused(saved, sealed(saved, content, leaves=swapped))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, value)
        for key in ("leaves", "meta", "sha256")
        for value in (None, 3, "x", [], {}, [1], [["a"]], {"a": 1})
        # `meta` is a mapping.
        if not (key == "meta" and isinstance(value, dict))
    ],
)
def test_a_first_line_of_other_types_is_refused(key, value, saved):
    _, content = parts(saved)
    refused(saved, sealed(saved, content, **{key: value}))


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"1e999", b"[" * 100_000])
def test_a_first_line_that_is_no_header_is_refused(line, saved):
    refused(saved, line + b"\n")
