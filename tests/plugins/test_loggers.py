"""Which of Avalanche's loggers show the named losses."""

import csv
import io

import pytest
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.logging import CSVLogger, InteractiveLogger, TensorboardLogger, TextLogger
from avalanche.training.plugins import EvaluationPlugin

from ckd import SelfDistillation, recipes

PREFIX = "CKD_Loss/train_phase/train_stream/"
NAMES = ("criterion", "logits", "labels")


@pytest.fixture
def learn(blobs, benchmark_of, network, naive):
    """learn(logger, ...) -> a strategy with the logger after 2 experiences of 2 epochs of 5 iterations."""

    def run(*loggers, **settings):
        evaluator = EvaluationPlugin(loss_metrics(epoch=True), accuracy_metrics(epoch=True), loggers=list(loggers))
        plugin = SelfDistillation(recipes.der_plus_plus(memory_size=10), **settings)
        strategy = naive(network(), [plugin], epochs=2, evaluator=evaluator)
        for experience in benchmark_of(blobs(n_experiences=2)).train_stream:
            strategy.train(experience)
        return strategy

    return run


def printed(text):
    """Values by name, in the order in which they were printed."""
    lines = [line.strip().removeprefix(PREFIX) for line in text.splitlines() if PREFIX in line]
    return {name: [float(line.split(" = ")[1]) for line in lines if line.startswith(name)] for name in NAMES}


def means(strategy):
    return {name: strategy.evaluator.get_all_metrics()[PREFIX + name] for name in NAMES}


def test_the_evaluator_keeps_the_mean_of_each_epoch(learn):
    for at, values in means(learn(TextLogger(io.StringIO()))).values():
        assert at == [5, 10, 15, 20]
        assert all(value > 0 for value in values[1:])


def test_a_text_logger_prints_them_at_the_end_of_an_epoch(learn):
    file = io.StringIO()
    strategy = learn(TextLogger(file))
    for name, values in printed(file.getvalue()).items():
        assert len(values) == 4
        assert values == pytest.approx(means(strategy)[name][1], abs=1e-4)


def test_an_interactive_logger_prints_them_at_the_end_of_an_epoch(learn, capsys):
    strategy = learn(InteractiveLogger())
    for name, values in printed(capsys.readouterr().out).items():
        assert len(values) == 4
        assert values == pytest.approx(means(strategy)[name][1], abs=1e-4)


@pytest.mark.filterwarnings("default::DeprecationWarning")  # of tensorboard
@pytest.mark.parametrize(("settings", "points"), [({}, 4), ({"log_every": 1}, 20)])
def test_tensorboard_draws_a_curve_of_each(settings, points, learn, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorboardLogger(tmp_path)
    strategy = learn(logger, **settings)
    logger.writer.close()
    written = EventAccumulator(str(tmp_path)).Reload()
    for name, (at, values) in means(strategy).items():
        curve = written.Scalars(PREFIX + name)
        assert [point.step for point in curve] == at
        assert [point.value for point in curve] == pytest.approx(values)
    assert len(written.Scalars(PREFIX + "criterion")) == points


def test_a_csv_logger_has_columns_for_accuracy_and_loss_alone(learn, tmp_path):
    logger = CSVLogger(tmp_path)
    learn(logger)
    logger.close()
    header, *rows = csv.reader((tmp_path / "training_results.csv").read_text().splitlines())
    assert header == ["training_exp", "epoch", "training_accuracy", "val_accuracy", "training_loss", "val_loss"]
    assert len(rows) == 4
