"""Calibration of a density ratio: a monotone, differentiable map of its logarithm.

A classifier that is over- or underconfident still orders events rightly. One map of a
single variable, fitted on events that took no part in the training, mends that. It is
smooth, so that the calibrated ratio can be differentiated like the one before.
"""

from diffana.nsbi.calibration.fit import (
    CalibrationResult as CalibrationResult,
    fit_calibration as fit_calibration,
)
from diffana.nsbi.calibration.line import Line as Line, fit_line as fit_line
from diffana.nsbi.calibration.spline import (
    Calibrated as Calibrated,
    Calibration as Calibration,
)
