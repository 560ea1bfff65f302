"""Systematic variations of recorded events; each maps a table to a table.

The columns are those of the ATLAS Higgs boson machine-learning challenge, H → ττ with
one hadronic τ decay and one lepton: PRI_ quantities as reconstructed, DER_ quantities
computed from them. Momenta are in GeV and transverse to the beam, angles in rad;
jet quantities are undefined where PRI_jet_num says that there is no such jet.

Source: C. Adam-Bourdarios et al., "Learning to discover: the Higgs boson machine
learning challenge", CERN Open Data record 328.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Float

from diffana.data.table import Table, close_matches
from diffana.errors import DataError


_Column = Float[np.ndarray, " event"]


def tau_energy_scale(table: Table, factor: float) -> Table:
    """The events as recorded if the energy scale of hadronic τ decays were `factor`.

    PRI_tau_pt is multiplied by `factor`. What that adds to the momentum of the τ is
    taken from the missing transverse momentum (as vectors) and added to the scalar sum
    PRI_met_sumet. The derived quantities of the table are computed anew from the
    varied ones; see `recomputed`. This is the definition of the FAIR-Universe challenge
    (arXiv:2410.02867).

    No selection is applied again, though events cross the threshold on PRI_tau_pt.

    Args:
        table: events with at least PRI_tau_pt, PRI_tau_phi, PRI_met and PRI_met_phi.
        factor: energy after over energy before, > 0, such as 1.03.

    Returns:
        The table with the affected columns replaced.

    Raises:
        ValueError: if `factor` is not positive.
        DataError: if a column needed is not in the table.

    Example:
        >>> back_to_back = Table({
        ...     "PRI_tau_pt": [40.0], "PRI_tau_phi": [0.0],
        ...     "PRI_met": [10.0], "PRI_met_phi": [0.0],
        ... })
        >>> up = tau_energy_scale(back_to_back, 1.1)
        >>> up["PRI_tau_pt"].round(6), up["PRI_met"].round(6)
        (array([44.]), array([6.]))
    """
    added = _excess(factor) * _float64(table, "PRI_tau_pt")
    recoil = -_transverse(added, _float64(table, "PRI_tau_phi"))
    scaled = table.replaced({"PRI_tau_pt": table["PRI_tau_pt"] + added})
    return recomputed(_with_visible(_with_met(scaled, recoil), added))


def jet_energy_scale(table: Table, factor: float) -> Table:
    """The events as recorded if the energy scale of jets were `factor`.

    The transverse momenta of the leading and the subleading jet and the sum
    PRI_jet_all_pt are multiplied by `factor`. What that adds to the momenta of the two
    jets is taken from the missing transverse momentum (as vectors); the directions of
    further jets are in no column. The derived quantities are computed anew; see
    `recomputed`. This is the definition of the FAIR-Universe challenge
    (arXiv:2410.02867), but for jets that cross the threshold of the file: they neither
    appear nor vanish, so select jets well above it.

    Args:
        table: events with at least PRI_met, PRI_met_phi, PRI_jet_num, PRI_jet_all_pt
            and the transverse momenta and angles φ of the two jets.
        factor: energy after over energy before, > 0, such as 1.02.

    Returns:
        The table with the affected columns replaced. DER_mass_jet_jet is withheld: the
        masses of the jets are in no column.

    Raises:
        ValueError: if `factor` is not positive.
        DataError: if a column needed is not in the table.

    Example:
        >>> recoiling = Table({
        ...     "PRI_jet_num": [1.0], "PRI_jet_all_pt": [50.0],
        ...     "PRI_jet_leading_pt": [50.0], "PRI_jet_leading_phi": [0.0],
        ...     "PRI_jet_subleading_pt": [np.nan], "PRI_jet_subleading_phi": [np.nan],
        ...     "PRI_met": [50.0], "PRI_met_phi": [np.pi],
        ... })
        >>> jet_energy_scale(recoiling, 1.1)["PRI_met"].round(6)
        array([55.])
    """
    excess = _excess(factor)
    jets = [
        _transverse(excess * pt, phi)
        for pt, phi in zip(_jets(table, "pt"), _jets(table, "phi"), strict=True)
    ]
    recoil = -np.nan_to_num(np.stack(jets)).sum(axis=0)
    scalars = ("PRI_jet_leading_pt", "PRI_jet_subleading_pt", "PRI_jet_all_pt")
    scaled = table.replaced({name: factor * _float64(table, name) for name in scalars})
    added = excess * _float64(table, "PRI_jet_all_pt")
    return recomputed(_with_visible(_with_met(scaled, recoil), added)).without(
        "DER_mass_jet_jet", "the masses of jets are not in the table"
    )


def soft_met(table: Table, sigma: float) -> Table:
    """The events with noise added to the missing transverse momentum.

    Both of its components get independent normal noise, as soft energy that belongs to
    no object would add. The derived quantities are computed anew; see `recomputed`.
    This is the definition of the FAIR-Universe challenge (arXiv:2410.02867), apart from
    the source of the noise: here it follows from the angles of the event itself, so
    that an event has the same noise whenever it is read, and noise of another width is
    the same noise scaled.

    Args:
        table: events with at least PRI_met, PRI_met_phi, PRI_lep_phi and PRI_tau_phi.
        sigma: standard deviation of the noise in one component, in GeV, >= 0.

    Returns:
        The table with the affected columns replaced.

    Raises:
        ValueError: if `sigma` is negative.
        DataError: if a column needed is not in the table.

    Example:
        >>> event = Table({
        ...     "PRI_lep_phi": [0.3], "PRI_tau_phi": [2.0],
        ...     "PRI_met": [20.0], "PRI_met_phi": [0.0],
        ... })
        >>> bool(soft_met(event, 3.0)["PRI_met"] != 20.0)
        True
    """
    if not sigma >= 0:
        raise ValueError(f"the width of noise has to be >= 0, not {sigma}")
    angles = [_float64(table, f"PRI_{one}_phi") for one in ("lep", "tau", "met")]
    return recomputed(_with_met(table, sigma * _normal_noise(np.stack(angles))))


def recomputed(table: Table) -> Table:
    """The table with all derived quantities that variations change computed anew.

    Quantities in a file are rounded, varied ones are not: take these events for the
    nominal ones to have both on the same footing. DER_mass_MMC is withheld: it comes
    from a mass fit to information that is not in the table.

    Raises:
        DataError: if a column needed is not in the table.
    """
    affected = [name for name in _FROM_VARIED_MOMENTA if name in table]
    return table.replaced(derived(table, affected)).without(
        "DER_mass_MMC", "the mass fit cannot be repeated for varied events"
    )


def derived(table: Table, names: Iterable[str] | None = None) -> dict[str, _Column]:
    """Derived quantities computed from the PRI_ columns, in GeV or without unit.

    All but DER_mass_MMC (a mass fit) and DER_mass_jet_jet (of massive jets), which the
    PRI_ columns do not determine. Leptons and hadronic τ decays count as massless; the
    challenge's DER_mass_vis assumes τ masses of 0.8 and 1.2 GeV for one and three
    tracks, which makes it larger by 0.02 GeV typically and 0.23 GeV at most.

    Args:
        table: the events.
        names: the quantities wanted; None for all that can be computed.

    Returns:
        Name -> one value per event; NaN where undefined, for lack of jets or because
        all directions coincide.

    Raises:
        DataError: if a quantity cannot be computed or a column needed is not in the
            table.

    Example:
        >>> pair = Table({"PRI_tau_pt": [40.0], "PRI_lep_pt": [30.0]})
        >>> derived(pair, ["DER_pt_ratio_lep_tau"])
        {'DER_pt_ratio_lep_tau': array([0.75])}
    """
    names = tuple(_DERIVED if names is None else names)
    for name in names:
        if name not in _DERIVED:
            raise DataError(
                f"{table.origin}: {name!r} cannot be computed from PRI_ columns; "
                f"{close_matches(name, _DERIVED)}"
            )
    return {name: _DERIVED[name](table) for name in names}


def _excess(factor: float) -> float:
    if not factor > 0:
        raise ValueError(f"an energy scale factor has to be > 0, not {factor}")
    return factor - 1


def _with_met(table: Table, added: Float[np.ndarray, "2 event"]) -> Table:
    met = _momentum(table, "met") + added
    return table.replaced(
        {
            "PRI_met": np.hypot(met[0], met[1]),
            "PRI_met_phi": np.arctan2(met[1], met[0]),
        }
    )


def _with_visible(table: Table, added: _Column) -> Table:
    """The table with `added` in the scalar sum of visible momenta, if it has one."""
    if "PRI_met_sumet" not in table:
        return table
    return table.replaced({"PRI_met_sumet": table["PRI_met_sumet"] + added})


def _normal_noise(
    seeds: Float[np.ndarray, "number event"],
) -> Float[np.ndarray, "2 event"]:
    """Two standard normal numbers for each event that follow from its own numbers."""
    state = np.zeros(seeds.shape[1], np.uint64)
    for bits in np.ascontiguousarray(seeds).view(np.uint64):
        state = _scrambled(state ^ bits)
    uniform = []
    for _ in range(2):
        state = _scrambled(state)
        uniform.append(((state >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53)
    radius, angle = np.sqrt(-2 * np.log(uniform[0])), 2 * np.pi * uniform[1]
    return _transverse(radius, angle)


def _scrambled(state: np.ndarray) -> np.ndarray:
    """One step of the generator SplitMix64 (doi:10.1145/2714064.2660195)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _float64(table: Table, name: str) -> _Column:
    # cosh Δη - cos Δφ of close directions cancels; files store float32.
    return table.numbers(name).astype(np.float64)


def _transverse(pt: _Column, phi: _Column) -> Float[np.ndarray, "2 event"]:
    return np.stack([pt * np.cos(phi), pt * np.sin(phi)])


def _momentum(table: Table, particle: str) -> Float[np.ndarray, "2 event"]:
    pt = "PRI_met" if particle == "met" else f"PRI_{particle}_pt"
    return _transverse(_float64(table, pt), _float64(table, f"PRI_{particle}_phi"))


def _jets(table: Table, quantity: str) -> tuple[_Column, _Column]:
    """A quantity of the leading and the subleading jet; NaN where there is none."""
    n_jets = _float64(table, "PRI_jet_num")
    leading = _float64(table, f"PRI_jet_leading_{quantity}")
    subleading = _float64(table, f"PRI_jet_subleading_{quantity}")
    return (
        np.where(n_jets >= 1, leading, np.nan),
        np.where(n_jets >= 2, subleading, np.nan),
    )


def _mass_transverse_met_lep(table: Table) -> _Column:
    product = _float64(table, "PRI_lep_pt") * _float64(table, "PRI_met")
    angle = _float64(table, "PRI_met_phi") - _float64(table, "PRI_lep_phi")
    return np.sqrt(2 * product * (1 - np.cos(angle)))


def _mass_vis(table: Table) -> _Column:
    product = _float64(table, "PRI_tau_pt") * _float64(table, "PRI_lep_pt")
    eta = _float64(table, "PRI_tau_eta") - _float64(table, "PRI_lep_eta")
    phi = _float64(table, "PRI_tau_phi") - _float64(table, "PRI_lep_phi")
    return np.sqrt(2 * product * (np.cosh(eta) - np.cos(phi)))


def _higgs_momentum(table: Table) -> Float[np.ndarray, "2 event"]:
    """Transverse momentum of the τ, the lepton and the neutrinos together."""
    return _momentum(table, "tau") + _momentum(table, "lep") + _momentum(table, "met")


def _pt_h(table: Table) -> _Column:
    return np.hypot(*_higgs_momentum(table))


def _pt_tot(table: Table) -> _Column:
    """Of the Higgs candidate and the two leading jets; further jets do not count."""
    momentum = _higgs_momentum(table)
    for pt, phi in zip(_jets(table, "pt"), _jets(table, "phi"), strict=True):
        momentum = momentum + np.where(np.isnan(pt), 0.0, _transverse(pt, phi))
    return np.hypot(*momentum)


def _sum_pt(table: Table) -> _Column:
    """All jets count, not only the two leading ones."""
    leptons = _float64(table, "PRI_tau_pt") + _float64(table, "PRI_lep_pt")
    return leptons + _float64(table, "PRI_jet_all_pt")


def _pt_ratio_lep_tau(table: Table) -> _Column:
    return _float64(table, "PRI_lep_pt") / _float64(table, "PRI_tau_pt")


def _met_phi_centrality(table: Table) -> _Column:
    """√2 where the missing momentum bisects τ and lepton, 1 along one, −√2 opposite."""
    tau, lep, met = (_float64(table, f"PRI_{x}_phi") for x in ("tau", "lep", "met"))
    side = np.copysign(1.0, np.sin(tau - lep))
    from_lep, to_tau = side * np.sin(met - lep), side * np.sin(tau - met)
    with np.errstate(invalid="ignore"):  # NaN where all three are collinear
        return (from_lep + to_tau) / np.hypot(from_lep, to_tau)


def _deltar_tau_lep(table: Table) -> _Column:
    eta = _float64(table, "PRI_tau_eta") - _float64(table, "PRI_lep_eta")
    phi = _float64(table, "PRI_tau_phi") - _float64(table, "PRI_lep_phi")
    return np.hypot(eta, (phi + np.pi) % (2 * np.pi) - np.pi)


def _deltaeta_jet_jet(table: Table) -> _Column:
    leading, subleading = _jets(table, "eta")
    return np.abs(leading - subleading)


def _prodeta_jet_jet(table: Table) -> _Column:
    leading, subleading = _jets(table, "eta")
    return leading * subleading


def _lep_eta_centrality(table: Table) -> _Column:
    """1 where the lepton is halfway between the jets in η, 1/e along one of them."""
    leading, subleading = _jets(table, "eta")
    distance = _float64(table, "PRI_lep_eta") - (leading + subleading) / 2
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN where all η are equal
        return np.exp(-((2 * distance / (leading - subleading)) ** 2))


_DERIVED: Mapping[str, Callable[[Table], _Column]] = {
    "DER_mass_transverse_met_lep": _mass_transverse_met_lep,
    "DER_mass_vis": _mass_vis,
    "DER_pt_h": _pt_h,
    "DER_deltaeta_jet_jet": _deltaeta_jet_jet,
    "DER_prodeta_jet_jet": _prodeta_jet_jet,
    "DER_deltar_tau_lep": _deltar_tau_lep,
    "DER_pt_tot": _pt_tot,
    "DER_sum_pt": _sum_pt,
    "DER_pt_ratio_lep_tau": _pt_ratio_lep_tau,
    "DER_met_phi_centrality": _met_phi_centrality,
    "DER_lep_eta_centrality": _lep_eta_centrality,
}

# Those that depend on the momenta of the τ and of jets or on the missing momentum.
_FROM_VARIED_MOMENTA = (
    "DER_mass_transverse_met_lep",
    "DER_mass_vis",
    "DER_pt_h",
    "DER_pt_tot",
    "DER_sum_pt",
    "DER_pt_ratio_lep_tau",
    "DER_met_phi_centrality",
)
