//! Whom the commands talk to and in whose name: written by `up` and `login`, read by all others.

use crate::home::{Home, write_atomically};
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use starling_contract_api::{
    Deployment,
    billing::Billing,
    compute::Compute,
    hub::Listings,
    rpc::{RpcClient, Signer},
};
use starling_tls::Roots;
use std::{fs, path::PathBuf};

/// A coordinator, a chain and an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// The coordinator's origin; empty where only the chain is needed.
    pub(crate) coordinator: String,
    /// The chain's JSON-RPC.
    pub(crate) rpc_url: String,
    /// The contracts.
    pub(crate) deployment: Deployment,
    /// The account's NEAR credential file.
    pub(crate) key_file: PathBuf,
    /// A PEM file of an authority that is trusted besides the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// A profile with its clients.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) home: Home,
    pub(crate) profile: Profile,
    pub(crate) rpc: RpcClient,
    pub(crate) signer: Signer,
    pub(crate) roots: Roots,
}

impl Profile {
    pub(crate) fn load(home: &Home) -> Result<Self> {
        let path = home.profile();
        let text = fs::read_to_string(&path).with_context(|| {
            format!("there is no profile at {}: run `starling up` for an embedded chain, or `starling login` for another network, or name its folder with --home", path.display())
        })?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged: run `starling login` again", path.display()))
    }

    pub(crate) fn save(&self, home: &Home) -> Result<()> {
        write_atomically(&home.profile(), &serde_json::to_vec_pretty(self)?)
    }
}

impl Context {
    pub(crate) fn open(home: &Home) -> Result<Self> {
        Self::with_profile(home, Profile::load(home)?)
    }

    pub(crate) fn with_profile(home: &Home, profile: Profile) -> Result<Self> {
        let signer = Signer::from_file(&profile.key_file)?;
        let roots = Roots::open(profile.ca_file.as_deref())?;
        let rpc = RpcClient::with_http(&profile.rpc_url, roots.http());
        Ok(Self { home: home.clone(), profile, rpc, signer, roots })
    }

    /// Refuses to go on when the RPC serves another chain than the profile names.
    pub(crate) async fn check_network(&self) -> Result<()> {
        let status = self.rpc.status().await?;
        let wanted = &self.profile.deployment.chain_id;
        if status.chain_id != *wanted {
            bail!(
                "wrong network: {} serves the chain {}, and this profile is for {wanted}. Nothing was sent. Run `starling login` for the right one",
                self.rpc.url(),
                status.chain_id
            );
        }
        Ok(())
    }

    pub(crate) fn billing(&self) -> Billing {
        Billing(self.profile.deployment.billing.clone())
    }

    pub(crate) fn compute(&self) -> Compute {
        Compute(self.profile.deployment.compute.clone())
    }

    pub(crate) fn hub(&self) -> Listings {
        Listings(self.profile.deployment.hub.clone())
    }
}
