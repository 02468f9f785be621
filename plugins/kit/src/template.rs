//! Texts with `${…}` in them.

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(String),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// What is wrong with it: empty, a `${` without `}`, or nothing between them.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (path, behind) = after.split_once('}').ok_or("has a ${ without }")?;
            if path.trim().is_empty() || path.split('.').any(str::is_empty) {
                return Err(format!("${{{path}}} names nothing"));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Path(path.to_owned()));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// What stands between the braces, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Path(path) => Some(path.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text, where nothing in it depends on the event.
    pub fn constant(&self) -> Option<&str> {
        match &self.0[..] {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with the value of every path.
    ///
    /// # Errors
    ///
    /// The first path that has none.
    pub fn render(&self, mut value: impl FnMut(&str) -> Option<String>) -> Result<String, &str> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Path(path) => text.push_str(&value(path).ok_or(path.as_str())?),
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Template;

    #[test]
    fn paths_are_replaced() {
        let template = Template::parse("a.${x}-${y.z}$").unwrap();
        assert_eq!(template.paths().collect::<Vec<_>>(), ["x", "y.z"]);
        assert_eq!(template.render(|path| Some(path.to_uppercase())), Ok("a.X-Y.Z$".to_owned()));
        assert_eq!(template.render(|path| (path == "x").then(String::new)), Err("y.z"));
        assert_eq!(template.constant(), None);
        assert_eq!(Template::parse("orders").unwrap().constant(), Some("orders"));
    }

    #[test]
    fn what_is_no_template_is_said() {
        for (text, problem) in
            [("", "empty"), ("a${b", "without }"), ("${}", "nothing"), ("${a..b}", "nothing")]
        {
            assert!(Template::parse(text).unwrap_err().contains(problem), "{text}");
        }
    }
}
