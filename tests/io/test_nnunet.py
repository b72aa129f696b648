import logging

import numpy as np
import pytest

from mrcalib.io import Geometry, read_probability, read_volume, write_probability
from mrcalib.io.formats import nnunet


def truth(shape=(6, 7, 5)) -> np.ndarray:
    """Labels in (x, y, z) that look different under every flip and exchange of axes."""
    labels = np.zeros(shape, np.uint8)
    labels[0:4, 1:3, 1:4] = 1
    labels[1, 3:5, 1] = 2
    return labels


def softmax(labels: np.ndarray, n_classes: int = 3) -> np.ndarray:
    """Probabilities (C, z, y, x) whose argmax gives the labels back."""
    hot = np.stack([labels == c for c in range(n_classes)]).astype(np.float32)
    return np.ascontiguousarray((0.1 + 0.7 * hot).transpose(0, 3, 2, 1)) / np.float32(0.7 + 0.1 * n_classes)


@pytest.fixture
def export(tmp_path, save):
    """Write an archive and the segmentation beside it."""

    def _export(probabilities, labels, *, key="probabilities"):
        np.savez(tmp_path / "case_1.npz", **{key: probabilities})
        save("case_1.nii.gz", labels, np.diag([-0.7, 0.7, 2.5, 1.0]))
        return tmp_path / "case_1.npz"

    return _export


def test_the_standard_order_is_proved_and_takes_the_geometry_of_the_segmentation(export):
    volume = read_probability(export(softmax(truth()), truth()), (1, 2))
    assert volume.geometry.spacing == pytest.approx((0.7, 0.7, 2.5))
    np.testing.assert_array_equal(volume.data > 0.5, truth() > 0)


def test_all_channels_come_last_when_read_as_they_are(export):
    assert read_volume(export(softmax(truth()), truth())).data.shape == (6, 7, 5, 3)


@pytest.mark.parametrize("axes", [(3, 2, 1), (1, 3, 2)])
def test_another_order_of_axes_is_found_if_it_alone_fits(export, axes, caplog):
    labels = truth((6, 6, 6))
    stored = softmax(labels).transpose(0, *axes)[:, :, ::-1]
    with caplog.at_level(logging.INFO, logger="mrcalib"):
        volume = read_probability(export(stored, labels), (1, 2))
    np.testing.assert_array_equal(volume.data > 0.5, labels > 0)
    assert "gives back the segmentation" in caplog.text


def test_a_flip_is_found_even_where_the_lesion_is_one_voxel_in_a_thousand(export):
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[2:5, 3, 4] = 1
    labels[2, 4, 4:6] = 1
    volume = read_probability(export(softmax(labels, 2)[:, ::-1], labels))
    np.testing.assert_array_equal(volume.data > 0.5, labels > 0)


def test_overlapping_regions_are_proved_by_their_union(export):
    regions = np.stack([truth() > 0, truth() == 2]).astype(np.float32).transpose(0, 3, 2, 1) * 0.9
    volume = read_probability(export(regions, truth()), (1,))
    np.testing.assert_array_equal(volume.data > 0.5, truth() == 2)


def test_a_small_component_removed_by_post_processing_is_tolerated(export):
    labels = truth((40, 40, 40))
    labels[10:20, 10:20, 10:20] = 1
    cleaned = labels.copy()
    cleaned[0:4, 1:3, 1:4] = 0
    assert read_probability(export(softmax(labels), cleaned), (1,)).shape == (40, 40, 40)


def test_a_segmentation_of_another_run_is_refused_with_the_orders_tried(export):
    with pytest.raises(ValueError, match=r"No order of axes gives back .*axes \(2, 1, 0\).*% of foreground.*one run"):
        read_volume(export(softmax(truth()), np.roll(truth(), 2, axis=1)))


def test_a_shape_that_fits_no_order_is_refused(export):
    with pytest.raises(ValueError, match="No order of axes gives back"):
        read_volume(export(softmax(truth()), truth((6, 7, 8))))


def test_two_orders_that_fit_equally_are_refused(export):
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[2:4, 2, 2] = 1
    stored = softmax(labels, 2).transpose(0, 3, 2, 1)
    with pytest.raises(ValueError, match=r"\d+ orders of axes give back"):
        read_volume(export(stored, labels))


def test_an_empty_segmentation_is_taken_by_its_shape_with_a_warning(export):
    empty = np.zeros((6, 7, 5), np.uint8)
    with pytest.warns(UserWarning, match="only the shape vouches"):
        assert read_probability(export(softmax(empty, 2), empty)).data.max() < 0.5


def test_an_empty_segmentation_of_another_shape_is_refused(export):
    with pytest.raises(ValueError, match="orders of axes"):
        read_volume(export(softmax(np.zeros((5, 7, 6), np.uint8), 2), np.zeros((6, 7, 5), np.uint8)))


def test_an_export_without_its_segmentation_says_what_is_missing(tmp_path):
    np.savez(tmp_path / "case_1.npz", probabilities=softmax(truth()))
    with pytest.raises(ValueError, match=r"expected the segmentation of the same name \(case_1\.nii\.gz"):
        read_volume(tmp_path / "case_1.npz")


def test_an_export_of_version_one_is_refused_with_the_reason(export):
    with pytest.raises(ValueError, match=r"version 1.*not un-cropped.*\.pkl.*version 2"):
        read_volume(export(softmax(truth()), truth(), key="softmax"))


def test_an_itk_segmentation_serves_too(tmp_path):
    pytest.importorskip("SimpleITK", reason="SimpleITK is an optional extra")
    np.savez(tmp_path / "c.npz", probabilities=softmax(truth()))
    write_probability(tmp_path / "c.mha", truth(), Geometry(truth().shape, np.diag([1, 1, 3, 1])))
    assert read_probability(tmp_path / "c.npz", (1, 2)).geometry.spacing == pytest.approx((1, 1, 3))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_the_most_probable_class_is_that_of_argmax_ties_included(rng, order, n_channels):
    probs = np.asarray(rng.integers(0, 4, (3, 4, 5, n_channels)) / 4, np.float32, order=order)
    np.testing.assert_array_equal(nnunet._largest(probs), probs.argmax(axis=-1))
    np.testing.assert_array_equal(nnunet._largest(np.moveaxis(probs, 0, 2)), np.moveaxis(probs, 0, 2).argmax(axis=-1))


def test_agreement_is_told_for_all_voxels_and_for_what_is_foreground_in_either(rng):
    found, wanted = rng.integers(0, 3, (2, 4, 5, 6))
    either = (found != 0) | (wanted != 0)
    expected = (found == wanted).mean(), (found == wanted)[either].mean()
    assert nnunet._agreement(found, wanted) == pytest.approx(expected, rel=1e-12)
    assert nnunet._agreement(found * 0, found * 0) == (1.0, 1.0)
