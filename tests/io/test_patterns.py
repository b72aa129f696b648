import pytest

from mrcalib.io import discover


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Create empty files and go there."""

    def _tree(*names: str):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return _tree


def test_one_folder_a_case(tree):
    tree("B/prob.nii", "B/a_2.nii", "A/prob.nii", "A/a_1.nii", "A/a_10.nii", "A/a_2.nii")
    first, second = discover("{case}/prob.nii", "{case}/a_{rater}.nii")
    assert (first.id, second.id) == ("A", "B")
    assert first.rater_names == second.rater_names == ("1", "2", "10")
    assert second.masks["1"] is None
    assert second.masks["2"].name == "a_2.nii"


def test_flat_folders_where_case_names_hold_the_separator(tree):
    tree("p/P01_left.nii", "m/P01_left_1.nii", "m/P01_left_2.nii")
    (case,) = discover("p/{case}.nii", "m/{case}_{rater}.nii")
    assert (case.id, case.rater_names) == ("P01_left", ("1", "2"))


def test_a_rater_before_the_case_takes_as_little_as_it_can(tree):
    tree("p/P01_left.nii", "m/ann_P01_left.nii")
    (case,) = discover("p/{case}.nii", "m/{rater}_{case}.nii")
    assert (case.id, case.rater_names) == ("P01_left", ("ann",))


def test_folders_named_by_the_rater(tree):
    tree("p/A.nii", "ann/A.nii", "bo/A.nii")
    (case,) = discover("p/{case}.nii", "{rater}/{case}.nii")
    assert case.rater_names == ("ann", "bo", "p")


def test_a_case_named_twice_must_agree(tree):
    tree("A/A_prob.nii", "A/B_prob.nii", "A/A_r.nii")
    (case,) = discover("{case}/{case}_prob.nii", "{case}/{case}_r.nii")
    assert (case.id, case.members[0].as_posix()) == ("A", "A/A_prob.nii")
    assert case.rater_names == ("1",)


def test_members_are_in_natural_order(tree):
    tree(*(f"A/p_{i}.nii" for i in (10, 1, 2)), "A/r.nii")
    (case,) = discover("{case}/p_{member}.nii", "{case}/r.nii")
    assert [path.name for path in case.members] == ["p_1.nii", "p_2.nii", "p_10.nii"]


def test_wildcards_match_as_in_a_shell(tree):
    tree(*(f"A/p_{i}.nii" for i in range(5)), "A/r1.nii", "A/r2.nii", "A/rx.nii")
    (case,) = discover("{case}/p_[0].nii", "{case}/r{rater}.ni?")
    assert case.rater_names == ("1", "2", "x")
    (case,) = discover("{case}/p_0.nii", "{case}/[!p]1.*")
    assert case.masks["1"].name == "r1.nii"


def test_dots_and_brackets_in_names_are_literal(tree):
    tree("A(1)+/p.nii", "A(1)+/r.nii", "A(1)+/pxnii")
    assert discover("{case}/p.nii", "{case}/r.nii")[0].id == "A(1)+"


def test_hidden_junk_is_left_out(tree):
    tree("A.p.nii", "._A.p.nii", "A.r.nii", "._A.r.nii")
    assert [case.id for case in discover("{case}.p.nii", "{case}.r.nii")] == ["A"]


def test_groups_come_from_the_case_name(tree):
    tree("P7_L.p", "P7_R.p")
    assert [case.group for case in discover("{case}.p", None, group=r"^(P\d+)_")] == ["P7", "P7"]


def test_without_raters_the_cases_have_none(tree):
    tree("A.p")
    assert discover("{case}.p", None)[0].masks == {}
    assert discover("{case}.p", "")[0].masks == {}


def test_further_templates_give_one_file_a_case(tree):
    tree("A/p", "A/r", "A/roi", "A/coarse", "A/image", "A/vein")
    (case,) = discover(
        "{case}/p", "{case}/r", roi="{case}/roi", coarse="{case}/coarse", image="{case}/image", vessels="{case}/v*"
    )
    found = [path.name for path in (case.roi, case.coarse, case.image, case.vessels)]
    assert found == ["roi", "coarse", "image", "vein"]
    tree("B/p", "B/r")
    with pytest.raises(ValueError, match="1 cases have no coarse: B"):
        discover("{case}/p", "{case}/r", coarse="{case}/coarse")


def test_absolute_templates_work(tree):
    root = tree("A/p", "A/r")
    assert discover(f"{root}/{{case}}/p", f"{root}/{{case}}/r")[0].id == "A"


def test_unpaired_cases_are_left_out_with_a_warning(tree):
    tree("A/p", "A/r", "B/p")
    with pytest.warns(UserWarning, match="1 cases have probabilities but no rater, and are left out: B"):
        assert [case.id for case in discover("{case}/p", "{case}/r")] == ["A"]
    tree("C/r")
    (tree() / "B" / "p").unlink()
    with pytest.warns(UserWarning, match="1 cases have raters but no probabilities, and are left out: C"):
        assert [case.id for case in discover("{case}/p", "{case}/r")] == ["A"]


def test_templates_that_pair_no_case_are_refused(tree):
    tree("A.p", "case_A.r")
    with pytest.raises(ValueError, match=r"No case has both.*gives A, .*gives case_A.*same name"):
        discover("{case}.p", "{case}.r")


def test_no_match_shows_the_folder_and_what_is_there(tree):
    root = tree("data/A.nii", "data/B.nii")
    with pytest.raises(
        ValueError, match=rf"No file matches 'data/\{{case\}}\.mha'.*{root}/data, which holds A\.nii, B\.nii"
    ):
        discover("data/{case}.mha", None)
    with pytest.raises(ValueError, match=r"Looked in .*none, which does not exist"):
        discover("none/{case}.mha", None)
    (root / "empty").mkdir()
    with pytest.raises(ValueError, match=r"which is empty"):
        discover("empty/{case}.mha", None)


def test_files_that_a_wildcard_matches_are_members_of_an_ensemble(tree):
    root = tree("A/p_2", "A/p_10", "A/p_single", "A/r")
    (case,) = discover("{case}/p_[0-9]*", "{case}/r")
    assert [path.name for path in case.members] == ["p_2", "p_10"]
    assert root.joinpath("A/p_single").exists()


def test_two_files_for_one_rater_are_refused(tree):
    tree("A/p", "A/r_1", "A/r_2")
    with pytest.raises(
        ValueError, match=r"matches two files for one place of case 'A': .*r_1 and .*r_2; distinguish .*\{rater\}"
    ):
        discover("{case}/p", "{case}/r_*")


@pytest.mark.parametrize("template", ["p.nii", "{member}.nii", "{case}_{rater}.nii", "{case}_{fold}.nii"])
def test_malformed_templates_are_refused(tree, template):
    with pytest.raises(ValueError, match=r"must hold \{case\} and may hold \{case\} and \{member\} only"):
        discover(template, None)


def test_a_case_without_its_region_of_interest_is_refused(tree):
    tree("A/p", "A/roi", "B/p")
    with pytest.raises(ValueError, match="1 cases have no roi: B"):
        discover("{case}/p", None, roi="{case}/roi")


@pytest.mark.parametrize("group", [r"(X\d)", r"P\d", r"(P)(\d)"])
def test_a_group_that_does_not_fit_is_refused(tree, group):
    tree("P7.p")
    with pytest.raises(ValueError, match=r"must capture the patient or site in one group; case 'P7' does not fit"):
        discover("{case}.p", None, group=group)


def test_the_real_folder_is_found(shared):
    root = shared / "lidc_cases"
    masks = f"{root}/{{case}}/annotation_{{rater}}.nii.gz"
    cases = discover(f"{root}/{{case}}/prob_single.nii.gz", masks, group=r"(P\d+)_")
    assert len(cases) == 170
    assert len({case.group for case in cases}) == 102
