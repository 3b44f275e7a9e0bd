"""How the texts of a pair are read: together by one encoder ("cross"), or each by itself and then compared."""

from tinydistil.base.errors import require
from tinydistil.model.config import BertConfig
from tinydistil.model.pairs import BertForCosine, BertForPairs
from tinydistil.tasks.finetune_config import FineTuneConfig
from tinydistil.tasks.label_task import LARGEST, TextTask
from tinydistil.tasks.task import AnyTask, TaskModel

# By the form of a task; the models of "cross" are those of single texts.
PAIR_MODELS: dict[str, type[TaskModel]] = {"cosine": BertForCosine, "aligned": BertForPairs}
# With fewer layers a model cannot compare the texts of one sequence: 2 x 128 learns ASSIN 2 to Pearson 0.30 that way.
CROSS_LAYERS = 6


def form_of(task: TextTask, config: FineTuneConfig, shape: BertConfig) -> str:
    """How `config` has `task` read its texts; by default apart where a model of `shape` has few layers.

    Raises InputError for what is of no use to the task.
    """
    form, comparison = config.form, config.comparison
    require(task.paired or not form, f"form {form!r} is for pairs of texts, and these are single texts; leave it out")
    form = form or ("siamese" if task.paired and shape.num_hidden_layers < CROSS_LAYERS else "cross")
    require(
        form == "siamese" or not comparison,
        f"comparison {comparison!r} is for pairs in the form 'siamese', and these are read in the form 'cross'",
    )
    if form == "cross":
        return form
    numbers_only = task.kind == "regress"
    require(
        comparison != "cosine" or numbers_only,
        f"comparison 'cosine' gives a number and no class, the task is to {task.kind}; choose 'aligned'",
    )
    return comparison or ("cosine" if numbers_only else "aligned")


def check_pooling(task: AnyTask, pooling: str) -> None:
    """Raise InputError for a pooling that texts read apart would not be given; "pooler" is what is not chosen."""
    useless = isinstance(task, TextTask) and task.form != "cross" and pooling not in ("pooler", "mean")
    require(not useless, f"pooling {pooling!r} is for the form 'cross'; 'siamese' compares means, so leave it out")


def forms_of(kind: str, *, paired: bool) -> tuple[str, ...]:
    """The forms in which a task of this kind may have been learnt."""
    apart = paired and kind not in ("tag", "answer")
    return ("cross", *(name for name in PAIR_MODELS if apart and (kind == "regress" or name != "cosine")))


def is_line(line: object) -> bool:
    """Whether `line`, out of a file, is a slope above 0 and an offset."""
    if not isinstance(line, list) or len(line) != 2 or not all(type(each) in (int, float) for each in line):
        return False
    return all(abs(each) < LARGEST for each in line) and line[0] > 0
