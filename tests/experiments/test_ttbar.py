"""The events of the ttbar study, and what decides its claims."""

import numpy as np
import pytest

from diffana.data import Table
from experiments.ttbar.prepare import restored
from experiments.ttbar.run import claims


# pt, eta, phi of jets, the largest pt first, and of the τ among them.
TAU = (40.0, 0.5, 1.0)
JETS = {
    "tau alone": [TAU],
    "tau first": [TAU, (30.0, -1.0, 2.0)],
    "tau second": [(90.0, 2.0, -2.0), TAU, (25.0, 0.1, 0.2)],
    "tau third": [(90.0, 2.0, -2.0), (60.0, 1.5, 3.0), TAU],
}


def recorded(jets):
    """One event as the files hold it: columns behind the leading jet are shifted."""
    first, second = (*jets, (np.nan,) * 3)[:2]
    columns = {
        "PRI_lep_pt": 50.0,
        "PRI_lep_eta": 0.0,
        "PRI_lep_phi": -1.0,
        **dict(zip(("PRI_had_pt", "PRI_had_eta", "PRI_had_phi"), TAU, strict=True)),
        "PRI_jet_leading_pt": first[0],
        "PRI_jet_leading_eta": first[1],
        "PRI_jet_leading_phi": first[2],
        "PRI_n_jets": second[0],
        "PRI_jet_subleading_pt": second[1],
        "PRI_jet_subleading_eta": second[2],
        "PRI_jet_subleading_phi": 1.0,
        "PRI_jet_all_pt": sum(jet[0] for jet in jets),
        "PRI_met": 20.0,
        "PRI_met_phi": 0.0,
        "DER_mass_jet_jet": 7.0,
    }
    return Table({name: np.array([value]) for name, value in columns.items()})


@pytest.mark.parametrize("name", JETS)
def test_jets_of_an_event_are_those_beside_the_tau(name):
    event = restored(recorded(JETS[name]))
    others = [jet for jet in JETS[name] if jet != TAU]
    # What stands behind the second jet of the file has no direction there.
    known = [jet for jet in JETS[name][:2] if jet != TAU]
    assert event["PRI_jet_num"] == len(known)
    np.testing.assert_allclose(
        event["PRI_jet_all_pt"], sum(jet[0] for jet in others), rtol=1e-15
    )
    for jet, wanted in zip(
        ("leading", "subleading"), [*known, (np.nan,) * 3, (np.nan,) * 3], strict=False
    ):
        got = [event[f"PRI_jet_{jet}_{x}"].item() for x in ("pt", "eta", "phi")]
        np.testing.assert_array_equal(got, wanted)
    assert [event[f"PRI_tau_{x}"].item() for x in ("pt", "eta", "phi")] == list(TAU)
    assert "DER_mass_jet_jet" not in event


def test_a_claim_needs_every_seed():
    others = {"bce": [2.0, 2.0], "bce_augmented": [2.0, 0.5]}
    tested = {"sigma_mu": [1.0, 1.0], **others, "asimov_significance": [2.0, np.nan]}
    found = claims({name: np.array(values) for name, values in tested.items()})
    assert [one.verdict for one in found] == [
        "reproduced",
        "not reproduced",
        "reproduced",
    ]
    assert "smaller on 1 of 2" in found[1].measured
