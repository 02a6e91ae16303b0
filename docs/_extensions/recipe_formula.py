"""A recipe's objective as a sum that can be read: weight · loss(what of the student, what it is compared with)."""

from functools import partial

from ckd.objective import all_classes

STRATEGIES = {
    "Cumulative": "each experience is trained on the data of all experiences so far",
    "JointTraining": "one training on the data of all experiences, shuffled",
}
WIDTH = 84
"""Of a line, in characters."""

SCHEDULES = {
    "share_of_old_classes": "(old / seen classes)",
    "share_of_new_classes": "(new / seen classes)",
}


def formula(recipe, objective):
    """The lines of the sum, and what its words mean."""
    terms = [term for term in objective.terms if term.weight != 0]
    criterion = objective.criterion
    own = _term(criterion) if criterion else "criterion(student(stream), labels)"
    lines = [line for term in [f"  {own}", *(f"+ {_term(term)}" for term in terms)] for line in term.split("\n")]
    if objective.anchor is not None:
        lines.append(f"+ {_pull(objective)}")
    return lines, _legend(recipe, objective, lines)


def _term(term):
    function, settings = _loss(term.loss)
    student = _student(term)
    groups = "" if term.groups is all_classes else f", classes: {_word(term.groups)}"
    before = f"{_weight(term.weight)}{function}("
    said = f"{before}{student}, {_target(term.target)}{groups}{settings})"
    if len(said) <= WIDTH:
        return said
    return f"{before}{student},\n{' ' * (len(before) + 2)}{_target(term.target)}{groups}{settings})"


def _weight(weight):
    if not callable(weight):
        return "" if weight == 1 else f"{weight:g} · "
    while isinstance(weight, partial):
        weight = weight.func
    name = getattr(weight, "__name__", type(weight).__name__)
    return f"{SCHEDULES.get(name, f'({_word(weight)})')} · "


def _loss(loss):
    if loss is None:
        return "criterion", ""
    if isinstance(loss, partial):
        settings = "".join(
            f", {name}={value:g}" for name, value in loss.keywords.items() if isinstance(value, int | float)
        )
        return _loss(loss.func)[0], settings
    return getattr(loss, "__name__", type(loss).__name__), ""


def _word(function):
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__).strip("_").replace("_", " ")


def _student(term):
    seen = _draw(term.draw)
    if term.view is not None:
        seen = f"{type(term.view).__name__.lower()}({seen})"
    mapped = "map of " if term.adaptor is not None else ""
    return f"{mapped}{_layers(term.output)}{'the student' if term.output.paths else 'student'}({seen})"


def _layers(output):
    if not output.paths:
        return ""
    if output.paths == ("the head",):
        return "features of "
    return "layers of " if output.paths[1:] else "a layer of "


def _draw(draw):
    kind = type(draw).__name__
    if kind == "Replay":
        return f"memory {draw.name}"
    if kind == "Union":
        return f"stream and memory {draw.memory.name}"
    return {"Stream": "stream", "OldHeads": "stream, by old heads"}[kind]


def _target(target):
    kind = type(target).__name__
    if kind == "TeacherOutput":
        return f"{_layers(target.output)}the {target.name}"
    if kind == "BestTeacher":
        return f"the better of {' and '.join(target.names)}"
    words = {
        "Labels": "labels",
        "StoredLogits": "stored logits",
        "ImplantedLogits": "stored logits, brought up to date",
        "OldProbabilities": "the snapshot's probabilities of old classes, labels of new ones",
    }
    return words.get(kind, _word(type(target)).lower())


def _pull(objective):
    anchor, kinds = objective.anchor, {"Diagonal": "diagonal Fisher", "Kronecker": "Kronecker-factored"}
    name = next((name for name, one in objective.teachers.items() if one is anchor.teacher), "old network")
    return f"{anchor.weight:g} · {kinds[type(anchor.curvature).__name__]} pull towards the {name}'s weights"


def _predicts(model):
    told = {
        "Ema": "an average of the weights",
        "Interpolated": "a network half-way between the student and the average",
        "NearestMean": "the nearest class mean of the features",
        "BiasCorrection": "the network with corrected logits of new classes",
        "LinearDiscriminant": "a linear discriminant beside the head",
    }
    kind = type(model).__name__
    return f"{told[kind]} (`{'.'.join(type(model).__module__.split('.')[:2])}.{kind}`)"


def _legend(recipe, objective, lines):
    text = " ".join(lines)
    told = {
        "criterion(": "*criterion* is the loss of your training loop, usually cross entropy",
        "memory a": "*memory a*, *memory b*, ...: independent draws from the memory",
        "snapshot": "*the snapshot* is a frozen copy of the network, taken when the last experience ended",
        "classes:": "*classes* says over which classes the softmax runs",
        "map of": "*map* is a linear map that is learned beside the student",
        "collage": "*collage*: each pixel comes from one of two remembered samples of one experience",
        "the teacher": "*the teacher* is the trained network that you give",
        "old / seen": "*(old / seen classes)* is the share of the classes that earlier experiences taught",
    }
    found = [meaning for sign, meaning in told.items() if sign in text]
    if recipe.strategy in STRATEGIES:
        found.append(STRATEGIES[recipe.strategy])
    chain = objective.evaluation.get("default", ())
    if chain:
        found.append(f"at evaluation, {' and then '.join(map(_predicts, chain))} predicts")
    if objective.limit is not None:
        found.append("a step is limited to a multiple of the steps before it (`ckd.anchors.StepLimit`)")
    if objective.corrections:
        kinds = " and ".join(type(c).__name__ for c in objective.corrections)
        found.append(f"when an experience ends, the head is corrected ({kinds})")
    return found
