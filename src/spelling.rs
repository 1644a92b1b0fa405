//! "Did you mean": the known name that is nearest to one that is not known.

/// The one of `known` that `name` is most likely a misspelling of; `None` if none is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(100).collect();
    // Of a short name most letters have to be right.
    let near = 2.min(name.len() / 2);
    let distances = known.into_iter().map(|known| (distance(&name, &known.chars().collect::<Vec<_>>()), known));
    distances.filter(|(distance, _)| *distance <= near).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// The edit distance, capitals and small letters being the same.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(!x.eq_ignore_ascii_case(y))).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_none_that_is_far() {
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
