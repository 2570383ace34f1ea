"""Text, and the workloads on it: what is counted, masked, measured and taken over."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from sklearn.metrics import matthews_corrcoef
from torch import Tensor, nn

from trainables.contract import Workload
from trainables.data import sentences, text, wordpiece
from trainables.execution.store import Store
from trainables.training.loop import Training, train
from trainables.values import Execution
from trainables.workloads.bert_classify import BertClassify, matthews
from trainables.workloads.bert_mlm import BertMlm, masks
from trainables.workloads.lstm_lm import LstmLm

pytestmark = pytest.mark.usefixtures("one_thread")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PIECES = (*wordpiece.SPECIAL, *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"))


def shared(name: str) -> str:
    if not (SHARED / name).exists():
        pytest.skip(f"the shared data are not here: {SHARED / name}")
    return str(SHARED / name)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "train.txt").write_text("a b a\n\n  a c b\na\n")
    (tmp_path / "valid.txt").write_text("a b d\n")
    (tmp_path / "test.txt").write_text("d d\nb\n")
    return str(tmp_path)


@pytest.fixture
def vocabulary(tmp_path: Path) -> str:
    wordpiece.write(tmp_path / "vocab.txt", PIECES)
    return str(tmp_path / "vocab.txt")


# Text


def test_the_vocabulary_is_of_the_training_part_the_most_frequent_first(folder: str) -> None:
    assert text.vocabulary(folder, "words", 100) == {"a": 0, "<eos>": 1, "b": 2, "c": 3, "<unk>": 4}
    assert text.vocabulary(folder, "words", 4) == {"a": 0, "<eos>": 1, "b": 2, "<unk>": 3}  # c is unknown, once
    assert set(text.vocabulary(folder, "characters", 100)) == {"a", "b", "c", " ", "<eos>", "<unk>"}


def test_a_part_is_one_stream_with_marks_at_the_ends_of_lines(folder: str) -> None:
    assert text.numbers(folder, "train", "words", 100, "cpu").tolist() == [0, 2, 0, 1, 0, 3, 2, 1, 0, 1]
    assert text.numbers(folder, "test", "words", 100, "cpu").tolist() == [4, 4, 1, 2, 1]


def test_pythons_own_text_is_long_enough_and_no_paragraph_is_in_two_parts() -> None:
    parts = [text.lines(None, part) for part in text.PARTS]
    assert sum(map(len, parts[0])) > 200_000
    assert sum(map(len, map(set, parts))) == len(set().union(*parts))


def test_without_a_test_part_it_is_half_of_the_validation_part(tmp_path: Path) -> None:
    (tmp_path / "my.train.txt").write_text("a\n")
    (tmp_path / "my.valid.txt").write_text("b\nc\nd\n")
    text.check(str(tmp_path))
    assert [text.lines(str(tmp_path), part) for part in text.PARTS] == [("a",), ("b", "c"), ("d",)]


def test_the_penn_treebank_is_read_as_it_is_published() -> None:
    data = shared("ptb")
    assert len(text.vocabulary(data, "words", 10_000)) == 10_000
    counts = [len(text.numbers(data, part, "words", 10_000, "cpu")) for part in text.PARTS]
    assert counts == [929_589, 73_760, 82_430]


# Pieces of words


def test_two_trainings_of_pieces_agree() -> None:
    """A trainer that is left alone numbers pieces in the order of a hash table: not even one process agrees."""
    lines = text.lines(None, "valid")
    assert wordpiece.train(lines, 500) == wordpiece.train(lines, 500)
    assert wordpiece.train(lines, 500)[:5] == wordpiece.SPECIAL


def test_rows_hold_the_text_in_its_order() -> None:
    packed = wordpiece.packed(["ab c", "de"], PIECES, 3)
    assert [[PIECES[number] for number in row] for row in packed.tolist()] == [
        ["[CLS]", "a", "##b"],
        ["[CLS]", "c", "d"],
    ]
    padded = wordpiece.padded(["ab c?", "d"], PIECES, 5)
    assert [[PIECES[number] for number in row] for row in padded.tolist()] == [
        ["[CLS]", "a", "##b", "c", "[SEP]"],
        ["[CLS]", "d", "[SEP]", "[PAD]", "[PAD]"],
    ]


def test_a_vocabulary_with_capitals_keeps_them() -> None:
    assert wordpiece.pieces_of(["B"], (*PIECES, "B")) == [[len(PIECES)]]
    assert wordpiece.pieces_of(["B"], PIECES) == [[PIECES.index("b")]]


# Language models


def test_each_token_is_a_successor_in_one_window() -> None:
    workload = LstmLm.smallest()
    workload = replace(workload, data_share=1.0)
    stream = text.numbers(None, "train", "words", 64, "cpu")
    seen: list[Tensor] = []

    class Listening(nn.Module):
        def forward(self, tokens: Tensor, successors: Tensor) -> tuple[Tensor, None]:
            assert torch.equal(tokens[:, 1:], successors[:, :-1])
            seen.append(successors.flatten())
            return torch.zeros(successors.shape), None

    workload.loss(Listening(), torch.arange(workload.samples()))
    used = workload.samples() * workload.steps
    assert torch.equal(torch.cat(seen), stream[1 : used + 1])
    assert len(stream) - 1 - used < workload.steps


@pytest.mark.parametrize("cutoffs", [(), (2,)])
def test_perplexity_is_that_of_a_computation_by_hand(cutoffs: tuple[int, ...], tmp_path: Path) -> None:
    """In a text of 40 + 1 tokens each of the 20 streams has two, so that the state matters; in 40, the last has one."""
    (tmp_path / "train.txt").write_text("a b c\n")
    (tmp_path / "valid.txt").write_text("a b b c " * 10 + "\n")
    (tmp_path / "test.txt").write_text("a b b c " * 9 + "c b a\n")
    workload = LstmLm(data=str(tmp_path), hidden=4, layers=2, scale=1.0, cutoffs=cutoffs)
    torch.manual_seed(1)
    model = workload.model({}, None).eval()
    for part, count in (("valid", 40), ("test", 39)):
        stream = text.numbers(str(tmp_path), part, "words", 10_000, "cpu")
        assert len(stream) == count + 1
        surprise = []
        with torch.no_grad():
            for begin in range(0, count, 2):
                hidden = model.embedding(stream[begin : min(begin + 2, count)])
                for layer in model.layers:
                    hidden, _ = layer(hidden)
                log = model.output.log_prob(hidden) if cutoffs else model.output(hidden).log_softmax(1)
                surprise += [-log[i, stream[begin + 1 + i]].item() for i in range(len(hidden))]
            answer = workload.evaluate(model, part)
        assert len(surprise) == count
        assert answer["loss"] == pytest.approx(sum(surprise) / count, rel=1e-5)
        assert answer["perplexity"] == pytest.approx(math.exp(sum(surprise) / count), rel=1e-5)


def test_the_state_is_carried_from_stretch_to_stretch() -> None:
    workload = LstmLm.smallest()
    model = workload.model({}, None).eval()
    stream = text.numbers(None, "valid", "words", 64, "cpu")[:301][None]
    whole, _ = model(stream[:, :-1], stream[:, 1:])
    first, state = model(stream[:, :128], stream[:, 1:129])
    second, _ = model(stream[:, 128:-1], stream[:, 129:], state)
    assert torch.allclose(whole, torch.cat([first, second], 1), atol=1e-6)


def test_the_shapes_of_the_literature() -> None:
    assert LstmLm.ptb_small() == LstmLm(hidden=200, layers=2, steps=20, vocabulary_size=10_000, clip_at=5.0, horizon=13)
    large = LstmLm.ptb_large()
    assert (large.hidden, large.layers, large.steps, large.clip_norm({}), large.dropout) == (1500, 2, 35, 10.0, 0.65)
    assert large.clip_norm({"clip_norm": 1.0}) == 1.0


@pytest.mark.parametrize(
    ("workload", "config"),
    [
        (LstmLm.smallest(), {}),
        (replace(LstmLm.smallest(), cutoffs=(16,)), {"optimizer": "adamw", "learning_rate": 0.01, "dropout": 0.2}),
        (BertMlm.smallest(), {"optimizer": "nesterov", "momentum": 0.9, "clip_norm": 0.5}),
        (BertClassify.smallest(), {"optimizer": "adam"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_half_precision_small_parts_and_other_optimisers(workload: Workload, config: dict[str, object]) -> None:
    assert workload.baseline is not None
    workload = replace(workload, horizon=1, execution=Execution(precision="bf16", micro_batch=8))  # type: ignore[call-arg]
    (report,) = train(workload, None, {**workload.baseline, **config})
    assert all(map(math.isfinite, report.metrics.values()))


# Masked words


def test_the_same_number_is_masked_in_each_row_in_the_published_proportions() -> None:
    pieces = (*PIECES, *(f"word{number}" for number in range(10_000)))
    tokens = torch.full((2000, 64), 7)
    places, shown = masks(tokens, pieces)
    assert places.shape == shown.shape == (2000, 10)  # 15 % of 64 is 9.6
    assert all(len(set(row)) == 10 for row in places.tolist())
    assert (places.min(), places.max()) == (1, 63)
    assert torch.bincount(places.flatten(), minlength=64)[1:].float().std() < 30  # of 317 on average
    assert (shown == pieces.index("[MASK]")).double().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (shown == 7).double().mean().item() == pytest.approx(0.1, abs=0.01)


def test_logits_at_masked_places_are_those_of_the_whole_model() -> None:
    workload = BertMlm.smallest()
    model = workload.model({}, None).eval()
    tokens, places, shown = workload.masked("valid", "cpu")
    with torch.no_grad():
        whole = model.masked(input_ids=tokens[:4].scatter(1, places[:4], shown[:4])).logits
        there = model(tokens[:4], places[:4], shown[:4])
    rows = torch.arange(4)[:, None]
    assert torch.allclose(there, whole[rows, places[:4]], atol=1e-5)


def test_masks_are_the_same_in_each_evaluation_and_others_in_each_training_pass() -> None:
    workload = BertMlm.smallest()
    model = workload.model({}, None).eval()
    with torch.no_grad():
        first = workload.evaluate(model, "valid")
        torch.rand(3)
        assert workload.evaluate(model, "valid") == first
        indices = torch.arange(8)
        assert workload.loss(model, indices) != workload.loss(model, indices)


def test_several_evaluations_a_pass_draw_from_all_rows() -> None:
    workload = replace(BertMlm.smallest(), data_share=1.0, evaluations_per_pass=4)
    whole = replace(workload, evaluations_per_pass=1)
    assert workload.samples() == whole.samples() // 4
    rows = workload.rows("train", "cpu")
    seen: list[Tensor] = []

    class Listening(nn.Module):
        def forward(self, tokens: Tensor, places: Tensor, shown: Tensor) -> Tensor:
            seen.append(tokens)
            return torch.zeros(*places.shape, len(workload.pieces))

    for _ in range(2):
        workload.loss(Listening(), torch.tensor([5] * 100))
    assert {tuple(row) for row in torch.cat(seen).tolist()} == {tuple(row) for row in rows[20:24].tolist()}


def test_what_was_prepared_must_be_the_vocabulary_of_the_trial(tmp_path: Path) -> None:
    workload = BertMlm.smallest()
    workload.prepare(tmp_path)
    workload.model({}, tmp_path)
    with pytest.raises(ValueError, match=r"vocab\.txt differs from the vocabulary .* Continue with vocabulary="):
        replace(workload, vocabulary_size=400).model({}, tmp_path)


# Sentences


def test_matthews_correlation_is_scikit_learns() -> None:
    torch.manual_seed(1)
    for share in (0.1, 0.5, 0.9):
        labels = (torch.rand(200) < share).long()
        answers = torch.where(torch.rand(200) < 0.7, labels, 1 - labels)
        assert matthews(answers, labels) == pytest.approx(matthews_corrcoef(labels, answers))
    assert matthews(torch.ones(5).long(), torch.tensor([0, 1, 1, 0, 1])) == 0.0


def test_pythons_own_sentences_are_even_and_in_one_part_each() -> None:
    parts = [sentences.read(None, "sst2", part) for part in text.PARTS]
    assert sum(len(set(part.texts)) for part in parts) == len(set().union(*(part.texts for part in parts)))
    assert all(0.4 < sum(part.labels) / len(part.labels) < 0.6 for part in parts)


def test_shared_tasks_are_read_as_they_are_published() -> None:
    sizes = {"cola": [8551, 527, 516], "sst2": [6920, 872, 1821]}
    for task, expected in sizes.items():
        found = [sentences.read(shared(task), task, part) for part in text.PARTS]
        assert [len(part.texts) for part in found] == expected
    assert sum(sentences.read(shared("cola"), "cola", "train").labels) == 6023
    assert sum(sentences.read(shared("sst2"), "sst2", "train").labels) == 3610


def test_the_padding_does_not_change_the_answer() -> None:
    short = replace(BertClassify.smallest(), length=12)
    model = BertClassify.smallest().model({}, None).eval()
    row = wordpiece.padded(["the value"], short.pieces, 12)
    longer = wordpiece.padded(["the value"], short.pieces, 40)
    assert torch.allclose(model(row), model(longer), atol=1e-6)


# Weights


@pytest.fixture
def pretrained(tmp_path: Path) -> tuple[BertMlm, nn.Module, str]:
    """A tiny trial of BertMlm, its model, and its checkpoint."""
    workload = replace(BertMlm.smallest(), horizon=1)
    workload.prepare(tmp_path / "prepared")
    assert workload.baseline is not None
    training = Training(workload, None, workload.baseline, prepared=tmp_path / "prepared")
    list(training)
    return workload, training.model, Store(tmp_path).save(training.state(), step=1).path


def fine_tuning(weights: str, tmp_path: Path) -> BertClassify:
    vocabulary = str(tmp_path / "prepared" / "vocab.txt")
    return replace(BertClassify.smallest(), weights=weights, vocabulary=vocabulary, length=24)


def test_an_encoder_is_taken_over_from_a_checkpoint_and_from_files(
    pretrained: tuple[BertMlm, nn.Module, str], tmp_path: Path
) -> None:
    _, model, saved = pretrained
    bert = model.masked.bert
    safetensors.torch.save_file({k: v.clone() for k, v in bert.state_dict().items()}, tmp_path / "encoder.safetensors")
    model.masked.save_pretrained(tmp_path / "published")
    published = str(tmp_path / "published" / "model.safetensors")
    for weights in (saved, str(tmp_path / "encoder.safetensors"), published):
        workload = fine_tuning(weights, tmp_path)
        workload.check()
        encoder = workload.model({}, None).encoder
        for (name, taken), given in zip(encoder.named_parameters(), bert.parameters(), strict=True):
            assert torch.equal(taken, given[:24] if "position" in name else given), name
    heads = [fine_tuning(saved, tmp_path).model({}, None).head.weight for _ in range(2)]
    assert not torch.equal(*heads)


def test_weights_that_do_not_fit_are_refused(pretrained: tuple[BertMlm, nn.Module, str], tmp_path: Path) -> None:
    saved = pretrained[2]
    workload = fine_tuning(saved, tmp_path)
    other = tmp_path / "other.txt"
    wordpiece.write(other, tuple(reversed(wordpiece.read(str(workload.vocabulary)))))
    with pytest.raises(ValueError, match=r"were trained with another vocabulary than .*other\.txt.*prepared/"):
        replace(workload, vocabulary=str(other)).check()
    with pytest.raises(ValueError, match="another architecture"):
        replace(workload, hidden=32).check()
    with pytest.raises(ValueError, match="know 32 positions; take length=32"):
        replace(workload, length=40).check()
    with pytest.raises(ValueError, match="also give vocabulary="):
        replace(workload, vocabulary=None).check()
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors.* not of a BERT model"):
        replace(workload, weights=str(tmp_path / "other.safetensors")).check()
    with pytest.raises(ValueError, match=r"missing\.safetensors.*checkpoint folder of a trial"):
        replace(workload, weights="missing.safetensors").check()


def test_a_name_that_the_hub_does_not_give_is_told(
    pretrained: tuple[BertMlm, nn.Module, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    def unreachable(name: str) -> None:
        raise OSError("we could not connect")

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", unreachable)
    workload = fine_tuning("no-such-model", tmp_path)
    workload.check()  # asks nobody
    with pytest.raises(ValueError, match=r"no-such-model.*hub returned no .*OSError.*weights=None"):
        workload.model({}, None)


# Bad input


@pytest.mark.parametrize(
    ("workload", "message"),
    [
        (LstmLm(level="letters"), "level='letters'.*'words', 'characters'"),
        (LstmLm(vocabulary_size=2), "vocabulary_size=2"),
        (LstmLm(dropout=1.0), r"dropout=1\.0.*below 1"),
        (LstmLm(cutoffs=(4000, 1000)), "must grow"),
        (LstmLm(cutoffs=(1000, 40_000)), "must stay below the [0-9]+ entries"),
        (LstmLm(hidden=8, cutoffs=(100, 1000)), "use hidden=16 or more"),
        (LstmLm(data="nowhere"), "data='nowhere': there is no such folder.*train.txt.*data=None"),
        (BertMlm(hidden=100, heads=3), "heads must divide hidden"),
        (BertMlm(length=4), "length=4"),
        (BertMlm(evaluations_per_pass=0), "evaluations_per_pass=0"),
        (BertMlm(vocabulary="nowhere.txt"), "vocabulary='nowhere.txt': there is no such file.*vocabulary=None"),
        (BertClassify(task="mnli"), "task='mnli': must be one of 'cola', 'sst2'"),
        (BertClassify(data="nowhere"), r"there is no train\.tsv in it.*test\.tsv \(task='sst2'\)"),
        (BertClassify(length=2), "length=2"),
        (BertClassify(hidden=100, heads=3), "heads must divide hidden"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(workload: Workload, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        workload.check()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"valid.txt": b"a\n"}, "no train file"),
        ({"train.txt": b"a\n"}, "no valid file"),
        ({"train.txt": b"\n \n", "valid.txt": b"a\n"}, r"train\.txt is empty"),
        ({"train.txt": b"a\xff\n", "valid.txt": b"a\n"}, r"train\.txt is not UTF-8"),
        (
            {"a.train.txt": b"a\n", "b.train.txt": b"a\n", "valid.txt": b"a\n"},
            r"a\.train\.txt, b\.train\.txt could all be",
        ),
    ],
)
def test_a_folder_of_text_in_disorder_is_refused(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for workload in (LstmLm(data=str(tmp_path)), BertMlm(data=str(tmp_path))):
        with pytest.raises(ValueError, match=message):
            workload.check()


def test_a_vocabulary_without_the_special_pieces_is_refused(tmp_path: Path, vocabulary: str) -> None:
    BertMlm(vocabulary=vocabulary).check()
    for content, message in (
        ("[PAD]\n[UNK]\na\n", r"it has no \[CLS\], \[SEP\], \[MASK\]"),
        ("\n".join((*PIECES, "a")), "'a' is in it more than once"),
    ):
        path = tmp_path / f"{len(content)}.txt"
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            BertMlm(vocabulary=str(path)).check()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("good film\t2", r"train\.tsv, line 2: the label '2' is in column 2; must be 0 or 1"),
        ("good film", r"train\.tsv, line 2: has 1 columns; must have 2 \(sentence, label\)"),
        ("", r"train\.tsv, line 2: has 1 columns"),
    ],
)
def test_a_table_in_disorder_is_refused(line: str, message: str, tmp_path: Path) -> None:
    for name in ("dev.tsv", "test.tsv"):
        (tmp_path / name).write_text("fine\t1\n")
    (tmp_path / "train.tsv").write_text(f"fine\t1\n{line}\nfine\t1\n")
    with pytest.raises(ValueError, match=message):
        BertClassify(data=str(tmp_path)).check()
