CREATE TABLE tricast_history_series (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant bigint NOT NULL,
    channel text COLLATE "C" NOT NULL,
    field text COLLATE "C" NOT NULL,
    minutes_to bigint NOT NULL DEFAULT 0,      -- up to here points are rolled up to minutes,
    hours_to bigint NOT NULL DEFAULT 0,        -- minutes to hours,
    days_to bigint NOT NULL DEFAULT 0,         -- hours to days
    gone_ms bigint,                            -- since when it has nothing: another node may still know its id
    UNIQUE (tenant, channel, field)
) WITH (fillfactor = 80);
CREATE INDEX tricast_history_series_by_tenant ON tricast_history_series (tenant, id);

CREATE TABLE tricast_history_points (
    series bigint NOT NULL,
    at bigint NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (series, at)
);

CREATE TABLE tricast_history_rollups (
    level smallint NOT NULL,                   -- 1 minutes, 2 hours, 3 days
    series bigint NOT NULL,
    at bigint NOT NULL,                        -- where the bucket begins
    count bigint NOT NULL,
    total double precision NOT NULL,
    min double precision NOT NULL,
    max double precision NOT NULL,
    last double precision NOT NULL,
    PRIMARY KEY (level, series, at)
);
