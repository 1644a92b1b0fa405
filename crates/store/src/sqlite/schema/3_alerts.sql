CREATE TABLE alert_rules (
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    rule TEXT NOT NULL,                        -- JSON, checked by the domain; the next two once more, for comparing
    version INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,                          -- begins with the time, so that it is the order
    rule TEXT NOT NULL,                        -- which may be gone
    severity TEXT NOT NULL,
    metric TEXT NOT NULL,
    message TEXT NOT NULL,
    value REAL,
    threshold REAL NOT NULL,
    raised_ms INTEGER NOT NULL,
    resolved_ms INTEGER,
    acknowledged_by TEXT,
    acknowledged_ms INTEGER,
    targets TEXT NOT NULL,                     -- with commas
    told INTEGER NOT NULL DEFAULT 0,           -- readers know: 1 of its beginning, 2 of its end, 3 of both
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
-- One open alert of each rule, whoever raises it.
CREATE UNIQUE INDEX alerts_open ON alerts (tenant, rule) WHERE resolved_ms IS NULL;
CREATE INDEX alerts_by_rule ON alerts (tenant, rule, id);
CREATE INDEX alerts_untold ON alerts (tenant, id) WHERE told < 3;

CREATE TABLE alert_samples (
    tenant INTEGER NOT NULL,
    rule TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (tenant, rule, at_ms)
) STRICT, WITHOUT ROWID;

-- What is to be sent. A delivery that is on its way is due when its time is over.
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of one alert's
    id TEXT NOT NULL UNIQUE,
    tenant INTEGER NOT NULL,
    target TEXT NOT NULL,
    alert TEXT NOT NULL,
    body TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_by_due ON outbox (target, due_ms);
CREATE INDEX outbox_by_alert ON outbox (tenant, alert, target, number);
