"""Neural simulation-based inference: density ratios and unbinned likelihoods.

Events enter the likelihood one by one. What a histogram sums over, the ratio of each
component's density to that of a reference, is learned by classifiers; normalisation,
systematic uncertainties, fits and tests are those of every other likelihood here.
"""

from diffana.nsbi.channel import Channel as Channel
from diffana.nsbi.coefficients import (
    AbstractCoefficients as AbstractCoefficients,
    Interference as Interference,
    Morphing as Morphing,
    Products as Products,
    Stacked as Stacked,
)
from diffana.nsbi.components import Component as Component, YieldMorph as YieldMorph
from diffana.nsbi.joint import Joint as Joint, joined as joined
from diffana.nsbi.likelihood import (
    GaussianConstraints as GaussianConstraints,
    Unbinned as Unbinned,
    UnbinnedData as UnbinnedData,
    check as check,
)
from diffana.nsbi.morphs import (
    AbstractMorph as AbstractMorph,
    FromFeatures as FromFeatures,
    LogPolynomial as LogPolynomial,
    PolyExp as PolyExp,
    lifts as lifts,
    log_quadratic_terms as log_quadratic_terms,
)
from diffana.nsbi.rows import (
    AbstractTerms as AbstractTerms,
    HeldTerms as HeldTerms,
    Rows as Rows,
    StoredTerms as StoredTerms,
    Terms as Terms,
    held as held,
    spread as spread,
)
