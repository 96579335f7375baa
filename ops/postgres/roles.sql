-- The roles of both services, for a database on this machine alone: each password is the role's name. docs/security.md has what an
-- administrator runs elsewhere. Run as a superuser, as often as one likes: it makes what is missing.
--
-- psql -f ops/postgres/roles.sql, then `orders migrate --grant-to orders_service --read-only orders_reading`, and likewise for bonus.

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY '{orders_owner,orders_service,orders_reading,bonus_owner,bonus_service,bonus_reading}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L', role, role);
        END IF;
    END LOOP;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CREATE, USAGE ON SCHEMA public TO orders_owner;
CREATE SCHEMA IF NOT EXISTS bonus;
ALTER SCHEMA bonus OWNER TO bonus_owner;

-- Where the services owned their tables as another role before: as this one, that is.
DO $$
DECLARE
    moved record;
BEGIN
    FOR moved IN
        SELECT 'TABLE' AS kind, class.oid::regclass::text AS name, class.relnamespace AS namespace
          FROM pg_class AS class
         WHERE class.relkind IN ('r', 'v') AND class.relowner = current_user::regrole
           AND class.relnamespace IN ('public'::regnamespace, 'bonus'::regnamespace)
        UNION ALL
        SELECT 'FUNCTION', function.oid::regprocedure::text, function.pronamespace
          FROM pg_proc AS function
         WHERE function.proowner = current_user::regrole
           AND function.pronamespace IN ('public'::regnamespace, 'bonus'::regnamespace)
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO %I', moved.kind, moved.name,
                       CASE moved.namespace WHEN 'public'::regnamespace THEN 'orders_owner' ELSE 'bonus_owner' END);
    END LOOP;
END
$$;
