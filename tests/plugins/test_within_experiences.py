"""Something is done every so many steps, and the strategy does not notice."""

import pytest

from ckd.errors import ConfigError
from ckd.plugins import WithinExperiences


@pytest.mark.parametrize(
    ("every", "epochs", "expected"), [(2, 1, [2, 4]), (5, 1, []), (3, 2, [3, 6, 9]), (1, 1, [1, 2, 3, 4])]
)
def test_it_is_called_after_so_many_steps(blobs, benchmark_of, network, naive, every, epochs, expected):
    model, seen = network(), []
    plugin = WithinExperiences(every, lambda student, step: seen.append((student, step)))
    naive(model, [plugin], batch=8, epochs=epochs).train(benchmark_of(blobs()).train_stream)  # 5 steps an epoch
    assert [step for _, step in seen] == expected * 3
    assert all(student is model for student, _ in seen)


def test_no_steps_are_refused():
    with pytest.raises(ConfigError, match="1 or more"):
        WithinExperiences(0, print)
