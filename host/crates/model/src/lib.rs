//! deltaforge-model
