//! Table patterns: `shop.orders`, `shop.order_%`, `shop.*`, `orders`.

/// A list of table patterns. Each part before and after the first dot is a name, `*` or `%` for any name, or
/// a prefix that ends in `*` or `%`. Without a dot the pattern is for the table, in any database or schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<(Part, Part)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Any,
    Exact(String),
    Prefix(String),
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix(['*', '%']) {
            Some("") => Some(Self::Any),
            Some(prefix) if !prefix.contains(['*', '%']) => Some(Self::Prefix(prefix.to_owned())),
            None if !text.is_empty() && !text.contains(['*', '%']) => Some(Self::Exact(text.to_owned())),
            _ => None,
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

impl Patterns {
    /// Reads patterns.
    ///
    /// # Errors
    ///
    /// The first pattern that is none: empty, or with a wildcard that is not at a part's end.
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
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        for bad in ["", "a.", ".b", "a*b.c", "a.*b", "a.%%"] {
            assert_eq!(Patterns::parse(&[bad]), Err(bad.to_owned()), "{bad}");
        }
    }
}
