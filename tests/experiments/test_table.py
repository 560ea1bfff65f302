import json

import pytest

from experiments import table
from experiments.claims import Claim, Study


CLAIM = Claim(
    claim="a | b holds",
    source="section 1",
    expected="1",
    measured="1.5",
    verdict="differs",
)


def test_the_readme_shows_the_records_that_are_kept():
    readme = (table.HERE / "README.md").read_text()
    assert table.renewed(readme, table.recorded()) == readme


def test_every_study_tells_how_it_is_run():
    for script in table.HERE.glob("*/run.py"):
        name = script.parent.name
        command = f"python -m experiments.{name}.run"
        assert command in (script.parent / "README.md").read_text(), name


def test_records_of_studies_that_exist():
    for record in table.recorded():
        assert (table.HERE / record["study"] / "run.py").exists()
        assert record["claims"]
        assert not record["quick"]


def test_a_record_becomes_a_table(tmp_path, capsys):
    study = Study("one", tmp_path / "one")
    study.record([CLAIM], seconds=12.4, seeds=3)
    document = json.loads((tmp_path / "one" / "claims.json").read_text())
    assert document["seconds"] == 12
    text = table.rendered([document])
    assert "| a \\| b holds | section 1 | 1 | 1.5 | differs |" in text
    assert "12 s" in text
    assert "seeds 3" in text
    assert "measured 1.5" in capsys.readouterr().out
    readme = f"before\n{table.BEGIN}\nthe table before\n{table.END}\nafter\n"
    renewed = table.renewed(readme, [document])
    assert renewed.startswith("before")
    assert renewed.endswith("after\n")
    assert "the table before" not in renewed


def test_a_quick_run_is_no_record(tmp_path, monkeypatch, capsys):
    Study("one", tmp_path, quick=True).record([CLAIM])
    monkeypatch.setattr("sys.argv", ["table", str(tmp_path)])
    with pytest.raises(SystemExit):
        table.main()
    assert "a quick run is no record" in capsys.readouterr().err
