"""The configuration file: a superset of cabinetry's, checked as a whole.

It imports nothing heavy, so that a file can be checked at once.
"""

from diffana.config.document import (
    AnalysisConfig as AnalysisConfig,
    Config as Config,
    changed as changed,
    dump as dump,
    json_schema as json_schema,
    load as load,
    parse as parse,
)
from diffana.config.histograms import (
    HistogramConfig as HistogramConfig,
    HistogramRegion as HistogramRegion,
    load_analysis as load_analysis,
)
from diffana.config.inputs import (
    BlobsGenerator as BlobsGenerator,
    FixedParameter as FixedParameter,
    GeneralSection as GeneralSection,
    InputSection as InputSection,
    InterferenceGenerator as InterferenceGenerator,
    MlpObservable as MlpObservable,
    SampleSection as SampleSection,
    SmearedGenerator as SmearedGenerator,
    SplitSection as SplitSection,
    WorkspaceSection as WorkspaceSection,
)
from diffana.config.landscape import (
    AxisSection as AxisSection,
    CutMove as CutMove,
    EdgeMove as EdgeMove,
    HistoSysMove as HistoSysMove,
    LandscapeConfig as LandscapeConfig,
    MoveSection as MoveSection,
    NamedLoss as NamedLoss,
    NominalMove as NominalMove,
    NormSysMove as NormSysMove,
    RandomMove as RandomMove,
    ShapeSysMove as ShapeSysMove,
    StatErrorMove as StatErrorMove,
    TowardsMove as TowardsMove,
    is_landscape as is_landscape,
    load_landscape as load_landscape,
    parse_landscape as parse_landscape,
)
from diffana.config.learning import (
    AdamOptimizer as AdamOptimizer,
    AdamWOptimizer as AdamWOptimizer,
    AsimovSignificanceLoss as AsimovSignificanceLoss,
    BceAugmentedLoss as BceAugmentedLoss,
    BceLoss as BceLoss,
    BkdeHistogram as BkdeHistogram,
    ClsLoss as ClsLoss,
    ConstraintLoss as ConstraintLoss,
    CutSection as CutSection,
    EmptyBinsLoss as EmptyBinsLoss,
    FisherLoss as FisherLoss,
    GaussianityLoss as GaussianityLoss,
    IntervalLengthLoss as IntervalLengthLoss,
    OptimizerSection as OptimizerSection,
    P0Loss as P0Loss,
    PullsLoss as PullsLoss,
    RegionSection as RegionSection,
    SgdOptimizer as SgdOptimizer,
    SigmaMuLoss as SigmaMuLoss,
    SignificanceLoss as SignificanceLoss,
    SoftmaxHistogram as SoftmaxHistogram,
    TrainSection as TrainSection,
    UpperLimitLoss as UpperLimitLoss,
)
from diffana.config.mistakes import ConfigError as ConfigError, Mistake as Mistake
from diffana.config.nsbi import (
    CalibrationSection as CalibrationSection,
    CouplingSection as CouplingSection,
    DiagnosticsSection as DiagnosticsSection,
    InterferenceSection as InterferenceSection,
    MorphingSection as MorphingSection,
    NsbiConfig as NsbiConfig,
    NsbiNormPlusShapeSystematic as NsbiNormPlusShapeSystematic,
    NsbiRegionSection as NsbiRegionSection,
    NsbiSampleSection as NsbiSampleSection,
    RatiosSection as RatiosSection,
    is_nsbi as is_nsbi,
    load_nsbi as load_nsbi,
    nsbi_json_schema as nsbi_json_schema,
    parse_nsbi as parse_nsbi,
)
from diffana.config.sections import (
    ExponentialSchedule as ExponentialSchedule,
    LinearSchedule as LinearSchedule,
)
from diffana.config.statistics import (
    FitSection as FitSection,
    InterpolationSection as InterpolationSection,
    JetEnergyScale as JetEnergyScale,
    NormalizationSystematic as NormalizationSystematic,
    NormFactorSection as NormFactorSection,
    NormPlusShapeSystematic as NormPlusShapeSystematic,
    RelativeYield as RelativeYield,
    SoftMet as SoftMet,
    Symmetrized as Symmetrized,
    TauEnergyScale as TauEnergyScale,
    TransformSection as TransformSection,
    Variation as Variation,
)
from diffana.config.sweep import (
    PlannedRun as PlannedRun,
    SettingSection as SettingSection,
    Sweep as Sweep,
    SweepConfig as SweepConfig,
    is_sweep as is_sweep,
    load_sweep as load_sweep,
    planned as planned,
)
