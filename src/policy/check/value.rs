//! Single values: whether they hold, and if not, what a person reads.

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use toml::Spanned;

use super::super::suggest::nearest;
use super::super::{PolicyError, duration};
use super::Checked;
use crate::model::{ByteCount, DatasetName};

/// Knows the file, to say where in it something is wrong.
pub(super) struct Checker<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Checker<'_> {
    pub(super) fn error(
        &self,
        key: &str,
        at: &Range<usize>,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> PolicyError {
        PolicyError::new(format!("{}:{}: {key}", self.file, self.line(at.start)), what, fix)
    }

    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    /// Puts an error of the TOML reader into our form.
    pub(super) fn explain(&self, error: &toml::de::Error) -> PolicyError {
        let at = error.span().unwrap_or(0..0);
        let message = error.message();
        // serde: "unknown field `a`, expected one of `b`, `c`"
        if message.starts_with("unknown field `") {
            let mut words = message.split('`').skip(1).step_by(2);
            let key = words.next().unwrap_or_default();
            let mut known: Vec<String> = words.map(|word| word.replace('_', "-")).collect();
            known.dedup();
            let wanted = key.replace('_', "-");
            let fix = nearest(&wanted, known.iter().map(String::as_str)).map_or_else(
                || format!("known here are {}", known.join(", ")),
                |near| format!("did you mean {near}?"),
            );
            return self.error(key, &at, "there is no such key", fix);
        }
        let line = self.text.lines().nth(self.line(at.start) - 1).unwrap_or_default();
        let key = line.split_once('=').map_or("TOML", |(key, _)| key.trim());
        let what = message.lines().collect::<Vec<_>>().join(", ");
        let what =
            what.replace("expected i64", "expected a whole number").replace("TOML parse error", "not TOML");
        self.error(key, &at, what, "`zhaul config example` shows every key and the form of its value")
    }

    pub(super) fn dataset(&self, key: &str, name: &Spanned<String>) -> Checked<DatasetName> {
        let fix = "write it as `zfs list` prints it, for example \"rpool/data\"";
        DatasetName::new(name.get_ref()).map_err(|e| self.error(key, &name.span(), e.to_string(), fix))
    }

    pub(super) fn time_zone(&self, name: &Spanned<String>) -> Checked<TimeZone> {
        TimeZone::get(name.get_ref()).map_err(|_| {
            let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
            let what = format!("there is no time zone {:?}", name.get_ref());
            let fix = match nearest(name.get_ref(), zones.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None if zones.len() < 2 => "this host has no time zone database: install tzdata".to_owned(),
                None => "write a name such as \"Europe/Berlin\", as `timedatectl list-timezones` shows them"
                    .to_owned(),
            };
            self.error("timezone", &name.span(), what, fix)
        })
    }

    pub(super) fn path(&self, key: &str, path: &Spanned<String>) -> Checked<PathBuf> {
        let text = path.get_ref();
        if text.starts_with('/') && !text.contains('\0') {
            return Ok(PathBuf::from(text));
        }
        let what = format!("{text:?} is not an absolute path; neither '~' nor variables are expanded");
        Err(self.error(key, &path.span(), what, "write it in full, starting with '/'"))
    }

    pub(super) fn number(
        &self,
        key: &str,
        value: &Spanned<i64>,
        range: &RangeInclusive<i64>,
        fix: &str,
    ) -> Checked<i64> {
        let number = *value.get_ref();
        if range.contains(&number) {
            return Ok(number);
        }
        let (min, max) = range.clone().into_inner();
        let what = format!("{number} is not between {min} and {max}");
        Err(self.error(key, &value.span(), what, fix))
    }

    pub(super) fn count(&self, key: &str, value: Option<&Spanned<i64>>) -> Checked<Option<u32>> {
        let Some(value) = value else { return Ok(None) };
        let fix = format!("remove the line if {key} is not to apply");
        let number = self.number(key, value, &(1..=i64::from(u32::MAX)), &fix)?;
        Ok(u32::try_from(number).ok())
    }

    pub(super) fn size(&self, key: &str, value: &Spanned<String>, text: &str) -> Checked<ByteCount> {
        text.parse().map_err(|_| {
            let what = format!("{:?} is not a size", value.get_ref());
            self.error(key, &value.span(), what, "write a number and a unit, for example \"256MiB\"")
        })
    }

    pub(super) fn duration(
        &self,
        key: &str,
        value: &Spanned<String>,
        example: &str,
    ) -> Checked<SignedDuration> {
        duration::parse(value.get_ref()).map_err(|what| {
            let fix = format!("write a whole number with s, min, h, d or w, for example \"{example}\"");
            self.error(key, &value.span(), what, fix)
        })
    }

    /// The meaning of one of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        value: Option<&Spanned<String>>,
        words: &[(&str, T)],
        default: T,
    ) -> Checked<T> {
        let Some(value) = value else { return Ok(default) };
        if let Some((_, meaning)) = words.iter().find(|(word, _)| word == value.get_ref()) {
            return Ok(*meaning);
        }
        let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let what = format!("{:?} means nothing here", value.get_ref());
        Err(self.error(key, &value.span(), what, format!("write {}", known.join(" or "))))
    }
}
