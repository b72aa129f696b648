"""Calibrate nnU-Net v2 to several raters. What you run yourself, around this script:

    nnUNetv2_train 501 3d_fullres 0 --npz        # and folds 1 to 4; --npz keeps the validation probabilities
    nnUNetv2_predict -d 501 -c 3d_fullres -i imagesTs -o predicted --save_probabilities

Each fold's `validation/` folder then holds probabilities of cases that this fold's network did not see in training: the
right data to calibrate with. nnUNetv2_predict averages the five folds, which is a little less confident than each alone;
if you have annotated cases beside the training set, calibrate on predictions for those instead.

Here a few phantoms are written in nnU-Net's layout first, so that the script runs as it is: `python nnunet_recipe.py`.
The same from a shell, with files only:

    mrcalib fit --probs 'results/fold_*/validation/{case}.npz' --raters 'raters/{case}_{rater}.nii.gz' -o calibrator.json
    mrcalib apply calibrator.json predicted/case009.npz -o calibrated
"""

import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

import mrcalib
from mrcalib.io import discover, read_probability, write_probability
from mrcalib.simulate import phantoms


def calibrate(results, raters, predicted, out):
    """Choose by cross-validation, save, and calibrate new predictions."""
    cases = discover(f"{results}/fold_*/validation/{{case}}.npz", f"{raters}/{{case}}_{{rater}}.nii.gz")
    study = mrcalib.compare(cases, ["none", "temperature", "MHR"], ["mr_ece", "brier", "volume_crps"], n_resamples=1000)
    print(study.description, study.to_text(), sep="\n\n")

    study.calibrators["MHR"].save(out / "calibrator.json")
    calibrator = mrcalib.load(out / "calibrator.json")  # in the clinic, another day
    for path in sorted(predicted.glob("*.npz")):
        volume = read_probability(path)  # axes are proved against the segmentation beside it
        write_probability(out / f"{path.stem}.nii.gz", calibrator(volume.data), volume.geometry)
        print(
            f"\n{path.name}: {volume.data.sum():.0f} voxels expected before, {calibrator(volume.data).sum():.0f} after"
        )


def write_export(folder, case):
    """One case as nnU-Net v2 writes it: softmax (classes, z, y, x), and the segmentation beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    foreground = case.members[0]
    probabilities = np.stack([1 - foreground, foreground]).transpose(0, 3, 2, 1)
    np.savez_compressed(folder / f"{case.id}.npz", probabilities=probabilities)
    write_mask(folder / f"{case.id}.nii.gz", foreground > 0.5, case.spacing)


def write_mask(path, mask, spacing):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(mask, np.uint8), np.diag([*spacing, 1.0])), path)


def main(folder):
    results = folder / "nnUNet_results" / "Dataset501_Lesion" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    *annotated, new = phantoms(9, (48, 48, 16), lesion_fraction=0.02, rng=0)
    for i, case in enumerate(annotated):
        write_export(results / f"fold_{i % 5}" / "validation", case)
        for rater, mask in zip(case.rater_names, case.raters, strict=True):
            write_mask(folder / "raters" / f"{case.id}_{rater}.nii.gz", mask, case.spacing)
    write_export(folder / "predicted", new)
    calibrate(results, folder / "raters", folder / "predicted", folder / "calibrated")
    print(f"\ntruth: {new.truth.sum():.0f} voxels expected of a rater")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary))
