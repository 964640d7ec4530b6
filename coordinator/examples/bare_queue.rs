//! What a coordinator's durable dispatch is measured against: the same rows, written in groups by plain sqlx with the same durability, and nothing else done.
//!
//! `bare_queue ADDRESS SECONDS` rewrites the leases of a coordinator's database that does nothing else meanwhile, and prints the state changes per second.

use anyhow::{Context as _, Result};
use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};
use std::time::{Duration, Instant};

const USE: &str = "INSERT INTO artifact_uses (hash, work, work_id, made) VALUES ($1, $2, $3, $4) ON CONFLICT (hash, work, work_id) DO UPDATE SET made = CASE WHEN excluded.made > artifact_uses.made THEN excluded.made ELSE artifact_uses.made END";
const WORK: &str = "INSERT INTO works (work, id, json, updated_at) VALUES ($1, $2, $3, $4) ON CONFLICT (work, id) DO UPDATE SET json = excluded.json, updated_at = excluded.updated_at";

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().context("no address")?;
    let time = Duration::from_secs(arguments.next().context("no seconds")?.parse()?);
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&address).await?;
    if address.starts_with("sqlite:") {
        connection.execute("PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").await?;
    }
    let rows = sqlx::query("SELECT id, json FROM works WHERE work = 'lease' AND json LIKE '%\"failure\":null%'")
        .fetch_all(&mut connection)
        .await?;
    let leases: Vec<(i64, String)> = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?;
    let (started, mut writes) = (Instant::now(), 0_u32);
    while started.elapsed() < time {
        // A statement comes, and what it names; the meter signs it.
        for is_use in [true, false, false] {
            let mut group = connection.begin().await?;
            for (id, json) in &leases {
                let query = if is_use {
                    sqlx::query(USE).bind(vec![7_u8; 32]).bind("lease").bind(id).bind(1_i64)
                } else {
                    sqlx::query(WORK).bind("lease").bind(id).bind(json).bind(i64::from(writes))
                };
                query.execute(&mut *group).await?;
                writes += 1;
            }
            group.commit().await?;
        }
    }
    println!("{:.0}", f64::from(writes) / started.elapsed().as_secs_f64());
    Ok(())
}
