"""Closed forms for one Gaussian measurement, x ~ N(μ, σ²) with known σ.

Here acceptance regions are intervals of x and can be solved for, so that these are the
truth that calibrations are compared with, and a baseline that they can start from. The
statistic is -2 ln of the likelihood at the tested value over the denominator; a tested
value is rejected where it is large.

The focused interval of this measurement is that of Pratt, J. Am. Stat. Assoc. 56 (1961)
549, and the "FAB" interval of Yu and Hoff, arXiv:1612.08287.
"""

from diffana.neyman.gaussian.convex import (
    Acceptance as Acceptance,
    acceptance as acceptance,
    bounded_lrs as bounded_lrs,
    truncated_fts as truncated_fts,
)
from diffana.neyman.gaussian.pratt import Pratt as Pratt, reach as reach
from diffana.neyman.gaussian.quadrature import baseline as baseline
