"""The whole configuration, and how it is read, written and described."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from diffana.config import mistakes, reading, references
from diffana.config.inputs import (
    GeneralSection,
    GeneratorSection,
    InputSection,
    ObservableSection,
    SampleSection,
    SplitSection,
    WorkspaceSection,
)
from diffana.config.learning import (
    BkdeHistogram,
    HistogramSection,
    LossSection,
    RegionSection,
    TrainSection,
)
from diffana.config.mistakes import ConfigError
from diffana.config.sections import Many, OneOrMany, Section
from diffana.config.statistics import FitSection, NormFactorSection, SystematicSection


class AnalysisConfig(Section):
    """An analysis: its events, regions and statistical model.

    Sections and keys that cabinetry has too are spelled and mean the same.
    """

    general: GeneralSection = Field(description="General settings.")
    generator: GeneratorSection | None = Field(
        default=None, description="Generates the events, instead of reading files."
    )
    workspace: WorkspaceSection | None = Field(
        default=None, description="Published workspace that the regions join."
    )
    input: InputSection = Field(
        default=InputSection(), description="Treatment of undefined features."
    )
    split: SplitSection = Field(
        default=SplitSection(), description="Division of the simulated events."
    )
    observables: Many[ObservableSection] | None = Field(
        default=None, description="Trained observables."
    )
    regions: Many[RegionSection] = Field(description="Regions (channels).")
    samples: Many[SampleSection] = Field(description="Samples (processes).")
    norm_factors: Many[NormFactorSection] = Field(description="Unconstrained factors.")
    systematics: (
        Annotated[tuple[SystematicSection, ...], Field(strict=False)] | None
    ) = Field(default=None, description="Systematic uncertainties.")
    histogram: HistogramSection = Field(
        default=BkdeHistogram.model_validate({"Type": "bKDE", "Bandwidth": 0.1}),
        description="The differentiable histogram of trained observables and columns.",
    )
    fit: FitSection = Field(
        default=FitSection(), description="How profile fits are done."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _report_everything(cls, document: Any, validate: Callable[[Any], Self]) -> Self:
        return mistakes.complete(cls, document, validate, cls._mistakes)

    @classmethod
    def _mistakes(cls, document: dict[str, Any]) -> references.Found:
        """Mistakes across sections."""
        return references.check(document)


class Config(AnalysisConfig):
    """An analysis and its training."""

    loss: OneOrMany[LossSection] = Field(
        description="What the training minimises: one loss, or a list that is added "
        "up. Training needs it."
    )
    train: TrainSection = Field(
        description="How long and how it is trained. Training needs it."
    )

    @classmethod
    def _mistakes(cls, document: dict[str, Any]) -> references.Found:
        yield from references.check(document)
        yield from references.check_training(document)


def parse(text: str | bytes) -> Config:
    """The configuration written in `text`.

    Args:
        text: a YAML document.

    Raises:
        ConfigError: with every mistake there is.

    Example:
        >>> try:
        ...     parse("Sytematics: []")
        ... except ConfigError as error:
        ...     print(error.mistakes[0])
        Sytematics: unknown key; did you mean Systematics?
    """
    return Config.model_validate(reading.read(text))


def load(path: str | Path) -> Config:
    """The configuration in a file.

    Args:
        path: a YAML file.

    Raises:
        ConfigError: with every mistake there is, or the reason why the file cannot be
            read.
    """
    return parse(content(path))


def content(path: str | Path) -> bytes:
    """What a file holds.

    Raises:
        ConfigError: with the reason why it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            # One more than is parsed: a device has no end.
            return file.read(reading.LARGEST + 1)
    except OSError as error:
        raise ConfigError([("", f"cannot be read: {error.strerror}")]) from error


def dump(config: Section) -> str:
    """YAML text of a configuration with every default spelled out.

    `parse` returns an equal configuration from it.
    """
    return reading.write(config.model_dump(mode="json", by_alias=True))


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """The configuration with other values in some places.

    Args:
        config: the configuration.
        settings: path of a value -> what stands there instead, as in a file. A path
            has dots between its keys; an entry of a list is named by its Name or its
            position from 0.

    Raises:
        ConfigError: with every path that leads nowhere and every mistake of the result.

    Example:
        >>> seeds = [changed(config, {"General.Seed": s}) for s in range(3)]
        ... # doctest: +SKIP
    """
    document = config.model_dump(mode="json", by_alias=True)
    nowhere: list[mistakes.Mistake] = []
    for path, value in settings.items():
        *keys, last = path.split(".")
        place: Any = document
        try:
            for key in keys:
                place = place[_position(place, key, path)]
            place[_position(place, last, path)] = value
        except ConfigError as error:
            nowhere += error.mistakes
    try:
        result = Config.model_validate(document)
    except ConfigError as error:
        raise ConfigError([*nowhere, *error.mistakes]) from error
    if nowhere:
        raise ConfigError(nowhere)
    return result


def _position(place: Any, key: str, path: str) -> Any:
    """Where `key` is in a section or a list of sections."""
    if isinstance(place, dict) and key in place:
        return key
    if isinstance(place, list):
        for i, entry in enumerate(place):
            if key == str(i) or (isinstance(entry, dict) and entry.get("Name") == key):
                return i
    raise ConfigError([(path, f"there is no {key!r} to change")])


def json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration file, for editors that complete and check."""
    schema = Config.model_json_schema(by_alias=True)
    schema["required"] = [
        key for key in schema["required"] if key not in ("Loss", "Train")
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
