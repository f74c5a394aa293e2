//! Certificates that are about to end: those that enabled targets show, and the API's own.
//!
//! Each stage (30, 7 and 1 days, then the end) is logged once when it is reached, and stands in `warnings` of collector
//! and status as long as it lasts. From one day on the certificate is an unhealthy component: whoever reads only
//! health must act now.

use std::{collections::BTreeMap, sync::Arc};

use super::{health::Component, identity::Loaded};
use crate::{
    config::compile::advice,
    control::registry::time_text,
    model::Nanos,
    plan::{Plan, TlsBundle},
};

/// From this stage on, in days, a warning is trouble.
const UNHEALTHY_DAYS: i64 = 1;

/// One certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// `tls-bundle 'b1'`, or `the API`.
    pub what: String,
    /// Whose lines depend on it; empty for the API's own.
    pub targets: Vec<String>,
    pub end: Nanos,
}

/// What is in use, worked out once for each plan, and what was told.
#[derive(Default)]
pub struct Expiry {
    of: Option<(Arc<Plan>, Arc<Loaded>)>,
    in_use: Vec<InUse>,
    told: BTreeMap<String, i64>,
}

impl Expiry {
    /// Takes note of what is in use now and logs each stage reached since the last time. Cheap when nothing changed.
    pub fn update(&mut self, plan: &Arc<Plan>, own: &Arc<Loaded>, now: Nanos) {
        let same = self.of.as_ref().is_some_and(|(seen, pair)| Arc::ptr_eq(seen, plan) && Arc::ptr_eq(pair, own));
        if !same {
            self.in_use = in_use(plan, &own.pem);
            self.of = Some((Arc::clone(plan), Arc::clone(own)));
        }
        for text in self.news(now) {
            tracing::warn!("{text}");
        }
    }

    /// The stages reached since this was last asked. A certificate renewed is forgotten, so that its next end counts.
    fn news(&mut self, now: Nanos) -> Vec<String> {
        let mut news = Vec::new();
        let mut told = BTreeMap::new();
        for certificate in &self.in_use {
            let Some(stage) = advice::days_stage(certificate.end, now) else { continue };
            if self.told.get(&certificate.what).is_none_or(|last| stage < *last) {
                news.push(certificate.words(now));
            }
            told.insert(certificate.what.clone(), stage);
        }
        self.told = told;
        news
    }

    /// The earliest end of a certificate that an enabled target shows.
    pub fn earliest(&self) -> Option<Nanos> {
        self.in_use
            .iter()
            .filter(|certificate| !certificate.targets.is_empty())
            .map(|certificate| certificate.end)
            .min()
    }

    /// All that end soon, in words.
    pub fn warnings(&self, now: Nanos) -> Vec<String> {
        let soon = self.in_use.iter().filter(|certificate| advice::days_stage(certificate.end, now).is_some());
        soon.map(|certificate| certificate.words(now)).collect()
    }

    /// Those of targets that end so soon that it is trouble already.
    pub fn components(&self, now: Nanos) -> Vec<Component> {
        let bad = self.in_use.iter().filter(|certificate| {
            let stage = advice::days_stage(certificate.end, now);
            !certificate.targets.is_empty() && stage.is_some_and(|days| days <= UNHEALTHY_DAYS)
        });
        bad.map(|certificate| Component {
            id: format!("certificate.{}", certificate.what),
            name: certificate.what.clone(),
            message: certificate.words(now),
            since: now,
        })
        .collect()
    }
}

impl InUse {
    /// `the certificate of tls-bundle 'b1' ends in 6 days, on 2026-…; targets 'siem' depend on it`.
    fn words(&self, now: Nanos) -> String {
        let Self { what, targets, end } = self;
        let word = if end.0 < now.0 { "expired" } else { "ends" };
        let mut text =
            format!("the certificate of {what} {word} {}, on {}", advice::distance(*end, now), time_text(*end));
        if !targets.is_empty() {
            text.push_str(&format!("; used by target '{}'", targets.join("', '")));
        }
        text
    }
}

/// The certificates that enabled targets show, and that of the API.
fn in_use(plan: &Plan, api_pem: &str) -> Vec<InUse> {
    let mut bundles: BTreeMap<&str, (&TlsBundle, Vec<String>)> = BTreeMap::new();
    for target in plan.targets.iter().filter(|target| target.enabled) {
        if let Some(bundle) = target.kind.tls() {
            bundles.entry(&bundle.name).or_insert((bundle, Vec::new())).1.push(target.name.clone());
        }
    }
    let mut out: Vec<InUse> = bundles
        .into_values()
        .filter_map(|(bundle, targets)| {
            let end = advice::chain_end(&bundle.cert_pem)?;
            Some(InUse { what: format!("tls-bundle '{}'", bundle.name), targets, end })
        })
        .collect();
    let own = advice::chain_end(api_pem).map(|end| InUse { what: "the API".to_owned(), targets: Vec::new(), end });
    out.extend(own);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000_000;

    fn expiry(end: i64) -> Expiry {
        let in_use = |what: &str, targets: &[&str]| InUse {
            what: what.to_owned(),
            targets: targets.iter().map(|name| (*name).to_owned()).collect(),
            end: Nanos(end),
        };
        Expiry { in_use: vec![in_use("tls-bundle 'b'", &["siem"]), in_use("the API", &[])], ..Expiry::default() }
    }

    #[test]
    fn each_stage_is_told_once_and_the_last_is_trouble() {
        let end = 1_000 * DAY;
        let mut expiry = expiry(end);
        let mut told = Vec::new();
        for hours in (0..24 * 40).rev() {
            let news = expiry.news(Nanos(end - hours * DAY / 24));
            if !news.is_empty() {
                told.push((hours, news.len()));
            }
        }
        assert_eq!(told, [(720, 2), (168, 2), (24, 2)]);
        assert_eq!(expiry.news(Nanos(end + DAY)).len(), 2);
        assert_eq!(expiry.warnings(Nanos(end - 31 * DAY)), Vec::<String>::new());
        assert_eq!(
            expiry.warnings(Nanos(end - 6 * DAY))[0],
            "the certificate of tls-bundle 'b' ends in 6 days, on 1972-09-27T00:00:00Z; used by target 'siem'"
        );
        assert_eq!(expiry.components(Nanos(end - 6 * DAY)), []);
        let bad = expiry.components(Nanos(end - DAY));
        assert_eq!(bad.len(), 1, "the API's own is no matter of delivery");
        assert_eq!(expiry.earliest(), Some(Nanos(end)));
    }

    #[test]
    fn a_renewed_certificate_is_warned_of_anew() {
        let mut soon = expiry(10 * DAY);
        assert_eq!(soon.news(Nanos(5 * DAY)).len(), 2);
        soon.in_use[0].end = Nanos(1_000 * DAY);
        assert_eq!(soon.news(Nanos(5 * DAY)).len(), 0);
        assert_eq!(soon.news(Nanos(999 * DAY)).len(), 2, "both again: the other has ended");
    }
}
