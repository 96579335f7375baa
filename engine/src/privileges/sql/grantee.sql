-- Whether the role $1 is there, and whether it has the rights of the tables' owner: as the owner itself, a member, or a superuser.
-- Reads the catalogue only.
SELECT pg_get_userbyid(migrations.relowner)::text AS owner,
       pg_has_role(role.oid, migrations.relowner, 'USAGE') AS owns
  FROM pg_roles AS role
  JOIN pg_class AS migrations ON migrations.oid = to_regclass('_sqlx_migrations')
 WHERE role.rolname = $1
