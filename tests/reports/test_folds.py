"""Table and picture over folds, and reading back per-case tables."""

import math
from statistics import stdev

import pytest
from matplotlib.image import imread

from metrics import METRICS_MM
from reports import fold_table, folds_picture, per_case_csv, read_per_case, summarise_folds


def row(fold, case_id, class_name, dice, distance=1.0):
    values = dict(zip(METRICS_MM, (dice, *[distance] * 4), strict=True))
    return {"fold": fold, "case_id": case_id, "class": ("x", "left", "right").index(class_name),
            "class_name": class_name, **values, "empty": ""}


# three cases in fold 1, one in fold 2
ROWS = [row(1, "007", "left", 0.9), row(1, "007", "right", 0.5),
        row(1, "b", "left", 0.8), row(1, "b", "right", 0.6),
        row(1, "c", "left", 0.7), row(1, "c", "right", 0.7),
        row(2, "d", "left", 0.2, 5.0), row(2, "d", "right", 0.4, 5.0)]


def test_all_cases_weigh_the_same_whatever_the_size_of_their_fold():
    summary = summarise_folds(ROWS)
    assert summary["num_cases"] == 4
    left = summary["per_class"]["left"]["dice"]
    assert left["mean"] == pytest.approx(2.6 / 4)
    assert left["std"] == pytest.approx(stdev([0.9, 0.8, 0.7, 0.2]))
    assert [fold["num_cases"] for fold in summary["folds"]] == [3, 1]
    assert [fold["mean_foreground_dice"] for fold in summary["folds"]] == pytest.approx([0.7, 0.3])
    assert summary["between_folds"] == pytest.approx({"mean": 0.5, "std": 0.08**0.5, "n": 2})


def test_the_table_says_all_of_it():
    table = fold_table(summarise_folds(ROWS), ["Try_Fold1.exp", "Try_Fold2.exp"])
    assert "left   0.650 +- 0.311" in table and "4 cases" in table
    assert "   1      3  0.700  Try_Fold1.exp" in table
    assert "   2      1  0.300  Try_Fold2.exp" in table
    assert "mean Dice of the 2 folds: 0.500 +- 0.283" in table
    alone = fold_table(summarise_folds(ROWS), chosen=False)
    assert ["flatter" in text for text in (table, alone)] == [True, False]


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [*ROWS, row(2, "e", "left", math.nan, math.nan)]
    per_case_csv(tmp_path / "rows.csv", rows)
    back = read_per_case(tmp_path / "rows.csv")
    assert back[:-1] == ROWS                      # case 007 stays a name
    assert math.isnan(back[-1]["dice"]) and back[-1]["case_id"] == "e"
    assert list(back[0]) == list(ROWS[0])


def test_numbers_that_a_spreadsheet_has_written_are_read(tmp_path):
    (tmp_path / "rows.csv").write_text("case_id,fold,class,class_name,dice,empty\n"
                                       "a,2.0,1.0,left,0.5,\n")
    (row,) = read_per_case(tmp_path / "rows.csv")
    assert (row["fold"], row["class"]) == (2, 1) and type(row["class"]) is int


@pytest.mark.parametrize("text", ["", "case_id,class,class_name,dice,empty\na,1.5,left,1,\n",
                                  "case_id,dice\n", "a,b\n1,2\n",
                                  "case_id,class,class_name,dice,empty\na,1,left,high,\n"])
def test_a_damaged_table_is_named(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="rows.csv: is"):
        read_per_case(path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_per_case(tmp_path / "absent.csv")


def test_the_picture_has_the_colour_of_each_fold(tmp_path):
    folds_picture(tmp_path / "folds.png", ROWS, "Try: 2 folds, $5")
    picture = (imread(tmp_path / "folds.png")[..., :3] * 255).round().astype(int)
    assert picture.shape[1] == 1000
    for colour in ((0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)):
        assert (picture == colour).all(axis=-1).sum() > 50
    folds_picture(tmp_path / "nan.png", [row(1, "a", "left", math.nan)], "nothing defined")


@pytest.mark.parametrize("name", ["LEFT VENTRICULAR MYOCARDIUM", "a name " * 20])
def test_long_class_names_stay_in_the_picture(tmp_path, name):
    folds_picture(tmp_path / "folds.png", [each | {"class_name": name} for each in ROWS[::2]], "x")
    picture = imread(tmp_path / "folds.png")[..., :3]
    assert (picture[:, :5] == 1).all() and (picture[:, 5:250] < 0.5).any()


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        folds_picture(tmp_path / name, ROWS, "Try")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_table_that_excel_has_saved_is_read(tmp_path, encoding):
    per_case_csv(tmp_path / "rows.csv", ROWS)
    text = (tmp_path / "rows.csv").read_text(encoding="utf-8").replace("\n", "\r\n")
    expected = read_per_case(tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_bytes(text.encode(encoding))
    assert read_per_case(tmp_path / "rows.csv") == expected
