//! deltaforge-store
