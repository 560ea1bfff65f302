import numpy as np
import pytest

from diffana.data.table import Table, close_matches
from diffana.errors import DataError


def table():
    return Table(
        {
            "pt": np.array([25.0, 40.0, 60.0]),
            "mjj": np.array([np.nan, 400.0, np.nan]),
            "n_jets": np.array([0, 2, 1]),
            "label": np.array(["s", "b", "s"]),
        },
        origin="events.csv",
    )


def test_rows_and_columns():
    selected = table().rows(np.array([True, False, True]))
    assert len(selected) == 2
    np.testing.assert_array_equal(selected["pt"], [25.0, 60.0])
    assert selected["label"].tolist() == ["s", "s"]
    assert "pt" in selected
    assert "eta" not in selected
    assert selected.replaced({"eta": [0.1, 0.2]}).names[-1] == "eta"


def test_matrix_keeps_order_and_precision():
    np.testing.assert_array_equal(
        table().matrix(["n_jets", "pt"]), [[0, 25], [2, 40], [1, 60]]
    )
    assert table().matrix(["n_jets"]).dtype == np.float64
    single = Table({"pt": np.ones(2, np.float32), "m": np.full(2, np.nan, np.float32)})
    assert single.matrix(["pt", "m"], fill=0.0).dtype == np.float32


def test_undefined_numbers_need_a_stated_value():
    np.testing.assert_array_equal(
        table().matrix(["mjj"], fill=-1.0), [[-1], [400], [-1]]
    )
    with pytest.raises(
        DataError, match=r"events.csv: column 'mjj' is undefined \(NaN\) for 2 of 3"
    ):
        table().matrix(["pt", "mjj"])


@pytest.mark.parametrize("fill", [np.inf, np.nan])
def test_a_fill_that_is_no_number_is_refused(fill):
    with pytest.raises(DataError, match="'mjj' is not finite for 2 of 3"):
        table().matrix(["mjj"], fill=fill)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda t: t["ptt"], "events.csv: no column 'ptt'; close: pt"),
        (lambda t: t.numbers("label"), "column 'label' holds text, not numbers"),
        (lambda t: t.matrix(["pt", "label"]), "column 'label' holds text"),
        (lambda t: t.matrix([]), "no columns asked for"),
        (lambda t: t.without("pt", "it is secret")["pt"], "no column 'pt': it is secr"),
        (lambda t: t.replaced({"eta": [1.0]}), "columns differ in length: .*'eta': 1"),
        (
            lambda t: t.replaced({"p": np.ones((3, 4))}),
            r"column 'p' has shape \(3, 4\)",
        ),
        (lambda t: t.replaced({"p": [{}] * 3}), "'p' holds object, neither numbers"),
        (lambda t: t.replaced({"p": [1j] * 3}), "'p' holds complex128, neither"),
        (lambda t: Table({}, t.origin), "events.csv: no columns"),
    ],
)
def test_errors_name_file_and_column(use, message):
    with pytest.raises(DataError, match=message):
        use(table())


def test_columns_are_withheld_through_further_steps():
    kept = table().without("mjj", "why").rows(np.array([True, True, False]))
    with pytest.raises(DataError, match="no column 'mjj': why"):
        kept["mjj"]


def test_close_matches():
    assert close_matches("PRI_tau_p", ["PRI_tau_pt", "x"]) == "close: PRI_tau_pt"
    assert close_matches("q", ["alpha", "beta"]) == "there are: alpha, beta"
    assert close_matches("q", []) == "there are: none"
