"""`diffana landscape`: losses on a grid, their minima, and the figures."""

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffana import assemble, config as configuration, runs
from diffana.analysis import Analysis
from diffana.assemble.moves import OfAnalysis, OfWorkspace
from diffana.config import Config, ConfigError, LandscapeConfig, TowardsMove
from diffana.errors import RunError, SpecificationError
from diffana.fit import Minimiser
from diffana.landscape import Landscape, landscape as scan
from diffana.losses import AbstractLoss
from diffana.observable import MLP
from diffana.workflow.landscape_figures import save_figures
from diffana.workflow.landscape_files import to_npz
from diffana.workflow.prepared import Prepared, prepare


class Scene(NamedTuple):
    """What a landscape is computed from.

    Attributes:
        build: the likelihood at a point of the grid.
        losses: the losses by name.
        axes: values along each axis, by name.
        minimiser: settings of the fits.
        chunk: points that are computed together.
        seed: of everything random behind it.
        inputs: files that were read.
    """

    build: OfWorkspace | OfAnalysis
    losses: dict[str, AbstractLoss]
    axes: dict[str, Float[np.ndarray, " point"]]
    minimiser: Minimiser
    chunk: int
    seed: int
    inputs: tuple[Path, ...]

    @property
    def n_points(self) -> int:
        """Points of the grid."""
        return int(np.prod([row.size for row in self.axes.values()]))

    def landscape(
        self, on_chunk: Callable[[int], None] = lambda n_done: None
    ) -> Landscape:
        """Compute it; `on_chunk` is called with the number of points done."""
        return scan(
            self.losses,
            self.build,
            self.axes,
            chunk=self.chunk,
            minimiser=self.minimiser,
            on_chunk=on_chunk,
        )


def scene(config: LandscapeConfig) -> Scene:
    """Read what a landscape needs, and build what it is computed from.

    Args:
        config: the configuration of the landscape.

    Raises:
        DiffanaError: naming the file, the run, the loss or the move that does not fit.
    """
    if config.workspace is not None:
        build = assemble.of_workspace(config)
        return Scene(
            build=build,
            losses=assemble.landscape_losses(config, build.model, has_logits=False),
            axes=assemble.landscape_axes(config),
            minimiser=Minimiser(),
            chunk=config.chunk_size,
            seed=0,
            inputs=assemble.workspace_files(config),
        )
    return _of_analysis(config)


def _of_analysis(config: LandscapeConfig) -> Scene:
    if config.run is not None:
        run = runs.open_finished(Path(config.run))
        settings, files = _settings("Run", run.config), [run.config, run.best]
        run.check_inputs(assemble.input_files(settings))
        prepared = prepare(settings)
        analysis = _selected(run, prepared)
    else:
        path = Path(config.analysis or "")
        settings, files = _settings("Analysis", path), [path]
        prepared = prepare(settings)
        analysis = prepared.trainer.annealed(prepared.analysis, 0)
    others = {}
    for move in (move for axis in config.axes for move in axis.moves):
        if isinstance(move, TowardsMove) and move.run not in others:
            other = runs.open_finished(Path(move.run))
            others[move.run] = _selected(other, prepared)
            files.append(other.best)
    build = assemble.of_analysis(
        config,
        settings,
        analysis,
        getattr(prepared, config.events or "train"),
        signal=assemble.signal_samples(settings),
        others=others,
    )
    has_logits = any(
        isinstance(summary.observable, MLP) and summary.has_logit
        for summary in analysis.summaries.values()
    )
    return Scene(
        build=build,
        losses=assemble.landscape_losses(config, analysis.model, has_logits=has_logits),
        axes=assemble.landscape_axes(config),
        minimiser=prepared.trainer.minimiser,
        chunk=config.chunk_size,
        seed=settings.general.seed,
        inputs=(*files, *assemble.input_files(settings)),
    )


def _settings(key: str, path: Path) -> Config:
    try:
        return configuration.load(path)
    except ConfigError as error:
        raise SpecificationError(
            "\n".join(f"{key}: {path}: {mistake}" for mistake in error.mistakes)
        ) from error


def _selected(run: runs.Run, prepared: Prepared) -> Analysis:
    """The selected analysis of a run, smooth as it was when it was selected."""
    analysis, meta = runs.load_checkpoint(run.best, prepared.analysis)
    analysis = jax.tree.map(jnp.asarray, analysis)
    step = meta["epoch"] * prepared.n_batches - 1
    return prepared.trainer.annealed(analysis, step)


def landscape(
    config: LandscapeConfig,
    folder: Path,
    *,
    formats: Sequence[str] = ("pdf", "png"),
    progress: Callable[
        [str, int], contextlib.AbstractContextManager[Callable[[int], None]]
    ],
) -> dict[str, Any]:
    """Compute a landscape, and write it with its figures into a new folder.

    The folder appears with everything in it, or not at all.

    Args:
        config: the configuration.
        folder: where; must not exist.
        formats: file formats of the figures; none draws none.
        progress: given what is counted and the number of points, a context that yields
            what is called with the number of points done.

    Returns:
        What landscape.json holds: minima and failures of each loss.

    Raises:
        DiffanaError: if the input cannot be used, or the folder is in the way.
    """
    if folder.exists() or folder.is_symlink():
        raise RunError(f"{folder} exists; a run never overwrites anything")
    found = scene(config)
    provenance = runs.describe(seed=found.seed, inputs=found.inputs)
    text = configuration.dump(config)
    with _appearing(folder, text, provenance) as run:
        with progress("points", found.n_points) as advance:
            computed = found.landscape(on_chunk=advance)
        summary = summarised(computed)
        run.write("landscape.npz", to_npz(computed))
        run.write_json("landscape.json", summary)
        save_figures(
            run,
            computed,
            titles=config.titles,
            formats=formats,
        )
    return summary


def summarised(computed: Landscape) -> dict[str, Any]:
    """The axes, and for each loss its minimum and its failures."""
    losses = {}
    for name in computed.loss_names:
        values = computed.values[name]
        minimum = computed.minimum(name)
        losses[name] = {
            "minimum": None
            if minimum is None
            else {
                "value": minimum.value,
                "places": [
                    dict(zip(computed.axis_names, place, strict=True))
                    for place in minimum.places.tolist()
                ],
            },
            "maximum": None if minimum is None else float(np.nanmax(values)),
            "failed_points": int(np.sum(np.isnan(values))),
            "failures": computed.failures(name),
        }
    return {
        "axes": {name: row.tolist() for name, row in computed.axes.items()},
        "losses": losses,
    }


@contextlib.contextmanager
def _appearing(
    folder: Path, config: str, provenance: Mapping[str, Any]
) -> Iterator[runs.Run]:
    """A folder that is filled under another name and gets its own at the end."""
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        yield runs.create(draft, config=config, provenance=provenance)
        try:
            # Fails if another process has just put its own, non-empty folder there.
            draft.rename(folder)
        except OSError as error:
            reason = error.strerror
            raise RunError(f"{folder} cannot be created: {reason}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
