"""All gates that need nothing but events of both classes."""

from collections.abc import Sequence

from jaxtyping import ArrayLike, Float

from diffana.nsbi.diagnostics.classifier import classifier_gate
from diffana.nsbi.diagnostics.closure import feature_closure_gate
from diffana.nsbi.diagnostics.effective_size import effective_size_gate
from diffana.nsbi.diagnostics.gate import Gate
from diffana.nsbi.diagnostics.normalisation import normalisation_gate
from diffana.nsbi.diagnostics.reliability import calibration_gate
from diffana.nsbi.diagnostics.saturation import saturation_gate


def diagnose(
    numerator_features: Float[ArrayLike, "event feature"],
    numerator_weight: Float[ArrayLike, " event"],
    numerator_log_ratio: Float[ArrayLike, " event"],
    denominator_features: Float[ArrayLike, "other feature"],
    denominator_weight: Float[ArrayLike, " other"],
    denominator_log_ratio: Float[ArrayLike, " other"],
    *,
    columns: Sequence[str] = (),
    seed: int = 0,
) -> tuple[Gate, ...]:
    """Every gate of a single ratio, with its default threshold.

    Args:
        numerator_features: of events of the numerator that took no part in training,
            any units; finite.
        numerator_weight: of these events, any unit and sign.
        numerator_log_ratio: of these events.
        denominator_features: the same for the denominator, from independent events.
        denominator_weight: likewise.
        denominator_log_ratio: likewise.
        columns: names of the features.
        seed: of the classifier.

    Returns:
        Normalisation, effective size, saturation of the numerator's and of the
        denominator's events, calibration, closure of each feature and closure by a
        classifier. A right ratio fails one of them in about 5 % of all cases, most of
        it the last.

    Raises:
        DataError: as the gates.
    """
    both = (
        numerator_features,
        numerator_weight,
        denominator_features,
        denominator_weight,
        denominator_log_ratio,
    )
    return (
        normalisation_gate(denominator_log_ratio, denominator_weight),
        effective_size_gate(denominator_log_ratio, denominator_weight),
        saturation_gate(numerator_log_ratio, numerator_weight),
        saturation_gate(denominator_log_ratio, denominator_weight),
        calibration_gate(
            numerator_log_ratio,
            numerator_weight,
            denominator_log_ratio,
            denominator_weight,
        ),
        feature_closure_gate(
            *both, numerator_log_ratio=numerator_log_ratio, columns=columns
        ),
        classifier_gate(*both, numerator_log_ratio=numerator_log_ratio, seed=seed),
    )
