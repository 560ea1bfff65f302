"""Soft and hard selections and histograms: from values of an observable to yields."""

from diffana.histogram.agreement import (
    Agreement as Agreement,
    shape_agreement as shape_agreement,
    yield_agreement as yield_agreement,
)
from diffana.histogram.cuts import (
    AbstractCut as AbstractCut,
    HeldCut as HeldCut,
    KeepAbove as KeepAbove,
    KeepBelow as KeepBelow,
    Selection as Selection,
)
from diffana.histogram.density import (
    AbstractHistogrammer as AbstractHistogrammer,
    ArgmaxHistogram as ArgmaxHistogram,
    BinnedKDE as BinnedKDE,
    HardHistogram as HardHistogram,
    SoftmaxHistogram as SoftmaxHistogram,
    kernel_mass as kernel_mass,
)
from diffana.histogram.edges import (
    AbstractEdges as AbstractEdges,
    FixedEdges as FixedEdges,
    TrainableEdges as TrainableEdges,
)
from diffana.histogram.exchange import Histogram as Histogram
from diffana.histogram.schedules import (
    AbstractSchedule as AbstractSchedule,
    Constant as Constant,
    Geometric as Geometric,
    Linear as Linear,
)
