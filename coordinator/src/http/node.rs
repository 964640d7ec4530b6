//! The WebSocket of a node: challenge, proof of the registered key, then messages both ways. One task owns the connection.

use super::App;
use crate::{
    clock,
    hub::{Abilities, Line},
    problem::Fault,
    secret,
};
use axum::{
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use starling_contract_api::rpc::verify;
use starling_http_api::{
    machine::MAX_MACHINE_BYTES,
    node::{FromNode, MAX_MESSAGE_BYTES, SILENCE_MS, ToNode},
};
use starling_primitives::{DurationMs, Hash32, NodeId, TimestampMs};
use starling_protocol::node::Node;
use std::time::Duration;

const CHALLENGE_LIFE: DurationMs = DurationMs::from_secs(60);
/// How long the answer to the challenge may take.
const HELLO_TIME: Duration = Duration::from_secs(15);
/// Small, so that thousands of idle nodes cost little.
const BUFFER: usize = 1_024;

pub(super) async fn connect(
    State(app): State<App>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Fault> {
    let upgrade =
        upgrade.map_err(|rejection| Fault::new(rejection.status(), "upgrade_needed", "This is for nodes", rejection.body_text()))?;
    let answer = upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .on_upgrade(move |socket| own(app, socket));
    Ok(answer)
}

/// Why a node is not let in.
struct Refusal {
    code: &'static str,
    detail: String,
}

async fn own(app: App, mut socket: WebSocket) {
    let node = match tokio::time::timeout(HELLO_TIME, greet(&app, &mut socket)).await {
        Ok(Ok(Some(node))) => node,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(Refusal { code, detail })) => {
            tracing::info!(code, detail, "a node was refused");
            send(&mut socket, &ToNode::Refused { code: code.to_owned(), detail }).await;
            return;
        }
    };
    match app.tools.hub.join(node).await {
        Some(line) => serve(&app, socket, node, line).await,
        None => drop(
            send(
                &mut socket,
                &ToNode::Refused {
                    code: "too_many_nodes".to_owned(),
                    detail: "This coordinator takes no more nodes now. Try again later.".to_owned(),
                },
            )
            .await,
        ),
    }
}

async fn greet(app: &App, socket: &mut WebSocket) -> Result<Option<NodeId>, Refusal> {
    let nonce = Hash32(secret::random_bytes());
    let expires_at = clock::now().after(CHALLENGE_LIFE);
    if !send(socket, &ToNode::Challenge { nonce, origin: app.origin.to_string(), expires_at }).await {
        return Ok(None);
    }
    let Some(FromNode::Hello { hello, signature, version, scripts, lacks, data }) = hear(socket).await else { return Ok(None) };
    check_hello(app, &hello, nonce, expires_at)?;
    let node = find_node(app, hello.node_id).await?;
    if !verify(&node.key, &hello.signing_bytes(&app.config.deployment.compute_domain()), &signature) {
        let detail = format!(
            "The key that signed is not the one registered for node {} on {}. Set the node up again for this network.",
            node.id, app.config.deployment.chain_id
        );
        return Err(Refusal { code: "node_key_unregistered", detail });
    }
    tracing::debug!(node = %node.id, version, scripts, "a node proved its key");
    app.tools.hub.set_abilities(node.id, Abilities { scripts: if scripts { Ok(()) } else { Err(lacks) }, data });
    Ok(Some(node.id))
}

fn check_hello(app: &App, hello: &starling_protocol::signing::NodeHello, nonce: Hash32, expires_at: TimestampMs) -> Result<(), Refusal> {
    let ours = hello.nonce == nonce && hello.origin == *app.origin && hello.expires_at == expires_at && clock::now() < expires_at;
    if ours {
        Ok(())
    } else {
        Err(Refusal { code: "hello_wrong", detail: "The answer is not one to this challenge of this site.".to_owned() })
    }
}

async fn find_node(app: &App, node_id: NodeId) -> Result<Node, Refusal> {
    let found = app.tools.chain.node(node_id).await.map_err(|error| Refusal { code: "chain_unreachable", detail: error.to_string() })?;
    match found {
        Some(node) if node.retired => Err(Refusal { code: "node_retired", detail: format!("Node {node_id} was retired by its provider.") }),
        Some(node) => Ok(node),
        None => Err(Refusal {
            code: "node_unregistered",
            detail: format!(
                "There is no node {node_id} in {} on {}. Register it with `gpu-node setup`.",
                app.config.deployment.compute, app.config.deployment.chain_id
            ),
        }),
    }
}

async fn serve(app: &App, mut socket: WebSocket, node: NodeId, mut line: Line) {
    let mut stopping = app.stopping.clone();
    send(&mut socket, &ToNode::Welcome { token: std::mem::take(&mut line.token) }).await;
    loop {
        tokio::select! {
            message = line.queue.recv() => match message {
                Some(message) if send(&mut socket, &message).await => {}
                _ => break,
            },
            heard = tokio::time::timeout(Duration::from_millis(SILENCE_MS), socket.recv()) => match heard {
                Ok(Some(Ok(Message::Text(text)))) => match serde_json::from_str(&text) {
                    Ok(message) => {
                        let is_kept = text.len() <= MAX_MACHINE_BYTES || !matches!(message, FromNode::Machine { .. });
                        // Boxed: what it needs meanwhile would lie in the task of each idle node too.
                        let kept = if is_kept { message } else { FromNode::Machine { state: Box::default() } };
                        Box::pin(app.tools.hub.hear(node, kept)).await;
                    }
                    Err(error) => tracing::warn!(%node, %error, "a node's message is not understood"),
                },
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                _ => break,
            },
            _ = stopping.changed() => break,
        }
    }
    app.tools.hub.leave(node, line.number).await;
}

async fn send(socket: &mut WebSocket, message: &ToNode) -> bool {
    let Ok(text) = serde_json::to_string(message) else {
        tracing::error!("a message to a node cannot be written");
        return false;
    };
    matches!(tokio::time::timeout(Duration::from_secs(10), socket.send(Message::Text(text.into()))).await, Ok(Ok(())))
}

async fn hear(socket: &mut WebSocket) -> Option<FromNode> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Text(text) => return serde_json::from_str(&text).ok(),
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Close(_) => return None,
        }
    }
}
