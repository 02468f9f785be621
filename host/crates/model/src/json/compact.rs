//! JSON documents inside cells: checked and stripped of white space while they are copied.

/// Deepest nesting that is taken for JSON, as common parsers have it.
const MAX_DEPTH: usize = 128;

/// Appends a JSON document without the white space between its tokens. Answers false, and appends nothing, when
/// `text` is not exactly one JSON document.
pub fn write_compact(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.reserve(text.len());
    let mut copy = Copy { input: text.as_bytes(), at: 0, copied: 0, out };
    let fine = copy.document();
    if fine {
        copy.flush(text.len());
    } else {
        out.truncate(start);
    }
    fine
}

/// Walks over the input. Bytes from `copied` on are not in `out` yet; a run ends where white space is found.
struct Copy<'a> {
    input: &'a [u8],
    at: usize,
    copied: usize,
    out: &'a mut Vec<u8>,
}

impl Copy<'_> {
    fn flush(&mut self, to: usize) {
        self.out.extend_from_slice(&self.input[self.copied..to]);
        self.copied = to;
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn space(&mut self) {
        if !matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            return;
        }
        self.flush(self.at);
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.copied = self.at;
    }

    fn document(&mut self) -> bool {
        let mut closers = [0u8; MAX_DEPTH];
        let mut depth = 0;
        'value: loop {
            self.space();
            let done = match self.peek() {
                Some(b'{' | b'[') if depth == MAX_DEPTH => return false,
                Some(b'{') => {
                    self.at += 1;
                    self.space();
                    if !self.eat(b'}') {
                        closers[depth] = b'}';
                        depth += 1;
                        if !self.name() {
                            return false;
                        }
                        continue 'value;
                    }
                    true
                }
                Some(b'[') => {
                    self.at += 1;
                    self.space();
                    if !self.eat(b']') {
                        closers[depth] = b']';
                        depth += 1;
                        continue 'value;
                    }
                    true
                }
                Some(b'"') => self.string(),
                Some(b't') => self.word(b"true"),
                Some(b'f') => self.word(b"false"),
                Some(b'n') => self.word(b"null"),
                Some(b'-' | b'0'..=b'9') => self.number(),
                _ => false,
            };
            if !done {
                return false;
            }
            loop {
                self.space();
                let Some(closer) = depth.checked_sub(1).map(|top| closers[top]) else {
                    return self.at == self.input.len();
                };
                if self.eat(b',') {
                    self.space();
                    if closer == b'}' && !self.name() {
                        return false;
                    }
                    continue 'value;
                }
                if !self.eat(closer) {
                    return false;
                }
                depth -= 1;
            }
        }
    }

    fn name(&mut self) -> bool {
        self.peek() == Some(b'"') && self.string() && {
            self.space();
            self.eat(b':')
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let found = self.input[self.at..].starts_with(word);
        self.at += word.len();
        found
    }

    fn string(&mut self) -> bool {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return true;
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                        Some(b'u') => {
                            let digits = self.input.get(self.at + 1..self.at + 5);
                            if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                                return false;
                            }
                            self.at += 5;
                        }
                        _ => return false,
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return false,
            }
        }
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> bool {
        self.eat(b'-');
        if !self.eat(b'0') && !self.digits() {
            return false;
        }
        if self.eat(b'.') && !self.digits() {
            return false;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            return self.digits();
        }
        true
    }
}
