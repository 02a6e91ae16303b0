"""Memory that was freed is had again without the kernel."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from ckd.bench.allocator import keep_freed_memory
{keep}
raw, stream = torch.zeros(256, 784, dtype=torch.uint8), torch.rand(128, 784)
def step():  # what a joint forward pass is made from
    torch.cat([stream, *torch.div(raw, 255.0).split(128)])
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
before = faults()
for _ in range(100):
    step()
print(faults() - before)
"""


def page_faults(keep):
    script = SCRIPT.format(keep=keep)
    return int(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is tuned")
def test_a_large_tensor_is_not_mapped_anew_at_every_step():
    assert page_faults("keep_freed_memory()") < 1000  # without it 65,000: 2.6 MB a step, a page at a time
