"""The configuration file: a superset of cabinetry's, checked as a whole.

It imports nothing heavy, so that a file can be checked at once.
"""

from diffana.config.document import (
    Config as Config,
    dump as dump,
    json_schema as json_schema,
    load as load,
    parse as parse,
)
from diffana.config.inputs import (
    BlobsGenerator as BlobsGenerator,
    FixedParameter as FixedParameter,
    GeneralSection as GeneralSection,
    InputSection as InputSection,
    MlpObservable as MlpObservable,
    SampleSection as SampleSection,
    SplitSection as SplitSection,
    WorkspaceSection as WorkspaceSection,
)
from diffana.config.learning import (
    AdamOptimizer as AdamOptimizer,
    AdamWOptimizer as AdamWOptimizer,
    AsimovSignificanceLoss as AsimovSignificanceLoss,
    BceAugmentedLoss as BceAugmentedLoss,
    BceLoss as BceLoss,
    BkdeHistogram as BkdeHistogram,
    ClsLoss as ClsLoss,
    CutSection as CutSection,
    EmptyBinsLoss as EmptyBinsLoss,
    FisherLoss as FisherLoss,
    P0Loss as P0Loss,
    RegionSection as RegionSection,
    SgdOptimizer as SgdOptimizer,
    SigmaMuLoss as SigmaMuLoss,
    SignificanceLoss as SignificanceLoss,
    SoftmaxHistogram as SoftmaxHistogram,
    TrainSection as TrainSection,
)
from diffana.config.mistakes import ConfigError as ConfigError, Mistake as Mistake
from diffana.config.sections import (
    ExponentialSchedule as ExponentialSchedule,
    LinearSchedule as LinearSchedule,
)
from diffana.config.statistics import (
    FitSection as FitSection,
    InterpolationSection as InterpolationSection,
    NormalizationSystematic as NormalizationSystematic,
    NormFactorSection as NormFactorSection,
    NormPlusShapeSystematic as NormPlusShapeSystematic,
    OtherFeatures as OtherFeatures,
    OtherSample as OtherSample,
    OtherWeight as OtherWeight,
    RelativeYield as RelativeYield,
    Symmetrized as Symmetrized,
    TauEnergyScale as TauEnergyScale,
)
