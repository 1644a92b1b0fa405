-- Numbers of rows of each tenant, by which limits are checked. Triggers keep them right whoever adds or deletes rows.
ALTER TABLE tenants ADD COLUMN orders INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN customers INTEGER NOT NULL DEFAULT 0;
UPDATE tenants SET orders = (SELECT count(*) FROM orders WHERE orders.tenant = tenants.id),
    customers = (SELECT count(*) FROM customers WHERE customers.tenant = tenants.id);

CREATE TRIGGER orders_added AFTER INSERT ON orders
    BEGIN UPDATE tenants SET orders = orders + 1 WHERE id = new.tenant; END;
CREATE TRIGGER orders_deleted AFTER DELETE ON orders
    BEGIN UPDATE tenants SET orders = orders - 1 WHERE id = old.tenant; END;
CREATE TRIGGER customers_added AFTER INSERT ON customers
    BEGIN UPDATE tenants SET customers = customers + 1 WHERE id = new.tenant; END;
CREATE TRIGGER customers_deleted AFTER DELETE ON customers
    BEGIN UPDATE tenants SET customers = customers - 1 WHERE id = old.tenant; END;

CREATE INDEX customers_by_age ON customers (tenant, first_seen_ms);
