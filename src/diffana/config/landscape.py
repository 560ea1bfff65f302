"""The configuration of a loss landscape, a YAML document of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from diffana.config import document, mistakes, reading
from diffana.config.inputs import WorkspaceSection
from diffana.config.learning import LossSection
from diffana.config.mistakes import Location
from diffana.config.sections import (
    Column,
    Count,
    Many,
    Name,
    OneOrMany,
    Range,
    Section,
    Seed,
)


def _moving(direction: tuple[float, ...]) -> tuple[float, ...]:
    if not any(direction):
        raise ValueError("moves nothing: every number is 0")
    return direction


def _increasing(limits: tuple[float, float]) -> tuple[float, float]:
    if not limits[0] < limits[1]:
        raise ValueError(f"[{limits[0]:g}, {limits[1]:g}] is not increasing")
    return limits


Direction = Annotated[
    tuple[float, ...],
    Field(strict=False, min_length=1),
    AfterValidator(_moving),
]
Text = Annotated[str, StringConstraints(min_length=1)]


class _TemplateMove(Section):
    channel: Name = Field(description="Channel of the workspace.")
    sample: Name = Field(description="Sample in it.")
    direction: Direction = Field(
        description="What is added to each bin of the published template where the "
        "axis is at 1."
    )


class NominalMove(_TemplateMove):
    """The expected events of a sample, in events."""

    type: Literal["nominal"]


class _UncertaintyMove(_TemplateMove):
    modifier: Name = Field(description="Name of the modifier.")


class _VariationMove(_UncertaintyMove):
    side: Literal["Hi", "Lo"] = Field(
        description="Variation: the parameter at +1 or at -1."
    )


class HistoSysMove(_VariationMove):
    """A variation of the shape, in events."""

    type: Literal["histosys"]


class NormSysMove(_VariationMove):
    """A variation of the yield, as a factor; `Direction` has one number."""

    type: Literal["normsys"]


class ShapeSysMove(_UncertaintyMove):
    """Uncorrelated uncertainties of the bins, in events."""

    type: Literal["shapesys"]


class StatErrorMove(_UncertaintyMove):
    """Statistical uncertainties of the simulated yield of the bins, in events."""

    type: Literal["staterror"]


class CutMove(Section):
    """The threshold of a cut, which the axis gives in the unit of its variable."""

    type: Literal["cut"]
    region: Name = Field(description="Region of the analysis.")
    variable: Column = Field(description="Variable of one of its Cuts.")
    side: Literal["Above", "Below"] | None = Field(
        default=None, description="Which of the cuts, if there are two on the variable."
    )


class EdgeMove(Section):
    """An inner bin edge, which the axis gives in the unit of what is binned."""

    type: Literal["edge"]
    region: Name = Field(description="Region of the analysis.")
    index: Count = Field(
        description="Position in Binning, counted from 0; the outer edges stay."
    )


class RandomMove(Section):
    """The weights of networks along a random direction.

    At 1 on the axis each neuron has changed by as much as its weights are large.
    """

    type: Literal["random_direction"]
    seed: Seed = Field(default=0, description="Seed of the direction.")
    observable: Name | None = Field(
        default=None, description="Observable whose network moves; all without it."
    )


class TowardsMove(Section):
    """Everything that is trained, in a straight line to another run at 1."""

    type: Literal["towards"]
    run: Text = Field(
        description="Folder of a finished run of the same analysis, relative to the "
        "working directory."
    )


MoveSection = Annotated[
    NominalMove
    | HistoSysMove
    | NormSysMove
    | ShapeSysMove
    | StatErrorMove
    | CutMove
    | EdgeMove
    | RandomMove
    | TowardsMove,
    Field(discriminator="type"),
]

_ON_WORKSPACE = ("nominal", "histosys", "normsys", "shapesys", "staterror")
_ON_ANALYSIS = ("cut", "edge", "random_direction", "towards")


class AxisSection(Section):
    """An axis of the grid, and what moves along it."""

    name: Name = Field(description="Name of the axis.")
    range: Annotated[Range, AfterValidator(_increasing)] = Field(
        description="First and last value."
    )
    points: Annotated[int, Field(ge=2)] = Field(
        description="Number of values, equally spaced and with both ends."
    )
    label: Text | None = Field(
        default=None, description="Name in figures, where $...$ is a formula."
    )
    unit: Text | None = Field(default=None, description="Unit, for figures.")
    moves: OneOrMany[MoveSection] = Field(
        description="What moves; several things move together."
    )

    @property
    def title(self) -> str:
        """What figures write along the axis."""
        name = self.label or self.name
        return name if self.unit is None else f"{name} [{self.unit}]"


class NamedLoss(Section):
    """A loss, or a sum of losses, under a name of its own."""

    name: Text = Field(description="Name of the loss.")
    label: Text | None = Field(
        default=None, description="Name in figures, where $...$ is a formula."
    )
    loss: OneOrMany[LossSection] = Field(
        description="One loss, or a list that is added up."
    )


def _kind_of_loss(value: Any) -> str:
    named = isinstance(value, NamedLoss)
    if named or (isinstance(value, dict) and ("Loss" in value or "Name" in value)):
        return "named"
    return "plain"


ListedLoss = Annotated[
    Annotated[NamedLoss, Tag("named")] | Annotated[LossSection, Tag("plain")],
    Discriminator(_kind_of_loss),
]


class LandscapeConfig(Section):
    """A loss landscape: where likelihoods come from, the losses, and the axes.

    It has either a Workspace, an Analysis or a Run.
    """

    workspace: WorkspaceSection | None = Field(
        default=None, description="A pyhf workspace whose templates move."
    )
    analysis: Text | None = Field(
        default=None,
        description="Configuration file of an analysis, relative to the working "
        "directory; it is scanned before any training.",
    )
    run: Text | None = Field(
        default=None,
        description="Folder of a finished run, relative to the working directory; "
        "its selected analysis is scanned.",
    )
    hard: bool = Field(
        default=False,
        description="Sharp cuts and bins, as in results, instead of smooth ones as in "
        "training.",
    )
    events: Literal["train", "validation", "test"] | None = Field(
        default=None,
        description="Which of the simulated events of the analysis; train without it.",
    )
    losses: Many[ListedLoss] = Field(description="Losses to compare.")
    axes: Annotated[
        tuple[AxisSection, ...], Field(strict=False, min_length=1, max_length=2)
    ] = Field(description="One axis or two.")
    chunk_size: Count = Field(
        default=32,
        description="Points that are computed together; memory grows with it.",
    )

    @property
    def named_losses(self) -> dict[str, NamedLoss]:
        """The losses by name; one without a name has that of its type."""
        named = (
            loss
            if isinstance(loss, NamedLoss)
            else NamedLoss.model_construct(name=loss.type, label=None, loss=(loss,))
            for loss in self.losses
        )
        return {loss.name: loss for loss in named}

    @property
    def titles(self) -> dict[str, str]:
        """What figures call the axes and the losses, by name."""
        losses = self.named_losses
        return {axis.name: axis.title for axis in self.axes} | {
            name: loss.label or name for name, loss in losses.items()
        }

    @model_validator(mode="wrap")
    @classmethod
    def _report_everything(cls, content: Any, validate: Callable[[Any], Self]) -> Self:
        return mistakes.complete(cls, content, validate, _check)


def parse_landscape(text: str | bytes) -> LandscapeConfig:
    """The configuration of a landscape written in `text`.

    Args:
        text: a YAML document.

    Raises:
        ConfigError: with every mistake there is.

    Example:
        >>> from diffana.config.mistakes import ConfigError
        >>> try:
        ...     parse_landscape("{Run: a, Analysis: b, Losses: [Type: p0], Axes: [1]}")
        ... except ConfigError as error:
        ...     print(error)
        Analysis: cannot be combined with Run
        Axes[0]: should hold keys and values, but is 1
    """
    return LandscapeConfig.model_validate(reading.read(text))


def load_landscape(path: str | Path) -> LandscapeConfig:
    """The configuration of a landscape in a YAML file.

    Raises:
        ConfigError: with every mistake there is, or the reason why the file cannot be
            read.
    """
    return parse_landscape(document.content(path))


def is_landscape(path: str | Path) -> bool:
    """Whether a file, whatever mistakes it has, describes a landscape.

    Raises:
        ConfigError: if the file cannot be read or is no YAML.
    """
    written = reading.read(document.content(path))
    return isinstance(written, dict) and "Axes" in written


Found = Iterator[tuple[Location, str]]


def _check(written: dict[str, Any]) -> Found:
    """Mistakes in how the parts of a document refer to one another."""
    keys = ("Workspace", "Analysis", "Run")
    sources = [key for key in keys if written.get(key) is not None]
    if not sources:
        yield (), "needs one of the keys Workspace, Analysis, Run"
    for key in sources[:-1]:
        yield (key,), f"cannot be combined with {sources[-1]}"
    on_workspace = sources == ["Workspace"]
    if on_workspace:
        for key in ("Hard", "Events"):
            if written.get(key):
                yield (key,), "a Workspace has no events"
    yield from _check_axes(written, sources)
    yield from _check_losses(written, on_workspace=on_workspace)


def _check_axes(written: dict[str, Any], sources: list[str]) -> Found:
    allowed = _ON_WORKSPACE if sources == ["Workspace"] else _ON_ANALYSIS
    first: dict[str, int] = {}
    for index, axis in _items(written.get("Axes")):
        name = axis.get("Name")
        if isinstance(name, str):
            if name in first:
                yield (
                    ("Axes", index, "Name"),
                    f"{name!r} is the name of Axes[{first[name]}] too",
                )
            first.setdefault(name, index)
        moves = axis.get("Moves")
        place: Location = ("Axes", index, "Moves")
        single = isinstance(moves, dict)
        for number, move in _items([moves] if single else moves):
            kind = move.get("Type")
            is_known = kind in (*_ON_WORKSPACE, *_ON_ANALYSIS)
            if len(sources) == 1 and is_known and kind not in allowed:
                where = place if single else (*place, number)
                yield (
                    (*where, "Type"),
                    f"{kind!r} moves nothing in the {sources[0]}; there are "
                    f"{', '.join(allowed)}",
                )


def _check_losses(written: dict[str, Any], *, on_workspace: bool) -> Found:
    axes = [axis.get("Name") for _, axis in _items(written.get("Axes"))]
    first: dict[str, int] = {}
    for index, loss in _items(written.get("Losses")):
        name = loss.get("Name", loss.get("Type"))
        for shown in dict.fromkeys((name, loss.get("Label"))):
            if not isinstance(shown, str):
                continue
            if shown in axes:
                yield ("Losses", index), f"is called {shown!r} as an axis is"
            elif shown in first:
                yield (
                    ("Losses", index),
                    f"is called {shown!r} as Losses[{first[shown]}] is; give it a "
                    "Name: {Name: ..., Loss: {Type: ...}}",
                )
            first.setdefault(shown, index)
        terms, place = [loss], ("Losses", index)
        if "Loss" in loss:
            place = (*place, "Loss")
            terms = loss["Loss"]
        single = isinstance(terms, dict) or "Loss" not in loss
        for number, term in _items([terms] if isinstance(terms, dict) else terms):
            if on_workspace and term.get("Type") in ("bce", "bce_augmented"):
                yield (
                    place if single else (*place, number),
                    f"{term['Type']!r} needs events, and a Workspace has none",
                )


def _items(content: Any) -> list[tuple[int, dict[str, Any]]]:
    items = content if isinstance(content, list) else []
    return [(i, item) for i, item in enumerate(items) if isinstance(item, dict)]
