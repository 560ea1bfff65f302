"""What a report is written from: a finished run and whatever can still be read."""

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffana import assemble, config as configuration, documents, runs
from diffana.analysis import Analysis, Region
from diffana.errors import DiffanaError, RunError
from diffana.histfactory import from_workspace, modifier_settings
from diffana.published import Published, publish
from diffana.workflow.comparison import FinishedRun, read_run
from diffana.workflow.figures import shown_edges
from diffana.workflow.prepared import Prepared, prepare


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file that a run was trained on.

    Attributes:
        path: as it was given.
        size: in bytes, at the time.
        sha256: likewise.
        change: what has happened to it since; empty if nothing.
    """

    path: str
    size: int
    sha256: str
    change: str


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """The selected model with its events.

    Attributes:
        prepared: events of all portions.
        analysis: the selected analysis, as it was trained.
    """

    prepared: Prepared
    analysis: Analysis

    def region(self, name: str) -> Region | None:
        """A region that events fill, with sharp cuts and bins."""
        found = [one for one in self.analysis.hard.regions if one.name == name]
        return found[0] if found else None


@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """Abscissa of a channel.

    Attributes:
        edges: finite edges of the bins.
        observable: what is histogrammed; empty if it is not known.
        bins: each bin in words.
        is_numbered: whether bins are known by their numbers alone.
    """

    edges: Float[np.ndarray, " bin+1"]
    observable: str
    bins: tuple[str, ...]
    is_numbered: bool

    @property
    def title(self) -> str:
        """The bins in words."""
        return f"bins of {self.observable}" if self.observable else "its bins"

    @property
    def label(self) -> str:
        """Text at the abscissa."""
        if not self.is_numbered:
            return self.observable
        return f"Bin of {self.observable}" if self.observable else "Bin"


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """Everything a report is written from.

    Attributes:
        run: the run folder.
        finished: results and training, as `compare` reads them.
        results: the document `results.json`.
        provenance: the document `provenance.json`.
        published: the exported workspace, ready for fits.
        observed: channels with observed counts.
        files: the inputs.
        trained: the selected model; None if it cannot be had any more.
        trained_missing: why not; empty otherwise.
    """

    run: runs.Run
    finished: FinishedRun
    results: Mapping[str, Any]
    provenance: Mapping[str, Any]
    published: Published
    observed: frozenset[str]
    files: tuple[InputFile, ...]
    trained: Trained | None
    trained_missing: str

    @property
    def config(self) -> configuration.Config:
        """Configuration of the run."""
        return self.finished.config

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of the likelihood, those of the configuration first."""
        known = [c.name for c in self.published.model.layout.channels]
        own = [region.name for region in self.config.regions]
        return (*own, *(name for name in known if name not in own))

    @property
    def on_data(self) -> bool:
        """Whether fits may see data: every channel has observed counts."""
        return self.observed >= set(self.channels)

    @property
    def signals(self) -> tuple[str, ...]:
        """Samples that the parameter of interest scales."""
        return assemble.signal_samples(self.config)

    def samples(self, channel: str) -> tuple[str, ...]:
        """Samples of a channel, those of the configuration first and in its order."""
        rows = self.published.model.layout.rows
        present = [row.sample for row in rows if row.channel == channel]
        own = [one.name for one in self.config.samples if one.name in present]
        return (*own, *(name for name in present if name not in own))

    def counts(self, channel: str) -> Float[np.ndarray, " bin"] | None:
        """Observed counts; None if there are none."""
        if channel not in self.observed:
            return None
        bins = self.published.model.layout.bins(channel)
        return np.asarray(self.published.data)[bins]

    def section(self, channel: str) -> configuration.RegionSection | None:
        """What the configuration says of a channel; None of a published one."""
        found = [one for one in self.config.regions if one.name == channel]
        return found[0] if found else None

    def axis(self, channel: str) -> Axis:
        """Abscissa of a channel: numbers of bins where edges are not known."""
        bins = self.published.model.layout.bins(channel)
        n_bins, section = bins.stop - bins.start, self.section(channel)
        observable = ""
        if section is not None:
            observable = section.observable or section.variable or ""
        region = self.trained.region(channel) if self.trained else None
        if section is not None and region is not None:
            edges = np.asarray(region.edges())
        elif section is not None and not section.trainable_binning:
            edges = np.array(section.binning)
        else:
            edges = np.arange(n_bins + 1) + 0.5
            numbers = tuple(str(number) for number in range(1, n_bins + 1))
            return Axis(edges, observable, numbers, is_numbered=True)
        words = tuple(
            f"{low:.4g} to {high:.4g}".replace("-", "−").replace("inf", "∞")
            for low, high in itertools.pairwise(edges)
        )
        return Axis(shown_edges(section, edges), observable, words, is_numbered=False)


def gather(folder: Path) -> Material:
    """Read a finished run.

    Files of events that have changed or are gone do not stand in the way: results and
    workspace of the run are complete without them.

    Raises:
        RunError: if there is no such run, it has not finished, or it is damaged.
        SpecificationError: if its workspace is damaged.
    """
    finished = read_run(folder)
    run, config = runs.Run(folder), finished.config
    provenance = run.read_provenance()
    try:
        files = tuple(_file(run, one) for one in provenance["inputs"])
        complete = {"versions", "device", "argv"} <= provenance.keys()
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{run.provenance} is damaged") from error
    if not complete:
        raise RunError(f"{run.provenance} is damaged: it is incomplete")
    trained, missing = _trained(run, config)
    published = _published(folder, config)
    return Material(
        run=run,
        finished=finished,
        results=_results(folder / "results.json"),
        provenance=provenance,
        published=published,
        observed=_observed(config, published),
        files=files,
        trained=trained,
        trained_missing=missing,
    )


def _file(run: runs.Run, entry: Mapping[str, Any]) -> InputFile:
    path = Path(entry["path"])
    try:
        run.check_inputs([path])
        change = ""
    except RunError as error:
        change = "changed" if "cannot be read" not in str(error) else "not readable"
    if not path.exists():
        change = "gone"
    return InputFile(entry["path"], entry["bytes"], entry["sha256"], change)


def _trained(run: runs.Run, config: configuration.Config) -> tuple[Trained | None, str]:
    try:
        run.check_inputs(assemble.input_files(config))
        prepared = prepare(config)
        analysis, _ = runs.load_checkpoint(run.best, prepared.analysis)
    except DiffanaError as error:
        return None, str(error)
    return Trained(prepared, jax.tree.map(jnp.asarray, analysis)), ""


def _results(path: Path) -> dict[str, Any]:
    """The results, whose medians `read_run` has checked.

    Raises:
        RunError: if a number is missing.
    """
    results = json.loads(path.read_bytes())
    try:
        for who in ("diffana", "pyhf"):
            bands = [float(value) for value in results[who]["CLs_exp"]]
            if len(bands) != 5:
                raise ValueError(f"{len(bands)} bands")
        for told in (results["diffana"]["fits"], results["failures"]):
            dict(told)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged: its results are incomplete") from error
    return results


def _published(folder: Path, config: configuration.Config) -> Published:
    path = folder / "workspace.json"
    try:
        content = documents.read(path)
    except documents.DocumentError as error:
        raise RunError(str(error)) from error
    published = publish(
        content, origin=str(path), measurement=config.general.measurement
    )
    # A workspace cannot hold how it is interpolated.
    codes = config.fit.interpolation
    wanted = {
        "histosys": {"interpcode": codes.histo_sys},
        "normsys": {"interpcode": codes.norm_sys},
    }
    if modifier_settings(published.model) == wanted:
        return published
    model, data = from_workspace(content, modifier_settings=wanted)
    return published._replace(model=model, data=data)


def _observed(config: configuration.Config, published: Published) -> frozenset[str]:
    """Channels whose counts were observed and not put there as an expectation."""
    regions = {region.name for region in config.regions}
    by_events = {
        region
        for sample in config.samples
        if sample.data
        for region in (sample.regions or regions)
    }
    channels = {channel.name for channel in published.model.layout.channels}
    return frozenset(by_events | (channels - regions))
