"""Model folders, captions, pictures, arrays and prompts that try to execute, read, or exhaust; and hostile words."""

import base64
import contextlib
import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gym_vlmrm_cli.console import harmless
from PIL import Image

from gym_vlmrm.auditing.prompts import read_prompt_file
from gym_vlmrm.errors import ModelError, RunError, VLMRMError
from gym_vlmrm.files import check_links, open_picture, open_regular, read_arrays, read_json, read_text
from gym_vlmrm.finetuning.captions import MAX_CAPTIONS, CaptionError, read_captions
from gym_vlmrm.finetuning.state import read_record
from gym_vlmrm.reward.folders import check_config, check_folder
from gym_vlmrm.reward.loading import model_frame_size, unknown_words
from gym_vlmrm.tensors import load_tensors

MakeFolder = Callable[..., Path]

# Files ----------------------------------------------------------------------------------------------------------------


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("x" * 11)
    (tmp_path / "link").symlink_to("text")
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(RunError, match="no regular file"):
            read_text(path, 100, links=True)
    with pytest.raises(RunError, match="is a link"):
        read_text(tmp_path / "link", 100)
    assert read_text(tmp_path / "link", 100, links=True) == "x" * 11
    with pytest.raises(RunError, match="has 11 bytes; the limit is 10"):
        read_text(tmp_path / "text", 10)
    for path in (tmp_path / "loop", tmp_path / "none", tmp_path / ("a" * 300), tmp_path / "a\0"):
        with pytest.raises(RunError, match="cannot be read"), open_regular(path, links=True):
            pass


def test_links_are_found_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("")
    check_links(tmp_path, ["a", "missing"])
    (tmp_path / "a" / "b" / "link").symlink_to("file")
    with pytest.raises(RunError, match=r"a/b/link: is a link"):
        check_links(tmp_path, ["missing", "a"])


@pytest.mark.parametrize(
    "text", ["Infinity", "[NaN]", "1e999", "9" * 30, "[" * 100_000, '"\\ud800"', '{"a": 1,}', "", "\ufeff1"]
)
def test_json_is_finite_and_whole(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(RunError, match="not valid JSON"):
        read_json(path)


def _npz(path: Path, *, compression: int = zipfile.ZIP_STORED, header: str | None = None) -> None:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.zeros(4))
    data = content.getvalue()
    if header is not None:
        data = data.replace(b"(4,)", header.encode().ljust(4)[: len(header)], 1)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", data)


def test_arrays_are_no_larger_than_their_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.asfortranarray(np.arange(6).reshape(2, 3)), b=np.float32(2), c=np.zeros((0, 3)))
    read = read_arrays(path, ["a", "b", "c"])
    np.testing.assert_array_equal(read["a"], np.arange(6).reshape(2, 3))
    assert float(read["b"]) == 2
    assert read["c"].shape == (0, 3)
    read["a"][0, 0] = 7  # writable
    np.savez(path, a=np.arange(1_000_000))
    assert read_arrays(path, ["a"])["a"][-1] == 999_999
    np.savez_compressed(path, a=np.zeros(10_000_000))
    with pytest.raises(RunError, match="is compressed"):
        read_arrays(path, ["a"])
    for header in ("(9,)", "(-4,", "(4.)"):
        _npz(path, header=header)
        with pytest.raises(RunError, match="cannot be read"):
            read_arrays(path, ["a"])


def test_an_archive_of_very_many_names_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(12_000):
            archive.writestr(f"{number:0100d}.npy", b"")
    with pytest.raises(RunError, match="a directory of"):
        read_arrays(path, ["a"])


def test_every_flipped_bit_of_an_array_file_is_noticed_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(20.0))
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 7):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            found = read_arrays(path, ["a"])["a"]
        except RunError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            np.testing.assert_array_equal(found, np.arange(20.0))


def test_a_long_header_of_tensors_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write((90_000_000).to_bytes(8, "little"))
        file.truncate(90_000_100)
    with pytest.raises(RunError, match="a header of 90,000,000 bytes"):
        load_tensors(path)


# Models ---------------------------------------------------------------------------------------------------------------


def _change(folder: Path, **changes: Any) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    for name, value in changes.items():
        part, _, key = name.partition("__")
        config["model_cfg"][part][key] = value
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"text_cfg__tokenizer_kwargs": {"trust_remote_code": True}}, "sets 'trust_remote_code' for its tokenizer"),
        ({"vision_cfg__tokenizer_kwargs": {"trust_remote_code": True}}, "sets 'trust_remote_code'"),
        ({"text_cfg__tokenizer_kwargs": ["trust_remote_code"]}, "sets 'tokenizer_kwargs'"),
        ({"text_cfg__tokenizer_kwargs": {"code_revision": "x"}}, "sets 'code_revision'"),
        ({"text_cfg__hf_model_name": "/etc"}, "is no name of a model"),
        ({"text_cfg__hf_tokenizer_name": "../elsewhere"}, "is no name of a model"),
        ({"vision_cfg__timm_model_name": "local-dir:/tmp"}, "is no name of a model"),
        ({"text_cfg__width": 1_000_000}, "width: 1000000 is more than the limit"),
        ({"vision_cfg__layers": 900}, "describes a model of"),
        ({"text_cfg__vocab_size": 2_900_000}, "describes a model of"),
        ({"vision_cfg__image_size": 100_000}, "image_size"),
    ],
)
def test_a_models_configuration_is_read_first(
    make_model_folder: MakeFolder, changes: dict[str, Any], complaint: str
) -> None:
    folder = make_model_folder()
    check_folder(folder)
    _change(folder, **changes)
    with pytest.raises(ModelError, match=complaint):
        check_folder(folder)
    with pytest.raises(ModelError, match=complaint):
        model_frame_size(f"local-dir:{folder}")


def test_links_of_a_model_folder(make_model_folder: MakeFolder, tmp_path: Path) -> None:
    folder = make_model_folder()
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    (folder / "words.txt").symlink_to(secret)
    with pytest.raises(ModelError, match="leads out of its folder"):
        check_folder(folder)
    with pytest.raises(ModelError, match="leads out of its folder"):
        unknown_words(f"local-dir:{folder}", ["word"])
    # As the Hub's cache has it: snapshots/REVISION/file -> ../../blobs/HASH
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for index, path in enumerate(path for path in folder.iterdir() if not path.is_symlink()):
        (blobs / str(index)).write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../blobs/{index}")
    assert check_folder(snapshot) == check_folder_without_links(folder)


def check_folder_without_links(folder: Path) -> Any:
    (folder / "words.txt").unlink()
    return check_folder(folder)


def test_pipes_and_bombs_in_a_model_folder(make_model_folder: MakeFolder) -> None:
    folder = make_model_folder()
    (folder / "bpe_merges.txt.gz").write_bytes(gzip.compress(b"\0" * 60_000_000))
    with pytest.raises(ModelError, match="once unpacked"):
        check_folder(folder)
    (folder / "bpe_merges.txt.gz").unlink()
    os.mkfifo(folder / "tokenizer.json")
    with pytest.raises(ModelError, match="no regular file"):
        check_folder(folder)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "config.json", "special_tokens_map.json"])
def test_a_tokenizers_settings_name_no_file_elsewhere(make_model_folder: MakeFolder, tmp_path: Path, name: str) -> None:
    """Transformers opens whatever its classes are told to, such as a vocabulary."""
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    folder = make_model_folder()
    harmless = {
        "name_or_path": str(secret),
        "special_tokens_map_file": str(secret),
        "vocab": str(tmp_path / "gone.json"),
    }
    (folder / name).write_text(json.dumps({**harmless, "vocab_file": str(folder / "open_clip_config.json")}))
    check_folder(folder)
    for settings in ({"vocab": str(secret)}, {"sp_model_kwargs": {"model_file": str(secret)}}, {"x": [str(secret)]}):
        (folder / name).write_text(json.dumps(settings))
        with pytest.raises(ModelError, match="names a file that lies elsewhere"):
            check_folder(folder)


def test_a_tokenizer_does_not_swell_texts(make_model_folder: MakeFolder) -> None:
    folder = make_model_folder()
    longer = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}
    table = base64.b64encode((4).to_bytes(4, "little") + b"\0" * 4 + b"a" * 5000 + b"\0").decode()
    for parts, fine in (
        ([longer] * 2, True),
        ([longer] * 12, False),
        ([{"type": "Sequence", "normalizers": [longer] * 6}] * 2, False),
        ([{"type": "Precompiled", "precompiled_charsmap": table}], False),
    ):
        (folder / "tokenizer.json").write_text(json.dumps({"normalizer": {"type": "Sequence", "normalizers": parts}}))
        with contextlib.nullcontext() if fine else pytest.raises(ModelError, match="times as long"):
            check_folder(folder)


def test_a_tokenizer_that_panics_is_one_line() -> None:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    from gym_vlmrm.reward.clip.text import tokens_of

    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    with pytest.raises(ModelError, match=r"tokenizer fails on 'aaa.*retry-limit"):
        tokens_of(tokenizer.encode_batch, ["a" * 40 + "b"])


def test_open_clips_own_configurations_pass() -> None:
    import gym_vlmrm.reward.clip  # isort: skip  # noqa: F401
    import open_clip

    for name in open_clip.list_models():
        check_config({"model_cfg": open_clip.get_model_config(name)}, name)


# Captions and pictures ------------------------------------------------------------------------------------------------


def _picture(path: Path, size: tuple[int, int] = (8, 8)) -> None:
    Image.new("L", size).save(path)


def test_captions_have_bounds(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    table = tmp_path / "captions.csv"
    for content, complaint in (
        ("file,caption\n" + "".join(f"a.png,c{n}\n" for n in range(MAX_CAPTIONS + 1)), "different captions"),
        ("file,caption\na.png," + "x" * 2000 + "\n", "a caption of 2,000 characters"),
        ("file,caption\n" + "a" * 5000 + ",x\n", "no picture"),
        ("file,caption\na\0.png,x\n", "no picture|cannot read"),
        ("file,caption\n/dev/zero,x\n", "no picture"),
        ("file," + "c" * 5000 + "\n", "unknown column"),
    ):
        table.write_text(content)
        with pytest.raises(CaptionError, match=complaint) as caught:
            read_captions(tmp_path)
        assert len(str(caught.value)) < 500
    table.unlink()
    os.mkfifo(table)
    with pytest.raises(CaptionError):
        read_captions(table)
    lines = tmp_path / "captions.jsonl"
    lines.write_text("[" * 100_000)
    with pytest.raises(CaptionError):
        read_captions(lines)


def test_a_caption_is_whole(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    (tmp_path / "captions.jsonl").write_text('{"file": "a.png", "caption": "half \\ud800"}')
    with pytest.raises(CaptionError, match="half a character"):
        read_captions(tmp_path)
    (tmp_path / "captions.csv").write_text("file,caption,caption\na.png,one,other\n")
    with pytest.raises(CaptionError, match="comes twice"):
        read_captions(tmp_path / "captions.csv")


def test_pictures_of_more_bits_are_not_cut_off(tmp_path: Path) -> None:
    levels = np.linspace(0, 65_535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "a.png")[..., 1], levels >> 8)
    Image.fromarray(levels.astype(np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(RunError, match="numbers of 32 bits"):
        open_picture(tmp_path / "a.tiff")


def test_pictures_have_bounds(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for size in ((1, 50_000), (50_000, 1), (9000, 9000)):
        _picture(path, size)
        with pytest.raises(RunError, match=rf"{size[0]} x {size[1]} pixels"):
            open_picture(path)
    for content in (b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x89PNG\r\n\x1a\n" + b"\0" * 99):
        path.write_bytes(content)
        with pytest.raises(RunError, match="cannot be read"):
            open_picture(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RunError, match="no regular file"):
        open_picture(path)


def test_prompt_files_have_bounds(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    for content in ("a" * 900_000, "{a|b}" * 3000, "x\n" * 400_000 + "{a|b|c}" * 1000, "a" * 2_000_000):
        path.write_text(content)
        with pytest.raises(VLMRMError):
            read_prompt_file(path)
    path.write_text("".join(f"x{n}\n" for n in range(100_000)))
    with pytest.raises(VLMRMError, match="more than 500"):
        read_prompt_file(path)


def test_a_finetunings_record_is_validated(tmp_path: Path) -> None:
    path = tmp_path / "finetuning.json"
    for content in ("[]", '{"settings": {"captions": 1}}', '{"settings": null, "measurements": [1]}', "{"):
        path.write_text(content)
        with pytest.raises(RunError, match="is no record of a fine-tuning"):
            read_record(tmp_path)
    (tmp_path / "state").symlink_to(tmp_path.parent)
    with pytest.raises(RunError, match="is a link"):
        read_record(tmp_path)


# Words ----------------------------------------------------------------------------------------------------------------

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066\x9b31m\r\ud800"


def test_nothing_commands_a_terminal() -> None:
    shown = harmless(HOSTILE + "plain é \U0001f600\tx\ny")
    assert not set(shown) & set("\x1b\x07\u202e\u2066\x9b\r\ud800")
    assert shown.endswith("plain é \U0001f600\tx\ny")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_commands_print_hostile_words(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "own.yaml"
    words = json.dumps(HOSTILE.replace("\ud800", "") + " é \u4e16")
    path.write_text(
        f"id: Own/Task-v0\nenv: {{id: CartPole-v1}}\nreward: {{goal: {words}, model: brightness}}\nsuccess: {words}\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    for success in (True, False):
        if success:
            path.write_text(path.read_text().partition("success")[0])
        done = subprocess.run(
            [sys.executable, "-m", "gym_vlmrm_cli.main", "check", str(path)],
            capture_output=True, env=environment, timeout=120, check=False,
        )  # fmt: skip
        printed = (done.stdout + done.stderr).decode(encoding)
        assert "Traceback" not in printed
        assert "plain" in printed or "goal" in printed or "success" in printed
        assert not set(printed) & set("\x1b\x07\u202e\u2066\x9b\r")
