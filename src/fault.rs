//! What went wrong, where, and the way out: the one error type people get to read.
//!
//! Hot paths use small enums of their own; at the edge (a command, an API answer, a complaint) they become a `Fault`,
//! which is told once. A `Fault` never carries a secret.

use std::fmt;

/// The class of a fault; each maps to one exit code and one API answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line or request is not of the form it must have.
    Usage,
    /// A value is refused.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// A thing of that name exists, or is in use.
    Conflict,
    /// The caller is unknown.
    Unauthenticated,
    /// The caller is known and not allowed.
    Forbidden,
    /// The object changed since it was read.
    Stale,
    /// Too much at once.
    Exhausted,
    /// Something outside does not answer now; trying again may help.
    Unavailable,
    /// A file or socket failed.
    Io,
    /// A defect of ours.
    Internal,
}

/// One error: cause, place and way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    kind: Kind,
    place: String,
    cause: String,
    way_out: Option<String>,
}

impl Fault {
    /// `place` is the file, flag, field, address or object; `cause` what is wrong with it.
    pub fn new(kind: Kind, place: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { kind, place: place.into(), cause: cause.into(), way_out: None }
    }

    pub fn invalid(place: impl Into<String>, cause: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, place, cause)
    }

    pub fn io(place: impl Into<String>, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::Io,
        };
        Self::new(kind, place, plain_io(error))
    }

    /// The next step for whoever reads this.
    #[must_use]
    pub fn way_out(mut self, hint: impl Into<String>) -> Self {
        self.way_out = Some(hint.into());
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn cause(&self) -> &str {
        &self.cause
    }

    pub fn hint(&self) -> Option<&str> {
        self.way_out.as_deref()
    }
}

/// An I/O error in words, without the "(os error N)" that helps nobody.
fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    };
    let mut letters = plain.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "failed".to_owned(),
    }
}

impl fmt::Display for Fault {
    /// `place: cause (way out)` on one line; an empty place is left away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.cause)?;
        match &self.way_out {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_place_cause_and_way_out() {
        let fault = Fault::invalid("conf.d/a.yaml", "unknown field `nmae`").way_out("did you mean `name`?");
        assert_eq!(fault.to_string(), "conf.d/a.yaml: unknown field `nmae` (did you mean `name`?)");
    }

    #[test]
    fn io_errors_lose_their_number() {
        let fault = Fault::io("/x", &std::io::Error::from_raw_os_error(2));
        assert_eq!(fault.to_string(), "/x: no such file or directory");
        assert_eq!(fault.kind(), Kind::NotFound);
    }
}
