//! The methods of builders that choose a codec.

/// Defines the methods that choose a codec of floe, for a builder whose method `payload` changes its parameter.
macro_rules! formats {
    ($builder:ident) => {
        /// Sends or reads values as JSON.
        pub fn json<T>(self) -> $builder<crate::payload::Json<T>>
        where
            crate::payload::Json<T>: crate::payload::PayloadCodec,
        {
            self.payload(crate::payload::Json::new())
        }

        /// Sends or reads values as UTF-8 text.
        pub fn text(self) -> $builder<crate::payload::Text> {
            self.payload(crate::payload::Text)
        }

        /// Sends or reads values as MessagePack.
        #[cfg(feature = "messagepack")]
        pub fn message_pack<T>(self) -> $builder<crate::payload::MessagePack<T>>
        where
            crate::payload::MessagePack<T>: crate::payload::PayloadCodec,
        {
            self.payload(crate::payload::MessagePack::new())
        }
    };
}

pub(crate) use formats;
