//! Datasets set aside on this host: their stamp, and the commands that bring them back or remove them for good.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;

use super::super::exit_code::{Code, Failure, OrExit};
use super::super::render::escape;
use crate::model::{DatasetName, NameFormat};
use crate::plan::restore::What;

/// When something is set aside, as it stands in names: in UTC.
pub(in crate::cli) fn stamp(now: Timestamp) -> Result<String, Failure> {
    let format = NameFormat::new(NameFormat::DEFAULT).or_exit(Code::Failed)?;
    Ok(format.name(now).or_exit(Code::Failed)?.to_string())
}

/// Where it is, and what to do with it. A guest's `file` is named where no dataset was set aside with it.
pub(in crate::cli) fn kept_text<'a>(
    what: &What,
    stamp: &str,
    set_asides: impl Iterator<Item = &'a DatasetName>,
    file: Option<&Path>,
) -> String {
    let (mut text, mut commands) = (String::new(), Vec::new());
    for aside in set_asides {
        let aside = escape(aside.as_str());
        let _ = writeln!(text, "set aside: {aside}");
        commands.push(format!("zfs destroy -r '{aside}'"));
    }
    if let Some(file) = file.filter(|_| commands.is_empty()) {
        let file = escape(&file.display().to_string());
        let _ = writeln!(text, "set aside: {file}");
        commands.push(format!("rm '{file}'"));
    }
    if commands.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "  to put it back: zhaul restore {what} --put-back {stamp}\n  \
         when it is needed no more, which cannot be undone: {}",
        commands.join("; ")
    );
    text
}
