"""Generators of the studies whose truth is known in closed form."""

from diffana.data.toys.blobs import (
    BLOB_MEANS as BLOB_MEANS,
    gaussian_blobs as gaussian_blobs,
)
from diffana.data.toys.covariance import GaussianCovariance as GaussianCovariance
from diffana.data.toys.interference import (
    COMPONENTS as COMPONENTS,
    Interference as Interference,
)
from diffana.data.toys.interference_events import (
    INTERFERENCE_POPULATIONS as INTERFERENCE_POPULATIONS,
    interference_tables as interference_tables,
    pooled_events as pooled_events,
    sample_component as sample_component,
    sample_total as sample_total,
)
from diffana.data.toys.latent import LatentGaussian as LatentGaussian
from diffana.data.toys.normal import Normal as Normal
from diffana.data.toys.normal_exponential import NormalExponential as NormalExponential
from diffana.data.toys.quadratic import Quadratic as Quadratic
from diffana.data.toys.smeared import (
    NUISANCES as NUISANCES,
    SMEARED_POPULATIONS as SMEARED_POPULATIONS,
    SmearedMixture as SmearedMixture,
    smeared_tables as smeared_tables,
)
