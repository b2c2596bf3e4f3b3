//! What the name of a table asks for: an object, a version of it, a member of a bundle, or every name of a pattern.

/// Whether a name has wildcards: `*` for any text, `?` for any one character.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// Whether `name` is one that the pattern describes.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last `*` does not fit: that `*` stands for one character more.
    let mut again = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                again = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match again {
                Some((after, from)) => {
                    again = Some((after, from + 1));
                    (p, n) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// What is before and behind the last `@`, if the name has one.
pub(crate) fn split_suffix(name: &str) -> Option<(&str, &str)> {
    name.rsplit_once('@').filter(|(before, _)| !before.is_empty())
}

/// Each way to take a name for a bundle's and a member's.
pub(crate) fn splits(name: &str) -> impl Iterator<Item = (&str, &str)> {
    name.match_indices('/').map(|(at, _)| (&name[..at], &name[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("days/*", "days/1", true),
            ("days/*", "days/", true),
            ("days/*", "day/1", false),
            ("*", "", true),
            ("?", "ü", true),
            ("?", "", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("*.parquet", "x.parquet", true),
            ("*aab", "aaaab", true),
            ("a?c*", "abc", true),
            ("a?c*", "abbc", false),
            ("**x", "yx", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn names_are_split_at_each_slash_and_the_last_at() {
        assert_eq!(split_suffix("a@b@7"), Some(("a@b", "7")));
        assert_eq!((split_suffix("a"), split_suffix("@7")), (None, None));
        assert_eq!(splits("a/b/c").collect::<Vec<_>>(), [("a", "b/c"), ("a/b", "c")]);
    }
}
