"""Files are there whole or not at all, and whatever goes wrong is one line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gym_vlmrm.errors import RunError
from gym_vlmrm.files import check_writable, free_folder, is_free, make_folder, read_arrays, replacing, write_text
from gym_vlmrm.tensors import load_metadata, load_tensors, save_tensors


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_stays_as_it_was_until_the_new_one_is_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old\r\n")

    def fail() -> None:
        with replacing(path, durable=durable) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old\r\n"
    with replacing(path, durable=durable) as part:
        part.write_text("new")
        assert path.read_bytes() == b"old\r\n"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "in the way")
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path / "file" / "a.txt", "")
    for prove in (make_folder, check_writable):
        with pytest.raises(RunError, match=r"cannot write to .*; choose another folder"):
            prove(tmp_path / "file" / "folder")


def test_free_folders(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    assert free_folder(tmp_path, "a") == tmp_path / "a-1"
    make_folder(tmp_path / "a-1")
    assert free_folder(tmp_path, "a") == tmp_path / "a-2"
    assert is_free(tmp_path / "a-1")
    assert is_free(tmp_path / "a-2")
    write_text(tmp_path / "a-1" / "file", "")
    assert not is_free(tmp_path / "a-1")
    assert not is_free(tmp_path / "a-1" / "file")


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, one=np.arange(3), other=np.array([{}], dtype=object))
    assert list(read_arrays(path, ["one"])) == ["one"]
    for names in (["one", "missing"], ["other"]):  # a pickle
        with pytest.raises(RunError, match="cannot be read"):
            read_arrays(path, names)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RunError, match="cannot be read"):
        read_arrays(path, ["one"])


def test_tensors_and_what_goes_with_them(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    shared = torch.arange(4.0)
    save_tensors(path, {"a": shared, "b": shared[1:]}, {"note": "x"})
    assert load_metadata(path) == {"note": "x"}
    assert torch.equal(load_tensors(path)["b"], shared[1:])
    save_tensors(path, {"a": shared})
    assert load_metadata(path) == {}
    path.write_bytes(b"no")
    for load in (load_metadata, load_tensors):
        with pytest.raises(RunError, match="cannot be read as safetensors"):
            load(path)
