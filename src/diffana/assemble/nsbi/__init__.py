"""From the configuration of an unbinned measurement to its objects."""

from diffana.assemble.nsbi.events import (
    PARTS as PARTS,
    Piece as Piece,
    Simulation as Simulation,
    Weighted as Weighted,
    fresh_pool as fresh_pool,
    input_files as input_files,
    mixture as mixture,
    observed as observed,
    pool as pool,
    simulation as simulation,
    weights as weights,
)
from diffana.assemble.nsbi.model import (
    Evaluated as Evaluated,
    check_model as check_model,
    evaluated as evaluated,
    likelihood as likelihood,
    naming as naming,
    observed_data as observed_data,
    rows as rows,
)
from diffana.assemble.nsbi.networks import (
    Learned as Learned,
    keys as keys,
    like as like,
    n_weights as n_weights,
    ratio_of as ratio_of,
    standardisation as standardisation,
    trainer as trainer,
    untrained as untrained,
)
from diffana.assemble.nsbi.plan import (
    ComponentPlan as ComponentPlan,
    Job as Job,
    Plan as Plan,
    plan as plan,
)
from diffana.assemble.nsbi.truth import (
    Exact as Exact,
    Unknown as Unknown,
    exact as exact,
)
