//! Table patterns: `shop.orders`, `shop.order_%`, `shop.*_outbox`, `shop.*`, `orders`.

/// A list of table patterns. Each part before and after the first dot is a name, `*` or `%` for any name, a prefix
/// that ends in `*` or `%`, or an ending that begins with one. Without a dot the pattern is for the table, in any
/// database or schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<(Part, Part)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Any,
    Exact(String),
    Prefix(String),
    Ending(String),
}

const WILD: [char; 2] = ['*', '%'];

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let plain = |text: &str| (!text.is_empty() && !text.contains(WILD)).then(|| text.to_owned());
        match (text.strip_prefix(WILD), text.strip_suffix(WILD)) {
            (Some(""), _) => Some(Self::Any),
            (Some(ending), None) => plain(ending).map(Self::Ending),
            (None, Some(prefix)) => plain(prefix).map(Self::Prefix),
            (None, None) => plain(text).map(Self::Exact),
            (Some(_), Some(_)) => None,
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Self::Ending(ending) => name.ends_with(ending.as_str()),
        }
    }

    /// Whether some name fits both.
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Exact(name), part) | (part, Self::Exact(name)) => part.matches(name),
            (Self::Prefix(_), Self::Ending(_)) | (Self::Ending(_), Self::Prefix(_)) => true,
            (Self::Prefix(a), Self::Prefix(b)) => a.starts_with(b.as_str()) || b.starts_with(a.as_str()),
            (Self::Ending(a), Self::Ending(b)) => a.ends_with(b.as_str()) || b.ends_with(a.as_str()),
        }
    }
}

impl Patterns {
    /// Reads patterns.
    ///
    /// # Errors
    ///
    /// The first pattern that is none: empty, or with a wildcard inside a part or at both of its ends.
    pub fn parse<S: AsRef<str>>(patterns: &[S]) -> Result<Self, String> {
        patterns
            .iter()
            .map(|pattern| {
                let pattern = pattern.as_ref();
                let (database, table) = pattern.split_once('.').unwrap_or(("*", pattern));
                match (Part::parse(database), Part::parse(table)) {
                    (Some(database), Some(table)) => Ok((database, table)),
                    _ => Err(pattern.to_owned()),
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether there is no pattern at all (which most callers take as "every table").
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the patterns covers the table; `qualifier` is its schema, or database where there is none.
    pub fn matches(&self, qualifier: &str, table: &str) -> bool {
        self.0.iter().any(|(a, b)| a.matches(qualifier) && b.matches(table))
    }

    /// Whether there can be a table that a pattern of each list covers.
    pub fn overlaps(&self, other: &Self) -> bool {
        let overlap = |(a, b): &(Part, Part)| other.0.iter().any(|(c, d)| a.overlaps(c) && b.overlaps(d));
        self.0.iter().any(overlap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, qualifier: &str, table: &str) -> bool {
        Patterns::parse(&[pattern]).expect(pattern).matches(qualifier, table)
    }

    #[test]
    fn a_part_is_a_name_a_wildcard_or_a_prefix() {
        assert!(covers("shop.orders", "shop", "orders"));
        assert!(!covers("shop.orders", "shop", "orders2"));
        assert!(covers("shop.order%", "shop", "order_items"));
        assert!(covers("shop.*", "shop", "x"));
        assert!(!covers("shop.*", "shop2", "x"));
        assert!(covers("orders", "any", "orders"));
        assert!(covers("*.tmp", "any", "tmp"));
        assert!(covers("shop.a.b", "shop", "a.b"));
        assert!(covers("shop.*_outbox", "shop", "orders_outbox"));
        assert!(!covers("shop.*_outbox", "shop", "orders_outbox2"));
        assert!(covers("%_log", "any", "a_log"));
    }

    #[test]
    fn patterns_overlap_where_one_table_can_fit_both() {
        let overlaps = |a: &str, b: &str| {
            let (a, b) = (Patterns::parse(&[a]).expect(a), Patterns::parse(&["other.other", b]).expect(b));
            assert_eq!(a.overlaps(&b), b.overlaps(&a));
            a.overlaps(&b)
        };
        for (a, b) in [
            ("shop.outbox", "shop.outbox"),
            ("outbox", "shop.%"),
            ("*.outbox", "shop.out%"),
            ("shop.*_outbox", "orders_%"),
            ("shop.outbox_%", "outbox_eu%"),
            ("*_outbox", "*_orders_outbox"),
        ] {
            assert!(overlaps(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("shop.outbox", "shop.orders"),
            ("shop.outbox", "shop2.outbox"),
            ("*.outbox", "shop.orders%"),
            ("outbox_a%", "outbox_b%"),
            ("*_outbox", "*_log"),
        ] {
            assert!(!overlaps(a, b), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        for bad in ["", "a.", ".b", "a*b.c", "a.*b*", "a.%%"] {
            assert_eq!(Patterns::parse(&[bad]), Err(bad.to_owned()), "{bad}");
        }
    }
}
