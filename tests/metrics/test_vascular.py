"""Contact of tumour and vessels: against a plain second reading of the definition, and what geometry says of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from scipy.stats import wasserstein_distance

from mrcalib import GeometryError
from mrcalib.metrics import vascular_contact, vascular_invasion
from mrcalib.metrics.vascular import _wasserstein

EIGHT = np.ones((3, 3), dtype=bool)


def outline_faces(section, edges):
    """Faces of a filled cross-section, as pairs of pixels, with the length that marching squares gives to each."""
    padded = np.pad(section, 1, mode="edge")
    lengths: dict[tuple, float] = {}
    for i, j in itertools.product(range(padded.shape[0] - 1), range(padded.shape[1] - 1)):
        ring = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
        crossed = [(a, b) for a, b in zip(ring, ring[1:] + ring[:1], strict=True) if padded[a] != padded[b]]
        straight = len(crossed) == 2 and crossed[0][0][0] + crossed[0][1][0] == crossed[1][0][0] + crossed[1][1][0]
        upright = len(crossed) == 2 and crossed[0][0][1] + crossed[0][1][1] == crossed[1][0][1] + crossed[1][1][1]
        segment = edges[1] if straight else edges[0] if upright else 0.5 * math.hypot(*edges)
        for a, b in crossed:
            inner, outer = (a, b) if padded[a] else (b, a)
            lengths[inner, outer] = lengths.get((inner, outer), 0.0) + 0.5 * segment
    rows, columns = section.shape
    inside = [(p, q) for p, q in lengths if all(0 < x[0] <= rows and 0 < x[1] <= columns for x in (p, q))]
    return {tuple((x[0] - 1, x[1] - 1) for x in (p, q)): lengths[p, q] for p, q in inside}


def elongation(section, edges):
    """Ratio of the principal standard deviations of a set of rectangles; infinite where the image's border cuts it."""
    at = np.argwhere(section)
    if (at == 0).any() or (at == np.array(section.shape) - 1).any():
        return math.inf
    moments = np.cov((at * edges).T, bias=True) + np.diag(np.square(edges)) / 12
    low, high = np.linalg.eigvalsh(moments)
    return math.sqrt(high / low)


def plain_degrees(tumour, vessel, edges, *, contact_mm=0.0, min_area_mm2=0.0, max_elongation=math.inf):
    """The definition, slice by slice, for one image."""
    best = math.nan
    labels, n = ndi.label(vessel, EIGHT)
    marked = np.argwhere(tumour)
    for k in range(1, n + 1):
        section = labels == k
        if section.sum() * math.prod(edges) < min_area_mm2 * (1 - 1e-9):
            continue
        filled = ndi.binary_fill_holes(section)
        if elongation(filled, edges) > max_elongation * (1 + 1e-9):
            continue
        best = 0.0 if math.isnan(best) else best
        faces = outline_faces(filled, edges)
        touched = 0.0
        for (p, q), length in faces.items():
            middle = (np.array(p) + q) / 2
            away = np.maximum(np.abs(marked - middle) - 0.5, 0) * edges
            touched += length * bool((np.hypot(*away.T) <= contact_mm + 1e-9).any())
        if faces:
            best = max(best, 360 * touched / sum(faces.values()))
    return best


@settings(max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1.0, 1.0), (0.7, 2.5), (3.0, 0.5)]),
    st.sampled_from([0.0, 0.8, 2.5]),
    st.sampled_from([0.0, 4.0]),
    st.sampled_from([1.0, 1.3, 2.0, math.inf]),
)
def test_degrees_are_those_of_the_plain_definition(seed, edges, contact_mm, min_area, longest):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 9, 2))
    vessel, tumour = (rng.random(shape) < rng.random() for _ in range(2))
    if rng.random() < 0.7:
        vessel, tumour = np.pad(vessel, 1), np.pad(tumour, 1)
    limits = {"contact_mm": contact_mm, "min_area_mm2": min_area, "max_elongation": longest}
    found = vascular_contact(tumour, vessel, edges, **limits)["slice"]
    expected = plain_degrees(tumour, vessel, edges, **limits)
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2.0, math.inf]))
def test_a_volume_is_the_largest_of_its_slices(seed, longest):
    rng = np.random.default_rng(seed)
    spacing = np.array([0.6, 1.5, 3.0])
    vessel, tumour = np.pad(rng.random((2, 5, 6, 7)) < 0.3, [(0, 0), (1, 1), (1, 1), (1, 1)])
    found = vascular_contact(tumour, vessel, spacing, min_area_mm2=3, max_elongation=longest)
    for axis in range(3):
        edges = tuple(np.delete(spacing, axis))
        each = [
            plain_degrees(t, v, edges, min_area_mm2=3, max_elongation=longest)
            for t, v in zip(np.moveaxis(tumour, axis, 0), np.moveaxis(vessel, axis, 0), strict=True)
        ]
        expected = max((degrees for degrees in each if not math.isnan(degrees)), default=math.nan)
        assert found[f"axis {axis}"] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def tube(shape=(41, 81, 9), spacing=(1.0, 1.0, 1.0), radius=8.0):
    """A vessel along the last axis, the angle around it, and the distance from its axis, in mm."""
    x, y = ((np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(shape[:2], spacing[:2], strict=True))
    distance = np.hypot(x[:, None], y[None, :])
    angle = np.degrees(np.arctan2(y[None, :], x[:, None])) % 360
    deep = (*shape[:2], shape[2])
    return tuple(np.broadcast_to(a[..., None], deep) for a in (distance <= radius, angle, distance))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 1.0, 3.0), (1.0, 0.4, 5.0)])
def test_a_vessel_that_is_encased_has_360_degrees_and_one_that_is_not_near_0(spacing):
    vessel, _, distance = tube(spacing=spacing)
    ring = (distance > 8) & (distance < 11)
    encased = {"axis 0": 360.0, "axis 1": 360.0, "axis 2": 360.0}
    assert vascular_contact(ring, vessel, spacing, max_elongation=math.inf) == encased
    along = {"axis 0": math.nan, "axis 1": math.nan}
    assert vascular_contact(ring, vessel, spacing) == pytest.approx({**along, "axis 2": 360.0}, nan_ok=True)
    assert vascular_contact(vessel, vessel, spacing)["axis 2"] == 360.0
    far = distance > 8 + 2.1 * max(spacing[:2])
    for none in (far, 0 * ring):
        assert vascular_contact(none, vessel, spacing) == pytest.approx({**along, "axis 2": 0.0}, nan_ok=True)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 1.0, 3.0), (1.0, 0.4, 5.0)])
@pytest.mark.parametrize(("start", "arc"), [(0, 180), (30, 180), (75, 90), (200, 270), (10, 45)])
def test_part_of_a_ring_has_about_its_angle(spacing, start, arc):
    vessel, angle, distance = tube(spacing=spacing)
    part = (distance > 8) & (distance < 12) & ((angle - start) % 360 < arc)
    assert vascular_contact(part, vessel, spacing)["axis 2"] == pytest.approx(arc, abs=16)


def test_finer_pixels_measure_the_angle_better():
    vessel, angle, distance = tube(shape=(321, 321, 1), spacing=(0.125, 0.125, 1.0))
    part = (distance > 8) & (distance < 12) & ((angle - 20) % 360 < 130)
    assert vascular_contact(part, vessel, (0.125, 0.125, 1))["axis 2"] == pytest.approx(130, abs=2)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)]))
def test_mirrored_volumes_have_the_same_degrees(seed, flipped):
    rng = np.random.default_rng(seed)
    vessel, tumour = ndi.gaussian_filter(rng.standard_normal((2, 12, 11, 10)), (0, 1.5, 1.5, 1.5)) > 0.05
    spacing = (0.8, 1.0, 2.5)
    for longest in (1.3, 2.0, math.inf):
        limits = {"contact_mm": 1.0, "max_elongation": longest}
        here = vascular_contact(tumour, vessel, spacing, **limits)
        there = vascular_contact(np.flip(tumour, flipped), np.flip(vessel, flipped), spacing, **limits)
        assert there == pytest.approx(here, nan_ok=True)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.permutations(range(3)), st.tuples(*[st.sampled_from([1, -1])] * 3))
def test_how_the_array_lies_in_memory_does_not_matter_where_the_affine_says_so(seed, order, signs):
    rng = np.random.default_rng(seed)
    vessel, tumour = ndi.gaussian_filter(rng.standard_normal((2, 12, 11, 10)), (0, 1.5, 1.5, 1.5)) > 0.05
    spacing = np.array([0.8, 1.0, 2.5])
    here = vascular_contact(tumour, vessel, affine=np.diag([*spacing, 1]))
    assert set(here) == {"sagittal", "coronal", "axial"}
    turned = np.zeros((4, 4))
    turned[3, 3] = 1
    for axis, world in enumerate(order):
        turned[world, axis] = signs[axis] * spacing[world]
    back = tuple(slice(None, None, s) for s in signs)
    moved = [np.transpose(a, order)[back] for a in (tumour, vessel)]
    assert vascular_contact(*moved, affine=turned) == pytest.approx(here, nan_ok=True)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.2]), st.sampled_from([2.0, math.inf]))
def test_more_tumour_and_more_reach_never_lower_the_degrees(seed, contact_mm, longest):
    rng = np.random.default_rng(seed)
    vessel = ndi.gaussian_filter(rng.standard_normal((9, 9, 9)), 1.5) > 0.05
    less = rng.random(vessel.shape) < 0.2
    more = less | (rng.random(vessel.shape) < 0.2)
    values = [
        vascular_contact(t, vessel, contact_mm=reach, max_elongation=longest)
        for t, reach in ((less, contact_mm), (more, contact_mm), (more, contact_mm + 1))
    ]
    for plane in values[0]:
        low, middle, high = (v[plane] for v in values)
        assert math.isnan(low) == math.isnan(middle) == math.isnan(high)  # what counts is the vessel's matter only
        assert math.isnan(low) or 0 <= low <= middle <= high <= 360


def test_planes_of_a_tilted_affine_are_those_nearest_to_the_anatomy():
    turn = np.radians(30)
    affine = np.diag([0.7, 0.7, 3.0, 1.0])
    affine[:2, :2] = 0.7 * np.array([[np.sin(turn), np.cos(turn)], [-np.cos(turn), np.sin(turn)]])
    vessel = np.ones((6, 6, 4), dtype=bool)
    assert list(vascular_contact(vessel, vessel, affine=affine)) == ["coronal", "sagittal", "axial"]


def test_reach_is_measured_in_mm_in_the_slice():
    vessel, tumour = np.zeros((2, 12, 12), dtype=bool)
    vessel[2:6, 2:10] = True
    tumour[7:, :] = True  # one row of 2 mm between
    degrees = [vascular_contact(tumour, vessel, (2.0, 0.5), contact_mm=mm)["slice"] for mm in (0, 1.99, 2.0)]
    assert degrees[:2] == [0.0, 0.0]
    lengths = 2 * 8 * 0.5 - 4 * 0.5 / 2 + 2 * 4 * 2.0 - 4 * 2.0 / 2 + 4 * 0.5 * math.hypot(2, 0.5)
    bottom = 8 * 0.5 - 0.5 + 0.5 * math.hypot(2, 0.5)
    assert degrees[2] == pytest.approx(360 * bottom / lengths)


def test_cross_sections_below_the_smallest_area_do_not_count():
    vessel, tumour = np.zeros((2, 20, 20, 3), dtype=bool)
    vessel[3:9, 3:9] = True
    vessel[15, 15, 1] = True  # a speck of the label in the tumour
    tumour[13:18, 13:18] = True
    assert vascular_contact(tumour, vessel)["axis 2"] == 0.0
    assert vascular_contact(tumour, vessel, min_area_mm2=0)["axis 2"] == 360.0
    speck = vessel & (np.arange(20)[:, None, None] > 10)
    assert all(math.isnan(v) for v in vascular_contact(tumour, speck).values())


def test_holes_count_as_filled_and_the_border_of_the_image_is_no_wall():
    vessel, tumour = np.zeros((2, 12, 12), dtype=bool)
    vessel[3:9, 3:9] = True
    tumour[9, :] = True
    whole = vascular_contact(tumour, vessel)["slice"]
    vessel[5, 5] = False
    assert vascular_contact(tumour, vessel)["slice"] == whole
    cut = tumour[:, 4:8], vessel[:, 4:8]  # only the walls above and below are left
    assert vascular_contact(*cut, max_elongation=math.inf)["slice"] == pytest.approx(180)
    assert math.isnan(vascular_contact(*cut)["slice"])


@pytest.mark.parametrize("edges", [(1.0, 1.0), (0.5, 2.0), (2.0, 0.25)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_rectangle_is_as_elongated_as_its_sides_are(edges, turned):
    tall, wide = (int((16, 8)[k != turned] / edge) for k, edge in enumerate(edges))
    vessel = np.zeros((tall + 8, wide + 8), dtype=bool)
    vessel[4:-4, 4:-4] = True
    degrees = [vascular_contact(vessel, vessel, edges, max_elongation=e)["slice"] for e in (2.0, 1.99)]
    assert degrees == pytest.approx([360.0, math.nan], nan_ok=True)


def test_a_diagonal_cross_section_is_as_elongated_as_an_upright_one():
    at = np.arange(61)[:, None] - 30, np.arange(61)[None, :] - 30
    across, along = (at[0] + at[1]) / math.sqrt(2), (at[0] - at[1]) / math.sqrt(2)
    vessel = (abs(across) <= 6) & (abs(along) <= 15)
    degrees = [vascular_contact(vessel, vessel, max_elongation=e)["slice"] for e in (2.4, 2.6)]
    assert degrees == pytest.approx([math.nan, 360.0], nan_ok=True)


def test_a_hole_does_not_make_a_cross_section_less_elongated():
    vessel = np.zeros((20, 20), dtype=bool)
    vessel[4:8, 4:13] = True  # 9 by 4
    vessel[5:7, 5:8] = False
    assert math.isnan(vascular_contact(vessel, vessel)["slice"])


def oblique_tube(spacing, tilt, arc, *, middle=0, radius=4.0, bend=None, reach=None, size=44):
    """A vessel to the image's border, tilted from the last axis or bent, and tumour over an arc of its circumference."""
    at = [
        (np.arange(n) - (n - 1) / 2) * edge for n, edge in zip((round(size / e) for e in spacing), spacing, strict=True)
    ]
    x, y, z = np.ix_(*at)
    sine, cosine = np.sin(np.radians(tilt)), np.cos(np.radians(tilt))
    across, along = cosine * x - sine * z, sine * x + cosine * z
    if bend is not None:
        across, along = np.hypot(across + bend, along) - bend, bend * np.arctan2(along, across + bend)
    distance = np.hypot(across, y)
    away = abs((np.degrees(np.arctan2(y, across)) - middle + 180) % 360 - 180)
    tumour = (distance > radius) & (distance <= radius + 5) & (away <= arc / 2)
    return tumour & (reach is None or abs(along) <= reach), distance <= radius


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.75, 0.75, 2.5)])
@pytest.mark.parametrize("tilt", [0, 30, 45, 60])
def test_half_of_a_tilted_vessel_s_wall_is_about_180_degrees_and_all_of_it_360(spacing, tilt):
    for middle in (0, 90, 180):
        for reach in (8, None):
            half, vessel = oblique_tube(spacing, tilt, 180, middle=middle, reach=reach)
            degrees = np.nanmax(list(vascular_contact(half, vessel, spacing).values()))
            assert degrees == pytest.approx(180, abs=30)
    encased, vessel = oblique_tube(spacing, tilt, 360)
    assert np.nanmax(list(vascular_contact(encased, vessel, spacing).values())) == 360


def test_a_slice_that_grazes_the_wall_of_a_bent_vessel_does_not_count():
    spacing = (1.0, 1.0, 1.0)
    tumour, vessel = oblique_tube(spacing, 0, 120, bend=60, reach=16)
    assert vascular_contact(tumour, vessel, spacing, max_elongation=math.inf)["axis 0"] == 360
    limited = vascular_contact(tumour, vessel, spacing)
    assert math.isnan(limited["axis 0"])
    assert np.nanmax(list(limited.values())) == pytest.approx(120, abs=20)


def volume_case():
    vessel, _, distance = tube()
    labels = np.where(vessel, 3, 0)
    near = (distance < 12).astype(np.uint8)
    half = near * (np.arange(41)[:, None, None] > 20)
    return labels, near, half


def test_raters_and_thresholds_are_compared_as_samples():
    labels, near, half = volume_case()
    probs = 0.3 * near + 0.4 * half
    masks = [near, half, None, 0 * near]
    result = vascular_invasion(probs, masks, labels, vessel_labels={"aorta": 3, "SMA": 5})
    contact = vascular_contact(half, labels == 3)
    part = np.nanmax(list(contact.values()))
    np.testing.assert_allclose(result.degrees_raters["aorta"], [360, part, np.nan, 0])
    # above 0.1 and 0.24 all of the prediction, above 0.38, 0.52 and 0.66 one half, above 0.8 nothing
    np.testing.assert_allclose(result.degrees_prediction["aorta"], [360, 360, part, part, part, 0])
    expected = wasserstein_distance([360, part, 0], [360, 360, part, part, part, 0])
    assert result.wasserstein["aorta"] == pytest.approx(expected)
    plane = result.per_plane["aorta"]["axis 2"]
    assert plane.degrees_raters[1] == pytest.approx(contact["axis 2"])
    assert plane.wasserstein == pytest.approx(
        wasserstein_distance(plane.degrees_raters[[0, 1, 3]], plane.degrees_prediction)
    )
    assert math.isnan(result.wasserstein["SMA"])
    assert np.isnan(result.degrees_prediction["SMA"]).all()

    frame = result.to_frame()
    assert list(frame.columns) == ["vessel", "plane", "source", "which", "degrees"]
    assert len(frame) == 2 * 4 * (4 + 6)
    chosen = frame.query("vessel == 'aorta' and plane == 'any' and source == 'rater' and which == 1")
    assert chosen.degrees.item() == pytest.approx(part)


@given(
    st.lists(st.integers(0, 360), min_size=1, max_size=7),
    st.lists(st.integers(0, 360), min_size=1, max_size=9),
)
def test_the_distance_is_that_of_scipy(one, other):
    expected = wasserstein_distance(one, other)
    assert _wasserstein(np.array(one, float), np.array(other, float)) == pytest.approx(expected, abs=1e-9)


def test_thresholds_of_a_mean_of_five_raters_ask_for_1_2_2_3_4_and_5_votes():
    vessel = np.zeros((20, 9), dtype=np.uint8)
    vessel[5:15, 2:7] = 1
    masks = np.zeros((5, 20, 9), dtype=np.uint8)
    for r in range(5):
        masks[r, 5 + 2 * r : 15] = 1  # votes grow downwards
    votes = masks.sum(axis=0)
    result = vascular_invasion(masks.mean(axis=0), masks, vessel)
    expected = [vascular_contact(votes >= n, vessel)["slice"] for n in (1, 2, 2, 3, 4, 5)]
    assert len(set(expected)) == 5
    np.testing.assert_array_equal(result.degrees_prediction["1"], expected)


def test_more_masks_than_fit_in_one_word_are_looked_at_in_turns():
    labels, near, half = volume_case()
    levels = np.linspace(0, 0.98, 50)
    result = vascular_invasion(0.5 * near + 0.4 * half, [near, half], labels, thresholds=levels)
    contact = np.nanmax(list(vascular_contact(half, labels == 3).values()))
    expected = np.where(levels < 0.5, 360, np.where(levels < 0.9, contact, 0))
    np.testing.assert_allclose(result.degrees_prediction["3"], expected)


def test_layout_dtype_and_crops_do_not_matter():
    labels, near, half = volume_case()
    probs = (0.3 * near + 0.4 * half).astype(np.float32)
    here = vascular_invasion(probs, [near, half], labels)
    last = np.stack([near, half], axis=-1).astype(bool)
    there = vascular_invasion(np.asfortranarray(probs), last, labels.astype(np.float64))
    wide = [np.pad(a, 7) for a in (probs, near, half, labels)]
    padded = vascular_invasion(wide[0], wide[1:3], wide[3])
    for other in (there, padded):
        np.testing.assert_array_equal(other.degrees_raters["3"][:1], here.degrees_raters["3"][:1])
    np.testing.assert_array_equal(there.to_frame().degrees, here.to_frame().degrees)


def test_a_volume_without_vessels_has_no_result():
    labels, near, half = volume_case()
    assert vascular_invasion(0.5 * near, [near], 0 * labels).wasserstein == {}
    absent = vascular_invasion(0.5 * near, [half], 0 * labels, vessel_labels={"SMV": 2})
    assert math.isnan(absent.wasserstein["SMV"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probs": "nan"}, "probs must lie in"),
        ({"raters": "none"}, "At least one rater"),
        ({"raters": "part"}, "Rater 0 annotated part of the voxels only"),
        ({"raters": "labels"}, "rater 0 holds 0, 2"),
        ({"vessels": "shape"}, "vessels must have the shape of the masks"),
        ({"vessels": "fraction"}, "vessels must hold whole numbers"),
        ({"spacing": (1.0, 1.0)}, "spacing must be"),
        ({"spacing": 2.0}, "spacing must be"),
        ({"spacing": (1, 1, 0)}, "spacing must be"),
        ({"spacing": (1, 1, 2), "affine": np.eye(4)}, "contradicts the affine"),
        ({"affine": np.zeros((4, 4))}, "affine must be an invertible 4 x 4 matrix"),
        ({"thresholds": [1.0]}, r"thresholds must be at least one number in \[0, 1\)"),
        ({"thresholds": "curva"}, "thresholds must be numbers or one of 'curvas'"),
        ({"vessel_labels": {"SMV": 0}}, "whole number other than 0; got 0 for 'SMV'"),
        ({"vessel_labels": {"SMV": 1.5}}, "whole number other than 0"),
        ({"vessel_labels": {}}, "must name at least one vessel"),
        ({"contact_mm": -1}, "contact_mm must be a finite number"),
        ({"min_area_mm2": math.nan}, "min_area_mm2 must be a finite number"),
        ({"max_elongation": 0.9}, "max_elongation is a cross-section's length over its width, at least 1"),
        ({"max_elongation": math.nan}, "max_elongation is a cross-section's length over its width, at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(change, message):
    labels, near, _ = volume_case()
    wrong = {
        "nan": np.where(near, np.nan, 0.5),
        "none": [None, None],
        "part": [np.where(near, np.nan, 0.0)],
        "labels": [2 * near],
        "shape": labels[1:],
        "fraction": labels + 0.5,
    }
    arguments = {"probs": 0.5 * near, "raters": [near], "vessels": labels} | {
        name: wrong[value] if isinstance(value, str) and value in wrong else value for name, value in change.items()
    }
    with pytest.raises(ValueError, match=message):
        vascular_invasion(**arguments)


def test_sheared_axes_are_refused():
    labels, near, _ = volume_case()
    sheared = np.eye(4)
    sheared[0, 2] = 0.3
    with pytest.raises(GeometryError, match="the affine is sheared"):
        vascular_contact(near, labels == 3, affine=sheared)


def test_masks_of_contact_are_checked():
    mask = np.zeros((4, 4), dtype=int)
    with pytest.raises(ValueError, match="vessel must be a mask of 0 and 1"):
        vascular_contact(mask, mask + 2)
    with pytest.raises(ValueError, match="must have one shape"):
        vascular_contact(mask, mask[1:])
    with pytest.raises(ValueError, match=r"volumes \(X, Y, Z\) or images"):
        vascular_contact(mask[0], mask[0])
    with pytest.raises(ValueError, match="There is no voxel"):
        vascular_contact(mask[:0], mask[:0])
    with pytest.raises(TypeError, match="vessels must be a map of whole-number labels"):
        vascular_invasion(mask.astype(float), [mask], mask.astype(str))
