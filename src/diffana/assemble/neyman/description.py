"""What a Neyman construction is, in words and numbers."""

from typing import Literal, NamedTuple, final


StatisticName = Literal["lrs", "fts"]
NuisanceName = Literal["profile", "marginal", "mixed", "laplace"]
SchemeName = Literal["plugin", "conditional", "average"]


@final
class Description(NamedTuple):
    """A Neyman construction in words and numbers, as it is stored.

    Attributes:
        statistic: `lrs` or `fts`.
        focus: focus function, see `focus_of`; None for `lrs`.
        truncate: whether a focus ends at the bounds of the parameter of interest.
        nuisance: treatment of nuisance parameters.
        scheme: where those of toys come from.
        lower: lowest tested value; None for one that follows from the model.
        upper: highest tested value; None likewise.
        n_grid: tested values.
        n_nodes: fits per profile.
        beta: of the scheme `conditional`, see `neyman.Conditional`.
        seed: of the points of priors.
    """

    statistic: StatisticName = "fts"
    focus: str | None = None
    truncate: bool = True
    nuisance: NuisanceName = "profile"
    scheme: SchemeName = "plugin"
    lower: float | None = None
    upper: float | None = None
    n_grid: int = 201
    n_nodes: int = 13
    beta: float = 0.004
    seed: int = 0
