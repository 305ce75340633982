//! The machine's own apt sources: read (deb822 and one-line style) to learn which archive and keyring this machine uses, and
//! written again with the suites and components the lab needs. No archive is named in this project.

use std::fs;
use std::path::Path;

/// One archive the machine takes packages from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uri: String,
    pub(crate) suites: Vec<String>,
    pub(crate) signed_by: Option<String>,
}

/// All sources of the machine, as `/etc/apt` lists them.
pub(crate) fn of_machine(etc_apt: &Path) -> Vec<Source> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(dir) = fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut parts: Vec<_> = dir.flatten().map(|item| item.path()).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|ext| ext.to_str()) {
            Some("sources") => found.extend(deb822(&text)),
            Some("list") => found.extend(one_line(&text)),
            _ => {}
        }
    }
    found
}

/// Stanzas of `Key: value`, apart by blank lines; values continue on indented lines; `#` lines do not count, even inside a stanza.
pub(crate) fn deb822(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).flat_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Vec<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let words = |name: &str| -> Vec<String> {
        let value = fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str());
        value.split_whitespace().map(str::to_owned).collect()
    };
    let off = words("enabled").first().is_some_and(|word| word == "no");
    if off || !words("types").iter().any(|word| word == "deb") {
        return Vec::new();
    }
    // A key may also stand in the file itself, over many lines: that is not a path, and the default keyring must do.
    let signed_by = words("signed-by").first().filter(|word| word.starts_with('/')).cloned();
    words("uris")
        .into_iter()
        .map(|uri| Source { uri, suites: words("suites"), signed_by: signed_by.clone() })
        .collect()
}

/// Lines of `deb [option=value …] URI SUITE COMPONENT…`.
pub(crate) fn one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(|line| one(line.split('#').next()?)).collect()
}

fn one(line: &str) -> Option<Source> {
    let mut rest = line.trim().strip_prefix("deb")?;
    if !rest.starts_with([' ', '\t', '[']) {
        return None;
    }
    rest = rest.trim_start();
    let mut signed_by = None;
    if let Some(after) = rest.strip_prefix('[') {
        let (options, after) = after.split_once(']')?;
        signed_by =
            options.split_whitespace().find_map(|word| word.strip_prefix("signed-by=")).map(str::to_owned);
        rest = after;
    }
    let mut words = rest.split_whitespace();
    let uri = words.next()?.to_owned();
    Some(Source { uri, suites: vec![words.next()?.to_owned()], signed_by })
}

/// The sources for the lab's private apt: for each archive of the machine that carries `codename`, its suites as they are, and
/// from the main one also `extra`, each as a stanza of its own so that a missing suite spoils no other.
pub(crate) fn private(machine: &[Source], codename: &str, extra: &[&str]) -> Option<String> {
    const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let main = machine.iter().find(|source| source.suites.iter().any(|suite| suite == codename))?;
    let mut pairs: Vec<(&Source, &str)> = Vec::new();
    for source in machine {
        for suite in source.suites.iter().filter(|suite| of_release(suite, codename)) {
            pairs.push((source, suite));
        }
    }
    pairs.extend(
        extra.iter().filter(|suite| !main.suites.iter().any(|own| own == *suite)).map(|suite| (main, *suite)),
    );
    let mut text = String::new();
    for (source, suite) in pairs {
        let keyring = source.signed_by.as_deref().unwrap_or(KEYRING);
        text.extend([format!(
            "Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main contrib\nSigned-By: {keyring}\n\n",
            source.uri
        )]);
    }
    Some(text)
}

/// `bookworm`, `bookworm-updates`, `bookworm-security`, but not some vendor's `stable` or `bookworm-pgdg`.
fn of_release(suite: &str, codename: &str) -> bool {
    let Some(rest) = suite.strip_prefix(codename) else {
        return false;
    };
    matches!(rest, "" | "-updates" | "-security" | "-backports" | "/updates")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "Types: deb\n# a comment inside\nURIs: http://one.example/debian\nSuites: bookworm bookworm-updates\n\
        Components: main\nSigned-By: /usr/share/keyrings/x.gpg\n\nTypes: deb-src\nURIs: http://two.example\nSuites: bookworm\n\n\
        Enabled: no\nTypes: deb\nURIs: http://three.example\nSuites: bookworm\n\n\
        Types: deb\nURIs: http://four.example\nSuites:\n bookworm-security\nSigned-By:\n -----BEGIN PGP\n";

    #[test]
    fn deb822_stanzas() {
        let found = deb822(DEB822);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].uri, "http://one.example/debian");
        assert_eq!(found[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(found[0].signed_by.as_deref(), Some("/usr/share/keyrings/x.gpg"));
        assert_eq!(found[1].suites, ["bookworm-security"]);
        assert_eq!(found[1].signed_by, None);
    }

    #[test]
    fn one_line_style() {
        let text = "# deb http://no.example x main\ndeb [arch=amd64 signed-by=/k.gpg] http://a.example/d bookworm main # why\n\
            deb-src http://b.example bookworm main\ndeb http://c.example bookworm/updates main contrib\n\ndeb\n";
        let found = one_line(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Source {
                uri: "http://a.example/d".to_owned(),
                suites: vec!["bookworm".to_owned()],
                signed_by: Some("/k.gpg".to_owned()),
            }
        );
        assert_eq!(found[1].suites, ["bookworm/updates"]);
    }

    #[test]
    fn private_sources_add_suites_once_and_leave_strangers_out() {
        let mut machine = deb822(DEB822);
        machine.extend(one_line(
            "deb http://vendor.example nodistro main\ndeb http://pg.example bookworm-pgdg main",
        ));
        let text =
            private(&machine, "bookworm", &["bookworm-backports", "trixie-backports", "bookworm-updates"])
                .unwrap();
        let suites: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("Suites: ")).collect();
        assert_eq!(
            suites,
            ["bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports", "trixie-backports"]
        );
        assert!(!text.contains("vendor.example") && !text.contains("pg.example"));
        assert_eq!(private(&machine, "sid", &[]), None);
    }
}
