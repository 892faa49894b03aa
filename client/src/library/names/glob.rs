//! Patterns: `*` and `?` within a part of a name, `**` for any number of parts, `[a-z]` and `[!a-z]` for one byte of a
//! set.
//!
//! Names are bytes, so patterns match bytes. Only `?` matches a whole character, where the bytes are valid text. A
//! pattern without any of these signs is a name, and matches only itself.

/// A pattern for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Vec<u8>>,
    /// Whether it matches the last part of a name in any folder, because it has no slash.
    anywhere: bool,
}

/// Whether the bytes hold a sign that makes them a pattern.
pub(crate) fn is_pattern(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

fn parts(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}

impl Pattern {
    /// A pattern for whole names.
    #[must_use]
    pub fn whole(bytes: &[u8]) -> Self {
        Self { parts: parts(bytes), anywhere: false }
    }

    /// A pattern for excluded names. With a slash it matches whole names. Without one it matches the last part of a
    /// name in any folder.
    #[must_use]
    pub fn exclude(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let anywhere = !bytes.contains(&b'/');
        let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
        Self { parts: parts(bytes), anywhere }
    }

    /// Whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        let names: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
        if self.anywhere {
            return names.last().is_some_and(|last| part_matches(&self.parts[0], last));
        }
        match_parts(&self.parts, &names)
    }

    /// The bytes that it was made from, without a slash at the end.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.parts.join(&b'/');
        if bytes.ends_with(b"/") {
            bytes.pop();
        }
        bytes
    }

    /// The innermost folder that is spelled out and contains all its matches.
    pub(crate) fn base(&self) -> Vec<u8> {
        let spelled = self.parts.iter().take_while(|part| !is_pattern(part)).count();
        self.parts[..spelled.min(self.parts.len() - 1)].join(&b'/')
    }
}

/// Matches two sequences, whose items are compared by `one`. A pattern item for which `many` holds stands for any
/// number of items. It takes at most as many steps as the product of the two lengths, because it returns only to the
/// last such item.
fn sequence<P, N>(
    pattern: &[P],
    name: &[N],
    many: impl Fn(&P) -> bool,
    one: impl Fn(&P, &N) -> bool,
) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry = None;
    while n < name.len() {
        if p < pattern.len() && many(&pattern[p]) {
            p += 1;
            retry = Some((p, n));
        } else if p < pattern.len() && one(&pattern[p], &name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((after, from)) = retry {
            retry = Some((after, from + 1));
            (p, n) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(many)
}

fn match_parts(pattern: &[Vec<u8>], name: &[&[u8]]) -> bool {
    sequence(pattern, name, |part| part == b"**", |part, name| part_matches(part, name))
}

/// One element of a part's pattern.
enum Token<'a> {
    Any,
    One,
    Byte(u8),
    Set { not: bool, set: &'a [u8] },
}

fn tokens(mut part: &[u8]) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    while let [first, rest @ ..] = part {
        part = rest;
        out.push(match first {
            b'*' => Token::Any,
            b'?' => Token::One,
            b'[' => match set(rest) {
                Some((not, set, after)) => {
                    part = after;
                    Token::Set { not, set }
                }
                // A bracket that is never closed stands for itself.
                None => Token::Byte(b'['),
            },
            byte => Token::Byte(*byte),
        });
    }
    out
}

/// The set between brackets, and the rest after them. A closing bracket that comes first belongs to the set.
fn set(rest: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let not = matches!(rest.first(), Some(b'!' | b'^'));
    let inner = &rest[usize::from(not)..];
    let end = 1 + inner.get(1..)?.iter().position(|byte| *byte == b']')?;
    Some((not, &inner[..end], &inner[end + 1..]))
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let mut rest = set;
    while !rest.is_empty() {
        if let [low, b'-', high, after @ ..] = rest {
            if (*low..=*high).contains(&byte) {
                return true;
            }
            rest = after;
        } else {
            if rest[0] == byte {
                return true;
            }
            rest = &rest[1..];
        }
    }
    false
}

fn part_matches(pattern: &[u8], part: &[u8]) -> bool {
    // A letter is a character where the bytes are valid text, and else one byte.
    let mut letters: Vec<&[u8]> = Vec::with_capacity(part.len());
    let mut rest = part;
    for chunk in part.utf8_chunks() {
        for letter in chunk.valid().chars() {
            let (one, after) = rest.split_at(letter.len_utf8());
            letters.push(one);
            rest = after;
        }
        for _ in chunk.invalid() {
            let (one, after) = rest.split_at(1);
            letters.push(one);
            rest = after;
        }
    }
    let tokens = letters_of(&tokens(pattern));
    sequence(
        &tokens,
        &letters,
        |token| matches!(token, Letter::Any),
        |token, letter| match token {
            Letter::Any => false,
            Letter::One => true,
            Letter::Exactly(bytes) => bytes.as_slice() == *letter,
            Letter::Set { not, set } => in_set(set, letter[0]) != *not,
        },
    )
}

/// Tokens whose bytes are joined into characters, like the letters of the name.
enum Letter<'a> {
    Any,
    One,
    Exactly(Vec<u8>),
    Set { not: bool, set: &'a [u8] },
}

fn letters_of<'a>(tokens: &[Token<'a>]) -> Vec<Letter<'a>> {
    let mut out: Vec<Letter<'a>> = Vec::with_capacity(tokens.len());
    let mut run = Vec::new();
    let flush = |run: &mut Vec<u8>, out: &mut Vec<Letter<'a>>| {
        for chunk in run.utf8_chunks() {
            for letter in chunk.valid().chars() {
                out.push(Letter::Exactly(letter.to_string().into_bytes()));
            }
            out.extend(chunk.invalid().iter().map(|byte| Letter::Exactly(vec![*byte])));
        }
        run.clear();
    };
    for token in tokens {
        if let Token::Byte(byte) = token {
            run.push(*byte);
            continue;
        }
        flush(&mut run, &mut out);
        out.push(match token {
            Token::Any => Letter::Any,
            Token::One | Token::Byte(_) => Letter::One,
            Token::Set { not, set } => Letter::Set { not: *not, set },
        });
    }
    flush(&mut run, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_the_names_they_describe() {
        for (pattern, name, matches) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("*.jpg", "x.jpg", true),
            ("*.jpg", "x.jpeg", false),
            ("p/*.jpg", "p/x.jpg", true),
            ("p/*.jpg", "p/q/x.jpg", false),
            ("p/**/*.jpg", "p/q/r/x.jpg", true),
            ("p/**/*.jpg", "p/x.jpg", true),
            ("**", "a/b/c", true),
            ("p/**", "q/a", false),
            ("?", "é", true),
            ("??", "é", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("é*", "éa", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
        ] {
            let matched = Pattern::whole(pattern.as_bytes()).matches(name.as_bytes());
            assert_eq!(matched, matches, "{pattern} {name}");
        }
        assert!(Pattern::whole(b"\xff?").matches(b"\xff\xfe"));
    }

    #[test]
    fn an_excluded_name_lies_in_any_folder_unless_it_has_a_slash() {
        assert!(Pattern::exclude(b"*.o").matches(b"a/b/c.o"));
        assert!(Pattern::exclude(b"target/").matches(b"a/target"));
        assert!(!Pattern::exclude(b"/target").matches(b"a/target"));
        assert!(Pattern::exclude(b"/target").matches(b"target"));
        assert!(Pattern::exclude(b"a/*.o").matches(b"a/c.o"));
        assert_eq!(Pattern::whole(b"a/b/*.c").base(), b"a/b");
        assert_eq!(Pattern::whole(b"a/b").base(), b"a");
        assert_eq!(Pattern::whole(b"*").base(), b"");
    }

    proptest! {
        #[test]
        fn a_name_without_signs_matches_only_itself(name in "[a-zé\\\\{}!]{1,8}(/[a-zé]{1,8}){0,3}") {
            prop_assert!(Pattern::whole(name.as_bytes()).matches(name.as_bytes()));
            let longer = name.clone() + "x";
            prop_assert!(!Pattern::whole(name.as_bytes()).matches(longer.as_bytes()));
        }

        #[test]
        fn no_pattern_panics(
            pattern in prop::collection::vec(prop::sample::select(b"*?[]!-ab/\xff".to_vec()), 0..12),
            name in prop::collection::vec(prop::sample::select(b"ab/]\xff\xc3\xa9".to_vec()), 0..12),
        ) {
            std::hint::black_box(Pattern::whole(&pattern).matches(&name));
            std::hint::black_box(Pattern::exclude(&pattern).matches(&name));
        }
    }
}
