"""How a command fails: one line for what the user can mend, and an exit code."""

import contextlib
from collections.abc import Iterator

import click


class BadInput(click.ClickException):
    """Input that its author can mend; printed without a traceback."""

    exit_code = 2


class NoResult(click.ClickException):
    """Valid input for which there is no number, and why."""

    exit_code = 1


@contextlib.contextmanager
def statistics(*, brief: bool = False) -> Iterator[None]:
    """float64 for everything inside, and one line for what the user can mend.

    Args:
        brief: whether compiling takes longer than running, so that less of the former
            ends sooner.
    """
    import jax

    from diffana.errors import DiffanaError, FitError

    jax.config.update("jax_enable_x64", True)  # noqa: FBT003
    if brief:
        jax.config.update("jax_disable_most_optimizations", True)  # noqa: FBT003
    try:
        yield
    except FitError as error:
        raise NoResult(str(error)) from error
    except DiffanaError as error:
        raise BadInput(str(error)) from error
