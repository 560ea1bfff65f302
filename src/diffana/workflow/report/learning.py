"""The section on the training."""

import matplotlib as mpl

from diffana.workflow import figures
from diffana.workflow.report.document import (
    Block,
    Pictures,
    Section,
    Table,
    Warned,
    number,
)
from diffana.workflow.report.material import Material
from diffana.workflow.report.pictures import picture


def training(material: Material) -> Section:
    """Loss of every update, metrics of every epoch, and what it took."""
    finished = material.finished
    seconds = finished.seconds
    rows = [
        ("Epochs", str(len(finished.epoch))),
        ("Updates", str(finished.updates)),
        ("Updates refused because a fit was not certified", str(finished.refused)),
        (
            f"Selected epoch (best {material.config.train.selection} on validation "
            "events)",
            str(finished.selected),
        ),
        ("Epoch with 95 % of the improvement", str(finished.reached)),
        (
            "Wall time [s]",
            "not recorded" if seconds is None else number(float(seconds.sum()), 3),
        ),
    ]
    blocks: list[Block] = [
        Table("", ("", ""), rows),
    ]
    if finished.still_improved:
        blocks.append(
            Warned(
                "The selected epoch is in the last tenth of the training: it was still "
                "improving when it ended."
            )
        )
    width, height = mpl.rcParams["figure.figsize"]
    drawn = picture(
        "training",
        lambda figure: figures.draw_curves(figure, material.run),
        size=(width, height),
        alternative="Training loss of every update, and expected CLs, p0 and "
        f"uncertainty on validation events after every epoch; epoch "
        f"{finished.selected} was selected.",
        caption="Loss of every update on training events; expected CLs, p0 and "
        f"uncertainty of {finished.poi} after every epoch on validation events with "
        "sharp cuts and bins, Asimov data. The dashed line is the selected epoch.",
    )
    return Section("training", "Training", [*blocks, Pictures([drawn])])
