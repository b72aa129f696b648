"""``mrcalib detect``, end to end on a few boxes."""

import csv
import json

import numpy as np
import pytest

import mrcalib
from mrcalib.detection import Boxes, DetectionImage, RaterSpecificEnsemble, detection_cohort
from mrcalib.detection.files import BoxSet, detection_images, read_boxes, write_coco, write_coco_results
from mrcalib.metrics import average_precision, detection_calibration

OPTIONS = {
    "evaluate": (
        "--raters",
        "--detections",
        "--iou",
        "--matching",
        "--score-floor",
        "--bins",
        "--max-detections",
        "--json",
    ),
    "ensemble": ("--models", "--rater-models", "--sizes", "--images", "--grouping", "--score", "-o", "--resamples"),
    "fit": ("--raters", "--detections", "--method", "--iou", "--score-floor", "-o", "--figure"),
    "apply": ("CALIBRATOR", "FILE", "-o", "--overwrite", "--quiet"),
}
SIZE = (200.0, 200.0)


def _world(seed=0):
    rng = np.random.default_rng(seed)
    places = [np.stack(np.meshgrid([20, 80, 140], [20, 80, 140]), -1).reshape(-1, 2) for _ in range(6)]
    corners = [np.hstack([p, p + 30]).astype(float) for p in places]

    def some(probability, scores=False):
        found = {}
        for i, boxes in enumerate(corners):
            kept = boxes[rng.random(9) < probability] + rng.integers(-2, 3, 4) * np.array([1, 1, -1, -1]) * 0.5
            found[f"p{i}"] = Boxes(kept, rng.uniform(0.1, 1, len(kept)).round(3) if scores else None)
        return found

    return some


@pytest.fixture
def files(tmp_path):
    """Two raters in files of their own, a table of both, and four models, in the working folder."""
    some = _world()
    raters = {"ann": some(0.9), "bo": some(0.6)}
    images = [
        DetectionImage(f"p{i}", size=SIZE, raters={r: found[f"p{i}"] for r, found in raters.items()}) for i in range(6)
    ]
    both = BoxSet.from_images(images)
    for rater, found in both.sources.items():
        write_coco(tmp_path / f"{rater}.json", BoxSet(both.images, {rater: found}, {1: "organoid"}))
    write_coco(tmp_path / "both.json", both)
    for k in range(4):
        write_coco_results(tmp_path / f"m{k}.json", BoxSet(both.images, {"m": some(0.8, scores=True)}))
    return tmp_path


def read(files, model="m0", raters=("ann", "bo")):
    from mrcalib.detection.files import merge_boxes

    drawn = merge_boxes([read_boxes(files / f"{rater}.json") for rater in raters])
    return detection_images(drawn, read_boxes(files / f"{model}.json", images=drawn))


@pytest.mark.parametrize("command", OPTIONS)
def test_help_teaches_its_options_with_examples(run, command):
    answer = run("detect", command, "--help")
    assert answer.code == 0
    assert f"mrcalib detect {command}" in answer.out.split("examples:")[1]
    assert f"usage: mrcalib detect {command}" in answer.out
    for option in OPTIONS[command]:
        assert option in answer.out
    assert f"mrcalib detect {command}" in run("detect", "--help").out


def test_scores_are_those_of_the_library(run, files):
    answer = run(
        "detect", "evaluate", "--raters", "ann.json", "bo.json", "--detections", "model=m0.json", "--resamples", "20",
        "--out", "out", "--json", "--quiet",
    )  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    told = json.loads(answer.out)
    images = read(files)
    rows = {(row["score"], row["against"], row["iou"]): row for row in told["scores"]}
    pairs = detection_calibration(images, bins=20, n_resamples=20)
    row = rows["multi-rater D-ECE", "all raters", 0.5]
    assert (row["value"], row["low"], row["high"]) == (pairs.value, pairs.low, pairs.high)
    each = [average_precision(images, rater=rater).value for rater in ("ann", "bo")]
    assert rows["mAP", "all raters", "0.5-0.95"]["value"] == pytest.approx(np.mean(each), abs=1e-12)
    assert rows["mAP", "bo", "0.5-0.95"]["value"] == each[1]
    assert {("LaECE0", "ann", 0.0), ("LRP", "all raters", 0.75), ("mAR", "ann", "0.5-0.95")} <= rows.keys()
    assert {row["iou_threshold"] for row in told["agreement"]} >= {0.3, 0.5, 0.75}
    counts = [len(image.raters["ann"]) for image in images]
    assert told["objects"][0] == {
        "rater": "ann", "n_images": 6, "mean": np.mean(counts), "sd": pytest.approx(np.std(counts, ddof=1))
    }  # fmt: skip
    with (files / "out" / "scores.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(told["scores"])
    for name in ("calibration.png", "agreement.png"):
        assert (files / "out" / name).stat().st_size > 1000


def test_both_forms_of_coco_give_the_same(run, files):
    options = ("--detections", "m0.json", "--resamples", "5", "--json", "--quiet")
    first = run("detect", "evaluate", "--raters", "ann.json", "bo.json", *options)
    second = run("detect", "evaluate", "--raters", "both.json", *options)
    assert (first.code, second.code) == (0, 0)
    assert json.loads(first.out)["scores"] == json.loads(second.out)["scores"]


def test_raters_alone_are_compared(run, files):
    answer = run("detect", "evaluate", "--raters", "both.json")
    assert answer.code == 0, answer.err
    assert "ann, bo" in answer.out
    answer = run("detect", "evaluate", "--raters", "ann.json")
    assert answer.code == 3
    assert "nothing to score" in answer.err


def test_a_bad_image_is_told_and_the_others_are_scored(run, files):
    content = json.loads((files / "ann.json").read_text())
    content["annotations"][0]["bbox"][2] = -5.0
    (files / "bad.json").write_text(json.dumps(content))
    answer = run(
        "detect", "evaluate", "--raters", "bad.json", "--detections", "m0.json", "--resamples", "5", "--json", "--out", "out",
        "--no-figures",
    )  # fmt: skip
    assert answer.code == 3
    assert "1 of 6 images could not be used; the results are of the others" in answer.err
    assert "image 'p0', source 'bad'" in answer.err
    told = json.loads(answer.out)
    assert (told["n_images"], list(told["failures"])) == (5, ["p0"])
    value = average_precision([image for image in read(files, raters=("ann",)) if image.id != "p0"]).value
    assert next(row["value"] for row in told["scores"] if row["score"] == "mAP") == value


def test_an_image_that_a_model_did_not_run_on_is_not_one_without_objects(run, files):
    images = read(files)
    found = BoxSet.from_images(images[1:], detections="part")
    write_coco(files / "part.json", BoxSet(found.images, found.sources, {1: "organoid"}))
    answer = run("detect", "evaluate", "--raters", "ann.json", "--detections", "part.json", "--resamples", "5")
    assert answer.code == 3
    assert "Image 'p1' has id 2 in one file and 1 in another" in answer.err  # numbered anew: refused, not mixed up
    content = json.loads((files / "part.json").read_text())
    for image in content["images"]:
        image["id"] += 1
    for one in content["annotations"]:
        one["image_id"] += 1
    (files / "part.json").write_text(json.dumps(content))
    answer = run("detect", "evaluate", "--raters", "ann.json", "--detections", "part.json", "--resamples", "5")
    assert answer.code == 3
    assert "Image 'p0': the file of model 'part' does not list it" in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["evaluate"], "required: --raters"),
        (["evaluate", "--raters", "ann.json", "--iou", "1.5"], "expected an overlap above 0"),
        (["evaluate", "--raters", "ann.json", "--score-floor", "2"], "expected a score from 0 to 1"),
        (["evaluate", "--raters", "ann.json", "--detections", "m0.json", "m0.json"], "two models are named 'm0'"),
        (["evaluate", "--raters", "ann.json", "--detections", "m0.json", "--rater", "x"], "no rater 'x'; there are ann"),
        (["ensemble", "-o", "e"], "name the models"),
        (["ensemble", "--models", "m0.json", "-o", "e"], "--raters FILE..., or --images FILE"),
        (["ensemble", "--rater-models", "m0.json", "m1.json", "-o", "e"], "expected a rater's name, then files"),
        (["ensemble", "--models", "m0.json", "--raters", "ann.json", "--sizes", "2", "-o", "e"], "--sizes 2: LSE needs"),
        (["ensemble", "--models", "m0.json", "--images", "ann.json", "--sizes", "1", "-o", "e"], "needs --raters"),
        (["fit", "--raters", "ann.json", "--detections", "m0.json", "--method", "x", "-o", "c.json"], "no method 'x'"),
        (["apply", "c.json", "m0.json", "m1.json", "-o", "one.json"], "one file for 2 inputs"),
        (["apply", "c.json", "m0.json", "-o", "one.csv"], "stays of the input's kind"),
    ],
)  # fmt: skip
def test_wrong_usage_exits_with_2(run, files, words, told):
    answer = run("detect", *words, "--quiet")
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err
    assert f"mrcalib detect {words[0]} --help" in answer.err
    assert run("detect").code == 2


def test_library_errors_speak_of_options(run, files):
    content = json.loads((files / "both.json").read_text())
    for image in content["images"]:
        del image["raters"]
    content["annotations"] = [one for one in content["annotations"] if one["rater"] == "ann" or one["image_id"] != 1]
    (files / "both.json").write_text(json.dumps(content))
    answer = run("detect", "evaluate", "--raters", "both.json")
    assert answer.code == 3
    assert "--absent empty" in answer.err
    assert run("detect", "evaluate", "--raters", "both.json", "--absent", "empty").code == 0


def test_ensembles_are_those_of_the_library(run, files):
    answer = run(
        "detect", "ensemble", "--rater-models", "ann", "m0.json", "m1.json", "--rater-models", "bo", "m2.json", "m3.json",
        "--raters", "ann.json", "--sizes", "2", "4", "--resamples", "10", "-o", "out", "--json", "--quiet",
    )  # fmt: skip
    assert (answer.code, answer.err) == (0, "")
    told = json.loads(answer.out)
    models = [read(files, f"m{k}", ("ann",)) for k in range(4)]
    expected = []
    for at in zip(*models, strict=True):
        a, b, c, d = (image.detections for image in at)
        expected.append(at[0].with_detections(RaterSpecificEnsemble().combine({"ann": [a, b], "bo": [c, d]})))
    raters = read_boxes(files / "ann.json")
    written = detection_images(raters, read_boxes(files / "out" / "RSE.json"))
    for image, known in zip(written, expected, strict=True):
        np.testing.assert_allclose(image.detections.coordinates, known.detections.coordinates, atol=1e-9)
        assert image.detections.scores.tolist() == known.detections.scores.tolist()
    precision = average_precision(expected, n_resamples=10)
    (row,) = [row for row in told["sizes"] if (row["size"], row["score"]) == (4, "mAP")]
    assert row["value"] == precision.value
    assert row["resampled_sd"] == pytest.approx(precision.samples.std(ddof=1))
    own = [average_precision(model).value for model in models]
    first, second = told["model_groups"]
    assert (first["models"], first["n_models"], second["models"]) == ("RS (ann)", 2, "RS (bo)")
    assert (first["mAP"], first["mAP_sd"]) == pytest.approx((np.mean(own[:2]), np.std(own[:2], ddof=1)))
    for name in ("calibration.png", "sizes.png", "models.csv", "sizes.csv", "command.txt"):
        assert (files / "out" / name).stat().st_size > 100


def test_an_ensemble_needs_no_raters(run, files):
    answer = run("detect", "ensemble", "--models", "m0.json", "m1.json", "--images", "ann.json", "-o", "out")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in (files / "out").iterdir()) == ["LSE.json", "command.txt", "ensemble.json"]
    content = json.loads((files / "out" / "LSE.json").read_text())
    assert [image["id"] for image in content["images"]] == [1, 2, 3, 4, 5, 6]
    assert all("score" in one for one in content["annotations"])


def test_fit_and_apply_are_what_the_library_does(run, files):
    answer = run(
        "detect", "fit", "--raters", "ann.json", "bo.json", "--detections", "m0.json", "--iou", "0.75", "--score-floor",
        "0.2", "-o", "cal.json", "--json", "--figure", "map.png",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    fitted = mrcalib.load(files / "cal.json")
    expected = mrcalib.MHRIsotonicCalibrator().fit_tally(detection_cohort(read(files), 0.75, "greedy", 0.2))
    assert fitted.map_ == expected.map_
    assert fitted.provenance_["detection"] == {"iou_threshold": 0.75, "matching": "greedy", "score_floor": 0.2}
    assert json.loads(answer.out)["n_images"] == 6
    assert (files / "map.png").stat().st_size > 1000

    before = json.loads((files / "m1.json").read_text())
    before[0]["note"] = "kept"
    (files / "m1.json").write_text(json.dumps(before))
    answer = run("detect", "apply", "cal.json", "m1.json", "-o", "out")
    assert answer.code == 0, answer.err
    assert "below the floor of the fit, 0.2" in answer.err
    after = json.loads((files / "out" / "m1.json").read_text())
    assert [one["score"] for one in after] == fitted.transform(np.array([one["score"] for one in before])).tolist()
    assert [{**one, "score": 0} for one in after] == [{**one, "score": 0} for one in before]
    about = json.loads((files / "out" / "m1.provenance.json").read_text())
    assert about["detection"]["iou_threshold"] == 0.75

    answer = run("detect", "apply", "cal.json", "m1.json", "m2.json", "-o", "out")
    assert answer.code == 3
    assert "give --overwrite" in answer.err
    assert (files / "out" / "m2.json").is_file()
    assert "never overwritten" in run("detect", "apply", "cal.json", "m1.json", "-o", ".", "--overwrite").err
    assert json.loads((files / "m1.json").read_text()) == before


def test_a_calibrator_of_voxels_is_warned_of(run, files):
    mrcalib.MHRIsotonicCalibrator().fit([0.2, 0.8], [[0, 1]]).save(files / "voxels.json")
    answer = run("detect", "apply", "voxels.json", "m0.json", "-o", "out")
    assert answer.code == 0
    assert "was not fitted by mrcalib detect fit" in answer.err


def test_fit_takes_every_registered_method_in_any_spelling(run, files):
    words = ("detect", "fit", "--raters", "ann.json", "bo.json", "--detections", "m0.json", "-o", "c.json", "--quiet")
    for spelling in ("twintrack", "TwinTrack (250 bins)", "beta-binomial"):
        answer = run(*words, "--method", spelling, "--json")
        assert answer.code == 0
        assert json.loads(answer.out)["method"] in ("TwinTrack", "beta-binomial")
