"""How a command fails: one line for what the user can mend, and an exit code."""

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

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
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        # XLA says RESOURCE_EXHAUSTED.
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            reason = str(error).splitlines()[0] if str(error) else "out of memory"
            raise BadInput(f"not enough memory: {reason}") from error
        raise


class Commands(click.Group):
    """A group of commands for whose output the disk may have no room."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = f"{error.filename}: " if error.filename else ""
            raise BadInput(f"{where}{error.strerror}") from error
