"""Video models of transformers as judges of windows: X-CLIP, which reads a sentence and a film of some frames."""

import contextlib
import importlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from gym_vlmrm.arrays import Floats
from gym_vlmrm.errors import ModelError
from gym_vlmrm.reward.clip.devices import choose_device, choose_precision
from gym_vlmrm.reward.clip.filling import weights_digest
from gym_vlmrm.reward.clip.hub import impatient_hub
from gym_vlmrm.reward.clip.preprocessing import Preprocessing
from gym_vlmrm.reward.folders import state_of_files
from gym_vlmrm.reward.formula import average_embedding, goal_baseline_reward
from gym_vlmrm.reward.motion.video_files import find_video_folder, read_video_config
from gym_vlmrm.reward.protocol import check_frames, memory_of_scoring

__all__ = ["VideoReward", "load_video"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What X-CLIP's frames are normalised by where its folder does not say."""
_BICUBIC = 3
_ALIVE: WeakValueDictionary[tuple[Any, ...], "VideoModel"] = WeakValueDictionary()
_LOADING = threading.RLock()


class VideoModel:
    """An X-CLIP model, its tokenizer and its preprocessing; whoever asks for one that is in use shares it."""

    def __init__(self, name: str, folder: Path, device: torch.device, precision: str) -> None:
        """Load it from a folder, into an arithmetic that `choose_precision` may choose.

        Raises:
            ModelError: the folder holds no such model, or it does not run here.
        """
        _, prepared = read_video_config(folder, name)
        with _reading(name, folder):
            model, self._tokenizer = _open(folder)
        vision = model.config.vision_config
        size = vision.image_size
        side = int(size if isinstance(size, int) else max(size))
        parameters = sum(weights.numel() for weights in model.parameters())
        self.precision = choose_precision(precision, device, parameters)
        if self.precision not in _DTYPES:
            raise ModelError(f"precision '{precision}' is not for video models; use fp32, bf16, fp16 or auto")
        self.name, self.device = name, device
        self.weights_digest = weights_digest(model)
        self.film, self.side = int(vision.num_frames), side
        self._preprocessing = Preprocessing(_preprocessing(prepared, side), device)
        self._dtype = _DTYPES[self.precision]
        self._model = model.eval().requires_grad_(False).to(device=device, dtype=self._dtype)

    @torch.inference_mode()
    def prepare(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the pixels (N, 3 S S), in levels from 0 to 255, that frames (N, H, W, 3) have once resized."""
        pixels = torch.from_numpy(np.require(check_frames(frames), requirements=["C", "W"])).to(self.device)
        levels: NDArray[np.float32] = self._preprocessing.levels(pixels).float().flatten(1).cpu().numpy()
        return levels

    @torch.inference_mode()
    def judge(self, film: Floats, tokens: Mapping[str, torch.Tensor]) -> tuple[Floats, Floats]:
        """Return the unit embeddings of a film (T, 3 S S) of prepared pixels (D,), and of sentences (K, D).

        They are those of the model's own forward pass: X-CLIP reads a sentence anew in the light of every film.
        """
        levels = torch.from_numpy(np.ascontiguousarray(film, np.float32)).to(self.device)
        levels = levels.reshape(-1, 3, self.side, self.side)
        mean, std = (values.view(1, 3, 1, 1) for values in (self._preprocessing.mean, self._preprocessing.std))
        pixels = ((levels / 255 - mean) / std).to(self._dtype)
        told = self._model(pixel_values=pixels[None], **tokens)
        video, sentences = told.video_embeds[0].double(), told.text_embeds[0].double()
        return video.cpu().numpy(), sentences.cpu().numpy()

    def tokens_of(self, sentences: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the tokens (K, L) of sentences, cut off where the text tower ends."""
        length = int(self._model.config.text_config.max_position_embeddings)
        told = self._tokenizer(list(sentences), padding=True, truncation=True, max_length=length, return_tensors="pt")
        return {key: told[key].to(self.device) for key in ("input_ids", "attention_mask")}


def _open(folder: Path) -> tuple[Any, Any]:
    """Read weights and tokenizer: from safetensors alone, by transformers' own classes, from this folder alone."""
    transformers: Any = importlib.import_module("transformers")
    tokenizer = getattr(transformers, "CLIPTokenizerFast", transformers.CLIPTokenizer)
    with impatient_hub(offline=True), _without_bars(transformers.utils.logging):
        model, info = transformers.XCLIPModel.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        missing = sorted([*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])])
        if missing:
            raise ValueError(
                f"the weights lack {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else "")
            )
        return model, tokenizer.from_pretrained(folder, local_files_only=True)


@contextlib.contextmanager
def _without_bars(logging: Any) -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _reading(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(
            f"model '{name}' needs transformers ({error}); install it: pip install 'gym-vlmrm[video]'"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"cannot load model '{name}' from {folder} ({type(error).__name__}: {reason}); it needs config.json, "
            "model.safetensors and a tokenizer as transformers writes them"
        ) from None


def _preprocessing(said: Mapping[str, Any], side: int) -> dict[str, Any]:
    mean, std = said.get("image_mean", _MEAN), said.get("image_std", _STD)
    fits = all(
        isinstance(values, list | tuple)
        and len(values) == 3
        and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
        for values in (mean, std)
    )
    if not fits or 0 in std:
        raise ModelError("preprocessor_config.json: image_mean and image_std need three numbers each, std none of 0")
    interpolation = "bicubic" if said.get("resample") == _BICUBIC else "bilinear"
    return {"size": side, "mean": list(mean), "std": list(std), "interpolation": interpolation}


def load_video(name: str, device: str = "auto", precision: str = "auto") -> VideoModel:
    """Load a video model, ``transformers:NAME_OR_FOLDER``; raises ModelError."""
    folder, chosen = find_video_folder(name), choose_device(device)
    with _LOADING:
        key = (state_of_files(f"local-dir:{folder}"), str(chosen), precision)
        model = _ALIVE.get(key)
        if model is None:
            model = _ALIVE[key] = VideoModel(name, folder, chosen, precision)
        return model


class VideoReward:
    """Judges windows of pictures by a video model (see `gym_vlmrm.reward.parts.sight.Watcher`)."""

    concurrent = False
    small = False

    def __init__(
        self,
        towers: VideoModel,
        goal: Sequence[str],
        baseline: Sequence[str] | None = None,
        alpha: float = 0.0,
    ) -> None:
        self.towers, self.alpha, self.name = towers, alpha, towers.name
        self.film, self.frame_size, self.width = towers.film, towers.side, 3 * towers.side**2
        self.weights_digest, self.precision, self.device = towers.weights_digest, towers.precision, str(towers.device)
        self._goals = len(goal)
        self._baselines = len(baseline or ())
        self._tokens = towers.tokens_of([*goal, *(baseline or ())])

    def look(self, frames: NDArray[np.uint8]) -> tuple[None, NDArray[np.float32]]:
        """Return no embeddings, and the prepared pixels (N, `width`) of frames (N, H, W, 3)."""
        return None, self.towers.prepare(frames)

    def watch(self, pictures: Floats, spacing: int) -> float:
        """Return what a film (`film`, `width`) is worth; the model knows no time between its pictures."""
        with memory_of_scoring(self.name):
            video, sentences = self.towers.judge(pictures, self._tokens)
        goal = average_embedding(sentences[: self._goals])
        baseline = average_embedding(sentences[self._goals :]) if self._baselines else None
        return float(goal_baseline_reward(video[None], goal, baseline, self.alpha)[0])
