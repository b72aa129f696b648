"""A calibrator is a scikit-learn estimator: in a pipeline, searched over, and cross-validated by patient.

X is a column with one number a voxel, y a table with one column a rater (NaN where a rater is missing), and groups keep the
voxels of a patient on one side of every split. Arrays of voxels are a convenience of small studies: `mrcalib.compare` does
the same from tallies, which hold any number of voxels.
"""

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mrcalib import MHRIsotonicCalibrator
from mrcalib.metrics import brier_score, multirater_ece
from mrcalib.simulate import phantoms

# Voxels in the organ of ten patients: a network's logits, five raters' votes, and whose voxel it is.
tables = []
for case in phantoms(10, (48, 48, 12), lesion_fraction=0.05, rng=0):
    table = pd.DataFrame(case.raters[:, case.roi].T).add_prefix("rater ")
    table["logit"] = logit(np.clip(case.members.mean(axis=0)[case.roi], 1e-7, 1 - 1e-7))
    tables.append(table.assign(patient=case.group))
voxels = pd.concat(tables, ignore_index=True)
X, y, patients = voxels[["logit"]], voxels.filter(like="rater "), voxels["patient"]

# The network's logits go through the sigmoid into the calibrator. How should it bin? The score is minus the Brier score.
pipeline = make_pipeline(FunctionTransformer(expit), MHRIsotonicCalibrator())
grid = [
    {"mhrisotoniccalibrator__binning": ["grid", "exact"]},
    {"mhrisotoniccalibrator__binning": ["equal-mass", "equal-votes"], "mhrisotoniccalibrator__n_bins": [30, 250]},
]
search = GridSearchCV(pipeline, grid, cv=GroupKFold(5)).fit(X, y, groups=patients)
results = pd.DataFrame(search.cv_results_)[["params", "mean_test_score", "std_test_score"]]
results["params"] = [", ".join(str(value) for value in params.values()) for params in results["params"]]
print(results.sort_values("mean_test_score", ascending=False).to_string(index=False))

# Every voxel calibrated by maps that never saw its patient (only the choice of binning did).
honest = cross_val_predict(search.best_estimator_, X, y, groups=patients, cv=GroupKFold(5))
raw = expit(X["logit"].to_numpy())
print(f"\nMR-ECE {multirater_ece(raw, y):.4f} before, {multirater_ece(honest, y):.4f} after")
print(f"Brier  {brier_score(raw, y):.4f} before, {brier_score(honest, y):.4f} after")
