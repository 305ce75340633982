//! What the process that freezes a guest says to the run, a line each.

use std::fmt;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// The guest is frozen: the snapshots can be taken.
    Frozen,
    /// It was frozen until the request to thaw it came, and is thawed.
    Held,
    /// It does not run, so nothing is frozen.
    NotRunning,
    /// It is not frozen, or was not all the time.
    Not(String),
    /// It is still frozen; thawing is attempted again.
    Stuck(String),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen => f.write_str("frozen"),
            Self::Held => f.write_str("held"),
            Self::NotRunning => f.write_str("not-running"),
            Self::Not(why) => write!(f, "not {}", one_line(why)),
            Self::Stuck(why) => write!(f, "stuck {}", one_line(why)),
        }
    }
}

impl Word {
    /// Reads one line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ') {
            None => match line {
                "frozen" => Some(Self::Frozen),
                "held" => Some(Self::Held),
                "not-running" => Some(Self::NotRunning),
                _ => None,
            },
            Some(("not", why)) => Some(Self::Not(why.to_owned())),
            Some(("stuck", why)) => Some(Self::Stuck(why.to_owned())),
            Some(_) => None,
        }
    }

    /// For a person.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Frozen | Self::Held => "it is frozen".to_owned(),
            Self::NotRunning => "it is not running".to_owned(),
            Self::Not(why) | Self::Stuck(why) => why.clone(),
        }
    }
}

/// What a guest's agent says may have any number of lines.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_was_written() {
        let words = [
            Word::Frozen,
            Word::Held,
            Word::NotRunning,
            Word::Not("a b".to_owned()),
            Word::Stuck("x".to_owned()),
        ];
        for word in words {
            assert_eq!(Word::parse(&word.to_string()), Some(word));
        }
        assert_eq!(
            Word::parse(&Word::Not("a\nheld".to_owned()).to_string()),
            Some(Word::Not("a held".to_owned()))
        );
        for other in ["", "Frozen", "frozen 3", "held ", "not", "stuck"] {
            assert_eq!(Word::parse(other), None, "{other:?}");
        }
    }
}
