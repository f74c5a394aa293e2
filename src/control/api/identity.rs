//! The API's own certificate and key: read from their files, and read again when those change.
//!
//! New connections show the new certificate at once, old ones end under the one they began with. What does not load is
//! complained of once and the pair in force stays: a renewal gone wrong must not take the API away. Certificate and key
//! are two files that cannot change at one instant, so a change is taken only when both have rested between two looks.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs};

use crate::fault::Fault;

/// What the API proves itself by.
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<Loaded>,
    watch: Mutex<Watch>,
}

/// A pair that is good.
pub struct Loaded {
    pub config: Arc<ServerConfig>,
    /// The chain as it lies in its file.
    pub pem: String,
}

/// What was seen of both files at the last looks.
#[derive(Default)]
struct Watch {
    /// As of the last look.
    last: Stamps,
    /// As of the last load, good or bad.
    tried: Stamps,
    complaint: Option<String>,
}

/// What tells one state of the files from another: inode, size, and both times to the nanosecond.
type Stamps = [Option<(u64, u64, i64, i64, i64, i64)>; 2];

/// What a look at the files found.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    Same,
    /// The new chain in PEM, in force from now on.
    Renewed(String),
    /// In words; the old pair stays.
    Refused(String),
}

impl Identity {
    /// # Errors
    /// A file cannot be read, does not parse, or key and certificate do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Fault> {
        let seen = stamps(certificate, key);
        let loaded = load(certificate, key)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::from_pointee(loaded),
            watch: Mutex::new(Watch { last: seen, tried: seen, complaint: None }),
        })
    }

    /// What a new connection is to use.
    pub fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// What is wrong with the files now, if the pair in force is no longer theirs.
    pub fn complaint(&self) -> Option<String> {
        self.watch().complaint.clone()
    }

    /// Looks at the files; to be called about every `limits::OBJECTS_POLL`.
    pub fn look(&self) -> Look {
        let mut watch = self.watch();
        let seen = stamps(&self.certificate, &self.key);
        let resting = seen == watch.last;
        watch.last = seen;
        if !resting || seen == watch.tried {
            return Look::Same;
        }
        watch.tried = seen;
        match load(&self.certificate, &self.key) {
            Ok(loaded) => {
                let pem = loaded.pem.clone();
                self.current.store(Arc::new(loaded));
                watch.complaint = None;
                Look::Renewed(pem)
            }
            Err(fault) => {
                let text = format!("the API goes on with the certificate it had: {fault}");
                watch.complaint = Some(text.clone());
                Look::Refused(text)
            }
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(|path| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()))
    })
}

fn load(certificate: &Path, key: &Path) -> Result<Loaded, Fault> {
    let place = |path: &Path| path.display().to_string();
    let pem = super::super::keys::read_text(certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| Fault::invalid(place(certificate), "is not a certificate in PEM"))?;
    if chain.is_empty() {
        return Err(Fault::invalid(place(certificate), "has no certificate in it (`-----BEGIN CERTIFICATE-----`)"));
    }
    let key_pem = fs::read(key).map_err(|error| Fault::io(place(key), &error))?;
    let key_der = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|_| Fault::invalid(place(key), "has no private key in it (`-----BEGIN PRIVATE KEY-----`)"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::invalid("TLS", error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|error| {
            Fault::invalid(place(key), format!("does not go with {}: {error}", certificate.display()))
                .way_out("give the key of the first certificate in the file")
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { config: Arc::new(config), pem })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new pair in PEM.
    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["a".into()]).unwrap().self_signed(&key).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    #[test]
    fn a_pair_is_renewed_when_both_files_rest_and_go_together() {
        let place = tempfile::tempdir().unwrap();
        let (cert, key) = (place.path().join("c.pem"), place.path().join("k.pem"));
        let (old, new) = (pair(), pair());
        fs::write(&cert, &old.0).unwrap();
        fs::write(&key, &old.1).unwrap();
        let identity = Identity::load(&cert, &key).unwrap();
        assert_eq!(identity.look(), Look::Same);
        // Half of the change: not looked into while it is fresh, refused once it rests.
        fs::write(&cert, &new.0).unwrap();
        assert_eq!(identity.look(), Look::Same);
        let Look::Refused(text) = identity.look() else { panic!("the old key does not go with the new certificate") };
        assert!(text.contains("k.pem: does not go with"), "{text}");
        assert_eq!((identity.complaint(), identity.current().pem.as_str()), (Some(text), old.0.as_str()));
        assert_eq!(identity.look(), Look::Same, "told once");
        fs::write(&key, &new.1).unwrap();
        assert_eq!(identity.look(), Look::Same);
        assert_eq!(identity.look(), Look::Renewed(new.0.clone()));
        assert_eq!((identity.complaint(), identity.current().pem.as_str()), (None, new.0.as_str()));
        fs::remove_file(&key).unwrap();
        assert_eq!(identity.look(), Look::Same);
        assert!(matches!(identity.look(), Look::Refused(text) if text.contains("no such file")));
        assert_eq!(identity.current().pem, new.0);
    }
}
