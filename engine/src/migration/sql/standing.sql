-- Which role this session has, where it makes tables, and whether it may migrate: the owner of what is there, or whoever may create where
-- nothing is. No parameters, reads the catalogue only.
SELECT current_user::text AS role,
       current_schema()::text AS schema,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
       applied.oid IS NOT NULL AS is_there,
       pg_get_userbyid(applied.relowner)::text AS owner,
       coalesce(pg_has_role(applied.relowner, 'USAGE'), true) AS owns
  FROM (VALUES (to_regclass('_sqlx_migrations'))) AS of (migrations)
  LEFT JOIN pg_class AS applied ON applied.oid = of.migrations
