"""Test statistics, p-values and uncertainties of any likelihood."""

from diffana.infer.asymptotics import (
    BANDS as BANDS,
    LimitPValues as LimitPValues,
    expected_log_CLs as expected_log_CLs,
    limit_p_values as limit_p_values,
    log_p0 as log_p0,
    significance as significance,
)
from diffana.infer.fisher import (
    correlation as correlation,
    covariance as covariance,
    fisher_information as fisher_information,
    sigma_mu as sigma_mu,
    uncertainty as uncertainty,
)
from diffana.infer.hypotest import (
    DiscoveryResult as DiscoveryResult,
    HypoTestResult as HypoTestResult,
    discovery as discovery,
    hypotest as hypotest,
)
from diffana.infer.statistics import (
    AsimovTest as AsimovTest,
    ProfileScan as ProfileScan,
    asimov_test as asimov_test,
    nominal as nominal,
    profile as profile,
)
