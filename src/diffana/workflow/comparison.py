"""`diffana compare`: finished runs side by side, grouped by configuration."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from diffana import config as configuration, runs
from diffana.errors import RunError
from diffana.workflow.comparison_names import differences, names
from diffana.workflow.resolved import resolved_config


METRICS = ("cls", "p0", "sigma_mu")
REACHED = 0.95
_P_VALUES = ("cls", "p0")


@dataclasses.dataclass(frozen=True, eq=False)
class FinishedRun:
    """What a finished run folder says about results and training.

    Attributes:
        folder: where it is.
        config: the resolved configuration.
        poi: parameter of interest.
        poi_test: its value that CLs tests.
        selected: the epoch whose model was selected.
        validation: hard metrics on the validation events after each epoch, by name as
            in training; nan where a fit failed.
        test: expected CLs (median), p0 and σ_μ on the test events, by name as in
            training; nan where there is no number.
        pyhf: the same, computed by pyhf.
        updates: updates tried.
        refused: how many of them were refused.
        seconds: wall time of each epoch; None if the run did not record it.
    """

    folder: Path
    config: configuration.Config
    poi: str
    poi_test: float
    selected: int
    validation: Mapping[str, Float[np.ndarray, " epoch"]]
    test: Mapping[str, float]
    pyhf: Mapping[str, float]
    updates: int
    refused: int
    seconds: Float[np.ndarray, " epoch"] | None

    @property
    def seed(self) -> int:
        """Seed of everything random in it."""
        return self.config.general.seed

    @property
    def epoch(self) -> Float[np.ndarray, " epoch"]:
        """Epochs made."""
        return np.arange(1, len(next(iter(self.validation.values()))) + 1)

    @property
    def reached(self) -> int:
        """First epoch with 95 % of the improvement up to the selected one.

        The improvement is that of the selecting metric on the validation events since
        the first epoch that has one; of p-values it is that of the logarithm.
        """
        name = self.config.train.selection
        values = self.validation[name]
        if name in _P_VALUES:
            with np.errstate(divide="ignore"):
                values = np.log(values)
        return epoch_reached(values, selected=self.selected)

    @property
    def still_improved(self) -> bool:
        """Whether the selected epoch is in the last tenth of the training."""
        n_epochs = len(self.epoch)
        return self.selected > n_epochs - max(1, round(n_epochs / 10))


@dataclasses.dataclass(frozen=True)
class Spread:
    """Numbers of several seeds, where smaller is better.

    A number that is not defined counts as worse than all others.

    Attributes:
        median: nan if it is not defined.
        low: the smallest.
        high: the largest; nan if one is not defined.
        undefined: how many are not defined.
    """

    median: float
    low: float
    high: float
    undefined: int


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Runs of one configuration that differ only in their seeds.

    Attributes:
        name: what sets the configuration apart from the others that are compared.
        differing: the same as path in the configuration -> value.
        runs: by increasing seed.
    """

    name: str
    differing: Mapping[str, Any]
    runs: tuple[FinishedRun, ...]

    def test(self, metric: str) -> Float[np.ndarray, " seed"]:
        """A metric on the test events for each seed."""
        return np.array([run.test[metric] for run in self.runs])

    def validation(self, metric: str) -> Float[np.ndarray, "seed epoch"]:
        """A metric on the validation events for each seed, after each epoch."""
        return np.stack([run.validation[metric] for run in self.runs])

    @property
    def difference_to_pyhf(self) -> float:
        """Largest relative difference to pyhf among all seeds and metrics.

        nan if there is a number that only one of the two has.
        """
        ours = np.array([self.test(metric) for metric in METRICS])
        theirs = np.array([[run.pyhf[m] for run in self.runs] for m in METRICS])
        neither = np.isnan(ours) & np.isnan(theirs)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(ours == theirs, 0.0, np.abs(ours / theirs - 1))
        return float(np.max(np.where(neither, 0.0, relative)))

    @property
    def seconds(self) -> float | None:
        """Median wall time of a training; None if a run did not record it."""
        times = [run.seconds for run in self.runs]
        known = [float(np.sum(time)) for time in times if time is not None]
        return float(np.median(known)) if len(known) == len(times) else None

    @property
    def seconds_per_epoch(self) -> float | None:
        """Median wall time of an epoch, which leaves out those that compile."""
        times = [run.seconds for run in self.runs if run.seconds is not None]
        complete = len(times) == len(self.runs)
        return float(np.median(np.concatenate(times))) if complete else None


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Finished runs, grouped by configuration.

    Attributes:
        poi: parameter of interest of all of them.
        poi_test: its value that CLs tests.
        groups: in the order in which their first runs were given.
    """

    poi: str
    poi_test: float
    groups: tuple[Group, ...]

    def document(self) -> dict[str, Any]:
        """Everything that is compared, in types that JSON has."""
        return {
            "poi": self.poi,
            "poi_test": self.poi_test,
            "groups": [_document(group) for group in self.groups],
        }


def compare(folders: Iterable[str | Path]) -> Comparison:
    """Compare finished runs.

    Args:
        folders: run folders, at least one; runs whose configurations differ in nothing
            but the seed form a group.

    Raises:
        RunError: naming the first folder that holds no finished run, is damaged, is
            given twice, repeats configuration and seed of another, tests another
            hypothesis, or was trained on other contents of the same file.

    Example:
        >>> comparison = compare(["runs/cls_0", "runs/cls_1", "runs/p0_0"])
        >>> comparison.groups[0].name, spread(comparison.groups[0].test("sigma_mu"))
    """
    folders = [Path(folder) for folder in folders]
    if not folders:
        raise RunError("there is no run to compare")
    found = [read_run(folder) for folder in folders]
    _check_unique(folders)
    _check_comparable(found)
    by_settings: dict[str, list[FinishedRun]] = {}
    for run in found:
        by_settings.setdefault(_settings(run.config), []).append(run)
    _check_seeds(by_settings.values())
    differing = differences([json.loads(settings) for settings in by_settings])
    alone = len(by_settings) == 1
    labels = [found[0].config.general.measurement] if alone else names(differing)
    groups = (
        Group(label, differs, tuple(sorted(members, key=lambda run: run.seed)))
        for label, differs, members in zip(
            labels, differing, by_settings.values(), strict=True
        )
    )
    return Comparison(found[0].poi, found[0].poi_test, tuple(groups))


def read_run(folder: Path) -> FinishedRun:
    """Read results and training of a run.

    Raises:
        RunError: if there is no such run, it has not finished, or it is damaged.
    """
    run = runs.open_finished(folder)
    config = resolved_config(run)
    results = _read_results(run)
    records = run.read_metrics()
    if len(records) != config.train.epochs:
        raise RunError(
            f"{run.metrics} has {len(records)} epochs, but {config.train.epochs} were "
            "made"
        )
    try:
        return _finished(run, config, results, records)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{folder} is damaged: its metrics or results are incomplete"
        ) from error


def spread(values: Float[np.ndarray, " seed"] | Sequence[float]) -> Spread:
    """Median and range of numbers where smaller is better and nan is worst.

    Example:
        >>> spread([0.3, np.nan, 0.2])
        Spread(median=0.3, low=0.2, high=nan, undefined=1)
    """
    values = np.asarray(values, float)
    ranked = np.where(np.isnan(values), np.inf, values)
    median, low, high = (
        float(value) if np.isfinite(value) else float("nan")
        for value in (np.median(ranked), np.min(ranked), np.max(ranked))
    )
    return Spread(median, low, high, int(np.sum(np.isnan(values))))


def epoch_reached(
    values: Float[np.ndarray, " epoch"] | Sequence[float],
    *,
    selected: int,
    share: float = REACHED,
) -> int:
    """First epoch with a given share of the improvement up to a selected one.

    Args:
        values: metric after each epoch, smaller is better; nan where there is none.
        selected: the epoch with the best value, counted from 1.
        share: of the improvement since the first epoch with a value, in (0, 1].

    Example:
        >>> epoch_reached([3.0, 1.1, 1.05, 1.0], selected=4)
        2
    """
    values = np.asarray(values, float)
    best = values[selected - 1]
    first = values[np.flatnonzero(~np.isnan(values))[0]]
    if not (np.isfinite(first) and np.isfinite(best)):
        return selected
    good = values <= best + (1 - share) * (first - best)
    return int(np.flatnonzero(good)[0]) + 1


def _read_results(run: runs.Run) -> dict[str, Any]:
    path = run.folder / "results.json"
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged") from error


def _finished(
    run: runs.Run,
    config: configuration.Config,
    results: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
) -> FinishedRun:
    selected = results["epoch"]
    if not 1 <= selected <= len(records):
        raise ValueError(f"epoch {selected} was never made")
    timings = run.read_timings()
    complete = [one["step"] for one in timings] == [one["step"] for one in records]
    return FinishedRun(
        folder=run.folder,
        config=config,
        poi=str(results["poi"]),
        poi_test=float(results["poi_test"]),
        selected=selected,
        validation={
            name: np.array([float(one["validation"][name]) for one in records])
            for name in dict.fromkeys((*METRICS, config.train.selection))
        },
        test=_metrics(results["diffana"]),
        pyhf=_metrics(results["pyhf"]),
        updates=sum(len(record["loss"]) for record in records),
        refused=sum(sum(record["refused"].values()) for record in records),
        seconds=np.array([float(one["seconds"]) for one in timings])
        if complete
        else None,
    )


def _metrics(numbers: Mapping[str, Any]) -> dict[str, float]:
    return {
        "cls": float(numbers["CLs_exp"][2]),
        "p0": float(numbers["p0"]),
        "sigma_mu": float(numbers["sigma_mu"]),
    }


def _settings(config: configuration.Config) -> str:
    """The configuration without its seed, as JSON."""
    document = config.model_dump(mode="json", by_alias=True)
    del document["General"]["Seed"]
    return json.dumps(document)


def _check_unique(folders: Sequence[Path]) -> None:
    for i, folder in enumerate(folders):
        if folder.resolve() in (other.resolve() for other in folders[:i]):
            raise RunError(f"{folder} is given twice")


def _check_comparable(found: Sequence[FinishedRun]) -> None:
    """Refuse runs whose results answer different questions."""
    first = found[0]
    contents: dict[str, tuple[str, Path]] = {}
    for run in found:
        if (run.poi, run.poi_test) != (first.poi, first.poi_test):
            raise RunError(
                f"{run.folder} tests {run.poi} = {run.poi_test:g}, but {first.folder} "
                f"tests {first.poi} = {first.poi_test:g}: their results cannot be "
                "compared"
            )
        for path, sha256 in _inputs(run.folder).items():
            before, folder = contents.setdefault(path, (sha256, run.folder))
            if sha256 != before:
                raise RunError(
                    f"{run.folder} was trained on another content of {path} than "
                    f"{folder}"
                )


def _inputs(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that a run was trained on."""
    run = runs.Run(folder)
    try:
        return {
            file["path"]: file["sha256"] for file in run.read_provenance()["inputs"]
        }
    except (KeyError, TypeError) as error:
        raise RunError(f"{run.provenance} is damaged") from error


def _check_seeds(groups: Iterable[Sequence[FinishedRun]]) -> None:
    for group in groups:
        for one, other in itertools.combinations(group, 2):
            if one.seed == other.seed:
                raise RunError(
                    f"{one.folder} and {other.folder} have the same configuration and "
                    f"the same seed {one.seed}: they are no independent runs"
                )


def _document(group: Group) -> dict[str, Any]:
    def median(number: Callable[[FinishedRun], float]) -> float:
        return float(np.median([number(run) for run in group.runs]))

    return {
        "name": group.name,
        "differing": dict(group.differing),
        "seeds": [run.seed for run in group.runs],
        "test": {
            metric: dataclasses.asdict(spread(group.test(metric))) for metric in METRICS
        },
        "difference_to_pyhf": group.difference_to_pyhf,
        "cost": {
            "updates": median(lambda run: run.updates),
            "seconds": group.seconds,
            "seconds_per_epoch": group.seconds_per_epoch,
        },
        "convergence": {
            "epochs": len(group.runs[0].epoch),
            "selected": median(lambda run: run.selected),
            "reached": median(lambda run: run.reached),
            "refused": [run.refused for run in group.runs],
            "still_improved": sum(run.still_improved for run in group.runs),
        },
        "runs": [
            {
                "folder": str(run.folder),
                "seed": run.seed,
                "selected": run.selected,
                "reached": run.reached,
                "still_improved": run.still_improved,
                "refused": run.refused,
                "seconds": None if run.seconds is None else float(run.seconds.sum()),
                "test": dict(run.test),
                "pyhf": dict(run.pyhf),
                "validation": {
                    metric: run.validation[metric].tolist() for metric in METRICS
                },
            }
            for run in group.runs
        ],
    }
