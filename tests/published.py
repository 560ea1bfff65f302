"""Published workspaces, and the reference results that go with them.

Both lie in the folder of the fixture `shared`.
"""

import csv
import json
import math
import pathlib
from typing import Any, NamedTuple


NAMES = (
    "1Lbb_simplified_400_200",
    "1Lbb_simplified_700_400",
    "2L0J_simplified_200_75",
    "3Loffshell_simplified_250_230",
    "3Loffshell_simplified_350_290",
    "3Lonshell_2019-09_bench",
    "Sleptons_2018-16_bench",
    "atlas_1Lbb_700_400_via_combine",
    "c2p_multi-bin-stat-bbl",
    "c2p_multi-bin-sys-histosys-uncorr",
    "c2p_multi-bin-sys-normsys-uncorr",
    "c2p_one-bin-stat-bbl",
    "c2p_one-bin-sys-histosys-corr",
    "c2p_one-bin-sys-histosys-uncorr",
    "c2p_one-bin-sys-normsys-corr",
    "c2p_one-bin-sys-normsys-uncorr",
    "c2p_two-bin-sys-normfactor",
    "p2c_single_bin_1",
    "pyhf_2bin_1channel",
    "pyhf_benchmark_gauss",
    "pyhf_shapefactor_notebook",
    "pyhf_val_1bin_lumi",
    "pyhf_val_1bin_normsys",
    "pyhf_val_1bin_shapesys",
    "pyhf_val_1bin_shapesys_q0",
    "pyhf_val_2bin_2channel",
    "pyhf_val_2bin_2channel_couplednorm",
    "pyhf_val_2bin_2channel_coupledshapefactor",
    "pyhf_val_2bin_histosys",
    "pyhf_xml_multibin_histfactory_p0",
    "pyhf_xml_multichan_coupledoverall_histfactory",
    "pyhf_xml_multichannel_histfactory",
    "pyhf_xml_overallsys_histfactory",
    "pyhf_xml_xmlimport_input",
    "pyhf_xml_xmlimport_input2",
    "pyhf_xml_xmlimport_input3",
    "pyhf_xml_xmlimport_input4",
    "sbottom_RegionA_sbottom_1300_205_60",
    "sbottom_pyhf_tutorial",
    "staus_comb_DS_440_80_Staus",
    "ttbar_xsec_ljets",
)


class Reference(NamedTuple):
    """What pyhf's likelihood gives, as far as it is known; NaN or empty where not.

    Attributes:
        poi_test: tested value of the parameter of interest.
        statistic: `"qtilde"` for CLs, `"q0"` for p-values of the background.
        twice_nll: minimum of -2 ln L.
        poi_hat: best-fit value of the parameter of interest.
        p_values: observed, then expected ones in the order of the bands.
        bestfit: best-fit value of every parameter that is not held.
        uncertainty: standard deviation of every parameter that is free there.
        published: the results that were published with the workspace.
    """

    poi_test: float
    statistic: str
    twice_nll: float
    poi_hat: float
    p_values: tuple[float, ...]
    bestfit: dict[str, float]
    uncertainty: dict[str, float]
    published: str


def workspace(folder: pathlib.Path, name: str) -> dict[str, Any]:
    return json.loads((folder / f"data/workspaces/{name}.json").read_text())


def references(folder: pathlib.Path) -> dict[str, Reference]:
    """The reference of every name; a fit checked to be the minimum comes first."""
    oracles = folder / "oracles"
    with (oracles / "workspaces.csv").open() as file:
        table = list(csv.DictReader(file))
    # Second derivatives, and minima down to a projected gradient of 1e-9.
    curved = _by_id(oracles / "hessian_ref.jsonl")
    checked = _by_id(oracles / "robust_ref.jsonl")
    return {
        row["id"]: _reference(
            row, curved.get(row["id"], {}), checked.get(row["id"], {})
        )
        for row in table
    }


def _reference(
    row: dict[str, str], curved: dict[str, Any], checked: dict[str, Any]
) -> Reference:
    bands = [_number(row[f"CLs_exp_{band}"]) for band in ("m2", "m1", "0", "p1", "p2")]
    p_values = (
        checked.get("CLs_obs", _number(row["CLs_obs"])),
        *checked.get("CLs_exp", bands),
    )
    bestfit = _by_name(curved, "bestfit_free") | _by_name(checked, "bestfit")
    return Reference(
        poi_test=float(row["mu_test"]),
        statistic=row["test_stat"].split()[0],
        twice_nll=checked.get("twice_nll_hat", _number(row["twice_nll_hat"])),
        poi_hat=checked.get("muhat", _number(row["muhat"])),
        p_values=p_values,
        bestfit=bestfit,
        uncertainty=_by_name(curved, "sigma"),
        published=row["published"],
    )


def _by_id(lines: pathlib.Path) -> dict[str, Any]:
    entries = map(json.loads, lines.read_text().splitlines())
    return {entry["id"]: entry for entry in entries}


def _by_name(entry: dict[str, Any], key: str) -> dict[str, float]:
    if key not in entry:
        return {}
    return dict(zip(entry["par_names"], entry[key], strict=True))


def _number(text: str) -> float:
    return float(text) if text else math.nan
