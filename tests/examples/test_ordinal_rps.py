"""The training example: its loss against NumPy, its data, two epochs of every strategy, and its scores against mrcalib."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrcalib.metrics import auc, brier_score, multirater_ece, ranked_probability_score

torch = pytest.importorskip("torch", reason="the training example needs PyTorch")
if importlib.util.find_spec("segmentation_models_pytorch") is None:
    pytest.skip("the training example needs segmentation_models_pytorch", allow_module_level=True)

EXAMPLES = Path(__file__).parents[2] / "examples"


def import_torchvision():
    """Where torchvision's compiled operators do not fit this PyTorch, declare them: none is called here."""
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401

        return library
    return None


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of these packages, about each other
    KEPT = import_torchvision()
    sys.path[:0] = [str(EXAMPLES), str(EXAMPLES.parent)]
    try:
        from ordinal_rps import compare, data, evaluate, loss, strategies, train
        from ordinal_rps.images import AnnotatedImage

        from benchmarks.ordinal.training import summary
    finally:
        del sys.path[:2]

K = 4
TINY = train.Settings("RPS", **compare.PRESETS["tiny"])


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_case(n_raters=K, shape=(2, 3, 5), seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (shape[0], n_raters + 1, *shape[1:]))
    return torch.from_numpy(logits), torch.from_numpy(rng.integers(0, n_raters + 1, shape))


def softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# The loss -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["classes", "levels", "none"])
@pytest.mark.parametrize("n_raters", [1, 3, 4])
def test_the_rps_loss_is_that_of_numpy_and_of_mrcalib(norm, n_raters):
    logits, votes = random_case(n_raters)
    p, y = softmax(logits.numpy()), votes.numpy()
    total = 0.0
    for j in range(n_raters + 1):
        total += ((p[:, : j + 1].sum(axis=1) - (y <= j)) ** 2).mean()
    expected = total / {"classes": n_raters + 1, "levels": n_raters, "none": 1}[norm]
    found = loss.ranked_probability_loss(logits, votes, norm).item()
    assert found == pytest.approx(expected, abs=1e-12)
    assert found == pytest.approx(ranked_probability_score(p, y, norm=norm, class_axis=1), abs=1e-12)


def test_the_rps_of_one_rater_is_the_brier_score():
    logits, votes = random_case(1)
    brier = brier_score(softmax(logits.numpy())[:, 1].ravel(), votes.numpy().ravel())
    assert loss.ranked_probability_loss(logits, votes, "none").item() == pytest.approx(brier, abs=1e-7)


@pytest.mark.parametrize("tie", ["foreground", "background"])
@pytest.mark.parametrize("n_raters", [1, 3, 4])
def test_the_majority_loss_is_a_cross_entropy(tie, n_raters):
    logits, votes = random_case(n_raters)
    k = np.arange(n_raters + 1)
    majority = k >= n_raters / 2 if tie == "foreground" else k > n_raters / 2
    p = softmax(logits.numpy())[:, majority].sum(axis=1)
    y = majority[votes.numpy()]
    expected = -np.where(y, np.log(p), np.log1p(-p)).mean()
    assert loss.majority_loss(logits, votes, tie).item() == pytest.approx(expected, abs=1e-12)


def test_ties_matter_for_four_raters_and_not_for_three():
    for n_raters, equal in ((3, True), (4, False)):
        values = [loss.majority_loss(*random_case(n_raters), tie).item() for tie in ("foreground", "background")]
        assert (values[0] == values[1]) is equal


def test_the_sum_and_the_convex_form():
    logits, votes = random_case()
    majority, rps = loss.majority_loss(logits, votes).item(), loss.ranked_probability_loss(logits, votes).item()
    assert loss.OrdinalLoss(0.8)(logits, votes).item() == pytest.approx(majority + 0.8 * rps)
    assert loss.OrdinalLoss(0.3, convex=True)(logits, votes).item() == pytest.approx(0.7 * majority + 0.3 * rps)


@pytest.mark.parametrize("options", [{"alpha": -0.1}, {"alpha": 1.1, "convex": True}, {"norm": "x"}, {"tie": "x"}])
def test_options_of_the_loss_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match="alpha >= 0"):
        loss.OrdinalLoss(**options)


@pytest.mark.parametrize("options", [{}, {"convex": True}, {"tie": "background", "norm": "levels"}])
def test_gradients_are_right(options):
    logits, votes = random_case(3, (2, 2, 2))
    assert torch.autograd.gradcheck(lambda z: loss.OrdinalLoss(0.8, **options)(z, votes), logits.requires_grad_())


def test_the_ordinal_loss_is_least_for_the_true_distribution():
    """A proper score: of all constant predictions, the observed frequencies are best, as a descent from afar finds."""
    votes = torch.tensor([0] * 5 + [1] * 2 + [4] * 3).view(1, -1)
    logits = torch.zeros(1, K + 1, 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss.OrdinalLoss(0.8)(logits.expand(-1, -1, 10), votes)
        value.backward()
        return value

    optimizer.step(closure)
    assert logits.softmax(dim=1).squeeze().tolist() == pytest.approx([0.5, 0.2, 0, 0, 0.3], abs=0.01)


def test_certain_and_wrong_logits_stay_finite_also_in_half_precision():
    logits = torch.tensor([[6e4, 0.0, -6e4]], dtype=torch.float16).view(1, 3, 1).requires_grad_()
    value = loss.OrdinalLoss()(logits, torch.tensor([[2]]))
    value.backward()
    assert np.isfinite(value.item())
    assert torch.isfinite(logits.grad).all()


# Strategies and data ------------------------------------------------------------------------------------------------------


def discs(n=12, size=32, seed=0, per_patient=2, split=""):
    """Bright discs, of which four raters draw smaller and larger ones."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    images = []
    for i in range(n):
        centre, radius = rng.uniform(0.4, 0.6, 2) * size, rng.uniform(0.15, 0.3) * size
        distance = np.hypot(y - centre[0], x - centre[1])
        pixels = 120 * (distance < radius) + rng.normal(60, 15, distance.shape)
        masks = {str(k): (distance < radius * s).astype(np.uint8) for k, s in enumerate((0.7, 0.95, 1.05, 1.3))}
        images.append(AnnotatedImage(f"i{i}", f"p{i // per_patient}", pixels.clip(0, 255), masks, split))
    return images


@pytest.mark.parametrize("strategy", strategies.STRATEGIES)
def test_targets_are_fractions_or_votes(strategy):
    masks = discs(1)[0].masks
    target = strategies.target_of(strategy, masks, np.random.default_rng(0))
    assert target.shape == (32, 32)
    if strategy == strategies.ORDINAL:
        assert np.array_equal(target, np.sum(masks, axis=0))
        assert target.dtype == np.int64
    else:
        assert target.dtype == np.float32
        assert target.min() == 0
        assert 0.99 < target.max() <= 1
        soft = strategy in ("Soft Consensus", "Soft Consensus-G", "SVLS")
        assert (np.unique(target).size > 2) is soft


def test_hard_targets_follow_the_tie_rule():
    masks = [np.array([[a, 1]], np.uint8) for a in (1, 1, 0, 0)]
    for strategy in ("Median Consensus", "SIMPLE"):
        tied = [strategies.target_of(strategy, masks, None, tie=tie)[0, 0] for tie in ("foreground", "background")]
        assert tied == [1, 0]


def test_missing_raters_are_fused_but_not_counted():
    masks = [None, *discs(1)[0].masks[1:]]
    rng = np.random.default_rng(0)
    for strategy in strategies.STRATEGIES[:-1]:
        assert np.isfinite(strategies.target_of(strategy, masks, rng)).all()
    with pytest.raises(ValueError, match="missing"):
        strategies.target_of("RPS", masks, rng)
    image = discs(1)[0]
    incomplete = replace(image, raters={**image.raters, "0": None})
    assert len(data.Annotated([image, incomplete], "RPS")) == 1
    with pytest.raises(ValueError, match="no image is left"):
        data.Annotated([incomplete], "RPS")


def test_no_patient_is_in_two_parts_and_the_published_test_part_is_kept():
    images = [*discs(20), *discs(4, seed=9, split="testing")]
    images = [replace(image, id=f"{k}", group=image.group + image.split) for k, image in enumerate(images)]
    training, validation, test = data.three_way(images)
    groups = [{image.group for image in part} for part in (training, validation, test)]
    assert [len(g) for g in groups] == [8, 2, 2]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert {image.split for image in test} == {"testing"}
    with pytest.raises(ValueError, match="split by patient"):
        data.three_way([*discs(8), *discs(2, split="testing")])


def test_image_and_target_are_turned_together():
    y = np.random.default_rng(0).integers(0, 2, (32, 32)).astype(np.uint8)
    image = AnnotatedImage("a", "a", y * 255.0, {"1": y, "2": y})
    whole = data.Annotated([image] * 20, "RPS", seed=3)
    pairs = [whole[i] for i in range(20)]
    assert all(np.array_equal(x[0] / 255 * 2, t) for x, t in pairs)
    assert len({tuple(t.flatten().tolist()) for _, t in pairs}) > 4


def test_random_sampling_draws_by_seed_epoch_and_image():
    images = discs(4)
    options = {"augment": False, "seed": 1}
    first, again = (data.Annotated(images, "Random Sampling", **options) for _ in range(2))
    drawn = []
    for epoch in range(8):
        first.epoch = again.epoch = epoch
        assert all(torch.equal(first[i][1], again[i][1]) for i in range(4))
        drawn.append(first[0][1].sum().item())
    assert set(drawn) == {float(mask.sum()) for mask in images[0].masks}


def test_sizes_and_slices():
    volume = np.zeros((48, 40, 3), np.uint8)
    volume[10:20, 10:30, 1] = 1
    image = AnnotatedImage("v", "p", volume.astype(np.float32), {"1": volume, "2": None}, spacing=(1.0, 1.0, 5.0))
    (one,) = data.slices([image])
    assert (one.id, one.shape, one.spacing) == ("v_z1", (48, 40), (1.0, 1.0))
    small = data.sized(one, 32)
    assert small.shape == (32, 32)
    assert small.masks[1] is None
    assert small.masks[0].mean() == pytest.approx(volume[..., 1].mean(), abs=0.02)
    assert abs(np.corrcoef(small.image.squeeze().ravel(), small.masks[0].ravel())[0, 1]) > 0.9


# Training -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", strategies.STRATEGIES)
def test_two_epochs_of_every_strategy(strategy, tmp_path):
    settings = replace(TINY, strategy=strategy)
    model = train.train(settings, discs(), tmp_path, device="cpu")
    folder = tmp_path / settings.name
    assert sorted(path.name for path in folder.iterdir()) == ["last.pt", "log.csv", "settings.json"]
    first, last = (float(row.split(",")[1]) for row in (folder / "log.csv").read_text().splitlines()[1:])
    assert last < first
    assert json.loads((folder / "settings.json").read_text())["strategy"] == strategy
    predicted = evaluate.predict(model, discs(2, seed=5))
    assert predicted.shape == ((2, K + 1, 32, 32) if strategy == "RPS" else (2, 32, 32))
    for values in evaluate.read_outs(predicted).values():
        assert values.shape == (2, 32, 32)
        assert 0 <= np.min(values) <= np.max(values) <= 1


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    images, settings = discs(8), replace(TINY, strategy="Random Sampling")
    whole = train.train(settings, images, tmp_path / "a", device="cpu")
    train.train(settings, images, tmp_path / "b", device="cpu", stop_after=1)
    resumed = train.train(settings, images, tmp_path / "b", device="cpu")
    logs = [(tmp_path / part / settings.name / "log.csv").read_text() for part in "ab"]
    assert logs[0] == logs[1]
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match=r"other settings, \{'rate': 0.005\}"):
        train.train(replace(settings, rate=0.1), images, tmp_path / "a", device="cpu")


def test_without_a_download_the_weights_are_random_and_it_is_said(tmp_path, monkeypatch):
    from ordinal_rps import model

    real = model.smp.FPN

    def offline(*arguments, encoder_weights, **options):
        if encoder_weights is not None:
            raise OSError("no network")
        return real(*arguments, encoder_weights=None, **options)

    monkeypatch.setattr(model.smp, "FPN", offline)
    with pytest.warns(UserWarning, match="no imagenet weights for resnet18"):
        _, weights = model.build(3, 1, encoder="resnet18", pyramid=16, head=32)
    assert weights is None


# Scores -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scored():
    images = discs(6)
    rng = np.random.default_rng(1)
    counts = [softmax(rng.normal(0, 1, (1, K + 1, 32, 32)) + 3.0 * _one_hot(image))[0] for image in images]
    probs = [np.tensordot(np.arange(K + 1) / K, c, axes=1) for c in counts]
    return images, probs, counts


def _one_hot(image):
    return (np.sum(image.masks, axis=0) == np.arange(K + 1)[:, None, None])[None]


def test_scores_are_those_of_mrcalib_on_all_pixels(scored):
    images, probs, counts = scored
    resamples = evaluate.Resamples(images, n=50)
    found = evaluate.score(images, evaluate.tallies_of(images, probs), resamples, counts=counts, paper=probs)
    p, masks = np.stack(probs), np.stack([np.stack(image.masks) for image in images], axis=1)
    votes = masks.sum(axis=0, dtype=int)
    assert found.estimate["mr_ece"] == pytest.approx(multirater_ece(p, masks, n_bins=15), abs=1e-5)
    assert found.estimate["brier"] == pytest.approx(brier_score(p, masks), abs=1e-5)
    assert found.estimate["auc"] == pytest.approx(auc(p, masks), abs=1e-3)
    expected = ranked_probability_score(np.stack(counts), votes, class_axis=1)
    assert found.estimate["rps"] == pytest.approx(expected, abs=1e-9)
    rows = {row["metric"]: row for row in found.rows()}
    assert rows["mr_ece"]["patient_low"] <= rows["mr_ece"]["estimate"] * 1.5
    assert "paper_sd" in rows["auc"]
    assert "paper_sd" not in rows["brier"]


def test_both_resamples_draw_what_they_say():
    images = discs(10)
    resamples = evaluate.Resamples(images, n=20)
    assert resamples.patients.shape == (20, 5)
    assert (resamples.patients.sum(axis=1) == 5).all()
    assert resamples.paper.shape == (20, 10)
    assert (resamples.paper.sum(axis=1) == 6).all()


def test_the_mean_over_seeds_and_paired_differences(scored):
    images, probs, counts = scored
    resamples = evaluate.Resamples(images, n=50)
    one = evaluate.score(images, evaluate.tallies_of(images, probs), resamples, counts=counts)
    other = evaluate.score(images, evaluate.tallies_of(images, [p**2 for p in probs]), resamples)
    mean = evaluate.Scores.mean([one, other])
    assert mean.estimate["brier"] == pytest.approx((one.estimate["brier"] + other.estimate["brier"]) / 2)
    assert all(row["difference"] == row["patient_low"] == row["patient_high"] == 0 for row in one.against(one))
    gap = next(row for row in one.against(other) if row["metric"] == "brier")
    assert gap["difference"] == pytest.approx(one.estimate["brier"] - other.estimate["brier"])


def test_the_whole_comparison_writes_its_tables_and_pictures(tmp_path, monkeypatch):
    import pandas as pd

    monkeypatch.setattr(compare, "ALPHAS", (0.8,))
    monkeypatch.setattr(compare, "SIGMAS", (1.0,))
    monkeypatch.setattr(compare, "STRATEGIES", ("Soft Consensus", "Soft Consensus-G", "RPS"))
    monkeypatch.setattr(compare, "SMOOTHED", ("Soft Consensus-G",))
    images = discs(16)
    arrays = {"image": [i.image for i in images], "masks": [np.stack(i.masks) for i in images]}
    np.savez(tmp_path / "s.npz", patient=[i.group for i in images], **arrays)
    out = tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of calibrators about these few patients
        arguments = ["--data", tmp_path / "s.npz", "--layout", "stack", "--preset", "tiny", "--seeds", 1, "--out", out]
        assert compare.main([*map(str, arguments), "--device", "cpu"]) == 0
    record = json.loads((out / "run.json").read_text())
    assert record["patients"] == {"training": 5, "validation": 1, "test": 2}
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["posthoc"]) == {"none", "temperature", "MHR", "ordinal", "beta-binomial"}
    assert set(scores["readout"]) == {"p", "expected", "majority, ties foreground", "majority, ties background"}
    assert scores["estimate"].notna().all()
    table = pd.read_csv(out / "table1_mr_ece.csv")
    assert list(dict.fromkeys(table["strategy"])) == [
        "Soft Consensus",
        "Soft Consensus-G",
        "RPS",
        "RPS, ties background",
    ]
    assert (table["paper_sd"] > 0).all()
    wide = summary(scores)
    assert len(wide) == 2 * 5 + 2 * 11
    one = scores.query(
        "strategy == 'RPS' and readout == 'expected' and posthoc == 'MHR' and metric == 'rps' and seed == 'mean'"
    )
    assert (
        wide.set_index(["strategy", "readout", "posthoc"]).loc[("RPS", "expected", "MHR"), "rps"]
        == one["estimate"].item()
    )
    for name in ("table2_auc.csv", "differences.csv", "sensitivity.csv", "sensitivity.png", "figure3.png"):
        assert (out / name).stat().st_size > 0
