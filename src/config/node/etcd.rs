//! Where etcd is and how it is spoken to.

use std::path::PathBuf;

use toml::Value;

use crate::{fault::Fault, limits};

/// Where objects are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreKind {
    /// In the state directory, for one node.
    #[default]
    Embedded,
    /// In etcd, for all nodes of the cluster.
    Etcd,
}

/// The keys `etcd_…` of the node's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdConfig {
    /// Client URLs of its members: `https://host:2379`. One is spoken to; when it fails the next one is.
    pub endpoints: Vec<String>,
    /// PEM of the authorities that sign the members' certificates. Default: the system's.
    pub ca: Option<PathBuf>,
    /// PEM of this client's certificate chain and key; both or neither.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Where etcd asks for a user: its name, and a file that holds the password.
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
}

impl StoreKind {
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "embedded" => Some(Self::Embedded),
            "etcd" => Some(Self::Etcd),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
        }
    }
}

impl EtcdConfig {
    /// Whether these keys can be obeyed with this store.
    pub(super) fn check(&self, store: StoreKind) -> Result<(), Fault> {
        if store == StoreKind::Embedded {
            if *self != Self::default() {
                let text = "are given, but the store is `embedded`";
                return Err(Fault::invalid("etcd_…", text).way_out("set `store = \"etcd\"`"));
            }
            return Ok(());
        }
        if self.endpoints.is_empty() {
            let text = "is missing, and the store is `etcd`";
            return Err(Fault::invalid("etcd_endpoints", text).way_out("list its members: [\"https://host:2379\"]"));
        }
        if self.cert.is_some() != self.key.is_some() {
            let text = "one is given without the other";
            return Err(Fault::invalid("etcd_cert, etcd_key", text).way_out("give both"));
        }
        if self.user.is_some() != self.password_file.is_some() {
            let text = "one is given without the other";
            return Err(Fault::invalid("etcd_user, etcd_password_file", text).way_out("give both"));
        }
        let secure = self.endpoints.iter().filter(|endpoint| endpoint.starts_with("https://")).count();
        if secure != self.endpoints.len() && (secure > 0 || self.ca.is_some() || self.cert.is_some()) {
            let text = "are https and plain ones, or plain ones with certificates";
            return Err(Fault::invalid("etcd_endpoints", text).way_out("give all as https://"));
        }
        Ok(())
    }
}

/// `["https://a:2379", "https://b:2379"]`, or one as a string.
pub(super) fn endpoints(key: &str, value: &Value) -> Result<Vec<String>, String> {
    let texts = match value {
        Value::Array(items) => items.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        _ => value.as_str().map(|one| vec![one]),
    };
    let texts = texts.ok_or_else(|| format!("`{key}` must be a list of strings"))?;
    if !(1..=limits::ETCD_ENDPOINTS_MAX).contains(&texts.len()) {
        return Err(format!("`{key}` must list 1 to {} members", limits::ETCD_ENDPOINTS_MAX));
    }
    texts.into_iter().map(|text| endpoint(key, text)).collect()
}

fn endpoint(key: &str, text: &str) -> Result<String, String> {
    let bad = |what: &str| Err(format!("`{key}` {text:?} {what}; `https://host:2379` is meant"));
    let Ok(uri) = text.parse::<http::Uri>() else { return bad("is not a URL") };
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return bad("does not begin with http:// or https://"),
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return bad("has a user in it: `etcd_user` is where that goes");
    }
    if uri.path() != "/" || uri.query().is_some() {
        return bad("has a path");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;

    fn fault(text: &str) -> String {
        match NodeConfig::parse(text, "f.toml") {
            Err(faults) => faults[0].to_string(),
            Ok(config) => config.check().unwrap_err().to_string(),
        }
    }

    #[test]
    fn a_cluster_is_described() {
        let text = "store = \"etcd\"\netcd_endpoints = [\"https://a:2379/\", \"https://b:2379\"]\n";
        let config = NodeConfig::parse(text, "f.toml").unwrap();
        config.check().unwrap();
        assert_eq!(config.store, StoreKind::Etcd);
        assert_eq!(config.etcd.endpoints, ["https://a:2379", "https://b:2379"]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, expected) in [
            ("store = \"etcd\"", "etcd_endpoints: is missing"),
            ("store = \"zookeeper\"", "f.toml:1: `store` \"zookeeper\" is not one of embedded and etcd"),
            ("etcd_endpoints = [\"http://a:1\"]", "but the store is `embedded`"),
            ("etcd_endpoints = [\"a:2379\"]", "`https://host:2379` is meant"),
            ("etcd_endpoints = [\"http://u:p@a:2379\"]", "has a user in it"),
            ("etcd_endpoints = [\"http://a:2379/v3\"]", "has a path"),
            ("etcd_endpoints = []", "must list 1 to"),
            ("store = \"etcd\"\netcd_endpoints = \"http://a:1\"\netcd_user = \"u\"", "etcd_password_file: one"),
            ("store = \"etcd\"\netcd_endpoints = \"https://a:1\"\netcd_cert = \"/c\"", "etcd_key: one"),
            ("store = \"etcd\"\netcd_endpoints = [\"https://a:1\", \"http://b:1\"]", "give all as https://"),
            ("store = \"etcd\"\netcd_endpoints = \"http://a:1\"\netcd_ca = \"/c\"", "give all as https://"),
        ] {
            let found = fault(text);
            assert!(found.contains(expected), "{text}: {found}");
        }
    }
}
