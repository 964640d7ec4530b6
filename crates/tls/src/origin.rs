//! Which origins may be dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an origin is not dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// No origin.
    #[error("{0:?} is no origin: write one such as https://starling.example")]
    Malformed(String),
    /// Whoever stands between would read and change what is said, sessions and results included.
    #[error("{0} is not on this machine and has no TLS: write https:// (beyond this machine nothing is said in the open)")]
    Open(String),
}

/// An origin without a slash at its end: scheme, host and perhaps port. Plain `http` is for this machine alone.
///
/// # Errors
/// It is none, or it is plain and not of this machine.
pub fn checked_origin(text: &str) -> Result<String, OriginError> {
    let origin = text.trim_end_matches('/');
    let (plain, host) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(host), _) => (true, host),
        (_, Some(host)) => (false, host),
        _ => return Err(OriginError::Malformed(text.to_owned())),
    };
    if host.is_empty() || host.contains(['/', '?', '#', '@', ' ', '\\']) {
        return Err(OriginError::Malformed(text.to_owned()));
    }
    if plain && !is_loopback(host) {
        return Err(OriginError::Open(origin.to_owned()));
    }
    Ok(origin.to_owned())
}

/// Whether a host, perhaps with a port, is this machine whatever a name server says.
fn is_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let address = rest.split(']').next().and_then(|address| address.parse::<Ipv6Addr>().ok());
        return address.is_some_and(|address| IpAddr::V6(address).is_loopback());
    }
    let name = host.split(':').next().unwrap_or_default();
    name == "localhost" || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn origin__should_be_plain_on_this_machine_only() {
        for fine in ["http://127.0.0.1:8080", "http://127.9.9.9", "http://localhost:1", "http://[::1]:8080", "https://starling.example/"] {
            assert_eq!(checked_origin(fine).as_deref(), Ok(fine.trim_end_matches('/')), "{fine}");
        }
        for open in [
            "http://starling.example",
            "http://10.0.0.1:8080",
            "http://127.0.0.1.example",
            "http://localhost.example:80",
            "http://[2001:db8::1]:80",
            "http://2130706433",
            "http://[::ffff:127.0.0.1]:80",
        ] {
            assert_eq!(checked_origin(open), Err(OriginError::Open(open.to_owned())), "{open}");
        }
        for malformed in ["", "starling.example", "ftp://a", "https://", "https://a/b", "https://a@b", "http://127.0.0.1\\@b"] {
            assert!(matches!(checked_origin(malformed), Err(OriginError::Malformed(_))), "{malformed}");
        }
    }
}
