"""The embedded model's own words: a byte-pair vocabulary in open_clip's format, and the list of known words."""

import gzip
import re
from collections.abc import Iterable
from pathlib import Path

from gym_vlmrm.files import write_bytes, write_text
from gym_vlmrm.reward.folders import MERGES_FILE, WORDS_FILE

__all__ = ["MAX_VOCABULARY", "write_vocabulary"]

MAX_VOCABULARY = 4096


def write_vocabulary(folder: Path, sentences: Iterable[str]) -> int:
    """Learn byte pairs from sentences and write them, with the list of words; returns the number of tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = sorted({word for sentence in sentences for word in re.findall(r"[\w']+", sentence.lower())})
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters_only = [word for word in words if word.isascii() and word.isalpha()]
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        min_frequency=1,
        end_of_word_suffix="</w>",
        # Named here, they come in this order; the trainer numbers what it finds itself in another one in every process.
        special_tokens=sorted({f"{word[-1]}</w>" for word in letters_only}),
        show_progress=False,
    )
    # Two copies of each word make every word a token; frequencies would split the rare ones.
    tokenizer.train_from_iterator(letters_only * 2, trainer)
    merges = _merges(tokenizer.to_str())
    folder.mkdir(parents=True, exist_ok=True)
    # The first line is a header that open_clip skips; a fixed time stamp makes equal files equal bytes.
    text = "\n".join(["#version: 0.2", *merges])
    write_bytes(folder / MERGES_FILE, gzip.compress(text.encode(), mtime=0))
    write_text(folder / WORDS_FILE, "\n".join(words) + "\n")
    return 512 + len(merges) + 2


def _merges(serialized: str) -> list[str]:
    import json

    merges = json.loads(serialized)["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
