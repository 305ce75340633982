//! Patterns for dataset names: what a policy leaves out.
//!
//! Not the `globset` crate: there `a/**` does not match `a`, and whoever writes that here wants `a` left out, too.

use std::fmt;

use crate::model::DatasetName;

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} cannot match a dataset: {why}")]
pub struct PatternError {
    pattern: String,
    why: &'static str,
}

/// A pattern for full dataset names: `*` stands for any characters and `?` for one within a part between slashes, `**`
/// for any number of whole parts. A matching dataset is left out together with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Checks `text`: the characters of dataset names, `*` and `?`.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let error = |why| Err(PatternError { pattern: text.to_owned(), why });
        if text.len() > 255 {
            return error("it is longer than 255 bytes");
        }
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_.: *?".contains(&c);
        for part in text.split('/') {
            if part.is_empty() {
                return error("a part of it is empty");
            }
            if !part.bytes().all(allowed) {
                return error(
                    "only letters, digits, '-_.: ' and the wildcards '*', '?' and '**' are allowed",
                );
            }
            if part.contains("**") && part != "**" {
                return error("'**' must stand alone between slashes");
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name`, or a dataset above it, matches.
    pub fn matches(&self, name: &DatasetName) -> bool {
        // Which numbers of leading parts of the name the pattern so far can account for.
        let parts: Vec<&str> = name.as_str().split('/').collect();
        let mut reached = vec![false; parts.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        for wanted in self.0.split('/') {
            let mut next = vec![false; reached.len()];
            let mut carried = false;
            for (place, slot) in next.iter_mut().enumerate() {
                let here = reached.get(place) == Some(&true);
                if wanted == "**" {
                    carried |= here;
                    *slot = carried;
                } else if let Some(before) = place.checked_sub(1) {
                    *slot = reached.get(before) == Some(&true)
                        && parts.get(before).is_some_and(|part| part_matches(wanted, part));
                }
            }
            reached = next;
        }
        // Any number of parts above 0 will do: the rest of the name is below the matched dataset.
        reached.iter().skip(1).any(|is_reached| *is_reached)
    }
}

/// Whether `part` matches `wanted`; both ASCII. Goes back only to the last `*`, so it takes no more than the product of
/// both lengths.
fn part_matches(wanted: &str, part: &str) -> bool {
    let (wanted, part) = (wanted.as_bytes(), part.as_bytes());
    let (mut at_wanted, mut at_part) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = part.get(at_part) {
        match wanted.get(at_wanted) {
            Some(b'*') => {
                star = Some((at_wanted + 1, at_part));
                at_wanted += 1;
            }
            Some(expected) if expected == byte || *expected == b'?' => {
                at_wanted += 1;
                at_part += 1;
            }
            Some(_) | None => {
                let Some((after_star, from)) = star else {
                    return false;
                };
                star = Some((after_star, from + 1));
                (at_wanted, at_part) = (after_star, from + 1);
            }
        }
    }
    wanted.iter().skip(at_wanted).all(|rest| *rest == b'*')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
