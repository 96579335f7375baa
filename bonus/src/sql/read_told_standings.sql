-- What customers were told of their standing last, of grades and of VIP. $1 customer ids. Index: customer_event_customer_version_key.
SELECT DISTINCT ON (e.customer_id, e.event_type LIKE 'Grade%') e.customer_id, e.event_type, e.payload ->> 'grade' AS grade
FROM customer_event e
WHERE e.customer_id = ANY ($1)
ORDER BY e.customer_id, e.event_type LIKE 'Grade%', e.version DESC
