//! Looks at all that a node needs and says how to mend what is wrong.

use crate::{chain::Chain, config::NodeConfig, script::look};
use starling_contract_api::{
    compute::NODE_METHODS,
    rpc::{RpcClient, Signer},
};
use starling_http_api::{network::NetworkInfo, path};
use starling_limits::{Limits, MinuteOfWeek, Reason, State, decide};
use starling_primitives::{Amount, TimestampMs};
use starling_sensors::{Sensors, Setup};
use starling_tls::Roots;
use std::path::PathBuf;

/// A key with less than this left for gas will soon stop working: a tenth of a NEAR.
const LOW_ALLOWANCE: Amount = Amount::from_millinear(100);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What.
    pub(crate) subject: &'static str,
    /// What is right, or what is wrong and how it is mended.
    pub(crate) outcome: Result<String, String>,
}

/// Looks at key, chain, registration and coordinator, in this order.
pub(crate) async fn examine(config: &NodeConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |subject, outcome: Result<String, String>| findings.push(Finding { subject, outcome });
    let signer = match Signer::from_file(&config.key_file) {
        Ok(signer) => signer,
        Err(error) => {
            find("key", Err(format!("{error}; run `gpu-node setup` to make one")));
            return findings;
        }
    };
    find("key", Ok(format!("{} of {}", signer.public_key(), signer.account())));
    let roots = match config.roots() {
        Ok(roots) => roots,
        Err(error) => {
            find("ca_file", Err(error.to_string()));
            return findings;
        }
    };
    let chain = Chain::new(RpcClient::with_http(&config.rpc_url, roots.http()), config.deployment.clone(), config.node_id, signer.clone());
    let network = chain.check_network().await.map(|()| config.deployment.chain_id.clone());
    let reachable = network.is_ok();
    find("chain", network.map_err(|error| format!("{error}; check `rpc_url`")));
    if reachable {
        find(
            "registration",
            chain.own_node().await.map(|node| format!("node {}, paid to {}", node.id, node.payout)).map_err(|error| error.to_string()),
        );
        find("key on chain", key_on_chain(&chain, config, &signer).await);
    }
    find("coordinator", coordinator(config, &roots).await);
    let (watched, disk) = (config.clone(), config.clone());
    find("limits", tokio::task::spawn_blocking(move || limits(&watched)).await.unwrap_or_else(|error| Err(error.to_string())));
    find("folder", tokio::task::spawn_blocking(move || folder(&disk)).await.unwrap_or_else(|error| Err(error.to_string())));
    for data in &config.data {
        let at = |reason| format!("{reason}; mend `file` of [[data]] {}, or give it to the user who runs the node", data.name);
        find("data", data.read().map(|bytes| format!("{}, {} KiB, stays here", data.name, bytes.len().div_ceil(1_024))).map_err(at));
    }
    if config.scripts.allowed {
        for check in starling_sandbox::check(&config.scripts.sandbox(&config.data_dir)) {
            find("sandbox", check.outcome.map(|there| format!("{}: {there}", check.subject)).map_err(|lack| lack.to_string()));
        }
    }
    find("scripts", scripts(config));
    findings
}

/// Whether each limit that is set can be obeyed: the machine must give its reading.
fn limits(config: &NodeConfig) -> Result<String, String> {
    // The disk is the next finding's subject, and the folder may not be there yet.
    let limits = Limits { min_free_disk_mib: 0, hours: Vec::new(), idle_only_minutes: None, ..config.limits.clone() };
    let setup = Setup { disk: PathBuf::from("/"), ..config.sensors() };
    let mut sensors = Sensors::open(setup);
    let readings = sensors.read();
    let (now, minute) = (TimestampMs(0), MinuteOfWeek::new(0, 0));
    let (_, action) = decide(&limits, &State::new(&limits, now), &readings, now, minute);
    match (action.refusal(), sensors.problem()) {
        (Some(Reason::NoReading { .. }), Some(problem)) => Err(problem.to_string()),
        (Some(reason @ Reason::NoReading { .. }), None) => {
            Err(format!("{reason}: remove it from [limits], or name the device that has one in [sensors] `watch`"))
        }
        (Some(reason), _) => Ok(format!("obeyed; now the node would rest: {reason}")),
        (None, _) => {
            let devices: Vec<&str> = readings.devices.iter().map(|device| device.name.as_str()).collect();
            Ok(format!("obeyed by readings of {}", devices.join(", ")))
        }
    }
}

/// Whether the node's folder can be written and has room.
fn folder(config: &NodeConfig) -> Result<String, String> {
    let folder = &config.data_dir;
    std::fs::create_dir_all(folder).map_err(|error| format!("{} cannot be made: {error}; set another data_dir", folder.display()))?;
    let probe = folder.join("doctor.part");
    let written = crate::files::write_atomic(&probe, b"x").and_then(|()| crate::files::remove_if_there(&probe));
    written.map_err(|error| format!("{} cannot be written: {error}; give it to the user who runs the node", folder.display()))?;
    let free_mib = Sensors::open(Setup { sources: Vec::new(), ..config.sensors() }).read().free_disk_mib.unwrap_or(0);
    let least_mib = config.limits.min_free_disk_mib;
    if free_mib < least_mib {
        return Err(format!(
            "{free_mib} MiB are free, the node rests below {least_mib}: free some, lower cache_limit_bytes, or set another data_dir"
        ));
    }
    Ok(format!("{}, {free_mib} MiB free", folder.display()))
}

async fn key_on_chain(chain: &Chain, config: &NodeConfig, signer: &Signer) -> Result<String, String> {
    let key = chain.rpc().access_key(&config.provider, &signer.public_key()).await.map_err(|error| error.to_string())?;
    let key = key.ok_or("the key is not on the provider's account: run `gpu-node setup`")?;
    if key.full_access {
        return Err("the node's key has full access to the account: remove it, and run `gpu-node setup` for a limited one".to_owned());
    }
    let may = |method: &&str| key.methods.is_empty() || key.methods.iter().any(|allowed| allowed == method);
    if key.receiver.as_deref() != Some(config.deployment.compute.as_str()) || !NODE_METHODS.iter().all(may) {
        return Err(
            "the node's key is limited to another contract or other methods: remove it and key.json, and run `gpu-node setup`".to_owned()
        );
    }
    match key.allowance {
        Some(left) if left < LOW_ALLOWANCE => {
            Err(format!("the key may spend only {} more on gas: remove it and key.json, and run `gpu-node setup`", left.display_near()))
        }
        Some(left) => Ok(format!("limited to compute, {} left for gas", left.display_near())),
        None => Ok("limited to compute, no limit on gas".to_owned()),
    }
}

/// Not to allow scripts is no fault; not to be able to run them is.
fn scripts(config: &NodeConfig) -> Result<String, String> {
    if !config.scripts.allowed {
        return Ok("not allowed by the owner".to_owned());
    }
    look(&config.scripts, &config.data_dir)
}

async fn coordinator(config: &NodeConfig, roots: &Roots) -> Result<String, String> {
    let explain = |error: reqwest::Error| format!("{error}; check `coordinator`, and that it is running");
    let http = roots.http().timeout(std::time::Duration::from_secs(15)).build().map_err(explain)?;
    let response = http.get(format!("{}{}", config.coordinator, path::NETWORK)).send().await.map_err(explain)?;
    let network: NetworkInfo = response.error_for_status().map_err(explain)?.json().await.map_err(explain)?;
    if network.deployment != config.deployment {
        return Err(format!(
            "it serves {} on {}, this node is set up for another deployment: run `gpu-node setup`",
            network.deployment.compute, network.deployment.chain_id
        ));
    }
    Ok(format!("{}, version {}", network.name, network.version))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use crate::{
        config::{SensorChoice, tests::sample},
        own_data::OwnData,
    };
    use starling_primitives::AccountId;
    use starling_sensors::Source;

    #[tokio::test]
    async fn doctor__should_say_how_to_mend_each_thing() {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("key.json");
        let config = NodeConfig {
            data_dir: folder.path().join("data"),
            limits: Limits { min_free_disk_mib: 0, ..Limits::default() },
            key_file: key_file.clone(),
            coordinator: "http://127.0.0.1:9".to_owned(),
            rpc_url: "http://127.0.0.1:9".to_owned(),
            ..sample()
        };
        let findings = examine(&config).await;
        assert!(findings.len() == 1 && findings[0].outcome.as_ref().is_err_and(|mend| mend.contains("gpu-node setup")), "{findings:?}");
        Signer::generate(AccountId::new("provider-1.starling").unwrap()).unwrap().write_file(&key_file).unwrap();
        let findings = examine(&config).await;
        let subjects: Vec<_> = findings.iter().map(|finding| (finding.subject, finding.outcome.is_ok())).collect();
        assert_eq!(
            subjects,
            [("key", true), ("chain", false), ("coordinator", false), ("limits", true), ("folder", true), ("scripts", true)]
        );
        let library = SensorChoice { watch: Some(vec![Source::Nvidia]), nvml_library: Some(folder.path().join("none.so")) };
        let limits = Limits { max_power_watts: Some(200), min_free_disk_mib: u64::MAX / 2, ..Limits::default() };
        let data = vec![OwnData { name: "notes".to_owned(), file: folder.path().join("none.txt"), tenants: Vec::new() }];
        let findings = examine(&NodeConfig { sensors: library, limits, data, ..config }).await;
        let mends: Vec<&str> = findings.iter().filter_map(|finding| finding.outcome.as_ref().err()).map(String::as_str).collect();
        assert!(mends.iter().any(|mend| mend.contains("install the card's driver")), "{mends:?}");
        assert!(mends.iter().any(|mend| mend.contains("free some")), "{mends:?}");
        assert!(mends.iter().any(|mend| mend.contains("mend `file` of [[data]] notes")), "{mends:?}");
    }
}
