//! Examples below `--help`. A test runs every one of them, in this order, against a node.

pub const CORELANE: &str = "\
Examples:
  corelane create source app --file='/var/log/app/*.log' --log-format=unstructured --enabled
  corelane create target loki1 --type=loki --url=http://loki:3100/loki/api/v1/push --enabled
  corelane status
  corelane list collectors

On a node nothing else is needed; from elsewhere give --endpoint and a token.";

pub const RUN: &str = "\
Examples:
  corelane run
  corelane run --dev";

pub const CHECK: &str = "\
Examples:
  corelane check
  corelane check --objects conf.d";

pub const STATUS: &str = "\
Examples:
  corelane status
  corelane status -o json
  corelane status --watch";

pub const CREATE: &str = "\
Examples:
  corelane create logs sources --name=node-manager --journald-id=node-manager --enabled
  corelane create source audit --file=/var/log/audit.log --log-format=unstructured --enabled
  corelane create tls-bundle siem --ca-file=ca.pem --cert-file=node.pem --key-file=node.key
  corelane create target siem --type=rsyslog --address=siem:6514 --tls-bundle=siem --sources=audit
  corelane create jwt --role=system:viewer --expires=1h";

pub const LIST: &str = "\
Examples:
  corelane list sources
  corelane list logs collectors
  corelane list targets -o yaml
  corelane list collectors --watch";

pub const REPLAY: &str = "\
Examples:
  corelane list quarantine
  corelane replay quarantine --target=loki1";

pub const GET: &str = "\
Examples:
  corelane get source node-manager
  corelane get target siem -o json";

pub const UPDATE: &str = "\
Examples:
  corelane update source node-manager --min-level=warn
  corelane update target siem --enabled
  corelane update target siem --enabled=false
  corelane update tls-bundle siem --cert-file=node.pem --key-file=node.key --wait";

pub const DELETE: &str = "\
Examples:
  corelane delete target siem
  corelane delete tls-bundle siem --wait";

pub const APPLY: &str = "\
Examples:
  corelane apply -f objects.yaml
  corelane apply -f conf.d --prune --dry-run
  corelane apply -f conf.d --prune --wait
  corelane export | corelane apply -f -";

pub const DIFF: &str = "\
Examples:
  corelane diff -f conf.d
  corelane diff -f conf.d --prune";

pub const EXPORT: &str = "\
Examples:
  corelane export > objects.yaml
  corelane export sources -o json
  corelane export --revision=1";

pub const HISTORY: &str = "\
Examples:
  corelane history
  corelane history --limit=5 -o json";

pub const ROLLBACK: &str = "\
Examples:
  corelane rollback 1 --dry-run
  corelane rollback 1";

pub const CLUSTER_KEY: &str = "\
Examples:
  corelane cluster-key new --file=cluster.key
  corelane cluster-key add --file=cluster.key
  corelane cluster-key turn --file=cluster.key

The file goes onto every node by a way of your own, before anything that needs it.";

pub const COMPLETIONS: &str = "\
Examples:
  corelane completions bash > corelane.bash
  corelane completions zsh > _corelane
  corelane completions fish > corelane.fish";

pub const MAN: &str = "\
Examples:
  corelane man man1
  corelane man | man -l -";
