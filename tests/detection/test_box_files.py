"""Files of boxes: what they say is read as it is, and what cannot be is refused by file, image and box."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcalib.detection import Boxes, DetectionImage
from mrcalib.detection.files import (
    BoxSet,
    ImageEntry,
    detection_images,
    merge_boxes,
    read_box_csv,
    read_boxes,
    read_coco,
    read_napari,
    rescore,
    write_box_csv,
    write_coco,
    write_coco_results,
    write_napari,
)

IMAGES = [{"id": 1, "file_name": "p1.png", "width": 100, "height": 80}, {"id": 2, "file_name": "p2.png"}]
CATEGORIES = [{"id": 1, "name": "organoid"}]


def annotation(number=1, image=1, bbox=(10, 20, 30, 40), **more):
    return {"id": number, "image_id": image, "category_id": 1, "bbox": list(bbox)} | more


@pytest.fixture
def coco(tmp_path):
    """Write COCO JSON of these annotations."""

    def write(annotations, name="ann.json", images=IMAGES, categories=CATEGORIES, **more):
        path = tmp_path / name
        path.write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories} | more),
            encoding="utf-8",
        )
        return path

    return write


def test_one_file_a_rater_has_looked_at_all_its_images(coco):
    boxes = read_coco(coco([annotation()]))
    assert list(boxes.sources) == ["ann"]
    assert boxes.of("ann", "p1.png").coordinates.tolist() == [[10, 20, 40, 60]]
    assert len(boxes.of("ann", "p2.png")) == 0
    assert boxes.images["p1.png"] == ImageEntry((100, 80), None, 1)
    assert read_coco(coco([annotation()]), source="Ann").sources.keys() == {"Ann"}


def test_a_rater_without_boxes_is_neither_empty_nor_missing_until_it_is_said(coco):
    path = coco([annotation(1, rater="a"), annotation(2, 2, rater="a"), annotation(3, rater="b")])
    with pytest.raises(ValueError, match=r"'b' has no box in image 'p2.png'.*absent='empty'.*absent='missing'"):
        read_coco(path)
    assert len(read_coco(path, absent="empty").of("b", "p2.png")) == 0
    assert read_coco(path, absent="missing").of("b", "p2.png") is None


def test_images_may_list_who_looked(coco):
    listed = [IMAGES[0] | {"raters": ["a", "b"]}, IMAGES[1] | {"raters": ["a"]}]
    boxes = read_coco(coco([annotation(1, rater="a")], images=listed))
    assert [len(boxes.of("b", "p1.png")), boxes.of("b", "p2.png"), len(boxes.of("a", "p2.png"))] == [0, None, 0]
    with pytest.raises(ValueError, match=r"'b' has boxes in image 'p2.png', whose list of raters is a"):
        read_coco(coco([annotation(1, 2, rater="b")], images=listed))
    with pytest.raises(ValueError, match="annotations do not name theirs"):
        read_coco(coco([annotation()], images=listed))
    assert [len(found) for found in read_coco(coco([], images=listed)).sources.values()] == [2, 1]


def test_results_name_images_by_the_ids_of_another_file(coco, tmp_path):
    raters = read_coco(coco([annotation()]))
    path = tmp_path / "model.json"
    path.write_text(json.dumps([annotation(None, score=0.5), annotation(None, 1, (0, 0, 5, 5), score=0.25)]))
    with pytest.raises(ValueError, match="names images by number only"):
        read_coco(path)
    found = read_coco(path, images=raters)
    assert found.of("model", "p1.png").scores.tolist() == [0.5, 0.25]
    assert len(found.of("model", "p2.png")) == 0  # it ran there, and found nothing
    first, second = detection_images(raters, found)
    assert (len(first.detections), first.detections.labels, len(second.detections)) == (2, None, 0)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"bbox": [10, 20, -3, 4]}, "is inverted"),
        ({"bbox": [10, 20, 0, 4]}, "has no area"),
        ({"bbox": [90, 20, 20, 4]}, "reaches outside the image: x from 90 to 110"),
        ({"bbox": [math.nan, 20, 20, 4]}, "not finite"),
        ({"bbox": [None, 20, 20, 4]}, "not finite"),
        ({"bbox": ["1", 20, 20, 4]}, "must hold numbers; got '1'"),
        ({"bbox": [1, 2, 3]}, r"must be \[x, y, width, height\]"),
        ({"score": 1.5}, "in \\[0, 1\\]"),
        ({"score": math.nan}, "in \\[0, 1\\]"),
        ({"category_id": 7}, "category_id 7 .*not known; known are 1"),
        ({"category_id": True}, "whole number; got True"),
        ({"iscrowd": 1}, "is a crowd"),
    ],
)
def test_a_bad_box_is_refused_with_file_image_and_box(coco, bad, told):
    good = {"score": 0.5} if "score" in bad else {}
    path = coco([annotation(3, **good), annotation(17, **bad), annotation(4, 2, **good)])
    with pytest.raises(ValueError, match=told) as caught:
        read_coco(path)
    assert all(part in str(caught.value) for part in ("ann.json", "p1.png", "annotation id 17"))
    failures = {}
    boxes = read_coco(path, failures=failures)
    assert list(failures) == ["p1.png"]
    assert [image.id for image in detection_images(boxes, skip=failures)] == ["p2.png"]
    assert len(boxes.of("ann", "p2.png")) == 1


def test_the_box_that_is_named_is_the_bad_one(coco):
    path = coco([annotation(1), annotation(2), annotation(3, bbox=(0, 0, -1, 1)), annotation(4, bbox=(99, 0, 9, 9))])
    with pytest.raises(ValueError, match=r"Box 2 of image 'p1.png', source 'ann' \(.*annotation id 3\) is inverted"):
        read_coco(path)


def test_clip_and_drop_are_said(coco):
    path = coco([annotation(1, bbox=(90, 20, 20, 4)), annotation(2, iscrowd=1)])
    boxes = read_coco(path, outside="clip", crowds="drop")
    assert boxes.of("ann", "p1.png").coordinates.tolist() == [[90, 20, 100, 24]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"annotations": [annotation(1), annotation(1)]}, "annotation id 1 is there twice"),
        ({"images": [IMAGES[0], IMAGES[1] | {"id": 1}]}, "image id 1 is there twice"),
        ({"images": [IMAGES[0], IMAGES[0] | {"id": 9}]}, "two images are named 'p1.png'"),
        ({"categories": CATEGORIES * 2}, "category id 1 is there twice"),
        ({"annotations": [annotation(image=99)]}, "there is no image with id 99; ids are 1, 2"),
        ({"annotations": [annotation(1, rater="a"), annotation(2)]}, "annotation id 2 does not"),
        ({"images": [{"id": 1, "width": 100}]}, "size of image '1'"),
    ],
)
def test_a_bad_file_is_refused(coco, content, told):
    path = coco(**({"annotations": [annotation()]} | content))
    with pytest.raises(ValueError, match=told) as caught:
        read_coco(path, failures={})
    assert "ann.json" in str(caught.value)


def test_what_is_no_coco_is_refused(tmp_path):
    path = tmp_path / "x.json"
    for text, told in (("{", "is not JSON"), ('{"info": 1}', "has no list 'images'"), ("3", "is not COCO JSON")):
        path.write_text(text)
        with pytest.raises(ValueError, match=told):
            read_boxes(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_boxes(tmp_path / "none.json")


def drawn(scored):
    box = st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(1, 40)] * 2)

    @st.composite
    def make(draw):
        rows = draw(st.lists(box, max_size=4))
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in rows], dtype=float).reshape(-1, 4)
        scores = np.array(draw(st.lists(st.floats(0, 1), min_size=len(rows), max_size=len(rows))))
        return Boxes(corners, scores.reshape(-1) if scored else None)

    return make()


def same(first, second):
    if first is None or second is None:
        return first is second
    scores = [None if one.scores is None or not len(one) else one.scores.tolist() for one in (first, second)]
    return first.coordinates.tolist() == second.coordinates.tolist() and scores[0] == scores[1]


@given(data=st.data(), scored=st.booleans())
def test_what_is_written_is_read_back(tmp_path_factory, data, scored):
    folder = tmp_path_factory.mktemp("boxes")
    names = ["p1", "p2", "p3"]
    images = {name: ImageEntry((100.0, 100.0), "plate") for name in names}
    looked = st.none() | drawn(scored)
    sources = {who: {name: data.draw(looked) for name in names} for who in ("a", "b")}
    boxes = BoxSet(images, sources)
    write_coco(folder / "boxes.json", boxes)
    write_box_csv(folder / "boxes.csv", boxes)
    for name in ("boxes.json", "boxes.csv"):
        back = read_boxes(folder / name)
        for who, found in sources.items():
            for image, mine in found.items():
                assert same(back.sources.get(who, {}).get(image), mine), (name, who, image)
    assert {name: entry.size for name, entry in read_boxes(folder / "boxes.json").images.items()} == dict.fromkeys(
        names, (100.0, 100.0)
    )


def test_three_dimensions_go_through_coco_and_csv(tmp_path):
    boxes = BoxSet(
        {"v": ImageEntry((9.0, 9.0, 9.0))}, {"m": {"v": Boxes([[1, 2, 3, 4, 5, 6]], [0.5], [2])}}, {2: "cell"}
    )
    write_coco(tmp_path / "v.json", boxes)
    write_box_csv(tmp_path / "v.csv", boxes)
    for back in (read_coco(tmp_path / "v.json", source="m"), read_box_csv(tmp_path / "v.csv")):
        found = back.of("m", "v")
        assert (found.coordinates.tolist(), found.labels.tolist()) == ([[1, 2, 3, 4, 5, 6]], [2])
        assert back.images["v"].size == (9.0, 9.0, 9.0)
    assert read_coco(tmp_path / "v.json").categories == {2: "cell"}


def test_results_are_of_one_model_with_scores(tmp_path):
    boxes = BoxSet(
        {"p": ImageEntry(key=7)}, {"m": {"p": Boxes([[1, 2, 3, 4]], [0.5])}, "r": {"p": Boxes([[1, 2, 3, 4]])}}
    )
    write_coco_results(tmp_path / "m.json", boxes, "m")
    assert json.loads((tmp_path / "m.json").read_text()) == [
        {"image_id": 7, "category_id": 1, "bbox": [1.0, 2.0, 2.0, 2.0], "score": 0.5}
    ]
    with pytest.raises(ValueError, match="source must be one of 'm', 'r'"):
        write_coco_results(tmp_path / "m.json", boxes)
    with pytest.raises(ValueError, match="'r' have no scores"):
        write_coco_results(tmp_path / "m.json", boxes, "r")


CSV = "image,width,height,rater,n_boxes,box,x0,y0,x1,y1\n"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("p,9,9,a,1,0,1,1,0,2\n", r"Box 0 of image 'p', source 'a' .*row 2.* is inverted"),
        ("p,9,9,a,1,0,1,1,12,2\n", "reaches outside"),
        ("p,9,9,a,1,0,1,1,,2\n", "not finite"),
        ("p,9,9,a,1,0,1,1,x,2\n", "x1 of image 'p' .*row 2.* must be a number; got 'x'"),
        ("p,9,9,a,2,0,1,1,2,2\n", "says n_boxes 2, but has 1 rows"),
        ("p,9,9,a,2,0,1,1,2,2\np,9,9,a,2,0,3,3,4,4\n", "box 0 is there twice .*row 3"),
        ("p,9,9,a,0,-1,,,,\np,9,9,a,0,-1,,,,\n", "says that nothing was found, and other rows"),
        ("p,9,9,a,1,0,1,1,2,2\np,8,9,b,1,0,1,1,2,2\n", "contradicts an earlier row"),
    ],
)
def test_a_bad_row_is_refused_with_image_and_row(tmp_path, rows, told):
    path = tmp_path / "boxes.csv"
    path.write_text(CSV + rows + "q,9,9,a,1,0,1,1,2,2\n")
    with pytest.raises(ValueError, match=told) as caught:
        read_box_csv(path)
    assert "boxes.csv" in str(caught.value)
    assert "'p'" in str(caught.value)
    failures = {}
    assert len(read_box_csv(path, failures=failures).of("a", "q")) == 1
    assert list(failures) == ["p"]


def test_the_shared_pedestrian_boxes_are_read_as_their_page_says(shared):
    path = shared / "pedestrian_boxes.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    boxes = read_boxes(path)
    looked = [sum(found.get(name) is not None for found in boxes.sources.values()) for name in boxes.images]
    seen = sum(found is not None for found in boxes.sources["gt"].values())
    assert (len(boxes.images), len(boxes.sources), seen) == (1448, 44, 938)
    assert sorted(set(looked)) == [7, 8]
    assert sum(len(mine) for found in boxes.sources.values() for mine in found.values()) == 12952


def test_napari_corners_are_row_and_column(tmp_path):
    folder = tmp_path / "image_3"
    folder.mkdir()
    boxes = Boxes([[10, 20, 40, 60], [1, 2, 3, 5]])
    write_napari(folder / "t0.json", boxes)
    found = read_boxes(folder / "t0.json")
    assert found.of("t0", "image_3").coordinates.tolist() == boxes.coordinates.tolist()
    (folder / "t1_a.json").write_text("{}")
    (tmp_path / "image_10").mkdir()
    (tmp_path / "image_10" / "t0.json").write_text("{}")
    both = read_boxes(tmp_path / "{case}" / "{rater}.json")
    assert (list(both.images), list(both.sources)) == (["image_3", "image_10"], ["t0", "t1_a"])
    assert (len(both.of("t1_a", "image_3")), both.of("t1_a", "image_10")) == (0, None)


@pytest.mark.parametrize(
    ("corners", "told"),
    [
        ([[0, 5], [5, 10], [10, 5], [5, 0]], "is turned"),
        ([[0, 0], [0, 5], [5, 5]], "four corners"),
        ([[0, 0], [0, 0], [5, 5], [5, 5]], "is turned"),
        ([[0, 0], [0, math.nan], [5, 5], [5, 0]], "not finite"),
        ([[0, 0], [0, 0], [5, 0], [5, 0]], "no area"),
    ],
)
def test_what_is_no_upright_rectangle_is_refused(tmp_path, corners, told):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"0": corners}))
    with pytest.raises(ValueError, match=told) as caught:
        read_napari(path, image="p7")
    assert all(part in str(caught.value) for part in ("'p7'", "a.json"))


def test_turned_rectangles_may_be_enclosed(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"0": [[0, 5], [5, 10], [10, 5], [5, 0]]}')
    assert read_napari(path, image="p", enclose=True).of("a", "p").coordinates.tolist() == [[0, 0, 10, 10]]


def entry(**about):
    return BoxSet({"p": ImageEntry(**about)}, {}, {})


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (entry(size=(9.0, 8.0)), "Image 'p' has size"),
        (entry(group="y"), "Image 'p' has group 'x'"),
        (entry(key=2), "Image 'p' has id 1"),
        (BoxSet({"q": ImageEntry(key=1)}, {}), "id 1 is 'p' in one file and 'q' in another"),
        (BoxSet({"p": ImageEntry()}, {"a": {"p": Boxes([])}}), "boxes of 'a' in image 'p' in two files"),
        (BoxSet({}, {}, {1: "cell"}), "Category 1 is 'organoid' in one file and 'cell'"),
    ],
)
def test_files_that_contradict_each_other_are_refused(second, told):
    first = BoxSet({"p": ImageEntry((9.0, 9.0), "x", 1)}, {"a": {"p": Boxes([])}}, {1: "organoid"})
    with pytest.raises(ValueError, match=told):
        merge_boxes([first, second])


def test_labels_stay_where_there_are_several_categories():
    raters = BoxSet({"p": ImageEntry()}, {"a": {"p": Boxes([[0, 0, 1, 1]], labels=[2])}}, {1: "x", 2: "y"})
    (image,) = detection_images(raters)
    assert image.raters["a"].labels.tolist() == [2]


def test_groups_come_from_names_or_files():
    raters = BoxSet({"plate1_3": ImageEntry(group="old")}, {"a": {"plate1_3": Boxes([])}})
    assert detection_images(raters)[0].group == "old"
    assert detection_images(raters, group=r"(plate\d+)")[0].group == "plate1"
    with pytest.raises(ValueError, match="image 'plate1_3' does not fit"):
        detection_images(raters, group=r"(dish\d+)")


def test_images_in_memory_are_written():
    image = DetectionImage("p", detections=Boxes([[0, 0, 1, 1]], [0.5]), raters={"a": None, "b": Boxes([])})
    assert BoxSet.from_images([image]).sources == {"a": {"p": None}, "b": {"p": image.raters["b"]}}
    assert BoxSet.from_images([image], detections="m").of("m", "p") is image.detections
    with pytest.raises(ValueError, match="'p' is there twice"):
        BoxSet.from_images([image, image])


def test_new_scores_leave_all_else_as_it_was(tmp_path):
    content = {
        "info": {"x": 1},
        "annotations": [annotation(5, score=0.25, segmentation=[[1, 2]]), annotation(2, 2, score=1)],
    }
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    assert rescore(path, tmp_path / "out.json", lambda scores: scores / 2).tolist() == [0.25, 1]
    for one, score in zip(content["annotations"], (0.125, 0.5), strict=True):
        one["score"] = score
    assert json.loads((tmp_path / "out.json").read_text()) == content

    (tmp_path / "m.csv").write_text("image,note,score,x0,y0,x1,y1\np,kept,0.5,0,0,1,1\nq,none,,,,,\n")
    rescore(tmp_path / "m.csv", tmp_path / "out.csv", np.square)
    assert (tmp_path / "out.csv").read_text() == "image,note,score,x0,y0,x1,y1\np,kept,0.25,0,0,1,1\nq,none,,,,,\n"


@pytest.mark.parametrize("score", ["null", "1.5", "NaN", '"high"'])
def test_new_scores_need_old_ones(tmp_path, score):
    path = tmp_path / "m.json"
    path.write_text(f'[{{"image_id": 3, "score": {score}}}]')
    with pytest.raises(ValueError, match=r"score of image 3, entry 0 of .*m.json"):
        rescore(path, tmp_path / "out.json", np.square)
    assert not (tmp_path / "out.json").exists()
    with pytest.raises(ValueError, match="never overwritten"):
        rescore(path, path, np.square)
