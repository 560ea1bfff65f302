"""From a configuration to objects: the one place where a name becomes a thing."""

from diffana.assemble.analysis import analysis as analysis
from diffana.assemble.events import (
    input_files as input_files,
    observed_events as observed_events,
    simulated_events as simulated_events,
)
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
from diffana.assemble.training import (
    hard_metrics as hard_metrics,
    loss as loss,
    signal_samples as signal_samples,
    tested_strength as tested_strength,
    trainer as trainer,
)
