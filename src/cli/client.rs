//! The command line's HTTP client: one request, one connection, TLS to a certificate it knows.
//!
//! On the node itself the certificate is pinned by its bytes, which is stronger than any name check and needs no
//! authority; elsewhere the system's roots or a CA file decide.

use std::{io::ErrorKind, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs},
};

use crate::{
    config::compile::address,
    fault::{Fault, Kind},
    limits, target,
};

/// What makes the API's certificate a good one.
#[derive(Clone, Debug)]
pub enum Trust {
    /// It is this one, in PEM.
    Pinned(String),
    /// One of the authorities in this PEM file has signed it.
    File(PathBuf),
    /// One of the system's authorities has.
    System,
}

/// Where the API is and how to speak to it.
pub struct Client {
    way: Way,
    token: Option<String>,
    timeout: Duration,
}

/// How the API is reached.
enum Way {
    Tls {
        host: String,
        port: u16,
        connector: TlsConnector,
    },
    /// The node's own socket: no token, read only.
    Unix(PathBuf),
}

/// An answer that came.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub etag: Option<String>,
    pub body: Value,
}

impl Client {
    /// # Errors
    /// The endpoint is not an `https` URL, or what to trust cannot be read.
    pub fn new(endpoint: &str, trust: &Trust, token: Option<String>) -> Result<Self, Fault> {
        let wrong = |cause: String| Fault::new(Kind::Usage, "--endpoint", cause);
        let Some(authority) = endpoint.strip_prefix("https://") else {
            return Err(wrong(format!("{endpoint:?} is not `https://host:port`")));
        };
        let (host, port) = address::host_port(authority.trim_end_matches('/'), 8443).map_err(wrong)?;
        let connector = TlsConnector::from(Arc::new(tls(trust)?));
        Ok(Self { way: Way::Tls { host, port, connector }, token, timeout: limits::CLIENT_TIMEOUT })
    }

    /// By the unix socket of a node: no token, read only.
    pub fn unix(path: PathBuf) -> Self {
        Self { way: Way::Unix(path), token: None, timeout: limits::CLIENT_TIMEOUT }
    }

    /// The same with another limit for an answer.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends one request and waits for its answer, whatever its status.
    ///
    /// # Errors
    /// The API cannot be reached, or does not answer with JSON.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Reply, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Fault::io("client", &error))?;
        runtime.block_on(async {
            let exchange = self.exchange(method, path, body, if_match);
            tokio::time::timeout(self.timeout, exchange)
                .await
                .unwrap_or_else(|_| Err(self.unavailable(format!("no answer within {} s", self.timeout.as_secs()))))
        })
    }

    /// Sends, and takes only an answer of success; the API's own words become the fault.
    ///
    /// # Errors
    /// As `send`, or what the API says.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Fault> {
        let reply = self.send(method, path, body, None)?;
        if (200..300).contains(&reply.status) {
            return Ok(reply.body);
        }
        Err(refusal(&reply))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Reply, Fault> {
        let request = self.request(method, path, body, if_match)?;
        match &self.way {
            Way::Tls { host, port, connector } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| {
                    self.unavailable(Fault::io("", &error).to_string()).way_out("is `corelane run` running?")
                })?;
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| self.unavailable("its host is no name TLS can check".to_owned()))?;
                let stream = connector.connect(name, stream).await.map_err(|error| {
                    self.unavailable(format!("TLS failed: {error}")).way_out("give its authority by --endpoint-ca")
                })?;
                self.converse(stream, request).await
            }
            Way::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    let way_out = match error.kind() {
                        ErrorKind::PermissionDenied => "be a member of the group corelane, or give a token with -J",
                        _ => "is `corelane run` running?",
                    };
                    self.unavailable(Fault::io("", &error).to_string()).way_out(way_out)
                })?;
                self.converse(stream, request).await
            }
        }
    }

    async fn converse<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<Reply, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let failed = |error: hyper::Error| self.unavailable(format!("the connection broke: {error}"));
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let etag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let collected = Limited::new(response.into_body(), limits::CLIENT_ANSWER_BYTES_MAX).collect().await;
        let bytes = collected.map_err(|_| self.unavailable("its answer broke off".to_owned()))?.to_bytes();
        connection.abort();
        let body = serde_json::from_slice(&bytes)
            .map_err(|_| self.unavailable(format!("its answer ({status}) is not JSON; is this a corelane?")))?;
        if status == 403 && matches!(self.way, Way::Unix(_)) {
            return Err(Fault::new(Kind::Forbidden, "", "the unix socket is read only")
                .way_out("run as root, or give a token with -J or CORELANE_JWT"));
        }
        Ok(Reply { status, etag, body })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.authority())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(tag) = if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        let bytes = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        // The token may be what cannot be a header; the error would not say more.
        request
            .body(Full::new(bytes))
            .map_err(|_| Fault::new(Kind::Usage, "-J", "the token is not one, or the name is"))
    }

    fn authority(&self) -> String {
        match &self.way {
            Way::Tls { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Way::Tls { host, port, .. } => format!("{host}:{port}"),
            Way::Unix(_) => "localhost".to_owned(),
        }
    }

    fn unavailable(&self, cause: String) -> Fault {
        let place = match &self.way {
            Way::Tls { .. } => format!("https://{}", self.authority()),
            Way::Unix(path) => path.display().to_string(),
        };
        Fault::new(Kind::Unavailable, place, cause)
    }
}

/// What the API says against a request.
pub fn refusal(reply: &Reply) -> Fault {
    let message = reply.body.get("message").and_then(Value::as_str).unwrap_or("no reason given");
    let (kind, hint) = match reply.status {
        400 => (Kind::Invalid, None),
        401 => (Kind::Unauthenticated, Some("give a good token with -J or CORELANE_JWT")),
        403 => (Kind::Forbidden, Some("changes need the role system:cluster-admin")),
        404 => (Kind::NotFound, None),
        409 => (Kind::Conflict, None),
        412 => (Kind::Stale, None),
        _ => (Kind::Unavailable, None),
    };
    let fault = Fault::new(kind, "", message);
    match hint {
        Some(hint) => fault.way_out(hint),
        None => fault,
    }
}

/// A name within a path: what is not unreserved is percent-encoded (RFC 3986 §2.3).
pub fn path_segment(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn tls(trust: &Trust) -> Result<ClientConfig, Fault> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::invalid("TLS", error.to_string()))?;
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Pinned(pem) => {
            let pinned = CertificateDer::from_pem_slice(pem.as_bytes())
                .map_err(|_| Fault::invalid("endpoint", "its certificate is not PEM"))?;
            return target::tls::pinned_config(&pinned, "this node's endpoint file");
        }
        Trust::File(path) => {
            let place = || path.display().to_string();
            let pem = std::fs::read(path).map_err(|error| Fault::io(place(), &error))?;
            for item in CertificateDer::pem_slice_iter(&pem) {
                let der = item.map_err(|_| Fault::invalid(place(), "is not a certificate in PEM"))?;
                roots.add(der).map_err(|error| Fault::invalid(place(), error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(Fault::invalid(place(), "has no certificate in it"));
            }
        }
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
