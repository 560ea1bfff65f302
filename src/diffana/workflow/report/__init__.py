"""`diffana report`: a finished run as one HTML page that needs nothing beside itself.

A page is made in three steps: `material` reads the run, `fits` fits its exported
workspace, and one function per section turns both into text, tables and figures
(`document`), which `page` renders. Nothing in it is computed a second time: results
are those of the run folder, fits those of `diffana fit`, `limit`, `significance` and
`ranking` on its workspace.
"""

import contextlib
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from diffana.errors import DiffanaError, RunError
from diffana.workflow.report import (
    comparisons,
    inputs,
    learning,
    origin,
    outcome,
    page,
    parameters,
    regions,
)
from diffana.workflow.report.comparisons import Others, among, own_group
from diffana.workflow.report.document import Document, Missing, Noted, Warned
from diffana.workflow.report.fits import fitted
from diffana.workflow.report.material import Material, gather
from diffana.workflow.safety import Check, read_checks, safety_checks


NAME = "report.html"
"""Place of the report in a run folder."""


class Written(NamedTuple):
    """A report.

    Attributes:
        path: where it is.
        warnings: what could not be shown because files have changed.
        failures: results that are missing because a fit is not certified.
    """

    path: Path
    warnings: tuple[str, ...]
    failures: tuple[str, ...]


def report(
    folder: Path,
    others: Sequence[Path] = (),
    *,
    path: Path | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Written:
    """Write the report of a finished run.

    It takes the place of an earlier one in the run folder, at once or not at all.
    Files of events that have changed or are gone are no obstacle: what needs them is
    left out, and the page says so.

    Args:
        folder: the run folder.
        others: finished runs to compare it with, besides those of the same sweep.
        path: file to create instead of `report.html` in the run folder; must not exist.
        on_step: called with what is done next.

    Raises:
        RunError: if a folder holds no finished run or is damaged, runs cannot be
            compared, or the file cannot be written.
        SpecificationError: if the exported workspace is damaged.
        PackageError: if jinja2 is not installed.
    """
    page.check_installed()
    if path is not None and (path.exists() or path.is_symlink()):
        raise RunError(f"{path} exists; a report takes the place of none but its own")
    on_step("reading the runs")
    compared = among(folder, others)
    on_step("reading the events")
    material = gather(folder)
    on_step("checking the model")
    checks = _checks(material, compared)
    on_step("fitting the exported workspace")
    fits = fitted(material)
    on_step("drawing")
    sections = [
        outcome.summary(material, fits, checks),
        inputs.files(material),
        inputs.yields(material, fits),
        learning.training(material),
        regions.regions(material, fits),
        regions.composition(material),
        parameters.nuisance(material, fits),
        parameters.correlations(material, fits),
        outcome.results(material, fits),
        comparisons.section(material, compared),
        origin.safety(checks),
        origin.reproduction(material),
    ]
    warnings = _warnings(material)
    document = Document(
        title=material.config.general.measurement,
        subtitle=f"Report on the run {folder.resolve().name}, diffana "
        f"{material.provenance['versions'].get('diffana', '')}",
        notices=[*map(Warned, warnings), *_blind(material)],
        sections=sections,
    )
    text = page.html(document)
    on_step("writing")
    if path is None:
        material.run.write(NAME, text.encode())
        return Written(folder / NAME, warnings, fits.failures)
    _create(path, text)
    return Written(path, warnings, fits.failures)


def _checks(material: Material, others: Others) -> tuple[Check, ...] | Missing:
    """The stored checks of the run, or new ones."""
    stored = read_checks(material.run.folder)
    if stored is not None:
        return stored
    trained = material.trained
    if trained is None:
        return Missing(
            "The checks need the events of the run, which cannot be read any more: "
            f"{material.trained_missing}."
        )
    seeds = [
        run.folder
        for run in own_group(material, others.comparison).runs
        if run.folder.resolve() != material.run.folder.resolve()
    ]
    try:
        return safety_checks(
            material.run,
            material.config,
            trained.prepared,
            trained.analysis,
            # Without any, those beside the run folder are looked for.
            siblings=seeds or None,
        )
    except DiffanaError as error:
        return Missing(f"The checks could not be made: {error}.")


def _warnings(material: Material) -> tuple[str, ...]:
    if material.trained is not None:
        return ()
    return (
        "The events of this run cannot be read any more: "
        f"{material.trained_missing}. Results, yields and fits are those of the run; "
        "what needs its events is left out.",
    )


def _blind(material: Material) -> tuple[Noted, ...]:
    if material.on_data:
        return ()
    poi = material.finished.poi
    seen = (
        "Observed counts are shown where a channel has them, and enter no fit."
        if material.observed
        else "No observed data are in this report."
    )
    return (
        Noted(
            "Blinded: fits are on Asimov data, expectations of the model itself with "
            f"{poi} = 1, and with {poi} = 0 for limits. {seen}"
        ),
    )


def _create(path: Path, text: str) -> None:
    """A new file, which appears complete or not at all."""
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        draft.write_text(text, "utf-8")
        # Takes the name, or fails if another process has just done so.
        path.touch(exist_ok=False)
        draft.replace(path)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
