"""Split CIFAR-10 online: SlimResNet18, one pass over all images, 10 of the stream and 10 of the memory a step.

    ckd bench benchmarks/split_cifar_online.py --out runs/split-cifar10-online

5 experiences of 2 classes, class-incremental, crop and flip. Without icarl, which needs experiences as a whole.
"""

from dataclasses import replace
from pathlib import Path

from ckd.bench import load_suite

offline = load_suite(Path(__file__).with_name("split_cifar.py"))
suite = replace(
    offline,
    recipes=[recipe for recipe in offline.recipes if recipe != "icarl"],
    title="Split CIFAR-10, online",
    protocol={"variant": "online"},
)
