-- Puts a policy in force and returns the former one. Waits for transactions that work by it. The function is in the migration 0007.
-- Parameters: $1 the policy's version.
SELECT put_policy_in_force($1)
