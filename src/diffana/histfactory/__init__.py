"""HistFactory likelihoods whose every template is a JAX value."""

from .constraints import Constraints as Constraints, constraints as constraints
from .interpolation import (
    code0 as code0,
    code1 as code1,
    code2 as code2,
    code4 as code4,
    code4p as code4p,
)
from .layout import (
    Channel as Channel,
    Layout as Layout,
    Modifier as Modifier,
    ParameterSet as ParameterSet,
    Row as Row,
)
from .model import HistFactory as HistFactory
from .spec import (
    from_model as from_model,
    from_workspace as from_workspace,
    modifier_settings as modifier_settings,
    to_spec as to_spec,
    to_workspace as to_workspace,
)
from .templates import Templates as Templates
