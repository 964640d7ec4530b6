//! How much one address may ask: a bucket that fills with time. Nodes' connections and open streams have limits of their own.

use super::App;
use crate::{clock, problem::Fault};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use starling_primitives::TimestampMs;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

/// Addresses that are counted at once; those with a full bucket are forgotten first.
const MAX_ADDRESSES: usize = 50_000;
/// A bucket holds so many seconds' requests.
const BURST_SECONDS: f64 = 10.0;

/// Buckets by address. Cheap to clone.
#[derive(Clone)]
pub(super) struct Buckets {
    per_second: f64,
    buckets: Arc<Mutex<HashMap<IpAddr, (f64, TimestampMs)>>>,
}

impl Buckets {
    /// So many requests a second for each address, in bursts of ten seconds' worth.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Arc::default() }
    }

    /// Takes one request out; says whether there was one.
    fn take(&self, address: IpAddr, now: TimestampMs) -> bool {
        let (rate, full) = (self.per_second, self.per_second * BURST_SECONDS);
        let filled = |(left, at): (f64, TimestampMs)| {
            let seconds = std::time::Duration::from_millis(now.since(at).0).as_secs_f64();
            (left + seconds * rate).min(full)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_ADDRESSES {
            buckets.retain(|_, bucket| filled(*bucket) < full);
        }
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&address) {
            return false;
        }
        let bucket = buckets.entry(address).or_insert((full, now));
        let left = filled(*bucket);
        *bucket = (if left >= 1.0 { left - 1.0 } else { left }, now);
        left >= 1.0
    }
}

/// Whose request it is: the peer's, or where the peer is a proxy of ours, the address that the proxy saw.
fn address_of(peer: IpAddr, headers: &HeaderMap, proxies: &[IpAddr]) -> IpAddr {
    if !proxies.contains(&peer) {
        return peer;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    // The nearest entry is the proxy's own; what stands before it was said by the asker.
    let seen: Vec<IpAddr> = forwarded.filter_map(|address| address.trim().parse().ok()).collect();
    seen.iter().rev().find(|address| !proxies.contains(address)).copied().unwrap_or(peer)
}

/// Refuses what passes the limit.
pub(super) async fn limit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    if let Some(peer) = peer {
        let address = address_of(peer, request.headers(), &app.config.trusted_proxies);
        if !app.buckets.take(address, clock::now()) {
            let detail = "This address asks more than it may. Wait a second and try again.";
            let mut refused = Fault::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", detail).into_response();
            refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            return refused;
        }
        // Those that count by address behind this see the same one.
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address, 0)));
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn bucket__should_give_a_burst_and_then_what_time_fills() {
        let buckets = Buckets::new(2);
        let (one, other) = (ip("10.0.0.1"), ip("10.0.0.2"));
        let taken = (0..30).filter(|_| buckets.take(one, TimestampMs(0))).count();
        assert_eq!(taken, 20);
        assert!(buckets.take(other, TimestampMs(0)), "each address has its own");
        assert!(!buckets.take(one, TimestampMs(400)));
        assert!(buckets.take(one, TimestampMs(500)) && !buckets.take(one, TimestampMs(501)));
        let taken = (0..90).filter(|_| buckets.take(one, TimestampMs(1_000_000))).count();
        assert_eq!(taken, 20, "it fills to the brim and no more");
    }

    #[test]
    fn address__should_be_believed_only_of_our_own_proxies() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("1.1.1.1, 2.2.2.2"));
        headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.9"));
        let proxies = [ip("10.0.0.8"), ip("10.0.0.9")];
        assert_eq!(address_of(ip("3.3.3.3"), &headers, &proxies), ip("3.3.3.3"), "a stranger says what he likes");
        assert_eq!(address_of(ip("10.0.0.8"), &headers, &proxies), ip("2.2.2.2"), "what stands before was said by the asker");
        assert_eq!(address_of(ip("10.0.0.8"), &HeaderMap::new(), &proxies), ip("10.0.0.8"));
    }
}
