import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcalib.exceptions import GeometryError
from mrcalib.io import Geometry
from mrcalib.io.geometry import require_match

SHAPE = (10, 12, 5)
HERE = Geometry(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))
shifts = st.floats(-100, 100).filter(lambda mm: abs(mm) > 1e-3)


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Geometry:
    affine = HERE.affine.copy()
    affine[:3, 3] = x, y, z
    return Geometry(SHAPE, affine)


@given(x=shifts, y=shifts, z=shifts)
def test_a_shift_of_either_sign_displaces_by_its_length(x, y, z):
    length = float(np.linalg.norm([x, y, z]))
    assert HERE.displacement_mm(moved(x, y, z)) == pytest.approx(length)
    assert moved(x, y, z).displacement_mm(HERE) == pytest.approx(length)


@given(mm=shifts)
def test_opposite_shifts_of_two_axes_do_not_cancel(mm):
    assert HERE.displacement_mm(moved(x=mm, y=-mm)) == pytest.approx(abs(mm) * 2**0.5)


def test_equal_geometries_are_not_displaced():
    assert HERE.displacement_mm(moved()) == 0.0


def test_a_wrong_spacing_displaces_the_far_corner():
    assert HERE.displacement_mm(Geometry(SHAPE, np.diag([1.0, 1.0, 2.5, 1.0]))) == pytest.approx(2.0)


def test_spacing_and_volume_come_from_the_affine():
    assert HERE.spacing == (1.0, 1.0, 2.0)
    assert HERE.voxel_volume_ml == pytest.approx(0.002)


def test_spacing_survives_a_rotation():
    turn = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert Geometry(SHAPE, turn @ np.diag([0.5, 0.7, 2, 1])).spacing == pytest.approx((0.5, 0.7, 2.0))


def test_a_two_dimensional_image_has_two_spacings():
    assert Geometry((4, 5), np.diag([0.5, 0.25, 3.0, 1.0])).spacing == (0.5, 0.25)


def test_the_affine_is_a_read_only_copy():
    affine = np.eye(4)
    geometry = Geometry(SHAPE, affine)
    affine[0, 3] = 9.0
    assert geometry.affine[0, 3] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 3] = 1.0


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.eye(3), np.full((4, 4), np.nan)])
def test_a_singular_or_misshapen_affine_is_refused(affine):
    with pytest.raises(ValueError, match="invertible 4 x 4"):
        Geometry(SHAPE, affine)


@pytest.mark.parametrize("shape", [(3,), (3, 0), (1, 2, 3, 4)])
def test_a_shape_of_other_than_two_or_three_positive_sizes_is_refused(shape):
    with pytest.raises(ValueError, match="two or three positive sizes"):
        Geometry(shape, np.eye(4))


def test_displacement_needs_equal_shapes():
    with pytest.raises(GeometryError, match=r"one shape; got \(10, 12, 5\) and \(10, 12, 6\)"):
        HERE.displacement_mm(Geometry((10, 12, 6), np.eye(4)))


def test_a_shift_is_described_by_its_axis():
    assert HERE.describe_difference(moved(x=-4)) == "shifted by 4.0 mm along x"
    assert HERE.describe_difference(moved(y=1, z=2)) == "shifted by 1.0 mm along y and 2.0 mm along z"


def test_a_flip_about_the_centre_is_described_without_a_shift():
    flipped = HERE.affine.copy()
    flipped[0, 0], flipped[0, 3] = -1.0, SHAPE[0] - 1
    assert HERE.describe_difference(Geometry(SHAPE, flipped)) == "axis x flipped"


def test_a_spacing_is_described_by_both_values():
    stored = Geometry(SHAPE, np.diag([0.7, 0.7, 2.0, 1.0]))
    assert stored.describe_difference(HERE) == "spacing 0.7 against 1 mm"


def test_swapped_axes_are_described_by_their_order():
    cube = Geometry((5, 5, 5), np.eye(4))
    assert "axes in the order y, x, z" in cube.describe_difference(Geometry((5, 5, 5), np.eye(4)[[1, 0, 2, 3]]))


def test_a_small_rotation_is_described_in_degrees():
    c, s = np.cos(np.radians(3)), np.sin(np.radians(3))
    turned = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    cube = Geometry((5, 5, 5), np.eye(4))
    assert "tilted by 3 degrees" in cube.describe_difference(Geometry((5, 5, 5), turned))


def test_different_shapes_are_described_by_both():
    other = Geometry((10, 12, 6), np.eye(4))
    assert HERE.describe_difference(other) == "shape 10 x 12 x 5 against 10 x 12 x 6"


def test_equal_geometries_are_described_as_such():
    assert HERE.describe_difference(moved()) == "less than 1% of a voxel apart"


@pytest.mark.parametrize("sign", [1, -1])
def test_one_hundredth_of_the_smallest_edge_is_tolerated_and_no_more(sign):
    require_match(moved(z=sign * 0.0099), "a", HERE, "b")
    with pytest.raises(GeometryError, match=r"a differs from b by up to 0.0101 mm .*Nothing is resampled silently"):
        require_match(moved(z=sign * 0.0101), "a", HERE, "b")


def test_a_transposed_array_is_recognised():
    with pytest.raises(GeometryError, match=r"shape 5 x 12 x 10.*axes seem reversed"):
        require_match(Geometry((5, 12, 10), np.eye(4)), "a", HERE, "b")
