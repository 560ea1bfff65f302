"""`diffana neyman WORKSPACE`: toys and a belt from them."""

import contextlib
import functools
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffana import runs
from diffana.assemble.neyman import Constructed, Description
from diffana.errors import RunError, SpecificationError
from diffana.neyman import (
    Construction,
    Laplace,
    Mixed,
    Profile,
    Settings,
    calibrate,
    interpolation_errors,
    ville_bound,
)
from diffana.neyman.calibration import bounded_by_ville, check, planned
from diffana.neyman.toys import Batch, own_statistics
from diffana.published import Published
from diffana.workflow.farm import Farm
from diffana.workflow.neyman import records
from diffana.workflow.neyman.records import BELT, TOYS, Source
from diffana.workflow.toys import spread


if TYPE_CHECKING:
    from diffana.stored import Measurement


_BATCHES = "toys"
_N_PILOT = 100
_LARGE_ERROR = 0.02


def make(
    workspace: "Published | Measurement",
    description: Description,
    settings: Settings,
    folder: Path,
    *,
    crew: Callable[[], contextlib.AbstractContextManager[Farm | None]],
    progress: Callable[[int], contextlib.AbstractContextManager[Callable[[int], None]]],
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Make a belt, or go on with an interrupted one.

    Args:
        workspace: the likelihood and the observed data.
        description: the test.
        settings: how critical values are obtained.
        folder: where; must not exist, or hold the same belt, unfinished.
        crew: opens the processes that share the toys; they make the same ones.
        progress: opens what is told how many of so many toys are done.
        warn: called with lines for the user.

    Returns:
        The content of belt.json.

    Raises:
        RunError: if the folder is in the way.
        SpecificationError: if the test does not fit the likelihood.
        FitError: if fits to the data, or too many of those to toys, are not certified.
    """
    source = records.source_of(workspace)
    content = records.files(source, description, settings)
    if folder.exists():
        records.check_same(folder, content)
        if (folder / BELT).exists():
            raise RunError(f"{folder} holds a finished belt")
    made = records.constructed(source, description)
    try:
        check(made.construction, made.scheme, settings)
    except ValueError as error:
        raise SpecificationError(str(error)) from error
    if not folder.exists():
        inputs = [] if source.workspace else [Path(source.measurement)]
        provenance = runs.describe(seed=settings.seed, inputs=inputs)
        text = f"{json.dumps(provenance, indent=2)}\n"
        runs.create_folder(folder, {**content, "provenance.json": text.encode()})
    run = runs.Run(folder)
    start = time.perf_counter()
    plan = planned(made.construction, made.scheme, made.tested, settings)
    n_toys = sum(batch.at.size for batch in plan)
    with (
        runs.exclusive(folder, warn=warn),
        crew() as processes,
        progress(n_toys) as advance,
    ):
        evaluate = functools.partial(
            _evaluated, run=run, source=source, description=description, crew=processes
        )
        found = calibrate(
            made.construction,
            made.scheme,
            made.tested,
            settings,
            evaluate=evaluate,
            on_toys=advance,
        )
        document = {
            "format": "diffana belt 1",
            "origin": workspace.origin,
            "poi": workspace.poi,
            **_described(made, description, settings, learned=not source.workspace),
            "levels": list(settings.levels),
            "mu": found.belt.tested.tolist(),
            "critical": found.belt.critical(found.belt.tested).tolist(),
            "n_toys": n_toys,
            "n_failed": found.n_failed,
            **_interpolated(made, plan, warn),
            "seconds": round(time.perf_counter() - start, 2),
        }
        if bounded_by_ville(made.construction):
            document["bound"] = ville_bound(np.array(settings.levels)).tolist()
            document["excess"] = found.excess
        toys = io.BytesIO()
        np.savez_compressed(toys, at=found.at, statistic=found.statistic)
        run.write(TOYS, toys.getvalue())
        run.write_json(BELT, document)
        shutil.rmtree(folder / _BATCHES, ignore_errors=True)
    return document


def _described(
    made: Constructed, description: Description, settings: Settings, *, learned: bool
) -> dict[str, Any]:
    """What tells one belt from another, and what its coverage means."""
    guarantee = made.scheme.guarantee
    if learned:
        guarantee += "; toys are drawn from the learned likelihood itself"
    grid = np.asarray(made.construction.grid.points)
    document: dict[str, Any] = {"statistic": description.statistic}
    if description.statistic == "fts":
        document["focus"] = description.focus
        document["truncate"] = description.truncate
    treatment = type(made.construction.nuisance).__name__.lower()
    document["nuisance"] = "none" if treatment == "known" else treatment
    document["range_of_statistic"] = [float(grid[0]), float(grid[-1])]
    return document | {
        "scheme": type(made.scheme).__name__.lower(),
        "guarantee": guarantee,
        "method": settings.method,
        "guard": settings.guard and settings.method in ("quantile", "p-value"),
        "seed": settings.seed,
    }


def _interpolated(
    made: Constructed, plan: list[Batch], warn: Callable[[str], None]
) -> dict[str, Any]:
    """How wrong interpolated profiles are, for some toys of the whole range."""
    interpolates = isinstance(made.construction.nuisance, Profile | Laplace | Mixed)
    if not plan or not interpolates:
        return {}
    params = np.concatenate([batch.params for batch in plan])
    chosen = params[np.linspace(0, len(params) - 1, _N_PILOT).astype(int)]
    start = jnp.asarray(chosen)
    toys = made.construction.likelihood.samples(start, _N_PILOT, plan[0].seed)
    found = interpolation_errors(made.construction, toys, start)
    found = found[~np.isnan(found)]
    if not found.size:
        return {}
    largest, median = float(found.max()), float(np.median(found))
    if median > _LARGE_ERROR:
        warn(
            "the profile of the likelihood is no smooth curve between its fits, which "
            f"costs power: typical errors of the statistic are {median:.2g}; more "
            "--nodes make it better"
        )
    return {"interpolation_error": {"median": median, "largest": largest}}


def _evaluated(
    construction: Construction,
    plan: list[Batch],
    *,
    run: runs.Run,
    source: Source,
    description: Description,
    crew: Farm | None,
) -> Iterator[Float[np.ndarray, " toy"]]:
    """Statistics of all batches; those that are on the disk already are read."""
    done = {i: _stored(run, i, batch) for i, batch in enumerate(plan)}
    if crew is not None:
        tasks = {
            i: (source, description, batch)
            for i, batch in enumerate(plan)
            if done[i] is None
        }
        for i, part in spread(crew, statistics_elsewhere, tasks):
            _store(run, i, part)
            done[i] = part
    for i, batch in enumerate(plan):
        part = done[i]
        if part is None:
            part = own_statistics(construction, batch)
            _store(run, i, part)
        yield part


def statistics_elsewhere(
    source: Source, description: Description, batch: Batch
) -> Float[np.ndarray, " toy"]:
    """The statistics of a batch; this is what each process does."""
    made = records.constructed(Source(*source), Description(*description))
    return own_statistics(made.construction, Batch(*batch))


def _name(number: int) -> str:
    return f"{_BATCHES}/{number:05d}.npy"


def _stored(run: runs.Run, number: int, batch: Batch) -> np.ndarray | None:
    path = run.folder / _name(number)
    if not path.is_file():
        return None
    try:
        found = np.load(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged; remove it to make it again") from error
    if found.shape != batch.at.shape:
        raise RunError(f"{path} is damaged; remove it to make it again")
    return found


def _store(run: runs.Run, number: int, values: Float[np.ndarray, " toy"]) -> None:
    content = io.BytesIO()
    np.save(content, values)
    run.write(_name(number), content.getvalue())
