//! Flags of what works on the whole configuration: apply, diff, export, history, rollback.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Wait;
use crate::config::Kind;

/// Which files are meant.
#[derive(Clone, Debug, Args)]
pub struct Files {
    /// YAML, JSON or TOML, each with one or several objects; a directory with all below it; `-` for stdin
    #[arg(short, long = "file", value_name = "FILE|DIR|-", required = true)]
    pub file: Vec<PathBuf>,
    /// Delete what stands in none of the files
    #[arg(long)]
    pub prune: bool,
}

#[derive(Debug, Args)]
pub struct ApplyFlags {
    #[command(flatten)]
    pub files: Files,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub wait: Wait,
}

#[derive(Debug, Args)]
pub struct DiffFlags {
    #[command(flatten)]
    pub files: Files,
}

#[derive(Debug, Args)]
pub struct ExportFlags {
    /// Only this kind
    #[arg(value_enum, value_name = "KIND")]
    pub kind: Option<ExportKind>,
    /// As of an old revision [default: the newest]
    #[arg(long, value_name = "REV")]
    pub revision: Option<u64>,
}

/// What can be exported alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportKind {
    #[value(alias = "source")]
    Sources,
    #[value(alias = "target")]
    Targets,
    #[value(alias = "tls-bundle", alias = "tlsbundle", alias = "tlsbundles")]
    TlsBundles,
}

impl ExportKind {
    pub fn kind(self) -> Kind {
        match self {
            Self::Sources => Kind::Source,
            Self::Targets => Kind::Target,
            Self::TlsBundles => Kind::TlsBundle,
        }
    }
}

#[derive(Debug, Args)]
pub struct HistoryFlags {
    /// Show only the newest ones
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<usize>,
}

#[derive(Debug, Args)]
pub struct RollbackFlags {
    /// The revision to go back to, as `history` lists it
    #[arg(value_name = "REV")]
    pub revision: u64,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub wait: Wait,
}
