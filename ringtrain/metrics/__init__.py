"""Metrics: one figure of all samples, however these are batched and spread over ranks.

`update` adds a batch, `value` computes. What has been counted can be added up: sums (`totals`), and for metrics that
need every sample, rows (`samples`). `rt.merge_metrics` does it over ranks, `merge` between objects.
"""

from .base import Mean, Metric
from .classes import F1, MCC, Accuracy, ConfusionMatrix, MeanIoU, Precision, Recall, TopKAccuracy
from .detection import MeanAveragePrecision, box_iou
from .ranking import AUC
from .regression import MAE, MSE, RMSE, Pearson, Spearman
from .text import BLEU, CrossEntropy, Perplexity
