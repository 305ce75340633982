//! Text that others wrote: characters that are not what they look like, and what a terminal would obey.

/// Whether it is invisible or changes how its neighbours are shown (Unicode's category Cf, and the two line separators):
/// a name with one can look like another name.
pub fn is_format_character(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}')
}

/// Text from the peer, on one line and with nothing that a terminal would obey.
pub fn printable(text: &[u8]) -> String {
    let mut printable = String::new();
    for line in String::from_utf8_lossy(text).lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !printable.is_empty() {
            printable.push_str("; ");
        }
        for c in line.chars() {
            if c.is_control() || is_format_character(c) {
                printable.extend(c.escape_default());
            } else {
                printable.push(c);
            }
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_or_hides_text_is_known_and_letters_are_not() {
        assert!(
            ['\u{202e}', '\u{200b}', '\u{2066}', '\u{feff}', '\u{ad}', '\u{e0041}']
                .into_iter()
                .all(is_format_character)
        );
        assert!(!['a', 'ä', '日', '-', ' ', '\u{a0}', '😀'].into_iter().any(is_format_character));
    }
}
