"""Test statistics, p-values and uncertainties of any likelihood."""

from diffana.infer.asymptotics import (
    BANDS as BANDS,
    LimitPValues as LimitPValues,
    expected_log_CLs as expected_log_CLs,
    limit_p_values as limit_p_values,
    log_p0 as log_p0,
    significance as significance,
)
from diffana.infer.estimates import (
    Estimates as Estimates,
    GoodnessOfFit as GoodnessOfFit,
    estimate as estimate,
    goodness_of_fit as goodness_of_fit,
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
from diffana.infer.intervals import (
    ProfileInterval as ProfileInterval,
    profile_interval as profile_interval,
)
from diffana.infer.limits import (
    ExpectedUpperLimit as ExpectedUpperLimit,
    UpperLimitResult as UpperLimitResult,
    expected_upper_limit as expected_upper_limit,
    upper_limit as upper_limit,
)
from diffana.infer.ranking import Ranking as Ranking, ranking as ranking
from diffana.infer.scans import Scan as Scan, scan as scan
from diffana.infer.statistics import (
    AsimovTest as AsimovTest,
    ProfileScan as ProfileScan,
    asimov_test as asimov_test,
    nominal as nominal,
    profile as profile,
)
from diffana.infer.toys import (
    PValue as PValue,
    ToyBlock as ToyBlock,
    ToyDiscovery as ToyDiscovery,
    ToyTest as ToyTest,
    toy_discovery as toy_discovery,
    toy_hypotest as toy_hypotest,
    toy_statistics as toy_statistics,
)
from diffana.infer.yields import (
    Yields as Yields,
    prefit_covariance as prefit_covariance,
    yields as yields,
)
