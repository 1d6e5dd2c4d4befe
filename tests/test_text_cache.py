"""The cache of prompts' embeddings: found again, never stale, and never in the way."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gym_vlmrm.reward.clip import towers  # isort: skip  (loads triton before open_clip, as users' programs do)
from tiny_models import TINY_MODEL

from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.cache import cache_folder
from gym_vlmrm.reward.clip import text
from gym_vlmrm.reward.clip.text_cache import TextCache

MakeFolder = Callable[..., Path]
EMBEDDING = np.arange(8, dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GYM_VLMRM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.*"))


def load(model: Path) -> Any:
    return towers.load_towers.__wrapped__(f"local-dir:{model}", "cpu")


def no_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the text tower was run")

    monkeypatch.setattr(text.TextTower, "_compute", fail)


def test_what_was_put_is_got(tmp_path: Path) -> None:
    cache = TextCache(tmp_path / "new" / "folder", "a")
    assert cache.get([1, 2]) is None
    cache.put([1, 2], EMBEDDING)
    np.testing.assert_array_equal(np.asarray(cache.get([1, 2])), EMBEDDING)
    assert cache.get([1, 2, 0]) is None
    assert TextCache(tmp_path / "new" / "folder", "b").get([1, 2]) is None


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[:-4] + b"abcd"])
def test_damaged_files_are_ignored_and_written_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    cache = TextCache(tmp_path, "a")
    cache.put([1], EMBEDDING)
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.get([1]) is None
    cache.put([1], EMBEDDING)
    np.testing.assert_array_equal(np.asarray(cache.get([1])), EMBEDDING)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = TextCache(tmp_path / "file", "a")
    cache.put([1], EMBEDDING)
    assert cache.get([1]) is None
    obstacle = TextCache(tmp_path, "a")
    obstacle.put([1], EMBEDDING)
    (file,) = [path for path in files(tmp_path) if path.suffix == ".bin"]
    file.unlink()
    file.mkdir()
    obstacle.put([1], EMBEDDING)
    assert obstacle.get([1]) is None
    assert not list(tmp_path.rglob("*.part"))


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    cache, large, wrong = TextCache(tmp_path, "a"), np.arange(50_000, dtype=np.float32), []

    def work() -> None:
        for _ in range(20):
            cache.put([1], large)
            found = cache.get([1])
            if found is None or not np.array_equal(found, large):
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(files(tmp_path)) == 1


def test_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GYM_VLMRM_CACHE", "off")
    assert cache_folder() is None
    monkeypatch.setenv("GYM_VLMRM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("GYM_VLMRM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "gym-vlmrm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gym-vlmrm"


def test_a_model_finds_its_prompts_again(
    folder: Path, make_model_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model_folder(seed=3)
    computed = load(model).embed_sentences(["a cat", "a dog", "a cat"])
    np.testing.assert_array_equal(computed[0], computed[2])
    assert len(files(folder)) == 2
    no_computing(monkeypatch)
    np.testing.assert_array_equal(load(model).embed_sentences(["a dog", "a cat"]), computed[[1, 0]])
    with pytest.raises(AssertionError):
        load(model).embed_sentences(["a bird"])


def test_another_model_finds_nothing(folder: Path, make_model_folder: MakeFolder) -> None:
    """Other weights, or the same weights read otherwise: two heads are not four, and no tensor tells."""
    model = make_model_folder(seed=3)
    first = load(model).embed_sentences(["a cat"])
    model.joinpath("open_clip_model.safetensors").write_bytes(
        make_model_folder(seed=4).joinpath("open_clip_model.safetensors").read_bytes()
    )
    assert not np.allclose(load(model).embed_sentences(["a cat"]), first)
    heads = make_model_folder({**TINY_MODEL, "text_cfg": {**TINY_MODEL["text_cfg"], "heads": 4}}, seed=3)
    assert not np.array_equal(load(heads).embed_sentences(["a cat"]), first)
    assert len(files(folder)) == 3


def test_random_weights_are_not_cached(folder: Path) -> None:
    assert load_untrained().embed_sentences(["a cat"]).shape[0] == 1
    assert not folder.exists()


def load_untrained() -> Any:
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer

    model = CLIP(**TINY_MODEL)
    model.visual.preprocess_cfg = {"size": 32, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    origin = ("Tiny/untrained", "cpu", "fp32")
    return towers.Towers(model, SimpleTokenizer(), towers.torch.device("cpu"), "fp32", origin)


def test_a_large_text_tower_is_given_back_and_returns(
    folder: Path, make_model_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "KEPT_PARAMETERS", 0)
    model = make_model_folder(seed=3)
    loaded = load(model)
    first = loaded.embed_sentences(["a cat"])
    loaded.release_text()
    assert not loaded._text.in_memory
    np.testing.assert_array_equal(loaded.embed_sentences(["a cat"]), first)
    assert not loaded._text.in_memory
    assert loaded.embed_sentences(["a dog"]).shape == first.shape
    assert loaded._text.in_memory
    loaded.release_text()
    other = make_model_folder(seed=4) / "open_clip_model.safetensors"
    (model / "open_clip_model.safetensors").write_bytes(other.read_bytes())
    with pytest.raises(ModelError, match="changed on disk"):
        loaded.embed_sentences(["a bird"])


def test_a_full_cache_takes_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gym_vlmrm.reward.clip.text_cache.MOST_FILES", 3)
    cache = TextCache(folder, "a model")
    for token in range(5):
        cache.put([token], EMBEDDING)
    assert len(files(folder)) == 3
    assert cache.get([4]) is None
    np.testing.assert_array_equal(cache.get([2]), EMBEDDING)


def test_a_small_text_tower_stays(make_model_folder: MakeFolder) -> None:
    loaded = load(make_model_folder(seed=3))
    loaded.release_text()
    assert loaded._text.in_memory
