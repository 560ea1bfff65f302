import os
import pathlib

import hypothesis
import jax
import matplotlib as mpl
import pytest


jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Programs run a few times only: compiling them is what costs.
jax.config.update("jax_disable_most_optimizations", True)
mpl.use("Agg")

# Compilation time would break hypothesis's deadline; derandomised runs repeat exactly.
hypothesis.settings.register_profile("diffana", deadline=None, derandomize=True)
hypothesis.settings.load_profile("diffana")


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Folder with reference numbers, named by the variable DIFFANA_SHARED."""
    folder = os.environ.get("DIFFANA_SHARED")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("DIFFANA_SHARED names no folder with reference numbers")
    return pathlib.Path(folder)


@pytest.fixture(scope="module", autouse=True)
def bounded_programs():
    """Forget compiled programs before they fill a process's table of memory maps.

    Each program holds several maps, and Linux aborts a process that asks for more than
    65 530 of them (vm.max_map_count).
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 35_000:
        jax.clear_caches()
