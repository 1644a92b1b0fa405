//! "Did you mean": the known name that is closest to an unknown one.

use strsim::levenshtein;

/// Characters of an unknown name that are compared; the rest is ignored.
const LONGEST: usize = 100;

/// Returns the name in `known` that `name` is most likely a misspelling of, ignoring case, or `None` if none is close.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.chars().take(LONGEST).collect::<String>().to_ascii_lowercase();
    // Most letters of a short name have to match.
    let limit = 2.min(name.chars().count() / 2);
    let distances = known.into_iter().map(|known| (levenshtein(&name, &known.to_ascii_lowercase()), known));
    distances.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_closest_name_within_two_edits() {
        let known = ["channels", "since", "wait", "interval"];
        for (name, expected) in [
            ("channel", Some("channels")),
            ("Chanels", Some("channels")),
            ("SINCE", Some("since")),
            ("wati", Some("wait")),
            ("intervals", Some("interval")),
            ("x", None),
            ("", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name}");
        }
    }
}
