-- Events that are stored with the change they are about, until they are published.
CREATE TABLE tricast_pending_events (
    tenant bigint NOT NULL,
    stream text COLLATE "C" NOT NULL,          -- the log it is for: '' for that of a bus, or that of one node without one
    seq bigint NOT NULL,                       -- grows with each event of the tenant
    channel text NOT NULL,
    event text NOT NULL,
    data text NOT NULL,                        -- a JSON object
    created_ms bigint NOT NULL,
    PRIMARY KEY (tenant, stream, seq)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);

-- Of this very database: where its events come from.
CREATE TABLE tricast_identity (id text NOT NULL);
INSERT INTO tricast_identity (id) VALUES (md5(random()::text || clock_timestamp()::text || pg_backend_pid()::text));

ALTER TABLE tricast_tenants
    ADD COLUMN last_event bigint NOT NULL DEFAULT 0,       -- place of the newest event
    ADD COLUMN alerts_by text,                             -- the node that raises and resolves alerts,
    ADD COLUMN alerts_until_ms bigint NOT NULL DEFAULT 0;  -- until then

-- Whether readers were told of an alert is known by its events. The column `told` stays for older nodes.
DROP INDEX tricast_alerts_untold;
