//! deltaforge-tests
