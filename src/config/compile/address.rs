//! Where a target lives: push URLs and `host:port`, names and both kinds of IP address.

use std::net::{IpAddr, Ipv6Addr};

/// The parts of an `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub https: bool,
    /// A name or an address; IPv6 without its brackets.
    pub host: String,
    pub port: u16,
    /// Path and query as written, never empty.
    pub path: String,
}

/// Takes a push URL apart (RFC 3986). User and password in it are refused: they have fields of their own.
pub fn url(text: &str) -> Result<Url, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("{text:?} is not a URL; it starts with `http://` or `https://`"));
    };
    let https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(format!("{text:?} has the scheme {scheme:?}; http and https are taken")),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("has a user in it; that goes into `basicAuth`, where it is kept secret".to_owned());
    }
    if path.contains('#') {
        return Err(format!("{text:?} has a fragment (`#…`), which is never sent"));
    }
    if path.is_empty() || path == "/" {
        return Err(format!("{text:?} has no path; the push path of Loki is `/loki/api/v1/push`"));
    }
    if !path.starts_with('/') {
        return Err(format!("{text:?} has no path before its query"));
    }
    if path.parse::<http::uri::PathAndQuery>().is_err() || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{text:?} has something in its path that no URL may have"));
    }
    let (host, port) = host_port(authority, if https { 443 } else { 80 })?;
    Ok(Url { https, host, port, path: path.to_owned() })
}

/// Takes `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address apart.
pub fn host_port(text: &str, default_port: u16) -> Result<(String, u16), String> {
    host_and_port(text).map(|(host, port)| (host, port.unwrap_or(default_port)))
}

/// As `host_port`, for what has no port of its own.
pub fn host_and_port(text: &str) -> Result<(String, Option<u16>), String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), None));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((inner, after)) = rest.split_once(']') else {
                return Err(format!("{text:?} has a `[` without its `]`"));
            };
            if inner.parse::<Ipv6Addr>().is_err() {
                return Err(format!("{inner:?} in brackets is not an IPv6 address"));
            }
            match after.strip_prefix(':') {
                Some(port) => (inner, Some(port)),
                None if after.is_empty() => (inner, None),
                None => return Err(format!("{text:?} has {after:?} after its `]`; a `:` and a port belong there")),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    check_host(host)?;
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 && !port.starts_with('+') => Some(number),
            _ => return Err(format!("{port:?} is not a port; 1 to 65535 are")),
        },
    };
    Ok((host.to_owned(), port))
}

/// A host name by RFC 1123 (underscores are let through, since private DNS has them), or an address.
pub fn check_host(host: &str) -> Result<(), String> {
    if host.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if host.is_empty() {
        return Err("has no host".to_owned());
    }
    let named = host.strip_suffix('.').unwrap_or(host);
    let good = named.len() <= 253
        && named.split('.').all(|part| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !part.starts_with('-')
                && !part.ends_with('-')
        });
    if good { Ok(()) } else { Err(format!("{host:?} is neither a host name nor an address")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("siem.example.com:6514", "siem.example.com", 6514),
            ("siem", "siem", 514),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[fd00::1]:6514", "fd00::1", 6514),
            ("[::1]", "::1", 514),
            ("fd00::1", "fd00::1", 514),
        ] {
            assert_eq!(host_port(text, 514), Ok((host.to_owned(), port)), "{text}");
        }
        for text in ["", ":514", "a:b", "a:0", "a:65536", "a:+5", "[::1", "[::1]x", "[a]:1", "a b", "-a", "a..b", "x/y"]
        {
            assert!(host_port(text, 514).is_err(), "{text}");
        }
    }

    #[test]
    fn push_urls() {
        let url_of = |https, host: &str, port, path: &str| Url { https, host: host.into(), port, path: path.into() };
        assert_eq!(url("http://loki:3100/loki/api/v1/push"), Ok(url_of(false, "loki", 3100, "/loki/api/v1/push")));
        assert_eq!(url("HTTPS://[::1]/p?x=1"), Ok(url_of(true, "::1", 443, "/p?x=1")));
        for (text, part) in [
            ("loki:3100/push", "is not a URL"),
            ("ftp://a/b", "scheme"),
            ("http://u:p@a/b", "basicAuth"),
            ("http://a", "no path"),
            ("http://a/", "no path"),
            ("http://a/b#c", "fragment"),
            ("http:///b", "no host"),
            ("http://a/b c", "path"),
        ] {
            let refused = url(text).unwrap_err();
            assert!(refused.contains(part), "{text}: {refused}");
            assert!(!refused.contains("u:p"), "a password in a complaint");
        }
    }
}
