//! Enumerations of label values.

/// Defines an enumeration whose members are the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$member_doc])* $member,)+ }

        impl $name {
            pub(crate) const ALL: &[Self] = &[$(Self::$member,)+];

            /// Returns the label's value.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$member => $text,)+ }
            }
        }
    };
}
