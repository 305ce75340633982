//! "Did you mean …?": the known word nearest to one that was mistyped.

use strsim::levenshtein;

/// The candidate that differs least from `word`, if the difference can be a slip of the hand.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: String = word.chars().take(64).collect::<String>().to_ascii_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (levenshtein(&word, &candidate.to_ascii_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let keys = ["keep-last", "keep-daily", "host"];
        assert_eq!(nearest("keep-daly", keys), Some("keep-daily"));
        assert_eq!(nearest("Host", keys), Some("host"));
        assert_eq!(nearest("compression", keys), None);
        assert_eq!(nearest("x", []), None);
    }
}
