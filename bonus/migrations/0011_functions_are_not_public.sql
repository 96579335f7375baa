-- Nobody but the owner may call a function that writes, unless it is granted: by default everybody may. Instances of the version before go
-- on: a role that may INSERT into the ledger today may call those that write, and one that may SELECT those that only read.
-- `bonus migrate --grant-to` sets what the roles may from then on.
DO $$
DECLARE
    asked   record;
    grantee text;
BEGIN
    FOR asked IN
        SELECT function.oid::regprocedure::text AS signature,
               CASE WHEN function.proname IN ('worth', 'policy_version_in_force', 'vip_standing') THEN 'SELECT' ELSE 'INSERT' END AS privilege
          FROM pg_proc AS function
         WHERE function.pronamespace = (SELECT ledger.relnamespace FROM pg_class AS ledger WHERE ledger.oid = 'ledger'::regclass)
           AND function.proname IN ('credit_events', 'sweep_vip', 'rebuild_accounts', 'put_policy_in_force', 'hold_policy',
                                    'derive_accounts', 'worth', 'policy_version_in_force', 'vip_standing')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', asked.signature);
        FOR grantee IN
            SELECT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
              FROM pg_class AS class, aclexplode(class.relacl) AS acl
             WHERE class.oid = 'ledger'::regclass AND acl.grantee <> class.relowner AND acl.privilege_type = asked.privilege
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', asked.signature, grantee);
        END LOOP;
    END LOOP;
END
$$;
