//! A guest's configuration as user properties of its snapshots, so that disks and configuration are one restore point.
//!
//! | property | value |
//! | --- | --- |
//! | `zhaul:guest` | `qemu-server/100 NODE`, and what was left out: ` cipassword,sshkeys` |
//! | `zhaul:config-0`, `-1`, … | the file, compressed (gzip), in base64, in pieces below the 8191 bytes that ZFS allows |
//! | `zhaul:firewall-0`, … | the guest's firewall file, likewise |
//! | `zhaul:consistency` | `file-system`: the guest was frozen by its agent; without it the point is crash-consistent |
//!
//! Every local user of a target can read them (`zfs get`): secrets are left out.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use serde::{Deserialize, Serialize};

use super::GuestId;

/// The guest's file, its node, and the keys that were left out.
pub const GUEST_PROPERTY: &str = "zhaul:guest";
/// How consistent a snapshot of a machine's volume is. Counts only where it is local.
pub const CONSISTENCY_PROPERTY: &str = "zhaul:consistency";
/// Its value where the guest's file systems were frozen while all snapshots of the guest were taken.
pub const FILE_SYSTEM_CONSISTENT: &str = "file-system";
const CONFIG: &str = "zhaul:config-";
const FIREWALL: &str = "zhaul:firewall-";

/// ZFS takes 8191 bytes.
const PIECE_BYTES: usize = 8000;
/// No file of Proxmox VE is longer than 1 MiB, and this much compressed is far more.
const PIECES_MAX: usize = 64;
/// The longest file that is decompressed.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Keys whose values are secrets.
const SECRETS: [&str; 2] = ["cipassword", "sshkeys"];

/// A virtual machine or a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestKind {
    /// A virtual machine (`qemu-server`).
    Machine,
    /// A container (`lxc`).
    Container,
}

impl GuestKind {
    /// The directory of its files below a node's.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Machine => "qemu-server",
            Self::Container => "lxc",
        }
    }

    /// The kind of guest that has a volume of this name on a ZFS storage.
    pub fn of_volume(name: &str) -> Self {
        let is_file_system = ["subvol-", "basevol-"].iter().any(|prefix| name.starts_with(prefix));
        if is_file_system { Self::Container } else { Self::Machine }
    }
}

/// Why the configuration that a snapshot carries is not used. A target that was damaged or tampered with can hold any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It is not whole, or is no configuration.
    Damaged,
    /// It is longer than any file of Proxmox VE.
    TooLong,
    /// No line of it says anything.
    Empty,
    /// It has characters that a terminal would obey.
    ControlCharacters,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Damaged => "it is damaged",
            Self::TooLong => "it is longer than any file of Proxmox VE",
            Self::Empty => "it is empty",
            Self::ControlCharacters => "it has control characters",
        })
    }
}

/// The configuration of a guest at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    /// Which kind of guest.
    pub kind: GuestKind,
    /// Its number.
    pub id: GuestId,
    /// The node that it was on.
    pub node: String,
    /// Its file, without secrets.
    pub config: String,
    /// Its firewall file.
    pub firewall: Option<String>,
    /// The keys that were left out, since they are secrets.
    pub left_out: Vec<String>,
}

impl GuestConfig {
    /// Takes secrets out of `config`.
    pub fn new(kind: GuestKind, id: GuestId, node: &str, config: &str, firewall: Option<String>) -> Self {
        let mut left_out: Vec<String> = Vec::new();
        let mut kept = String::with_capacity(config.len());
        for line in config.split_inclusive('\n') {
            let key = line.split_once(':').map_or("", |(key, _)| key.trim());
            if SECRETS.contains(&key) {
                if !left_out.iter().any(|known| known == key) {
                    left_out.push(key.to_owned());
                }
            } else {
                kept.push_str(line);
            }
        }
        let node = node.split_whitespace().collect::<Vec<_>>().join("-");
        Self { kind, id, node, config: kept, firewall, left_out }
    }

    /// As user properties; `None` where it is too long for them.
    pub fn properties(&self) -> Option<BTreeMap<String, String>> {
        let mut properties = BTreeMap::new();
        let mut guest = format!("{}/{} {}", self.kind.directory(), self.id, self.node);
        if !self.left_out.is_empty() {
            guest = format!("{guest} {}", self.left_out.join(","));
        }
        properties.insert(GUEST_PROPERTY.to_owned(), guest);
        let files = [(CONFIG, Some(&self.config)), (FIREWALL, self.firewall.as_ref())];
        for (prefix, text) in files.into_iter().filter_map(|(prefix, text)| Some((prefix, text?))) {
            let mut compressed = Vec::new();
            GzEncoder::new(text.as_bytes(), Compression::best()).read_to_end(&mut compressed).ok()?;
            let encoded = base64(&compressed);
            if encoded.len() > PIECES_MAX * PIECE_BYTES {
                return None;
            }
            for (number, piece) in encoded.as_bytes().chunks(PIECE_BYTES).enumerate() {
                let piece = String::from_utf8_lossy(piece).into_owned();
                properties.insert(format!("{prefix}{number}"), piece);
            }
        }
        Some(properties)
    }

    /// Whether a user property is one of these.
    pub fn is_property(name: &str) -> bool {
        let is_number =
            |rest: &str| (1..=2).contains(&rest.len()) && rest.bytes().all(|c| c.is_ascii_digit());
        [GUEST_PROPERTY, CONSISTENCY_PROPERTY].contains(&name)
            || [CONFIG, FIREWALL].iter().any(|prefix| name.strip_prefix(prefix).is_some_and(is_number))
    }

    /// Reads the properties of a snapshot; `None` where it carries none.
    pub fn parse(properties: &BTreeMap<String, String>) -> Result<Option<Self>, Unusable> {
        // It is set last: without it what is there is no configuration yet.
        let Some(guest) = properties.get(GUEST_PROPERTY) else { return Ok(None) };
        if !guest.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(Unusable::ControlCharacters);
        }
        let (kind, id, node, left_out) = whose(guest).ok_or(Unusable::Damaged)?;
        let config = file(properties, CONFIG)?.ok_or(Unusable::Damaged)?;
        let firewall = file(properties, FIREWALL)?;
        if has_control_characters(&config) || firewall.as_deref().is_some_and(has_control_characters) {
            return Err(Unusable::ControlCharacters);
        }
        let main = config.lines().take_while(|line| !line.trim_start().starts_with('['));
        if !main.into_iter().any(|line| !line.starts_with('#') && line.contains(':')) {
            return Err(Unusable::Empty);
        }
        Ok(Some(Self { kind, id, node, config, firewall, left_out }))
    }
}

/// The words of [`GUEST_PROPERTY`].
fn whose(guest: &str) -> Option<(GuestKind, GuestId, String, Vec<String>)> {
    let mut words = guest.splitn(3, ' ');
    let (directory, id) = words.next()?.split_once('/')?;
    let kind = [GuestKind::Machine, GuestKind::Container];
    let kind = kind.into_iter().find(|kind| kind.directory() == directory)?;
    let (id, node) = (GuestId::parse(id)?, words.next().unwrap_or_default().to_owned());
    let left_out: Vec<String> =
        words.next().into_iter().flat_map(|keys| keys.split(',')).map(str::to_owned).collect();
    // They become words of a command that is shown.
    let is_key = |key: &String| {
        !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
    };
    left_out.iter().all(is_key).then_some((kind, id, node, left_out))
}

/// The file in the pieces with this prefix; `None` where there is none.
fn file(properties: &BTreeMap<String, String>, prefix: &str) -> Result<Option<String>, Unusable> {
    let pieces = (0..PIECES_MAX).map_while(|number| properties.get(&format!("{prefix}{number}")));
    let pieces: Vec<&str> = pieces.map(String::as_str).collect();
    if pieces.is_empty() {
        return Ok(None);
    }
    let compressed = unbase64(&pieces.concat()).filter(|compressed| !compressed.is_empty());
    let compressed = compressed.ok_or(Unusable::Damaged)?;
    let mut file = Vec::new();
    // The checksum is at the end, so what is cut has none, and one more byte is asked for than a file may have: a longer one is not
    // taken for whole at the limit.
    let read = GzDecoder::new(&*compressed).take(FILE_BYTES_MAX + 1).read_to_end(&mut file);
    read.map_err(|_| Unusable::Damaged)?;
    if u64::try_from(file.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(Unusable::TooLong);
    }
    String::from_utf8(file).map(Some).map_err(|_| Unusable::Damaged)
}

/// Whether it has characters that no line of a file has: an editor may have left a carriage return at a line's end, which Proxmox VE
/// skips, as does a restore.
fn has_control_characters(text: &str) -> bool {
    text.lines().any(|line| line.chars().any(|c| c != '\t' && c.is_control()))
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// As base64(1) writes it, without line breaks.
fn base64(bytes: &[u8]) -> String {
    let digit = |group: u32, shift: u32| {
        let place = usize::try_from(group >> shift & 63).unwrap_or(0);
        char::from(DIGITS.get(place).copied().unwrap_or(b'='))
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.push(digit(group, 18));
        text.push(digit(group, 12));
        text.push(if three.len() > 1 { digit(group, 6) } else { '=' });
        text.push(if three.len() > 2 { digit(group, 0) } else { '=' });
    }
    text
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.as_bytes().chunks(4) {
        let mut group = 0_u32;
        let padding = four.iter().rev().take_while(|&&digit| digit == b'=').count();
        if four.len() != 4 || padding > 2 {
            return None;
        }
        for digit in four {
            let value = if *digit == b'=' { 0 } else { DIGITS.iter().position(|known| known == digit)? };
            group = group << 6 | u32::try_from(value).ok()?;
        }
        let three = group.to_be_bytes();
        bytes.extend_from_slice(three.get(1..4 - padding)?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_any_length_comes_back_in_pieces_that_zfs_takes() {
        for length in [0, 1, 2, 3, 40 << 10, 200 << 10] {
            // Text that does not compress.
            let mut state = 7_u32;
            let noise = (0..length).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from_digit(state >> 27, 32).unwrap()
            });
            let text = format!("memory: 2048\n#{}\n", noise.collect::<String>());
            let firewall = Some("[OPTIONS]\nenable: 1\n".to_owned());
            let config = GuestConfig::new(GuestKind::Machine, GuestId(100), "pve0", &text, firewall);
            let properties = config.properties().unwrap();
            assert!(properties.values().all(|value| value.len() <= 8191));
            assert!(properties.keys().all(|name| GuestConfig::is_property(name)));
            assert_eq!(GuestConfig::parse(&properties), Ok(Some(config)));
        }
    }

    #[test]
    fn secrets_are_left_out_and_named() {
        let text =
            "cipassword: $5$x\nciuser: root\nsshkeys: ssh-rsa%20A\n\n[snap]\ncipassword: old\nname: a\n";
        let config = GuestConfig::new(GuestKind::Machine, GuestId(100), "pve0", text, None);
        assert_eq!(config.config, "ciuser: root\n\n[snap]\nname: a\n");
        assert_eq!(config.left_out, ["cipassword", "sshkeys"]);
        let properties = config.properties().unwrap();
        assert_eq!(properties[GUEST_PROPERTY], "qemu-server/100 pve0 cipassword,sshkeys");
        assert_eq!(GuestConfig::parse(&properties), Ok(Some(config)));
    }

    #[test]
    fn what_is_not_whole_is_not_used() {
        let text = format!("memory: 1\n# {}\n", "x y z".repeat(40_000));
        let config = GuestConfig::new(GuestKind::Container, GuestId(7), "n", &text, None);
        let whole = config.properties().unwrap();
        for name in whole.keys() {
            let mut part = whole.clone();
            part.remove(name);
            let expected = if name == GUEST_PROPERTY { Ok(None) } else { Err(Unusable::Damaged) };
            assert_eq!(GuestConfig::parse(&part), expected, "{name}");
            let mut part = whole.clone();
            let value = part[name].clone();
            part.insert(name.clone(), value.get(..value.len() / 2).unwrap_or_default().replace('q', "?"));
            assert_eq!(GuestConfig::parse(&part), Err(Unusable::Damaged), "{name}");
        }
        for other in ["zhaul:config-", "zhaul:config-100", "zhaul:configx", "zhaul:writer", "zhaul:config--1"]
        {
            assert!(!GuestConfig::is_property(other), "{other}");
        }
    }

    #[test]
    fn what_a_tampered_target_may_hold_is_not_used() {
        let parse = |text: &str, firewall: Option<&str>, guest: &str| {
            let firewall = firewall.map(str::to_owned);
            let config = GuestConfig::new(GuestKind::Machine, GuestId(100), "n", text, firewall);
            let mut properties = config.properties().unwrap();
            properties.insert(GUEST_PROPERTY.to_owned(), guest.to_owned());
            GuestConfig::parse(&properties).map(|found| found.is_some())
        };
        let guest = "qemu-server/100 n";
        let line = format!("#{}\n", "a".repeat(63));
        let at_limit = format!("memory: 1\n#{}\n", "a".repeat((4 << 20) - 12));
        assert_eq!(at_limit.len(), 4 << 20);
        for (text, expected) in [
            (&*at_limit, Ok(true)),
            (&*format!("{at_limit}\n"), Err(Unusable::TooLong)),
            (&*format!("memory: 1\n{}onboot: 1\n", line.repeat(70_000)), Err(Unusable::TooLong)),
            ("", Err(Unusable::Empty)),
            ("# a: b\n\n[snap]\nmemory: 1\n", Err(Unusable::Empty)),
            ("memory:\t1\r\nname: a\r\n", Ok(true)),
            ("memory: 1\nname: \u{1b}[2Ja\n", Err(Unusable::ControlCharacters)),
            ("memory: 1\nname: \0\n", Err(Unusable::ControlCharacters)),
            ("memory: 1\rname: a\n", Err(Unusable::ControlCharacters)),
            // A person's comment may have any letter or sign.
            ("memory: 1\n# \u{200d}a\n", Ok(true)),
        ] {
            assert_eq!(parse(text, None, guest), expected, "{:.60}", text.escape_debug().to_string());
        }
        assert_eq!(parse("memory: 1\n", Some("# gr\u{fc}n \u{200d}\n"), guest), Ok(true));
        assert_eq!(parse("memory: 1\n", Some("# \u{7}\n"), guest), Err(Unusable::ControlCharacters));
        for (guest, why) in [
            ("qemu-server/100 \u{1b}[31m", Unusable::ControlCharacters),
            ("qemu-server/100 n a,;rm", Unusable::Damaged),
            ("qemu-server/x n", Unusable::Damaged),
            ("foo/100 n", Unusable::Damaged),
        ] {
            assert_eq!(parse("memory: 1\n", None, guest), Err(why), "{guest:?}");
        }
    }
}
