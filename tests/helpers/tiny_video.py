"""A tiny X-CLIP model with random weights, in the folder that transformers writes."""

import json
from pathlib import Path

FILM, SIDE = 3, 32
WORDS = ["a", "robot", "walking", "standing", "jumping"]


def save_tiny_video(folder: Path, seed: int = 0) -> str:
    """Write it; returns its name for ``model:``."""
    import torch
    import transformers

    torch.manual_seed(seed)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    pieces = sorted({letter for word in WORDS for letter in word})
    vocabulary = [*pieces, *(f"{letter}</w>" for letter in pieces), "<|startoftext|>", "<|endoftext|>"]
    ends = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1, "pad_token_id": 0}
    config = transformers.XCLIPConfig(
        text_config={**small, "vocab_size": len(vocabulary), "max_position_embeddings": 20, **ends},
        vision_config={
            **small, "image_size": SIDE, "patch_size": 16, "num_frames": FILM, "mit_hidden_size": 16,
            "mit_intermediate_size": 16, "mit_num_attention_heads": 2,
        },
        projection_dim=16, prompt_layers=1, prompt_num_attention_heads=2,
    )  # fmt: skip
    transformers.XCLIPModel(config).save_pretrained(folder, safe_serialization=True)
    (folder / "vocab.json").write_text(json.dumps({piece: row for row, piece in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return f"transformers:{folder}"
