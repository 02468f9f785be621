//! The word that a person most likely meant.

/// The one of `known` that `word` was most likely meant to be: one letter in three may differ, and case and `-` for
/// `_` never count.
///
/// ```
/// use deltaforge_engine::suggest::near;
///
/// assert_eq!(near("masc", ["filter", "mask"]), Some("mask"));
/// assert_eq!(near("tagger", ["filter", "mask"]), None);
/// ```
pub fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 64;
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let wanted = plain(word);
    if word.len() > LONGEST {
        return None;
    }
    known
        .into_iter()
        .filter_map(|candidate| {
            let folded = plain(candidate);
            let distance = strsim::damerau_levenshtein(&wanted, &folded);
            let length = wanted.chars().count().max(folded.chars().count());
            (distance == 0 || (length > 2 && distance <= (length / 3).max(1)))
                .then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
