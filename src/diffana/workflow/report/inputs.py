"""The sections on what went in: files, selection, yields."""

import numpy as np

from diffana.assemble.cutflow import Step, cutflows
from diffana.infer import Yields
from diffana.workflow.report.document import (
    Block,
    Folded,
    Heading,
    Missing,
    Section,
    Table,
    Text,
    Warned,
    measured,
    number,
)
from diffana.workflow.report.fits import Fits
from diffana.workflow.report.material import Material
from diffana.workflow.report.outcome import dataset


_MANY_FILES = 12


def files(material: Material) -> Section:
    """Files with their sizes and checksums, and what has become of them."""
    blocks: list[Block] = []
    if not material.files:
        blocks.append(Text("The run read no files: its events were generated."))
    else:
        changed = [one for one in material.files if one.change]
        if changed:
            blocks.append(
                Warned(
                    f"{len(changed)} of {len(material.files)} files are no longer what "
                    "the run was trained on; sums below are those of the time."
                )
            )
        table = Table(
            "Files that the run was trained on",
            ("File", "bytes", "SHA-256", "since then"),
            [
                (one.path, f"{one.size:,}", one.sha256, one.change or "unchanged")
                for one in material.files
            ],
        )
        many = len(material.files) > _MANY_FILES
        blocks.append(
            Folded(f"{len(material.files)} files", [table]) if many else table
        )
    blocks += _portions(material)
    return Section("inputs", "Inputs", blocks)


def _portions(material: Material) -> list[Block]:
    split = material.config.split
    rows = [
        (name, f"{100 * getattr(split, name):g} %", purpose)
        for name, purpose in (
            ("train", "gradient steps"),
            ("validation", "selection of the best model"),
            ("test", "all results and figures of this report"),
        )
    ]
    return [
        Table(
            "Division of the simulated events; each portion is scaled to the full "
            "luminosity",
            ("Portion", "share", "purpose"),
            rows,
            left=1,
        )
    ]


def yields(material: Material, fits: Fits) -> Section:
    """Yields by region and sample before and after the fit, and the cutflow."""
    blocks: list[Block] = [
        Heading("Before the fit"),
        _yields(
            material,
            fits.prefit,
            f"Events expected with {material.finished.poi} = 1; uncertainties by the "
            "widths of all constraints; test events",
        ),
        Heading("After the fit"),
        fits.postfit
        if isinstance(fits.postfit, Missing)
        else _yields(
            material,
            fits.postfit,
            f"Events at the best fit to {dataset(material)}; uncertainties by its "
            "covariance",
        ),
        Heading("Cutflow"),
        *_cutflow(material),
    ]
    return Section("yields", "Yields and cutflow", blocks)


def _yields(material: Material, found: Yields, caption: str) -> Table:
    """One row per sample, one column per channel, then sums and data."""
    layout, channels = found.layout, material.channels
    values = {
        (row.channel, row.sample): measured(float(value), float(sigma))
        for row, value, sigma in zip(
            layout.rows,
            np.asarray(found.rows),
            np.asarray(found.rows_uncertainty),
            strict=True,
        )
    }
    samples = list(
        dict.fromkeys(name for one in channels for name in material.samples(one))
    )
    rows = [
        (name, *(values.get((channel, name), "–") for channel in channels))
        for name in samples
    ]
    positions = {one.name: i for i, one in enumerate(layout.channels)}
    sums = [
        measured(
            float(found.channels[positions[channel]]),
            float(found.channels_uncertainty[positions[channel]]),
        )
        for channel in channels
    ]
    rows.append(("sum", *sums))
    if material.observed:
        counts = [material.counts(channel) for channel in channels]
        rows.append(
            ("data", *("–" if one is None else number(one.sum(), 8) for one in counts))
        )
    return Table(caption, ("Sample", *channels), rows, sums=frozenset({len(samples)}))


def _cutflow(material: Material) -> list[Block]:
    if material.trained is None:
        return [
            Missing(
                "The cutflow needs the events of the run, which cannot be read any "
                f"more: {material.trained_missing}."
            )
        ]
    found = cutflows(material.config, material.trained.analysis)
    blocks: list[Block] = [
        Text(
            "All events of the files, whatever portion they are in: simulated events, "
            "and in brackets the events expected at the target luminosity. The nominal "
            "samples, with the sharp cuts of the selected model."
        )
    ]
    data = {sample.name for sample in material.config.samples if sample.data}
    for region in dict.fromkeys(one.region for one in found):
        inside = [one for one in found if one.region == region]
        rows = [
            (
                name.replace("-", "−"),
                *(_left(one.steps[i], is_data=one.sample in data) for one in inside),
            )
            for i, name in enumerate(step.name for step in inside[0].steps)
        ]
        blocks.append(
            Table(
                f"{region}: events after each step (expected events)",
                ("Step", *(one.sample for one in inside)),
                rows,
                sums=frozenset({len(rows) - 1}),
            )
        )
    return blocks


def _left(step: Step, *, is_data: bool) -> str:
    events = f"{step.n_events:,}"
    return events if is_data else f"{events} ({number(step.sumw)})"
