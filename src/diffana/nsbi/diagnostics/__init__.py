"""Gates: conditions that a density ratio has to meet before it is used.

Each takes arrays of events that took no part in training, and says `pass`, `fail`, or
`not checked` where the events do not suffice. A gate that is a statistical test states
how often a right ratio fails it.
"""

from diffana.nsbi.diagnostics.asimov import asimov_gate as asimov_gate
from diffana.nsbi.diagnostics.battery import diagnose as diagnose
from diffana.nsbi.diagnostics.classifier import classifier_gate as classifier_gate
from diffana.nsbi.diagnostics.closure import (
    feature_closure_gate as feature_closure_gate,
)
from diffana.nsbi.diagnostics.effective_size import (
    effective_size_gate as effective_size_gate,
)
from diffana.nsbi.diagnostics.gate import Gate as Gate, Verdict as Verdict
from diffana.nsbi.diagnostics.normalisation import (
    Normalisation as Normalisation,
    normalisation as normalisation,
    normalisation_gate as normalisation_gate,
)
from diffana.nsbi.diagnostics.reliability import (
    Reliability as Reliability,
    calibration_gate as calibration_gate,
    reliability as reliability,
)
from diffana.nsbi.diagnostics.saturation import saturation_gate as saturation_gate
from diffana.nsbi.diagnostics.spread import spread_gate as spread_gate
