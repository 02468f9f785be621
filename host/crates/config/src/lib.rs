//! deltaforge-config
