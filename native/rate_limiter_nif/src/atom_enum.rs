//! Enums of other crates as atoms.

/// Defines an enum of atoms that converts into (`=>`) or from (`<=`) an enum of another crate.
macro_rules! atom_enum {
    ($name:ident => $other:ty { $($atom:ident = $variant:ident),+ $(,)? }) => {
        #[derive(Clone, Copy, rustler::NifUnitEnum)]
        pub(crate) enum $name {
            $($atom),+
        }

        impl From<$name> for $other {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$atom => Self::$variant),+
                }
            }
        }
    };
    ($name:ident <= $other:ty { $($atom:ident = $variant:ident),+ $(,)? }) => {
        #[derive(Clone, Copy, rustler::NifUnitEnum)]
        pub(crate) enum $name {
            $($atom),+
        }

        impl From<$other> for $name {
            fn from(value: $other) -> Self {
                match value {
                    $(<$other>::$variant => Self::$atom),+
                }
            }
        }
    };
}
