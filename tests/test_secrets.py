"""What looks like a secret is in no record, and everything goes on with the real value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.reading.export import records
from orchestrator.record.ledger import Ledger
from orchestrator.secrets import is_secret, masked, masked_value, masked_words
from search.space import Space, choice, loguniform
from search.work import Assignment
from tests.support import orchestrator, recorded, simulated, small_sweep
from trainables.carry_out import carry_out
from trainables.contract import OwnTraining
from trainables.workloads.quadratic import Quadratic

TOKEN = "hf_aBcDeFgHiJkLmNoP"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"--hub-token={TOKEN} --lr=0.1", "--hub-token=*** --lr=0.1"),
        (f"loading with {TOKEN} failed", "loading with *** failed"),
        ("401 for key sk-proj-abcdefgh12345678", "401 for key ***"),
        ("git clone https://ghp_abcdefgh12345678@github.com/me/x", "git clone https://***@github.com/me/x"),
        ("postgresql://me:pa55@db:5432/x", "postgresql://***@db:5432/x"),
        ("AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_ACCESS_KEY_ID=***"),
        ("AWS_SECRET_ACCESS_KEY=wJalr/XUtn+FEMI", "AWS_SECRET_ACCESS_KEY=***"),
        ("{'api_key': 'abcd', 'lr': 0.1}", "{'api_key': '***', 'lr': 0.1}"),
        ('{"password": "p w", "x": 1}', '{"password": "***", "x": 1}'),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: *** ***"),
        ("wandb login --api-key 0123456789abcdef", "wandb login --api-key ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "***"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2lnbmF0dXJl", "jwt ***"),
    ],
)
def test_secrets_are_masked_and_the_rest_stays(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=512 --num-tokens=7 token_dropout=0.1 tokenizer=bert tokens: 12",
        "KeyError: 'token'",
        "--use-token=true --token=None token: 30522",
        "https://example.org/a?b=c http://localhost:8080/x",
        "epoch 3: valid_loss=0.52, keyboard=us, monkey: 3",
        "risk-averse desk-lamp sk-1",
        "s3://bucket/key=1/part-0",
    ],
)
def test_settings_that_only_sound_like_secrets_stay(text: str) -> None:
    assert masked(text) == text


def test_a_name_says_whether_its_value_is_secret() -> None:
    assert all(
        map(is_secret, ["token", "HF_TOKEN", "--api-key", "db_password", "client_secret", "AWS_SECRET_ACCESS_KEY"])
    )
    assert not any(
        map(is_secret, ["max_tokens", "token_dropout", "tokenizer", "key", "secretary", "num_keys", "pass_k"])
    )


def test_masking_reaches_into_records_and_commands() -> None:
    assert masked_words(["train.py", "--token", "abc", "--lr", "0.1", "--token=abc"]) == [
        "train.py", "--token", "***", "--lr", "0.1", "--token=***",
    ]  # fmt: skip
    assert masked_value({"space": [{"password": "x"}, {"lr": 0.1, "max_tokens": "9"}], "n": 3}) == {
        "space": [{"password": "***"}, {"lr": 0.1, "max_tokens": "9"}], "n": 3,
    }  # fmt: skip


@dataclass(frozen=True)
class NeedsToken(OwnTraining):
    """A quadratic that trains only with the real token, and names it when it fails."""

    inner: Quadratic = field(default_factory=lambda: Quadratic(horizon=4))
    endpoint: str = "https://me:pa55word@example.org"
    fails: tuple[int, ...] = ()

    metric = "loss"
    mode = "min"
    metrics = ("loss",)
    baseline = None
    horizon = 4

    def prepare(self, folder: Path) -> None:
        self.inner.prepare(folder)

    def run(self, policy: Any, assignment: Assignment, should_pause: Any = None) -> Any:
        assert assignment.config["token"] == TOKEN
        assert assignment.config["password"] == "first pass"
        assert "***" not in assignment.config["mirror"]
        if assignment.trial in self.fails:
            raise PermissionError(f"401 for {TOKEN}, password='{assignment.config['password']}'")
        config = {
            name: value
            for name, value in assignment.config.items()
            if name in ("learning_rate", "momentum", "batch_size")
        }
        return carry_out(self.inner, policy, replace(assignment, config=config), should_pause)


def test_a_secret_is_in_no_file_of_a_run_and_a_resumed_trial_has_it(tmp_path: Path) -> None:
    space = Space(
        {
            "learning_rate": loguniform(1e-3, 0.3), "momentum": 0.5, "batch_size": 8,
            "token": TOKEN, "password": "first pass", "mirror": choice(["https://me:second-pass@a.org", "https://b.org"]),
        }
    )  # fmt: skip
    sweep = small_sweep(space=space, workload=NeedsToken(fails=(1,)), num_samples=3, time_budget=1e-9)
    folder = tmp_path / "small"
    simulated(folder, sweep)
    driver = simulated(folder, replace(sweep, time_budget=None))
    assert [trial.status.value for trial in driver.history] == ["completed", "failed", "completed"]
    ledger = Ledger.write(folder)
    with ledger.transaction():
        ledger.add_sweep(sweep, f"command: --token={TOKEN}", ["train.py", "--password", "first pass"])
        ledger.add_event("notice", f"could not log in with {TOKEN}")
    exported = "".join(map(str, records(ledger)))
    ledger.close()
    assert "***" in exported
    for secret in (TOKEN, "first pass", "second-pass", "pa55word"):
        assert secret not in exported
        for path in folder.rglob("*"):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path
    assert (
        "401 for ***, password='***'"
        in recorded(folder, "ending")[1]["reason"] + recorded(folder, "ending")[0]["reason"]
    )


def test_a_replay_of_a_command_with_a_secret_is_refused_with_the_command(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path / "small")
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", ["/home/me/my sweep.py", f"--token={TOKEN}"])
    ledger.close()
    done = orchestrator("replay", "small", "0", "--runs", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "--replay 0 added: '/home/me/my sweep.py' '--token=***'" in done.stderr
