"""Samples merged where colours run out."""

import pytest

from diffana import plot


def test_few_samples_keep_their_names_and_colours():
    found = plot.layers(["top", "W"], ["signal"], ["scale"])
    assert found.names == {"top": "top", "W": "W", "signal": "signal"}
    assert found.colours == plot.palette(["top", "W"], ["signal"], ["scale"])
    assert (found.merged, found.signals) == ({}, ("signal",))


def test_the_last_of_many_share_a_layer():
    backgrounds = [f"b{i}" for i in range(7)]
    found = plot.layers(backgrounds, ["ggF", "VBF", "VH"])
    assert found.merged == {
        "3 other backgrounds": ("b4", "b5", "b6"),
        "2 other signals": ("VBF", "VH"),
    }
    assert found.signals == ("ggF", "2 other signals")
    assert len(found.colours) == 5 + 2
    content = {name: position for position, name in enumerate(backgrounds)}
    assert found.collect(content) == {
        "b0": [0],
        "b1": [1],
        "b2": [2],
        "b3": [3],
        "3 other backgrounds": [4, 5, 6],
    }


def test_names_are_no_formulae():
    found = plot.layers(["$x$"])
    assert found.names == {"$x$": r"\$x\$"}
    assert list(found.colours) == [r"\$x\$"]


def test_too_many_variations_are_refused():
    with pytest.raises(ValueError, match="4 variations"):
        plot.layers(["top"], variations=["a", "b", "c", "d"])
