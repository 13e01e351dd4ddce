//! From text to values: `{topics: [{name: "$t", num_partitions: 3}]}`.

use super::value::Value;

/// The only field of the struct that stands for the bytes of a subscription.
pub(super) const SUBSCRIPTION: &str = "subscription";

/// Reads one value off the front of a text and leaves the rest.
pub(super) fn read(text: &str) -> Result<(Value, &str), String> {
    let mut reader = Reader { rest: text };
    let value = reader.value()?;
    Ok((value, reader.rest.trim_start()))
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value, String> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            Some('{') => self.fields(),
            Some('[') => self.elements(),
            Some('"') => self.text().map(Value::Text),
            Some('*') => {
                self.rest = &self.rest[1..];
                Ok(Value::Word("*".into()))
            }
            Some(_) => self.atom(),
            None => Err("a value is missing".into()),
        }
    }

    fn skip(&mut self, sign: char) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn near(&self) -> String {
        self.rest.chars().take(30).collect()
    }

    fn fields(&mut self) -> Result<Value, String> {
        self.skip('{');
        let mut fields = Vec::new();
        while !self.skip('}') {
            let name = self.word().to_owned();
            if name.is_empty() || !self.skip(':') {
                return Err(format!("expected `name: value` at {:?}", self.near()));
            }
            fields.push((name, self.value()?));
            self.separator('}')?;
        }
        Ok(Value::Struct(fields))
    }

    fn elements(&mut self) -> Result<Value, String> {
        self.skip('[');
        let mut elements = Vec::new();
        while !self.skip(']') {
            elements.push(self.value()?);
            self.separator(']')?;
        }
        Ok(Value::List(elements))
    }

    fn separator(&mut self, end: char) -> Result<(), String> {
        if self.skip(',') || self.rest.trim_start().starts_with(end) {
            return Ok(());
        }
        Err(format!("expected `,` or `{end}` at {:?}", self.near()))
    }

    fn text(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => text.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, '0')) => '\0',
                    Some((_, c)) => c,
                    None => break,
                }),
                c => text.push(c),
            }
        }
        Err(format!("a text does not end: {:?}", self.near()))
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let of_word = |c: char| c.is_ascii_alphanumeric() || "_@.-+".contains(c);
        let end = self.rest.find(|c| !of_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// `repeat("x", 250)`: a long text.
    fn repeated(&mut self) -> Result<Value, String> {
        let wrong = || "expected `repeat(\"text\", times)`".to_owned();
        if !self.skip('(') {
            return Err(wrong());
        }
        let (Value::Text(text), true, Value::Int(times), true) =
            (self.value()?, self.skip(','), self.value()?, self.skip(')'))
        else {
            return Err(wrong());
        };
        Ok(Value::Text(text.repeat(usize::try_from(times).map_err(|_| wrong())?)))
    }

    /// `subscription("$t", "$u")`: what a consumer says of itself when it joins a group.
    fn subscription(&mut self) -> Result<Value, String> {
        let mut topics = Vec::new();
        if !self.skip('(') {
            return Err("expected `subscription(\"topic\", …)`".into());
        }
        while !self.skip(')') {
            topics.push(self.value()?);
            self.separator(')')?;
        }
        Ok(Value::Struct(vec![(SUBSCRIPTION.into(), Value::List(topics))]))
    }

    fn atom(&mut self) -> Result<Value, String> {
        let word = self.word();
        Ok(match word {
            "" => return Err(format!("expected a value at {:?}", self.near())),
            "null" => Value::Null,
            "repeat" => self.repeated()?,
            "subscription" => self.subscription()?,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            hex if hex.starts_with("0x") => Value::Bytes(from_hex(&hex[2..])?),
            _ => match (word.parse(), word.parse()) {
                (Ok(number), _) => Value::Int(number),
                (_, Ok(number)) if word.starts_with(|c: char| c.is_ascii_digit()) => Value::Float(number),
                _ => Value::Word(word.to_owned()),
            },
        })
    }
}

fn from_hex(digits: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("0x{digits} is not pairs of hexadecimal digits");
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong());
    (0..digits.len()).step_by(2).map(pair).collect()
}
