"""Split CIFAR-10 at CPU scale, class-incremental: 5 experiences of 2 classes, 2,000 images a class, 5 epochs.

    ckd bench benchmarks/split_cifar.py --out runs/split-cifar10

The published protocol is `split_cifar_full.py`, the online one `split_cifar_online.py`.
"""

from ckd.bench import Suite

suite = Suite(
    title="Split CIFAR-10 at CPU scale",
    benchmarks=["split-cifar10"],
    recipes=[
        "naive",
        "lwf",
        "lwf-mc",
        "fdr",
        "er",
        "er-ace",
        "er-las",
        "der++",
        "lode",
        "ser",
        "x-der",
        "wa",
        "bic",
        "ss-il",
        "icarl",
        "bfp",
        "mean-er",
        "cls-er",
        "ballast",
        "joint",
    ],
    against="der++",
)
