"""Strategies of Avalanche beside an objective: most train with it, the others are refused with the reason."""

import copy
import gc
import pickle

import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.models import MultiTaskModule, SCRModel, SimpleMLP
from avalanche.models.packnet import PackNetModel
from avalanche.training import (
    AGEM,
    AR1,
    DER,
    ER_ACE,
    ER_AML,
    EWC,
    GEM,
    LFL,
    MAS,
    MER,
    MIR,
    SCR,
    AETraining,
    Cumulative,
    CWRStar,
    FeatureReplay,
    FromScratchTraining,
    GDumb,
    GSS_greedy,
    ICaRL,
    JointTraining,
    LearningToPrompt,
    LwF,
    Naive,
    PackNet,
    Replay,
    StreamingLDA,
    SynapticIntelligence,
    VAETraining,
)
from avalanche.training.plugins import CoPEPlugin, RARPlugin, RWalkPlugin
from avalanche.training.supervised.lamaml_v2 import LaMAML
from avalanche.training.templates import SupervisedTemplate
from torch import nn
from torch.utils.data import TensorDataset

from ckd import AccuracyRecorder, SelfDistillation, recipes
from ckd.data.resident_loader import ResidentLoader
from ckd.errors import ConfigError, DataError
from ckd.plugins.refusals import Trained, refuse_another_student, refuse_strategy, refuse_unmet_classes
from ckd.plugins.step_hooks import StepHooks, check_minibatch, check_outputs_of, others_would_see

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::ckd.plugins.LoaderWarning",
    "ignore:Avalanche is transitioning",
    "ignore:Plugin .* implements incompatible callbacks",
)


class Checked(SelfDistillation):
    """The plugin with every check in its place."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.hooks, self.trained, self.joint = StepHooks(), None, self.engine.joint

    def __getstate__(self):
        return {**super().__getstate__(), "trained": None}

    def before_training(self, strategy, **kwargs):
        self.after_eval(strategy)
        refuse_strategy(strategy, self.objective)
        refuse_another_student(strategy, self.objective, self.trained)
        super().before_training(strategy, **kwargs)
        self.trained = Trained(strategy)

    def before_training_exp(self, strategy, **kwargs):
        refuse_another_student(strategy, self.objective, self.trained)
        super().before_training_exp(strategy, **kwargs)
        refuse_unmet_classes(strategy, self.objective, self.engine.moment.classes.seen)
        self.hooks.start()
        self.engine.joint = False if self.joint is None and others_would_see(strategy, self) else self.joint

    def before_training_epoch(self, strategy, **kwargs):
        self.hooks.start()
        super().before_training_epoch(strategy, **kwargs)

    def before_forward(self, strategy, **kwargs):
        self.hooks.meet("before_forward", strategy, self.objective.name)
        loader, stores_raw = strategy.dataloader, self._stores_raw and self.objective.memory is not None
        raw = loader.raw_of(strategy.mbatch[0]) if isinstance(loader, ResidentLoader) else None
        check_minibatch(strategy, self.objective.name, raw, stores_raw=stores_raw)
        super().before_forward(strategy, **kwargs)

    def after_forward(self, strategy, **kwargs):
        self.hooks.meet("after_forward", strategy, self.objective.name)
        check_outputs_of(strategy, self.objective.name, self._step.inputs.shape[0])
        super().after_forward(strategy, **kwargs)

    def before_backward(self, strategy, **kwargs):
        self.hooks.meet("before_backward", strategy, self.objective.name)
        super().before_backward(strategy, **kwargs)

    def after_update(self, strategy, **kwargs):
        self.hooks.meet("after_update", strategy, self.objective.name)
        super().after_update(strategy, **kwargs)

    def after_training_iteration(self, strategy, **kwargs):
        self.hooks.check(strategy, self.objective.name)

    def after_training_epoch(self, strategy, **kwargs):
        self.hooks.check(strategy, self.objective.name)
        super().after_training_epoch(strategy, **kwargs)

    def after_training_exp(self, strategy, **kwargs):
        self.hooks.check_experience(strategy, self.objective.name)
        super().after_training_exp(strategy, **kwargs)


def objective(name):
    return recipes.get(name).build(**({} if name in ("lwf", "naive") else {"memory_size": 20}))


# strategies --------------------------------------------------------------------------------------------------------


def mlp():
    return SimpleMLP(num_classes=6, input_size=6, hidden_size=16, hidden_layers=1, drop_rate=0.0)


def settings(plugins, model=None, **more):
    model = model or mlp()
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.05),
        "criterion": nn.CrossEntropyLoss(),
        "train_mb_size": 8,
        "eval_mb_size": 16,
        "plugins": plugins,
        "evaluator": AccuracyRecorder(),
        **more,
    }


def icarl(plugins):
    features, classifier = nn.Sequential(nn.Linear(6, 16), nn.ReLU()), nn.Linear(16, 6)
    optimizer = torch.optim.SGD([*features.parameters(), *classifier.parameters()], lr=0.05)
    given = settings(plugins, optimizer=optimizer)
    del given["model"], given["criterion"]
    return ICaRL(
        feature_extractor=features,
        classifier=classifier,
        memory_size=20,
        buffer_transform=None,
        fixed_memory=True,
        **given,
    )


def er_aml(plugins):
    model = mlp()
    return ER_AML(feature_extractor=model.features, mem_size=60, batch_size_mem=4, **settings(plugins, model))


def scr(plugins):
    model = SCRModel(nn.Sequential(nn.Linear(6, 16), nn.ReLU()), nn.Linear(16, 8))
    given = settings(plugins, model)
    del given["criterion"]
    return SCR(mem_size=20, batch_size_mem=8, **given)


def feature_replay(plugins):
    given = settings(plugins)
    del given["criterion"]
    return FeatureReplay(mem_size=20, batch_size_mem=4, **given)


def streaming_lda(plugins):
    features = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
    given = settings(plugins)
    del given["model"], given["optimizer"]
    return StreamingLDA(slda_model=features, input_size=16, num_classes=6, **given)


def prompts(plugins, **more):
    given = settings(plugins, **more)
    del given["model"], given["optimizer"]
    model = {"model_name": "simpleMLP", "pretrained": False, "use_cls_features": False, "use_vit": False}
    return LearningToPrompt(num_classes=6, **model, **given)


class WithTasks(MultiTaskModule):
    def __init__(self):
        super().__init__()
        self.mlp = mlp()

    def forward(self, x, task_labels):
        return self.mlp(x)


def packnet(plugins):  # it puts what it is given into a list of its own
    given = settings(plugins[0], PackNetModel(mlp()), train_epochs=2)
    return PackNet(post_prune_epochs=1, prune_proportion=0.5, **given)


def autoencoder(strategy):
    return lambda plugins: strategy(**settings(plugins, nn.Linear(6, 6), device="cpu"))


def with_plugin(make):
    return lambda plugins: Naive(**settings([*plugins, make()]))


def of(strategy, **more):
    return lambda plugins: strategy(**more, **settings(plugins))


STRATEGIES = {
    "Naive": of(Naive),
    "Cumulative": of(Cumulative),
    "FromScratchTraining": of(FromScratchTraining),
    "Replay": of(Replay, mem_size=20),
    "GSS_greedy": of(GSS_greedy, mem_size=60, mem_strength=2, input_size=[6]),
    "LwF": of(LwF, alpha=1.0, temperature=2.0),
    "AGEM": of(AGEM, patterns_per_exp=10, sample_size=8),
    "GEM": of(GEM, patterns_per_exp=10, memory_strength=0.5),
    "EWC": of(EWC, ewc_lambda=1.0),
    "SynapticIntelligence": of(SynapticIntelligence, si_lambda=0.1),
    "MAS": of(MAS),
    "LFL": of(LFL, lambda_e=0.1),
    "MIR": of(MIR, mem_size=20, subsample=10, batch_size_mem=4),
    "CWRStar": of(CWRStar, cwr_layer_name=None),
    "RWalk": with_plugin(lambda: RWalkPlugin(delta_t=2)),
    "RAR": with_plugin(lambda: RARPlugin(batch_size_mem=4, mem_size=20)),
    "ER_ACE": of(ER_ACE, mem_size=20, batch_size_mem=4),
    "ER_AML": er_aml,
    "ICaRL": icarl,
    "LearningToPrompt without mask": lambda plugins: prompts(plugins, use_mask=False),
    "LearningToPrompt": prompts,
    "JointTraining": of(JointTraining),
    "GDumb": of(GDumb, mem_size=20),
    "CoPE": with_plugin(lambda: CoPEPlugin(mem_size=20, n_classes=6, p_size=6)),
    "SCR": scr,
    "DER": of(DER, mem_size=20, batch_size_mem=4),
    "FeatureReplay": feature_replay,
    "PackNet": packnet,
    "StreamingLDA": streaming_lda,
    "MER": of(MER, mem_size=20, batch_size_mem=4, n_inner_steps=2),
    "LaMAML": lambda plugins: LaMAML(n_inner_updates=2, **settings(plugins, WithTasks())),
    "AETraining": autoencoder(AETraining),
    "VAETraining": autoencoder(VAETraining),
}


def factory():
    """A benchmark as the older generators make it; some strategies ask for it."""
    y = torch.arange(6).repeat_interleave(20)
    x = 2.0 * torch.eye(6)[y] + torch.randn(len(y), 6, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(x, y)
    data.targets = y.tolist()
    with torch.random.fork_rng():
        return nc_benchmark(data, data, n_experiences=3, task_labels=False, shuffle=False, seed=1)


def learn(name, plugin):
    """Train a strategy on three experiences."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        strategy = STRATEGIES[name]([plugin])
        stream = factory().train_stream
        for lesson in [list(stream)] if name == "JointTraining" else stream:
            strategy.train(lesson)
    return strategy


TRAIN_WITH_TERMS = list(STRATEGIES)[:20]
TRAIN_WITH_ANY = [n for n in TRAIN_WITH_TERMS if n not in ("GSS_greedy", "ER_ACE", "ER_AML", "ICaRL")]


@pytest.mark.parametrize("name", TRAIN_WITH_TERMS)
def test_terms_are_added_in_most_strategies(name):
    plugin = Checked(objective("der++"))
    learn(name, plugin)
    assert set(plugin.objective.memory.rows.experiences.tolist()) == {0, 1, 2}
    assert plugin.engine.moment.iteration >= 12


@pytest.mark.parametrize("name", TRAIN_WITH_ANY)
def test_the_criterion_is_replaced_in_most_strategies(name):
    plugin = Checked(objective("er"))
    learn(name, plugin)
    assert set(plugin.objective.memory.rows.experiences.tolist()) == {0, 1, 2}


REFUSED = [
    ("GDumb", "der++", "one model for the whole run; received GDumb, which trains a new one"),
    ("StreamingLDA", "der++", "an optimiser; received one without"),
    ("MER", "der++", "one optimiser step for each mini-batch"),
    ("LaMAML", "der++", "one optimiser step for each mini-batch"),
    ("CoPE", "der++", "returns logits; received CoPE"),
    ("SCR", "der++", "returns logits; received an SCRModel"),
    ("AETraining", "der++", "returns logits; received an autoencoder"),
    ("VAETraining", "der++", "returns logits; received an autoencoder"),
    ("DER", "der++", "received DER, which adds samples"),
    ("FeatureReplay", "der++", "keeps its last features"),
    ("FeatureReplay", "er", "keeps its last features"),
    ("FeatureReplay", "lwf", "keeps its last features"),
    ("PackNet", "der++", "samples of several tasks in one batch"),
    ("LearningToPrompt", "der++", "use_mask=False"),
    ("LearningToPrompt", "lwf", "use_mask=False"),
    ("ICaRL", "er", "ICaRL, whose loss looks at the mini-batch.* such as der"),
    ("ICaRL", "lwf", "another head in evaluation mode"),
    ("ER_ACE", "er", "ER_ACE, which has another .* such as der"),
    ("ER_AML", "er", "ER_AML, which has another .* such as der"),
]


@pytest.mark.parametrize(("name", "recipe", "said"), REFUSED, ids=lambda value: str(value)[:20])
def test_a_strategy_that_leaves_no_room_is_refused_before_the_first_step(name, recipe, said):
    plugin = Checked(objective(recipe))
    with pytest.raises(ConfigError, match=said) as error:
        learn(name, plugin)
    assert str(error.value).startswith(f"objective {recipe!r} in {'Naive' if name == 'CoPE' else name}: ")
    assert plugin.engine.moment.iteration == 0


def test_ar1_is_refused():  # its network is downloaded when it is built
    strategy = AR1.__new__(AR1)
    strategy.model = mlp()
    strategy.optimizer, strategy.plugins = torch.optim.SGD(strategy.model.parameters()), []
    with pytest.raises(ConfigError, match=r"in AR1: .* received AR1, which adds features"):
        refuse_strategy(strategy, objective("der++"))


@pytest.mark.parametrize("name", ["FeatureReplay", "LearningToPrompt", "ICaRL", "ER_ACE"])
def test_what_needs_neither_memory_nor_teachers_trains_there(name):
    plugin = Checked(recipes.naive())
    learn(name, plugin)
    assert plugin.engine.moment.iteration >= 12


def test_joint_training_is_refused_where_later_classes_are_among_the_first():
    with pytest.raises(DataError, match=r"in JointTraining: .* received samples of class 2, which comes later"):
        learn("JointTraining", Checked(objective("er")))


@pytest.mark.parametrize("recipe", [recipes.naive, recipes.joint])
def test_an_objective_without_terms_accompanies_joint_training(recipe):
    plugin = Checked(recipe())
    learn("JointTraining", plugin)
    assert plugin.engine.moment.iteration == 15


# strategies of one's own -------------------------------------------------------------------------------------------


class Loop(SupervisedTemplate):
    """A training epoch that calls some hooks."""

    hooks = ()

    def training_epoch(self, **kwargs):
        for self.mbatch in self.dataloader:  # noqa: B020 - as Avalanche writes it
            self._unpack_minibatch()
            self.optimizer.zero_grad()
            self.hook("before_forward")
            self.mb_output = self.forward()
            self.hook("after_forward")
            self.loss = self.criterion()
            self.hook("before_backward")
            self.loss.backward()
            self.optimizer.step()
            self.hook("after_update")
            self.hook("after_training_iteration")

    def hook(self, name):
        if name in self.hooks:
            getattr(self, f"_{name}")()


HOOKS = ("before_forward", "after_forward", "before_backward", "after_update", "after_training_iteration")


def loop(*hooks):
    return type("Loop", (Loop,), {"hooks": hooks})


class OwnEpochs(SupervisedTemplate):
    """Not even hooks for epochs."""

    def _train_exp(self, experience, eval_streams=None, **kwargs):
        for self.mbatch in self.dataloader:  # noqa: B020 - as Avalanche writes it
            self._unpack_minibatch()
            self.optimizer.zero_grad()
            self._criterion(self.forward(), self.mb_y).backward()
            self.optimizer.step()


def train_own(strategy, plugin, stream, **keywords):
    built = strategy(**settings([plugin]))
    for lesson in stream:
        built.train(lesson, **keywords)
    return built


@pytest.mark.parametrize(
    ("strategy", "missing"),
    [
        (loop(), "before_forward"),
        (loop("after_training_iteration"), "before_forward"),
        (loop(*HOOKS[1:]), "before_forward"),
        (loop(*HOOKS[:1]), "after_forward"),
        (loop(*HOOKS[:1], *HOOKS[2:]), "after_forward"),
        (loop(*HOOKS[:2], *HOOKS[3:]), "before_backward"),
        (loop(*HOOKS[:3]), "after_update"),
        (loop(*HOOKS[:3], *HOOKS[4:]), "after_update"),
        (OwnEpochs, "before_forward"),
    ],
)
@pytest.mark.parametrize("recipe", ["der++", "lwf"])
def test_a_loop_that_leaves_out_a_hook_is_refused(strategy, missing, recipe, blobs, benchmark_of):
    with pytest.raises(ConfigError, match=rf"calls the hooks .*; received one without {missing}\. "):
        train_own(strategy, Checked(objective(recipe)), benchmark_of(blobs()).train_stream)


@pytest.mark.parametrize("strategy", [loop(*HOOKS), loop(*HOOKS[:4])])
def test_a_loop_of_ones_own_with_all_hooks_trains(strategy, blobs, benchmark_of):
    plugin = Checked(objective("der++"))
    train_own(strategy, plugin, benchmark_of(blobs()).train_stream)
    assert plugin.engine.moment.iteration == 15


def test_an_experience_without_a_mini_batch_is_no_loop_without_hooks(blobs, benchmark_of):
    lessons = blobs()
    lessons[1] = tuple(column[:3] for column in lessons[1])
    plugin = Checked(objective("der++"))
    train_own(Naive, plugin, benchmark_of(lessons).train_stream, drop_last=True)
    assert plugin.engine.moment.iteration == 10


def test_a_stop_before_the_first_mini_batch_is_no_loop_without_hooks(blobs, benchmark_of):
    class Stop:
        def before_training_exp(self, strategy, **kwargs):
            if strategy.experience.current_experience == 1:
                strategy.stop_training()

    plugin = Checked(objective("der++"))
    strategy = Naive(**settings([plugin, Stop()], train_epochs=2))
    for lesson in benchmark_of(blobs()).train_stream:
        strategy.train(lesson)
    assert plugin.engine.moment.iteration == 20


def test_a_step_that_failed_half_way_is_no_loop_without_hooks(blobs, benchmark_of):
    class Fail:
        def after_forward(self, strategy, **kwargs):
            if plugin.engine.moment.iteration == 2:
                plugin.engine.moment.iteration += 1
                raise RuntimeError("out of memory")

    plugin = Checked(objective("der++"))
    strategy = Naive(**settings([plugin, Fail()]))
    experiences = benchmark_of(blobs()).train_stream
    with pytest.raises(RuntimeError, match="out of memory"):
        strategy.train(experiences[0])
    strategy.train(experiences[0])
    assert plugin.engine.moment.iteration == 8


class NewBefore(SupervisedTemplate):
    def _before_training_exp(self, **kwargs):
        self.model = copy.deepcopy(self.model)
        super()._before_training_exp(**kwargs)


class NewAfter(SupervisedTemplate):
    def _after_training_exp(self, **kwargs):
        super()._after_training_exp(**kwargs)
        self.model = copy.deepcopy(self.model)


@pytest.mark.parametrize("strategy", [NewBefore, NewAfter])
def test_a_strategy_that_replaces_its_model_is_told_so(strategy, blobs, benchmark_of):
    stream = benchmark_of(blobs()).train_stream
    with pytest.raises(ConfigError, match=rf"in {strategy.__name__}: .* which the strategy or one of its plugins put"):
        train_own(strategy, Checked(objective("lwf")), stream)


def test_a_plugin_that_was_trained_is_not_taken_for_another_run_even_if_its_model_is_gone(blobs, benchmark_of):
    stream = benchmark_of(blobs()).train_stream
    plugin = Checked(objective("der++"))
    train_own(Naive, plugin, stream)
    gc.collect()
    with pytest.raises(ConfigError, match=r"received another one\. Build a new one for each run"):
        train_own(Naive, plugin, stream)


def test_a_plugin_goes_on_after_pickling_with_the_model(blobs, benchmark_of):
    experiences = benchmark_of(blobs()).train_stream
    plugin = Checked(objective("der++"))
    strategy = train_own(Naive, plugin, experiences[:1])
    plugin, model = pickle.loads(pickle.dumps((plugin, strategy.model)))
    Naive(**settings([plugin], model)).train(experiences[1])
    assert set(plugin.objective.memory.rows.experiences.tolist()) == {0, 1}


class Adds(SupervisedTemplate):
    """Shows its model more than the mini-batch, after the plugins saw it."""

    def _before_forward(self, **kwargs):
        super()._before_forward(**kwargs)
        self.mbatch[0] = torch.cat([self.mbatch[0], self.mbatch[0][:2]])
        self.mbatch[1] = torch.cat([self.mbatch[1], self.mbatch[1][:2]])


@pytest.mark.parametrize("recipe", ["der++", "lwf"])
def test_a_mini_batch_that_grows_between_the_hooks_is_refused(recipe, blobs, benchmark_of):
    stream = benchmark_of(blobs(), "none").train_stream
    said = r"in Adds: expected logits for the 8 samples of the mini-batch; received a tensor of shape \(10, 6\)"
    with pytest.raises(ConfigError, match=said):
        train_own(Adds, Checked(objective(recipe)), stream)


class Labels:
    def before_training_iteration(self, strategy, **kwargs):
        strategy.mbatch[1] = torch.cat([strategy.mbatch[1], strategy.mbatch[1][:2]])


def test_labels_without_samples_are_refused(blobs, benchmark_of):
    strategy = Naive(**settings([Checked(objective("der++")), Labels()]))
    with pytest.raises(ConfigError, match=r"a label for each sample .* received 8 samples and 10 labels"):
        strategy.train(benchmark_of(blobs()).train_stream)


class Other:
    """Puts other samples in the place of those that were served."""

    def before_training_iteration(self, strategy, **kwargs):
        strategy.mbatch = [column[:4].clone() for column in strategy.mbatch]


def digits_strategy(plugins):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return Naive(**settings(plugins, model, train_mb_size=64))


def test_samples_that_the_loader_did_not_serve_cannot_be_stored_raw():
    from ckd.data import benchmark

    stream = benchmark("split-digits", n_experiences=2).train_stream
    with pytest.raises(ConfigError, match=r"others, which the strategy or a plugin .* resident=False"):
        digits_strategy([Checked(objective("der++")), Other()]).train(stream[0])
    plugin = Checked(objective("der++"), resident=False)
    digits_strategy([plugin, Other()]).train(stream[0])
    assert len(plugin.objective.memory) == 20
    digits_strategy([Checked(objective("lwf")), Other()]).train(stream[0])  # stores nothing


# plugins around the forward pass -----------------------------------------------------------------------------------


class Sees:
    def __init__(self):
        self.rows = set()

    def look(self, strategy):
        self.rows |= {len(strategy.mb_x), len(strategy.mb_y)}


class SeesBefore(Sees):
    def before_forward(self, strategy, **kwargs):
        self.look(strategy)


class SeesAfter(Sees):
    def after_forward(self, strategy, **kwargs):
        self.look(strategy)
        self.rows.add(len(strategy.mb_output))


@pytest.mark.parametrize(
    ("kind", "first", "joint"), [(SeesBefore, False, False), (SeesBefore, True, True), (SeesAfter, True, False),
                                 (SeesAfter, False, True)]
)  # fmt: skip
def test_other_plugins_see_the_stream_alone(kind, first, joint, blobs, benchmark_of):
    plugin, other = Checked(objective("der++")), kind()
    strategy = Naive(**settings([other, plugin] if first else [plugin, other]))
    assert others_would_see(strategy, plugin) is not joint
    for lesson in benchmark_of(blobs()).train_stream:
        strategy.train(lesson)
    assert other.rows == {8}
    assert plugin.engine.joint is (None if joint else False)
