//! Bounds of the control plane: objects, stores, the API, the command line.

use std::time::Duration;

use super::{CHUNK_BYTES, KIB, MIB};

/// Longest object name, in bytes.
pub const NAME_BYTES_MAX: usize = 253;
/// Largest request body of the API.
pub const REQUEST_BODY_BYTES_MAX: usize = MIB;
/// Largest object file in `conf.d`.
pub const OBJECT_FILE_BYTES_MAX: usize = MIB;
/// Object files read from `conf.d`.
pub const OBJECT_FILES_MAX: usize = 1024;
/// Connections the API holds at once.
pub const API_CONNECTIONS_MAX: usize = 256;
/// Bytes of a refused request's body that are read and thrown away, so that its sender gets to see the answer.
pub const REQUEST_DISCARD_BYTES_MAX: usize = 8 * MIB;
/// How long that may take.
pub const REQUEST_DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections the API holds from one address at once (of IPv6, from one /64); more are closed at once.
pub const API_CONNECTIONS_PER_ADDRESS_MAX: usize = 64;
/// Connections the API's unix socket holds at once.
pub const API_SOCKET_CONNECTIONS_MAX: usize = 32;
/// Requests one HTTP/2 connection may have under way.
pub const API_STREAMS_MAX: u32 = 32;
/// Bytes of all headers of a request to the API; a token is the largest of them.
pub const API_HEADERS_BYTES_MAX: usize = 64 * KIB;
/// Headers of a request to the API.
pub const API_HEADERS_MAX: usize = 100;
/// A request whose headers are not complete in so long is given up; a quiet HTTP/1 connection as well.
pub const API_HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection to the API with no request for so long is closed.
pub const API_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection that is being closed has so long to take what was answered.
pub const API_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests a second one caller (key and subject of a token, or local user) may make, in the long run.
pub const API_REQUESTS_PER_SECOND: u32 = 200;
/// Requests one caller may make at once after a rest.
pub const API_REQUESTS_BURST: u32 = 400;
/// Requests without a good token an address (of IPv6, a /64) may make a second, in the long run, and at once.
pub const API_STRANGERS_PER_SECOND: u32 = 10;
pub const API_STRANGERS_BURST: u32 = 50;
/// Callers, and strangers' addresses, whose rate is remembered; with more the one quiet for longest is forgotten.
pub const API_RATES_MAX: usize = 1024;
/// Lines of the access log a second, in the long run, and at once; further ones are counted.
pub const ACCESS_LINES_PER_SECOND: u32 = 50;
pub const ACCESS_LINES_BURST: u32 = 500;
/// Characters of a request's path in the access log.
pub const ACCESS_PATH_CHARS_MAX: usize = 300;
/// Objects and lists within each other in a request body.
pub const JSON_DEPTH_MAX: usize = 32;
/// A certificate in use is warned about so many days before its end, again each time a smaller number is reached.
pub const EXPIRY_WARNING_DAYS: [i64; 3] = [30, 7, 1];
/// Largest bearer token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * KIB;
/// Revisions kept as history.
pub const HISTORY_REVISIONS: usize = 50;
/// Objects one change may touch. etcd takes 128 operations in one transaction by default; the history needs some.
pub const CHANGE_OBJECTS_MAX: usize = 120;
/// Bytes of all documents one change may write. etcd takes requests of 1.5 MiB by default.
pub const CHANGE_BYTES_MAX: usize = MIB;
/// A change is judged and tried so often when others come first.
pub const CHANGE_TRIES: u32 = 12;
/// A change that came too late is tried again after at most this, times the tries it has had.
pub const CHANGE_PAUSE: Duration = Duration::from_millis(5);
/// Members of etcd a node may be told of.
pub const ETCD_ENDPOINTS_MAX: usize = 16;
/// A connection to a member of etcd not made in so long is given up.
pub const ETCD_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A request to etcd unanswered for so long is made to the next member.
pub const ETCD_REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// A change that etcd did not confirm is asked after for so long before it is reported as unknown.
pub const ETCD_CHANGE_TIMEOUT: Duration = Duration::from_secs(12);
/// How often a silent watch is asked whether it lives; one that does not answer until the next time is given up.
pub const ETCD_PROBE_INTERVAL: Duration = Duration::from_secs(3);
/// How often all objects are read although the watch says nothing changed.
pub const ETCD_RECONCILE_INTERVAL: Duration = Duration::from_secs(240);
/// First and longest pause between two tries at etcd.
pub const ETCD_BACKOFF_MIN: Duration = Duration::from_millis(100);
pub const ETCD_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long a change waits for the watch to bring it before it is read.
pub const ETCD_ECHO_TIMEOUT: Duration = Duration::from_millis(500);
/// What another hand changed in etcd is noted in the history after about so long.
pub const ETCD_ADOPT_AFTER: Duration = Duration::from_secs(1);
/// Changes by another hand that are remembered one by one until then; what comes beyond is told of without its name,
/// and cannot be undone. So many names fit one entry of the history.
pub const BY_HAND_MAX: usize = 1024;
/// Largest transaction sent to etcd, in bytes: below its default of 1.5 MiB for a request.
pub const ETCD_REQUEST_BYTES_MAX: usize = 1400 * KIB;
/// A node writes its collector object at most this often, unless another revision is in force.
pub const COLLECTOR_INTERVAL: Duration = Duration::from_secs(30);
/// A node writes its collector object at most this often if another revision is in force each time.
pub const COLLECTOR_NEWS_INTERVAL: Duration = Duration::from_secs(2);
/// The last good objects are written to disk at most this often.
pub const KEEP_INTERVAL: Duration = Duration::from_millis(200);
/// Keys in a cluster key file: one, and another while keys are rotated.
pub const CLUSTER_KEYS_MAX: usize = 2;
/// Largest cluster key or password file, in bytes.
pub const SECRET_FILE_BYTES_MAX: usize = 4 * KIB;
/// A node that was not heard of for so long is not alive, in seconds.
pub const ALIVE_SECONDS: u64 = 20;
/// Largest collector object a node writes for the others, in bytes.
pub const COLLECTOR_BYTES_MAX: usize = 2 * KIB;
/// How often `conf.d`, token keys and the API's certificate are looked at for changes.
pub const OBJECTS_POLL: Duration = Duration::from_secs(1);
/// What an appliance takes before any target's queue, in bytes: chunks, windows, caches, the plan and the API.
pub const MEMORY_POOLS_BYTES: usize = 64 * MIB;
/// A TLS handshake with the API that takes longer is given up.
pub const API_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A request to the API that is not answered in so long is given up, slow senders included.
pub const API_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a stopping API waits for requests under way.
pub const API_DRAIN_DEADLINE: Duration = Duration::from_secs(2);
/// Clock difference a token's times are given, in seconds.
pub const TOKEN_LEEWAY_SECONDS: u64 = 30;
/// Public keys read from the key directories.
pub const TOKEN_KEYS_MAX: usize = 256;
/// Largest public key file, in bytes.
pub const TOKEN_KEY_BYTES_MAX: usize = 16 * KIB;
/// Largest JWKS file, in bytes.
pub const JWKS_BYTES_MAX: usize = 256 * KIB;
/// Largest stored revision that is read back, in bytes.
pub const STORE_BYTES_MAX: usize = 64 * MIB;
/// The deltas of a collector are counted over the last one to two of these.
pub const COLLECTOR_DELTA_WINDOW: Duration = Duration::from_secs(60);
/// How often a node tells the others how it is; the store writes it less often.
pub const COLLECTOR_BEAT: Duration = Duration::from_secs(10);
/// A collector that is alive and whose last word is older is STALE.
pub const COLLECTOR_STALE: Duration = Duration::from_secs(120);
/// A lane whose last report is older counts as standing still.
pub const REPORT_STALE: Duration = Duration::from_secs(10);
/// A flow further behind than this is not healthy, in seconds.
pub const HEALTHY_LAG_SECONDS: f64 = 60.0;
/// Readers shown by `status`, most behind first.
pub const STATUS_READERS_MAX: usize = 256;
/// Bytes of one label name (Loki's stock limit).
pub const LABEL_NAME_BYTES_MAX: usize = 1024;
/// Bytes of a tenant (Loki's limit).
pub const TENANT_BYTES_MAX: usize = 150;
/// Least and most `maxMessageBytes` of a syslog target may be (RFC 5424 §6.1 asks every receiver for 480).
pub const SYSLOG_MESSAGE_BYTES_MIN: usize = 480;
pub const SYSLOG_MESSAGE_BYTES_MAX: usize = CHUNK_BYTES;
/// Least and most `timeout` of a Loki target may be.
pub const REQUEST_TIMEOUT_MIN: Duration = Duration::from_secs(1);
pub const REQUEST_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// How long the command line waits for the API.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer the command line reads.
pub const CLIENT_ANSWER_BYTES_MAX: usize = 64 * MIB;
/// How often lanes publish what they did.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(250);
