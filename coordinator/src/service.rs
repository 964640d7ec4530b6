//! The service as a whole: opens everything, listens, and stops in order.

use crate::{
    artifacts::{Access, Artifacts, Collector},
    auth::Auth,
    board::Board,
    chain::{Chain, Historian, Observer, RpcChain},
    clock,
    compute::Compute,
    config::Config,
    db::Db,
    engine::{Engine, Tools},
    http::{App, operator_router, replica_router, router},
    hub::Hub,
    lead::Lead,
    outbox::Outbox,
    sponsor::Sponsor,
    streams::Streams,
    vesting::Vesting,
};
use anyhow::{Context as _, Result, bail};
use axum::serve::ListenerExt as _;
use futures_util::FutureExt as _;
use starling_contract_api::{billing::Billing, rpc::Signer};
use starling_primitives::DurationMs;
use starling_tls::TlsListener;
use std::{
    future::IntoFuture as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinSet,
};

/// Open requests have so long to end when the service stops.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Runs until `stop` resolves.
pub async fn serve(config: Config, stop: impl Future<Output = ()>) -> Result<()> {
    std::fs::create_dir_all(&config.data_dir).with_context(|| format!("the folder {} cannot be made", config.data_dir.display()))?;
    let signer = Signer::from_file(&config.key_file).context("the coordinator's key cannot be read")?;
    let account = signer.account().clone();
    let chain: Arc<dyn Chain> = Arc::new(RpcChain::new(&config.rpc_url, signer, config.deployment.clone()));
    check_network(&*chain, &config).await?;
    let db = open_database(&config).await?;
    let mut stop = std::pin::pin!(stop);
    let replicas = match config.replica_listen {
        Some(address) if config.database_url_file.is_some() => Some(listen(address).await?),
        Some(_) => bail!("`replica_listen` is for several programs on one PostgreSQL: set `database_url_file` too, or leave it out"),
        None => None,
    };
    let lead = match (&config.database_url_file, &replicas) {
        (None, _) => Lead::alone(db.clone()),
        (Some(_), None) => Lead::one_of_several(db.clone(), None),
        (Some(_), Some(listener)) => Lead::one_of_several(db.clone(), Some(listener.local_addr()?)),
    };
    if replicas.is_none() {
        // Who cannot pass on takes no requests before it leads: a load balancer sees nobody there.
        tokio::select! {
            () = lead.wait() => {}
            () = &mut stop => return Ok(()),
        }
    }
    let listener = listen(config.listen).await?;
    let address = listener.local_addr()?;
    let origin = config.origin(address.port());
    let artifacts = open_artifacts(&config, &db).await?;
    let wake = Arc::new(Notify::new());
    let listings = [config.deployment.hub.clone(), config.deployment.market.clone()];
    let (observer, facts) = Observer::new(chain.clone(), db.clone(), listings, wake.clone()).await?;
    let (hub, nodes) = Hub::new(config.limits.nodes);
    let outbox = Outbox::new(db.clone(), chain.clone(), wake);
    let historian = Historian::new(chain.clone(), db.clone(), config.deployment.clone(), config.history_from);
    let vesting = Vesting::new(chain.clone(), facts.clone(), outbox.clone(), Billing(config.deployment.billing.clone()));
    let keep = DurationMs::from_days(u64::from(config.keep_days));
    let collector = Collector::new(artifacts.clone(), chain.clone(), facts.clone(), keep);
    let tools = Tools {
        access: Access::new(db.clone(), chain.clone(), facts.clone()),
        compute: Compute::new(artifacts.clone(), db.clone()),
        streams: Streams::new(|| clock::now().0),
        board: Board::default(),
        deployment: config.deployment.clone(),
        db: db.clone(),
        chain: chain.clone(),
        facts,
        hub: hub.clone(),
        artifacts,
        outbox: outbox.clone(),
    };
    let (engine, ear) = Engine::new(tools.clone(), nodes);
    let auth = Auth::new(db.clone(), chain, hub, &origin, &config.deployment.chain_id, config.limits.logins_per_minute);
    // First it says that it is not ready, then it stops: a load balancer has time to send people elsewhere.
    let (draining, drains) = watch::channel(false);
    let (stopping, stopped) = watch::channel(false);
    let drain_time = Duration::from_secs(u64::from(config.drain_seconds));
    let operator_listener = match config.operator_listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let data_dir = config.data_dir.clone();
    let tls = config.tls_certificate.clone().zip(config.tls_key.clone());
    let sponsor = sponsor(&config, tools.db.clone())?;
    let app = App::new(tools, auth, ear, Arc::new(config), &origin, account, drains, stopped.clone())
        .with_sponsor(sponsor)
        .with_leader(lead.leader());

    let mut tasks = JoinSet::new();
    tasks.spawn(observer.run());
    let led = lead.clone();
    tasks.spawn(async move {
        led.wait().await;
        while let Err(error) = engine.take_up().await {
            tracing::error!(%error, "the stored work cannot be read");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        led.begin();
        let mut parts = JoinSet::new();
        parts.spawn(led.keep());
        parts.spawn(engine.run());
        parts.spawn(outbox.run());
        parts.spawn(historian.run());
        parts.spawn(vesting.run());
        parts.spawn(collector.run());
        drop(parts.join_next().await);
    });
    if let Some(listener) = replicas {
        let router = replica_router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
        tasks.spawn(async move { drop(axum::serve(listener, router).await) });
    }
    write_address(&data_dir, address)?;
    tracing::info!(%address, origin, "listening");

    if let Some(listener) = operator_listener {
        let router = operator_router(app.clone());
        tasks.spawn(async move { drop(axum::serve(listener, router).await) });
    }
    let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
    let mut stopped_too = stopped;
    let stopped_too = async move { drop(stopped_too.wait_for(|stopped| *stopped).await) };
    let mut server = match tls {
        Some((certificate, key)) => {
            let listener = TlsListener::new(listener, &certificate, &key).context("correct `tls_certificate` and `tls_key`")?;
            axum::serve(listener.tap_io(|_| {}), service).with_graceful_shutdown(stopped_too).into_future().boxed()
        }
        None => axum::serve(listener, service).with_graceful_shutdown(stopped_too).into_future().boxed(),
    };
    tokio::select! {
        outcome = &mut server => return outcome.context("the service ended"),
        Some(ended) = tasks.join_next() => bail!("a part of the service ended: {ended:?}"),
        () = &mut stop => {}
    }
    tracing::info!("stopping");
    draining.send_replace(true);
    tokio::time::sleep(drain_time).await;
    stopping.send_replace(true);
    if tokio::time::timeout(STOP_TIME, server).await.is_err() {
        tracing::warn!("some requests were cut off");
    }
    tasks.shutdown().await;
    lead.leave().await?;
    Ok(())
}

/// The sponsor that the configuration names, with a key of its own.
fn sponsor(config: &Config, db: Db) -> Result<Option<Sponsor>> {
    let Some(budget) = config.sponsor.clone() else { return Ok(None) };
    let signer = Signer::from_file(&budget.key_file).context("the sponsor's key cannot be read")?;
    Ok(Some(Sponsor::new(&config.rpc_url, signer, db, budget, &config.deployment)))
}

/// Contracts of one chain on another would be read as empty: better to say so.
async fn check_network(chain: &dyn Chain, config: &Config) -> Result<()> {
    let mut said = false;
    loop {
        match chain.chain_id().await {
            Ok(found) if found == config.deployment.chain_id => return Ok(()),
            Ok(found) => bail!(
                "wrong network: the RPC at {} is {found}, the configured deployment is on {}. Correct `rpc_url` or `deployment`.",
                config.rpc_url,
                config.deployment.chain_id
            ),
            Err(error) if !said => {
                said = true;
                tracing::warn!(%error, "waiting for the chain");
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// PostgreSQL where the configuration names one, else a file.
async fn open_database(config: &Config) -> Result<Db> {
    let Some(path) = &config.database_url_file else { return Ok(Db::open(&config.data_dir.join("db.sqlite")).await?) };
    let url = std::fs::read_to_string(path).with_context(|| format!("the address of the database, {}, cannot be read", path.display()))?;
    Db::open_postgres(url.trim()).await.context("the database does not answer: correct the address in `database_url_file`")
}

/// The store that the configuration names; one that does not answer is said now, not at the first upload.
async fn open_artifacts(config: &Config, db: &Db) -> Result<Artifacts> {
    let artifacts = match &config.artifact_store {
        Some(store) => Artifacts::s3(store, db.clone())?,
        None => {
            let folder = config.data_dir.join("artifacts");
            std::fs::create_dir_all(&folder)?;
            Artifacts::local(&folder, db.clone())?
        }
    };
    artifacts.check().await.context("the artifact store does not answer: correct `artifact_store`")?;
    Ok(artifacts)
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("port in use: something listens on {address} already. Stop it, or set another `listen` (port 0 takes a free one).")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// Where programs on this machine find the service.
fn write_address(folder: &std::path::Path, address: SocketAddr) -> Result<()> {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    let part = folder.join("address.part");
    std::fs::write(&part, SocketAddr::new(ip, address.port()).to_string())?;
    std::fs::rename(&part, folder.join("address")).context("the address cannot be written")
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use crate::chain::fake::FakeChain;

    #[tokio::test]
    async fn service__should_refuse_a_chain_that_is_not_the_configured_one() {
        let text = "listen = \"127.0.0.1:0\"\npublic_origin = \"http://127.0.0.1:0\"\nrpc_url = \"http://127.0.0.1:1\"\npublic_rpc_url = \"\"\nnetwork_name = \"\"\nkey_file = \"k\"\ndata_dir = \"d\"\n\
            [deployment]\nchain_id = \"mainnet\"\ninstance = 1\nbilling = \"billing.near\"\ncompute = \"compute.near\"\nhub = \"hub.near\"\nmarket = \"market.near\"\n";
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c.toml"), text).unwrap();
        let config = Config::load(&dir.path().join("c.toml")).unwrap();
        let refused = check_network(&FakeChain::default(), &config).await.unwrap_err().to_string();
        assert!(refused.contains("wrong network") && refused.contains("starling-test") && refused.contains("mainnet"), "{refused}");
    }

    #[tokio::test]
    async fn service__should_say_when_its_port_is_in_use() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = listen(taken.local_addr().unwrap()).await.unwrap_err().to_string();
        assert!(refused.contains("port in use"), "{refused}");
    }
}
