"""TwinTrack's tables: against a bootstrap by hand, with honest marks, and as LaTeX that compiles."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from plain_protocol import Recorder, make_cases, stub

from mrcalib import compare
from mrcalib.study._tables import dispute_lines, escaped, partly_defined

METHODS = ["none", "single-rater", "MHR", "Platt"]


@pytest.fixture(scope="module")
def study():
    return compare(make_cases(8), METHODS, ["brier"], protocol=stub(Recorder()), n_resamples=400, random_state=3)


def told(study, **values):
    """The study with these values of "gap", one number a case and method, and nothing else."""
    gap = study.metrics[0]
    statistics = {(m, gap.name): np.array(v, dtype=float)[:, np.newaxis] for m, v in values.items()}
    n = len(next(iter(values.values())))
    ids = tuple(f"c{i}" for i in range(n))
    return replace(
        study, methods=tuple(values), metrics=(gap,), ids=ids, groups=ids, statistics=statistics, corrected=None
    )


def by_hand(study, metric, seed=3, n=400):
    """Bootstrap of patients, drawn as numpy draws them."""
    names = list(dict.fromkeys(study.groups))
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    values = {method: study.case_values(method, metric) for method in study.methods}
    samples = {method: [] for method in study.methods}
    for counts in drawn:
        cases = np.repeat(np.arange(len(study.ids)), [counts[names.index(g)] for g in study.groups])
        for method in study.methods:
            samples[method].append(np.nanmean(values[method][cases]))
    return {method: np.array(of) for method, of in samples.items()}


@pytest.mark.parametrize("which", ["program", "corrected"])
def test_values_and_intervals_are_those_of_a_bootstrap_of_patients(study, which):
    of = study if which == "program" else study.corrected
    table = of.paper_table(intervals=True)
    for metric in of.metrics[:2]:
        for method, samples in by_hand(of, metric).items():
            assert table.loc[method, metric.label] == pytest.approx(samples.mean())
            ends = table.loc[method, [f"{metric.label} low", f"{metric.label} high"]].tolist()
            assert ends == pytest.approx(np.quantile(samples, [0.025, 0.975]))


def test_worse_means_that_the_paired_interval_excludes_0(study):
    marks = study.paper_table(reference="MHR")["gap marks"]
    samples = by_hand(study, study.metrics[0])
    for method in METHODS:
        low, _ = np.quantile(samples[method] - samples["MHR"], [0.025, 0.975])
        assert ("worse" in marks[method].split()) == (low > 0)
    assert "worse" in marks["none"].split()
    assert "worse" not in marks["MHR"].split()


def test_best_and_worst_are_of_displayed_values_and_may_be_several(study):
    table = told(study, a=[0.0209, 0.0209], b=[0.02091, 0.02091], c=[0.0147, 0.0147], d=[0.0156, 0.0156]).paper_table()
    assert [set(m.split()) - {"worse"} for m in table["gap marks"]] == [{"worst"}, {"worst"}, {"best"}, set()]
    assert table.columns.tolist() == ["gap", "gap marks"]
    same = told(study, a=[0.3, 0.3], b=[0.3, 0.3]).paper_table()
    assert same["gap marks"].tolist() == ["", ""]


def test_higher_may_be_better(study):
    level = study.metrics[2]
    values = {("a", "level"): np.array([[0.3]]), ("b", "level"): np.array([[0.57]])}
    one = replace(study, methods=("a", "b"), metrics=(level,), ids=("c",), groups=("c",), statistics=values)
    assert one.paper_table(reference="b")["level marks"].tolist() == ["worst worse", "best"]


def test_digits_are_as_in_the_paper(study):
    crps = told(study, a=[6032.2], b=[10341.8], c=[5924.4])
    assert [row.split()[1].rstrip("*!†") for row in crps.to_paper_text().splitlines()[3:]] == ["6032", "10342", "5924"]
    assert "6032.2" in crps.to_paper_text(intervals=True)
    ece = told(study, a=[0.01564], b=[0.02091], c=[0.01471])
    assert [row.split()[1].rstrip("*!†") for row in ece.to_paper_text().splitlines()[3:]] == [
        "0.0156", "0.0209", "0.0147",
    ]  # fmt: skip


def test_a_measure_that_is_not_defined_is_a_dash(study):
    nothing = told(study, a=[np.nan, np.nan], b=[0.2, 0.4])
    table = nothing.paper_table(intervals=True, reference="b")
    assert np.isnan(table.loc["a", "gap"])
    assert table["gap marks"].tolist() == ["", ""]
    assert " & -- " in nothing.to_latex(intervals=True, reference="b")
    assert re.search(r"^a\s+-\s*$", nothing.to_paper_text(reference="b"), re.MULTILINE)
    assert partly_defined(nothing) == {"gap": 0}
    assert "gap is defined in 0 of the cases" in nothing.to_latex(reference="b")


def test_an_unknown_reference_is_refused(study):
    with pytest.raises(ValueError, match="reference must be one of 'none'"):
        study.paper_table(reference="STAPLE")


# LaTeX -----------------------------------------------------------------------------------------------------------------------


def structure(latex):
    """Check what LaTeX would trip over; return the table's rows as lists of cells."""
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    plain = re.sub(r"\\[\\{}$%#&_]", "", body)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    opened = []
    for what, name in re.findall(r"\\(begin|end)\{([a-z*]+)\}", body):
        if what == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    assert all(ord(letter) < 128 for letter in latex)
    inner = re.sub(r"\\begin\{tabular\}\{@\{\}c@\{\}\}(.*?) \\\\ (.*?)\\end\{tabular\}", r"\1 \2", body)
    between = re.search(r"\\toprule(.*)\\bottomrule", inner, re.DOTALL)[1].replace(r"\midrule", "")
    rows = [re.split(r"(?<!\\) & ", row.strip()) for row in between.split(r"\\") if row.strip()]
    columns = re.search(r"\\begin\{tabular\}\{(l\w*)\}", body)[1]
    assert {len(row) for row in rows} == {len(columns)}
    return rows


@pytest.mark.parametrize("intervals", [False, True])
def test_latex_holds_the_table(study, intervals):
    latex = study.to_latex(intervals=intervals, reference="MHR")
    header, *rows = structure(latex)
    assert header == [
        "Calibration target", r"gap $\downarrow$", r"volume $\downarrow$", r"level $\uparrow$",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["None (uncalibrated)", "Single-rater", "MHR", "Platt"]
    table = study.paper_table(intervals=intervals, reference="MHR")
    for method, row in zip(METHODS, rows, strict=True):
        for label, cell in zip(["gap", "volume", "level"], row[1:], strict=True):
            marks = table.loc[method, f"{label} marks"].split()
            assert (r"\textbf" in cell) == ("best" in marks)
            assert (r"\underline" in cell) == ("worst" in marks)
            assert (r"\dagger" in cell) == ("worse" in marks)
            number = float(re.search(r"\d+(\.\d+)?", cell)[0])
            assert number == pytest.approx(table.loc[method, label], rel=0.02)
            assert ("[" in cell) == intervals
    assert latex.startswith(r"% needs \usepackage{booktabs}")
    assert "volume in mm$^3$" in latex
    assert r"$\dagger$: significantly worse than MHR (95\% interval" in latex


def test_names_are_escaped(study):
    odd = told(study, **{"[a_1] & 50%": [0.1, 0.2], "b#~^\\": [0.2, 0.3]})
    _, *rows = structure(odd.to_latex(caption="mine"))
    assert rows[0][0] == r"{[}a\_1] \& 50\%"
    assert r"\caption{mine}" in odd.to_latex(caption="mine")
    assert escaped("90° ≥ {x}") == r"90$^\circ$ $\geq$ \{x\}"


def test_negative_values_have_a_minus_sign(study):
    assert r"$-$0.2" in told(study, a=[-0.2, -0.3], b=[0.1, 0.1]).to_latex()


# Terminal --------------------------------------------------------------------------------------------------------------------


def test_the_text_has_the_sound_values_beside_those_that_are_off(study):
    lines = study.to_paper_text(reference="MHR").splitlines()
    assert lines[0] == "Table 1: bootstrap means; * best, ! worst, † significantly worse than MHR"
    assert re.split(r"\s{2,}", lines[3].strip()) == ["gap ↓", "gap corrected ↓", "volume mm³ ↓", "level ↑"]
    assert "volume corrected" not in "\n".join(lines)
    agree = replace(study, disputes=())
    assert "corrected" not in agree.to_paper_text()
    assert max(map(len, study.to_paper_text(intervals=True).splitlines())) <= 120


def test_disputes_are_told_once_a_measure(study):
    (line,) = dispute_lines(study)
    n_cases = len({d.case for d in study.disputes})
    assert line.startswith(f"gap: in {n_cases} of 8 cases; such as {study.disputes[0].case}, none: ")
    assert line.count("gap") == 1


def test_tables_are_plain_numbers_for_a_spreadsheet(study, tmp_path):
    study.paper_table(intervals=True).to_csv(tmp_path / "t.csv")
    again = pd.read_csv(tmp_path / "t.csv", index_col="method")
    assert again["gap"].tolist() == pytest.approx(study.paper_table()["gap"].tolist(), rel=1e-14)
    assert again.columns.tolist()[:4] == ["gap", "gap low", "gap high", "gap marks"]
