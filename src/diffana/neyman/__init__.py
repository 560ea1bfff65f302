"""Confidence sets with the coverage they claim, in small samples, too.

A Neyman construction tests every value of the parameter of interest with pseudo-
experiments made there, and collects those that the data do not reject. Tests are the
likelihood-ratio statistic `LRS`, whose sets are those of Feldman and Cousins, and the
focused statistic `FTS`, whose sets are short where a focus function says so.

- `focus`: focus functions,
- `grid`, `curves`, `profiles`, `nuisance`, `statistics`, `construction`: from data to
  the statistic,
- `schemes`, `toys`, `calibration`: from pseudo-experiments to critical values, by
  `order_statistic`, `quantile_regression`, `p_value_regression` and `leaf_guard`,
- `belt`, `regions`: from critical values to confidence sets,
- `coverage`, `regret`: whether they cover, and how long they are,
- `learned`: focus functions trained for a purpose,
- `gaussian`: closed forms.
"""

from diffana.neyman.belt import Belt as Belt
from diffana.neyman.calibration import (
    Calibration as Calibration,
    Settings as Settings,
    calibrate as calibrate,
)
from diffana.neyman.construction import (
    Construction as Construction,
    conditional_params as conditional_params,
    has_nuisance as has_nuisance,
    interpolation_errors as interpolation_errors,
    locations as locations,
    usual_nuisance as usual_nuisance,
)
from diffana.neyman.curves import Curves as Curves
from diffana.neyman.focus import (
    AbstractFocus as AbstractFocus,
    HalfNormal as HalfNormal,
    Mixture as Mixture,
    Nodes as Nodes,
    Normal as Normal,
    Uniform as Uniform,
    effective_support as effective_support,
    insured as insured,
)
from diffana.neyman.grid import Grid as Grid
from diffana.neyman.nuisance import (
    AbstractNuisance as AbstractNuisance,
    Known as Known,
    Laplace as Laplace,
    Marginal as Marginal,
    Mixed as Mixed,
    Profile as Profile,
)
from diffana.neyman.order_statistic import (
    AbstractCriticalValues as AbstractCriticalValues,
    Empirical as Empirical,
    ville_bound as ville_bound,
)
from diffana.neyman.regions import Region as Region, invert as invert
from diffana.neyman.schemes import (
    AbstractScheme as AbstractScheme,
    Average as Average,
    Conditional as Conditional,
    Direct as Direct,
    Plugin as Plugin,
)
from diffana.neyman.statistics import (
    FTS as FTS,
    LRS as LRS,
    AbstractStatistic as AbstractStatistic,
)
