"""The table of all claims in experiments/README.md, made from the records of runs.

python -m experiments.table                    # renew the table
python -m experiments.table runs/one_bin ...   # take the records of these runs, too
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any


HERE = Path(__file__).parent
BEGIN, END = "<!-- claims -->", "<!-- end of claims -->"


def rendered(records: list[dict[str, Any]]) -> str:
    """Markdown of the records, one table per study."""
    parts = []
    for record in records:
        name = record["study"]
        parts += [
            f"### [{name}]({name}/README.md)",
            "",
            f"{record['seconds']} s on {record['cores']} cores"
            + "".join(f", {key} {value}" for key, value in record["settings"].items()),
            "",
            "| claim | source | expected | measured | verdict |",
            "|---|---|---|---|---|",
        ]
        for claim in record["claims"]:
            fields = ("claim", "source", "expected", "measured", "verdict")
            cells = (str(claim[field]).replace("|", "\\|") for field in fields)
            parts.append("| " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def renewed(readme: str, records: list[dict[str, Any]]) -> str:
    """The README with the table of `records` in place of the one it has."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{rendered(records)}\n{END}{after}"


def recorded(folder: Path = HERE) -> list[dict[str, Any]]:
    """The records that the studies below `folder` keep, by name."""
    return [json.loads(p.read_text()) for p in sorted(folder.glob("*/claims.json"))]


def main() -> None:
    """Take records, then renew the README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    for run in parser.parse_args().runs:
        record = json.loads((run / "claims.json").read_text())
        if record["quick"]:
            parser.error(f"{run}: a quick run is no record")
        shutil.copy(run / "claims.json", HERE / record["study"] / "claims.json")
    readme = HERE / "README.md"
    readme.write_text(renewed(readme.read_text(), recorded()))


if __name__ == "__main__":
    main()
