"""Split CIFAR-10 as published: 5 experiences of 2 classes, ResNet18 for 50 epochs, all images, crop and flip.

    ckd bench benchmarks/split_cifar_full.py --device cuda --out runs/split-cifar10-full

Only this protocol has published numbers. It needs a GPU.
"""

from dataclasses import replace
from pathlib import Path

from ckd.bench import load_suite

suite = replace(
    load_suite(Path(__file__).with_name("split_cifar.py")),
    title="Split CIFAR-10, the published protocol",
    protocol={"variant": "full"},
    published={
        ("naive", 0): 19.62,
        ("lwf", 0): 19.61,
        ("er", 200): 44.79,
        ("er", 500): 57.74,
        ("er", 5120): 82.47,
        ("mean-er", 200): 61.9,
        ("mean-er", 500): 70.4,
        ("bfp", 200): 68.6,
        ("bfp", 500): 73.5,
        ("cls-er", 200): 66.19,
        ("cls-er", 500): 75.22,
        ("cls-er", 5120): 86.78,
        ("der++", 200): 64.88,
        ("der++", 500): 72.70,
        ("der++", 5120): 85.24,
    },
    source="Buzzega et al. 2020, arXiv:2004.07211, table 2; mean-er and cls-er: Arani et al. 2022, arXiv:2201.12604; "
    "bfp: Gu et al. 2023, arXiv:2303.14595",
)
