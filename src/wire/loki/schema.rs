//! The published schema, for tests to decode by: an independent judge of the encoder.
//!
//! Source: `pkg/push/push.proto` of Grafana Loki and `google/protobuf/timestamp.proto`.

#[derive(Clone, PartialEq, prost::Message)]
pub struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Stream {
    #[prost(string, tag = "1")]
    pub labels: String,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    pub hash: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub line: String,
    #[prost(message, repeated, tag = "3")]
    pub structured_metadata: Vec<LabelPair>,
    #[prost(message, repeated, tag = "4")]
    pub parsed: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct LabelPair {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

impl Entry {
    /// Nanoseconds since the epoch.
    pub fn nanos(&self) -> i64 {
        let timestamp = self.timestamp.as_ref().expect("Loki always wants a timestamp");
        timestamp.seconds * 1_000_000_000 + i64::from(timestamp.nanos)
    }
}
