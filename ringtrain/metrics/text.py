"""Metrics of language models and translations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .base import Metric, as_numpy, ratio, weights_of

__all__ = ["BLEU", "CrossEntropy", "Perplexity"]


class CrossEntropy(Metric):
    """The mean of -log p(label), in nats.

    from_logits   the scores are logits, as networks here give; False for probabilities
    ignore_index  a label that does not count, such as padding
    """

    def __init__(self, from_logits: bool = True, ignore_index: int | None = None) -> None:
        super().__init__()
        self.from_logits, self.ignore_index = from_logits, ignore_index

    def update(self, scores: Any, labels: Any, weights: Any = None) -> None:
        """scores (..., C), labels (...) integers, weights one for each label. ValueError for a label out of range."""
        name = type(self).__name__
        scores, labels = as_numpy(scores), as_numpy(labels)
        if scores.shape[:-1] != labels.shape or scores.ndim != labels.ndim + 1:
            raise ValueError(f"{name} wants scores (..., C) and labels (...); got {scores.shape} and {labels.shape}")
        weights = weights_of(None if weights is None else as_numpy(weights).reshape(-1), labels.size, name)
        scores, labels = scores.reshape(-1, scores.shape[-1]).astype(np.float64), labels.reshape(-1)
        if self.ignore_index is not None:
            counted = labels != self.ignore_index
            scores, labels, weights = scores[counted], labels[counted], weights[counted]
        if not len(labels):
            return
        if not (labels.min() >= 0 and labels.max() < scores.shape[1]):
            raise ValueError(f"{name}: labels lie in [0, {scores.shape[1]}); got {labels.min()} to {labels.max()}")
        own = np.take_along_axis(scores, labels[:, None].astype(np.intp), 1)[:, 0]
        if self.from_logits:
            top = scores.max(axis=1)
            losses = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top - own
        else:
            with np.errstate(divide="ignore"):  # a probability of 0 is an infinite loss
                losses = -np.log(own)
        self._count(((losses * weights).sum(), weights.sum()))


class Perplexity(CrossEntropy):
    """exp of the mean cross-entropy over all labels."""

    def value(self) -> float:
        return float(np.exp(ratio(*self.totals)))


class BLEU(Metric):
    """BLEU of a corpus, in [0, 1] (Papineni et al. 2002): n-gram precisions' geometric mean times a brevity penalty.

    max_n    the longest n-grams
    smooth   None; "floor" counts 0.1 match where there is none (Chen and Cherry 2014, method 1); "add" adds 1 to
             matches and n-grams for n > 1 (Lin and Och 2004, method 2)

    totals holds matches for each n, n-grams for each n, and the two lengths.
    """

    def __init__(self, max_n: int = 4, smooth: str | None = None) -> None:
        if not max_n >= 1 or smooth not in (None, "floor", "add"):
            raise ValueError(f"BLEU: max_n >= 1, and smooth is None, 'floor' or 'add'; got {max_n} and {smooth!r}")
        super().__init__(2 * max_n + 2)
        self.max_n, self.smooth = max_n, smooth

    def update(self, hypotheses: Sequence[Any], references: Sequence[Sequence[Any]]) -> None:
        """hypotheses: sentences; references: for each one or more sentences.

        A sentence is a sequence of tokens, or a string, which is cut at white space.
        """
        if isinstance(hypotheses, str) or len(hypotheses) != len(references):
            raise ValueError("BLEU wants a list of hypotheses, and for each of them a list of references")
        for hypothesis, several in zip(hypotheses, references, strict=True):
            if isinstance(several, str) or not several:
                raise ValueError("BLEU wants a list of one or more references for each hypothesis")
            self._sentence(_tokens(hypothesis), [_tokens(reference) for reference in several])

    def _sentence(self, hypothesis: list[Any], references: list[list[Any]]) -> None:
        sums = np.zeros_like(self.totals)
        for n in range(1, self.max_n + 1):
            found, allowed = _ngrams(hypothesis, n), Counter[Any]()
            for reference in references:
                allowed |= _ngrams(reference, n)
            sums[n - 1] = (found & allowed).total()
            sums[self.max_n + n - 1] = found.total()
        closest = min((abs(len(r) - len(hypothesis)), len(r)) for r in references)[1]
        sums[-2:] = len(hypothesis), closest
        self._count(sums)

    def value(self) -> float:
        """nan where nothing has been counted; 0 where some n has no match and smooth is None."""
        matches, grams = self.totals[: self.max_n].copy(), self.totals[self.max_n : -2].copy()
        length, wanted = self.totals[-2:]
        if not wanted:
            return float("nan")
        if self.smooth == "add":
            matches[1:] += 1
            grams[1:] += 1
        elif self.smooth == "floor":
            matches[matches == 0] = 0.1
        if not length or not matches.all() or not grams.all():
            return 0.0
        brevity = min(0.0, 1.0 - wanted / length)
        return math.exp(brevity + np.log(matches / grams).mean())


def _tokens(sentence: Any) -> list[Any]:
    return sentence.split() if isinstance(sentence, str) else list(sentence)


def _ngrams(tokens: list[Any], n: int) -> Counter[Any]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
