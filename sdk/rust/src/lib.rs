//! deltaforge-sdk
