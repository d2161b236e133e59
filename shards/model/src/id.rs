//! Ids: indexes into one model's vectors, as newtypes so that they cannot be mixed up. Valid only with the model that gave them.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);

        impl $name {
            /// An id from an index; saturates at `u32::MAX`, which no configuration reaches (checked at load).
            pub const fn new(index: usize) -> Self {
                Self(if index > u32::MAX as usize { u32::MAX } else { index as u32 })
            }

            /// The index into the model's vector.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id!(
    /// Index into `Model::frontends`.
    FrontendId
);
id!(
    /// Index into `Model::backends`.
    BackendId
);
id!(
    /// Index into `Model::servers`.
    ServerId
);
id!(
    /// Index into `Model::tables`.
    TableId
);
id!(
    /// Index into one frontend's `binds`.
    BindId
);
