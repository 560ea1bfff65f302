"""Every loss over the up and down template of a two-bin model (thesis, section 7.5.1).

python -m experiments.two_bin_landscape.run --out runs/two_bin_landscape [--quick]
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from diffana.config import load_landscape
from diffana.landscape import landscape
from diffana.workflow.landscape import scene, summarised
from diffana.workflow.landscape_files import to_npz
from experiments.claims import Study
from experiments.two_bin_landscape import figures, findings


CONFIG = Path(__file__).parents[2] / "configs" / "two_bin_landscape.yaml"
# In the formulae of the thesis both templates are equal where u = -d.
LINES = {"equal templates, u = -d": -1.0, "opposite templates, u = d": 1.0}


def along(found, direction, n_points):
    """All losses along d = direction * u."""
    return landscape(
        found.losses,
        lambda point: found.build({"u": point["u"], "d": direction * point["u"]}),
        {"u": np.linspace(-10.0, 10.0, n_points)},
        minimiser=found.minimiser,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="fewer points")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    study = Study("two_bin_landscape", options.out, quick=options.quick)
    n_points = 21 if options.quick else 41
    config = load_landscape(CONFIG)
    found = scene(config)
    axes = {name: np.linspace(-10.0, 10.0, n_points) for name in found.axes}
    plane = found._replace(axes=axes).landscape()
    lines = {
        name: along(found, direction, 2 * n_points - 1)
        for name, direction in LINES.items()
    }
    for name, scanned in {"plane": plane, **lines}.items():
        stem = name.split(",")[0].replace(" ", "_")
        (study.folder / f"{stem}.npz").write_bytes(to_npz(scanned))
        text = json.dumps(summarised(scanned), indent=1)
        (study.folder / f"{stem}.json").write_text(text + "\n")
    figures.draw(study.folder, plane, lines, config.titles)
    equal, opposite = lines.values()
    study.record(findings.claims(plane, equal, opposite), seeds=0, points=n_points**2)


if __name__ == "__main__":
    main()
