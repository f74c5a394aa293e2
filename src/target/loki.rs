//! What a Loki push means: the head of the request, and the verdict an answer stands for.
//!
//! The body is one raw snappy block of a protobuf `PushRequest` and is made elsewhere. What Loki says to it is taken
//! from its source (`pkg/loghttp/push`, `pkg/distributor`, `pkg/ingester/stream.go`) and from a running 3.x server. A
//! try that can succeed later is never ended by count; only what Loki will never take is refused, and then counted.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use super::shorten;
use crate::{
    fault::Fault,
    limits::RETRY_AFTER_MAX,
    plan::{Auth, LokiPlan},
};

const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// What an answer means for the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Loki has it all.
    Acked,
    /// Not now. `after` is the least pause the target asked for.
    Retry { reason: String, after: Option<Duration> },
    /// Loki will never take these lines. `entries` is their number where the answer says it, else `None`: anything up
    /// to all of them.
    Refused { entries: Option<u32>, reason: String },
}

/// The head every push of one plan begins with, built once.
#[derive(Clone, Debug)]
pub struct Head {
    path: Uri,
    headers: HeaderMap,
}

impl Head {
    /// # Errors
    /// A path, tenant, credential or header that HTTP cannot carry, by its place in the target's document.
    pub fn new(plan: &LokiPlan) -> Result<Self, Fault> {
        let path = plan.path.parse::<Uri>().map_err(|error| Fault::invalid("url", format!("path: {error}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, value("url", &host(plan))?);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("corelane/", env!("CARGO_PKG_VERSION"))));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        if let Some(tenant) = &plan.tenant {
            headers.insert(TENANT, value("tenant", tenant)?);
        }
        if let Some(auth) = &plan.auth {
            headers.insert(header::AUTHORIZATION, authorization(auth)?);
        }
        for (name, text) in &plan.headers {
            let place = format!("headers.{name}");
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| Fault::invalid(&place, "is not a header name"))?;
            // A header may hold a token: never to be shown by whoever prints a request.
            let mut secret = value(&place, text.reveal())?;
            secret.set_sensitive(true);
            headers.insert(name, secret);
        }
        Ok(Self { path, headers })
    }

    /// The head for one batch: its own tenant wins over the target's.
    ///
    /// # Errors
    /// A tenant that HTTP cannot carry, which no retry will mend.
    pub fn request<B>(&self, tenant: Option<&str>, body: B) -> Result<Request<B>, Fault> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        if let Some(tenant) = tenant {
            request.headers_mut().insert(TENANT, value("tenant", tenant)?);
        }
        Ok(request)
    }
}

/// `host`, and the port where it is not the scheme's own; an IPv6 address in brackets (RFC 9110 §7.2).
fn host(plan: &LokiPlan) -> String {
    let bare = plan.host.trim_start_matches('[').trim_end_matches(']');
    let host = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    let default = if plan.https { 443 } else { 80 };
    if plan.port == default { host } else { format!("{host}:{}", plan.port) }
}

fn authorization(auth: &Auth) -> Result<HeaderValue, Fault> {
    let (place, text) = match auth {
        Auth::Basic { username, password } => {
            ("basicAuth", format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.reveal()))))
        }
        Auth::Bearer(token) => ("bearerToken", format!("Bearer {}", token.reveal())),
    };
    let mut secret = value(place, &text)?;
    secret.set_sensitive(true);
    Ok(secret)
}

fn value(place: &str, text: &str) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(text).map_err(|_| Fault::invalid(place, "holds a character that no HTTP header can carry"))
}

/// What Loki meant. `retry_after` is the header of that name, `body` as much of the answer as was read.
///
/// 260 is a 2xx that dropped the data ("ingestion blocked"): the batch is held. 413 is refused for now; a batch that is
/// split and tried again in halves is a later step.
pub fn judge(status: u16, retry_after: Option<&[u8]>, body: &[u8]) -> Answer {
    let words = shorten(&String::from_utf8_lossy(body));
    match status {
        200 | 204 => Answer::Acked,
        400 | 413 | 422 => Answer::Refused { entries: ignored(body), reason: told(status, &words, "") },
        _ => Answer::Retry {
            reason: told(status, &words, hint(status)),
            after: retry_after.and_then(seconds).map(|after| after.min(RETRY_AFTER_MAX)),
        },
    }
}

/// What whoever reads the status can do about it.
fn hint(status: u16) -> &'static str {
    match status {
        260 => "ingestion is blocked for this tenant; the lines wait here",
        300..=399 => "a redirect is not followed; is the scheme, host and path right?",
        401 => "are the credentials and the tenant right?",
        403 => "is this user allowed to push?",
        404 | 405 => "is the push path right?",
        408 => "the target waited too long for the request",
        429 => "over the tenant's rate; the lines wait here",
        200..=299 => "not an answer a Loki gives; is this the push path of one?",
        _ => "",
    }
}

fn told(status: u16, words: &str, hint: &str) -> String {
    let mut text = format!("HTTP {status}");
    if !words.is_empty() {
        text = format!("{text}: {words}");
    }
    if !hint.is_empty() {
        text = format!("{text} ({hint})");
    }
    text
}

/// Lines refused, from "total ignored: N out of M" (`errorForFailedEntries` in `pkg/ingester/stream.go`). Loki tells of
/// one stream, the last of the push that it judged; older versions join several by newlines, so all are added.
fn ignored(body: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(body);
    let mut sum: Option<u32> = None;
    for tail in text.split("total ignored: ").skip(1) {
        let digits = tail.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
        if !tail[digits.len()..].starts_with(" out of ") {
            continue;
        }
        sum = Some(sum.unwrap_or(0).saturating_add(digits.parse().ok()?));
    }
    sum
}

/// `Retry-After` as seconds (RFC 9110 §10.2.3); its other form, a date, is left to our own pauses.
fn seconds(header: &[u8]) -> Option<Duration> {
    str::from_utf8(header).ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Secret;

    fn plan() -> LokiPlan {
        LokiPlan {
            https: false,
            host: "loki.example.com".to_owned(),
            port: 3100,
            path: "/loki/api/v1/push".to_owned(),
            server_name: "loki.example.com".to_owned(),
            tls: None,
            auth: None,
            tenant: Some("target".to_owned()),
            headers: vec![("X-Extra".to_owned(), Secret::new("1".to_owned()))],
            timeout: Duration::from_secs(30),
        }
    }

    fn header<'a>(request: &'a Request<()>, name: &str) -> Option<&'a str> {
        request.headers().get(name).and_then(|value| value.to_str().ok())
    }

    #[test]
    fn the_head_says_who_what_and_for_whom() -> Result<(), Fault> {
        let mut plan = plan();
        plan.auth = Some(Auth::Basic { username: "u".to_owned(), password: Secret::new("p".to_owned()) });
        let request = Head::new(&plan)?.request(None, ())?;
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "/loki/api/v1/push");
        for (name, expected) in [
            ("host", "loki.example.com:3100"),
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-scope-orgid", "target"),
            ("authorization", "Basic dTpw"),
            ("x-extra", "1"),
            ("user-agent", concat!("corelane/", env!("CARGO_PKG_VERSION"))),
        ] {
            assert_eq!(header(&request, name), Some(expected), "{name}");
        }
        assert!(!format!("{request:?}").contains("dTpw"), "a secret in Debug");
        Ok(())
    }

    #[test]
    fn a_batch_tenant_wins_over_the_targets() -> Result<(), Fault> {
        let request = Head::new(&plan())?.request(Some("batch"), ())?;
        assert_eq!(request.headers().get_all("x-scope-orgid").iter().count(), 1);
        assert_eq!(header(&request, "x-scope-orgid"), Some("batch"));
        assert!(Head::new(&plan())?.request(Some("a\nb"), ()).is_err());
        Ok(())
    }

    #[test]
    fn the_host_header_brackets_ipv6_and_omits_the_default_port() {
        let mut plan = plan();
        for (https, name, port, expected) in [
            (true, "a", 443, "a"),
            (false, "a", 443, "a:443"),
            (false, "::1", 80, "[::1]"),
            (true, "[::1]", 8, "[::1]:8"),
        ] {
            (plan.https, plan.host, plan.port) = (https, name.to_owned(), port);
            assert_eq!(host(&plan), expected);
        }
    }

    #[test]
    fn a_header_http_cannot_carry_is_named_and_not_shown() {
        let mut plan = plan();
        plan.auth = Some(Auth::Bearer(Secret::new("hunter2\n".to_owned())));
        let fault = Head::new(&plan).err().map(|fault| fault.to_string()).unwrap_or_default();
        assert!(fault.starts_with("bearerToken: ") && !fault.contains("hunter2"), "{fault}");
    }

    #[test]
    fn each_answer_has_its_meaning() {
        let retried = |status| matches!(judge(status, None, b""), Answer::Retry { .. });
        assert_eq!(judge(204, None, b""), Answer::Acked);
        assert_eq!(judge(200, None, b""), Answer::Acked);
        for status in [202, 260, 301, 401, 403, 404, 405, 408, 418, 429, 500, 502, 503, 504] {
            assert!(retried(status), "{status}");
        }
        for status in [400, 413, 422] {
            assert!(matches!(judge(status, None, b""), Answer::Refused { entries: None, .. }), "{status}");
        }
        let Answer::Retry { reason, .. } = judge(404, None, b"404 page not found\n") else { panic!("404 is retried") };
        assert_eq!(reason, "HTTP 404: 404 page not found (is the push path right?)");
    }

    #[test]
    fn lokis_own_count_of_ignored_lines_is_read() {
        let body = b"entry with timestamp 2026-02-24 15:46:29 +0000 UTC ignored, reason: 'entry too far behind, entry \
            timestamp is: 2026-02-24T15:46:29Z, oldest acceptable timestamp is: 2026-02-24T16:00:00Z',\nuser 'fake', \
            total ignored: 3 out of 12 for stream: {app=\"a\"}";
        let Answer::Refused { entries, reason } = judge(400, None, body) else { panic!("400 is refused") };
        assert_eq!(entries, Some(3));
        assert!(reason.starts_with("HTTP 400: entry with timestamp 2026-02-24"), "{reason}");
        assert_eq!(ignored(b"total ignored: 2 out of 2\ntotal ignored: 5 out of 9"), Some(7));
        assert_eq!(ignored(b"total ignored: many out of 9"), None);
        assert_eq!(ignored(b"total ignored: 99999999999 out of 9"), None);
        assert_eq!(ignored("total ignored: ü".as_bytes()), None);
    }

    #[test]
    fn retry_after_is_honoured_and_capped() {
        let after = |text: &[u8]| match judge(503, Some(text), b"") {
            Answer::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after(b"7"), Some(Duration::from_secs(7)));
        assert_eq!(after(b"86400"), Some(RETRY_AFTER_MAX));
        assert_eq!(after(b"Fri, 20 Nov 2026 07:28:00 GMT"), None);
        assert_eq!(after(b"-1"), None);
    }
}
