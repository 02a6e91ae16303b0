"""The accuracy matrix, and the plugin in an evaluator's place."""

import numpy as np
import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin

from ckd import AccuracyRecorder


def test_the_matrix_is_what_avalanches_own_metric_says(blobs, benchmark_of, network, naive):
    recorder = AccuracyRecorder()
    evaluator = EvaluationPlugin(accuracy_metrics(experience=True), collect_all=True)
    strategy = naive(network(), [recorder], evaluator=evaluator)
    stream = benchmark_of(blobs())
    wanted = []
    torch.manual_seed(0)
    for experience in [None, *stream.train_stream]:
        if experience is not None:
            strategy.train(experience)
        found = strategy.eval(stream.test_stream)
        name = "Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp00{}"
        wanted.append([found[name.format(j)] for j in range(3)])
    matrix = recorder.matrix()
    assert np.array_equal(matrix.values, np.array(wanted[1:]))
    assert np.array_equal(matrix.initial, np.array(wanted[0]))


def test_as_evaluator_it_returns_the_last_row(blobs, benchmark_of, network, naive):
    strategy = naive(network(), evaluator=AccuracyRecorder())
    stream = benchmark_of(blobs())
    assert strategy.train(stream.train_stream[0]) == {}
    assert list(strategy.eval(stream.test_stream)) == [f"accuracy/test/{j}" for j in range(3)]


def test_what_was_not_evaluated_is_nan(blobs, benchmark_of, network, naive):
    recorder = AccuracyRecorder()
    strategy = naive(network(), evaluator=recorder)
    stream = benchmark_of(blobs())
    for i, experience in enumerate(stream.train_stream):
        strategy.train(experience)
        strategy.eval(stream.test_stream[: i + 1])
    assert np.array_equal(np.isnan(recorder.matrix().values), np.triu(np.ones((3, 3), dtype=bool), 1))
    assert recorder.matrix().average_accuracy() == pytest.approx(recorder.matrix().values[-1].mean())


def test_other_streams_are_ignored(blobs, benchmark_of, network, naive):
    recorder = AccuracyRecorder()
    strategy = naive(network(), evaluator=recorder, eval_every=1)  # evaluates on the training experience
    strategy.train(benchmark_of(blobs()).train_stream[0])
    assert recorder.get_last_metrics() == {}


def test_evaluations_within_an_experience_are_in_its_row(blobs, benchmark_of, network, naive):
    recorder = AccuracyRecorder()
    strategy = naive(network(), evaluator=recorder, eval_every=1)
    stream, wanted = benchmark_of(blobs()), []
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[stream.test_stream])
        found = strategy.eval(stream.test_stream)
        wanted.append([found[f"accuracy/test/{j}"] for j in range(3)])
    assert np.array_equal(recorder.matrix().values, np.array(wanted))


def test_an_experience_that_is_trained_on_in_several_calls_has_one_row(blobs, benchmark_of, network, naive):
    recorder = AccuracyRecorder()
    strategy, stream = naive(network(), evaluator=recorder), benchmark_of(blobs())
    for experience in stream.train_stream:
        for _ in range(2):
            strategy.train(experience)
            strategy.eval(stream.test_stream)
    assert recorder.matrix().values.shape == (3, 3)


def test_benchmarks_one_after_the_other_have_rows_of_their_own(blobs, benchmark_of, network, naive):
    recorder = AccuracyRecorder()
    strategy, tested = naive(network(), evaluator=recorder), benchmark_of(blobs()).test_stream
    for one in blobs():
        strategy.train(benchmark_of([one]).train_stream[0])
        strategy.eval(tested)
    assert recorder.matrix().values.shape == (3, 3)


def test_the_task_matrix_chooses_among_the_classes_of_the_experience(blobs, benchmark_of, network, naive):
    recorder = AccuracyRecorder()
    model = network()
    strategy = naive(model, evaluator=recorder)
    experiences = blobs()
    stream = benchmark_of(experiences)
    strategy.train(stream.train_stream[0])
    strategy.eval(stream.test_stream)
    model.eval()
    for j, (x, y) in enumerate(experiences):
        logits = model(x).detach().numpy()
        known = [2 * j, 2 * j + 1]
        assert recorder.matrix().values[0, j] == np.mean(logits.argmax(1) == y.numpy())
        assert recorder.task_matrix().values[0, j] == np.mean(logits[:, known].argmax(1) + 2 * j == y.numpy())
