//! The API over real TLS: what clients in the field rely on, to the byte where it is fixed.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::{
    cli::client::{Client, Reply, Trust},
    config::NodeConfig,
    control::{
        self, Control,
        keys::{self, Endpoint, Keys},
        token::{self, Grant, ROLE_VIEWER},
    },
    plan::Plan,
};

/// A control plane with a client of each role.
struct World {
    state: tempfile::TempDir,
    config: NodeConfig,
    control: Option<Control>,
    plans: Arc<Mutex<Vec<Arc<Plan>>>>,
    admin: Client,
}

impl World {
    fn start() -> Self {
        Self::with_objects(None)
    }

    fn with_objects(objects: Option<PathBuf>) -> Self {
        let state = tempfile::tempdir().unwrap();
        let config = NodeConfig {
            node: "n1".into(),
            listen: "127.0.0.1:0".parse().unwrap(),
            state_dir: state.path().to_owned(),
            objects,
            dev: true,
            ..NodeConfig::defaults()
        };
        let plans = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&plans);
        let on_plan = Box::new(move |plan| sink.lock().unwrap().push(plan));
        let control = control::start(&config, Arc::new(Board::default()), on_plan).unwrap();
        let token = keys::read_text(&Keys::of(state.path()).token).unwrap();
        let admin = client(&state, Some(token));
        Self { state, config, control: Some(control), plans, admin }
    }

    fn with_token(&self, token: Option<String>) -> Client {
        client(&self.state, token)
    }

    fn signing_key(&self) -> Vec<u8> {
        fs::read(Keys::of(self.state.path()).signing_key).unwrap()
    }

    fn send(&self, method: Method, path: &str, body: Value) -> Reply {
        self.admin.send(method, path, Some(&body), None).unwrap()
    }

    fn last_plan(&self) -> Arc<Plan> {
        Arc::clone(self.plans.lock().unwrap().last().unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(control) = self.control.take() {
            control.stop();
        }
    }
}

fn client(state: &tempfile::TempDir, token: Option<String>) -> Client {
    let endpoint = Endpoint::read(state.path()).unwrap();
    Client::new(&endpoint.endpoint, &Trust::Pinned(endpoint.certificate_pem), token).unwrap()
}

fn refused(code: u8, message: &str) -> Value {
    json!({"error": message, "code": code, "message": message, "details": []})
}

const SOURCES: &str = "/api/v2/logs/sources";
const TARGETS: &str = "/api/v2/logs/targets";
const BUNDLES: &str = "/api/v2/logs/tls-bundles";

fn etcd() -> Value {
    json!({"name": "etcd", "journald": {"identifier": "etcd"}})
}

#[test]
fn an_object_lives_its_life() {
    let world = World::start();
    assert_eq!(world.last_plan().revision, 0);
    let created = world.send(Method::POST, SOURCES, json!({"source": etcd()}));
    let shown = json!({"name": "etcd", "journald": {"identifier": "etcd"}, "logFormat": "ZAP_JSON", "enabled": false});
    assert_eq!((created.status, created.body), (200, shown.clone()));
    assert_eq!(created.etag.as_deref(), Some("\"1\""));
    assert_eq!(world.last_plan().sources[0].name, "etcd");

    let listed = world.send(Method::GET, SOURCES, Value::Null);
    assert_eq!(listed.body, json!({"sources": [shown]}));
    let path = format!("{SOURCES}/etcd");
    let patched = world.send(Method::PATCH, &path, json!({"enabled": true, "min_level": "WARNING"}));
    assert_eq!(
        (patched.status, &patched.body["minLevel"], patched.etag.as_deref()),
        (200, &json!("warn"), Some("\"2\""))
    );
    let replaced = world.send(Method::PUT, &path, json!({"file": {"paths": ["/a"]}, "logFormat": "logfmt"}));
    assert_eq!((replaced.status, &replaced.body["journald"]), (200, &Value::Null));
    let id = world.last_plan().sources[0].id;
    let same = world.send(Method::PUT, &path, json!({"file": {"paths": ["/a"]}, "logFormat": "logfmt"}));
    assert_eq!((same.status, same.etag), (200, replaced.etag), "nothing changed, so no new revision");

    let deleted = world.send(Method::DELETE, &path, Value::Null);
    assert_eq!((deleted.status, deleted.body), (200, json!({})));
    assert_eq!(world.last_plan().sources.len(), 0);
    let gone = world.send(Method::GET, &path, Value::Null);
    assert_eq!((gone.status, gone.body), (404, refused(5, "no source 'etcd'")));
    world.send(Method::POST, SOURCES, etcd());
    assert_ne!(world.last_plan().sources[0].id, id, "made again under its name it is another object");
}

#[test]
fn what_was_accepted_survives_a_restart() {
    let mut world = World::start();
    world.send(Method::POST, SOURCES, etcd());
    let id = world.last_plan().sources[0].id;
    world.control.take().unwrap().stop();
    let sink = Arc::clone(&world.plans);
    let on_plan = Box::new(move |plan| sink.lock().unwrap().push(plan));
    world.control = Some(control::start(&world.config, Arc::new(Board::default()), on_plan).unwrap());
    assert_eq!((world.last_plan().revision, world.last_plan().sources[0].id), (1, id));
}

#[test]
fn errors_have_their_fixed_shape() {
    let world = World::start();
    world.send(Method::POST, SOURCES, etcd());
    let path = format!("{SOURCES}/etcd");
    let stale = world.admin.send(Method::DELETE, &path, None, Some("\"77\"")).unwrap();
    assert_eq!((stale.status, stale.body), (412, refused(9, "Etag mismatch.")));
    let weak = world.admin.send(Method::DELETE, &path, None, Some("W/\"1\"")).unwrap();
    assert_eq!(weak.status, 412);
    for (method, path, body, status, expected) in [
        (Method::POST, SOURCES, etcd(), 409, refused(6, "Source with the provided name already exists.")),
        (
            Method::POST,
            SOURCES,
            json!({"name": "x", "nmae": 1, "logFormat": "logfmt"}),
            400,
            refused(
                3,
                "unknown field `nmae`; did you mean `name`?; has neither `journald` nor `file`; \
                 exactly one of them is needed",
            ),
        ),
        (
            Method::GET,
            "/api/v2/logs/sources/etdc",
            Value::Null,
            404,
            refused(5, "no source 'etdc'; did you mean 'etcd'?"),
        ),
        (
            Method::GET,
            "/api/v2/logs/sources/..%2f..%2fetc",
            Value::Null,
            400,
            refused(3, "path: `name` has '/' in it; letters, digits and `._-` are taken"),
        ),
        (Method::PUT, &path, json!({"name": "b"}), 400, Value::Null),
        (Method::GET, "/api/v2/logs", Value::Null, 404, refused(5, "there is nothing at this path")),
        (Method::POST, &path, Value::Null, 405, refused(12, "this path does not take this method")),
        (
            Method::GET,
            "/api/v2/logs/collectors/n2",
            Value::Null,
            404,
            refused(5, "no collector 'n2'; this node is 'n1'"),
        ),
    ] {
        let reply = world.send(method, path, body);
        assert_eq!(reply.status, status, "{path}");
        if !expected.is_null() {
            assert_eq!(reply.body, expected, "{path}");
        }
    }
    let matched = world.admin.send(Method::DELETE, &path, None, Some("\"9\", \"1\"")).unwrap();
    assert_eq!(matched.status, 200);
    assert_eq!(world.last_plan().revision, 2, "refused requests change nothing");
}

#[test]
fn a_body_that_is_too_large_or_no_json_is_refused() {
    let world = World::start();
    let large = json!({"name": "x".repeat(limits::REQUEST_BODY_BYTES_MAX)});
    let reply = world.send(Method::POST, SOURCES, large);
    let text = "request body: is too large; at most 1048576 bytes are taken";
    assert_eq!((reply.status, reply.body), (400, refused(3, text)));
    let reply = world.admin.send(Method::POST, SOURCES, None, None).unwrap();
    assert!(reply.body["message"].as_str().unwrap().starts_with("request body: is not JSON"), "{reply:?}");
}

#[test]
fn roles_decide_who_may_what() {
    let world = World::start();
    let key = world.signing_key();
    let mint = |roles: &[&str]| {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        token::mint(&Grant { roles, ..Grant::root(60) }, &key).unwrap()
    };
    let denied = refused(7, "Permission denied.");
    let unknown = refused(16, "Unauthorized: authentication failed.");
    let answer = |token: Option<String>, method: Method| {
        let reply = world.with_token(token).send(method, SOURCES, Some(&json!({})), None).unwrap();
        (reply.status, reply.body)
    };
    assert_eq!(answer(Some(mint(&[ROLE_VIEWER])), Method::GET).0, 200);
    assert_eq!(answer(Some(mint(&[ROLE_VIEWER])), Method::POST), (403, denied.clone()));
    assert_eq!(answer(Some(mint(&["other"])), Method::GET), (403, denied.clone()));
    assert_eq!(answer(Some(mint(&[])), Method::GET), (403, denied));
    assert_eq!(answer(None, Method::GET), (401, unknown.clone()));
    assert_eq!(answer(Some("garbage".into()), Method::POST), (401, unknown.clone()));
    // Whoever is unknown does not even learn which paths there are.
    let reply = world.with_token(None).send(Method::GET, "/nothing", None, None).unwrap();
    assert_eq!((reply.status, reply.body), (401, unknown));
    let document = world.with_token(None).send(Method::GET, "/api/openapi.json", None, None).unwrap();
    assert_eq!((document.status, &document.body["openapi"]), (200, &json!("3.1.0")));
}

#[test]
fn a_bundle_in_use_stays_and_its_key_never_shows() {
    let world = World::start();
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["a".into()]).unwrap().self_signed(&key).unwrap().pem();
    let body = json!({"name": "b1", "caPem": cert, "certPem": cert, "keyPem": key.serialize_pem()});
    let created = world.send(Method::POST, BUNDLES, json!({"tls_bundle": body}));
    assert_eq!(created.status, 200, "{:?}", created.body);
    assert!(created.body.get("keyPem").is_none());
    assert_eq!(created.body["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(created.body["subject"], "CN=rcgen self signed cert");
    let target = json!({"name": "siem", "type": "rsyslog", "address": "h", "protocol": "tls", "tls_bundle": "b1"});
    assert_eq!(world.send(Method::POST, TARGETS, target).status, 200);
    let path = format!("{BUNDLES}/b1");
    let reply = world.send(Method::DELETE, &path, Value::Null);
    assert_eq!((reply.status, reply.body), (409, refused(6, "tls-bundle 'b1' is in use by target 'siem'")));
    let listed = world.send(Method::GET, BUNDLES, Value::Null);
    assert!(!listed.body.to_string().contains("PRIVATE"));
    // Rotation: a patch with a new pair, the key of which is kept though the old one was never shown.
    let key = rcgen::KeyPair::generate().unwrap();
    let cert = rcgen::CertificateParams::new(vec!["b".into()]).unwrap().self_signed(&key).unwrap().pem();
    let wrong = world.send(Method::PATCH, &path, json!({"certPem": cert}));
    assert_eq!(wrong.body["message"], "`keyPem` does not match the first certificate of `certPem`");
    let right = world.send(Method::PATCH, &path, json!({"certPem": cert, "keyPem": key.serialize_pem()}));
    assert_eq!(right.status, 200);
    let crate::plan::TargetKind::Syslog(syslog) = &world.last_plan().targets[0].kind else { panic!("syslog") };
    assert_eq!(syslog.tls.as_ref().unwrap().cert_pem, cert, "the target has the new certificate");
    assert_eq!(world.send(Method::DELETE, &format!("{TARGETS}/siem"), Value::Null).status, 200);
    assert_eq!(world.send(Method::DELETE, &path, Value::Null).status, 200);
}

#[test]
fn objects_of_files_are_shown_and_cannot_be_changed() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("a.yaml");
    fs::write(&file, "kind: target\nname: t\ntype: console\n---\nkind: source\nname: s\nenabeld: true\n").unwrap();
    let world = World::with_objects(Some(files.path().to_owned()));
    let path = format!("{TARGETS}/t");
    let shown = world.send(Method::GET, &path, Value::Null).body;
    assert_eq!(shown["managedBy"], json!(file.display().to_string()));
    let text = format!("target 't' is managed by the file {}; change it there", file.display());
    let reply = world.send(Method::PATCH, &path, json!({"enabled": true}));
    assert_eq!((reply.status, reply.body), (409, refused(6, &text)));
    assert_eq!(world.send(Method::POST, TARGETS, json!({"name": "t", "type": "console"})).status, 409);
    let bad = world.send(Method::GET, &format!("{SOURCES}/s"), Value::Null).body;
    let first = bad["complaints"][0].as_str().unwrap();
    assert!(first.ends_with("a.yaml:7: unknown field `enabeld`; did you mean `enabled`?"), "{first}");
    // A bad object of a file does not stand in the way of a good one of the API.
    assert_eq!(world.send(Method::POST, SOURCES, etcd()).status, 200);
}

#[test]
fn the_revision_counts_when_all_objects_are_files() {
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("a.yaml"), "kind: target\nname: t\ntype: console\n").unwrap();
    let mut world = World::with_objects(Some(files.path().to_owned()));
    assert_eq!(world.last_plan().revision, 1, "revision 0 is the empty plan");
    let mut restart = |revision| {
        world.control.take().unwrap().stop();
        let sink = Arc::clone(&world.plans);
        let on_plan = Box::new(move |plan| sink.lock().unwrap().push(plan));
        world.control = Some(control::start(&world.config, Arc::new(Board::default()), on_plan).unwrap());
        assert_eq!(world.last_plan().revision, revision);
    };
    restart(1);
    fs::write(files.path().join("b.yaml"), "kind: target\nname: u\ntype: console\n").unwrap();
    restart(2);
}

#[test]
fn a_change_of_a_file_becomes_a_plan_without_a_restart() {
    let files = tempfile::tempdir().unwrap();
    let world = World::with_objects(Some(files.path().to_owned()));
    let before = world.last_plan().revision;
    fs::write(files.path().join("a.yaml"), "kind: target\nname: t\ntype: console\n").unwrap();
    // What the ticker does each second, without waiting for it.
    world.control.as_ref().unwrap().shared.tick();
    let plan = world.control.as_ref().unwrap().plan();
    assert_eq!((plan.targets.len(), plan.revision > before), (1, true));
}

#[test]
fn collector_and_status_answer() {
    let world = World::start();
    world.send(Method::POST, TARGETS, json!({"name": "c", "type": "console", "enabled": true}));
    let listed = world.send(Method::GET, "/api/v2/logs/collectors", Value::Null).body;
    let collector = &listed["collectors"][0];
    let fixed = [
        "id",
        "lastSeen",
        "alloyStatus",
        "configHash",
        "remotecfgStatus",
        "pipelineHealth",
        "unhealthyComponents",
        "pipelineCheckedAt",
        "pipelineError",
        "exporterSendFailedDelta",
        "lokiDroppedEntriesDelta",
        "failingExporters",
        "totalExporters",
        "exporterSendFailedTotal",
        "exporterQueueSize",
    ];
    for name in fixed {
        assert!(collector.get(name).is_some(), "{name}");
    }
    assert_eq!((&collector["pipelineHealth"], &collector["desiredRevision"]), (&json!("UNKNOWN"), &json!("1")));
    assert_eq!(collector["lastDelivered"], json!({"c": null}));
    let schema: Value = serde_json::from_str(OPENAPI).unwrap();
    let documented = &schema["components"]["schemas"]["Collector"]["properties"];
    for name in collector.as_object().unwrap().keys() {
        assert!(documented.get(name).is_some(), "{name} is not documented");
    }
    assert_eq!(world.send(Method::GET, "/api/v2/logs/collectors/n1", Value::Null).status, 200);
    let status = world.send(Method::GET, "/api/v2/logs/status", Value::Null).body;
    assert_eq!((&status["node"], &status["targets"][0]["state"]), (&json!("n1"), &json!("IDLE")));
}

#[test]
fn the_openapi_document_has_every_route_and_no_other() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut documented = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            documented.insert((path.clone(), method.clone()));
        }
    }
    let routed = routes().into_iter().flat_map(|route| {
        route.methods.iter().map(move |method| (route.path.clone(), (*method).to_owned())).collect::<Vec<_>>()
    });
    assert_eq!(routed.collect::<BTreeSet<_>>(), documented);
}

#[test]
fn the_openapi_document_has_every_field_and_no_other() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    for (kind, name) in [(Kind::Source, "Source"), (Kind::Target, "Target"), (Kind::TlsBundle, "TlsBundle")] {
        let properties = document["components"]["schemas"][name]["properties"].as_object().unwrap();
        let documented: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        let known =
            kind.schema().iter().filter(|field| field.standing != crate::config::document::schema::Standing::Later);
        assert_eq!(known.map(|field| field.name).collect::<BTreeSet<_>>(), documented, "{name}");
    }
}

#[test]
fn what_cannot_start_says_why() {
    let world = World::start();
    let start = |config: &NodeConfig| match control::start(config, Arc::new(Board::default()), Box::new(|_| {})) {
        Ok(_) => panic!("started"),
        Err(fault) => fault.to_string(),
    };
    let state = tempfile::tempdir().unwrap();
    let taken = NodeConfig {
        listen: world.control.as_ref().unwrap().address(),
        state_dir: state.path().join("a"),
        ..world.config.clone()
    };
    let text = start(&taken);
    assert!(text.contains("address already in use") && text.contains("set `listen`"), "{text}");
    assert!(!taken.state_dir.exists(), "keys of a start that was refused stay behind");
    assert!(start(&world.config).contains("in use by another corelane"));
    let bad = state.path().join("bad.pem");
    fs::write(&bad, "no pem").unwrap();
    let certificate = NodeConfig {
        tls_cert: Some(bad.clone()),
        tls_key: Some(bad.clone()),
        listen: "127.0.0.1:0".parse().unwrap(),
        state_dir: state.path().join("b"),
        ..world.config.clone()
    };
    let text = start(&certificate);
    assert!(text.starts_with(&format!("{}: has no certificate in it", bad.display())), "{text}");
    let file = NodeConfig { state_dir: bad.join("below"), ..certificate };
    assert!(start(&file).contains("not a directory"));
}
