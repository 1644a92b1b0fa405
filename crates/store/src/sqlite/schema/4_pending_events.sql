-- Events that are stored with the change they are about, until they are published.
CREATE TABLE pending_events (
    tenant INTEGER NOT NULL,
    seq INTEGER NOT NULL,                      -- grows with each event of the tenant
    channel TEXT NOT NULL,
    event TEXT NOT NULL,
    data TEXT NOT NULL,                        -- a JSON object
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;

-- Of this very database: where its events come from.
CREATE TABLE identity (id TEXT NOT NULL) STRICT;
INSERT INTO identity (id) VALUES (lower(hex(randomblob(8))));

ALTER TABLE tenants ADD COLUMN last_event INTEGER NOT NULL DEFAULT 0; -- place of the newest event

-- Whether readers were told of an alert is known by its events.
DROP INDEX alerts_untold;
ALTER TABLE alerts DROP COLUMN told;
