-- The statements that make the direct privileges of a role what they are to be, on what there is. Parameters: $1 the role, NULL for PUBLIC;
-- $2 tables, views and functions, and $3 what the role may do with each, such as `SELECT, INSERT`; $4 whether it may use the schema.
-- Reads the catalogue only.
WITH schema AS (
    SELECT namespace.oid, namespace.nspname, namespace.nspacl
      FROM pg_class AS migrations
      JOIN pg_namespace AS namespace ON namespace.oid = migrations.relnamespace
     WHERE migrations.oid = to_regclass('_sqlx_migrations')
), grantee AS (
    SELECT coalesce((SELECT role.oid FROM pg_roles AS role WHERE role.rolname = $1), 0) AS oid,
           coalesce(quote_ident($1), 'PUBLIC') AS name
), object AS (
    SELECT asked.place, 'TABLE' AS kind, format('%I.%I', schema.nspname, class.relname) AS name, asked.privileges, class.relacl AS acl
      FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (object, privileges, place)
     CROSS JOIN schema
      JOIN pg_class AS class ON class.relnamespace = schema.oid AND class.relname = asked.object AND class.relkind IN ('r', 'v', 'p')
    UNION ALL
    SELECT asked.place, 'FUNCTION',
           -- Its types only where it has namesakes.
           CASE count(*) OVER (PARTITION BY function.proname) WHEN 1 THEN format('%I.%I', schema.nspname, function.proname)
                ELSE function.oid::regprocedure::text END,
           asked.privileges, coalesce(function.proacl, acldefault('f', function.proowner))
      FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS asked (object, privileges, place)
     CROSS JOIN schema
      JOIN pg_proc AS function ON function.pronamespace = schema.oid AND function.proname = asked.object
), wanted AS (
    SELECT object.place, object.kind, object.name, privilege
      FROM object, unnest(string_to_array(nullif(object.privileges, ''), ', ')) AS privilege
), held AS (
    SELECT object.place, object.kind, object.name, acl.privilege_type AS privilege
      FROM object, grantee, aclexplode(object.acl) AS acl
     WHERE acl.grantee = grantee.oid
), statement AS (
    SELECT 0::bigint AS place, 0 AS step, format('GRANT USAGE ON SCHEMA %I TO %s', schema.nspname, grantee.name) AS text
      FROM schema, grantee
     WHERE CASE WHEN $4 THEN NOT has_schema_privilege(grantee.oid, schema.oid, 'USAGE') END
    UNION ALL
    SELECT 0, 1, format('REVOKE CREATE ON SCHEMA %I FROM %s', schema.nspname, grantee.name)
      FROM schema, grantee, aclexplode(schema.nspacl) AS acl
     WHERE $4 AND acl.grantee = grantee.oid AND acl.privilege_type = 'CREATE'
    UNION ALL
    SELECT surplus.place, 2, format('REVOKE %s ON %s %s FROM %s', string_agg(surplus.privilege, ', ' ORDER BY surplus.privilege), surplus.kind, surplus.name, grantee.name)
      FROM (TABLE held EXCEPT TABLE wanted) AS surplus, grantee
     GROUP BY surplus.place, surplus.kind, surplus.name, grantee.name
    UNION ALL
    SELECT lacking.place, 3, format('GRANT %s ON %s %s TO %s', string_agg(lacking.privilege, ', ' ORDER BY lacking.privilege), lacking.kind, lacking.name, grantee.name)
      FROM (TABLE wanted EXCEPT TABLE held) AS lacking, grantee
     GROUP BY lacking.place, lacking.kind, lacking.name, grantee.name
)
SELECT statement.text FROM statement ORDER BY statement.place, statement.step, statement.text
