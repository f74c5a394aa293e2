//! Every way to write objects is read, every fault is told with its place, all at once.

use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;
use crate::cli::diff;

/// The manifest of one text, as of a file of that name.
fn read(name: &str, content: &str) -> Manifest {
    let mut manifest = Manifest::default();
    manifest.take_in(name.to_owned(), content.to_owned(), PathBuf::from("."));
    manifest.refuse_doubles();
    manifest
}

fn names(manifest: &Manifest) -> Vec<String> {
    assert_eq!(manifest.complaints, [""; 0]);
    manifest.documents.iter().map(|document| format!("{} {}", document.kind.singular(), document.name)).collect()
}

#[test]
fn every_way_to_write_several_objects() {
    for (name, content) in [
        ("a.yaml", "kind: source\nname: a\n---\nkind: TARGET\nname: b\n---\n"),
        ("a.yaml", "%YAML 1.2\n--- # first\nkind: source\nname: a\n...\n--- {kind: target, name: b}\n"),
        ("a.yml", "- kind: source\n  name: a\n- {kind: target, name: b}\n"),
        ("a.yaml", "objects:\n- kind: source\n  name: a\n- kind: target\n  name: b\n"),
        ("a.yaml", "sources:\n- name: a\ntargets:\n- name: b\n"),
        ("a.json", r#"{"kind": "source", "name": "a"} {"kind": "target", "name": "b"}"#),
        ("a.json", r#"[{"kind": "source", "name": "a"}, {"kind": "target", "name": "b"}]"#),
        ("stdin", "{\"sources\": [{\"name\": \"a\"}]}\n{\"target\": {\"name\": \"b\"}}\n"),
        ("stdin", "kind: source\nname: a\n---\nkind: target\nname: b\n"),
        ("a.toml", "[[objects]]\nkind = \"source\"\nname = \"a\"\n[[objects]]\nkind = \"target\"\nname = \"b\"\n"),
    ] {
        assert_eq!(names(&read(name, content)), ["source a", "target b"], "{content}");
    }
    let bundle = read("a.yaml", "tls_bundles: [{name: c}]\n");
    assert_eq!(names(&bundle), ["tls-bundle c"]);
    // A source has a field `file`, which is not a list of anything.
    let source = read("a.yaml", "kind: source\nname: a\nfile: {paths: [/a]}\n");
    assert_eq!(source.documents[0].fields["file"], json!({"paths": ["/a"]}));
}

#[test]
fn all_faults_are_told_at_once_with_file_and_line() {
    let content = "kind: sauce\nname: a\n---\nname: b\n---\nkind: source\nname: c/d\n---\nkind: source\nname: [e\n---\n\
                   kind: source\nname: f\n---\n\n# twice\nkind: source\nname: f\n---\n- 1\n- kind: source\n  name: g\n";
    let manifest = read("x.yaml", content);
    let expected = [
        "x.yaml:1: `kind` \"sauce\" is not one of source, target and tls-bundle; did you mean `source`?",
        "x.yaml:4: `kind` is missing; it is source, target or tls-bundle",
        "x.yaml:6: `name` has '/' in it; letters, digits and `._-` are taken",
        "x.yaml:11: ",
        "x.yaml:20: object 1: is not an object",
        "x.yaml:17: source \"f\" stands at x.yaml:12 already",
    ];
    assert_eq!(manifest.complaints.len(), expected.len(), "{:#?}", manifest.complaints);
    for (found, expected) in manifest.complaints.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}: expected {expected}");
    }
    assert_eq!(read("x.json", "{\"kind\": \"source\",\n \"name\": }").complaints, ["x.json:2: expected value"]);
}

#[test]
fn a_complaint_is_placed_at_the_field_it_names() {
    let content = "kind: source\nname: a\nlogFormat: X\n---\nkind: source\nname: b\nlog_format: Y\n";
    let manifest = read("x.yaml", content);
    let place = |name: &str, text: &str| manifest.place("source", name, text).unwrap();
    assert_eq!(place("a", "`logFormat` cannot be \"X\""), "x.yaml:3");
    assert_eq!(place("b", "`logFormat` cannot be \"Y\""), "x.yaml:7");
    assert_eq!(place("b", "`minLevel` is missing"), "x.yaml:5");
    assert_eq!(manifest.place("target", "b", "x"), None);
    let listed = "[\n  {\"kind\": \"target\", \"name\": \"a\",\n   \"type\": 1},\n  {\"kind\": \"target\",\n   \
                  \"name\": \"b\", \"type\": 2}\n]\n";
    let manifest = read("x.json", listed);
    assert_eq!(manifest.place("target", "b", "`type` must be").unwrap(), "x.json:5");
    assert_eq!(manifest.place("target", "a", "`type` must be").unwrap(), "x.json:3");
}

#[test]
fn directories_are_read_to_the_bottom_and_secrets_from_files() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("b.yaml", "kind: target\nname: b\nbasicAuth: {username: u, password: {file: sub/secret}}\n");
    write("sub/deep/a.json", "{\"kind\": \"tls-bundle\", \"name\": \"a\", \"ca_pem\": {\"file\": \"../ca.pem\"}}");
    write("sub/secret", "hush\n");
    write("sub/ca.pem", "PEM\n");
    write(".hidden.yaml", "[");
    write("notes.txt", "[");
    let manifest = Manifest::read(&[place.path().to_owned()]);
    assert_eq!(names(&manifest), ["target b", "tls-bundle a"]);
    assert_eq!(manifest.documents[0].fields["basicAuth"]["password"], json!("hush"));
    assert_eq!(manifest.documents[1].fields["ca_pem"], json!("PEM\n"));
    write("c.yaml", "kind: tls-bundle\nname: c\nkeyPem: {file: missing.key}\n");
    let manifest = Manifest::read(&[place.path().to_owned()]);
    assert!(manifest.complaints[0].ends_with("missing.key: no such file or directory"), "{:?}", manifest.complaints);
    let empty = tempfile::tempdir().unwrap();
    assert!(Manifest::read(&[empty.path().to_owned()]).complaints[0].contains("has no *.yaml"));
}

/// Texts that YAML could take for something else, and any others.
fn text() -> impl Strategy<Value = String> {
    let odd =
        ["", "no", "~", "1e3", "0x1F", "---", "- a", "a: b", "# c", " x ", "|\n y", "-----BEGIN X-----\nAA==\n", "'"];
    prop_oneof![proptest::sample::select(odd.map(str::to_owned).to_vec()), any::<String>(), "[ -~\n]{0,40}"]
}

proptest! {
    /// Whatever an object holds, what `export` writes is what `apply` reads.
    #[test]
    fn exported_documents_are_read_as_they_were(
        objects in vec((text(), text(), any::<bool>(), vec(text(), 0..3)), 1..4)
    ) {
        let objects: Vec<Value> = objects
            .into_iter()
            .enumerate()
            .map(|(number, (a, b, flag, list))| {
                json!({"kind": "target", "name": format!("t{number}"), "url": a, "enabled": flag,
                    "basicAuth": {"username": b}, "sources": list})
            })
            .collect();
        let yaml = objects.iter().map(diff::document).collect::<Vec<_>>().join("---\n");
        let manifest = read("x.yaml", &yaml);
        prop_assert_eq!(&manifest.complaints, &Vec::<String>::new(), "{}", yaml);
        let back: Vec<Value> = manifest
            .documents
            .into_iter()
            .map(|document| {
                let mut fields = document.fields;
                fields.insert("kind".to_owned(), json!(document.kind.singular()));
                Value::Object(fields)
            })
            .collect();
        prop_assert_eq!(back, objects);
    }

    /// Garbage is complained of, with a line that exists, and nothing worse.
    #[test]
    fn garbage_is_complained_of(
        content in "(---\n|kind: |name: |[{}\\[\\]:,'\"a-z0-9 \n-]){0,60}",
        ending in "(json|yaml|toml|)",
    ) {
        let manifest = read(&format!("x.{ending}"), &content);
        let lines = content.lines().count() + 1;
        for complaint in &manifest.complaints {
            let line = complaint.split(':').nth(1).and_then(|line| line.parse::<usize>().ok());
            prop_assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{complaint}\n{content}");
        }
    }
}
