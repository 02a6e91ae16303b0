"""Which classes are preferred, and agreement with the past self."""

import pytest
import torch

from ckd.errors import DataError
from ckd.evaluation.predictions import Kept, gather
from ckd.evaluation.recency import agreement_with_past_self, class_shares, recency_bias


def kept(labels, predicted):
    labels, predicted = torch.tensor(labels), torch.tensor(predicted)
    return Kept.of(labels, torch.stack([predicted, predicted]), torch.zeros(3, len(labels)))


def test_shares_and_bias_by_hand():
    # of four samples, two of each experience, three are predicted as the newest's class 2
    found = gather(
        {1: {0: kept([0, 1], [0, 1]), 1: kept([2, 2], [1, 1])}, 2: {0: kept([0, 1], [0, 2]), 1: kept([2, 2], [2, 2])}}
    )
    assert class_shares(found).tolist() == [[0.25, 0.25], [0.0, 0.25], [0.75, 0.5]]
    assert recency_bias(found) == pytest.approx(0.25)
    assert recency_bias(found, 0) == pytest.approx(-0.5)


def test_agreement_counts_what_was_learnt_before():
    found = gather(
        {
            0: {j: kept([j, j], [9, 9]) for j in range(3)},
            1: {0: kept([0, 0], [0, 0]), 1: kept([1, 1], [0, 0]), 2: kept([2, 2], [0, 0])},
            2: {0: kept([0, 0], [0, 1]), 1: kept([1, 1], [1, 1]), 2: kept([2, 2], [1, 1])},
            3: {0: kept([0, 0], [2, 1]), 1: kept([1, 1], [1, 1]), 2: kept([2, 2], [2, 2])},
        }
    )
    assert agreement_with_past_self(found) == pytest.approx((1 / 2 + 3 / 4) / 2)


def test_where_classes_stay_there_is_no_recency_bias():
    found = gather({2: {0: kept([0, 1], [0, 1]), 1: kept([0, 1], [0, 1])}})
    with pytest.raises(DataError, match="where new classes come"):
        recency_bias(found)
    with pytest.raises(DataError, match="experience by experience"):
        agreement_with_past_self(found)
    with pytest.raises(DataError, match="recency bias"):
        recency_bias(gather({1: {0: kept([0, 1], [0, 1])}}))
