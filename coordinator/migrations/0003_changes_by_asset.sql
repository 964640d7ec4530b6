-- What an event did to balances, by asset: a list of {asset, change}. The column before it knew NEAR alone; programs before this one go on reading it.
ALTER TABLE history_accounts ADD COLUMN changes TEXT;
