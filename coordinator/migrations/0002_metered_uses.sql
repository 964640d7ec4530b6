-- Metered uses of listings: which lease each paid use went to. A use is one lease, so that vouchers pay for no more leases than they sum to.
CREATE TABLE metered_uses (
    escrow_id INTEGER NOT NULL,
    lease_id INTEGER NOT NULL,
    PRIMARY KEY (escrow_id, lease_id)
) WITHOUT ROWID;
