CREATE TABLE tricast_tenants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    last_order bigint NOT NULL DEFAULT 0,      -- number of the newest order
    last_customer bigint NOT NULL DEFAULT 0,   -- number of the newest customer who was given an id
    open_orders bigint NOT NULL DEFAULT 0,     -- PENDING and PROCESSING, of any age
    has_boards boolean NOT NULL DEFAULT false, -- the default board was made once
    revision bigint NOT NULL DEFAULT 0         -- grows with each change of the counts: others look at it
) WITH (fillfactor = 50);

CREATE TABLE tricast_orders (
    tenant bigint NOT NULL,
    number bigint NOT NULL,
    version bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    priority text COLLATE "C" NOT NULL,
    items bigint NOT NULL,
    cents bigint NOT NULL,
    customer_name text NOT NULL,
    customer_id text COLLATE "C",
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    PRIMARY KEY (tenant, number)
);
CREATE INDEX tricast_orders_by_status ON tricast_orders (tenant, status, number);

-- Counts by the minute of creation: what the numbers are made from.
CREATE TABLE tricast_minutes (
    tenant bigint NOT NULL,
    minute bigint NOT NULL,
    orders bigint NOT NULL,
    cents bigint NOT NULL,
    processing bigint NOT NULL,
    customers bigint NOT NULL,
    visits bigint NOT NULL,
    PRIMARY KEY (tenant, minute)
) WITH (fillfactor = 80);

CREATE TABLE tricast_customers (
    tenant bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    name text,
    first_seen_ms bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE TABLE tricast_idempotency_keys (
    tenant bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    digest bytea NOT NULL,
    number bigint NOT NULL,
    used_ms bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX tricast_idempotency_keys_by_age ON tricast_idempotency_keys (used_ms);

CREATE TABLE tricast_dashboards (
    tenant bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    name text NOT NULL,
    tiles text NOT NULL,                       -- JSON, checked by the domain
    version bigint NOT NULL,
    created_ms bigint NOT NULL,
    PRIMARY KEY (tenant, id)
);
