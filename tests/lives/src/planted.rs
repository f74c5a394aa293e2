//! The list of planted bugs: what stands where, and what takes its place.
//!
//! Exact texts rather than line numbers, so that a bug moves with the code around it; a text that does not stand there
//! exactly once any more is told by a test.

/// The bugs, from the root of the repository, and which lives caught them.
pub const LIST: &str = "tests/lives/planted.txt";
pub const CAUGHT: &str = "tests/lives/caught.txt";

const HEAD: &str = "\
# Which lives catch the bugs of planted.txt: the bug, the first seed of those from 0 on (so many lives and one it took),
# the invariant that was broken, and the next seeds that fail for it. `scripts/planted --record` writes this.
";

/// One bug to plant.
#[derive(Clone, Debug)]
pub struct Planted {
    pub name: String,
    /// Path from the root of the repository.
    pub file: String,
    /// What it breaks, in words.
    pub breaks: String,
    pub old: String,
    pub new: String,
}

impl Planted {
    /// `source` with the bug in it.
    ///
    /// # Errors
    /// The text does not stand there exactly once.
    pub fn plant(&self, source: &str) -> Result<String, String> {
        match source.matches(&self.old).count() {
            1 => Ok(source.replacen(&self.old, &self.new, 1)),
            times => Err(format!("{}: its text stands {times} times in {}, not once", self.name, self.file)),
        }
    }
}

/// A bug and the lives that caught it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caught {
    pub name: String,
    pub seed: u64,
    /// The invariant that was broken.
    pub by: String,
    /// More seeds that catch it.
    pub others: Vec<u64>,
}

/// The names that stand in a record.
pub fn recorded(record: &str) -> impl Iterator<Item = &str> {
    record.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_whitespace().next())
}

/// A record with a new finding instead of the old one of the same bug.
pub fn render(before: &str, new: &Caught) -> String {
    let is_old = |line: &&str| !line.starts_with('#') && line.split_whitespace().next() != Some(&new.name);
    let others: Vec<String> = new.others.iter().map(u64::to_string).collect();
    let line = format!("{:<32} {:>5}  {:<10} {}", new.name, new.seed, new.by, others.join(","));
    let mut lines: Vec<&str> = before.lines().filter(is_old).chain([line.trim_end()]).collect();
    lines.sort();
    format!("{HEAD}{}\n", lines.join("\n"))
}

/// Reads the list.
///
/// # Errors
/// The first thing that is not as it should be, by the name of its bug.
pub fn parse(list: &str) -> Result<Vec<Planted>, String> {
    let mut all: Vec<Planted> = Vec::new();
    for block in list.split("\n=== ").skip(1) {
        let (name, rest) = block.split_once('\n').ok_or("a bug without anything")?;
        let missing = |what: &str| format!("{name}: has no {what}");
        let (head, texts) = rest.split_once("<<<<\n").ok_or_else(|| missing("text"))?;
        let field = |key: &str| {
            let found = head.lines().find_map(|line| line.strip_prefix(key));
            found.map(|value| value.trim().to_owned()).ok_or_else(|| missing(key))
        };
        let (old, new) = texts.split_once("\n====\n").ok_or_else(|| missing("===="))?;
        let (new, _) = new.split_once("\n>>>>").or_else(|| new.split_once(">>>>")).ok_or_else(|| missing(">>>>"))?;
        if all.iter().any(|known| known.name == name) {
            return Err(format!("{name}: stands there twice"));
        }
        all.push(Planted {
            name: name.to_owned(),
            file: field("file:")?,
            breaks: field("breaks:")?,
            old: old.to_owned(),
            new: new.to_owned(),
        });
    }
    Ok(all)
}
