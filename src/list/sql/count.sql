-- How many orders the list has. It reads all.
SELECT count(*) AS orders FROM order_summary
