//! deltaforge-encoding
