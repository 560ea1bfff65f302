"""Derived quantities and varied energy scales: closed forms, recorded events, and the
events that the FAIR-Universe challenge itself varied."""

import numpy as np
import pytest
from scipy import stats

from diffana.data.readers import open_reader
from diffana.data.table import Table
from diffana.data.variations import (
    derived,
    jet_energy_scale,
    recomputed,
    soft_met,
    tau_energy_scale,
)
from diffana.errors import DataError


# Half a unit of the last digit in the files, in GeV and rad.
ROUNDING = 0.0005


def recorded(**changes):
    """τ along x, lepton against it, missing momentum along the τ, two jets on y."""
    columns = {
        "PRI_tau_pt": 40.0,
        "PRI_tau_eta": 0.5,
        "PRI_tau_phi": 0.0,
        "PRI_lep_pt": 30.0,
        "PRI_lep_eta": -0.5,
        "PRI_lep_phi": np.pi,
        "PRI_met": 20.0,
        "PRI_met_phi": 0.0,
        "PRI_met_sumet": 300.0,
        "PRI_jet_num": 2,
        "PRI_jet_leading_pt": 60.0,
        "PRI_jet_leading_eta": 2.0,
        "PRI_jet_leading_phi": np.pi / 2,
        "PRI_jet_subleading_pt": 35.0,
        "PRI_jet_subleading_eta": -1.0,
        "PRI_jet_subleading_phi": -np.pi / 2,
        "PRI_jet_all_pt": 95.0,
        "DER_mass_MMC": 125.0,
    } | changes
    return Table({name: np.atleast_1d(value) for name, value in columns.items()})


def with_derived(table):
    return table.replaced(derived(table))


def test_derived_quantities_in_closed_form():
    expected = {
        "DER_mass_transverse_met_lep": 2 * np.sqrt(30 * 20),  # opposite: 1 - cos = 2
        "DER_mass_vis": np.sqrt(2 * 40 * 30 * (np.cosh(1.0) + 1)),
        "DER_pt_h": 40 - 30 + 20,
        "DER_pt_tot": np.hypot(30, 60 - 35),
        "DER_sum_pt": 40 + 30 + 95,
        "DER_pt_ratio_lep_tau": 0.75,
        "DER_deltaeta_jet_jet": 3.0,
        "DER_prodeta_jet_jet": -2.0,
        "DER_deltar_tau_lep": np.hypot(1.0, np.pi),
        "DER_lep_eta_centrality": np.exp(-4 / 9),  # a third of the way off the middle
    }
    got = derived(recorded(), expected)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-14, err_msg=name)


@pytest.mark.parametrize(
    ("met_phi", "centrality"),
    [(0.5, np.sqrt(2)), (0.0, 1.0), (1.0, 1.0), (0.5 + np.pi, -np.sqrt(2))],
)
def test_centrality_of_the_missing_momentum(met_phi, centrality):
    table = recorded(PRI_tau_phi=1.0, PRI_lep_phi=0.0, PRI_met_phi=met_phi)
    got = derived(table, ["DER_met_phi_centrality"])["DER_met_phi_centrality"]
    np.testing.assert_allclose(got, centrality, rtol=1e-12)


def test_absent_jets_are_undefined_and_carry_no_momentum():
    one_jet = recorded(PRI_jet_num=1, PRI_jet_subleading_pt=-999.0)
    got = derived(one_jet)
    for name in ("deltaeta_jet_jet", "prodeta_jet_jet", "lep_eta_centrality"):
        assert np.isnan(got[f"DER_{name}"])
    np.testing.assert_allclose(got["DER_pt_tot"], np.hypot(30, 60), rtol=1e-14)
    no_jet = recorded(PRI_jet_num=0, PRI_jet_leading_phi=np.nan)
    np.testing.assert_allclose(derived(no_jet)["DER_pt_tot"], 30, rtol=1e-14)


def test_tau_energy_scale_in_closed_form():
    up = tau_energy_scale(with_derived(recorded()), 1.1)
    expected = {
        "PRI_tau_pt": 44.0,
        "PRI_met": 16.0,
        "PRI_met_sumet": 304.0,
        "DER_pt_h": 30.0,  # what the τ gains the missing momentum loses
        "DER_sum_pt": 169.0,
        "DER_pt_ratio_lep_tau": 30 / 44,
        "DER_mass_vis": np.sqrt(2 * 44 * 30 * (np.cosh(1.0) + 1)),
        "DER_mass_transverse_met_lep": 2 * np.sqrt(30 * 16),
        "DER_deltaeta_jet_jet": 3.0,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(up[name], value, rtol=1e-14, err_msg=name)


def test_missing_momentum_turns_round_when_the_tau_takes_it_over():
    up = tau_energy_scale(recorded(), 2.0)
    np.testing.assert_allclose(up["PRI_met"], 20.0, rtol=1e-14)
    np.testing.assert_allclose(np.abs(up["PRI_met_phi"]), np.pi, rtol=1e-14)


def test_factor_of_one_changes_nothing():
    nominal = with_derived(recorded(PRI_met_phi=0.3))
    same = tau_energy_scale(nominal, 1.0)
    assert set(same.names) == set(nominal.names) - {"DER_mass_MMC"}
    for name in same.names:
        np.testing.assert_allclose(same[name], nominal[name], rtol=1e-13, err_msg=name)


def test_scaling_up_and_back_is_the_identity():
    nominal = with_derived(recorded(PRI_met_phi=0.3))
    back = tau_energy_scale(tau_energy_scale(nominal, 1.25), 0.8)
    for name in back.names:
        np.testing.assert_allclose(back[name], nominal[name], rtol=1e-12, err_msg=name)


def test_quantities_that_cannot_be_computed_say_so():
    up = tau_energy_scale(recorded(), 1.03)
    assert "DER_mass_MMC" not in up
    with pytest.raises(DataError, match="'DER_mass_MMC': the mass fit cannot be"):
        up["DER_mass_MMC"]
    with pytest.raises(DataError, match="'DER_mass_jet_jet' cannot be computed"):
        derived(recorded(), ["DER_mass_jet_jet"])
    with pytest.raises(DataError, match="no column 'PRI_tau_phi'"):
        tau_energy_scale(Table({"PRI_tau_pt": [1.0], "PRI_met": [1.0]}), 1.03)
    with pytest.raises(ValueError, match="has to be > 0"):
        tau_energy_scale(recorded(), 0.0)


def test_jet_energy_scale_in_closed_form():
    # Jets of 60 and 35 GeV on opposite sides of y: 2.5 GeV along y, which the missing
    # momentum along x loses.
    up = jet_energy_scale(with_derived(recorded()), 1.1)
    expected = {
        "PRI_tau_pt": 40.0,
        "PRI_jet_leading_pt": 66.0,
        "PRI_jet_subleading_pt": 38.5,
        "PRI_jet_all_pt": 104.5,
        "PRI_met": np.hypot(20.0, 2.5),
        "PRI_met_phi": np.arctan2(-2.5, 20.0),
        "PRI_met_sumet": 309.5,
        "DER_pt_h": np.hypot(30.0, 2.5),
        "DER_pt_tot": np.hypot(30.0, 25.0),  # what jets gain the missing momentum loses
        "DER_sum_pt": 174.5,
        "DER_mass_vis": with_derived(recorded())["DER_mass_vis"],
        "DER_deltaeta_jet_jet": 3.0,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(up[name], value, rtol=1e-14, err_msg=name)
    with pytest.raises(DataError, match="the masses of jets are not in the table"):
        up["DER_mass_jet_jet"]


def test_jet_energy_scale_of_events_without_jets():
    absent = dict.fromkeys(
        [
            f"PRI_jet_{jet}_{x}"
            for jet in ("leading", "subleading")
            for x in ("pt", "phi")
        ],
        np.nan,
    )
    none = recorded(PRI_jet_num=0, PRI_jet_all_pt=0.0, **absent)
    up = jet_energy_scale(none, 1.5)
    for name in ("PRI_met", "PRI_met_sumet", "PRI_jet_all_pt", "PRI_jet_leading_pt"):
        np.testing.assert_allclose(up[name], none[name], rtol=1e-14, err_msg=name)


def test_noise_of_the_missing_momentum_is_normal_and_belongs_to_the_event():
    rng = np.random.default_rng(1)
    n_events = 100_000
    angles = {
        f"PRI_{name}_phi": rng.uniform(-np.pi, np.pi, n_events)
        for name in ("tau", "lep", "met")
    }
    table = Table(angles | {"PRI_met": rng.exponential(30.0, n_events)})
    noisy = soft_met(table, 3.0)

    def components(events):
        phi = events["PRI_met_phi"]
        return events["PRI_met"] * np.stack([np.cos(phi), np.sin(phi)])

    noise = components(noisy) - components(table)
    for component in noise:
        # A false alarm in one of a thousand seeds; this one is fixed.
        assert stats.kstest(component / 3.0, "norm").pvalue > 1e-3
        # Unrelated to the direction it was in.
        assert abs(np.corrcoef(component, angles["PRI_met_phi"])[0, 1]) < 0.015
    assert abs(np.corrcoef(noise)[0, 1]) < 0.015  # five standard deviations
    some = np.arange(n_events) % 7 == 3
    np.testing.assert_array_equal(
        soft_met(table.rows(some), 3.0)["PRI_met"], noisy["PRI_met"][some]
    )
    half = components(soft_met(table, 1.5)) - components(table)
    np.testing.assert_allclose(2 * half, noise, atol=1e-11)  # of momenta up to 400 GeV


def test_no_noise_and_factor_one_are_the_recomputed_events():
    table = with_derived(recorded(PRI_met_phi=0.3))
    wanted = recomputed(table)
    for same in (soft_met(table, 0.0), jet_energy_scale(table, 1.0)):
        for name in same.names:
            np.testing.assert_allclose(
                same[name], wanted[name], rtol=1e-13, err_msg=name
            )


@pytest.mark.parametrize(
    ("variation", "value"), [(jet_energy_scale, 0.0), (soft_met, -1.0)]
)
def test_variations_out_of_range(variation, value):
    with pytest.raises(ValueError, match="has to be"):
        variation(recorded(), value)


def rounding_error(table, name):
    """Largest error of a derived quantity from the rounded columns behind it."""
    nominal = derived(table, [name])[name]
    total = np.full(len(table), ROUNDING)
    for column in table.names:
        if column.startswith("PRI_") and column != "PRI_jet_num":
            steps = [
                derived(table.replaced({column: table[column] + step}), [name])[name]
                for step in (-ROUNDING, ROUNDING)
            ]
            total += np.max(np.abs(np.stack(steps) - nominal), axis=0)
    return total


@pytest.fixture(scope="module")
def higgsml(shared):
    path = shared / "data/higgsml/higgsml_fragment_22889.csv.gz"
    return open_reader(path, missing=-999.0).read()


@pytest.mark.shared
@pytest.mark.parametrize("name", sorted(set(derived(recorded())) - {"DER_mass_vis"}))
def test_derived_quantities_of_recorded_events(higgsml, name):
    value = derived(higgsml, [name])[name]
    np.testing.assert_array_equal(np.isnan(value), np.isnan(higgsml[name]))
    within = np.abs(value - higgsml[name]) <= 1.001 * rounding_error(higgsml, name)
    if name == "DER_met_phi_centrality":
        # Its sign hangs on the last digit where τ and lepton are back to back.
        angle = higgsml["PRI_tau_phi"] - higgsml["PRI_lep_phi"]
        within |= np.abs(np.sin(angle)) < 2 * ROUNDING
    assert np.all(within | np.isnan(value))


@pytest.mark.shared
def test_visible_mass_of_recorded_events(higgsml):
    # The file gives a τ decay the mass 0.8 GeV (one track) or 1.2 GeV (three), and the
    # number of tracks is in no column.
    massless = derived(higgsml, ["DER_mass_vis"])["DER_mass_vis"]
    momentum, energy_lep = (
        higgsml[f"PRI_{name}_pt"] * np.cosh(higgsml[f"PRI_{name}_eta"])
        for name in ("tau", "lep")
    )
    error = np.stack(
        [
            np.sqrt(
                massless**2
                + mass**2
                + 2 * energy_lep * (np.hypot(momentum, mass) - momentum)
            )
            - higgsml["DER_mass_vis"]
            for mass in (0.8, 1.2)
        ]
    )
    allowed = 1.001 * rounding_error(higgsml, "DER_mass_vis")
    assert np.all(np.min(np.abs(error), axis=0) <= allowed)
    assert np.max(np.abs(massless - higgsml["DER_mass_vis"])) < 0.25


def as_higgsml(table):
    """The FAIR-Universe columns under the names of the ATLAS challenge."""
    names = {name: name.replace("_had", "_tau") for name in table.names}
    names["PRI_n_jets"] = "PRI_jet_num"
    return Table({names[name]: table[name] for name in table.names}, table.origin)


def common_events(one, other):
    """Rows of the same events, told by what the variation leaves alone."""
    same = ("PRI_lep_pt", "PRI_lep_eta", "PRI_lep_phi", "PRI_tau_eta", "PRI_tau_phi")
    keys = [list(zip(*(t[name] for name in same), strict=True)) for t in (one, other)]
    rows = {key: row for row, key in enumerate(keys[1])}
    pairs = [(i, rows[key]) for i, key in enumerate(keys[0]) if key in rows]
    return (
        Table({name: t[name][list(r)] for name in t.names})
        for t, r in zip((one, other), zip(*pairs, strict=True), strict=True)
    )


@pytest.mark.shared
@pytest.mark.parametrize(("direction", "factor"), [("up", 1.01), ("down", 0.99)])
def test_events_that_the_challenge_varied(shared, direction, factor):
    folder = shared / "data/fair_universe/varied"
    nominal, varied = common_events(
        as_higgsml(open_reader(folder / "nominal.parquet").read()),
        as_higgsml(open_reader(folder / f"tes_{direction}.parquet").read()),
    )
    assert len(nominal) > 900
    ours = tau_energy_scale(nominal, factor)
    for name in ("PRI_tau_pt", "PRI_met", "PRI_met_phi"):
        # The file rounds to 3 digits, and holds float32.
        np.testing.assert_allclose(ours[name], varied[name], atol=1.02 * ROUNDING)
    for name in ("mass_transverse_met_lep", "mass_vis", "pt_h", "pt_tot", "sum_pt"):
        # 0.05 GeV: the file computes from rounded momenta and angles of up to 100 GeV;
        # the effect of the variation is some GeV.
        shift = np.abs(nominal[f"DER_{name}"] - varied[f"DER_{name}"])
        np.testing.assert_allclose(
            ours[f"DER_{name}"], varied[f"DER_{name}"], atol=0.06
        )
        assert name in ("pt_h", "pt_tot") or shift.max() > 1.0


@pytest.mark.shared
@pytest.mark.parametrize(("direction", "factor"), [("up", 1.01), ("down", 0.99)])
def test_jets_that_the_challenge_varied(shared, direction, factor):
    folder = shared / "data/fair_universe/varied"
    tables = [
        as_higgsml(open_reader(folder / f"{name}.parquet", missing=-25.0).read())
        for name in ("nominal", f"jes_{direction}")
    ]
    # The challenge lets jets cross the threshold of 26 GeV, which the file cannot tell:
    # neither a jet nor the sum of all may hold one that does.
    scaled = factor * tables[0]["PRI_jet_all_pt"]
    kept = (tables[0]["PRI_jet_num"] == tables[1]["PRI_jet_num"]) & (
        np.abs(tables[1]["PRI_jet_all_pt"] - scaled) < 0.01
    )
    assert 880 < kept.sum() < 925
    nominal, varied = (table.rows(kept) for table in tables)
    ours = jet_energy_scale(nominal, factor)
    # Jets below the threshold move the missing momentum of the challenge, too.
    jets = [nominal[f"PRI_jet_{one}_pt"] for one in ("leading", "subleading")]
    seen = np.isfinite(jets).sum(axis=0)
    unseen = 0.01 * 26 * (2 - seen)
    # The file rounds to 3 digits, and holds float32 of up to 500 GeV.
    rounding = 0.002
    for name in ("PRI_jet_leading_pt", "PRI_jet_subleading_pt", "DER_sum_pt"):
        np.testing.assert_allclose(
            ours[name], varied[name], atol=rounding, err_msg=name
        )
    assert np.all(np.abs(ours["PRI_met"] - varied["PRI_met"]) <= unseen + rounding)
    two = seen == 2
    assert two.sum() > 150
    assert np.max(np.abs(nominal["PRI_met"] - varied["PRI_met"])[two]) > 1.0
