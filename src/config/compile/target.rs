//! A target document → `TargetPlan`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::{Findings, address, amount, source, source::is_label_name};
use crate::{
    config::document::{
        Object, TargetDocument, check_name,
        target::{Amount, LimitsDocument},
    },
    limits,
    plan::{
        Auth, ConsolePlan, Framing, LokiLimits, LokiPlan, Output, Pick, Protocol, Route, Secret, SyslogPlan,
        TargetKind, TargetPlan, TlsBundle, TooOld,
    },
};

type Bundles = BTreeMap<String, Arc<TlsBundle>>;

const LOKI_ONLY: &[&str] = &["url", "tenant", "basicAuth", "bearerToken", "headers", "timeout", "tooOld", "limits"];
const SYSLOG_ONLY: &[&str] =
    &["address", "protocol", "framing", "facility", "maxMessageBytes", "sdId", "permittedPeer"];
const NETWORK_ONLY: &[&str] = &["serverName", "tlsBundle"];
/// Headers the protocol itself sets.
const RESERVED_HEADERS: &[&str] = &[
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-scope-orgid",
];
const FACILITY_DEFAULT: u8 = 20;
const SD_ID_DEFAULT: &str = "corelane@32473";
/// RFC 5424 table 1, in rsyslog's words.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

pub fn compile(object: &Object, bundles: &Bundles, findings: &mut Findings<'_>) -> Option<TargetPlan> {
    let fields = object.document.fields();
    // The error of serde is not shown: it may quote a secret.
    let Ok(document) = TargetDocument::deserialize(&Value::Object(fields.clone())) else {
        findings.add("", "cannot be read");
        return None;
    };
    let tls = bundle(&document, bundles, findings);
    let mut foreign = |names: &[&[&str]], kind: &str| {
        for name in names.iter().flat_map(|names| names.iter()).filter(|name| fields.contains_key(**name)) {
            findings.add(name, format!("`{name}` means nothing for a target of type {kind}"));
        }
    };
    let kind = match document.r#type.as_deref() {
        Some("LOKI") => {
            foreign(&[SYSLOG_ONLY], "LOKI");
            loki(&document, tls, findings).map(TargetKind::Loki)
        }
        Some("RSYSLOG") => {
            foreign(&[LOKI_ONLY], "RSYSLOG");
            syslog(&document, tls, findings).map(TargetKind::Syslog)
        }
        Some("CONSOLE") => {
            foreign(&[LOKI_ONLY, SYSLOG_ONLY, NETWORK_ONLY], "CONSOLE");
            Some(TargetKind::Console(ConsolePlan))
        }
        _ => {
            findings.add("type", "`type` is missing; it is LOKI, RSYSLOG or CONSOLE");
            None
        }
    };
    let route = route(document.sources.as_deref(), findings);
    let queue_bytes = size(
        ("queueBytes", document.queue_bytes.as_ref()),
        (limits::QUEUE_BYTES_MIN, limits::QUEUE_BYTES, limits::QUEUE_BYTES_MAX),
        findings,
    );
    Some(TargetPlan {
        id: object.id,
        name: document.name.clone(),
        enabled: document.enabled,
        kind: kind?,
        route,
        min_level: source::level(document.min_level.as_deref()),
        output: if document.output.as_deref() == Some("message") { Output::Message } else { Output::Line },
        queue_bytes,
        max_age: span("maxAge", document.max_age.as_deref(), findings),
    })
}

fn bundle(document: &TargetDocument, bundles: &Bundles, findings: &mut Findings<'_>) -> Option<Arc<TlsBundle>> {
    let name = document.tls_bundle.as_ref()?;
    let found = bundles.get(name).cloned();
    if found.is_none() {
        let hint = crate::config::document::spelling::did_you_mean(name, bundles.keys().map(String::as_str));
        findings.add("tlsBundle", format!("`tlsBundle`: there is no good tls-bundle {name:?}{hint}"));
    }
    found
}

fn loki(document: &TargetDocument, tls: Option<Arc<TlsBundle>>, findings: &mut Findings<'_>) -> Option<LokiPlan> {
    let auth = auth(document, findings);
    let headers = headers(document, findings);
    if let Some(tenant) = &document.tenant {
        source::check_tenant(tenant, findings);
    }
    let timeout = timeout(document.timeout.as_deref(), findings);
    let limits = limits_of(document.limits.as_ref(), findings);
    let server_name = server_name(document, findings);
    let url = match document.url.as_deref() {
        None => Err("is missing; a push URL is `http://host:3100/loki/api/v1/push`".to_owned()),
        Some(text) => address::url(text),
    };
    let url = match url {
        Ok(url) => url,
        Err(text) => {
            findings.add("url", format!("`url` {text}"));
            return None;
        }
    };
    if !url.https {
        for (name, given) in [("tlsBundle", &document.tls_bundle), ("serverName", &document.server_name)] {
            if given.is_some() {
                findings.add(name, format!("`{name}` needs an `https` URL; `url` is plain http"));
            }
        }
    }
    Some(LokiPlan {
        https: url.https,
        server_name: server_name.unwrap_or_else(|| url.host.clone()),
        host: url.host,
        port: url.port,
        path: url.path,
        tls,
        auth,
        tenant: document.tenant.clone(),
        headers,
        timeout,
        too_old: too_old(document.too_old.as_deref()),
        limits,
    })
}

fn auth(document: &TargetDocument, findings: &mut Findings<'_>) -> Option<Auth> {
    match (&document.basic_auth, &document.bearer_token) {
        (None, None) => None,
        (Some(_), Some(_)) => {
            findings.add("bearerToken", "has both `basicAuth` and `bearerToken`; one of them is taken");
            None
        }
        (None, Some(token)) => {
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                findings.add("bearerToken", "`bearerToken` is empty or has a space or control character in it");
            }
            Some(Auth::Bearer(Secret::new(token.clone())))
        }
        (Some(basic), None) => {
            let username = basic.username.clone().unwrap_or_default();
            if username.is_empty() || username.contains(':') || username.contains(char::is_control) {
                findings.add("basicAuth", "`basicAuth.username` is missing, or has a `:` or control character in it");
            }
            let Some(password) = &basic.password else {
                let text = "`basicAuth.password` is missing; it is never shown, so a PUT must bring it along";
                findings.add("basicAuth", text);
                return None;
            };
            Some(Auth::Basic { username, password: Secret::new(password.clone()) })
        }
    }
}

fn headers(document: &TargetDocument, findings: &mut Findings<'_>) -> Vec<(String, Secret)> {
    for (name, value) in &document.headers {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            findings.add("headers", format!("`headers` {name:?} is not a header name"));
        } else if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            let text =
                format!("`headers.{name}` is set by the protocol; `bearerToken`, `basicAuth` and `tenant` exist");
            findings.add("headers", text);
        }
        if http::HeaderValue::from_str(value).is_err() {
            findings.add("headers", format!("`headers.{name}` has a control character in it"));
        }
    }
    document.headers.iter().map(|(name, value)| (name.clone(), Secret::new(value.clone()))).collect()
}

fn timeout(text: Option<&str>, findings: &mut Findings<'_>) -> Duration {
    let Some(text) = text else { return limits::REQUEST_TIMEOUT };
    let (least, most) = (limits::REQUEST_TIMEOUT_MIN, limits::REQUEST_TIMEOUT_MAX);
    match amount::duration(text) {
        Ok(timeout) if (least..=most).contains(&timeout) => timeout,
        Ok(_) => {
            let text = format!("`timeout` {text:?} is outside of {} s to {} s", least.as_secs(), most.as_secs());
            findings.add("timeout", text);
            limits::REQUEST_TIMEOUT
        }
        Err(text) => {
            findings.add("timeout", format!("`timeout`: {text}"));
            limits::REQUEST_TIMEOUT
        }
    }
}

fn too_old(word: Option<&str>) -> TooOld {
    match word {
        Some("drop") => TooOld::Drop,
        Some("restamp") => TooOld::Restamp,
        _ => TooOld::Quarantine,
    }
}

fn limits_of(document: Option<&LimitsDocument>, findings: &mut Findings<'_>) -> LokiLimits {
    let mut limits = LokiLimits::default();
    let Some(document) = document else { return limits };
    if let Some(oldest) = span("limits.oldest", document.oldest.as_deref(), findings) {
        limits.oldest = oldest;
    }
    if let Some(ahead) = span("limits.ahead", document.ahead.as_deref(), findings) {
        limits.ahead = ahead;
    }
    if let Some(Amount::Number(streams)) = document.streams {
        limits.streams = usize::try_from(streams).unwrap_or(usize::MAX);
    } else if document.streams.is_some() {
        findings.add("limits", "`limits.streams` must be a whole number");
    }
    let mut rate = |name: &str, written: Option<&Amount>, default: u64| {
        let bounds = (limits::LOKI_RATE_BYTES_MIN, default as usize, usize::MAX / 2);
        size((name, written), bounds, findings) as u64
    };
    limits.stream_rate = rate("limits.streamRate", document.stream_rate.as_ref(), limits.stream_rate);
    limits.stream_burst = rate("limits.streamBurst", document.stream_burst.as_ref(), limits.stream_burst);
    limits
}

/// A duration that is not nothing.
fn span(name: &str, written: Option<&str>, findings: &mut Findings<'_>) -> Option<Duration> {
    let field = name.split('.').next().unwrap_or(name);
    match amount::duration(written?) {
        Ok(span) if !span.is_zero() => return Some(span),
        Ok(_) => findings.add(field, format!("`{name}` is 0: nothing would ever be sent")),
        Err(text) => findings.add(field, format!("`{name}`: {text}")),
    }
    None
}

fn server_name(document: &TargetDocument, findings: &mut Findings<'_>) -> Option<String> {
    let name = document.server_name.clone()?;
    if let Err(text) = address::check_host(&name) {
        findings.add("serverName", format!("`serverName` {text}"));
    }
    Some(name)
}

fn syslog(document: &TargetDocument, tls: Option<Arc<TlsBundle>>, findings: &mut Findings<'_>) -> Option<SyslogPlan> {
    let protocol = match document.protocol.as_deref() {
        Some("tls") => Protocol::Tls,
        Some("relp") => Protocol::Relp,
        Some("relp-tls") => Protocol::RelpTls,
        Some(_) => Protocol::Tcp,
        None if document.tls_bundle.is_some() => Protocol::Tls,
        None => Protocol::Tcp,
    };
    if !protocol.is_tls() {
        let given = [
            ("tlsBundle", document.tls_bundle.is_some()),
            ("permittedPeer", document.permitted_peer.is_some()),
            ("serverName", document.server_name.is_some()),
        ];
        let needed = if protocol.is_relp() { "relp-tls" } else { "tls" };
        for (name, _) in given.iter().filter(|(_, given)| *given) {
            findings.add(name, format!("`{name}` needs `protocol` {needed}"));
        }
    }
    if protocol.is_relp() && document.framing.is_some() {
        findings.add("framing", "`framing` means nothing with RELP, which has its own");
    }
    let facility = facility(document.facility.as_ref(), findings);
    let sd_id = sd_id(document.sd_id.as_deref(), findings);
    let permitted_peer = document.permitted_peer.as_deref().and_then(|text| fingerprint(text, findings));
    let server_name = server_name(document, findings);
    let max_message_bytes = size(
        ("maxMessageBytes", document.max_message_bytes.as_ref()),
        (limits::SYSLOG_MESSAGE_BYTES_MIN, limits::SYSLOG_MESSAGE_BYTES, limits::SYSLOG_MESSAGE_BYTES_MAX),
        findings,
    );
    let (host, port) = match syslog_address(document.address.as_deref(), protocol) {
        Ok(address) => address,
        Err(text) => {
            findings.add("address", format!("`address` {text}"));
            return None;
        }
    };
    Some(SyslogPlan {
        server_name: server_name.unwrap_or_else(|| host.clone()),
        host,
        port,
        protocol,
        framing: match document.framing.as_deref() {
            Some("newline") if !protocol.is_relp() => Framing::Newline,
            _ => Framing::OctetCounted,
        },
        facility,
        max_message_bytes,
        sd_id,
        tls,
        permitted_peer,
    })
}

fn syslog_address(written: Option<&str>, protocol: Protocol) -> Result<(String, u16), String> {
    let text = written.ok_or("is missing; it is `host:port`")?;
    let (host, port) = address::host_and_port(text)?;
    let port = match (port, protocol) {
        (Some(port), _) => port,
        (None, Protocol::Tcp) => 514,
        (None, Protocol::Tls) => 6514,
        (None, Protocol::Relp | Protocol::RelpTls) => {
            return Err(format!("{text:?} has no port, and RELP has none of its own; the receiver's belongs there"));
        }
    };
    Ok((host, port))
}

fn facility(written: Option<&Amount>, findings: &mut Findings<'_>) -> u8 {
    let found = match written {
        None => return FACILITY_DEFAULT,
        Some(Amount::Number(number)) => u8::try_from(*number).ok().filter(|number| *number < 24),
        Some(Amount::Text(name)) => {
            let name = name.to_ascii_lowercase();
            FACILITIES.iter().position(|known| *known == name).and_then(|index| u8::try_from(index).ok())
        }
    };
    found.unwrap_or_else(|| {
        findings.add("facility", "`facility` is not known; `kern` to `local7` or 0 to 23 are");
        FACILITY_DEFAULT
    })
}

/// A private SD-ID is `name@number`, at most 32 characters (RFC 5424 §6.3.2).
fn sd_id(written: Option<&str>, findings: &mut Findings<'_>) -> String {
    let text = written.unwrap_or(SD_ID_DEFAULT);
    let good = text.len() <= 32
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"=]\"".contains(&byte))
        && text.split_once('@').is_some_and(|(name, number)| {
            !name.is_empty() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        });
    if !good {
        findings
            .add("sdId", format!("`sdId` {text:?} is not `name@number` of at most 32 characters (RFC 5424 §6.3.2)"));
    }
    text.to_owned()
}

/// SHA-256 in hex, with or without colons and a `SHA256:` in front (as rsyslog writes it).
fn fingerprint(text: &str, findings: &mut Findings<'_>) -> Option<[u8; 32]> {
    let upper = text.to_ascii_uppercase();
    let hex: String = upper.strip_prefix("SHA256:").unwrap_or(&upper).chars().filter(|letter| *letter != ':').collect();
    let mut hash = [0; 32];
    let good = hex.len() == 64
        && hash.iter_mut().zip(hex.as_bytes().chunks(2)).all(|(byte, pair)| {
            let parsed = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            parsed.map(|parsed| *byte = parsed).is_some()
        });
    if !good {
        findings.add("permittedPeer", "`permittedPeer` is not a SHA-256 fingerprint (64 hex digits, colons allowed)");
    }
    good.then_some(hash)
}

/// Names of sources, and labels as `name=value`: a name has no `=` in it.
fn route(written: Option<&[String]>, findings: &mut Findings<'_>) -> Route {
    let Some(written) = written else { return Route::All };
    if written.is_empty() {
        findings.add("sources", "`sources` is empty: no line would ever go there; leave it out for all sources");
    }
    let mut picks = Vec::new();
    for text in written {
        match text.split_once('=') {
            None if check_name(text).is_ok() => picks.push(Pick::Named(text.clone())),
            Some((name, value)) if is_label_name(name) && !value.is_empty() && !value.starts_with(['~', '"']) => {
                picks.push(Pick::Labelled(name.to_owned(), value.to_owned()));
            }
            _ => {
                let text = format!("`sources` {text:?} is neither the name of a source nor a label like team=audit");
                findings.add("sources", text);
            }
        }
    }
    Route::Only(picks)
}

/// A size within bounds `(least, default, most)`.
fn size(
    (name, written): (&str, Option<&Amount>),
    (least, default, most): (usize, usize, usize),
    findings: &mut Findings<'_>,
) -> usize {
    let Some(written) = written else { return default };
    match amount::bytes(written) {
        Ok(bytes) if (least..=most).contains(&bytes) => bytes,
        Ok(bytes) => {
            let text = |bytes| amount::bytes_text(bytes);
            findings.add(name, format!("`{name}` {} is outside of {} to {}", text(bytes), text(least), text(most)));
            default
        }
        Err(text) => {
            findings.add(name, format!("`{name}`: {text}"));
            default
        }
    }
}
