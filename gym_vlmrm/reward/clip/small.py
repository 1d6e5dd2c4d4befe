"""Small models of this package's own kind, such as the embedded one, without open_clip and the memory that it takes.

The modules below are CLIP's residual network and text transformer as open_clip 3 has them, without the options that no
model here uses: equal names of weights, equal operations in equal order, and so equal bits (tests/test_small.py).
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from gym_vlmrm.errors import ModelError, RunError
from gym_vlmrm.reward.clip.packed import load_weights
from gym_vlmrm.reward.folders import CONFIG_FILE, MERGES_FILE, WEIGHTS_FILE, check_folder

__all__ = [
    "AttentionPool2d", "Bottleneck", "ModifiedResNet", "SmallClip", "lower_half", "open_small", "upper_half",
]  # fmt: skip

_SCHEMA = "local-dir:"
_HEAD_WIDTH = 64
_CONFIG = {"embed_dim", "vision_cfg", "text_cfg"}
_VISION = {"image_size", "layers", "width", "patch_size"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers"}
_PREPROCESSING = {"mean", "std", "interpolation", "resize_mode"}


def open_small(name: str) -> tuple[Any, Any] | None:
    """Return a fresh model in float32 on the CPU and its tokenizer, as `gym_vlmrm.reward.clip.opening.open_model` does.

    ``None`` where the model is no folder with just what is written here; open_clip reads those.

    Raises:
        ModelError: the folder's weights do not fit its configuration, or cannot be read.
    """
    folder = Path(name.removeprefix(_SCHEMA))
    weights = folder / WEIGHTS_FILE
    if not name.startswith(_SCHEMA) or not (folder / MERGES_FILE).is_file() or not weights.is_file():
        return None
    if weights.is_symlink():  # as in the Hub's cache
        return None
    config = check_folder(folder)
    clip, preprocessing = config["model_cfg"], config.get("preprocess_cfg", {})
    vision, text = clip["vision_cfg"], clip["text_cfg"]
    plain = set(clip) == _CONFIG and set(vision) == _VISION and set(text) == _TEXT
    if not plain or set(preprocessing) != _PREPROCESSING or not isinstance(vision["layers"], list):
        return None
    tokenizer = _tokenizer(folder, text["context_length"])
    if tokenizer is None:
        return None
    try:
        model = SmallClip(clip)
        model.load_state_dict(load_weights(weights))
    except (RunError, ModelError, RuntimeError, ValueError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(
            f"cannot load model '{name}' ({type(error).__name__}: {reason}); the folder needs {CONFIG_FILE} and "
            f"{WEIGHTS_FILE} that fit together"
        ) from None
    size = vision["image_size"]
    model.visual.preprocess_cfg = {"size": size, "mode": "RGB", "fill_color": 0, **preprocessing}
    return model, tokenizer


def _tokenizer(folder: Path, context_length: int) -> Any:
    """Return open_clip's own, from its one file: importing the package brings torchvision, timm and transformers."""
    package = importlib.util.find_spec("open_clip")
    places = list(package.submodule_search_locations or ()) if package is not None else []
    path = Path(places[0]) / "tokenizer.py" if places else Path()
    spec = importlib.util.spec_from_file_location("_gym_vlmrm_open_clip_tokenizer", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError:  # a version whose file needs the rest of the package
        return None
    return module.SimpleTokenizer(bpe_path=str(folder / MERGES_FILE), context_length=context_length)


class Bottleneck(nn.Module):
    """One residual block; it makes half the picture by averaging and not by steps."""

    def __init__(self, inputs: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(planes)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(planes)
        self.act2 = nn.ReLU(inplace=True)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3: nn.Module = nn.BatchNorm2d(planes * 4)
        self.act3 = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != planes * 4:
            self.downsample = nn.Sequential()
            self.downsample.add_module("-1", nn.AvgPool2d(stride))
            self.downsample.add_module("0", nn.Conv2d(inputs, planes * 4, 1, bias=False))
            self.downsample.add_module("1", nn.BatchNorm2d(planes * 4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, 4 planes, H / stride, W / stride) of (N, inputs, H, W)."""
        found = self.act1(self.bn1(self.conv1(images)))
        found = self.avgpool(self.act2(self.bn2(self.conv2(found))))
        found = self.bn3(self.conv3(found))
        found += images if self.downsample is None else self.downsample(images)
        activated: torch.Tensor = self.act3(found)
        return activated


class AttentionPool2d(nn.Module):
    """The mean of a picture asks all of its places."""

    def __init__(self, side: int, width: int, heads: int, outputs: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(side**2 + 1, width))
        self.k_proj, self.q_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.c_proj = nn.Linear(width, width), nn.Linear(width, outputs)
        self.num_heads = heads

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (N, outputs) of (N, width, side, side)."""
        places = images.flatten(2).permute(2, 0, 1)
        places = torch.cat([places.mean(dim=0, keepdim=True), places], dim=0)
        places = places + self.positional_embedding[:, None, :].to(places.dtype)
        pooled, _ = functional.multi_head_attention_forward(
            query=places,
            key=places,
            value=places,
            embed_dim_to_check=places.shape[-1],
            num_heads=self.num_heads,
            q_proj_weight=self.q_proj.weight,
            k_proj_weight=self.k_proj.weight,
            v_proj_weight=self.v_proj.weight,
            in_proj_weight=None,
            in_proj_bias=torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self.c_proj.weight,
            out_proj_bias=self.c_proj.bias,
            use_separate_proj_weight=True,
            training=self.training,
            need_weights=False,
        )
        return pooled[0]


class ModifiedResNet(nn.Module):
    """CLIP's residual network."""

    def __init__(self, layers: list[int], width: int, image_size: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(width // 2)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(width // 2)
        self.act2 = nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3: nn.Module = nn.BatchNorm2d(width)
        self.act3 = nn.ReLU(inplace=True)
        self.avgpool = nn.AvgPool2d(2)
        inputs = width
        for number, blocks in enumerate(layers):
            planes = width * 2**number
            first = Bottleneck(inputs, planes, 1 if number == 0 else 2)
            inputs = planes * 4
            self.add_module(
                f"layer{number + 1}", nn.Sequential(first, *(Bottleneck(inputs, planes) for _ in range(1, blocks)))
            )
        self.attnpool = AttentionPool2d(image_size // 32, inputs, inputs // _HEAD_WIDTH, outputs)
        self.preprocess_cfg: dict[str, Any] = {}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, D) of images (N, 3, S, S)."""
        return upper_half(self, lower_half(self, images))

    def stem(self, images: torch.Tensor) -> torch.Tensor:
        """Return what the first layers make of images (N, 3, S, S)."""
        found = self.act1(self.bn1(self.conv1(images)))
        found = self.act2(self.bn2(self.conv2(found)))
        pooled: torch.Tensor = self.avgpool(self.act3(self.bn3(self.conv3(found))))
        return pooled


def lower_half(visual: Any, images: torch.Tensor) -> torch.Tensor:
    """Return what a residual network, of this package or of open_clip, knows after its third layer: (N, C, h, w)."""
    found: torch.Tensor = visual.stem(images)
    for number in range(1, 4):
        found = getattr(visual, f"layer{number}")(found)
    return found


def upper_half(visual: Any, found: torch.Tensor) -> torch.Tensor:
    """Return the embeddings (N, D) of what `lower_half` returned."""
    pooled: torch.Tensor = visual.attnpool(visual.layer4(found))
    return pooled


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, width * 4))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(width * 4, width))

    def forward(self, words: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        asked = self.ln_1(words)
        words = words + self.attn(asked, asked, asked, need_weights=False, attn_mask=mask)[0]
        added: torch.Tensor = words + self.mlp(self.ln_2(words))
        return added


class SmallClip(nn.Module):
    """A residual network for images and a transformer for sentences."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Build it of the section ``model_cfg`` of a configuration; its weights are those of the chance."""
        super().__init__()
        vision, text, size = config["vision_cfg"], config["text_cfg"], config["embed_dim"]
        if len(vision["layers"]) != 4:
            raise ValueError(f"layers must be four numbers, got {vision['layers']}")
        width, length = text["width"], text["context_length"]
        # In the order in which open_clip lists weights, which their digest depends on.
        self.positional_embedding = nn.Parameter(torch.empty(length, width))
        self.text_projection = nn.Parameter(torch.empty(width, size))
        self.logit_scale = nn.Parameter(torch.ones(()))
        self.visual = ModifiedResNet(vision["layers"], vision["width"], vision["image_size"], size)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList([_Block(width, text["heads"]) for _ in range(text["layers"])])
        self.token_embedding = nn.Embedding(text["vocab_size"], width)
        self.ln_final = nn.LayerNorm(width)
        later = torch.full((length, length), float("-inf")).triu_(1)
        self.register_buffer("attn_mask", later, persistent=False)

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return embeddings (K, D) of tokens (K, L), each read at its last one."""
        words = self.token_embedding(tokens) + self.positional_embedding
        for block in self.transformer.resblocks:  # type: ignore[union-attr]
            words = block(words, self.attn_mask)
        words = self.ln_final(words)
        last = words[torch.arange(len(words), device=words.device), tokens.argmax(dim=-1)]
        projected: torch.Tensor = last @ self.text_projection
        return projected
