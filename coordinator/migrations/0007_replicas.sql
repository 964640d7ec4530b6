-- Programs that stand by while another leads, by where they are reached: they compute what the leading one asks them. Who does not renew its row is gone.
CREATE TABLE replicas (
    address TEXT PRIMARY KEY,
    until INTEGER NOT NULL
);
