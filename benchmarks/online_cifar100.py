"""Split CIFAR-100 online: 20 experiences of 5 classes, each mini-batch of 10 seen once, with 3 updates.

    ckd bench benchmarks/online_cifar100.py --out runs/online-cifar100

SlimResNet18 with 20 filters, a memory of 2,000, 10 images of the stream and 10 of the memory an update, crop and flip.
Nothing sees an experience as a whole when it ends: ballast's memory takes samples as they come, and its discriminant is
of what is remembered. 15,000 updates, of about 0.2 s each for er on one core of an older CPU.

Classes come in an order drawn from the seed, another for each seed and the same for every recipe. What differs from the
published runs: all training images are used, theirs without 5 %; the memory is a reservoir that is offered a mini-batch
with each of its updates, theirs is balanced over classes and takes it once, after all three; every unit of the head is
in the softmax, theirs grows with the classes. The published value of joint is of a stream in random order with replay.
"""

from ckd.bench import Suite

suite = Suite(
    title="Split CIFAR-100, online",
    benchmarks=["split-cifar100"],
    recipes=["er", "er-ace", "der++", "mkd", "ballast", "joint"],
    memory_sizes=[2000],
    seeds=range(3),
    protocol={"variant": "online"},
    published={
        ("er", 2000): 28.2,
        ("er-ace", 2000): 29.9,
        ("der++", 2000): 29.3,
        ("joint", 0): 35.3,
    },
    against="er",
    source="Soutif-Cormerais et al. 2023, arXiv:2308.10328",
)
