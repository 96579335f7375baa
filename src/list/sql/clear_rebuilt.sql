-- Removes every order of the list that was derived anew.
DELETE FROM order_summary_rebuilt
