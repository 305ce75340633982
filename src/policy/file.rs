//! The policy file as written: TOML, every key optional, every value with its place in the file.
//!
//! One spelling is documented, with hyphens; the underscores that some keys had at first are understood.

use serde::Deserialize;
use toml::Spanned;

/// A value that may be left out, with its place.
pub(super) type Value<T> = Option<Spanned<T>>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PolicyFile {
    pub(super) name: Value<String>,
    pub(super) timezone: Value<String>,
    pub(super) lock: Value<String>,
    pub(super) source: Value<SourceSection>,
    pub(super) bookmarks: BookmarksSection,
    pub(super) transfer: TransferSection,
    pub(super) backup: Vec<Spanned<BackupSection>>,
    pub(super) archive: Vec<Spanned<ArchiveSection>>,
}

/// `[source]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SourceSection {
    pub(super) datasets: Value<Vec<Spanned<String>>>,
    #[serde(alias = "include_root")]
    pub(super) include_root: bool,
    pub(super) exclude: Vec<Spanned<String>>,
    pub(super) guest_config: Value<String>,
    pub(super) freeze: Value<String>,
    pub(super) keep_last: Value<i64>,
    pub(super) keep_hourly: Value<i64>,
    pub(super) keep_daily: Value<i64>,
    pub(super) keep_weekly: Value<i64>,
    pub(super) keep_monthly: Value<i64>,
    pub(super) keep_yearly: Value<i64>,
}

/// `[bookmarks]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BookmarksSection {
    pub(super) keep: Value<i64>,
}

/// `[transfer]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TransferSection {
    pub(super) jobs: Value<i64>,
    pub(super) buffer: Value<String>,
    pub(super) rate: Value<String>,
    pub(super) rate_by_time: Vec<Spanned<String>>,
    pub(super) stall_limit: Value<String>,
    pub(super) agent: Value<String>,
    pub(super) channel: Value<String>,
    pub(super) compression: Value<String>,
    pub(super) connections: Value<i64>,
    pub(super) ports: Value<String>,
}

/// One `[[backup]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BackupSection {
    pub(super) name: Value<String>,
    pub(super) host: Value<String>,
    pub(super) port: Value<i64>,
    pub(super) ssh_config: Value<String>,
    pub(super) agent: Value<String>,
    pub(super) channel: Value<String>,
    pub(super) compression: Value<String>,
    pub(super) dataset: Value<String>,
    pub(super) intermediates: bool,
    pub(super) keep_last: Value<i64>,
    pub(super) keep_hourly: Value<i64>,
    pub(super) keep_daily: Value<i64>,
    pub(super) keep_weekly: Value<i64>,
    pub(super) keep_monthly: Value<i64>,
    pub(super) keep_yearly: Value<i64>,
    #[serde(alias = "on_divergence")]
    pub(super) on_divergence: Value<String>,
    #[serde(alias = "on_no_base")]
    pub(super) on_no_base: Value<String>,
    #[serde(alias = "keep_superseded")]
    pub(super) keep_superseded: Value<String>,
}

/// One `[[archive]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ArchiveSection {
    pub(super) name: Value<String>,
    pub(super) host: Value<String>,
    pub(super) port: Value<i64>,
    pub(super) ssh_config: Value<String>,
    pub(super) agent: Value<String>,
    pub(super) channel: Value<String>,
    pub(super) compression: Value<String>,
    pub(super) dataset: Value<String>,
    #[serde(alias = "catch_up")]
    pub(super) catch_up: Option<bool>,
    #[serde(alias = "on_divergence")]
    pub(super) on_divergence: Value<String>,
}

/// The keep rules of one section as written.
pub(super) struct KeepSection<'a> {
    pub(super) last: &'a Value<i64>,
    pub(super) hourly: &'a Value<i64>,
    pub(super) daily: &'a Value<i64>,
    pub(super) weekly: &'a Value<i64>,
    pub(super) monthly: &'a Value<i64>,
    pub(super) yearly: &'a Value<i64>,
}

/// How targets are talked to, as written for all of them or for one.
pub(super) struct LinkSection<'a> {
    pub(super) agent: &'a Value<String>,
    pub(super) channel: &'a Value<String>,
    pub(super) compression: &'a Value<String>,
}

/// How one target is reached, as written.
pub(super) struct PlaceSection<'a> {
    pub(super) name: &'a Value<String>,
    pub(super) host: &'a Value<String>,
    pub(super) port: &'a Value<i64>,
    pub(super) ssh_config: &'a Value<String>,
    pub(super) link: LinkSection<'a>,
    pub(super) dataset: &'a Value<String>,
}

// Both kinds of section have these keys; serde can share them only by giving up on unknown keys.
macro_rules! keep_section {
    ($type:ident) => {
        impl $type {
            pub(super) fn keep(&self) -> KeepSection<'_> {
                KeepSection {
                    last: &self.keep_last,
                    hourly: &self.keep_hourly,
                    daily: &self.keep_daily,
                    weekly: &self.keep_weekly,
                    monthly: &self.keep_monthly,
                    yearly: &self.keep_yearly,
                }
            }
        }
    };
}

macro_rules! place_section {
    ($type:ident) => {
        impl $type {
            pub(super) fn place(&self) -> PlaceSection<'_> {
                PlaceSection {
                    name: &self.name,
                    host: &self.host,
                    port: &self.port,
                    ssh_config: &self.ssh_config,
                    link: self.link(),
                    dataset: &self.dataset,
                }
            }
        }
    };
}

macro_rules! link_section {
    ($type:ident) => {
        impl $type {
            pub(super) fn link(&self) -> LinkSection<'_> {
                LinkSection { agent: &self.agent, channel: &self.channel, compression: &self.compression }
            }
        }
    };
}

keep_section!(SourceSection);
keep_section!(BackupSection);
place_section!(BackupSection);
place_section!(ArchiveSection);
link_section!(TransferSection);
link_section!(BackupSection);
link_section!(ArchiveSection);
