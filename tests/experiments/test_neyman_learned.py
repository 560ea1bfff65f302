"""The study of belts on learned observables and likelihoods, from made-up rows."""

from experiments.neyman_learned.findings import claims
from experiments.neyman_learned.observable import Row as OnBlobs
from experiments.neyman_learned.unbinned import Row as OnEvents


LENGTH = {("bce", "lrs"): 4.0, ("bce", "fts"): 3.0, ("sigma_mu", "lrs"): 2.0}


def rows(shorter=1.0, coverage=0.68):
    events = [
        OnEvents(ratios, sets, mu, level, cover, 0.01, length)
        for ratios in ("exact", "learned")
        for sets, cover, length in (
            ("likelihood ratio, asymptotic", 0.5, 2.0),
            ("likelihood ratio, calibrated", coverage, 2.0),
            ("focused, calibrated", coverage, shorter),
        )
        for mu in (0.5, 1.0)
        for level in (0.6827,)
    ]
    blobs = [
        OnBlobs(loss, statistic, 1.0, 0.6827, LENGTH.get((loss, statistic), 1.0),
                coverage, coverage > 0.6)
        for loss in ("bce", "sigma_mu")
        for statistic in ("lrs", "fts")
    ]  # fmt: skip
    return events, blobs


def test_all_that_holds_is_reproduced():
    assert {claim.verdict for claim in claims(*rows())} == {"reproduced"}


def test_longer_sets_and_low_coverage_are_told():
    verdicts = {c.claim: c.verdict for c in claims(*rows(shorter=3.0, coverage=0.5))}
    lost = [claim for claim, verdict in verdicts.items() if verdict != "reproduced"]
    # Two of focused lengths, four of coverage without bins, one on blobs.
    assert len(lost) == 7
    assert all(verdicts[claim] == "not reproduced" for claim in lost)
