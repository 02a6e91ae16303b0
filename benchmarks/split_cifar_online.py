"""Split CIFAR-10 online: SlimResNet18, one pass over all images, 10 of the stream and 10 of the memory a step.

    ckd bench benchmarks/split_cifar_online.py --out runs/split-cifar10-online

5 experiences of 2 classes, class-incremental, crop and flip.
"""

from ckd.bench import Suite

suite = Suite(
    title="Split CIFAR-10, online",
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
    ],
    protocol={"variant": "online"},
    against="der++",
)
