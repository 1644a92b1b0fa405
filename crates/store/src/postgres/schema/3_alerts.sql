CREATE TABLE tricast_alert_rules (
    tenant bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    rule text NOT NULL,                        -- JSON, checked by the domain; the next two once more, for comparing
    version bigint NOT NULL,
    created_ms bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE tricast_alerts (
    tenant bigint NOT NULL,
    id text COLLATE "C" NOT NULL,              -- begins with the time, so that it is the order
    rule text COLLATE "C" NOT NULL,            -- which may be gone
    severity text COLLATE "C" NOT NULL,
    metric text NOT NULL,
    message text NOT NULL,
    value double precision,
    threshold double precision NOT NULL,
    raised_ms bigint NOT NULL,
    resolved_ms bigint,
    acknowledged_by text,
    acknowledged_ms bigint,
    targets text NOT NULL,                     -- with commas
    told integer NOT NULL DEFAULT 0,           -- readers know: 1 of its beginning, 2 of its end, 3 of both
    PRIMARY KEY (tenant, id)
);
-- One open alert of each rule, whichever node raises it.
CREATE UNIQUE INDEX tricast_alerts_open ON tricast_alerts (tenant, rule) WHERE resolved_ms IS NULL;
CREATE INDEX tricast_alerts_by_rule ON tricast_alerts (tenant, rule, id);
CREATE INDEX tricast_alerts_untold ON tricast_alerts (tenant, id) WHERE told < 3;

CREATE TABLE tricast_alert_samples (
    tenant bigint NOT NULL,
    rule text COLLATE "C" NOT NULL,
    at_ms bigint NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (tenant, rule, at_ms)
);

-- What is to be sent. A delivery that is on its way is due when its time is over.
CREATE TABLE tricast_outbox (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the order of one alert's
    id text COLLATE "C" NOT NULL UNIQUE,
    tenant bigint NOT NULL,
    target text COLLATE "C" NOT NULL,
    alert text COLLATE "C" NOT NULL,
    body text NOT NULL,
    created_ms bigint NOT NULL,
    due_ms bigint NOT NULL,
    attempts bigint NOT NULL DEFAULT 0
);
CREATE INDEX tricast_outbox_by_due ON tricast_outbox (target, due_ms);
CREATE INDEX tricast_outbox_by_alert ON tricast_outbox (tenant, alert, target, number);
