//! Which sources an entry belongs to.
//!
//! Every source has conditions on fields: all must hold, each by any of its values. The *n*-th condition of every
//! source is tested in round *n*, so that one round is one bit per source. A DATA object passes some tests or none,
//! whatever entry it stands in; that is worked out once and named by a small number (`passes`), and an entry then only
//! joins bits.

use crate::{limits::JOURNAL_SOURCES_MAX, model::SourceMask, plan::JournalInput};

/// The conditions of all sources of one reader.
#[derive(Debug)]
pub(super) struct Selectors {
    /// Per round: the sources that have no condition in it.
    given: Vec<SourceMask>,
    fields: Vec<Tested>,
    /// What distinct DATA objects pass; `rounds` masks each. The first passes nothing.
    passes: Vec<SourceMask>,
    /// Some test is on a field that is usually an entry's own.
    tests_own: bool,
}

/// The tests of one field.
#[derive(Debug)]
struct Tested {
    name: Vec<u8>,
    tests: Vec<Test>,
}

#[derive(Debug)]
struct Test {
    pattern: Pattern,
    round: usize,
    source: SourceMask,
}

#[derive(Debug)]
enum Pattern {
    Exact(Vec<u8>),
    /// The value itself, or an instance of it.
    Instance(Vec<u8>),
}

impl Selectors {
    /// `inputs[i]` is bit *i*; those beyond `JOURNAL_SOURCES_MAX` never match (a plan has none).
    pub fn new(inputs: &[JournalInput]) -> Self {
        let mut selectors =
            Self { given: vec![SourceMask::MAX], fields: Vec::new(), passes: Vec::new(), tests_own: false };
        if inputs.len() < JOURNAL_SOURCES_MAX {
            selectors.given[0] = (1 << inputs.len()) - 1;
        }
        for (index, input) in inputs.iter().take(JOURNAL_SOURCES_MAX).enumerate() {
            let source = 1 << index;
            let mut round = 0;
            if let Some(identifier) = &input.identifier {
                selectors.condition(
                    "SYSLOG_IDENTIFIER",
                    vec![Pattern::Instance(identifier.clone().into())],
                    round,
                    source,
                );
                round += 1;
            }
            if let Some(unit) = &input.unit {
                selectors.condition("_SYSTEMD_UNIT", vec![Pattern::Exact(unit.clone().into())], round, source);
                round += 1;
            }
            for (name, values) in &input.matches {
                let patterns = values.iter().map(|value| Pattern::Exact(value.clone().into())).collect();
                selectors.condition(name, patterns, round, source);
                round += 1;
            }
        }
        selectors.passes = vec![0; selectors.given.len()];
        selectors.tests_own = selectors.tests(b"MESSAGE") || selectors.tests(b"_SOURCE_REALTIME_TIMESTAMP");
        selectors
    }

    fn condition(&mut self, name: &str, patterns: Vec<Pattern>, round: usize, source: SourceMask) {
        if self.given.len() <= round {
            self.given.resize(round + 1, SourceMask::MAX);
        }
        self.given[round] &= !source;
        let known = self.fields.iter().position(|field| field.name == name.as_bytes());
        let at = known.unwrap_or_else(|| {
            self.fields.push(Tested { name: name.into(), tests: Vec::new() });
            self.fields.len() - 1
        });
        self.fields[at].tests.extend(patterns.into_iter().map(|pattern| Test { pattern, round, source }));
    }

    /// The name of the *n*-th field that is tested.
    pub fn tested(&self, field: usize) -> Option<&[u8]> {
        self.fields.get(field).map(|field| field.name.as_slice())
    }

    /// The payloads (`FIELD=value`) that tests of the *n*-th field name wholly.
    pub fn sought(&self, field: usize) -> Vec<Vec<u8>> {
        let Some(field) = self.fields.get(field) else { return Vec::new() };
        let values = field.tests.iter().map(|test| match &test.pattern {
            Pattern::Exact(value) | Pattern::Instance(value) => value,
        });
        values.map(|value| [field.name.as_slice(), b"=", value].concat()).collect()
    }

    /// Sources that name a service: one of their conditions is on its identifier or unit.
    pub fn named(&self) -> SourceMask {
        let service = |field: &&Tested| matches!(field.name.as_slice(), b"SYSLOG_IDENTIFIER" | b"_SYSTEMD_UNIT");
        self.fields.iter().filter(service).flat_map(|field| &field.tests).fold(0, |mask, test| mask | test.source)
    }

    /// Whether some test is on the message or the sender's time, which most entries have of their own.
    #[inline]
    pub fn tests_own(&self) -> bool {
        self.tests_own
    }

    #[inline]
    pub fn tests(&self, name: &[u8]) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }

    /// Names what a DATA object passes; 0 is nothing. `whole`: the value was not cut.
    pub fn judge(&mut self, name: &[u8], value: &[u8], whole: bool) -> u32 {
        let Some(field) = self.fields.iter().find(|field| field.name == name) else { return 0 };
        if !whole || !field.tests.iter().any(|test| test.pattern.takes(value)) {
            return 0;
        }
        let rounds = self.given.len();
        let at = self.passes.len();
        self.passes.resize(at + rounds, 0);
        for test in field.tests.iter().filter(|test| test.pattern.takes(value)) {
            self.passes[at + test.round] |= test.source;
        }
        let (known, new) = self.passes.split_at(at);
        if let Some(same) = known.chunks_exact(rounds).position(|pass| pass == new) {
            self.passes.truncate(at);
            return same as u32;
        }
        (at / rounds) as u32
    }

    /// Of DATA objects, each by what it passes and how many entries have it: enough of them that every entry a source
    /// wants has one. `None` when some source has no condition.
    pub fn cover(&self, data: &[(u32, u64)]) -> Option<Vec<bool>> {
        if self.given[0] != 0 {
            return None;
        }
        let rounds = self.given.len();
        let mut sources = self.fields.iter().flat_map(|field| &field.tests).fold(0, |mask, test| mask | test.source);
        let mut taken = vec![false; data.len()];
        while sources != 0 {
            let source = sources & sources.wrapping_neg();
            sources ^= source;
            let passes = |round: usize| {
                move |&(_, (passes, _)): &(usize, &(u32, u64))| {
                    self.passes[*passes as usize * rounds + round] & source != 0
                }
            };
            let entries = |round: usize| {
                let data = data.iter().enumerate().filter(passes(round));
                data.fold(0u64, |sum, (_, (_, entries))| sum.saturating_add(*entries))
            };
            let round =
                (0..rounds).filter(|&round| self.given[round] & source == 0).min_by_key(|&round| entries(round))?;
            data.iter().enumerate().filter(passes(round)).for_each(|(index, _)| taken[index] = true);
        }
        Some(taken)
    }

    /// Begins an entry.
    #[inline]
    pub fn begin(&self, entry: &mut Vec<SourceMask>) {
        entry.clear();
        entry.extend_from_slice(&self.given);
    }

    /// Adds what one of its DATA objects passes.
    #[inline]
    pub fn join(&self, entry: &mut [SourceMask], passes: u32) {
        if passes != 0 {
            let from = passes as usize * self.given.len();
            for (round, pass) in entry.iter_mut().zip(&self.passes[from..]) {
                *round |= pass;
            }
        }
    }

    /// The sources all of whose conditions hold.
    #[inline]
    pub fn verdict(&self, entry: &[SourceMask]) -> SourceMask {
        entry.iter().fold(SourceMask::MAX, |all, round| all & round)
    }
}

impl Pattern {
    /// An instance is the name, then `@` and something, or `-` and digits: `node` does not take `node-manager`.
    fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => wanted == value,
            Self::Instance(name) => match value.strip_prefix(name.as_slice()) {
                Some([]) => true,
                Some([b'@', instance @ ..]) => !instance.is_empty(),
                Some([b'-', number @ ..]) => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::input, *};

    fn mask(selectors: &mut Selectors, entry: &[(&str, &str)]) -> SourceMask {
        let mut rounds = Vec::new();
        selectors.begin(&mut rounds);
        for (name, value) in entry {
            let passes = selectors.judge(name.as_bytes(), value.as_bytes(), true);
            selectors.join(&mut rounds, passes);
        }
        selectors.verdict(&rounds)
    }

    #[test]
    fn and_between_fields_or_within_one() {
        let mut selectors = Selectors::new(&[
            input(None, None, &[]),
            input(Some("a"), Some("u.service"), &[]),
            input(None, None, &[("X", &["1", "2"]), ("Y", &["3"])]),
        ]);
        assert_eq!(mask(&mut selectors, &[]), 0b001);
        assert_eq!(mask(&mut selectors, &[("SYSLOG_IDENTIFIER", "a"), ("X", "2")]), 0b001);
        assert_eq!(mask(&mut selectors, &[("SYSLOG_IDENTIFIER", "a"), ("_SYSTEMD_UNIT", "u.service")]), 0b011);
        assert_eq!(mask(&mut selectors, &[("Y", "3"), ("X", "2")]), 0b101);
        assert_eq!(mask(&mut selectors, &[("Y", "3"), ("X", "3"), ("X", "1")]), 0b101, "any of a repeated field");
    }

    #[test]
    fn instances_are_not_other_services() {
        let mut selectors = Selectors::new(&[input(Some("duroslight"), None, &[])]);
        for (value, taken) in [
            ("duroslight", 1),
            ("duroslight-0", 1),
            ("duroslight-17", 1),
            ("duroslight@1", 1),
            ("duroslight@a-b", 1),
            ("duroslight-", 0),
            ("duroslight@", 0),
            ("duroslight-manager", 0),
            ("duroslight2", 0),
            ("xduroslight", 0),
        ] {
            assert_eq!(mask(&mut selectors, &[("SYSLOG_IDENTIFIER", value)]), taken, "{value}");
        }
    }

    #[test]
    fn no_source_takes_nothing_and_all_fit_the_mask() {
        assert_eq!(mask(&mut Selectors::new(&[]), &[("A", "b")]), 0);
        let many = vec![input(None, None, &[]); JOURNAL_SOURCES_MAX + 3];
        assert_eq!(mask(&mut Selectors::new(&many), &[]), SourceMask::MAX);
    }
}
