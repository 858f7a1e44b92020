//! A macro for headers that are nothing but named values.

/// Defines a header with `decode` and `fields`. Kinds: `text`, `text_opt`, `i32`, `i32_opt`, `i64`, `i64_opt`,
/// `flag` (false where absent) and `flag_opt`.
macro_rules! header {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $kind:ident = $key:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name<'a> {
            $($(#[$doc])* pub $field: header!(@type $kind),)+
        }

        impl<'a> $name<'a> {
            /// Reads the header.
            pub fn decode(ext: &$crate::Ext<'a>) -> Result<Self, $crate::HeaderError> {
                let [$($field),+] = ext.pick([$($key),+]);
                Ok(Self { $($field: header!(@read $kind $field),)+ })
            }

            /// The ext fields.
            pub fn fields(&self) -> Vec<$crate::encode::ExtField<'_>> {
                vec![$(($key, header!(@write $kind self.$field)),)+]
            }
        }
    };
    (@type text) => { std::borrow::Cow<'a, str> };
    (@type text_opt) => { Option<std::borrow::Cow<'a, str>> };
    (@type i32) => { i32 };
    (@type i32_opt) => { Option<i32> };
    (@type i64) => { i64 };
    (@type i64_opt) => { Option<i64> };
    (@type flag) => { bool };
    (@type flag_opt) => { Option<bool> };
    (@read text $field:ident) => { $field.text()? };
    (@read text_opt $field:ident) => { $field.text_opt() };
    (@read i32 $field:ident) => { $field.i32()? };
    (@read i32_opt $field:ident) => { $field.i32_opt()? };
    (@read i64 $field:ident) => { $field.i64()? };
    (@read i64_opt $field:ident) => { $field.i64_opt()? };
    (@read flag $field:ident) => { $field.bool_opt().unwrap_or(false) };
    (@read flag_opt $field:ident) => { $field.bool_opt() };
    (@write text $value:expr) => { (&*$value).into() };
    (@write text_opt $value:expr) => { $value.as_deref().into() };
    (@write $kind:ident $value:expr) => { $value.into() };
}
pub(super) use header;
