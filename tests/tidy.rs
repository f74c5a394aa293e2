//! Keeps the source tidy: layers, file and line length, module docs, fences around `unsafe`, banned words.
//!
//! Style that only reviewers keep is lost within weeks. This reads the source as text (comments and strings blanked,
//! test code known), tells every offence at once with its place, and is itself tested with planted offences.

use std::{collections::BTreeSet, fs, path::Path};

/// Modules by layer: a module uses only modules of a lower rank.
const RANKS: [(&str, u8); 20] = [
    ("limits", 0),
    ("fault", 0),
    ("model", 1),
    ("wire", 1),
    ("ring", 1),
    ("os", 1),
    ("plan", 2),
    ("stats", 2),
    ("orders", 3),
    ("source", 4),
    ("decode", 4),
    ("batch", 4),
    ("target", 4),
    ("config", 4),
    ("lane", 5),
    ("egress", 5),
    ("control", 5),
    ("appliance", 6),
    ("cli", 7),
    ("main", 8),
];
/// Modules of one rank do not know each other, but for these: (user, used).
const NEIGHBOURS: [(&str, &str); 3] = [("ring", "model"), ("ring", "os"), ("wire", "model")];
/// Where `unsafe` may stand.
const FENCES: [&str; 2] = ["src/ring/", "src/os/"];
const FILE_LINES_MAX: usize = 500;
const LINE_CHARS_MAX: usize = 120;
const FOLDERS: [&str; 4] = ["src", "tests", "perf/src", "perf/tests"];

#[test]
fn the_source_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(root, &root.join(folder), "rs", &mut files);
    }
    assert!(files.len() > 10, "only {} files found below {}", files.len(), root.display());
    let mut documents = Vec::new();
    collect(root, &root.join("docs"), "md", &mut documents);
    let mut offences = offences(&files);
    offences.extend(unknown_limits(&files, &documents));
    assert!(offences.is_empty(), "{} offences:\n{}", offences.len(), offences.join("\n"));
}

/// One file: its path from the root, and its text.
struct File {
    path: String,
    text: String,
}

fn collect(root: &Path, folder: &Path, extension: &str, files: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(root, &path, extension, files);
        } else if path.extension().is_some_and(|found| found == extension) {
            let shown = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push(File { path: shown, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

fn offences(files: &[File]) -> Vec<String> {
    let tests: BTreeSet<String> = files.iter().flat_map(declared_tests).collect();
    files.iter().flat_map(|file| file_offences(file, &tests)).collect()
}

fn file_offences(file: &File, declared: &BTreeSet<String>) -> Vec<String> {
    let File { path, text } = file;
    let code = blank(text);
    let test_file = is_test(path, declared);
    let test_lines = test_lines(&code);
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("{path}:1: does not open with a module doc (//!)"));
    }
    let length = text.lines().count();
    if length > FILE_LINES_MAX {
        found.push(format!("{path}: {length} lines, at most {FILE_LINES_MAX}: split it by idea"));
    }
    for (index, (raw, line)) in text.lines().zip(code.lines()).enumerate() {
        let mut tell = |what: &str| found.push(format!("{path}:{}: {what}", index + 1));
        if raw.chars().count() > LINE_CHARS_MAX {
            tell("more than 120 characters");
        }
        for word in ["todo!", "unimplemented!", "dbg!", "#[ignore", "fn get_"] {
            // `get_mut` is what the standard library calls it.
            if line.replace("fn get_mut(", "").contains(word) {
                tell(&format!("`{word}` has no place here"));
            }
        }
        for name in type_names(line) {
            if ["Manager", "Helper", "Util", "Utils"].iter().any(|banned| name.ends_with(banned)) {
                tell(&format!("`{name}` says nothing: name it after what it is"));
            }
        }
        let in_test = test_file || test_lines.contains(&index);
        if !in_test && (line.contains(".unwrap()") || line.contains(".expect(")) {
            tell("unwrap or expect outside a test");
        }
        if has_word(line, "unsafe") {
            if !FENCES.iter().any(|fence| path.starts_with(fence)) {
                tell("unsafe outside src/ring and src/os");
            } else if !is_declaration(line) && !has_safety(text, &code, index) {
                tell("unsafe without a `// SAFETY:` comment above it");
            }
        }
    }
    if !test_file {
        found.extend(layer_offences(path, &code, &test_lines));
    }
    if path.starts_with("src/limits/") {
        found.extend(undocumented(path, text));
    }
    found
}

// ---- layers ----------------------------------------------------------------------------------------------------

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == module).map(|(_, rank)| *rank)
}

fn layer_offences(path: &str, code: &str, test_lines: &BTreeSet<usize>) -> Vec<String> {
    let Some(inner) = path.strip_prefix("src/") else { return Vec::new() };
    let module = inner.split(['/', '.']).next().unwrap();
    if module == "lib" {
        return Vec::new();
    }
    let Some(own) = rank(module) else {
        return vec![format!("{path}: module `{module}` stands in no layer: add it to tests/tidy.rs")];
    };
    let depth = inner.trim_end_matches("/mod.rs").split('/').count();
    let mut found = Vec::new();
    for (line, used) in uses(code, depth) {
        if test_lines.contains(&line) || used == module {
            continue;
        }
        // What is no module is a macro or a name exported by the crate root.
        let Some(other) = rank(&used) else { continue };
        if other >= own && !NEIGHBOURS.contains(&(module, used.as_str())) {
            let place = format!("{path}:{}", line + 1);
            found.push(format!("{place}: `{module}` (layer {own}) must not know `{used}` (layer {other})"));
        }
    }
    found
}

/// The first-level modules a file names, with the line: `crate::x`, `corelane::x`, `crate::{x, y::z}` and `super::…`.
fn uses(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let up = "super::".repeat(depth);
    for root in ["crate::", "corelane::", up.as_str()] {
        for (at, _) in code.match_indices(root) {
            let before = &code[..at];
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = before.matches('\n').count();
            let rest = code[at + root.len()..].trim_start();
            match rest.strip_prefix('{') {
                None => found.push((line, identifier(rest))),
                Some(group) => found.extend(heads(group).into_iter().map(|head| (line, head))),
            }
        }
    }
    found
}

/// The first names of a braced group, up to its closing brace.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut fresh, mut heads) = (0_i32, true, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            letter if fresh && !letter.is_whitespace() => {
                heads.push(identifier(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

// ---- what is a test ----------------------------------------------------------------------------------------------

fn is_test(path: &str, declared: &BTreeSet<String>) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
        || declared.iter().any(|stem| path == format!("{stem}.rs") || path.starts_with(&format!("{stem}/")))
}

/// Files that a `#[cfg(test)] mod name;` declares, as path stems.
fn declared_tests(file: &File) -> Vec<String> {
    let code = blank(&file.text);
    let folder = match file.path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder.to_owned(),
        _ => file.path.trim_end_matches(".rs").to_owned(),
    };
    let after = code.split("#[cfg(test)]").skip(1);
    after.filter_map(|rest| rest.split_once(';')).filter_map(|(item, _)| item.trim().rsplit_once("mod ")).fold(
        Vec::new(),
        |mut stems, (_, name)| {
            if name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                stems.push(format!("{folder}/{name}"));
            }
            stems
        },
    )
}

/// The lines of items under `#[cfg(test)]`.
fn test_lines(code: &str) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    for (at, _) in code.match_indices("#[cfg(test)]").chain(code.match_indices("#[cfg(all(test")) {
        let first = code[..at].matches('\n').count();
        let mut depth = 0;
        for (end, letter) in code[at..].char_indices() {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            if depth == 0 && (letter == '}' || letter == ';') {
                let last = first + code[at..at + end].matches('\n').count();
                lines.extend(first..=last);
                break;
            }
        }
    }
    lines
}

// ---- lines -------------------------------------------------------------------------------------------------------

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|found| found == word)
}

fn type_names(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let declares = |word: &str| ["struct", "enum", "trait", "type", "union"].contains(&word);
    words.windows(2).filter(|pair| declares(pair[0])).map(|pair| pair[1].to_owned()).collect()
}

/// `unsafe fn` and `unsafe extern` promise nothing themselves; their callers and blocks do.
fn is_declaration(line: &str) -> bool {
    let after = line.split("unsafe").nth(1).unwrap_or_default().trim_start();
    after.starts_with("fn ") || after.starts_with("extern") || line.contains("unsafe_op_in_unsafe_fn")
}

/// Whether a `SAFETY:` comment stands on the line or above it, within the same statement.
fn has_safety(text: &str, code: &str, index: usize) -> bool {
    let (raw, code): (Vec<&str>, Vec<&str>) = (text.lines().collect(), code.lines().collect());
    if raw[index].contains("// SAFETY:") {
        return true;
    }
    for above in (0..index).rev() {
        if raw[above].contains("// SAFETY:") {
            return true;
        }
        if raw[above].trim().is_empty() || code[above].trim_end().ends_with([';', '{', '}', ',']) {
            return false;
        }
    }
    false
}

/// Constants without a doc comment; the second of a pair (`…_MIN`, `…_MAX`) may share the first one's.
fn undocumented(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("pub const ")) {
        let above = |steps: usize| index.checked_sub(steps).map_or("", |at| lines[at]);
        let shared = above(1).starts_with("pub const ") && above(2).starts_with("///");
        if !above(1).starts_with("///") && !shared {
            found.push(format!("{path}:{}: a limit without its doc and unit: {line}", index + 1));
        }
    }
    found
}

/// Limits that a document names as `limits::NAME` and that do not exist.
fn unknown_limits(files: &[File], documents: &[File]) -> Vec<String> {
    let limits = files.iter().filter(|file| file.path.starts_with("src/limits/"));
    let limits: String = limits.map(|file| file.text.as_str()).collect();
    let mut found = Vec::new();
    for File { path, text } in documents {
        for name in text.split("limits::").skip(1).map(identifier) {
            if !limits.contains(&format!("pub const {name}:")) {
                found.push(format!("{path}: names limits::{name}, which does not exist"));
            }
        }
    }
    found
}

// ---- blanking ----------------------------------------------------------------------------------------------------

/// The text with comments, strings and characters as spaces; lines stay where they are.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let in_word = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = match letter {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !in_word => raw_string(rest).unwrap_or(0),
            '\'' => character(rest).unwrap_or(0),
            _ => 0,
        };
        if length == 0 {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"].into_iter().find(|prefix| text.starts_with(prefix))?;
    let hashes = text[prefix.len()..].chars().take_while(|c| *c == '#').count();
    let open = prefix.len() + hashes;
    text[open..].starts_with('"').then(|| {
        let close = format!("\"{}", "#".repeat(hashes));
        text[open + 1..].find(&close).map_or(text.len(), |at| open + 1 + at + close.len())
    })
}

/// A character literal; none when it is a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut letters = text.char_indices().skip(1);
    let (_, first) = letters.next()?;
    if first == '\\' {
        letters.next()?;
        return letters.find(|(_, letter)| *letter == '\'').map(|(at, _)| at + 1);
    }
    let (at, next) = letters.next()?;
    (next == '\'').then_some(at + 1)
}

// ---- the test is tested ------------------------------------------------------------------------------------------

fn planted(path: &str, body: &str) -> Vec<String> {
    offences(&[File { path: path.to_owned(), text: format!("//! Doc.\n{body}\n") }])
}

#[test]
fn planted_offences_are_caught() {
    let long_line = "x".repeat(121);
    let long_file = "fn f() {}\n".repeat(500);
    let cases = [
        ("src/model/x.rs", "use crate::lane::Lane;", "`model` (layer 1) must not know `lane`"),
        ("src/lane/x.rs", "use crate::{model::A, egress::{B, C}};", "must not know `egress`"),
        ("src/lane/mod.rs", "use super::egress::B;", "must not know `egress`"),
        ("src/lane/x.rs", "use super::super::control;", "must not know `control`"),
        ("src/egress/x.rs", "fn f() { crate::control::g() }", "must not know `control`"),
        ("src/decode/x.rs", "use crate::batch;", "must not know `batch`"),
        ("src/stats.rs", "use crate::plan;", "must not know `plan`"),
        ("src/newcomer/mod.rs", "", "stands in no layer"),
        ("src/lane/x.rs", "fn f() { g().unwrap(); }", "unwrap or expect"),
        ("perf/src/x.rs", "fn f() { g().expect(\"x\"); }", "unwrap or expect"),
        ("src/lane/x.rs", "#[cfg(test)]\nmod tests {}\nfn f() { g().unwrap(); }", "x.rs:4: unwrap"),
        ("src/lane/x.rs", "fn f() { unsafe { g() } }", "unsafe outside"),
        ("src/ring/x.rs", "// SAFETY: no.\nfn f() {\n    unsafe { g() }\n}", "x.rs:4: unsafe without"),
        ("src/ring/x.rs", "unsafe impl Send for X {}", "unsafe without"),
        ("src/lane/x.rs", "fn f() { todo!() }", "todo!"),
        ("tests/x.rs", "fn f() { dbg!(1); }", "dbg!"),
        ("tests/x.rs", "#[test]\n#[ignore]\nfn f() {}", "x.rs:3: `#[ignore`"),
        ("src/lane/x.rs", "pub struct LaneManager;", "`LaneManager` says nothing"),
        ("src/lane/x.rs", "pub fn get_name() {}", "fn get_"),
        ("src/lane/x.rs", &long_line, "more than 120"),
        ("src/lane/x.rs", &long_file, "at most 500"),
        ("src/limits/mod.rs", "/// A.\npub const A: u8 = 1;\n\npub const B: u8 = 2;", "without its doc"),
    ];
    for (path, body, expected) in cases {
        let found = planted(path, body);
        assert!(found.iter().any(|offence| offence.contains(expected)), "{path}: {expected}: found {found:?}");
    }
    let bare = offences(&[File { path: "src/lane/x.rs".to_owned(), text: "use std::fmt;\n".to_owned() }]);
    assert!(bare[0].contains("module doc"), "{bare:?}");
}

#[test]
fn what_is_allowed_is_left_alone() {
    let cases = [
        ("src/lane/x.rs", "use crate::{limits, ring::Ring};\nuse super::turn;"),
        ("src/ring/uring/x.rs", "use crate::{model::Nanos, os::fd};\nuse super::super::Ring;"),
        ("src/lane/x.rs", "#[cfg(test)]\nmod tests {\n    use crate::egress;\n    fn f() { g().unwrap(); }\n}"),
        ("src/lane/tests.rs", "fn f() { crate::egress::g().unwrap(); }"),
        (
            "src/ring/x.rs",
            "fn f() {\n    // SAFETY: reasons,\n    // two lines of them.\n    let x =\n        unsafe { g() };\n}",
        ),
        ("src/lane/x.rs", "// unsafe, todo!, crate::egress::x\nconst A: &str = \".unwrap() unsafe\";"),
        ("src/lane/x.rs", "const A: &str = r#\"unsafe \"dbg!\" \"#; const B: char = '\"'; fn f<'a>(x: &'a str) {}"),
        ("src/main.rs", "fn main() { corelane::cli::main() }"),
        ("src/lane/x.rs", "fn get_mut(&mut self) {}"),
        ("src/lane/x.rs", "/* unsafe /* nested */ unsafe */ fn f() { x.unwrap_or(1); }"),
        ("src/limits/mod.rs", "/// Least and most.\npub const A: u8 = 1;\npub const B: u8 = 2;"),
    ];
    for (path, body) in cases {
        assert_eq!(planted(path, body), Vec::<String>::new(), "{path}: {body}");
    }
}

#[test]
fn a_file_declared_for_tests_is_one() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: format!("//! Doc.\n{text}\n") };
    let body = "fn f() { g().unwrap(); }";
    let declared = [file("src/lane/mod.rs", "#[cfg(test)]\nmod world;"), file("src/lane/world.rs", body)];
    assert_eq!(offences(&declared), Vec::<String>::new());
    let plain = [file("src/lane/mod.rs", "mod world;"), file("src/lane/world.rs", body)];
    assert_eq!(offences(&plain).len(), 1);
}

#[test]
fn documents_name_only_limits_that_exist() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let limits = [file("src/limits/mod.rs", "pub const A_MAX: usize = 1;")];
    assert!(unknown_limits(&limits, &[file("docs/x.md", "`limits::A_MAX`")]).is_empty());
    assert_eq!(unknown_limits(&limits, &[file("docs/x.md", "`limits::B_MAX`")]).len(), 1);
}
