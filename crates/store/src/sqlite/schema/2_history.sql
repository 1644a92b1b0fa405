CREATE TABLE history_series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,      -- never that of a series that went
    tenant INTEGER NOT NULL,
    channel TEXT NOT NULL,
    field TEXT NOT NULL,
    minutes_to INTEGER NOT NULL DEFAULT 0,     -- up to here points are rolled up to minutes,
    hours_to INTEGER NOT NULL DEFAULT 0,       -- minutes to hours,
    days_to INTEGER NOT NULL DEFAULT 0,        -- hours to days
    UNIQUE (tenant, channel, field)
) STRICT;
CREATE INDEX history_series_by_tenant ON history_series (tenant);

CREATE TABLE history_points (
    series INTEGER NOT NULL,
    at INTEGER NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (series, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE history_rollups (
    level INTEGER NOT NULL,                    -- 1 minutes, 2 hours, 3 days
    series INTEGER NOT NULL,
    at INTEGER NOT NULL,                       -- where the bucket begins
    count INTEGER NOT NULL,
    total REAL NOT NULL,
    min REAL NOT NULL,
    max REAL NOT NULL,
    last REAL NOT NULL,
    PRIMARY KEY (level, series, at)
) STRICT, WITHOUT ROWID;
