//! Paths, relative to the coordinator's origin. `{name}` stands for a value.

/// `GET`: [`crate::network::NetworkInfo`].
pub const NETWORK: &str = "/api/v1/network";
/// `GET`: health, 200 once the service answers.
pub const HEALTH: &str = "/api/v1/health";
/// `GET`: readiness, 200 once the chain's projection is current, else 503.
pub const READY: &str = "/api/v1/ready";
/// `POST` [`crate::login::ChallengeRequest`]: [`crate::login::Challenge`].
pub const LOGIN_CHALLENGE: &str = "/api/v1/login/challenge";
/// `POST` [`crate::login::LoginRequest`]: [`crate::login::Session`], and a cookie for browsers.
pub const LOGIN: &str = "/api/v1/login";
/// `POST`: ends the session.
pub const LOGOUT: &str = "/api/v1/logout";
/// `POST`: ends all sessions of the account.
pub const LOGOUT_EVERYWHERE: &str = "/api/v1/logout/everywhere";
/// `GET`: [`crate::login::SessionInfo`].
pub const SESSION: &str = "/api/v1/session";
/// `GET` (with ranges), `HEAD`: an artifact by its BLAKE3 hash. `PUT` bytes: all of it where it is one chunk. `DELETE`: gives up what one owns of it.
pub const ARTIFACT: &str = "/api/v1/artifacts/{hash}";
/// `GET`: the [`crate::artifact::Manifest`], by which every chunk of a download is checked.
pub const ARTIFACT_MANIFEST: &str = "/api/v1/artifacts/{hash}/manifest";
/// `POST` [`crate::artifact::Manifest`]: begins an upload or takes it up again, [`crate::artifact::UploadState`].
pub const ARTIFACT_UPLOAD: &str = "/api/v1/artifacts/{hash}/upload";
/// `PUT` bytes: a chunk of an upload, by its number from 0. Sending it again changes nothing.
pub const ARTIFACT_CHUNK: &str = "/api/v1/artifacts/{hash}/upload/{number}";
/// `POST`: ends an upload whose chunks are all there, [`crate::artifact::Stored`].
pub const ARTIFACT_FINISH: &str = "/api/v1/artifacts/{hash}/finish";
/// `GET`: [`crate::run::RecipePreset`]s.
pub const RECIPES: &str = "/api/v1/recipes";
/// `POST` [`crate::run::PrepareRun`]: [`crate::run::PreparedRun`].
pub const PREPARE_RUN: &str = "/api/v1/runs/prepare";
/// `GET` with `tenant`, `before`, `limit`: [`crate::run::RunView`]s, newest first.
pub const RUNS: &str = "/api/v1/runs";
/// `GET`: [`crate::run::RunView`].
pub const RUN: &str = "/api/v1/runs/{run_id}";
/// `GET`: server-sent events, each a [`crate::run::RunEvent`] in JSON; `Last-Event-ID` resumes.
pub const RUN_EVENTS: &str = "/api/v1/runs/{run_id}/events";
/// `GET`: [`crate::run::Curves`], all of them or those `?after=` a place.
pub const RUN_METRICS: &str = "/api/v1/runs/{run_id}/metrics";
/// `GET`: [`crate::run::RoundView`]s.
pub const RUN_ROUNDS: &str = "/api/v1/runs/{run_id}/rounds";
/// `POST` by the tenant: has the node bring the checkpoint that a commitment of its says a round was begun with. 204 once it can be downloaded,
/// 409 with its words where the node shows none, 504 while it is on its way: ask again.
pub const RUN_CHECKPOINT: &str = "/api/v1/runs/{run_id}/checkpoints/{hash}";
/// `GET` the [`crate::run::PendingStatement`] that waits for the meter (404 when none), `POST` [`crate::run::MeterSignature`].
pub const RUN_STATEMENT: &str = "/api/v1/runs/{run_id}/statement";
/// `GET` with `provider`: [`crate::node::NodeView`]s.
pub const NODES: &str = "/api/v1/nodes";
/// `GET`: a [`crate::machine::MachineView`] of each connected node of the caller.
pub const MACHINES: &str = "/api/v1/nodes/machines";
/// `GET`: [`crate::node::OfferView`]s of nodes that are connected.
pub const OFFERS: &str = "/api/v1/offers";
/// WebSocket of nodes: [`crate::node::FromNode`] and [`crate::node::ToNode`] as JSON texts.
pub const NODE_CONNECT: &str = "/api/v1/nodes/connect";
/// `GET` with `tenant`, `limit`: [`crate::lease::LeaseView`]s, newest first.
pub const LEASES: &str = "/api/v1/leases";
/// `GET`: [`crate::lease::LeaseView`].
pub const LEASE: &str = "/api/v1/leases/{lease_id}";
/// `GET`: server-sent events, each a [`crate::lease::LeaseEvent`] in JSON.
pub const LEASE_EVENTS: &str = "/api/v1/leases/{lease_id}/events";
/// `GET` the [`crate::lease::PendingLeaseStatement`] that waits for the meter (404 when none), `POST` [`crate::lease::LeaseMeterSignature`].
pub const LEASE_STATEMENT: &str = "/api/v1/leases/{lease_id}/statement";
/// `GET` with `account`, `escrow`, `before`, `limit`: [`crate::network::HistoryEntry`]s, newest first.
pub const HISTORY: &str = "/api/v1/history";

/// `POST` [`crate::sponsor::NewAccount`] by anyone, rationed: [`crate::sponsor::MadeAccount`]. 404 where there is no sponsor.
pub const SPONSOR_ACCOUNTS: &str = "/api/v1/sponsor/accounts";
/// `POST` [`crate::sponsor::RelayCall`]: [`crate::sponsor::Relayed`]. 404 where there is no sponsor.
pub const SPONSOR_CALLS: &str = "/api/v1/sponsor/calls";

/// Puts values into a path, in order of their places.
pub fn fill(path: &str, values: &[&dyn std::fmt::Display]) -> String {
    let mut out = String::with_capacity(path.len() + 64);
    let mut values = values.iter();
    let mut rest = path;
    while let Some(start) = rest.find('{') {
        let end = rest[start..].find('}').map_or(rest.len(), |end| start + end + 1);
        out.push_str(&rest[..start]);
        if let Some(value) = values.next() {
            out.push_str(&value.to_string());
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}
