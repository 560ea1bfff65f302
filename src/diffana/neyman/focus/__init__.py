"""Focus functions: where in the parameter a measurement should be most precise.

A focus is a probability distribution over the parameter of interest. It enters the
denominator of the focused test statistic only, so it moves sensitivity between true
values and cannot harm the coverage of a calibrated interval.
"""

from diffana.neyman.focus.abstract import (
    AbstractDensity as AbstractDensity,
    AbstractFocus as AbstractFocus,
    effective_support as effective_support,
)
from diffana.neyman.focus.densities import (
    HalfNormal as HalfNormal,
    Normal as Normal,
    Uniform as Uniform,
)
from diffana.neyman.focus.mixture import Mixture as Mixture, insured as insured
from diffana.neyman.focus.nodes import Nodes as Nodes
