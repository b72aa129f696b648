import logging
from pathlib import Path

import numpy as np
import pytest

from mrcalib.io import Case, read_manifest, write_manifest


@pytest.fixture
def table(tmp_path):
    """Write a table beside the files it names; `files` lists those that exist."""

    def _table(text: str, *files: str) -> Path:
        for name in files:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "cases.csv").write_text(text, encoding="utf-8")
        return tmp_path / "cases.csv"

    return _table


def test_a_wide_table_gives_one_case_a_row(table, tmp_path):
    path = table("case,patient,prob,rater_x,annotation_y,roi,spacing\nA,P,p.nii,sub/x.nii,,r.nii,0.7 0.7 2.5\n",
                 "p.nii", "sub/x.nii", "r.nii")  # fmt: skip
    (case,) = read_manifest(path)
    assert (case.id, case.group, case.spacing) == ("A", "P", (0.7, 0.7, 2.5))
    assert case.members == (tmp_path / "p.nii",)
    assert case.masks == {"x": tmp_path / "sub/x.nii", "y": None}
    assert case.roi == tmp_path / "r.nii"


def test_all_probability_columns_are_members_unless_chosen(table):
    path = table("case,prob_1,prob_2,prob_single,rater_1\nA,p,p,p,m\n", "p", "m")
    assert len(read_manifest(path)[0].members) == 3
    assert len(read_manifest(path, probs="prob_[0-9]")[0].members) == 2


def test_rater_columns_may_be_chosen_by_any_name(table):
    path = table("case,prob,reader1,reader2\nA,p,m,m\n", "p", "m")
    assert read_manifest(path, raters="reader*")[0].rater_names == ("reader1", "reader2")


def test_raters_whose_short_names_collide_keep_their_columns(table):
    path = table("case,prob,rater_1,mask_1\nA,p,m,m\n", "p", "m")
    assert read_manifest(path)[0].rater_names == ("rater_1", "mask_1")


def test_a_byte_order_mark_blank_lines_and_spaces_do_no_harm(table):
    path = table("\ufeffcase, prob ,rater_1\n\nA , p,m\n,,\n", "p", "m")
    assert read_manifest(path)[0].id == "A"


def test_columns_left_out_are_logged(table, caplog):
    path = table("case,prob,rater_1,age,scanner\nA,p,m,71,x\n", "p", "m")
    with caplog.at_level(logging.INFO, logger="mrcalib"):
        read_manifest(path)
    assert "columns left out: age, scanner" in caplog.text


def test_a_long_table_gives_one_file_a_row(table, tmp_path):
    path = table(
        "case,role,rater,path,group\nA,probs,,p1,G\nA,probs,,p2,G\nA,rater,x,m1,\nB,probs,,p1,\nB,rater,y,m2,\n",
        *("p1", "p2", "m1", "m2"),
    )
    first, second = read_manifest(path)
    assert first.members == (tmp_path / "p1", tmp_path / "p2")
    assert first.masks == {"x": tmp_path / "m1", "y": None}
    assert second.masks == {"x": None, "y": tmp_path / "m2"}
    assert (first.group, second.group) == ("G", "B")


def test_all_faults_are_reported_at_once_with_their_rows(table):
    path = table(
        "case,prob_1,prob_2,rater_1,rater_2,spacing\n"
        "A,p,p,gone,m,\nA,p,p,m,m,\nB,p,p,,,\nC,,,m,m,\nD,p,,m,m,\n,p,p,m,m,\nE,p,p,m,m,wide\nF,p,p,m,m,,extra\n",
        *("p", "m"),
    )
    with pytest.raises(ValueError, match=r"cases\.csv: 10 faults") as caught:
        read_manifest(path)
    text = str(caught.value)
    for words in (
        r"row 2: case 'A': rater 1 ",
        "row 3: case 'A' is already on row 2",
        "row 4: case 'B' has no rater",
        "row 5: case 'C' has no probabilities",
        "row 6: case 'D': probs prob_2 has no path",
        "row 7: no name in column 'case'",
        "row 8: case 'E': spacing must be mm such as '0.7 0.7 2.5'; got 'wide'",
        "row 9: more cells than the header",
    ):
        assert words in text


def test_only_ten_faults_are_listed(table):
    path = table("case,prob,rater_1\n" + "".join(f"c{i},gone,gone\n" for i in range(8)))
    with pytest.raises(ValueError, match=r"16 faults(?s:.*)row 6: (?s:.*)and 6 more") as caught:
        read_manifest(path)
    assert "row 7" not in str(caught.value)


def test_faults_of_long_tables_are_reported(table):
    path = table(
        "case,role,name,path,group\nA,probs,,p,G\nA,rater,x,m,H\nA,rater,x,m,\nA,roi,,,\nA,reader,,m,\n"
        "A,image,a,m,\nA,image,b,m,\n",
        *("p", "m"),
    )
    with pytest.raises(ValueError, match="5 faults") as caught:
        read_manifest(path)
    for words in (
        "row 3: case 'A': group 'H' contradicts 'G'",
        "row 4: case 'A': rater x is there twice",
        "row 5: case 'A': roi has no path; only a rater may be missing",
        "row 6: case 'A': role must be one of probs, rater, roi, coarse, image, vessels; got 'reader'",
        "row 8: case 'A': image is there twice",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("id,prob,rater_1", "case"),
        ("case,rater_1", "prob or probs"),
        ("case,prob", "rater_"),
        ("case,role", "path"),
        ("", "case"),
    ],
)
def test_missing_columns_are_named_with_those_that_are_there(table, header, wanted):
    with pytest.raises(ValueError, match=f"needs a column {wanted}.*its columns are {header.replace(',', ', ')}"):
        read_manifest(table(header + "\n"))


def test_columns_of_a_long_table_cannot_be_chosen(table):
    with pytest.raises(ValueError, match="is a long table"):
        read_manifest(table("case,role,path\n"), probs="prob_*")


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest .*none\.csv does not exist"):
        read_manifest(tmp_path / "none.csv")


def test_what_is_written_is_read_back(table, tmp_path):
    table("", "p1", "p2", "m", "sub/r", "i", "v")
    cases = [
        Case("A, first", (tmp_path / "p1", tmp_path / "p2"), {"x": tmp_path / "m", "y": None}, group="G",
             roi=tmp_path / "sub/r", image=tmp_path / "i", vessels=tmp_path / "v", spacing=(0.7, 0.7, 2.5)),
        Case("B", tmp_path / "p1", {"x": None, "y": tmp_path / "m"}),
    ]  # fmt: skip
    write_manifest(cases, tmp_path / "out.csv")
    assert str(tmp_path) not in (tmp_path / "out.csv").read_text()
    for before, after in zip(cases, read_manifest(tmp_path / "out.csv"), strict=True):
        for name in ("id", "members", "masks", "group", "roi", "image", "vessels", "spacing"):
            assert getattr(after, name) == getattr(before, name)


def test_files_elsewhere_are_written_with_absolute_paths(table, tmp_path):
    table("", "p", "m")
    write_manifest([Case("A", tmp_path / "p", [tmp_path / "m"])], tmp_path / "below" / "out.csv")
    assert read_manifest(tmp_path / "below" / "out.csv")[0].members == (tmp_path / "p",)


def test_arrays_cannot_be_written(tmp_path):
    with pytest.raises(TypeError, match="probs 1 of case 'A' is an array; a manifest holds paths"):
        write_manifest([Case("A", np.zeros((2, 2)), [])], tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_the_real_manifest_is_read(shared):
    cases = read_manifest(shared / "lidc_cases" / "cases.csv", probs="prob_[0-9]")
    assert len({case.group for case in cases}) == 102
    assert {case.rater_names for case in cases} == {("1", "2", "3", "4")}


def test_coarse_masks_come_from_either_kind_of_table_and_go_back(table, tmp_path):
    wide = table("case,prob,rater_1,coarse\nA,p,m,c\nB,p,m,\n", "p", "m", "c")
    cases = read_manifest(wide)
    assert [case.coarse for case in cases] == [tmp_path / "c", None]
    write_manifest(cases, tmp_path / "long.csv")
    assert "A,coarse,,c,," in (tmp_path / "long.csv").read_text()
    assert [case.coarse for case in read_manifest(tmp_path / "long.csv")] == [tmp_path / "c", None]


def test_tables_without_raters_are_read_where_none_are_required(table):
    wide = table("case,prob,coarse\nA,p,c\n", "p", "c")
    assert read_manifest(wide, require_raters=False)[0].masks == {}
    with pytest.raises(ValueError, match=r"needs a column rater_\*"):
        read_manifest(wide)
    long = table("case,role,path\nA,probs,p\n", "p")
    assert read_manifest(long, require_raters=False)[0].masks == {}
    with pytest.raises(ValueError, match="case 'A' has no rater"):
        read_manifest(long)
