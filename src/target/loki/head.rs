//! The head of a push: whose it is, what it holds, for whom.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};

use crate::{
    fault::Fault,
    plan::{Auth, LokiPlan},
};

const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::{LokiLimits, Secret, TooOld};

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
            too_old: TooOld::default(),
            limits: LokiLimits::default(),
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
}
