"""Checks that an analyser makes before trusting a learned observable.

Each check answers one question on a finished run with numbers, a threshold and a
verdict. Where the verdict is a statistical test it says how often it warns of a healthy
run; where it is a threshold on a number it says so.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from diffana import assemble, runs
from diffana.analysis import Analysis
from diffana.config import Config
from diffana.workflow import streaming
from diffana.workflow.prepared import Prepared, prepare
from diffana.workflow.resolved import resolved_config
from diffana.workflow.safety import drawing
from diffana.workflow.safety.agreement import check_agreement
from diffana.workflow.safety.check import (
    Check as Check,
    document as document,
    read_checks as read_checks,
    store,
)
from diffana.workflow.safety.fits import (
    check_agreement_with_pyhf,
    check_minima,
    check_parameters,
)
from diffana.workflow.safety.precision import (
    check_generalisation,
    check_halves,
    check_precision,
)
from diffana.workflow.safety.seeds import check_seeds, siblings_of
from diffana.workflow.safety.sensitivity import Expected, expected
from diffana.workflow.safety.statistics import check_statistics
from diffana.workflow.safety.systematics import (
    check_noise,
    check_one_sided,
    check_size,
    effects,
)


def check_run(
    folder: Path,
    *,
    siblings: Sequence[Path] | None = None,
    n_resamples: int = 100,
    warn: Callable[[str], None],
) -> tuple[Check, ...]:
    """Check a finished run and store the answers in it as `checks.json`.

    Args:
        folder: a run folder.
        siblings: as for `safety_checks`.
        n_resamples: as for `safety_checks`.
        warn: called with one line if nothing keeps other processes out of the folder.

    Raises:
        DiffanaError: if the run cannot be evaluated, or its input files have changed.

    Example:
        >>> checks = check_run(Path("runs/blobs"), warn=print)
        >>> [check.name for check in checks if check.verdict == "warn"]
    """
    run = runs.open_finished(folder)
    with runs.exclusive(folder, warn=warn):
        config = resolved_config(run)
        run.check_inputs(assemble.input_files(config))
        try:
            prepared = prepare(config, streaming.inside(run))
            analysis, _ = runs.load_checkpoint(run.best, prepared.analysis)
            checks = safety_checks(
                run,
                config,
                prepared,
                analysis,
                siblings=siblings,
                n_resamples=n_resamples,
            )
            store(run, checks)
        finally:
            streaming.discard(run)
    return checks


def safety_checks(
    run: runs.Run,
    config: Config,
    prepared: Prepared,
    analysis: Analysis,
    *,
    siblings: Sequence[Path] | None = None,
    n_resamples: int = 100,
) -> tuple[Check, ...]:
    """Everything to be asked about a trained run.

    The random drawings of events follow from the seed of the configuration: the same
    run gets the same answers.

    Args:
        run: where its results are; nothing is written.
        config: its configuration.
        prepared: its events.
        analysis: the model that was selected.
        siblings: finished runs that differ in the seed alone; those in the same folder
            as the run if None.
        n_resamples: how often events are drawn again to learn the spread of results,
            at least 2. A spread is known to 1/sqrt(2 n_resamples).

    Returns:
        One answer to each question.
    """
    hard = analysis.hard

    def draw(part: str, how: drawing.Draw, what: str) -> drawing.Drawn:
        return drawing.drawn(
            hard, prepared.parts[part], how, config.general.seed, part, what
        )

    def results(drawn: drawing.Drawn) -> list[Expected]:
        return expected(config, hard, drawn)

    test = draw("test", drawing.resampled(n_resamples), "resampled")
    of_test, *of_resampled = results(test)
    first, second, *of_halves = results(
        draw("test", drawing.resampled(n_resamples, n_subsets=2), "halves")
    )
    of_parts = []
    for part in ("train", "test"):
        share = min(config.split.train, config.split.test) / getattr(config.split, part)
        how = drawing.resampled(n_resamples, share=share)
        of_parts.append(results(draw(part, how, "as many")))
    (train, *of_train), (as_many, *of_as_many) = of_parts
    likelihood = hard.likelihood(test.histograms())
    found = effects(hard, likelihood, test)
    near = siblings_of(run, config) if siblings is None else siblings
    return (
        check_agreement(
            draw("train", drawing.everything, "all"),
            draw("validation", drawing.everything, "all"),
            test,
        ),
        check_generalisation((train, as_many), (of_train, of_as_many)),
        check_halves(
            (first, second), (of_halves[:n_resamples], of_halves[n_resamples:])
        ),
        check_precision(of_test, of_resampled),
        check_statistics(test, assemble.signal_samples(config)),
        check_one_sided(found),
        check_size(found),
        check_noise(hard.shapes, test),
        check_parameters(likelihood),
        check_seeds(run, config, near),
        check_minima(of_test.fits),
        check_agreement_with_pyhf(run, of_test),
    )
