"""The training example runs end to end with a tiny network, and each of its steps does what it says."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the example of detectors needs PyTorch")
pytest.importorskip("PIL", reason="the example of detectors reads PNG through Pillow")

from mrcalib.detection import Boxes  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "detector_ensembles"
MODULES = ("organoids", "data", "strategies", "models", "train", "ensemble", "evaluate")
SIZE, N_OBJECTS = (64, 48), 10
OPERATORS = torch.library.Library("torchvision", "FRAGMENT")


@pytest.fixture(scope="module")
def code():
    """The example's modules, which know each other by their bare names, as scripts do."""
    before = {name: sys.modules.pop(name, None) for name in MODULES}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    finally:
        sys.path.remove(str(EXAMPLE))
        torch.set_num_threads(threads)
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


@pytest.fixture(scope="module")
def folder(code, tmp_path_factory):
    path = tmp_path_factory.mktemp("organoids")
    code.data.write_simulated(path, {"train": 6, "val": 2, "test": 3, "pretrain": 4}, SIZE, N_OBJECTS, seed=1)
    return path


@pytest.fixture(scope="module")
def train_set(code, folder):
    return code.data.load(folder, "train")


@pytest.fixture(scope="module")
def models(code, folder, tmp_path_factory):
    """A common start and two runs of each strategy, as the README's commands make them."""
    out = tmp_path_factory.mktemp("models")
    main = code.train.main
    main([str(folder), str(out / "pretrained"), "--strategy", "pretrain", "--epochs", "80", "--device", "cpu"])
    start = ["--start", str(out / "pretrained" / "weights.pt"), "--positive-weight", "4", "--device", "cpu"]
    for strategy, runs in (("ls", 2), ("rater1", 1), ("rater2", 1)):
        main([str(folder), str(out), "--strategy", strategy, "--runs", str(runs), "--epochs", "12", *start])
    return out


def test_files_give_back_what_was_simulated(code, folder):
    drawn = list(code.data.organoids(11, SIZE, n_objects=N_OBJECTS, rng=1))
    for split, first in (("train", 0), ("val", 6), ("test", 8)):
        for sample, shown in zip(code.data.load(folder, split), drawn[first:], strict=False):
            assert sample.image.shape == (1, 48, 64)
            assert sample.size == (64, 48)
            assert np.abs(sample.image[0].numpy() - shown.image).max() < 0.5 / 255 + 1e-6
            np.testing.assert_allclose(sample.boxes["rater1"].coordinates, shown.raters[0], atol=1e-9)
            np.testing.assert_allclose(sample.boxes["rater2"].coordinates, shown.raters[1], atol=1e-9)
            assert ("consensus" in sample.boxes) == (split == "test")
    (sample, *_) = code.data.load(folder, "pretrain")
    assert list(sample.boxes) == ["organoids"]


def test_detections_are_read_back_and_an_image_without_any_is_empty(code, folder, tmp_path):
    samples = code.data.load(folder, "test")
    found = [Boxes([[1, 2, 8, 9.5], [0, 0, 5, 5]], [0.75, 0.02], [1, 1]), Boxes.empty(), Boxes.empty()]
    code.data.write_detections(tmp_path / "test.json", samples, found)
    first, second, _ = code.data.read_detections(tmp_path / "test.json", samples, floor=0.05)
    assert first.coordinates.tolist() == [[1, 2, 8, 9.5]]
    assert first.scores.tolist() == [0.75]
    assert len(second) == 0


def test_label_sampling_shows_one_rater_an_image_and_epoch_and_all_in_time(code, train_set):
    sampled = code.strategies.label_sampling(("rater1", "rater2"), seed=3)
    drawn = {}
    for epoch in range(30):
        for sample in train_set:
            boxes = sampled(sample, epoch)
            (drawn[epoch, sample.id],) = (name for name in ("rater1", "rater2") if boxes is sample.boxes[name])
            assert sampled(sample, epoch) is boxes
    share = np.mean([name == "rater1" for name in drawn.values()])
    assert 0.35 < share < 0.65
    assert len({tuple(drawn[epoch, sample.id] for sample in train_set) for epoch in range(30)}) > 10


def test_rater_specific_shows_one_rater_only(code, train_set):
    strategy = code.strategies.strategy_of("rater2", ("rater1", "rater2"), seed=0)
    assert all(strategy(sample, epoch) is sample.boxes["rater2"] for sample in train_set for epoch in range(3))


def test_mirrored_boxes_stay_on_their_objects(code):
    image = torch.zeros(1, 20, 30)
    image[0, 4:9, 3:15] = 1
    boxes = np.array([[3.0, 4.0, 15.0, 9.0]])
    seen = set()
    for seed in range(12):
        turned, ((x0, y0, x1, y1),) = code.train.augmented(image, boxes, "flips", np.random.default_rng(seed))
        assert turned[0, int(y0) : int(y1), int(x0) : int(x1)].min() == 1
        assert turned.sum() == image.sum()
        seen.add((x0, y0))
    assert seen == {(3, 4), (15, 4), (3, 11), (15, 11)}
    assert boxes.tolist() == [[3, 4, 15, 9]]


def test_targets_and_detections_are_inverse(code):
    boxes = torch.tensor([[5.0, 6.0, 17.0, 14.0], [30.0, 20.0, 41.5, 35.0]])
    maps = torch.full((1, 5, 12, 16), -9.0)
    nearness, (image, row, column), shapes = code.models.targets([boxes], maps)
    maps[image, 0, row, column] = 2.0
    maps[image, 1:, row, column] = shapes
    ((found, scores),) = code.models.HeatMapDetector().detections(maps, (48, 64))
    assert torch.allclose(found, boxes, atol=1e-4)
    assert torch.allclose(scores, torch.tensor(2.0).sigmoid().expand(2))
    assert nearness[image, row, column].tolist() == [1.0, 1.0]


def test_detections_lie_in_the_image(code):
    maps = torch.full((1, 5, 4, 4), -9.0)
    maps[0, :, 0, 0] = torch.tensor([3.0, -0.4, -0.4, 2.0, 99.0])
    ((found, _),) = code.models.HeatMapDetector().detections(maps, (16, 16))
    ((x0, y0, x1, y1),) = found.tolist()
    assert (x0, y0, y1) == (0.0, 0.0, 16.0)
    assert 0 < x1 <= 16


def test_objects_weigh_as_much_as_is_asked(code):
    torch.manual_seed(0)
    maps, boxes = torch.randn(2, 5, 12, 16), [torch.tensor([[5.0, 6.0, 17.0, 14.0]]), torch.zeros(0, 4)]
    plain, twice, four = (code.models.HeatMapDetector(w).loss(maps, boxes).item() for w in (1.0, 2.0, 4.0))
    assert twice > plain
    assert four - plain == pytest.approx(3 * (twice - plain), rel=1e-4)


def test_images_without_objects_train(code):
    model = code.models.build("heatmap")
    loss = model(torch.rand(2, 1, 32, 32), [torch.zeros(0, 4)] * 2)
    loss.backward()
    assert torch.isfinite(loss)


def test_the_loss_falls_and_all_files_are_written(models):
    for name in ("pretrained", "ls-00", "ls-01", "rater1-00", "rater2-00"):
        history = json.loads((models / name / "history.json").read_text())
        assert history[-1] < history[0], name
    for name in ("ls-00", "ls-01", "rater1-00", "rater2-00"):
        assert {path.name for path in (models / name).iterdir()} == {
            "history.json",
            "run.json",
            "test.json",
            "val.json",
            "weights.pt",
        }


def test_hyper_parameters_vary_and_are_shared_by_strategies(code):
    one, other = (code.train.draw_runs(name, 6, 3, seed=5) for name in ("ls", "rater1"))
    for a, b in zip(one, other, strict=True):
        assert replace(a, strategy=b.strategy, seed=b.seed) == b
        assert a.seed != b.seed
        assert 1e-3 <= a.learning_rate <= 1e-2
    assert len({run.learning_rate for run in one}) == 6
    assert code.train.draw_runs("ls", 2, 3, seed=5) == one[:2]


def test_finished_runs_are_skipped(code, folder, models):
    before = {path: path.stat().st_mtime_ns for path in models.rglob("*.*")}
    code.train.main([str(folder), str(models), "--strategy", "ls", "--runs", "2", "--epochs", "12", "--device", "cpu"])
    assert {path: path.stat().st_mtime_ns for path in models.rglob("*.*")} == before


def test_an_interrupted_run_goes_on_to_the_same_weights(code, train_set, tmp_path):
    run = code.train.Run("ls", 0, 11, 3e-3, 2, "flips and light", epochs=3)
    strategy = code.strategies.strategy_of("ls", ("rater1", "rater2"), run.seed)

    def interrupted(sample, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return strategy(sample, epoch)

    folders = [tmp_path / name for name in ("whole", "broken")]
    for path in folders:
        path.mkdir()
    whole = code.train.train(run, train_set, strategy, folders[0])
    with pytest.raises(KeyboardInterrupt):
        code.train.train(run, train_set, interrupted, folders[1])
    mended = code.train.train(run, train_set, strategy, folders[1])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, mended.state_dict()[name]), name


def test_models_are_judged_by_their_own_rater(code, folder, tmp_path):
    val = code.data.load(folder, "val")
    for name, source in (("rater1-00", "rater2"), ("rater1-01", "rater1"), ("ls-00", "rater1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
        boxes = [sample.boxes[source].with_scores(np.ones(len(sample.boxes[source]))) for sample in val]
        code.data.write_detections(tmp_path / name / "val.json", val, boxes)
    raters = ("rater1", "rater2")
    (first, own), (second, _) = code.ensemble.ranked(tmp_path, "rater1", val, raters)
    assert (own.name, first) == ("rater1-01", 1.0)
    assert second < 1
    ((mixed, _),) = code.ensemble.ranked(tmp_path, "ls", val, raters)
    assert mixed == pytest.approx((first + second) / 2, abs=0.05)


def test_ensembles_count_absent_models(code):
    box, nothing = [Boxes([[0, 0, 9, 9]], [0.8])], [Boxes.empty()]
    found = {"ls": [box, box], "rater1": [box], "rater2": [nothing]}
    assert [code.ensemble.pool(found, kind, 2)[0].scores.tolist() for kind in ("LSE", "RSE")] == [[0.8], [0.4]]
    assert code.ensemble.pool(found, "RSE", 2, "group-size")[0].scores.tolist() == [0.8]


def test_evaluation_writes_the_table_of_sizes(code, folder, models):
    table = code.evaluate.main([str(folder), str(models), "--sizes", "2", "--resamples", "20"])
    assert table["ensemble"].tolist() == ["LSE", "RSE"]
    assert (models / "ensembles.csv").exists()
    for metric in ("d_ece_0.5", "d_ece_0.75", "map", "mar", "multi_rater_d_ece"):
        assert table[metric].between(0, 1).all(), metric
        assert (table[f"{metric}_boot_sd"] >= 0).all()
    assert (table["n_detections"] > 0).all()


def import_torchvision():
    """Where torchvision's compiled operators do not load beside this PyTorch, declare them; the test has its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of these packages, about each other
        try:
            return importlib.import_module("torchvision.models.detection")
        except RuntimeError:  # "operator torchvision::nms does not exist"
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            for name in ("nms", "qnms"):
                OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            return importlib.import_module("torchvision.models.detection")


@pytest.fixture
def torchvision(monkeypatch):
    try:
        import_torchvision()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision is not installed, or does not load beside this PyTorch: {error}")
    if not sys.modules["torchvision.extension"]._has_ops():
        monkeypatch.setattr(sys.modules["torchvision.ops.boxes"], "nms", plain_nms)
        align = sys.modules["torchvision.ops.roi_align"]
        monkeypatch.setattr(align, "_roi_align", align._roi_align.__wrapped__)  # in Python, not compiled


def plain_nms(dets, scores, iou_threshold):
    left, kept = scores.argsort(descending=True).tolist(), []
    area = (dets[:, 2:] - dets[:, :2]).prod(1)
    while left:
        best, *left = left
        kept.append(best)
        rest = torch.tensor(left, dtype=torch.long)
        shared = (torch.minimum(dets[best, 2:], dets[rest, 2:]) - torch.maximum(dets[best, :2], dets[rest, :2])).clamp(
            0
        )
        overlap = shared.prod(1) / (area[best] + area[rest] - shared.prod(1))
        left = rest[overlap <= iou_threshold].tolist()
    return torch.tensor(kept, dtype=torch.long)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch, about itself, as torchvision loads the rest
@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("name", ["faster-rcnn", "mask-rcnn"])
def test_region_detectors_take_a_step_through_the_same_code(code, train_set, name):
    torch.manual_seed(0)
    few = {"box_batch_size_per_image": 16, "rpn_post_nms_top_n_train": 32, "rpn_post_nms_top_n_test": 32}
    model = code.models.RegionDetector(name, min_size=48, **few)
    optimiser = torch.optim.SGD(model.parameters(), 1e-4)
    run = code.train.Run("rater1", 0, 0, 1e-3, 2, "flips", 1, name)
    strategy = code.strategies.rater_specific("rater1")
    images, boxes = next(code.train.batches(run, train_set[:2], strategy, 0, np.random.default_rng(0)))
    loss = code.train.step(model.train(), optimiser, torch.amp.GradScaler("cpu", enabled=False), images, boxes)
    assert np.isfinite(loss)
    assert loss > 0
    found = code.train.predict(model, train_set[:1])
    assert len(found) == 1
    found[0].check_inside(train_set[0].size)
