"""Where samples come from: embedded, downloaded through torchvision, or files of a user's own."""

from ckd.data.sources.cifar import cifar10, cifar100
from ckd.data.sources.digits import digits
from ckd.data.sources.mnist import mnist
from ckd.data.sources.npz import npz
from ckd.data.sources.text import ag_news, ag_news_small, sst2, subj, trec

__all__ = ["ag_news", "ag_news_small", "cifar10", "cifar100", "digits", "mnist", "npz", "sst2", "subj", "trec"]
