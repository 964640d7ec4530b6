-- Which of several programs on one database works: it holds a lead for a while and renews it. The number grows with each new holder.
CREATE TABLE leads (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    number INTEGER NOT NULL,
    until INTEGER NOT NULL
);
