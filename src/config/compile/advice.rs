//! What is not wrong with a TLS bundle and may still get it refused by a peer, in words.
//!
//! A peer's rules are its own: some look for a name only in subjectAltName, some know intermediates we do not have. So
//! these are warnings, shown where the bundle is read, and never stop a plan. Time is an argument.

use std::time::Duration;

use rustls::{
    CertificateError, Error, RootCertStore, crypto::aws_lc_rs::default_provider, server::WebPkiClientVerifier,
};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use crate::{limits, model::Nanos};

const DAY: i64 = 86_400;

/// Everything a person should know about a bundle that parses; empty when there is nothing.
pub fn warnings(ca_pem: &str, cert_pem: &str, now: Nanos) -> Vec<String> {
    let (authorities, chain) = (certificates(ca_pem), certificates(cert_pem));
    let (roots, own) = (parsed(&authorities), parsed(&chain));
    let mut out = Vec::new();
    for (place, root) in roots.iter().enumerate() {
        if !root.is_ca() && root.version().0 == 2 {
            let subject = root.subject();
            out.push(format!("`caPem`: certificate {} ({subject}) is not an authority's (CA:FALSE)", place + 1));
        }
        out.extend(ending("caPem", place, root, now));
    }
    let Some(first) = own.first() else {
        out.push(
            "holds an authority alone: a peer that demands a certificate of ours refuses; give certPem and keyPem \
             for that"
                .to_owned(),
        );
        return out;
    };
    out.extend(unfit(first));
    if let Some(last) = own.last() {
        out.extend(open_end(last, &roots).or_else(|| forged(&authorities, &chain, now)));
    }
    out.extend(own.iter().enumerate().filter_map(|(place, part)| ending("certPem", place, part, now)));
    out
}

/// Why a bundle that is good in itself should not be taken any more: its own certificate has ended.
pub fn expired(cert_pem: &str, now: Nanos) -> Option<String> {
    let chain = certificates(cert_pem);
    let own = parsed(&chain);
    let (first, now) = (own.first()?, now.parts().0);
    let end = first.validity().not_after.timestamp();
    let text = "`certPem`: the certificate expired on";
    (end < now).then(|| format!("{text} {}, and by this node's clock it is {}", time(end), time(now)))
}

/// When the first certificate of a chain to end does so; `None` when there is none to read.
pub fn chain_end(cert_pem: &str) -> Option<Nanos> {
    let chain = certificates(cert_pem);
    parsed(&chain).iter().map(|part| part.validity().not_after.timestamp()).min().map(nanos)
}

/// The smallest of `limits::EXPIRY_WARNING_DAYS` that is reached, 0 when the end is past.
pub fn days_stage(end: Nanos, now: Nanos) -> Option<i64> {
    let left = end.parts().0 - now.parts().0;
    if left < 0 {
        return Some(0);
    }
    limits::EXPIRY_WARNING_DAYS.iter().rev().copied().find(|days| left <= days * DAY)
}

/// `in 6 days`, `in 5 hours`, `2 days ago`.
pub fn distance(end: Nanos, now: Nanos) -> String {
    let left = end.parts().0 - now.parts().0;
    let (count, unit) = match left.abs() {
        seconds if seconds >= 2 * DAY => (seconds / DAY, "days"),
        seconds if seconds >= 2 * 3600 => (seconds / 3600, "hours"),
        seconds => (seconds / 60, "minutes"),
    };
    if left < 0 { format!("{count} {unit} ago") } else { format!("in {count} {unit}") }
}

fn ending(field: &str, place: usize, certificate: &X509Certificate<'_>, now: Nanos) -> Option<String> {
    let (start, end) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let name = format!("`{field}`: certificate {} ({})", place + 1, certificate.subject());
    if start > now.parts().0 {
        return Some(format!("{name} is not valid before {}; is this node's clock right?", time(start)));
    }
    days_stage(nanos(end), now)?;
    let word = if end < now.parts().0 { "expired" } else { "ends" };
    Some(format!("{name} {word} {}, on {}", distance(nanos(end), now), time(end)))
}

/// What a peer may hold against our own certificate whoever issued it.
fn unfit(first: &X509Certificate<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let subject = first.subject();
    if first.is_ca() {
        out.push(format!(
            "`certPem`: the first certificate ({subject}) is an authority's (CA:TRUE); many peers refuse that of a \
             client"
        ));
    }
    let named = first.subject_alternative_name().ok().flatten().is_some_and(|names| {
        let is_name = |name: &GeneralName<'_>| {
            matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_) | GeneralName::URI(_))
        };
        names.value.general_names.iter().any(is_name)
    });
    if !named {
        out.push(format!(
            "`certPem`: the certificate bears its name only as {subject}, without subjectAltName; a peer that checks \
             names by RFC 6125 does not look there"
        ));
    }
    if let Ok(Some(usage)) = first.extended_key_usage()
        && !usage.value.client_auth
        && !usage.value.any
    {
        out.push("`certPem`: the certificate is not made for clients (extendedKeyUsage without clientAuth)".to_owned());
    }
    out
}

/// The chain ends below an authority that is not at hand.
fn open_end(last: &X509Certificate<'_>, roots: &[X509Certificate<'_>]) -> Option<String> {
    let known = last.issuer() == last.subject() || roots.iter().any(|root| root.subject() == last.issuer());
    let issuer = last.issuer();
    (!known).then(|| {
        format!(
            "`certPem`: the chain ends at a certificate issued by {issuer}, which is neither in certPem nor in caPem; \
             unless the peer has it, add the missing intermediate"
        )
    })
}

/// The authority of the right name is at hand and did not sign: what a peer that trusts caPem would say.
fn forged(authorities: &[CertificateDer<'_>], chain: &[CertificateDer<'_>], now: Nanos) -> Option<String> {
    let (first, rest) = chain.split_first()?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().cloned().map(CertificateDer::into_owned));
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), default_provider().into());
    let verifier = builder.build().ok()?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.parts().0).unwrap_or(0)));
    match verifier.verify_client_cert(first, rest, now) {
        Err(Error::InvalidCertificate(CertificateError::BadSignature)) => Some(
            "`certPem` is not signed by the key of the authority of that name in caPem; was a CA made anew under its \
             old name?"
                .to_owned(),
        ),
        _ => None,
    }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

fn parsed<'a>(certificates: &'a [CertificateDer<'_>]) -> Vec<X509Certificate<'a>> {
    certificates.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect()
}

fn nanos(seconds: i64) -> Nanos {
    Nanos(seconds.saturating_mul(1_000_000_000))
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

    use super::*;

    /// 2025-06-01, within the validity of everything made here.
    const NOW: Nanos = Nanos(1_748_736_000_000_000_000);

    fn params(name: &str, names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 1);
        params
    }

    struct Authority {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(params: &CertificateParams, authority: &Authority) -> String {
        params.signed_by(&KeyPair::generate().unwrap(), &authority.issuer).unwrap().pem()
    }

    fn told(ca_pem: &str, cert_pem: &str) -> Vec<String> {
        warnings(ca_pem, cert_pem, NOW)
    }

    fn only(found: Vec<String>, expected: &str) {
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }

    #[test]
    fn each_trouble_is_named_as_such() {
        let (ca, other) = (authority("ca"), authority("other"));
        assert_eq!(told(&ca.pem, &issue(&params("n1", &["n1"]), &ca)), Vec::<String>::new());
        only(told(&ca.pem, ""), "authority alone");
        only(told(&ca.pem, &issue(&params("n1", &[]), &ca)), "only as CN=n1, without subjectAltName");
        only(told(&ca.pem, &issue(&params("n1", &["n1"]), &other)), "issued by CN=other, which is neither");
        let renewed = authority("ca");
        only(told(&renewed.pem, &issue(&params("n1", &["n1"]), &ca)), "made anew under its old name");
        let mut server = params("n1", &["n1"]);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        only(told(&ca.pem, &issue(&server, &ca)), "not made for clients");
        let mut upper = params("n1", &["n1"]);
        upper.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        only(told(&ca.pem, &issue(&upper, &ca)), "(CA:TRUE)");
        let leaf = issue(&params("n1", &["n1"]), &ca);
        let mut plain = params("peer", &["peer"]);
        plain.is_ca = IsCa::ExplicitNoCa;
        let found = told(&format!("{}{}", ca.pem, issue(&plain, &ca)), &leaf);
        only(found, "certificate 2 (CN=peer) is not an authority's");
    }

    #[test]
    fn an_end_is_warned_of_in_three_stages() {
        let ca = authority("ca");
        let leaf = issue(&params("n1", &["n1"]), &ca);
        let end = chain_end(&leaf).unwrap();
        let before = |days: i64| Nanos(end.0 - days * DAY * 1_000_000_000);
        for (days, stage) in [(31, None), (30, Some(30)), (8, Some(30)), (7, Some(7)), (1, Some(1)), (-1, Some(0))] {
            assert_eq!(days_stage(end, before(days)), stage, "{days}");
        }
        assert_eq!(expired(&leaf, before(1)), None);
        assert_eq!(
            expired(&leaf, before(-1)).unwrap(),
            "`certPem`: the certificate expired on 2026-01-01T00:00:00Z, and by this node's clock it is \
             2026-01-02T00:00:00Z"
        );
        assert!(warnings("", &leaf, before(6)).iter().any(|text| text.contains("ends in 6 days, on 2026-01-01T")));
        assert!(warnings("", &leaf, before(-3)).iter().any(|text| text.contains("expired 3 days ago")));
        assert!(warnings("", &leaf, before(400)).iter().any(|text| text.contains("clock right?")));
        assert_eq!(distance(end, Nanos(end.0 - 5 * 3600 * 1_000_000_000)), "in 5 hours");
    }
}
