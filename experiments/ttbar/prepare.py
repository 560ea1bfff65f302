"""Make the events of `configs/ttbar.yaml` from those of the FAIR-Universe challenge.

python -m experiments.ttbar.prepare --input FOLDER --out data/ttbar

FOLDER holds `<process>_data.parquet` of the processes below.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from diffana.data import Table, open_reader
from diffana.data.variations import derived


PROCESSES = ("ttbar", "ztautau", "wjets", "diboson", "htautau")
UNDEFINED = -7.0
# From here on the columns of these files hold what belongs to the next one, and the
# number of jets, which should be the first of them, is lost.
SHIFTED = {
    "PRI_n_jets": "PRI_jet_subleading_pt",
    "PRI_jet_subleading_pt": "PRI_jet_subleading_eta",
    "PRI_jet_subleading_eta": "PRI_jet_subleading_phi",
}
KEPT = ("PRI_lep", "PRI_had", "PRI_met", "PRI_jet_leading", "PRI_jet_all")


def restored(table: Table) -> Table:
    """The primary quantities of the events under the names of the ATLAS challenge.

    The hadronic τ is among the jets of the files; here it is not.
    """
    columns = {
        SHIFTED.get(name, name).replace("_had_", "_tau_"): table[name]
        for name in table.names
        if name in SHIFTED or name.startswith(KEPT)
    }
    return without_tau(Table(columns, table.origin))


def without_tau(table: Table) -> Table:
    """The events with the τ taken from the list of jets.

    A jet behind the second has no direction in the files. Where the τ is one of the
    first two, the subleading jet is therefore undefined even if there is one; the sum
    PRI_jet_all_pt tells. PRI_jet_num counts the jets whose direction is known.
    """
    tau = table["PRI_tau_pt"]
    jets = {
        jet: {x: table[f"PRI_jet_{jet}_{x}"] for x in ("pt", "eta", "phi")}
        for jet in ("leading", "subleading")
    }
    first, second = jets.values()
    is_first, is_second = (jet["pt"] == tau for jet in (first, second))
    columns, n_jets = dict(table.columns), np.zeros(len(table), int)
    for jet, values in {
        "leading": {x: np.where(is_first, second[x], first[x]) for x in first},
        "subleading": {
            x: np.where(is_first | is_second, np.nan, second[x]) for x in second
        },
    }.items():
        columns |= {f"PRI_jet_{jet}_{x}": value for x, value in values.items()}
        n_jets += np.isfinite(values["pt"])
    # Sums of float32 leave some 1e-4 GeV behind where no jet is left.
    sum_pt = table["PRI_jet_all_pt"] - tau
    columns["PRI_jet_all_pt"] = np.where(n_jets > 0, sum_pt, 0.0)
    columns["PRI_jet_num"] = n_jets
    return Table(columns, table.origin)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    for process in PROCESSES:
        path = options.input / f"{process}_data.parquet"
        events = restored(open_reader(path, missing=UNDEFINED).read())
        # Those of the files were computed from the misplaced columns.
        events = events.replaced(derived(events))
        columns = {
            name: events[name].astype(np.float32) for name in sorted(events.names)
        }
        pyarrow.parquet.write_table(
            pyarrow.table(columns), options.out / f"{process}.parquet"
        )
        print(f"{process}: {len(events)} events")


if __name__ == "__main__":
    main()
