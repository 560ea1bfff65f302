"""Bounded maximum-likelihood fits: certified, and differentiated by theorem.

The minimiser is a damped Newton method whose step solves the box-constrained quadratic
model, started from several points. A fit that is not certified returns nan together
with a code that says why, so that neither a number nor a gradient can come out of it.

Derivatives never go through the iterations. The minimiser follows the implicit
function theorem on the parameters that are neither held nor at a bound; the minimum
value follows the envelope theorem. Both rules are exact to every order, in forward and
reverse mode.

`fit_many` makes the fits of many pseudo-experiments together, without derivatives.
`fit_with` hands the search to a minimiser of another package, and certifies what it
returns in the same way. The solvers import their packages when they run.
"""

from diffana.fit.many import ManyFits as ManyFits, fit_many as fit_many
from diffana.fit.outside import fit_with as fit_with
from diffana.fit.result import (
    FitResult as FitResult,
    certified as certified,
    first_failure as first_failure,
    fit as fit,
    fit_together as fit_together,
)
from diffana.fit.search import Minimiser as Minimiser
from diffana.fit.solvers import (
    AbstractSolver as AbstractSolver,
    Jaxopt as Jaxopt,
    Minuit as Minuit,
    Optimistix as Optimistix,
)
