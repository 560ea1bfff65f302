"""From a configuration to objects: the one place where a name becomes a thing."""

from diffana.assemble.analysis import (
    analysis as analysis,
    fixed_analysis as fixed_analysis,
)
from diffana.assemble.events import (
    chunks as chunks,
    nothing_selected as nothing_selected,
    observed_events as observed_events,
    populations as populations,
    scaled as scaled,
    simulated_events as simulated_events,
    sum_of_weights as sum_of_weights,
    yield_scale as yield_scale,
)
from diffana.assemble.histograms import (
    Templates as Templates,
    templates as templates,
)
from diffana.assemble.ingestion import ingest as ingest
from diffana.assemble.joining import workspace_files as workspace_files
from diffana.assemble.landscape import (
    landscape_axes as landscape_axes,
    landscape_losses as landscape_losses,
    of_analysis as of_analysis,
    of_workspace as of_workspace,
)
from diffana.assemble.model import (
    Structure as Structure,
    specification as specification,
    structure as structure,
)
from diffana.assemble.sources import (
    Member as Member,
    Source as Source,
    input_files as input_files,
    sources as sources,
)
from diffana.assemble.training import (
    hard_metrics as hard_metrics,
    loss as loss,
    signal_samples as signal_samples,
    tested_strength as tested_strength,
    trainer as trainer,
)
