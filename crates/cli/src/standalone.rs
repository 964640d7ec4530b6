//! `starling chain`: an embedded NEAR chain by itself, without faucet, for trying tools and deployments.

use crate::{home::Home, output::Output};
use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use starling_contract_api::rpc::Signer;
use starling_localnet::{Localnet, RpcOptions, serve, serve_on};
use starling_primitives::{AccountId, Amount};
use starling_tls::TlsListener;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};
use tokio::net::TcpListener;

#[derive(Args, Debug)]
pub(crate) struct ChainArgs {
    /// The chain's own name.
    #[arg(long)]
    chain_id: String,
    /// An account that holds everything at first; its key is made in this home when it has none.
    #[arg(long, default_value = "owner.near")]
    account: AccountId,
    /// How many NEAR it holds.
    #[arg(long, default_value_t = 1_000_000)]
    near: u64,
    /// Port; 0 takes a free one.
    #[arg(long, default_value_t = 3030)]
    port: u16,
    /// Also serve others than this machine here, by TLS.
    #[arg(long, requires_all = ["tls_certificate", "tls_key"])]
    tls_listen: Option<SocketAddr>,
    /// A PEM file with the certificate for it.
    #[arg(long, requires = "tls_listen")]
    tls_certificate: Option<PathBuf>,
    /// A PEM file with the certificate's key.
    #[arg(long, requires = "tls_listen")]
    tls_key: Option<PathBuf>,
}

pub(crate) async fn serve_chain(home: &Home, args: &ChainArgs, out: Output) -> Result<()> {
    let key_file = home.key(args.account.as_str());
    if !key_file.exists() {
        fs::create_dir_all(key_file.parent().context("a key file needs a folder")?)?;
        Signer::generate(args.account.clone())?.write_file(&key_file)?;
    }
    let signer = Signer::from_file(&key_file)?;
    let key = near_crypto::PublicKey::ED25519(near_crypto::ED25519PublicKey(signer.public_key().0));
    let balance = near_primitives::types::Balance::from_yoctonear(Amount::from_near(args.near).0);
    let localnet = Localnet::builder()
        .chain_id(&args.chain_id)
        .data_dir(home.join("chain"))
        .account(args.account.as_str().parse()?, key, balance)
        .build()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    crate::up::keep_time(&localnet);
    let server =
        serve(localnet.clone(), address, RpcOptions::default()).await.map_err(|error| crate::up::port_error("chain", address, error))?;
    let _for_others = match (args.tls_listen, &args.tls_certificate, &args.tls_key) {
        (Some(address), Some(certificate), Some(key)) => {
            let listener = TcpListener::bind(address).await.with_context(|| format!("{address} cannot be listened on"))?;
            Some(serve_on(localnet, TlsListener::new(listener, certificate, key)?, RpcOptions::default())?)
        }
        _ => None,
    };
    out.say(
        "ready",
        &json!({"rpc": server.url(), "chain_id": args.chain_id, "key_file": key_file}),
        &format!("Chain {} at {}; the key of {} is {}. Ctrl C ends it.", args.chain_id, server.url(), args.account, key_file.display()),
    );
    crate::up::terminated().await;
    Ok(())
}
