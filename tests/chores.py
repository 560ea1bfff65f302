"""What processes of a farm do in the tests: importable there by name."""

import os
import pathlib
import signal
import time


def note(folder, name):
    """Leave a line about this call, and return how many there are."""
    path = pathlib.Path(folder) / name
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    return len(path.read_text().splitlines())


def fail(folder, name, times):
    """Fail as often as told, then return the number of calls."""
    number = note(folder, name)
    if number <= times:
        raise ArithmeticError(f"call {number}\nof {name}")
    return number


def die(folder, name, times):
    """As `fail`, but the process is killed."""
    number = note(folder, name)
    if number <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def rest(folder, name, seconds):
    note(folder, name)
    time.sleep(seconds)


def surroundings():
    import jax

    return {
        "process": os.getpid(),
        "cores": os.environ["PJRT_NPROC"],
        "threads": os.environ["OPENBLAS_NUM_THREADS"],
        "told": os.environ.get("DIFFANA_TOLD"),
        "x64": jax.config.read("jax_enable_x64"),
    }
