use std::borrow::Cow;

use bytes::Bytes;

/// What a segment is made of: text, bytes or a number. Made by `From`.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a>(pub(super) Content<'a>);

#[derive(Debug, Clone, Copy)]
pub(super) enum Content<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Unsigned(u128),
    Signed(i128),
}

/// Exactly one segment of a key: text, a number, or bytes.
///
/// `[u8]`, `Vec<u8>`, `[u8; N]` and [`Bytes`] are one segment of bytes; that is why a `u8` is no
/// number here (write `u16::from(n)`). Bytes that are UTF-8 are the same segment as that text.
///
/// Implement it, and [`Segments`], for a type of your own by handing on what it holds:
///
/// ```
/// use russet_core_conn::{KeyError, KeySpace, Part, Segment, Segments};
///
/// struct Airport(String);
///
/// impl Segment for Airport {
///     fn part(&self) -> Part<'_> {
///         Part::from(self.0.as_str())
///     }
/// }
///
/// impl Segments for Airport {
///     fn each(&self, mut visit: impl FnMut(Part<'_>)) {
///         visit(self.part());
///     }
/// }
///
/// let keys = KeySpace::new("shop")?;
/// let (from, to) = (Airport("SEA".into()), Airport("LAX".into()));
/// assert_eq!(keys.key("v", (&from, &to)), keys.key("v", ("SEA", "LAX")));
/// assert_eq!(keys.key("v", from), keys.key("v", "SEA"));
/// # Ok::<(), KeyError>(())
/// ```
pub trait Segment {
    /// What the segment holds. Must be the same at each call.
    fn part(&self) -> Part<'_>;
}

/// The segments of a key: one [`Segment`], a tuple of up to six, an array or slice of them, or `()`
/// for none.
///
/// Segments do not nest: within a tuple or slice each element is one segment, so that their borders
/// can't shift.
pub trait Segments {
    /// Hands each segment to `visit`, in order.
    fn each(&self, visit: impl FnMut(Part<'_>));
}

impl<S: Segment + ?Sized> Segment for &S {
    fn part(&self) -> Part<'_> {
        (**self).part()
    }
}

impl<S: Segments + ?Sized> Segments for &S {
    fn each(&self, visit: impl FnMut(Part<'_>)) {
        (**self).each(visit);
    }
}

impl<S: Segment> Segments for [S] {
    fn each(&self, visit: impl FnMut(Part<'_>)) {
        self.iter().map(Segment::part).for_each(visit);
    }
}

impl<S: Segment, const N: usize> Segments for [S; N] {
    fn each(&self, visit: impl FnMut(Part<'_>)) {
        self.as_slice().each(visit);
    }
}

impl<S: Segment> Segments for Vec<S> {
    fn each(&self, visit: impl FnMut(Part<'_>)) {
        self.as_slice().each(visit);
    }
}

impl Segments for () {
    fn each(&self, _visit: impl FnMut(Part<'_>)) {}
}

macro_rules! tuples {
    ($(($($name:ident)+))+) => {$(
        impl<$($name: Segment),+> Segments for ($($name,)+) {
            #[expect(non_snake_case, reason = "one name serves as the type and as the variable")]
            fn each(&self, mut visit: impl FnMut(Part<'_>)) {
                let ($($name,)+) = self;
                $(visit($name.part());)+
            }
        }
    )+};
}

tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

macro_rules! segments {
    ($(($($generics:tt)*) $type:ty: $value:ident => $content:expr;)+) => {$(
        impl<$($generics)*> Segment for $type {
            fn part(&self) -> Part<'_> {
                let $value = self;
                Part($content)
            }
        }

        impl<$($generics)*> Segments for $type {
            fn each(&self, mut visit: impl FnMut(Part<'_>)) {
                visit(self.part());
            }
        }
    )+};
}

segments! {
    () str: text => Content::Text(text);
    () String: text => Content::Text(text);
    () Cow<'_, str>: text => Content::Text(text);
    () [u8]: bytes => Content::Bytes(bytes);
    () Vec<u8>: bytes => Content::Bytes(bytes);
    () Bytes: bytes => Content::Bytes(bytes);
    (const N: usize) [u8; N]: bytes => Content::Bytes(bytes);
}

macro_rules! numbers {
    ($content:ident($wide:ty): $($type:ty)+) => {$(
        segments! { () $type: number => Content::$content(*number as $wide); }

        impl From<$type> for Part<'_> {
            fn from(number: $type) -> Self {
                Self(Content::$content(number as $wide))
            }
        }
    )+};
}

numbers! { Unsigned(u128): u16 u32 u64 u128 usize }
numbers! { Signed(i128): i8 i16 i32 i64 i128 isize }

impl<'a> From<&'a str> for Part<'a> {
    fn from(text: &'a str) -> Self {
        Self(Content::Text(text))
    }
}

impl<'a> From<&'a [u8]> for Part<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Content::Bytes(bytes))
    }
}
