"""A model2vec model of a few words, made on the spot: a word is a direction, a text the mean of its words."""

from collections.abc import Sequence
from pathlib import Path


def make_tiny_model(folder: Path, texts: Sequence[str]) -> None:
    """Write a model that knows the words of these texts."""
    import numpy as np
    from model2vec import StaticModel
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace

    words = sorted({word.strip(".,?!").lower() for text in texts for word in text.split()})
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(["[UNK]", *words])}, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    # every word at right angles to every other, the unknown one nowhere
    vectors = np.vstack([np.zeros(len(words)), np.eye(len(words))]).astype(np.float32)
    StaticModel(vectors, tokenizer, normalize=True).save_pretrained(folder)
