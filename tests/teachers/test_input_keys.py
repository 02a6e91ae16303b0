"""Keys of inputs against the same arithmetic on Python's integers, and on inputs that are nearly alike."""

import numpy as np
import pytest
import torch

from ckd.teachers import input_keys

WHOLE = 2**64


def key_of(sample):
    """The key of one input, as a signed number."""
    own = sample.contiguous().numpy().tobytes()
    padded = own + bytes(-len(own) % 8)
    words = [int.from_bytes(padded[i : i + 8], "little") for i in range(0, len(padded), 8)]
    multipliers = np.random.PCG64(20150309).random_raw(len(words)).tolist()
    total = len(own)
    for word, multiplier in zip(words, multipliers, strict=True):
        word = (word ^ (word >> 29)) * 0x9E3779B97F4A7C15 % WHOLE
        total += (word ^ (word >> 32)) * multiplier
    total %= WHOLE
    return total - WHOLE if total >= WHOLE // 2 else total


INPUTS = {
    "images": lambda g: torch.randn(5, 3, 4, 4, generator=g),
    "an odd number of bytes": lambda g: torch.randint(256, (4, 11), generator=g, dtype=torch.uint8),
    "whole numbers": lambda g: torch.randint(-9, 9, (4, 3), generator=g),
    "float64": lambda g: torch.randn(3, 2, generator=g, dtype=torch.float64),
    "half precision": lambda g: torch.randn(3, 5, generator=g).half(),
    "truth": lambda g: torch.rand(3, 9, generator=g) < 0.5,
    "one number each": lambda g: torch.randn(6, generator=g),
    "rows of a larger tensor": lambda g: torch.randn(7, 3, generator=g)[1::2],
    "a cut that starts between two words": lambda g: torch.randn(5, 3, generator=g)[1:],
    "channels last": lambda g: torch.randn(2, 3, 4, 4, generator=g).to(memory_format=torch.channels_last),
    "none": lambda g: torch.randn(0, 3, generator=g),
}


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_a_key_is_a_sum_of_mixed_words(inputs):
    x = inputs(torch.Generator().manual_seed(0))
    found = input_keys(x)
    assert found.dtype == torch.int64
    assert found.tolist() == [key_of(sample) for sample in x]


def test_it_neither_depends_on_the_batch_nor_changes_the_inputs():
    x = torch.randn(6, 5, requires_grad=True)
    before = x.detach().clone()
    found = input_keys(x)
    assert torch.equal(torch.cat([input_keys(x[i : i + 1]) for i in range(6)]), found)
    assert torch.equal(input_keys(x.detach().to(torch.float32)[torch.tensor([4, 4, 0])]), found[[4, 4, 0]])
    assert torch.equal(x, before)


def test_shapes_play_no_part_but_lengths_do():
    x = torch.randn(2, 3, 4)
    assert torch.equal(input_keys(x), input_keys(x.flatten(1)))
    nothing = [input_keys(torch.zeros(1, n, dtype=torch.uint8)).item() for n in range(1, 20)]
    assert len(set(nothing)) == len(nothing)


def test_all_patterns_of_few_bits_have_keys_of_their_own_in_every_part_of_the_key():
    """Inputs of zeros and ones differ in few, high bits of their floats, which is what a plain sum would lose."""
    bits = (torch.arange(2**14)[:, None] >> torch.arange(14)) & 1
    keys = input_keys(bits.float())
    assert len(keys.unique()) == len(keys)
    for shift in (0, 24, 48):  # as many of 2¹⁶ values as random ones would take
        taken = len(((keys >> shift) & 0xFFFF).unique())
        assert abs(taken - 2**16 * (1 - np.exp(-0.25))) < 500


@pytest.mark.parametrize("bit", [0, 22, 31, 32, 55, 63])
def test_a_flipped_bit_flips_half_of_the_keys_bits(bit):
    words = torch.randint(-(2**62), 2**62, (400, 3))
    flipped = words.clone()
    flipped[:, 1] ^= -(2**63) if bit == 63 else 1 << bit
    differ = input_keys(words) ^ input_keys(flipped)
    counts = ((differ[:, None] >> torch.arange(32, 64)) & 1).float().mean()  # low bits are plain sums
    assert abs(counts - 0.5) < 0.05
