"""Input that cannot be used: one message that names the place, and nothing else."""

import copy
import gzip

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from click.testing import CliRunner

import tiny
from diffana.cli import main


N_EVENTS = 60


def columns(seed, n_events=N_EVENTS):
    random = np.random.default_rng(seed)
    return {
        "pt": random.exponential(50.0, n_events) + 20,
        "eta": random.normal(size=n_events),
        "w": np.full(n_events, 0.5),
        "kind": np.where(random.random(n_events) < 0.5, "s", "b"),
    }


def csv(columns):
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


class Case:
    """A valid analysis of CSV files; each test spoils one thing in it."""

    def __init__(self, folder):
        self.folder = folder
        self.out = folder / "run"
        self.size = 0
        self.config = {
            "General": {
                "Measurement": "files",
                "POI": "mu",
                "InputPath": f"{folder}/{{SamplePath}}",
            },
            "Observables": [
                {
                    "Name": "net",
                    "Type": "MLP",
                    "Inputs": ["pt", "eta"],
                    "Hidden": [4],
                }
            ],
            "Regions": [
                {"Name": "SR", "Observable": "net", "Binning": [0.0, 0.5, 1.0]}
            ],
            "Samples": [
                {"Name": "signal", "SamplePath": "s.csv", "Weight": "w", "Yield": 10},
                {"Name": "background", "SamplePath": "b.csv", "Weight": "w"},
            ],
            "NormFactors": [{"Name": "mu", "Samples": "signal"}],
            "Systematics": [
                {
                    "Name": "scale",
                    "Type": "NormPlusShape",
                    "Samples": "background",
                    "Up": {"SamplePath": "up.csv"},
                    "Down": {"Symmetrize": True},
                }
            ],
            "Loss": {"Type": "sigma_mu"},
            "Train": {"Epochs": 1, "BatchSize": 60},
        }
        for seed, name in enumerate(("s", "b", "up")):
            self.write(f"{name}.csv", columns(seed))

    def write(self, name, content):
        (self.folder / name).write_bytes(csv(content))

    def change(self, name, **changed):
        """A file again, with columns put in place of others; None removes one."""
        content = columns({"s": 0, "b": 1, "up": 2}[name]) | changed
        self.write(f"{name}.csv", {k: v for k, v in content.items() if v is not None})

    def train(self):
        path = tiny.written(self.config, self.folder / "config.yaml")
        argv = ["train", str(path), "--out", str(self.out)]
        return CliRunner().invoke(main, argv)


FAILURES = {}


def failure(message):
    """Register what spoils a case, with the message it leads to.

    There {} stands for its folder and {size} for the length of the file in question.
    """

    def register(spoil):
        FAILURES[spoil.__name__.strip("_").replace("_", " ")] = (spoil, message)
        return spoil

    return register


@failure("{}/config.yaml: cannot be read: No such file or directory")
def _missing_configuration(case):
    case.train = lambda: CliRunner().invoke(
        main, ["train", f"{case.folder}/config.yaml", "--out", str(case.out)]
    )


@failure("{}/s.csv: no such file")
def _missing_file(case):
    (case.folder / "s.csv").unlink()


@failure("{}/up.csv: no such file")
def _missing_file_of_a_variation(case):
    (case.folder / "up.csv").unlink()


@failure(
    "{}/b.txt: no reader for files of this name; there are readers for .npz, .csv, "
    ".csv.gz, .parquet, .root"
)
def _unknown_suffix(case):
    case.config["Samples"][1]["SamplePath"] = "b.txt"


@failure(
    "{}/b.csv: tree 'events' asked for, but a .csv file holds one table and no trees"
)
def _tree_in_a_flat_file(case):
    case.config["Samples"][1]["Tree"] = "events"


@failure(
    "{}/b.csv.gz: not a readable CSV file: Compressed file ended before the "
    "end-of-stream marker was reached"
)
def _truncated_gzip(case):
    packed = gzip.compress(csv(columns(1, 4000)), mtime=0)
    (case.folder / "b.csv.gz").write_bytes(packed[: len(packed) // 2])
    case.config["Samples"][1]["SamplePath"] = "b.csv.gz"


@failure("{}/b.npz: not an npz archive, or a truncated one")
def _truncated_archive(case):
    np.savez(case.folder / "b.npz", **columns(1))
    content = (case.folder / "b.npz").read_bytes()
    (case.folder / "b.npz").write_bytes(content[:-30])
    case.config["Samples"][1]["SamplePath"] = "b.npz"


def root(case, name, **changed):
    """A ROOT file of the background in place of the CSV file, in a tree `nominal`."""
    content = {k: v for k, v in (columns(1) | changed).items() if k != "kind"}
    path = case.folder / f"{name}.root"
    with uproot.recreate(path) as file:
        kinds = {
            k: "var * float64" if isinstance(v, ak.Array) else v.dtype
            for k, v in content.items()
        }
        file.mktree("nominal", kinds)
        file["nominal"].extend(content)
    case.config["Samples"][1] |= {"SamplePath": path.name, "Tree": "nominal"}
    case.config["Systematics"][0]["Up"] = {"Tree": "nominal", "Weight": "2 * w"}
    return path


@failure("{}/b.root: not a readable ROOT file: truncated, with 3000 of {size} bytes")
def _truncated_root_file(case):
    path = root(case, "b")
    content = path.read_bytes()
    case.size = len(content)
    path.write_bytes(content[:3000])


@failure(
    "{}/b.root: not a readable ROOT file: Error -3 while decompressing data: incorrect "
    "header check"
)
def _corrupt_root_file(case):
    path = root(case, "b")
    content = bytearray(path.read_bytes())
    # The two bytes after the head of a compressed basket are those of zlib.
    start = content.index(b"ZL\x08") + 9
    content[start : start + 2] = b"\xff\xff"
    path.write_bytes(content)


@failure("{}/b.root: no tree 'varied'; there are: nominal")
def _missing_tree_of_a_variation(case):
    root(case, "b")
    case.config["Systematics"][0]["Up"] = {"Tree": "varied"}


@failure(
    "{}/b.root: no column 'eta': the branch holds double[], not one number or text per "
    "event"
)
def _lists_as_feature(case):
    root(case, "b", eta=ak.Array([[1.0, 2.0]] * N_EVENTS))


@failure("{}/b.root: no column 'w_up'; there are: pt, eta, w")
def _missing_column_of_a_variation(case):
    root(case, "b")
    case.config["Systematics"][0]["Up"] = {"Weight": "w_up"}


@failure("{}/up_*.csv: no file matches this pattern")
def _pattern_without_files(case):
    case.config["Systematics"][0]["Up"] = {"SamplePath": "up_*.csv"}


@failure(
    "sample 'background': {}/b.csv is matched by '{}/b.csv' and by '{}/b*.csv', and "
    "would be read twice"
)
def _file_that_two_patterns_match(case):
    case.config["Samples"][1]["SamplePath"] = ["b.csv", "b*.csv"]


@failure("{}/b.npz: column 'eta' holds complex128, neither numbers nor text")
def _complex_feature(case):
    content = columns(1) | {"eta": np.ones(N_EVENTS, complex)}
    np.savez(case.folder / "b.npz", **content)
    case.config["Samples"][1]["SamplePath"] = "b.npz"


@failure(
    "{}/b.parquet: not a readable Parquet file: Parquet magic bytes not found in "
    "footer. Either the file is corrupted or this is not a parquet file."
)
def _truncated_parquet_file(case):
    pq.write_table(pa.table(columns(1)), case.folder / "b.parquet")
    content = (case.folder / "b.parquet").read_bytes()
    (case.folder / "b.parquet").write_bytes(content[:-40])
    case.config["Samples"][1]["SamplePath"] = "b.parquet"


@failure(
    "region 'SR', sample 'background', variation 'scale/up': the weights of 60 events "
    "add up to -60; an expected yield has to be positive, so leave the sample out of "
    "this region or merge it with another"
)
def _variation_in_which_negative_weights_prevail(case):
    case.config["Systematics"][0]["Up"] = {"Weight": "-1"}


@failure("{}/up.csv, sample 'background': no event passes the selection of any region")
def _variation_without_selected_events(case):
    case.config["Systematics"][0]["Up"]["Filter"] = "pt < 0"


@failure("{}/config.yaml: Samples[2].Name: 'signal' is the name of Samples[0] too")
def _the_same_sample_twice(case):
    case.config["Samples"].append(case.config["Samples"][0])


@failure("{}/config.yaml: Regions[1].Name: 'SR' is the name of Regions[0] too")
def _the_same_region_twice(case):
    case.config["Regions"].append(case.config["Regions"][0])


@failure("{}/b.csv: no events")
def _file_without_events(case):
    case.change("b", **{name: np.array([]) for name in columns(1)})


@failure("{}/s.csv: no column 'etta'; close: eta")
def _missing_column(case):
    case.config["Observables"][0]["Inputs"] = ["pt", "etta"]


@failure("{}/b.csv: no column 'w'; there are: pt, eta, kind")
def _missing_weight(case):
    case.change("b", w=None)


@failure("expression 'w' is NaN or infinite for 2 of 60 events of {}/b.csv")
def _weights_that_are_not_numbers(case):
    case.change("b", w=np.r_[np.nan, np.inf, np.ones(N_EVENTS - 2)])


@failure("{}/b.csv: column 'eta' is not finite for 1 of 60 events")
def _infinite_feature(case):
    case.change("b", eta=np.r_[np.inf, np.ones(N_EVENTS - 1)])


@failure("{}/s.csv: column 'kind' holds text, not numbers")
def _text_as_feature(case):
    case.config["Observables"][0]["Inputs"] = ["pt", "kind"]


@failure("expression 'kind': the result is text, not numbers")
def _text_as_weight(case):
    case.config["Samples"][0]["Weight"] = "kind"


@failure("standardisation: feature 'eta' is 1.0 in every event; leave it out")
def _constant_feature(case):
    for name in ("s", "b", "up"):
        case.change(name, eta=np.ones(N_EVENTS))


@failure(
    "{}/b.csv, sample 'background': none of 60 events passes the Preselection 'pt < 0'"
)
def _empty_sample(case):
    case.config["Samples"][1]["Preselection"] = "pt < 0"


@failure("{}/s.csv, sample 'signal': no event passes the selection of any region")
def _empty_region(case):
    case.config["Regions"][0]["Filter"] = "pt < 0"


@failure(
    "{}/s.csv, sample 'signal': the weights add up to 0, which cannot be scaled "
    "to Yield 10"
)
def _zero_total_weight_to_be_scaled(case):
    case.change("s", w=np.zeros(N_EVENTS))


@failure(
    "region 'SR', sample 'background', variation 'nominal': the weights of 60 events "
    "add up to -30; an expected yield has to be positive, so leave the sample out of "
    "this region or merge it with another"
)
def _negative_total_weight(case):
    case.change("b", w=np.full(N_EVENTS, -0.5))


@failure(
    "region 'SR', sample 'signal', variation 'nominal': 15 events of non-zero weight "
    "for 20 bins; take fewer bins or more events"
)
def _fewer_events_than_bins(case):
    case.config["Regions"][0]["Binning"] = np.linspace(0, 1, 21).tolist()


@failure(
    "region 'SR', sample 'signal', variation 'nominal': 30 events cannot fill 45 "
    "batches"
)
def _more_batches_than_events(case):
    case.config["Train"]["BatchSize"] = 2


@failure(
    "region 'SR', sample 'signal', variation 'nominal': 2 events are too few for a "
    "part 'test' of 0.25"
)
def _too_few_events_to_split(case):
    case.write("s.csv", columns(0, 2))


@failure(
    "{}/config.yaml: NormFactors[0].Samples: no sample 'sginal'; did you mean signal?"
)
def _unknown_sample(case):
    case.config["NormFactors"][0]["Samples"] = "sginal"


@failure(
    "{}/config.yaml: Samples[0].SamplePath: no generated population 'sgnal'; did you "
    "mean signal?"
)
def _unknown_population(case):
    case.config = tiny.document()
    case.config["Samples"][0]["SamplePath"] = "sgnal"


@failure(
    "{}/config.yaml: Samples[2]: observed data are counted and cannot have a Yield"
)
def _yield_of_data(case):
    case.config["Samples"].append(
        {"Name": "data", "SamplePath": "s.csv", "Data": True, "Yield": 3}
    )


@failure(
    "{}/config.yaml: Systematics[1].Name: 'scale' is the name of Systematics[0] too"
)
def _the_same_systematic_twice(case):
    case.config["Systematics"] += copy.deepcopy(case.config["Systematics"])


@failure(
    "region 'SR', sample 'background': the systematics 'scale' and 'other' change it "
    "by the same parameter 'scale'; give one of them another ModifierName"
)
def _two_variations_of_one_parameter(case):
    other = {**case.config["Systematics"][0], "Name": "other", "ModifierName": "scale"}
    case.config["Systematics"].append(other)


@failure(
    "nothing to train: the configuration has no region with an Observable, with "
    "TrainableBinning or with a trainable cut"
)
def _nothing_to_train(case):
    case.config["Observables"] = None
    case.config["Regions"][0] = {
        "Name": "SR",
        "Variable": "pt",
        "Binning": [0.0, 50.0, 100.0],
    }


@failure(
    "norm factor 'mu': Bounds [0.5, 10] of the parameter of interest have to contain "
    "0 and 1, which expected results compare"
)
def _no_signal_out_of_bounds(case):
    case.config["NormFactors"][0]["Bounds"] = [0.5, 10]


@failure("region 'SR': no sample appears in it")
def _region_without_samples(case):
    case.config["Regions"].append(
        {"Name": "CR", "Observable": "net", "Binning": [0.0, 0.5, 1.0]}
    )
    for sample in case.config["Samples"]:
        sample["Regions"] = "CR"


@failure("{}/data.csv: no such file")
def _missing_file_of_data(case):
    case.config["Samples"].append(
        {"Name": "data", "SamplePath": "data.csv", "Data": True}
    )


@failure("{}/file/run cannot be created: Not a directory")
def _folder_that_cannot_be_made(case):
    (case.folder / "file").write_text("")
    case.out = case.folder / "file" / "run"


@failure("{}/b.csv exists; a run never overwrites anything")
def _folder_in_the_way(case):
    case.out = case.folder / "b.csv"


@pytest.mark.parametrize("name", FAILURES)
def test_what_the_user_can_mend_is_one_message(name, tmp_path):
    spoil, message = FAILURES[name]
    case = Case(tmp_path)
    spoil(case)
    before = sorted(tmp_path.rglob("*"))
    result = case.train()
    expected = message.replace("{}", str(tmp_path)).replace("{size}", str(case.size))
    assert result.stderr == f"Error: {expected}\n"
    assert result.exit_code == 2
    assert result.stdout == ""
    # Neither a run folder nor a draft of one.
    new = set(tmp_path.rglob("*")) - set(before)
    assert {path.name for path in new} <= {"config.yaml"}
