import gzip
import itertools
from collections import Counter

import numpy as np
import pytest

from ringtrain.data import BPETokenizer, CharTokenizer, DataLoader, SequenceWindows, TextCorpus, read_text
from ringtrain.data.text.bpe import WORDS

SAMPLES = [
    b"",
    b" ",
    b"\n\n  two  spaces \t and\r\nlines",
    "naïve café — 東京 🙂 it's we'll".encode(),
    bytes(range(256)) * 2,
    b"\xff\xfe\x80 mixed \xc3(",
    b"a" * 1000,
    b"123 4567 1,000.5 !!?? </s>",
    *[np.random.default_rng(s).integers(0, 256, 500, np.uint8).tobytes() for s in range(3)],
]
TEXT = "In the beginning the heaven and the earth. And the earth was without form, and void; the the the\n" * 20


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train(TEXT, 290, special=["<|end|>"])


def slow_merges(text, count):
    """The definition: recount everything, merge the most frequent pair, the smallest of equals."""
    words = Counter(tuple(w) for w in WORDS.findall(text.encode()))
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, n in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p), default=None)
        if best is None or pairs[best] < 2:
            break
        merges.append(best)
        new = Counter()
        for word, n in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i : i + 2] == best:
                    out.append(255 + len(merges))
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            new[tuple(out)] += n
        words = new
    return merges


RANDOM = [
    " ".join("".join("abc"[i] for i in rng.integers(0, 3, rng.integers(1, 7))) for _ in range(60))
    for rng in map(np.random.default_rng, range(8))
]


@pytest.mark.parametrize("text", [*RANDOM, TEXT, "aaaaaaa aaa aaaa ab abab ababab", "x", ""])
def test_training_is_the_definition(text):
    assert BPETokenizer.train(text, 256 + 60).merges == slow_merges(text, 60)


@pytest.mark.parametrize("data", SAMPLES, ids=range(len(SAMPLES)))
def test_any_bytes_come_back(tokenizer, data):
    for some in (tokenizer, BPETokenizer()):
        ids = some.encode(data)
        assert ids.dtype == np.int32 and some.decode_bytes(ids) == data
        assert b"".join(WORDS.findall(data)) == data


def test_text_gets_shorter_and_words_become_tokens(tokenizer):
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT and len(ids) < len(TEXT) / 2
    assert len(tokenizer.encode(" the")) == 1 and len(tokenizer) == tokenizer.vocab_size == 290


def test_special_tokens_are_found_only_where_asked_for(tokenizer):
    text = "the<|end|> earth"
    with_it = tokenizer.encode(text, special=True)
    assert np.count_nonzero(with_it == tokenizer.special["<|end|>"]) == 1
    assert tokenizer.special["<|end|>"] not in tokenizer.encode(text)
    assert tokenizer.decode(with_it) == tokenizer.decode(tokenizer.encode(text)) == text


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "t.json")
    again = BPETokenizer.load(tmp_path / "t.json")
    assert again.merges == tokenizer.merges and again.special == tokenizer.special
    np.testing.assert_array_equal(again.encode(TEXT), tokenizer.encode(TEXT))
    characters = CharTokenizer("abc", unknown="?")
    characters.save(tmp_path / "c.json")
    assert CharTokenizer.load(tmp_path / "c.json").encode("bxa").tolist() == characters.encode("bxa").tolist()
    for kind, wrong in ((BPETokenizer, "c.json"), (CharTokenizer, "t.json")):
        with pytest.raises(ValueError, match=rf"{wrong}: not a tokenizer of ringtrain"):
            kind.load(tmp_path / wrong)


def test_many_texts_train_as_one():
    parts = [TEXT[:300], TEXT[300:].encode()]
    whole = BPETokenizer.train(iter(parts), 280)
    assert len(whole) == 280 and whole.decode(whole.encode(TEXT)) == TEXT


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BPETokenizer.train("a", 100), "256 bytes and 0 special tokens exceed vocab_size=100"),
        (lambda: BPETokenizer([(300, 1)]), "merge 0 joins"),
        (lambda: BPETokenizer().decode([256]), "tokens are 0..255, got 256..256"),
        (lambda: CharTokenizer("abc").encode("abxc"), r"no token for 'x' \(character 2 of the text\)"),
        (lambda: CharTokenizer("").encode("a"), "it knows no character"),
        (lambda: CharTokenizer("abc").decode([3]), "tokens are 0..2, got 3..3"),
        (lambda: SequenceWindows(np.arange(4), 4), "4 tokens are too few for 4 and the next one"),
        (lambda: SequenceWindows(np.arange(9), 0), "length and stride are at least 1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_characters_are_numbered_by_code_point():
    tokens = CharTokenizer.train("zebra 🙂é")
    assert tokens.characters == " aberzé🙂" and len(tokens) == 8
    assert tokens.decode(tokens.encode("🙂 zé")) == "🙂 zé"
    assert tokens.encode("").shape == (0,) and CharTokenizer("abc", "b").encode("xa").tolist() == [1, 0]


@pytest.mark.parametrize("stride, starts", [(None, [0, 4, 8]), (1, range(9)), (3, [0, 3, 6]), (20, [0])])
def test_windows(stride, starts):
    data = SequenceWindows(np.arange(13, dtype=np.int32), 4, stride)
    x, y = data.take(range(len(data)))
    assert x[:, 0].tolist() == list(starts) and x.dtype == np.int64
    np.testing.assert_array_equal(y, x + 1)
    assert data[-1][0].tolist() == x[-1].tolist()
    with pytest.raises(IndexError):
        data.take([len(data)])


def test_every_token_is_predicted_once():
    for n in (6, 9, 10, 13):
        _, y = SequenceWindows(np.arange(n), 4).take(range((n - 1) // 4))
        assert y.ravel().tolist() == list(range(1, (n - 1) // 4 * 4 + 1))


def test_a_corpus_is_a_file_cut_into_windows(tmp_path):
    (tmp_path / "t.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "t.txt").write_text(TEXT)
    assert read_text(tmp_path / "t.gz") == read_text(tmp_path / "t.txt") == TEXT
    train = TextCorpus(tmp_path / "t.gz", length=16, part=(0, 0.75))
    test = TextCorpus(tmp_path / "t.gz", train.tokenizer, 16, part=(0.75, 1))
    assert train.tokenizer.decode(test.tokens) == TEXT[round(0.75 * len(TEXT)) :]
    x, y = next(iter(DataLoader(train, 8, shuffle=True)))
    assert x.shape == y.shape == (8, 16)
    (tmp_path / "bad").write_bytes(b"ab\xffcd")
    with pytest.raises(ValueError, match=r"bad, offset 2: not UTF-8, found b'\\xff'"):
        read_text(tmp_path / "bad")


def test_the_bible(real_data):
    path = real_data / "text" / "kjv.txt.gz"
    text = read_text(path)
    tokenizer = BPETokenizer.train(text, 512)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and len(text) / len(ids) > 2
