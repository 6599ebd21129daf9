"""Text: tokenizers, and corpora cut into sequences for language models."""

from ringtrain.data.text.bpe import BPETokenizer
from ringtrain.data.text.characters import CharTokenizer
from ringtrain.data.text.corpus import SequenceWindows, TextCorpus, read_text

__all__ = ["BPETokenizer", "CharTokenizer", "SequenceWindows", "TextCorpus", "read_text"]
