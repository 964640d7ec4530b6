-- Only a SQLite database had rows by then.
UPDATE history_accounts SET changes = json_array(json_object('asset', 'near', 'change', json(change))) WHERE change IS NOT NULL;
