"""Result codes that survive `jit`, and the exceptions raised outside it."""

import equinox as eqx


class RESULTS(eqx.Enumeration):
    """Why a fit, or a quantity that needs fits, stopped.

    A code is a traced value: it passes through `jit` and `vmap`, compares with `==`,
    and turns into an exception with `RESULTS.error_if` outside.
    """

    successful = ""
    non_finite = (
        "twice_nll, its gradient or its curvature is not finite: look for bins whose "
        "expected yield is zero or negative while events are observed there."
    )
    iteration_limit = "The fit used up its iterations before the gradient vanished."
    hessian_not_pd = (
        "The Hessian of twice_nll is not positive definite on the free parameters: "
        "a direction is unconstrained, or the fit stopped at a saddle point."
    )
    not_at_minimum = (
        "The minimiser stopped although its estimated distance to the minimum is above "
        "that of a certified fit: tighten its tolerance."
    )
    undefined_loss = (
        "The loss is not a finite number although its fits are certified: the Fisher "
        "information is singular, or a bin has signal and no background."
    )
    undefined_gradient = "The gradient of the loss is not finite although its value is."
    missed_minimum = (
        "A point of the profile lies below the minimum of the free fit, which is "
        "therefore not the lowest one: give the fit more starts."
    )
    no_root = (
        "The level is not crossed within the bounds of the parameter: widen the bounds."
    )


class DiffanaError(Exception):
    """Base class of the errors that name something the user can mend."""


class DataError(DiffanaError):
    """Events that cannot be used; the message names file, column and sample."""


class SpecificationError(DiffanaError):
    """A likelihood specification that cannot be represented, and which part."""


class FitError(DiffanaError):
    """A fit that is not certified, so that there is no number, and why."""


class PackageError(DiffanaError):
    """An optional package that is not installed, and what to install."""


class CheckpointError(DiffanaError):
    """A checkpoint that does not belong to the model it is loaded into."""


class RunError(DiffanaError):
    """A run folder that cannot be created, resumed or evaluated."""


class InUseError(RunError):
    """A folder that another process works in, and which."""


class FarmError(DiffanaError):
    """A farm of processes that cannot be started, reached or used, and why."""


class TrainingError(DiffanaError):
    """Training that cannot go on, and since which step."""


class ToyError(FitError):
    """Too many pseudo-experiments without a certified fit."""
