CREATE TABLE tenants (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last_order INTEGER NOT NULL DEFAULT 0,     -- number of the newest order
    last_customer INTEGER NOT NULL DEFAULT 0,  -- number of the newest customer who was given an id
    open_orders INTEGER NOT NULL DEFAULT 0,    -- PENDING and PROCESSING, of any age
    has_boards INTEGER NOT NULL DEFAULT 0      -- the default board was made once
) STRICT;

CREATE TABLE orders (
    tenant INTEGER NOT NULL,
    number INTEGER NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    priority TEXT NOT NULL,
    items INTEGER NOT NULL,
    cents INTEGER NOT NULL,
    customer_name TEXT NOT NULL,
    customer_id TEXT,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX orders_by_status ON orders (tenant, status, number);

-- Counts by the minute of creation: what the numbers are made from at start.
CREATE TABLE minutes (
    tenant INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    orders INTEGER NOT NULL,
    cents INTEGER NOT NULL,
    processing INTEGER NOT NULL,
    customers INTEGER NOT NULL,
    visits INTEGER NOT NULL,
    PRIMARY KEY (tenant, minute)
) STRICT, WITHOUT ROWID;

CREATE TABLE customers (
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT,
    first_seen_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    tenant INTEGER NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    number INTEGER NOT NULL,
    used_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (used_ms);

CREATE TABLE dashboards (
    tenant INTEGER NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    tiles TEXT NOT NULL,                       -- JSON, checked by the domain
    version INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
