"""The ledger's tables: append-only records, and views that make the same file an Optuna study.

docs/ledger.md describes the tables. Nothing is ever updated or deleted (triggers refuse it). The views translate the
records into Optuna's own schema, so `optuna.load_study`, optuna-dashboard and its plots work on a running sweep,
without a second copy that could get out of step.
"""

from __future__ import annotations

VERSION = 1  # PRAGMA user_version of a ledger; increase it with every change
APPLICATION = 0x54554E45  # PRAGMA application_id: "TUNE"
STATE = "state"  # kind of the event that records how an invocation ended
OPTUNA_SCHEMA, OPTUNA_REVISION = 12, "v3.2.0.a"  # those of Optuna 5.0; a test compares them

COMMON = "seq INTEGER PRIMARY KEY, time TEXT NOT NULL, epoch INTEGER NOT NULL"
RECORDS = {  # table → its own columns; all tables have COMMON before them and the hash of the chain after them
    "lease": "host TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL",
    "sweep": """
        description TEXT NOT NULL, parameters TEXT NOT NULL, code TEXT NOT NULL,
        command TEXT NOT NULL, change TEXT NOT NULL""",
    "suggestion": """
        trial INTEGER NOT NULL, kind TEXT NOT NULL, config TEXT NOT NULL, task TEXT NOT NULL, until INTEGER,
        origin TEXT NOT NULL, evidence TEXT NOT NULL, parent INTEGER, parent_step INTEGER, seed INTEGER NOT NULL,
        replaces INTEGER, memo TEXT NOT NULL, command TEXT NOT NULL""",
    "report": """
        trial INTEGER NOT NULL, step INTEGER NOT NULL, value REAL, kind TEXT NOT NULL, cost_seconds REAL NOT NULL,
        metrics TEXT NOT NULL""",
    "verdict": "trial INTEGER NOT NULL, step INTEGER NOT NULL, verdict TEXT NOT NULL, scheduler TEXT NOT NULL",
    "ending": """
        trial INTEGER NOT NULL, status TEXT NOT NULL, step INTEGER NOT NULL, reason TEXT NOT NULL,
        detail TEXT NOT NULL""",
    "lost": "trial INTEGER NOT NULL, step INTEGER NOT NULL, reason TEXT NOT NULL",
    "search_end": "reason TEXT NOT NULL",
    "checkpoint": """
        trial INTEGER NOT NULL, step INTEGER NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL""",
    "test": "trial INTEGER NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL",
    "decision": """
        trial INTEGER NOT NULL, step INTEGER NOT NULL, samples INTEGER NOT NULL, position INTEGER, why TEXT NOT NULL,
        before TEXT NOT NULL, after TEXT NOT NULL, metrics TEXT NOT NULL, cost_seconds REAL NOT NULL""",
    "event": "kind TEXT NOT NULL, trial INTEGER, text TEXT NOT NULL",
}
COLUMNS: dict[str, dict[str, str]] = {  # table → column → type, in order, the hash last
    name: dict(column.split()[:2] for column in f"{COMMON}, {own}, hash TEXT".split(","))
    for name, own in RECORDS.items()
}


def _made(name: str) -> tuple[str, ...]:
    """The statements for a table and its guards."""
    guards = [
        f"CREATE TRIGGER {name}_no_{verb.lower()} BEFORE {verb} ON {name} "
        f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: no {verb} on {name}'); END"
        for verb in ("UPDATE", "DELETE")
    ]
    return (f"CREATE TABLE {name} ({COMMON}, {RECORDS[name]}, hash TEXT NOT NULL)", *guards)


INDICES = (
    "CREATE UNIQUE INDEX lease_of_epoch ON lease (epoch)",
    "CREATE UNIQUE INDEX report_of_trial ON report (trial, step)",  # a step is recorded once
    "CREATE INDEX suggestion_of_trial ON suggestion (trial, seq)",
    "CREATE INDEX ending_of_trial ON ending (trial, seq)",
    "CREATE INDEX checkpoint_of_trial ON checkpoint (trial, seq)",
)

FINITE = "CASE WHEN r.kind = 'number' THEN 'FINITE' WHEN r.kind = 'nan' THEN 'NAN' WHEN r.kind = 'inf' THEN 'INF_POS' ELSE 'INF_NEG' END"

# A completed training of a cheaper task is not a full result: Optuna must not take it for the best.
TRIALS = """CREATE VIEW trials AS SELECT s.trial + 1 AS trial_id, s.trial AS number, 1 AS study_id,
        CASE e.status WHEN 'completed' THEN CASE s.task WHEN 'full' THEN 'COMPLETE' ELSE 'PRUNED' END WHEN 'stopped' THEN 'PRUNED' WHEN 'failed' THEN 'FAIL'
            WHEN 'diverged' THEN 'FAIL' ELSE 'RUNNING' END AS state,
        s.time AS datetime_start, e.time AS datetime_complete
        FROM suggestion s LEFT JOIN ending e ON e.seq = (SELECT MAX(seq) FROM ending WHERE trial = s.trial)
            AND e.seq > (SELECT MAX(seq) FROM suggestion WHERE trial = s.trial)
        WHERE s.kind <> 'resume'"""

OPTUNA = (
    "CREATE TABLE version_info (version_info_id INTEGER PRIMARY KEY, schema_version INTEGER, library_version VARCHAR(256))",
    "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
    f"INSERT INTO version_info VALUES (1, {OPTUNA_SCHEMA}, '5.0.0')",
    f"INSERT INTO alembic_version VALUES ('{OPTUNA_REVISION}')",
    """CREATE TABLE study_user_attributes (study_user_attribute_id INTEGER PRIMARY KEY, study_id INTEGER,
        "key" VARCHAR(512), value_json TEXT, UNIQUE (study_id, "key"))""",
    """CREATE TABLE study_system_attributes (study_system_attribute_id INTEGER PRIMARY KEY, study_id INTEGER,
        "key" VARCHAR(512), value_json TEXT, UNIQUE (study_id, "key"))""",
    """CREATE TABLE trial_system_attributes (trial_system_attribute_id INTEGER PRIMARY KEY, trial_id INTEGER,
        "key" VARCHAR(512), value_json TEXT, UNIQUE (trial_id, "key"))""",
    """CREATE TABLE trial_heartbeats (trial_heartbeat_id INTEGER PRIMARY KEY, trial_id INTEGER NOT NULL UNIQUE,
        heartbeat DATETIME NOT NULL)""",
    """CREATE VIEW studies AS SELECT 1 AS study_id, json_extract(description, '$.name') AS study_name
        FROM sweep WHERE seq = (SELECT MAX(seq) FROM sweep)""",
    """CREATE VIEW study_directions AS SELECT 1 AS study_direction_id,
        CASE json_extract(description, '$.mode') WHEN 'max' THEN 'MAXIMIZE' ELSE 'MINIMIZE' END AS direction,
        1 AS study_id, 0 AS objective FROM sweep WHERE seq = (SELECT MAX(seq) FROM sweep)""",
    TRIALS,
    """CREATE VIEW parameter AS SELECT w.seq, p.key AS position, json_extract(p.value, '$.name') AS name,
        json_extract(p.value, '$.distribution') AS distribution, json_extract(p.value, '$.choices') AS choices
        FROM sweep w JOIN json_each(w.parameters) p""",
    """CREATE VIEW trial_params AS SELECT s.seq * 1000 + p.position AS param_id, s.trial + 1 AS trial_id,
        p.name AS param_name, p.distribution AS distribution_json,
        CASE WHEN p.choices IS NULL THEN CAST(c.value AS REAL) ELSE
            (SELECT CAST(o.key AS REAL) FROM json_each(p.choices) o WHERE o.type = c.type AND o.value IS c.value)
        END AS param_value
        FROM suggestion s JOIN json_each(s.config) c JOIN parameter p ON p.name = c.key
        WHERE s.kind <> 'resume' AND p.seq = (SELECT MAX(seq) FROM sweep)""",
    f"""CREATE VIEW trial_values AS SELECT r.seq AS trial_value_id, r.trial + 1 AS trial_id, 0 AS objective, r.value,
        {FINITE} AS value_type
        FROM trials t JOIN report r ON r.trial = t.number
            AND r.step = (SELECT MAX(step) FROM report WHERE trial = t.number)
        WHERE t.state IN ('COMPLETE', 'PRUNED')""",
    f"""CREATE VIEW trial_intermediate_values AS SELECT r.seq AS trial_intermediate_value_id,
        r.trial + 1 AS trial_id, r.step, r.value AS intermediate_value, {FINITE} AS intermediate_value_type
        FROM report r""",
    """CREATE VIEW trial_user_attributes AS SELECT s.seq AS trial_user_attribute_id, s.trial + 1 AS trial_id,
        'origin' AS "key", json_quote(s.origin) AS value_json FROM suggestion s WHERE s.kind <> 'resume'""",
)


def statements() -> list[str]:
    """All statements that make a new ledger."""
    tables = [statement for name in RECORDS for statement in _made(name)]
    return [*tables, *INDICES, *OPTUNA]
