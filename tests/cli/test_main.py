"""The parser, start-up, streams and exit codes."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrcalib._version import __version__
from mrcalib.cli import _cases, compare, main
from mrcalib.cli._console import in_options
from mrcalib.cli._main import build_parser
from mrcalib.options import LoadOptions, add_options

HEAVY = ("numpy", "scipy", "sklearn", "numba", "pandas", "nibabel", "matplotlib", "SimpleITK")
OPTIONS = {
    "demo": ("--out", "--cases", "--seed", "--no-figures", "--quiet", "--debug"),
    "compare": (
        "--manifest", "--probs", "--raters", "--roi", "--image", "--group", "--vessels", "--probs-columns",
        "--rater-columns", "--pooling", "--foreground", "--positive", "--no-agreement-check", "--spacing", "--methods",
        "--metrics", "--cv", "--resamples", "--interval", "--level", "--seed", "--jobs", "--invalid", "--out",
        "--no-figures", "--json", "--quiet", "--debug",
    ),
    "fit": ("--method", "--binning", "--n-bins", "--rater", "--keep-zero", "--case-weight", "-o", "--figure", "--tallies"),
    "apply": ("CALIBRATOR", "INPUT", "-o", "--suffix", "--outside", "--overwrite", "--roi", "--probs", "--manifest"),
    "evaluate": ("--calibrator", "--metrics", "--protocol", "--max", "--min", "--out", "--json", "--resamples"),
}  # fmt: skip


@pytest.mark.parametrize("command", OPTIONS)
def test_help_teaches_its_options_with_examples(run, command):
    answer = run(command, "--help")
    assert answer.code == 0
    assert "examples:" in answer.out
    assert f"mrcalib {command}" in answer.out.split("examples:")[1]
    for option in OPTIONS[command]:
        assert option in answer.out


def test_help_and_version_import_nothing_heavy():
    script = "import sys; from mrcalib.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    for words in (["--help"], ["--version"], ["compare"], ["fit", "--no-such-option"]):
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
        assert not set(done.stdout.split()) & set(HEAVY)


def test_version_and_no_command(run):
    assert run("--version").out == f"mrcalib {__version__}\n"
    answer = run()
    assert (answer.code, answer.out) == (2, "")
    assert "compare" in answer.err


def test_help_lists_the_names_that_the_library_knows(run):
    from mrcalib.calibrators import CALIBRATORS
    from mrcalib.metrics import METRICS
    from mrcalib.protocols import PROTOCOLS

    said = " ".join(run("compare", "--help").out.split())
    for name in (*CALIBRATORS.names(), *METRICS.names(), "curvas-pdacvi", "qubiq"):
        assert name in said
    said = " ".join(run("evaluate", "--help").out.split())
    for name in (*METRICS.names(), *PROTOCOLS):
        assert name in said
    assert all(name in run("fit", "--help").out for name in CALIBRATORS.names())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["compare"], "--manifest cases.csv, or --probs TEMPLATE and --raters TEMPLATE"),
        (["compare", "--probs", "p/{case}.npy"], "only --probs was given"),
        (["compare", "--manifest", "m.csv", "--probs", "p/{case}"], "--manifest and --probs exclude each other"),
        (["compare", "--probs-columns", "p*"], "chooses columns of a --manifest"),
        (["compare", "--manifest", "m.csv", "--methods", "magic"], "There is no method 'magic'. Known: "),
        (
            ["compare", "--manifest", "m.csv", "--metrics", "mr_exe"],
            "There is no metric 'mr_exe'. Did you mean 'mr_ece'",
        ),
        (["compare", "--manifest", "m.csv", "--cv", "some"], "expected leave-one-group-out"),
        (
            ["compare", "--manifest", "m.csv", "--cv", "5", "--test-manifest", "t.csv"],
            "--cv does not go with --test-manifest",
        ),
        (["compare", "--manifest", "m.csv", "--spacing", "0,1,1"], "edges in mm"),
        (["compare", "--manifest", "m.csv", "--jobs", "0"], "whole number of at least 1"),
        (["compare", "--manifest", "m.csv", "--level", "95"], "a number above 0 and below 1"),
        (["fit", "--manifest", "m.csv", "-o", "."], "is a folder"),
        (["demo", "--cases", "1"], "--cases must be at least 2"),
        (["evaluate", "--manifest", "m.csv", "--max", "magic=1"], "There is no metric 'magic'"),
        (["evaluate", "--manifest", "m.csv", "--max", "mr_ece"], "expected METRIC=VALUE"),
    ],
)
def test_wrong_usage_exits_with_2_and_two_lines(run, words, told):
    answer = run(*words)
    assert answer.code == 2
    assert answer.out == ""
    assert told in answer.err
    assert f"mrcalib {words[0]} --help" in answer.err
    assert len(answer.err.splitlines()) == 2


def test_unexpected_errors_exit_with_1_and_show_their_origin_on_request(run, monkeypatch, data):
    def broken(*_: object) -> None:
        raise RuntimeError("cosmic ray")

    monkeypatch.setattr(compare, "cases_of", broken)
    answer = run("compare", "--manifest", data / "manifest.csv")
    assert answer.code == 1
    assert (
        answer.err == "mrcalib compare: unexpected RuntimeError: cosmic ray\nAdd --debug to see where it came from.\n"
    )
    assert "Traceback" in run("compare", "--manifest", data / "manifest.csv", "--debug").err
    monkeypatch.setenv("MRCALIB_DEBUG", "1")
    assert "Traceback" in run("compare", "--manifest", data / "manifest.csv").err


def test_interrupt_exits_with_130_without_traceback(run, monkeypatch, data):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "tally", interrupted)
    answer = run("compare", "--manifest", data / "manifest.csv")
    assert (answer.code, answer.err) == (130, "interrupted\n")


def test_errors_speak_of_the_options_of_the_command():
    parser = argparse.ArgumentParser()
    add_options(parser, LoadOptions)
    parser.add_argument("--invalid")
    parser.add_argument("--roi")

    def said(text):
        return in_options(text, parser._actions)

    assert said("Say which: positive=(1, 255).") == "Say which: --positive 1,255."
    assert (
        said("for example foreground=(1,); got foreground=None.") == "for example --foreground 1; got no --foreground."
    )
    assert said("pass check_agreement=False (LoadOptions).") == "pass --no-agreement-check."
    assert said("leave them out with invalid='drop'.") == "leave them out with --invalid drop."
    assert said("Read it with values='probabilities'.") == "Read it without --logits."
    assert said("pass expit(logits) (of files: LoadOptions(values='logits')).") == "give --logits."
    assert said("or mask them with roi=.") == "or mask them with --roi."
    assert (
        said("margin_mm=20 is too much, coarse_threshold=0.25;") == "--margin 20 is too much, --coarse-threshold 0.25;"
    )
    assert in_options(FileNotFoundError(2, "No such file", "x.json")) == "x.json: No such file"


def test_repeated_warnings_are_counted(run, monkeypatch, data):
    import warnings

    def work(*_: object) -> None:
        for number in range(5):
            warnings.warn(f"map {number} is coarse", UserWarning, stacklevel=1)

    monkeypatch.setattr(compare, "note_groups", work)
    answer = run("compare", "--manifest", data / "manifest.csv", "--cv", "99", "--quiet")
    assert answer.err.count("is coarse") == 4
    assert "warning: 2 more like this: map 4 is coarse" in answer.err


def test_a_terminal_gets_one_counting_line(monkeypatch, capsys):
    from mrcalib.cli._console import Console

    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    counter = _cases.CaseCounter(Console(quiet=False), 2)
    counter("A", "tallied")
    counter("B", "tallied")
    counter.summarise()
    assert capsys.readouterr().err == "\r\x1b[K[1/2] A tallied\r\x1b[K[2/2] B tallied\n2 cases: 2 tallied\n"


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly(pristine: Path, tmp_path: Path):
    words = ["compare", "--manifest", str(pristine / "manifest.csv"), "--methods", "none", "--metrics", "brier", "-q"]
    words += ["--no-figures", "--resamples", "10"]
    command = f"'{sys.executable}' -m mrcalib {' '.join(words)} | true; exit ${{PIPESTATUS[0]}}"
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")
    assert (tmp_path / "results" / "study.json").exists()


@pytest.mark.slow
def test_the_process_separates_results_from_progress(pristine: Path, tmp_path: Path):
    words = [
        "compare",
        "--manifest",
        str(pristine / "manifest.csv"),
        "--methods",
        "none",
        "MHR",
        "--json",
        "--no-figures",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mrcalib.cli", *words, "--resamples", "50"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["methods"] == ["none", "MHR"]
    assert "[6/6] case006 tallied" in done.stderr


def test_the_parser_is_made_without_running_anything():
    assert build_parser().prog == "mrcalib"
    assert main(["compare", "--no-such-option"]) == 2
