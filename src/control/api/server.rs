//! The API's listener: TLS on a socket of our own, with bounds on connections, handshakes and headers.

use std::{net::TcpListener, path::Path, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::{fault::Fault, limits};

/// A pause after accept fails, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The API's TLS configuration from PEM files.
///
/// # Errors
/// A file cannot be read, does not parse, or key and certificate do not belong together.
pub fn tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Fault> {
    let place = |path: &Path| path.display().to_string();
    let read = |path: &Path| std::fs::read(path).map_err(|error| Fault::io(place(path), &error));
    let pem = read(certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| Fault::invalid(place(certificate), "is not a certificate in PEM"))?;
    if chain.is_empty() {
        return Err(Fault::invalid(place(certificate), "has no certificate in it (`-----BEGIN CERTIFICATE-----`)"));
    }
    let key_der = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| Fault::invalid(place(key), "has no private key in it (`-----BEGIN PRIVATE KEY-----`)"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::invalid("TLS", error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|error| {
            Fault::invalid(place(key), format!("does not go with {}: {error}", certificate.display()))
                .way_out("give the key of the first certificate in the file")
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves until `stop` turns true, then waits a little for requests under way.
///
/// # Errors
/// The socket cannot be given to the runtime.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let acceptor = TlsAcceptor::from(tls);
    let room = Arc::new(Semaphore::new(limits::API_CONNECTIONS_MAX));
    let graceful = Arc::new(GracefulShutdown::new());
    loop {
        // With no room left connections wait in the kernel's backlog.
        let permit = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let watcher = graceful.watcher();
                tokio::spawn(connection(stream, acceptor.clone(), router.clone(), watcher, permit));
            }
            Err(error) => {
                tracing::debug!("the API could not accept: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if let Some(graceful) = Arc::into_inner(graceful) {
        // What is not done by then is cut off with the runtime.
        let _ = tokio::time::timeout(limits::API_DRAIN_DEADLINE, graceful.shutdown()).await;
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
    permit: OwnedSemaphorePermit,
) {
    // A failed handshake or a broken connection is the peer's affair, and too cheap to cause to be logged.
    if let Ok(Ok(stream)) = tokio::time::timeout(limits::API_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::API_REQUEST_TIMEOUT);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(limits::API_REQUEST_TIMEOUT);
        let service = TowerToHyperService::new(router);
        let _ = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()).await;
    }
    drop(permit);
}
