-- What this session's role is, and what it may do. Parameters: $1 tables, views and functions, and $2 what a role that serves may do with
-- each. Privileges by membership and of PUBLIC count. What is not there yet is left out. Reads the catalogue only.
WITH schema AS (
    SELECT migrations.relnamespace AS oid, migrations.relowner AS owner
      FROM pg_class AS migrations
     WHERE migrations.oid = to_regclass('_sqlx_migrations')
), object AS (
    SELECT asked.object, asked.privileges, class.oid AS class, NULL::oid AS function
      FROM unnest($1::text[], $2::text[]) AS asked (object, privileges), schema, pg_class AS class
     WHERE class.relnamespace = schema.oid AND class.relname = asked.object AND class.relkind IN ('r', 'v', 'p')
    UNION ALL
    SELECT asked.object, asked.privileges, NULL, function.oid
      FROM unnest($1::text[], $2::text[]) AS asked (object, privileges), schema, pg_proc AS function
     WHERE function.pronamespace = schema.oid AND function.proname = asked.object
), privilege AS (
    SELECT object.object, verb.name AS privilege, verb.name = ANY (string_to_array(object.privileges, ', ')) AS needed,
           CASE WHEN object.class IS NOT NULL THEN has_table_privilege(object.class, verb.name)
                ELSE has_function_privilege(object.function, 'EXECUTE') END AS held
      FROM object, unnest(CASE WHEN object.class IS NOT NULL THEN '{SELECT,INSERT,UPDATE,DELETE,TRUNCATE}'::text[] ELSE '{EXECUTE}' END) AS verb (name)
)
SELECT current_user::text AS role,
       (SELECT role.rolsuper FROM pg_roles AS role WHERE role.rolname = current_user) AS superuser,
       coalesce((SELECT pg_has_role(schema.owner, 'USAGE') FROM schema), false) AS owns,
       EXISTS (SELECT FROM schema) AS is_there,
       coalesce(has_schema_privilege(coalesce((SELECT schema.oid FROM schema), current_schema()::regnamespace), 'CREATE'), false) AS may_create,
       coalesce((SELECT array_agg(DISTINCT privilege.privilege || ' on ' || privilege.object) FROM privilege
                  WHERE privilege.needed AND NOT privilege.held), '{}') AS lacking,
       coalesce((SELECT array_agg(DISTINCT privilege.privilege || ' on ' || privilege.object) FROM privilege
                  WHERE privilege.held AND NOT privilege.needed), '{}') AS beyond
