"""Likelihoods in files: what is read is what was written; damage is one line."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

from diffana import stored
from diffana.cli import main
from diffana.errors import SpecificationError
from nsbi import small


PARAMS = jnp.array([1.3, 0.4, -0.3])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("likelihood")
    x = np.random.default_rng(5).normal(0.3, 1.1, 90)
    stored.store(place, small.likelihood(), small.data(x, chunk=16))
    return place


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_reading_gives_back_the_likelihood(folder):
    x = np.random.default_rng(5).normal(0.3, 1.1, 90)
    found = stored.read(folder)
    assert found.observed
    assert found.poi == "mu"
    wanted = small.likelihood().twice_nll(PARAMS, small.data(x))
    np.testing.assert_allclose(
        found.model.twice_nll(PARAMS, found.data), wanted, rtol=1e-12
    )
    for name in ("inits", "lower", "upper", "fixed"):
        np.testing.assert_array_equal(
            getattr(found.parameters, name),
            getattr(small.likelihood().parameters, name),
        )


def test_large_arrays_are_read_in_pieces(folder, monkeypatch):
    whole = stored.read(folder)
    monkeypatch.setattr(stored, "_LARGEST_HELD", 100)
    pieces = stored.read(folder, chunk=32)
    assert type(pieces.data.rows[0].source).__name__ == "StoredTerms"
    for at in (PARAMS, PARAMS + 0.2):
        found = pieces.model.expansion(at, pieces.data)
        wanted = whole.model.expansion(at, whole.data)
        np.testing.assert_allclose(found.value, wanted.value, rtol=1e-12)
        np.testing.assert_allclose(
            found.hessian, wanted.hessian, rtol=1e-10, atol=1e-10
        )


def changed(folder, **entries):
    path = folder / stored.FILE
    document = json.loads(path.read_text())
    document.update(entries)
    path.write_text(json.dumps(document))


def test_damage_is_named(copy):
    np.save(copy / "rows" / "SR" / "weight.npy", np.ones(3))
    with pytest.raises(
        SpecificationError, match="3 weights, but 400 rows of log_ratio"
    ):
        stored.read(copy)
    (copy / "rows" / "SR" / "weight.npy").write_bytes(b"nothing")
    with pytest.raises(SpecificationError, match=r"weight\.npy: not an array"):
        stored.read(copy)
    (copy / "rows" / "SR" / "weight.npy").unlink()
    with pytest.raises(SpecificationError, match=r"weight\.npy: cannot be read"):
        stored.read(copy)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"format": "something else"}, "format"),
        ({"poi": "nu"}, "no parameter 'nu'"),
        ({"regions": []}, "regions"),
        ({"squares": {"mu": "tilt"}}, "'mu' is no square"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_documents_with_mistakes(copy, entries, message):
    changed(copy, **entries)
    with pytest.raises(SpecificationError, match=message):
        stored.read(copy)


def test_commands_on_a_run_folder(folder):
    run = CliRunner().invoke(main, ["fit", str(folder)])
    assert run.exit_code == 0, run.output
    document = json.loads(run.stdout)
    assert list(document["bestfit"]) == ["mu", "tilt", "width"]
    refused = CliRunner().invoke(main, ["crosscheck", str(folder)])
    assert refused.exit_code == 2
    assert "pyhf has no unbinned likelihoods" in refused.output
    empty = folder / "rows"
    refused = CliRunner().invoke(main, ["fit", str(empty)])
    assert refused.exit_code == 2
    assert "without likelihood.json" in refused.output
