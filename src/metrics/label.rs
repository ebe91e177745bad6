//! Enumerations of the values of a label.

/// An enumeration whose members are the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$member_doc])* $member,)+ }

        impl $name {
            pub(crate) const ALL: &[Self] = &[$(Self::$member,)+];

            /// The label's value.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$member => $text,)+ }
            }
        }
    };
}
