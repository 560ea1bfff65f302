"""Pseudo-experiments on several processes; the truth is one process's result."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import tiny
from diffana import infer
from diffana.cli import main
from diffana.errors import ToyError
from diffana.published import publish
from diffana.workflow import farm, published, toys


@pytest.fixture(scope="module")
def content():
    """A workspace whose data prefer some signal."""
    content = tiny.workspace()
    signal, background = content["channels"][0]["samples"]
    signal["data"], background["data"] = [3.0, 8.0], [40.0, 10.0]
    background["modifiers"][2]["data"] = {"hi_data": [42.0, 9.0], "lo_data": [38.0, 11]}
    for sample in (signal, background):
        sample["modifiers"][-1]["data"] = [0.1 * value for value in sample["data"]]
    content["observations"][0]["data"] = [44, 13]
    return content


@pytest.fixture(scope="module")
def crews(compiled):
    """One process, and two."""
    with (
        farm.local(1, environment=compiled) as one,
        farm.local(2, environment=compiled) as two,
    ):
        yield one, two


def test_the_number_of_processes_changes_not_a_bit(content, crews):
    workspace = publish(content, origin="test")
    params = tuple(np.asarray(workspace.model.parameters.inits).tolist())
    blocks = [
        infer.ToyBlock(params, 1.0, "qmu_tilde", n_toys, seed)
        for seed, n_toys in enumerate((60, 60, 60, 20))
    ]
    seen = []
    one, two = (toys.on_farm(crew, workspace, seen.append)(blocks) for crew in crews)
    assert (seen[3], seen[7], len(seen)) == (200, 200, 8)
    for block, mine, others in zip(blocks, one, two, strict=True):
        np.testing.assert_array_equal(mine, others)
        here = infer.toy_statistics(workspace.model, block)
        # This process has more than one thread: sums differ by rounding, which moves
        # minima by the square root of it at most.
        np.testing.assert_allclose(mine, here, atol=1e-6)
        assert np.ptp(mine) > 0.1


@pytest.mark.slow
def test_a_significance_is_the_one_without_a_farm(content, crews):
    workspace = publish(content, origin="test")
    options = {"n_toys": 1100, "seed": 5}
    shared = published.toy_significance(workspace, crew=crews[1], **options)
    assert shared == published.toy_significance(workspace, **options)


def test_a_block_that_no_process_can_compute_is_told(content, crews):
    workspace = publish(content, origin="test")._replace(measurement="none")
    block = infer.ToyBlock((1.0,), 1.0, "q0", 10, 1)
    with pytest.raises(ToyError, match="a process failed twice: "):
        toys.on_farm(crews[0], workspace, lambda n_done: None)([block])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--workers and --scheduler need --calctype toybased"),
        (
            ["--calctype", "toybased", "--workers", "2", "--scheduler", "tcp://x:1"],
            "--workers and --scheduler exclude one another",
        ),
    ],
)
@pytest.mark.parametrize("command", ["cls", "significance"])
def test_what_does_not_go_together(content, tmp_path, command, options, message):
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(content))
    result = CliRunner().invoke(main, [command, str(path), *options])
    assert result.exit_code == 2
    assert result.stderr == f"Error: {message}\n"


def test_the_command_shares_pseudo_experiments(
    content, compiled, tmp_path, monkeypatch
):
    for name, value in compiled.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(content))
    options = ["--calctype", "toybased", "--toys", "1100", "--seed", "5"]
    result = CliRunner().invoke(main, ["cls", str(path), *options, "--workers", "2"])
    assert result.exit_code == 0, result.output
    workspace = publish(content, origin="test")
    assert json.loads(result.stdout) == published.toy_cls(
        workspace, poi_test=1.0, bounded=True, n_toys=1100, seed=5
    )
