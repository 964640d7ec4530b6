//! The built dashboard as static files, and the headers of every answer.

use super::App;
use crate::{problem::Fault, secret};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use tower_http::{
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, NotForContentType, Predicate as _},
    },
    services::ServeDir,
};

/// The page; the second name is that of the site that cargo-leptos makes, which takes no `index.html` from anyone.
const PAGES: [&str; 2] = ["index.html", "page.html"];
/// Takes the place of the nonce in the page.
const NONCE_TAG: &str = "<meta name=\"csp-nonce\" content=\"";

/// Files by name, compressed; anything else is the page.
pub(super) fn routes(app: &App) -> Router<App> {
    let Some(folder) = &app.config.dashboard_dir else { return Router::new() };
    let files = ServeDir::new(folder)
        .precompressed_br()
        .append_index_html_on_directories(false)
        .fallback(axum::routing::any(page).with_state(app.clone()));
    let compressed = CompressionLayer::new().compress_when(DefaultPredicate::new().and(NotForContentType::SSE));
    Router::new()
        .route("/", get(page))
        .route("/index.html", get(page))
        .route("/page.html", get(page))
        .fallback_service(files)
        .layer(compressed)
}

/// The page with a fresh nonce for the frames that wallets make.
async fn page(State(app): State<App>, request: Request) -> Result<Response, Fault> {
    let Some(folder) = &app.config.dashboard_dir else { return Err(Fault::not_found("page")) };
    // A missing file is no page: scripts and styles have an ending.
    let is_file = Path::new(request.uri().path()).extension().is_some_and(|extension| extension != "html");
    if is_file || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Fault::not_found("file"));
    }
    let mut pages = PAGES.iter().map(|name| folder.join(name));
    let path: PathBuf = pages.find(|path| path.exists()).unwrap_or_else(|| folder.join(PAGES[0]));
    let html =
        tokio::fs::read_to_string(&path).await.map_err(|_| Fault::not_found("built dashboard: run `cargo xtask dashboard`; a page"))?;
    let nonce = secret::random_hex::<16>();
    let html = html.replacen("<head>", &format!("<head>\n    {NONCE_TAG}{nonce}\" />"), 1);
    let wallets = if app.config.dev_wallet_url.is_some() { Vec::new() } else { wallet_hosts(folder).await };
    let policy = policy(&app, &nonce, &wallets);
    Ok((
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
            (header::CONTENT_SECURITY_POLICY, policy),
        ],
        Body::from(html),
    )
        .into_response())
}

/// The list of public networks' wallets, beside the page: as much of it as the policy needs.
#[derive(Deserialize)]
struct Wallets {
    wallets: Vec<PublicWallet>,
}

#[derive(Deserialize)]
struct PublicWallet {
    /// Where its executor is fetched from, once a person chose the wallet.
    executor: String,
    /// Which hosts the executor speaks to.
    connects: Vec<String>,
}

/// Whom the wallets of public networks speak to, each origin once; nobody where there is no such list.
async fn wallet_hosts(folder: &Path) -> Vec<String> {
    let path = folder.join("wallets.json");
    let Ok(text) = tokio::fs::read(&path).await else { return Vec::new() };
    match serde_json::from_slice::<Wallets>(&text) {
        Ok(list) => hosts_of(&list),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the list of wallets is not understood: browsers will reach none of them");
            Vec::new()
        }
    }
}

fn hosts_of(list: &Wallets) -> Vec<String> {
    let named = list.wallets.iter().flat_map(|wallet| wallet.connects.iter().chain([&wallet.executor]));
    named.filter_map(|url| origin_of(url)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The origin of an address by TLS; nothing for what would say more than an origin in a policy.
fn origin_of(url: &str) -> Option<String> {
    let host = url.strip_prefix("https://")?.split('/').next()?;
    let plain = |letter: u8| letter.is_ascii_alphanumeric() || b".-:".contains(&letter);
    (!host.is_empty() && host.bytes().all(plain)).then(|| format!("https://{host}"))
}

/// Only our own scripts, and frames that a wallet connector makes of them (they inherit this policy and carry the nonce).
fn policy(app: &App, nonce: &str, wallets: &[String]) -> String {
    let wallet = app.config.dev_wallet_url.as_deref().unwrap_or("");
    let wallets = wallets.join(" ");
    let rpc = app.config.public_rpc_url.split('/').take(3).collect::<Vec<_>>().join("/");
    format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self'; \
         connect-src 'self' {rpc} {wallet} {wallets}; frame-src 'self' blob: data: {wallet}; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// Headers of every answer: caching by name, no sniffing, no referrer.
pub(super) async fn headers(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let ok = response.status().is_success();
    let headers = response.headers_mut();
    let fixed = [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin-allow-popups"),
    ];
    for (name, value) in fixed {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if app.origin.starts_with("https://") {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        let value = match (path.starts_with("/api/"), ok && has_hash(&path)) {
            (true, _) => "no-store",
            (false, true) => "public, immutable, max-age=31536000",
            (false, false) => "no-cache",
        };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
    }
    response
}

/// Built files carry 16 hexadecimal digits of their content's hash: `name-0123456789abcdef.js`.
fn has_hash(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let hash = name.split('.').next().and_then(|stem| stem.rsplit_once('-')).map(|(_, hash)| hash);
    hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn hosts__should_be_origins_by_tls_and_nothing_else() {
        let list = Wallets {
            wallets: vec![PublicWallet {
                executor: "https://code.example/a/b.js".to_owned(),
                connects: [
                    "https://rpc.example:8443",
                    "https://code.example",
                    "http://plain.example",
                    "https://*",
                    "https://a.example; script-src *",
                ]
                .map(str::to_owned)
                .to_vec(),
            }],
        };
        assert_eq!(hosts_of(&list), ["https://code.example", "https://rpc.example:8443"]);
    }

    #[tokio::test]
    async fn wallets__should_all_be_reachable_by_the_list_that_is_served() {
        let public = Path::new(env!("CARGO_MANIFEST_DIR")).join("../frontend/public");
        let hosts = wallet_hosts(&public).await;
        assert!(hosts.contains(&"https://raw.githubusercontent.com".to_owned()), "{hosts:?}");
        assert!(hosts.iter().all(|host| host.starts_with("https://")));
    }

    #[test]
    fn has_hash__should_know_built_names() {
        for (path, expect) in [
            ("/boot-0123456789abcdef.js", true),
            ("/fonts/inter-00ff00ff00ff00ff.woff2", true),
            ("/favicon.svg", false),
            ("/a-0123456789abcdeg.js", false),
            ("/", false),
        ] {
            assert_eq!(has_hash(path), expect, "{path}");
        }
    }
}
