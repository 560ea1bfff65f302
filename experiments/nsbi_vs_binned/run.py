"""Events one by one beside histograms: what each measures, on the same expectation.

python -m experiments.nsbi_vs_binned.run --out runs/nsbi_vs_binned
"""

import argparse
import json
import os
import time
from pathlib import Path

import jax

from experiments.claims import Study
from experiments.nsbi_vs_binned import figures, information, methods
from experiments.nsbi_vs_binned.findings import claims
from experiments.nsbi_vs_binned.methods import KINDS, Setting
from experiments.nsbi_vs_binned.ratios import Settings
from experiments.nsbi_vs_binned.tables import markdown


FULL = Setting(2**16, 100_000, 50_000, Settings(20, 4), 15, (True, False), 41)
QUICK = Setting(2**14, 20_000, 10_000, Settings(10, 1), 6, (False,), 17)


def kept(file: Path, rows) -> list[dict]:
    """Rows as they are in a file, made if there is none."""
    if not file.exists():
        found, start = [], time.perf_counter()
        for row in rows:
            found.append(row._asdict() | {"measured": row.measured._asdict()})
            print(f"{file.stem} {row.method}, fixed {row.fixed}", end=": ")
            print([[round(e, 4) for e in s] for s in row.measured.segments], end=", ")
            print(f"limit {row.measured.limit:.4f}", flush=True)
        load = os.getloadavg()[2]
        document = {"rows": found, "load": load, "wall": time.perf_counter() - start}
        file.with_suffix(".part").write_text(json.dumps(document, ensure_ascii=False))
        file.with_suffix(".part").replace(file)
    return json.loads(file.read_text())["rows"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="one seed, fewer events")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--problems", nargs="+", default=list(KINDS), choices=KINDS)
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    study = Study("nsbi_vs_binned", options.out, quick=options.quick)
    setting = QUICK if options.quick else FULL
    seeds = 1 if options.quick else options.seeds
    found = {}
    for name in options.problems:
        problem = methods.made(name, setting)
        file = options.out / f"{name}.json"
        rows = kept(file, methods.without_training(problem, setting))
        for seed in range(seeds):
            file = options.out / f"{name}.{seed}.json"
            rows += kept(file, methods.learned(name, problem, setting, seed))
        found[name] = rows
    lost = {}
    if "interference" in found:
        lost = information.kept(options.out / "bins.json", setting.n_points)
    text = markdown(found, lost)
    (options.out / "tables.md").write_text(text)
    print(text)
    figures.draw(options.out, found)
    study.record(
        claims(found, lost),
        seeds=seeds,
        points=setting.n_points,
        train_events=setting.n_train,
    )


if __name__ == "__main__":
    main()
