-- Numbers of rows of each tenant, by which limits are checked. Triggers keep them right whoever adds or deletes rows:
-- nodes of an earlier version, or an administrator. The tenants are locked first, as by every change of a node.
ALTER TABLE tricast_tenants
    ADD COLUMN orders bigint NOT NULL DEFAULT 0,
    ADD COLUMN customers bigint NOT NULL DEFAULT 0;

-- The search path is that of the migration, so that an administrator with another one can delete rows.
CREATE FUNCTION tricast_count_orders() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE tricast_tenants AS t SET orders = t.orders + CASE TG_OP WHEN 'INSERT' THEN n.number ELSE -n.number END
        FROM (SELECT tenant, count(*) AS number FROM changed GROUP BY tenant) AS n WHERE t.id = n.tenant;
    RETURN NULL;
END $$;
CREATE FUNCTION tricast_count_customers() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE tricast_tenants AS t SET customers = t.customers + CASE TG_OP WHEN 'INSERT' THEN n.number ELSE -n.number END
        FROM (SELECT tenant, count(*) AS number FROM changed GROUP BY tenant) AS n WHERE t.id = n.tenant;
    RETURN NULL;
END $$;

CREATE TRIGGER tricast_orders_added AFTER INSERT ON tricast_orders
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tricast_count_orders();
CREATE TRIGGER tricast_orders_deleted AFTER DELETE ON tricast_orders
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tricast_count_orders();
CREATE TRIGGER tricast_customers_added AFTER INSERT ON tricast_customers
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tricast_count_customers();
CREATE TRIGGER tricast_customers_deleted AFTER DELETE ON tricast_customers
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tricast_count_customers();

UPDATE tricast_tenants AS t SET orders = (SELECT count(*) FROM tricast_orders AS o WHERE o.tenant = t.id),
    customers = (SELECT count(*) FROM tricast_customers AS c WHERE c.tenant = t.id);

CREATE INDEX tricast_customers_by_age ON tricast_customers (tenant, first_seen_ms);
