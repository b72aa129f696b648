"""Masks of a case without probabilities."""

import numpy as np
import pytest

from mrcalib.exceptions import GeometryError
from mrcalib.io import Annotations, Geometry, discover_annotations, read_annotations, write_labels

MASK = np.zeros((6, 5, 4), np.uint8)
MASK[1:4, 1:3, 1:3] = 1


def test_arrays_are_loaded_as_votes():
    loaded = Annotations("A", {"x": 255 * MASK, "y": None, "z": 0 * MASK}, spacing=(1.0, 1.0, 2.0)).load(
        positive=(255,)
    )
    np.testing.assert_array_equal(loaded.raters[0], MASK)
    assert loaded.raters[1] is None
    assert loaded.raters[2].sum() == 0
    assert (loaded.rater_names, loaded.geometry, loaded.spacing) == (("x", "y", "z"), None, (1.0, 1.0, 2.0))


def test_masks_must_lie_on_one_grid(tmp_path):
    moved = np.eye(4)
    moved[0, 3] = 2.0
    for name, affine in (("P_a", np.eye(4)), ("P_b", np.eye(4)), ("P_c", moved)):
        write_labels(tmp_path / f"{name}.nii.gz", MASK, Geometry(MASK.shape, affine))
    (case,) = discover_annotations(f"{tmp_path}/{{case}}_{{rater}}.nii.gz")
    with pytest.raises(GeometryError, match=r"rater 'c' .* of case 'P' differs from rater 'a' .* by up to 2 mm"):
        case.load()
    aligned = Annotations("P", case.masks, index_aligned=("c",))
    with pytest.warns(UserWarning, match="known to be wrong"):
        loaded = aligned.load()
    assert loaded.spacing == (1.0, 1.0, 1.0)
    np.testing.assert_array_equal(loaded.geometry.affine, np.eye(4))
    with pytest.raises(GeometryError, match="has shape 2 x 5 x 4, but rater 'a'"):
        Annotations("P", {"a": MASK, "b": MASK[:2]}).load()


def test_fingerprints_tell_contents_and_missing_apart():
    def of(**masks):
        return Annotations("A", masks).fingerprint()

    same = of(x=MASK, y=None)
    assert of(x=MASK.copy(), y=None) == same
    others = {of(x=MASK, y=0 * MASK), of(x=1 - MASK, y=None), of(z=MASK, y=None), of(x=MASK)}
    assert len(others | {same}) == 5
    assert Annotations("A", {"x": MASK, "y": None}, spacing=(1.0, 1.0, 1.0)).fingerprint() != same


def test_what_is_no_case_is_refused():
    with pytest.raises(ValueError, match="needs a name"):
        Annotations("", {"x": MASK})
    for masks in ({}, {"x": None}):
        with pytest.raises(ValueError, match="needs the mask of one rater"):
            Annotations("A", masks)


def test_a_table_of_masks_lists_its_faults(tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case,prob,roi,rater_x\nA,no.nii.gz,no.nii.gz,a.npy\nB,,,\nA,,,a.npy\n")
    with pytest.raises(ValueError, match="3 faults") as caught:
        read_annotations(table)
    for told in ("a.npy does not exist", "case 'B' has no rater", "case 'A' is already on row 2"):
        assert told in str(caught.value)
    table.write_text("case,prob\nA,p.npy\n")
    with pytest.raises(ValueError, match="needs a column rater_"):
        read_annotations(table)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_annotations(tmp_path / "absent.csv")
    np.save(tmp_path / "a.npy", MASK)
    table.write_text("case,patient,rater_x,rater_y,spacing\nA,P,a.npy,,1 1 2\n")
    (case,) = read_annotations(table)
    assert (case.rater_names, case.masks["y"], case.spacing) == (("x", "y"), None, (1.0, 1.0, 2.0))
