"""Claims about confidence sets of learned observables and likelihoods."""

from experiments.claims import Claim


def claims(unbinned, observable):
    """What the rows say."""
    return [*_of_unbinned(unbinned), *_of_observable(observable)]


def _of_unbinned(rows):
    found = []
    for ratios in ("exact", "learned"):
        asymptotic = _chosen(rows, ratios=ratios, sets="likelihood ratio, asymptotic")
        missed = [r for r in asymptotic if abs(r.coverage - r.level) > 3 * r.error]
        found.append(
            Claim(
                claim=f"interference, {ratios} ratios: asymptotic intervals miss their "
                "coverage somewhere",
                source="goal of this study",
                expected="beyond three standard deviations at one point at least",
                measured=_coverages(asymptotic),
                verdict="reproduced" if missed else "not reproduced",
            )
        )
        for sets in ("likelihood ratio, calibrated", "focused, calibrated"):
            mine = _chosen(rows, ratios=ratios, sets=sets)
            short = [r for r in mine if r.coverage < r.level - 3 * r.error]
            found.append(
                Claim(
                    claim=f"interference, {ratios} ratios, {sets}: sets cover",
                    source="goal of this study",
                    expected="not below the level by three standard deviations, which "
                    "include those of the critical values",
                    measured=_coverages(mine),
                    verdict="not reproduced" if short else "reproduced",
                )
            )
    for ratios in ("exact", "learned"):
        focused = _chosen(rows, ratios=ratios, sets="focused, calibrated", mu=1.0)
        plain = _chosen(
            rows, ratios=ratios, sets="likelihood ratio, calibrated", mu=1.0
        )
        found.append(
            Claim(
                claim=f"interference, {ratios} ratios: focused sets are shorter at the "
                "focus",
                source="arXiv:2507.17831, for other measurements",
                expected="smaller median length at both levels",
                measured="; ".join(
                    f"{f.level:.4g}: {f.median:.3f} against {p.median:.3f}"
                    for f, p in zip(focused, plain, strict=True)
                ),
                verdict=_both(focused, plain),
            )
        )
    return found


def _of_observable(rows):
    found = []
    short = [r for r in rows if not r.covers]
    found.append(
        Claim(
            claim="blobs: sets on trained observables cover",
            source="goal of this study",
            expected="counts compatible with the level at every true value",
            measured=_coverages(rows),
            verdict="not reproduced" if short else "reproduced",
        )
    )
    for text, better, worse in (
        (
            "at the focus, focused sets are shorter on the observable trained on σ_μ",
            {"loss": "sigma_mu", "statistic": "fts"},
            {"loss": "sigma_mu", "statistic": "lrs"},
        ),
        (
            "training on σ_μ shortens sets of the likelihood ratio",
            {"loss": "sigma_mu", "statistic": "lrs"},
            {"loss": "bce", "statistic": "lrs"},
        ),
        (
            "training and focus together are shorter than either alone",
            {"loss": "sigma_mu", "statistic": "fts"},
            {"loss": "bce", "statistic": "fts"},
        ),
    ):
        mine, others = (_chosen(rows, mu=1.0, **which) for which in (better, worse))
        found.append(
            Claim(
                claim=f"blobs: {text}",
                source="goal of this study",
                expected="smaller median length at μ = 1, at both levels",
                measured="; ".join(
                    f"{m.level:.4g}: {m.median:.3f} against {o.median:.3f}"
                    for m, o in zip(mine, others, strict=True)
                ),
                verdict=_both(mine, others),
            )
        )
    return found


def _chosen(rows, **fields):
    return [
        row
        for row in rows
        if all(getattr(row, key) == value for key, value in fields.items())
    ]


def _both(mine, others):
    better = [m.median < o.median for m, o in zip(mine, others, strict=True)]
    if all(better):
        return "reproduced"
    return "differs" if any(better) else "not reproduced"


def _coverages(rows):
    return ", ".join(
        f"{row.coverage:.3f} ({row.level:.4g}, μ = {row.mu:g})" for row in rows
    )
