"""The configuration of an analysis whose templates are histograms in files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from diffana.config import mistakes, reading, references
from diffana.config.document import AnalysisConfig, Config, content
from diffana.config.inputs import GeneralSection, SampleSection
from diffana.config.sections import Many, Name, Section
from diffana.config.statistics import FitSection, NormFactorSection, SystematicSection


class HistogramRegion(Section):
    """A region whose histograms are read."""

    name: Name = Field(description="Name of the region.")
    region_path: str | None = Field(
        default=None,
        description="What takes the place of {RegionPath} in General.InputPath.",
    )


class HistogramConfig(Section):
    """An analysis whose templates are histograms in ROOT files, as in cabinetry.

    General.InputPath names a file and, after a colon, a histogram in it:
    `histograms.root:{RegionPath}/{SamplePath}/{VariationPath}`. Nothing in it can be
    trained.
    """

    general: GeneralSection = Field(description="General settings.")
    regions: Many[HistogramRegion] = Field(description="Regions (channels).")
    samples: Many[SampleSection] = Field(description="Samples (processes).")
    norm_factors: Many[NormFactorSection] = Field(description="Unconstrained factors.")
    systematics: (
        Annotated[tuple[SystematicSection, ...], Field(strict=False)] | None
    ) = Field(default=None, description="Systematic uncertainties.")
    fit: FitSection = Field(
        default=FitSection(), description="How profile fits are done."
    )

    @model_validator(mode="wrap")
    @classmethod
    def _report_everything(cls, document: Any, validate: Callable[[Any], Self]) -> Self:
        return mistakes.complete(cls, document, validate, _mistakes)

    def binned(self, edges: Mapping[str, Sequence[float]]) -> AnalysisConfig:
        """The same analysis with the bin edges of each region.

        Its likelihood has the structure of this one; there are no events for it.
        """
        document = self.model_dump(mode="json", by_alias=True)
        for region in document["Regions"]:
            bins = [*map(float, edges[region["Name"]])]
            # What was binned is no longer known.
            region |= {"Variable": region["Name"], "Binning": bins}
        return AnalysisConfig.model_validate(document)


def load_analysis(path: str | Path) -> AnalysisConfig | HistogramConfig:
    """The configuration in a file, which need not describe a training.

    Args:
        path: a YAML file.

    Returns:
        A `Config` if the file has a section on the training, `Loss` or `Train`; a
        `HistogramConfig` if it has none and General.InputPath leads to histograms.

    Raises:
        ConfigError: with every mistake there is, or the reason why the file cannot be
            read.
    """
    document = reading.read(content(path))
    if isinstance(document, dict) and ("Loss" in document or "Train" in document):
        return Config.model_validate(document)
    kind = HistogramConfig if is_of_histograms(document) else AnalysisConfig
    return kind.model_validate(document)


def is_of_histograms(document: Any) -> bool:
    """Whether a document names histograms in files instead of events."""
    general = document.get("General") if isinstance(document, dict) else None
    path = general.get("InputPath") if isinstance(general, dict) else None
    return isinstance(path, str) and ".root:" in path


def _mistakes(document: dict[str, Any]) -> references.Found:
    yield from references.check(document)
    yield from references.check_histograms(document)
