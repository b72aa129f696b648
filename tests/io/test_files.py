import pytest

from mrcalib.io import atomic_write


def test_the_file_appears_whole_under_its_final_name(tmp_path):
    with atomic_write(tmp_path / "new" / "a.nii.gz") as temporary:
        temporary.write_text("half")
        assert temporary.name.endswith("a.nii.gz")
        assert not (tmp_path / "new" / "a.nii.gz").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.nii.gz"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(FileNotFoundError, match="nowhere"), atomic_write(target) as temporary:
        (temporary.write_text("ne"), (tmp_path / "nowhere").read_text())
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_writing_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.json"):
        pass
