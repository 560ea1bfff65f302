"""Figures: each function draws on the axes it is given and returns what it has drawn.

Nothing here opens, shows or saves a figure. All figures of a paper share one look:
create, draw and save them inside `style()`, and give each sample the colour that
`palette` chose for it.
"""

from diffana.plot.closure import (
    AsimovArtists as AsimovArtists,
    ClosureArtists as ClosureArtists,
    asimov_scan as asimov_scan,
    feature_closure as feature_closure,
)
from diffana.plot.comparison import (
    MOST_SERIES as MOST_SERIES,
    BandArtists as BandArtists,
    ComparisonArtists as ComparisonArtists,
    Curves as Curves,
    FinalArtists as FinalArtists,
    MetricSeries as MetricSeries,
    comparison as comparison,
    final_values as final_values,
    metric_bands as metric_bands,
    series_colours as series_colours,
)
from diffana.plot.correlation import (
    CorrelationArtists as CorrelationArtists,
    correlation_matrix as correlation_matrix,
)
from diffana.plot.landscape import (
    LandscapeComparisonArtists as LandscapeComparisonArtists,
    LandscapeCurveArtists as LandscapeCurveArtists,
    LandscapeMapArtists as LandscapeMapArtists,
    landscape_comparison as landscape_comparison,
    landscape_curve as landscape_curve,
    landscape_map as landscape_map,
)
from diffana.plot.layers import (
    Layers as Layers,
    layers as layers,
)
from diffana.plot.limits import (
    BrazilArtists as BrazilArtists,
    brazil_band as brazil_band,
)
from diffana.plot.nsbi import (
    CalibrationArtists as CalibrationArtists,
    LogRatioArtists as LogRatioArtists,
    PullsArtists as PullsArtists,
    SpreadArtists as SpreadArtists,
    calibration_curve as calibration_curve,
    ensemble_spread as ensemble_spread,
    log_ratio_distribution as log_ratio_distribution,
    normalisation_pulls as normalisation_pulls,
)
from diffana.plot.plane import (
    MapArtists as MapArtists,
    observable_map as observable_map,
)
from diffana.plot.prediction import (
    PredictionArtists as PredictionArtists,
    PredictionRatioArtists as PredictionRatioArtists,
    prediction as prediction,
)
from diffana.plot.ranking import (
    RankingArtists as RankingArtists,
    ranking as ranking,
)
from diffana.plot.scan import (
    ScanArtists as ScanArtists,
    ScanMapArtists as ScanMapArtists,
    scan_curve as scan_curve,
    scan_map as scan_map,
)
from diffana.plot.stack import (
    RatioArtists as RatioArtists,
    StackArtists as StackArtists,
    VariationArtists as VariationArtists,
    stacked_histogram as stacked_histogram,
)
from diffana.plot.statistics import (
    StatisticsArtists as StatisticsArtists,
    statistics as statistics,
)
from diffana.plot.style import (
    MOST_BACKGROUNDS as MOST_BACKGROUNDS,
    MOST_SIGNALS as MOST_SIGNALS,
    Caption as Caption,
    RatioAxes as RatioAxes,
    label as label,
    literal as literal,
    palette as palette,
    ratio_axes as ratio_axes,
    style as style,
)
from diffana.plot.training import (
    LossArtists as LossArtists,
    MetricArtists as MetricArtists,
    loss_curve as loss_curve,
    metric_curve as metric_curve,
    metric_curves as metric_curves,
)
