//! Finding the API: by flags where they are given, else what the node says of itself.
//!
//! A running node leaves `endpoint.json` in its state directory and in `/run/corelane`: address, certificate, token
//! file. Only who may read these (root, as a rule) needs no flags. Others of the group `corelane` come by the node's
//! unix socket, which is read only; who gave a token means to use it.

use std::path::{Path, PathBuf};

use super::{
    client::{Client, Trust},
    grammar::Access,
};
use crate::{
    config::node::STATE_DIR,
    control::keys::{self, Endpoint, RUNTIME_DIR},
    fault::{Fault, Kind},
};

/// A client for the API that was asked for.
///
/// # Errors
/// There is none to be found, or no token for it.
pub fn client(access: &Access) -> Result<Client, Fault> {
    let local = local_endpoint(access);
    let given = token(access)?;
    match (&access.endpoint, local) {
        (None, Ok(local)) => {
            let token = match given {
                Some(token) => Ok(token),
                None => keys::read_text(&local.token_file)
                    .map_err(|fault| fault.way_out("run as root, or give a token with -J or CORELANE_JWT")),
            };
            match (token, socket(access)) {
                (Err(_), Some(socket)) => Ok(Client::unix(socket)),
                (token, _) => Client::new(&local.endpoint, &Trust::Pinned(local.certificate_pem), Some(token?)),
            }
        }
        (None, Err(fault)) => match socket(access).filter(|_| given.is_none()) {
            Some(socket) => Ok(Client::unix(socket)),
            None => Err(fault),
        },
        (Some(endpoint), local) => {
            let own = local.ok().filter(|local| same_endpoint(&local.endpoint, endpoint));
            let trust = match (&access.endpoint_ca, &own) {
                (Some(file), _) => Trust::File(file.clone()),
                (None, Some(local)) => Trust::Pinned(local.certificate_pem.clone()),
                (None, None) => Trust::System,
            };
            let token = given.or_else(|| own.and_then(|local| keys::read_text(&local.token_file).ok()));
            if token.is_none() {
                return Err(Fault::new(Kind::Usage, "-J", "no token").way_out("give one with -J or CORELANE_JWT"));
            }
            Client::new(endpoint, &trust, token)
        }
    }
}

/// The node's unix socket, if there is one.
fn socket(access: &Access) -> Option<PathBuf> {
    keys::socket_candidates(access.state_dir.as_deref()).into_iter().find(|path| path.exists())
}

fn same_endpoint(own: &str, given: &str) -> bool {
    own == given.trim_end_matches('/')
}

fn local_endpoint(access: &Access) -> Result<Endpoint, Fault> {
    const WAY_OUT: &str = "is `corelane run` running? else give --endpoint and -J, or --state-dir";
    if let Some(directory) = &access.state_dir {
        return Endpoint::read(directory).map_err(|fault| fault.way_out(WAY_OUT));
    }
    Endpoint::read(Path::new(RUNTIME_DIR))
        .or_else(|_| Endpoint::read(Path::new(STATE_DIR)))
        .map_err(|fault| fault.way_out(WAY_OUT))
}

/// The token given by flag or environment. The one place that sees it as it was typed.
fn token(access: &Access) -> Result<Option<String>, Fault> {
    let Some(typed) = &access.jwt else { return Ok(None) };
    let token = match typed.strip_prefix('@') {
        Some(path) => keys::read_text(Path::new(path))?,
        None => typed.clone(),
    };
    let token = token.trim().to_owned();
    if token.is_empty() {
        return Err(Fault::new(Kind::Usage, "-J", "the token is empty"));
    }
    Ok(Some(token))
}
