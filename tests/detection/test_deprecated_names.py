"""The modules of earlier versions still give their names, with a warning that tells the new home."""

import importlib

import pytest

import mrcalib.detection
import mrcalib.detection.files


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("mrcalib.boxes", mrcalib.detection, "Boxes"),
        ("mrcalib.boxes", mrcalib.detection, "match"),
        ("mrcalib.io.boxes", mrcalib.detection.files, "read_coco"),
    ],
)
def test_an_old_module_gives_the_same_object_with_a_warning(old, new, name):
    with pytest.warns(DeprecationWarning, match=new.__name__):
        assert getattr(importlib.import_module(old), name) is getattr(new, name)


@pytest.mark.parametrize("old", ["mrcalib.boxes", "mrcalib.io.boxes"])
def test_an_old_module_refuses_names_that_it_never_had(old):
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = importlib.import_module(old).nothing


def test_rooms_below_offer_the_names_of_detection_without_importing_it():
    import mrcalib.metrics
    import mrcalib.plots
    from mrcalib.detection import plots

    assert all(
        getattr(mrcalib.metrics, name) is getattr(mrcalib.detection, name) for name in mrcalib.metrics._DETECTION
    )
    assert all(getattr(mrcalib.plots, name) is getattr(plots, name) for name in plots.__all__)
