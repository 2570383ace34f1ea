"""A classifier's baseline and the tuned one are compared example by example."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.errors import BadInput
from orchestrator.page.charts import Images, Table
from orchestrator.page.sections import examples
from orchestrator.page.sections.examples import confusion
from orchestrator.reading.predictions import FILE, KINDS, SHOWN, compared, read, save, write
from search.space import Space, loguniform, uniform
from tests.records_on_disk import read as read_run
from tests.support import ROOT, orchestrator, run_script, simulated, small_sweep
from tests.test_report_findings import check
from tests.told import Told, tell
from trainables.contract import Workload
from trainables.data import wordpiece
from trainables.training.device import measure, predict
from trainables.values import Predictions
from trainables.workloads.bert_classify import BertClassify
from trainables.workloads.callable import FromFunction
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.mlp_digits import MlpDigits
from trainables.workloads.quadratic import Quadratic
from trainables.workloads.resnet_finetune import ResNetFinetune
from trainables.workloads.resnet_pretrain import ResNetPretrain
from trainables.workloads.script import Script

CLASSIFIERS = [
    MlpDigits.smallest(), LstmMnist.smallest(), BertClassify.smallest(), ResNetPretrain.smallest(),
    ResNetFinetune(widths=(8, 16), weights="none"), ResNetFinetune(widths=(8, 16), pretraining_epochs=0, scope="head"),
]  # fmt: skip
BASELINE = {"learning_rate": 0.002, "momentum": 0.0, "batch_size": 32}


def tuned(**changes: Any) -> Any:
    space = Space({"learning_rate": loguniform(0.05, 0.3), "momentum": 0.5, "batch_size": 32})
    fields = {"workload": MlpDigits(horizon=2), "space": space, "baseline": BASELINE, "num_samples": 2}
    return small_sweep(**{**fields, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A baseline and one other trial, finished."""
    folder = tmp_path_factory.mktemp("run")
    simulated(folder, tuned())
    return folder


def copy_record(run: Path, target: Path) -> None:
    for name in ("ledger.db", "ledger.head"):
        (target / name).write_bytes((run / name).read_bytes())


# What workloads give.


@pytest.mark.parametrize("workload", CLASSIFIERS, ids=lambda workload: type(workload).__name__)
def test_predictions_agree_with_the_evaluation(workload: Workload, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if isinstance(workload, BertClassify):  # training a vocabulary takes seconds
        wordpiece.write(
            tmp_path / "vocab.txt", (*wordpiece.SPECIAL, *"abcdefghijklmnopqrstuvwxyz", "the", "is", "object")
        )
        workload = replace(workload, vocabulary=str(tmp_path / "vocab.txt"))
    if isinstance(workload, ResNetFinetune) and workload.weights is None:
        workload.prepare(tmp_path)
    model = workload.model({}, tmp_path)
    for part in ("valid", "test"):
        answers = predict(workload, model, part)
        assert answers is not None
        right = float((answers.predicted == answers.labels).mean())
        assert right == pytest.approx(measure(workload, model, part)["accuracy"], abs=1e-9)
        assert ((answers.confidence > 0) & (answers.confidence <= 1)).all()
        shown = answers.texts if answers.images is None else answers.images
        assert len(shown) == len(answers.labels)
        if answers.images is not None:
            assert answers.images.dtype == np.uint8
            assert answers.images.max() > 200  # shades that an eye can tell apart
        assert len(answers.classes) in (0, int(answers.labels.max()) + 1)


def test_a_training_that_classifies_nothing_gives_none(tmp_path: Path) -> None:
    workload = Quadratic()
    assert predict(workload, workload.model({"learning_rate": 0.1}, None), "test") is None


# What is written.


def answers(labels: list[int], predicted: list[int], confidence: list[float], **more: Any) -> Predictions:
    return Predictions(np.array(labels), np.array(predicted), np.array(confidence), **more)


def test_the_surest_examples_of_each_kind_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    before, after = (np.where(rng.random(400) < share, labels, (labels + 1) % 3) for share in (0.5, 0.8))
    sure = rng.random((2, 400))
    texts = [f"sentence {k}" for k in range(400)]
    found = compared(
        Predictions(labels, before, sure[0], texts=texts), Predictions(labels, after, sure[1], texts=texts), (0, 7)
    )
    save(found, tmp_path / FILE)
    again = read(tmp_path)
    assert again is not None
    assert again.trials == (0, 7)
    assert len(again.shown) == SHOWN * len(KINDS)
    for kind in KINDS:
        of_kind = np.flatnonzero(again.of_kind(kind))
        shown = [row for row in again.shown if again.of_kind(kind)[row]]
        assert len(shown) == SHOWN
        assert min(again.surest[shown]) >= np.sort(again.surest[of_kind])[-SHOWN]
    assert sum(int(again.of_kind(kind).sum()) for kind in KINDS) == 400
    assert [again.texts[k] for k in range(5)] == [f"sentence {row}" for row in again.shown[:5]]


def test_different_examples_are_never_compared() -> None:
    with pytest.raises(ValueError, match="trials 0 and 1 did not predict the same examples"):
        compared(answers([0, 1], [0, 0], [1, 1]), answers([1, 0], [0, 0], [1, 1]), (0, 1))


THREE = np.array([0, 1, 2])
WHOLE: dict[str, Any] = {"labels": THREE, "baseline": THREE, "tuned": THREE, "trials": np.array([0, 1])}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no arrays", "is not a file of arrays without pickles"),
        (b"PK\x03\x04 cut off", "is not a file of arrays without pickles"),
        ({"labels": THREE}, "it lacks baseline, tuned, trials"),
        ({**WHOLE, "baseline": np.zeros(3)}, "baseline must hold whole numbers"),
        ({**WHOLE, "shown": [3]}, "shown holds rows beyond the 3 examples"),
        ({**WHOLE, "shown": [0, 1], "texts": ["one"]}, "texts has 1 entries for the 2 in shown"),
        ({**WHOLE, "shown": [0], "images": np.zeros((1, 8, 8, 2))}, "images has the shape"),
        ({**WHOLE, "tuned": THREE[:2]}, "tuned has the shape"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_ours_is_refused_and_the_page_says_so(
    content: Any, message: str, run: Path, tmp_path: Path
) -> None:
    if isinstance(content, bytes):
        (tmp_path / FILE).write_bytes(content)
    else:
        np.savez(tmp_path / FILE, **content)
    with pytest.raises(BadInput, match=message):
        read(tmp_path)
    copy_record(run, tmp_path)
    section = examples.section(read_run(tmp_path))
    assert section is not None
    assert message in section.sentences[0]
    assert not section.figures


# From a run to the page.


@pytest.mark.parametrize("workload", [
    Script("python train.py", metric="accuracy", mode="max", horizon=1),
    FromFunction(lambda config: None, metric="accuracy", mode="max", horizon=1),
])  # fmt: skip
def test_the_page_does_not_name_the_command_where_it_cannot_work(tmp_path: Path, workload: Any) -> None:
    """A script and a function answer it with an error; they write the file."""
    space = Space({"rate": uniform(0, 1)})
    told = [
        Told({"rate": rate}, [rate], metrics={"accuracy": rate}, origin="random" if rate else "baseline")
        for rate in (0.0, 0.5)
    ]
    sweep = small_sweep(workload=workload, space=space, baseline={"rate": 0.0})
    section = examples.section(read_run(tell(tmp_path / "run", told, sweep)))
    assert section is not None
    assert "orchestrator predictions" not in section.sentences[0]
    assert "write the predictions of both to predictions.npz in the run's folder (docs" in section.sentences[0]


def test_the_page_says_how_to_get_predictions_then_shows_them(run: Path) -> None:
    section = examples.section(read_run(run))
    assert section is not None
    assert f"orchestrator predictions {run}" in section.sentences[0]
    path, found = write(tuned(), run)
    assert path == run / FILE
    section = examples.section(read_run(run))
    check(section)
    assert section is not None
    count, right = len(found.labels), int((found.tuned == found.labels).sum())
    fixed, broken = (int(found.of_kind(kind).sum()) for kind in ("fixed", "broken"))
    assert section.sentences[0].startswith(f"Of {count} test examples, the tuned model (trial 1) gets {right} right (")
    assert (
        f"{fixed} fixed, {broken} broken, more than chance explains (McNemar's exact test, p = " in section.sentences[0]
    )
    tables = {figure.title: figure for figure in section.figures if isinstance(figure, Table)}
    matrix = [[int(cell) for cell in row[1:]] for row in tables["Confusion of the tuned model"].rows]
    assert sum(map(sum, matrix)) == count
    assert sum(matrix[k][k] for k in range(10)) == right
    pictures = next(figure for figure in section.figures if isinstance(figure, Images))
    png, caption = pictures.items[0]
    assert png is not None
    assert Image.open(io.BytesIO(png)).size == (64, 64)  # eight by eight pixels, enlarged
    row = next(row for row in found.shown if found.of_kind("fixed")[row])
    assert caption == f"{found.labels[row]}, not {found.baseline[row]}"


def test_predictions_of_an_earlier_best_are_told(run: Path, tmp_path: Path) -> None:
    write(tuned(), run)
    copy_record(run, tmp_path)
    found = read(run)
    assert found is not None
    save(compared(*[answers([0, 1], [0, k], [1, 1]) for k in (0, 1)], (0, 5)), tmp_path / FILE)
    section = examples.section(read_run(tmp_path))
    assert section is not None
    assert f"The best trial is now 1; to compare that one: orchestrator predictions {tmp_path}." in section.sentences[1]


def test_of_many_classes_those_that_changed_are_listed(run: Path, tmp_path: Path) -> None:
    copy_record(run, tmp_path)
    labels = np.repeat(np.arange(30), 4)
    worse, better = labels.copy(), labels.copy()
    worse[labels == 7] = 8
    better[np.flatnonzero(labels == 3)[0]] = 4
    sure, names = np.ones(120), [f"car {k}" for k in range(30)]
    pair = [Predictions(labels, found, sure, classes=names) for found in (worse, better)]
    save(compared(*pair, (0, 1)), tmp_path / FILE)
    section = examples.section(read_run(tmp_path))
    assert section is not None
    check(section)
    (table,) = [figure for figure in section.figures if figure.title == "Classes that changed most"]
    assert isinstance(table, Table)
    assert table.rows == [["car 7", "4", "0", "4", "+4"], ["car 3", "4", "4", "3", "-1"]]


def test_a_confusion_matrix_counts_the_answers_for_each_class() -> None:
    assert confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_what_cannot_be_compared_is_refused_with_the_reason(run: Path, tmp_path: Path) -> None:
    simulated(tmp_path / "alone", tuned(baseline=None))
    with pytest.raises(BadInput, match="has no baseline to compare with"):
        write(tuned(baseline=None), tmp_path / "alone")
    quadratic = small_sweep(baseline={"learning_rate": 0.001, "momentum": 0.0, "batch_size": 8}, num_samples=2)
    simulated(tmp_path / "no classes", quadratic)
    with pytest.raises(BadInput, match="Quadratic gives no predictions"):
        write(quadratic, tmp_path / "no classes")


SCRIPT = """
from orchestrator import MlpDigits, Random, RunToEnd, Space, Sweep, launch, loguniform

space = Space({"learning_rate": loguniform(0.05, 0.3), "momentum": 0.5, "batch_size": 32})
baseline = {"learning_rate": 0.002, "momentum": 0.0, "batch_size": 32}
launch(Sweep("digits", MlpDigits(horizon=1), space, searcher=Random(), scheduler=RunToEnd(), num_samples=2, baseline=baseline))
"""


@pytest.mark.slow
def test_the_command_asks_the_script_for_its_predictions(tmp_path: Path) -> None:
    (tmp_path / "digits.py").write_text(SCRIPT)
    done = run_script("digits.py", "--simulate", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    told = orchestrator("predictions", "digits", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "500 examples of the test part, trials 0 and 1: " in told.stdout
    assert (tmp_path / "runs" / "digits" / FILE).is_file()
