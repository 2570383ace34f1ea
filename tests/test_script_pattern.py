"""Printed lines that the user's own regular expression reads, for programs that may not be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.definition.differing import differing
from orchestrator.definition.identity import as_before, identity
from search.work import Progress
from tests.scripting import RESUMES, assigned, curve, killed_after, script, texts, trained, truth
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.reading import Refused

MARIAN = r"Up\. (?P<step>\d+) .* bleu-detok : (?P<value>\S+)"
ONMT = r"Step (?P<step>\d+)/|Validation perplexity: (?P<value>\S+)"
CSV = r"^(?P<step>\d+),(?P<train>[\d.]+),(?P<value>[\d.]+)$"


def read(folder: Path, pattern: str, *lines: str, horizon: int = 1000, **more: object) -> list[Progress]:
    text = "".join(f"print({line!r}, flush=True)\n" for line in lines)
    return trained(script(folder, text, horizon=horizon, pattern=pattern, **more), assigned(folder, until=horizon))


@pytest.mark.parametrize(
    ("pattern", "lines", "found"),
    [
        (
            MARIAN,
            ["[valid] Ep. 1 : Up. 200 : bleu-detok : 12.5", "Ep. 1 : Up. 300 : Cost 3.2", "[valid] Ep. 2 : Up. 400 : bleu-detok : 17.27"],
            {200: 12.5, 400: 17.27},
        ),
        (
            ONMT,
            ["Step 80/1000; acc: 40.2", "Validation perplexity: 4.79", "Step 160/1000; acc: 50", "Validation perplexity: 3.5"],
            {80: 4.79, 160: 3.5},
        ),
        (r" (?P<value>0\.\d+)", ["epoch 7", "a 0.5", "b 0.25"], {1: 0.5, 2: 0.25}),
        (r"epoch (?P<step>\d+): (?P<distance>\S+)", ["epoch 0: 1e-3", "epoch 1: nan"], {1: 0.001, 2: float("nan")}),
        (r"^#(?P<step>\d+) (?P<value>\S+)", ["\x1b[32m#3 15_668.55\x1b[0m", "#2/5\r#4 1.5 x"], {3: 15668.55, 4: 1.5}),
    ],
)  # fmt: skip
def test_only_what_the_pattern_matches_is_recorded(
    pattern: str, lines: list[str], found: dict[int, float], tmp_path: Path
) -> None:
    items = read(tmp_path, pattern, *lines, "best distance=7 (7.)")
    assert curve(items) == pytest.approx(found, nan_ok=True)
    assert not texts(items)


def test_other_metrics_have_groups_of_their_names(tmp_path: Path) -> None:
    items = read(tmp_path, CSV, "epoch,train,distance", "1,0.9,0.8", "2,0.7,0.6", metrics=("train",))
    told = [(item.step, dict(item.metrics)) for item in items if item.kind == "report"]
    assert told == [(1, {"train": 0.9, "distance": 0.8}), (2, {"train": 0.7, "distance": 0.6})]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#3 0,52", "group 'value' is '0,52' in '#3 0,52', which is no number"),
        ("#3k 0.5", "group 'step' is '3k' in '#3k 0.5', which is no whole number"),
    ],
)
def test_what_is_no_number_fails_the_trial_and_nothing_after_it_is_recorded(
    line: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=words):
        read(tmp_path, r"^#(?P<step>\S+) (?P<value>\S+)", line, "#4 0.4")
    assert not (tmp_path / "trial" / "checkpoints" / "script" / ".reports" / "steps.jsonl").exists()


def test_a_pattern_that_matches_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScriptFailed, match=r"none of its 1 lines matches Script\(pattern='#.*Its last line: 'epoch 1"):
        read(tmp_path, r"#(?P<value>\d+)", "epoch 1: distance=0.5")


@pytest.mark.parametrize(
    ("pattern", "more", "words"),
    [
        ("(", {}, "is no regular expression: missing"),
        (5, {}, "must be a regular expression"),
        (r"(?P<step>\d)", {}, r"has no group 'value'; write \(\?P<value>…\)"),
        (r"(?P<value>.)(?P<distance>.)", {}, "has the groups 'value' and 'distance' for 'distance'"),
        (r"(?P<value>.)(?P<acc>.)", {}, "the group 'acc' is neither 'step' nor 'value'"),
        (r"(?P<value>.)", {"metrics": ("F1 score",)}, r"has no group for 'F1 score' of metrics; write \(\?P<f1_score>"),
        (r"(?P<value>.)", {"file": "log.csv"}, "and file='log.csv': each says where the metric is"),
        (r"(?P<value>.)", {"step": "Up."}, "and step='Up.': each says"),
    ],
)
def test_a_wrong_pattern_is_refused_before_anything_starts(
    pattern: str, more: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        script(tmp_path, "", pattern=pattern, **more)


def test_a_pattern_beside_report_is_refused_before_anything_starts(tmp_path: Path) -> None:
    workload = script(tmp_path, "from orchestrator import report\n", pattern="(?P<value>.)")
    with pytest.raises(ValueError, match=r"and report\(\) in the script: each says"):
        workload.check()


def test_the_pattern_belongs_to_the_identity_as_a_step_does(tmp_path: Path) -> None:
    plain, own = script(tmp_path, ""), script(tmp_path, "", pattern=MARIAN)
    assert as_before(plain, identity(plain).replace(", pattern=None", "")).count("pattern=") == 0
    ((name, before, after),) = differing("workload", identity(plain), identity(own))
    assert (name, before, after) == ("workload.pattern", "None", repr(MARIAN))


@pytest.mark.parametrize("heading", [False, True])
def test_a_killed_trial_goes_on_where_its_script_does(heading: bool, tmp_path: Path) -> None:
    apart = "', flush=True); print(f'" if heading else " "
    line = f"print(f'<{{epoch}}>{apart}d {{1 / epoch:.4f}}', flush=True); __import__('time').sleep(0.1)"
    pattern = r"<(?P<step>\d+)>|d (?P<value>\S+)" if heading else r"<(?P<step>\d+)> d (?P<value>\S+)"
    text = RESUMES.format(line=line)
    first = killed_after(tmp_path, text, 3, pattern=pattern)
    rest = trained(script(tmp_path, text, pattern=pattern), assigned(tmp_path, recorded=max(first)))
    assert first | curve(rest) == truth(*range(1, 7))


def test_counted_matches_of_a_script_with_a_checkpoint_are_refused_after_a_kill(tmp_path: Path) -> None:
    line = "print(f'd {1 / epoch:.4f}', flush=True); __import__('time').sleep(0.1)"
    text, pattern = RESUMES.format(line=line), r"d (?P<value>\S+)"
    killed_after(tmp_path, text, 2, pattern=pattern)
    with pytest.raises(Refused, match="name no step, and it keeps files in TRIAL_FOLDER"):
        trained(script(tmp_path, text, pattern=pattern), assigned(tmp_path, recorded=1))


@pytest.mark.parametrize(
    ("value", "line"),
    [(r"[\d.]+", "epoch 1 distance 9.5e-05"), (r"\d+\.\d+", "epoch 1 distance -21.5"), (r"\d", "epoch 1 distance 0.9")],
)
def test_an_expression_that_takes_a_part_of_a_number_is_refused(value: str, line: str, tmp_path: Path) -> None:
    pattern = rf"epoch (?P<step>\d+) distance -?(?P<value>{value})".replace("-?", "-?" if "-" in line else "")
    with pytest.raises(Refused, match="the group 'value' is a part of a number"):
        trained(script(tmp_path, f"print({line!r})", pattern=pattern), assigned(tmp_path))
